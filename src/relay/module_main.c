/* What makes a module of a store or sink of ours: compiled once for each, with its table as a macro. */
#include <outbox/module.h>
#include <stddef.h>

#include "sinks.h"
#include "stores.h"

#ifdef OB_MODULE_SINK
static const struct ob_sink_ops *const module_sinks[] = {&OB_MODULE_SINK, NULL};
#define MODULE_SINKS module_sinks
#else
#define MODULE_SINKS NULL
#endif

#ifdef OB_MODULE_STORE
static const struct ob_store_ops *const module_stores[] = {&OB_MODULE_STORE, NULL};
#define MODULE_STORES module_stores
#else
#define MODULE_STORES NULL
#endif

OB_API extern const struct ob_module ob_module;
const struct ob_module ob_module = {
    .contract = OB_MODULE_CONTRACT,
    .name = OB_MODULE_NAME,
    .stores = MODULE_STORES,
    .sinks = MODULE_SINKS,
};
