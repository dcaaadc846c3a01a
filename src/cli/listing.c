#include "listing.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "log.h"
#include "rfc3339.h"

enum { PAYLOAD_WIDTH = 400 };

const char *
ob_place_name(enum ob_place place)
{
	switch (place) {
	case OB_PLACE_LOG:
		return "log";
	case OB_PLACE_PARKED:
		return "parked";
	case OB_PLACE_SCHEDULED:
		return "scheduled";
	case OB_PLACE_DEAD:
		return "dead";
	}
	return "unknown";
}

void
ob_listed_json(const struct ob_cli *cli, struct ob_json *json, const struct ob_listed *row)
{
	char time[OB_TEXT_FIELD_MAX];

	ob_json_open(json, NULL, '{');
	ob_json_text(json, "place", ob_place_name(row->place));
	ob_json_text(json, "subscription", row->subscription);
	ob_json_number(json, "position", row->position);
	if (row->place == OB_PLACE_LOG) {
		ob_json_bool(json, "passed", row->passed);
	} else {
		ob_time_ago(cli, time, row->since_ms);
		ob_json_text(json, "since", time);
		ob_json_number(json, "attempts", row->attempts);
		ob_json_text(json, "code", row->code);
		ob_json_text(json, "text", row->text);
		ob_json_bool(json, "head", row->head);
		ob_json_bool(json, "holds_key", row->holds_key);
		ob_json_number(json, "due_in_ms", row->due_in_ms);
		ob_json_raw(json, "tries",
			    row->tries == NULL || row->tries[0] == '\0' ? "[]" : row->tries);
	}
	ob_json_message(json, &row->message);
	ob_json_close(json, '}');
}

static void
field_print(const char *label, struct ob_bytes value, size_t width)
{
	struct ob_buf text;

	if (value.data == NULL)
		return;
	ob_buf_init(&text, 4 * width + 64);
	ob_print_bytes(&text, value, width);
	(void)printf("  %-12s %s\n", label, ob_buf_text(&text));
	ob_buf_free(&text);
}

static void
tries_print(const char *tries)
{
	json_t *list = json_loads(tries == NULL ? "[]" : tries, 0, NULL);
	size_t index;
	json_t *it;

	json_array_foreach(list, index, it)
	{
		struct ob_buf line;
		const char *parts[3] = {json_string_value(json_object_get(it, "at")),
					json_string_value(json_object_get(it, "code")),
					json_string_value(json_object_get(it, "text"))};

		ob_buf_init(&line, 4096);
		for (size_t i = 0; i < 3; i++) {
			ob_log_escape(&line, parts[i] == NULL ? "" : parts[i],
				      parts[i] == NULL ? 0 : strlen(parts[i]));
			ob_buf_append_text(&line, i < 2 ? "  " : "");
		}
		(void)printf("  %-12s %s\n", index == 0 ? "tries" : "", ob_buf_text(&line));
		ob_buf_free(&line);
	}
	json_decref(list);
}

static void
state_print(const struct ob_cli *cli, const struct ob_listed *row)
{
	char since[OB_TEXT_FIELD_MAX], due[OB_TEXT_FIELD_MAX];
	struct ob_buf why;

	if (row->place == OB_PLACE_LOG) {
		(void)printf("  %-12s %s\n", "state",
			     row->passed ? "every subscription has passed it"
					 : "waits for at least one subscription");
		return;
	}
	ob_time_ago(cli, since, row->since_ms);
	ob_duration_print(due, row->due_in_ms);
	ob_buf_init(&why, 4096);
	ob_log_escape(&why, row->code, strlen(row->code));
	if (row->text[0] != '\0') {
		ob_buf_append_text(&why, ": ");
		ob_log_escape(&why, row->text, strlen(row->text));
	}
	(void)printf("  %-12s %s of %s since %s after %" PRIu32 " %s%s\n", "state",
		     ob_place_name(row->place), row->subscription, since, row->attempts,
		     row->attempts == 1 ? "try" : "tries",
		     row->holds_key ? ", and holds its key" : "");
	if (row->place == OB_PLACE_SCHEDULED || (row->place == OB_PLACE_PARKED && row->head))
		(void)printf("  %-12s in %s\n", "next try", due);
	else if (row->place == OB_PLACE_PARKED)
		(void)printf("  %-12s behind an earlier message of its key\n", "next try");
	if (why.size > 0)
		(void)printf("  %-12s %s\n", "reason", ob_buf_text(&why));
	ob_buf_free(&why);
}

void
ob_listed_print(const struct ob_cli *cli, const struct ob_listed *row, bool whole)
{
	const struct ob_message *message = &row->message;
	char created[OB_RFC3339_SIZE];
	struct ob_buf id;

	ob_buf_init(&id, 4096);
	ob_print_bytes(&id, message->id, 255);
	(void)printf("%s%s%s\n", ob_color(cli, OB_COLOR_BOLD), ob_buf_text(&id),
		     ob_color(cli, OB_COLOR_PLAIN));
	ob_buf_free(&id);
	state_print(cli, row);
	field_print("topic", message->topic, 255);
	field_print("key", message->key, 255);
	field_print("type", message->type, 255);
	field_print("content type", message->content_type, 255);
	field_print("headers", message->headers, whole ? 65536 : PAYLOAD_WIDTH);
	ob_rfc3339_format(created, message->created_at_us);
	(void)printf("  %-12s %s\n", "created", created);
	if (message->payload.data == NULL)
		(void)printf("  %-12s none: a tombstone\n", "payload");
	else
		field_print("payload", message->payload,
			    whole ? message->payload.size : PAYLOAD_WIDTH);
	if (whole)
		tries_print(row->tries);
}
