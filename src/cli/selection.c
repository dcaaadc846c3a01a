#include "selection.h"

const char *const ob_selection_places[] = {"dead", "parked", "scheduled", NULL};

void
ob_selection_fill(const struct ob_selection_options *options, struct ob_selection *selection)
{
	static const enum ob_place places[] = {OB_PLACE_DEAD, OB_PLACE_PARKED, OB_PLACE_SCHEDULED};

	*selection = (struct ob_selection){
	    .subscription = options->subscription,
	    .place = places[options->place],
	    .topic = options->topic,
	    .key = options->key,
	    .type = options->type,
	    .code = options->code,
	    .count_max = (uint32_t)options->limit,
	};
}
