#include "engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

__attribute__((weak)) void
world_step_begins(void)
{
}

__attribute__((weak)) void
world_step_ends(void)
{
}

static void tell(struct world *w, const char *format, ...) OB_PRINTF(2, 3);

static void
tell(struct world *w, const char *format, ...)
{
	size_t used = strlen(w->told);
	va_list args;

	va_start(args, format);
	vsnprintf(w->told + used, sizeof(w->told) - used, format, args);
	va_end(args);
}

static void
name_of(const struct ob_message *message, char name[16])
{
	snprintf(name, 16, "%.*s", (int)message->id.size, (const char *)message->id.data);
}

static void
tell_submit(struct world *w, const struct ob_action *action, uint32_t *accepted)
{
	*accepted = action->delivery_count < w->accepts ? action->delivery_count : w->accepts;
	tell(w, "submit");
	for (uint32_t i = 0; i < action->delivery_count; i++) {
		struct world_flight *flight = &w->flights[w->flight_count];

		name_of(action->deliveries[i].message, flight->name);
		flight->ticket = action->deliveries[i].ticket;
		tell(w, " %s", flight->name);
		if (action->deliveries[i].attempt > 1)
			tell(w, "/%u", action->deliveries[i].attempt);
		if (i < *accepted)
			w->flight_count++;
	}
	tell(w, "\n");
}

static void
tell_settle(struct world *w, const struct ob_settle *settle)
{
	static const char *const kinds[] = {"",     "park",      "behind",   "schedule",
					    "dead", "dead_hold", "unpark",   "repark",
					    "back", "bury",      "bury_hold"};

	tell(w, "settle %llu", (unsigned long long)settle->through);
	for (uint32_t i = 0; i < settle->outcome_count; i++) {
		const struct ob_outcome *outcome = &settle->outcomes[i];

		tell(w, " %s:%lld", kinds[outcome->kind], (long long)outcome->position);
		if (outcome->attempts > 0)
			tell(w, "/%u", outcome->attempts);
		if (outcome->due_in_ms > 0)
			tell(w, "+%lld", (long long)outcome->due_in_ms);
	}
	tell(w, "\n");
}

static void
take_action(struct world *w, const struct ob_action *action, uint32_t *accepted, bool *submitted)
{
	switch (action->kind) {
	case OB_ACTION_ACQUIRE:
		w->acquire_at_ms = action->not_before_ms;
		tell(w, "acquire\n");
		break;
	case OB_ACTION_FETCH:
		w->fetch = action->fetch;
		tell(w, action->fetch.count_max == 0 ? "parked fetch\n" : "fetch\n");
		break;
	case OB_ACTION_SUBMIT:
		tell_submit(w, action, accepted);
		*submitted = true;
		break;
	case OB_ACTION_SETTLE:
		tell_settle(w, action->settle);
		break;
	case OB_ACTION_CANCEL:
		tell(w, "cancel\n");
		break;
	case OB_ACTION_FREE_BATCH:
		w->batches--;
		ob_batch_free(action->batch);
		break;
	case OB_ACTION_WAKE_AT:
		w->wake_ms = action->wake_at_ms;
		break;
	case OB_ACTION_REPORT:
		tell(w, "report %s%s%s\n", ob_state_name(action->report->state),
		     action->report->code[0] != '\0' ? ": " : "", action->report->code);
		break;
	case OB_ACTION_DRAINED:
		tell(w, "drained\n");
		break;
	case OB_ACTION_FLUSH:
	default:
		break;
	}
}

static void
step(struct world *w, struct ob_event event)
{
	bool submitted = true;

	while (submitted) {
		struct ob_actions actions;
		uint32_t accepted = 0;

		event.now_ms = w->now_ms;
		world_step_begins();
		ob_engine_step(w->engine, &event, &actions);
		world_step_ends();
		submitted = false;
		for (uint32_t i = 0; i < actions.count; i++)
			take_action(w, &actions.items[i], &accepted, &submitted);
		event = (struct ob_event){.kind = OB_EVENT_SUBMITTED, .accepted = accepted};
	}
}

void
world_init(struct world *w)
{
	*w = (struct world){.accepts = UINT32_MAX, .next_due_ms = -1, .wake_ms = INT64_MAX};
	w->acquired.held = true;
	w->config.window_count_max = 16;
	w->config.fetch_count_max = 8;
	w->config.parked_window_max = 8;
	ob_engine_config_defaults(&w->config);
	w->config.retry.jitter_pct = 0;
}

void
world_start(struct world *w)
{
	struct ob_error error;

	assert_int_equal(ob_engine_config_check(&w->config, &error), OB_OK);
	w->engine = ob_engine_new(&w->config);
	assert_non_null(w->engine);
	world_event(w, OB_EVENT_START);
	world_expect(w, "acquire\n");
	world_acquired(w, OB_OK);
	w->told[0] = '\0';
}

void
world_end(struct world *w)
{
	ob_engine_free(w->engine);
	w->engine = NULL;
}

static uint64_t
lane_of(const char *name)
{
	return name[0] == '-' ? 0 : (uint64_t)name[0];
}

static void
row_add(struct world *w, struct ob_batch *batch, const char *word)
{
	struct ob_row *row = ob_batch_add(batch);
	bool parked = *word == '*';
	const char *name = parked ? word + 1 : word;
	size_t size = strcspn(name, "/+!~@");
	const char *mark = name + size;
	struct ob_bytes id = {.data = name, .size = size};

	assert_non_null(row);
	assert_true(ob_batch_copy(batch, id.data, id.size, &row->message.id));
	row->lane = lane_of(name);
	if (row->lane != 0)
		assert_true(ob_batch_copy(batch, name, 1, &row->message.key));
	row->position = strtoll(name + 1, NULL, 10);
	row->bytes = 300;
	batch->bytes += row->bytes;
	if (!parked)
		row->ordinal = ++w->ordinal;
	if (*mark == '/') {
		row->attempts = (uint32_t)strtoul(mark + 1, NULL, 10);
		row->age_ms = 1000;
	} else if (*mark == '+') {
		row->due_in_ms = strtoll(mark + 1, NULL, 10) * 1000;
	} else if (*mark == '!') {
		row->oversize_bytes = 1 << 30;
	} else if (*mark == '~') {
		row->replayed = true;
	} else if (*mark == '@') {
		row->scheduled = true;
		row->lane = 0;
	}
}

void
world_fetched(struct world *w, const char *rows)
{
	struct ob_batch *batch = ob_batch_new(64);
	char words[512];
	char *at = NULL;

	snprintf(words, sizeof(words), "%s", rows);
	for (char *word = strtok_r(words, " ", &at); word != NULL; word = strtok_r(NULL, " ", &at))
		row_add(w, batch, word);
	batch->more = w->more;
	batch->passed = w->passed;
	batch->next_due_ms = w->next_due_ms;
	w->batches++;
	step(w, (struct ob_event){.kind = OB_EVENT_FETCHED, .batch = batch});
}

void
world_fetch_failed(struct world *w, enum ob_code code)
{
	w->batches++;
	step(w,
	     (struct ob_event){.kind = OB_EVENT_FETCHED, .code = code, .batch = ob_batch_new(1)});
}

void
world_receipt_as(struct world *w, const char *name, struct ob_receipt receipt)
{
	uint32_t at = 0;

	while (at < w->flight_count && strcmp(w->flights[at].name, name) != 0)
		at++;
	if (at == w->flight_count)
		fail_msg("%s is not in flight", name);
	receipt.ticket = w->flights[at].ticket;
	memmove(&w->flights[at], &w->flights[at + 1],
		(--w->flight_count - at) * sizeof(w->flights[0]));
	step(w, (struct ob_event){
		    .kind = OB_EVENT_RECEIPTS, .receipts = &receipt, .receipt_count = 1});
}

void
world_receipt(struct world *w, const char *names, enum ob_fate fate)
{
	char words[512];
	char *at = NULL;

	snprintf(words, sizeof(words), "%s", names);
	for (char *word = strtok_r(words, " ", &at); word != NULL; word = strtok_r(NULL, " ", &at))
		world_receipt_as(
		    w, word,
		    (struct ob_receipt){.fate = fate, .reached = true, .code = ob_fate_name(fate)});
}

void
world_settled(struct world *w, enum ob_code code)
{
	step(w, (struct ob_event){.kind = OB_EVENT_SETTLED, .code = code});
}

void
world_acquired(struct world *w, enum ob_code code)
{
	if (code == OB_OK && w->acquired.held && !w->acquired.goes_on)
		w->ordinal = 0;
	step(w, (struct ob_event){.kind = OB_EVENT_ACQUIRED,
				  .code = code,
				  .acquired = &w->acquired,
				  .lanes = w->lanes,
				  .asked_at_ms = w->now_ms});
}

void
world_renewed(struct world *w, enum ob_code code)
{
	step(w,
	     (struct ob_event){.kind = OB_EVENT_RENEWED, .code = code, .asked_at_ms = w->now_ms});
}

void
world_event(struct world *w, enum ob_event_kind kind)
{
	step(w, (struct ob_event){.kind = kind});
}

void
world_wait(struct world *w, int64_t ms)
{
	int64_t until = w->now_ms + ms;

	while (w->wake_ms <= until) {
		assert_true(w->wake_ms > w->now_ms);
		w->now_ms = w->wake_ms;
		w->wake_ms = INT64_MAX;
		world_event(w, OB_EVENT_TIMER);
	}
	w->now_ms = until;
}

void
world_expect_at(struct world *w, const char *text, const char *file, int line)
{
	if (strcmp(w->told, text) != 0) {
		print_message("expected:\n%stold:\n%s", text, w->told);
		_fail(file, line);
	}
	w->told[0] = '\0';
}

struct ob_engine_stats
world_stats(struct world *w)
{
	struct ob_engine_stats stats;

	ob_engine_stats(w->engine, &stats);
	return stats;
}
