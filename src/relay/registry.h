/*
 * Which store or sink serves a URL: the tables that are built in, then modules (see <outbox/module.h>).
 *
 * Lookups may load a shared library and may be made from any thread. What they return lives as long as the process.
 */
#ifndef OB_RELAY_REGISTRY_H
#define OB_RELAY_REGISTRY_H

#include <outbox/module.h>

/* The built-in ones, NULL at the end, in the order in which help lists them. */
const struct ob_store_ops *const *ob_registry_stores(void);
const struct ob_sink_ops *const *ob_registry_sinks(void);

/* By the scheme of a URL. OB_CONFIG, with the nearest scheme there is, when nothing serves it, or when its module cannot be used. */
int ob_registry_find_store(const char *url, const struct ob_store_ops **ops,
			   struct ob_error *error);
int ob_registry_find_sink(const char *url, const struct ob_sink_ops **ops, struct ob_error *error);

#endif
