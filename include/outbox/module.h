/*
 * Modules: stores and sinks in a shared library of their own, loaded when a URL first names their
 * scheme.
 *
 * A module is the file `outbox_SCHEME.so` in the module directory (the library directory's
 * `outbox/modules`) or in one of the directories of the environment variable OUTBOX_MODULE_PATH,
 * which are colon separated and searched first. It exports one symbol, a constant `struct ob_module`
 * by the name of `ob_module`:
 *
 *	static const struct ob_sink_ops *const sinks[] = {&sink_pigeon, NULL};
 *	OB_API const struct ob_module ob_module = {.contract = OB_MODULE_CONTRACT, .name = "pigeon",
 *.sinks = sinks};
 *
 * It is refused when its version of this contract, or that of one of its stores or sinks, is not
 * the program's. A module that serves several schemes is installed under several names (links). It
 * is never unloaded.
 */
#ifndef OUTBOX_MODULE_H
#define OUTBOX_MODULE_H

#include <outbox/sink.h>
#include <outbox/store.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_MODULE_CONTRACT 1

struct ob_module {
	unsigned contract; /* OB_MODULE_CONTRACT */
	const char *name;
	const struct ob_store_ops *const *stores; /* NULL at the end; may be NULL: none */
	const struct ob_sink_ops *const *sinks;   /* NULL at the end; may be NULL: none */
};

#ifdef __cplusplus
}
#endif
#endif
