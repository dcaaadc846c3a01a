/*
 * A store or a sink by its URL: finds the table that serves it, reads its options, keeps its instance. Commands use
 * it as the relay does.
 *
 *	struct ob_store_handle it;
 *
 *	code = ob_store_handle_init(&it, url, options, count, host, &error);
 *	if (code == OB_OK)
 *		code = ob_store_handle_open(&it, false, false, &error);
 *	if (code == OB_OK)
 *		code = it.store->ops->stats(it.store, ...);
 *	ob_store_handle_free(&it);
 *
 * Free is safe after a failed init and on a zeroed handle. A handle belongs to one thread at a time.
 */
#ifndef OB_RELAY_HANDLES_H
#define OB_RELAY_HANDLES_H

#include <outbox/sink.h>
#include <outbox/store.h>

struct ob_store_handle {
	const struct ob_store_ops *ops;
	struct ob_store *store; /* the instance */
	const struct ob_host *host;
	void *options;
	char *url;
};

struct ob_sink_handle {
	const struct ob_sink_ops *ops;
	struct ob_sink *sink;
	const struct ob_host *host;
	void *options;
	char *url;
};

/* `options` are "NAME=VALUE". OB_CONFIG when nothing serves the URL or an option is wrong. Asks nobody. */
int ob_store_handle_init(struct ob_store_handle *handle, const char *url,
			 const char *const *options, size_t count, const struct ob_host *host,
			 struct ob_error *error);
/* Opens; when it is open, or an open failed, closes first. */
int ob_store_handle_open(struct ob_store_handle *handle, bool create, bool read_only,
			 struct ob_error *error);
/* Closes and releases. */
void ob_store_handle_free(struct ob_store_handle *handle);

int ob_sink_handle_init(struct ob_sink_handle *handle, const char *url, const char *const *options,
			size_t count, const struct ob_host *host, struct ob_error *error);
int ob_sink_handle_open(struct ob_sink_handle *handle, const char *subscription,
			const struct ob_callback *callback, struct ob_error *error);
void ob_sink_handle_free(struct ob_sink_handle *handle);

#endif
