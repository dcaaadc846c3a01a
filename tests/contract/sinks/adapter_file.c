/* file: the recipient is a file; it is down when a directory stands in its place. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink_suite.h"
#include "sinks.h"

struct recipient {
	char path[512];
	long at;                     /* how much of the file was read */
	struct sink_arrivals before; /* of the file that was removed */
};

static void *
file_start(const char *directory)
{
	struct recipient *it = calloc(1, sizeof(*it));

	assert(it != NULL);
	snprintf(it->path, sizeof(it->path), "%s/out.jsonl", directory);
	return it;
}

static void
file_stop(void *recipient)
{
	struct recipient *it = recipient;

	sink_arrivals_clear(&it->before);
	free(it);
}

static void
file_configure(void *recipient, struct sink_setup *setup)
{
	const struct recipient *it = recipient;

	snprintf(setup->url, sizeof(setup->url), "file:%.500s", it->path);
	snprintf(setup->options[0], sizeof(setup->options[0]), "in-flight=100");
}

static void
file_read(struct recipient *it, struct sink_arrivals *arrivals)
{
	size_t size;
	char *text = sink_test_read_file(it->path, &it->at, &size);

	if (text == NULL)
		return;
	/* No half line is ever to be seen between two polls. */
	assert(sink_arrivals_add_lines(arrivals, text, size) == size);
	free(text);
}

static void
file_arrivals(void *recipient, struct sink_arrivals *arrivals)
{
	struct recipient *it = recipient;

	for (size_t i = 0; i < it->before.count; i++)
		sink_arrivals_add(arrivals, it->before.items[i].id, it->before.items[i].payload,
				  it->before.items[i].payload_size);
	sink_arrivals_clear(&it->before);
	file_read(it, arrivals);
}

static void
file_down(void *recipient, bool down)
{
	struct recipient *it = recipient;

	if (down) {
		file_read(it, &it->before);
		unlink(it->path);
		assert(mkdir(it->path, 0700) == 0);
	} else {
		assert(rmdir(it->path) == 0);
		it->at = 0;
	}
}

const struct sink_adapter sink_adapter_file = {
    .name = "file",
    .ops = &ob_sink_file,
    .wrong_url = "file:/nowhere/at/all/out.jsonl",
    .start = file_start,
    .stop = file_stop,
    .configure = file_configure,
    .arrivals = file_arrivals,
    .why_no_refusal = "a file takes one message like another",
    .down = file_down,
    .why_no_hang = "a disk that hangs holds every process that writes to it",
};
