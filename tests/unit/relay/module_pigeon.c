/* A module for the tests of loading: a sink that counts as sent what it is given, under the scheme "pigeon". */
#include <outbox/module.h>

#ifndef PIGEON_MODULE_CONTRACT
#define PIGEON_MODULE_CONTRACT OB_MODULE_CONTRACT
#endif
#ifndef PIGEON_SINK_CONTRACT
#define PIGEON_SINK_CONTRACT OB_SINK_CONTRACT
#endif

static const char *const pigeon_schemes[] = {"pigeon", NULL};

static const struct ob_sink_ops pigeon_sink = {
    .contract = PIGEON_SINK_CONTRACT,
    .name = "pigeon",
    .schemes = pigeon_schemes,
    .help = "pigeon:",
    .size = sizeof(struct ob_sink),
};

static const struct ob_sink_ops *const pigeon_sinks[] = {&pigeon_sink, NULL};

OB_API extern const struct ob_module ob_module;
const struct ob_module ob_module = {
    .contract = PIGEON_MODULE_CONTRACT,
    .name = "pigeon",
    .sinks = pigeon_sinks,
};
