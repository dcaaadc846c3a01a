/* Printing messages as a store lists them. */
#ifndef OB_CLI_LISTING_H
#define OB_CLI_LISTING_H

#include <outbox/store.h>

#include "output.h"

/* "log", "parked", "scheduled", "dead". */
const char *ob_place_name(enum ob_place place);

/* All of a row, as JSON members of an object of its own. */
void ob_listed_json(const struct ob_cli *cli, struct ob_json *json, const struct ob_listed *row);

/* All of a row, for a person; the payload whole when `whole`. */
void ob_listed_print(const struct ob_cli *cli, const struct ob_listed *row, bool whole);

#endif
