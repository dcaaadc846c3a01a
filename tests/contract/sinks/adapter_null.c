/* null: there is no recipient. */
#include <stdio.h>

#include "sink_suite.h"
#include "sinks.h"

static void *
null_start(const char *directory)
{
	static int nothing;

	(void)directory;
	return &nothing;
}

static void
null_stop(void *recipient)
{
	(void)recipient;
}

static void
null_configure(void *recipient, struct sink_setup *setup)
{
	(void)recipient;
	snprintf(setup->url, sizeof(setup->url), "null:");
	snprintf(setup->options[0], sizeof(setup->options[0]), "in-flight=100");
}

const struct sink_adapter sink_adapter_null = {
    .name = "null",
    .ops = &ob_sink_null,
    .wrong_url = "null:something",
    .start = null_start,
    .stop = null_stop,
    .configure = null_configure,
    .why_no_arrivals = "nothing arrives anywhere",
    .why_no_refusal = "nothing fails",
    .why_no_down = "there is no recipient to be down",
    .why_no_hang = "there is no recipient to wait for",
};
