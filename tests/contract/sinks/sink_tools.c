/* What the adapters share. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base64.h"
#include "sink_suite.h"

void
sink_arrivals_add(struct sink_arrivals *arrivals, const char *id, const void *payload, size_t size)
{
	struct sink_arrival *items =
	    realloc(arrivals->items, (arrivals->count + 1) * sizeof(items[0]));
	struct sink_arrival *it;

	assert(items != NULL);
	arrivals->items = items;
	it = &items[arrivals->count++];
	*it = (struct sink_arrival){0};
	snprintf(it->id, sizeof(it->id), "%s", id);
	if (payload == NULL)
		return;
	it->payload = malloc(size + 1);
	assert(it->payload != NULL);
	memcpy(it->payload, payload, size);
	it->payload_size = size;
}

static void
add_line(struct sink_arrivals *arrivals, const char *line, size_t size)
{
	json_t *json = json_loadb(line, size, JSON_ALLOW_NUL, NULL);
	const char *id = json_string_value(json_object_get(json, "id"));
	const json_t *payload = json_object_get(json, "payload");
	const char *code = json_string_value(json_object_get(json, "payload_base64"));
	struct ob_buf bytes;

	if (json == NULL || id == NULL) {
		sink_arrivals_add(arrivals, "(a line that is no JSON object)", NULL, 0);
	} else if (code != NULL) {
		ob_buf_init(&bytes, (size_t)64 * 1024 * 1024);
		assert(ob_base64_decode(&bytes, code, strlen(code)));
		sink_arrivals_add(arrivals, id, ob_buf_text(&bytes), bytes.size);
		ob_buf_free(&bytes);
	} else {
		sink_arrivals_add(arrivals, id, json_string_value(payload),
				  json_string_length(payload));
	}
	json_decref(json);
}

size_t
sink_arrivals_add_lines(struct sink_arrivals *arrivals, const char *text, size_t size)
{
	size_t at = 0;
	const char *end;

	while (at < size && (end = memchr(text + at, '\n', size - at)) != NULL) {
		size_t length = (size_t)(end - text) - at;

		add_line(arrivals, text + at, length);
		at += length + 1;
	}
	return at;
}

void
sink_arrivals_clear(struct sink_arrivals *arrivals)
{
	for (size_t i = 0; i < arrivals->count; i++)
		free(arrivals->items[i].payload);
	free(arrivals->items);
	*arrivals = (struct sink_arrivals){0};
}

char *
sink_test_read_file(const char *path, long *at, size_t *size)
{
	FILE *file = fopen(path, "r");
	long end;
	char *bytes;

	if (file == NULL)
		return NULL;
	fseek(file, 0, SEEK_END);
	end = ftell(file);
	fseek(file, *at, SEEK_SET);
	*size = end > *at ? (size_t)(end - *at) : 0;
	bytes = malloc(*size + 1);
	assert(bytes != NULL);
	*size = fread(bytes, 1, *size, file);
	bytes[*size] = '\0';
	*at += (long)*size;
	fclose(file);
	return bytes;
}

void
sink_test_write_file(const char *directory, const char *name, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert(file != NULL);
	fputs(text, file);
	fclose(file);
}

void
sink_test_switch(const char *directory, const char *name, bool on)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (on)
		sink_test_write_file(directory, name, "");
	else
		unlink(path);
}
