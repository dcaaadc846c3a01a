/*
 * What `outbox receive` reads: a content type and other fields, one a line, an empty line, and a body. Whatever came, the lines that
 * tell of it are valid JSON.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "arrival.h"
#include "fuzz.h"

/* Notes "name: value" lines up to the empty one; where the body begins. */
static size_t
read_fields(struct receive_arrival *arrival, char *text, size_t size)
{
	size_t at = 0;

	while (at < size && text[at] != '\n') {
		char *line = text + at, *end = memchr(line, '\n', size - at), *colon;

		if (end == NULL)
			return size;
		*end = '\0';
		colon = strchr(line, ':');
		if (colon != NULL) {
			*colon = '\0';
			receive_arrival_field(arrival, line, colon + 1);
		}
		at = (size_t)(end - text) + 1;
	}
	return at < size ? at + 1 : size;
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	struct receive_arrival arrival;
	struct receive_line told = {.number = 1, .status = 200};
	char *text = malloc(size + 1);
	struct ob_buf line;
	size_t body;

	FUZZ_CHECK(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	receive_arrival_init(&arrival);
	ob_buf_init(&line, (size_t)256 << 20);
	body = read_fields(&arrival, text, size);
	if (receive_arrival_read(&arrival, (struct ob_bytes){text + body, size - body}))
		for (size_t i = 0; i < arrival.event_count; i++) {
			json_t *json;

			ob_buf_reset(&line);
			FUZZ_CHECK(receive_line_write(&line, &arrival, &arrival.events[i], &told));
			FUZZ_CHECK(memchr(line.data, '\n', line.size) == line.data + line.size - 1);
			json = json_loadb(line.data, line.size, JSON_ALLOW_NUL, NULL);
			FUZZ_CHECK(json != NULL);
			json_decref(json);
		}
	else
		FUZZ_CHECK(arrival.problem != NULL);
	ob_buf_free(&line);
	receive_arrival_free(&arrival);
	free(text);
	return 0;
}
