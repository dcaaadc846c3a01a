#include "handles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "registry.h"

/* A table without options may have no struct for them. */
static void *
zeroed(size_t size)
{
	return calloc(1, size > 0 ? size : 1);
}

/* `kind` is "store" or "sink". */
static int
read_options(const char *kind, const char *name, const struct ob_option *table, void *values,
	     const char *const *pairs, size_t count, struct ob_error *error)
{
	static const struct ob_option none[] = {{.type = OB_OPTION_END}};
	char owner[64], shown_by[32];
	struct ob_options options;
	int code;

	(void)snprintf(owner, sizeof(owner), "%s %s", kind, name);
	(void)snprintf(shown_by, sizeof(shown_by), "outbox help %ss", kind);
	code = ob_options_begin(&options, owner, table != NULL ? table : none, values, error);
	options.shown_by = shown_by;
	for (size_t i = 0; i < count && code == OB_OK; i++)
		code = ob_options_set_pair(&options, pairs[i], error);
	if (code == OB_OK)
		code = ob_options_finish(&options, error);
	return code;
}

static int
fail_no_memory(struct ob_error *error)
{
	return ob_error_set(error, OB_NOMEM, "out of memory");
}

int
ob_store_handle_init(struct ob_store_handle *handle, const char *url, const char *const *options,
		     size_t count, const struct ob_host *host, struct ob_error *error)
{
	int code;

	*handle = (struct ob_store_handle){.host = host};
	code = ob_registry_find_store(url, &handle->ops, error);
	if (code != OB_OK)
		return code;
	handle->url = strdup(url);
	handle->options = zeroed(handle->ops->options_size);
	handle->store = zeroed(handle->ops->size);
	if (handle->url == NULL || handle->options == NULL || handle->store == NULL)
		return fail_no_memory(error);
	handle->store->ops = handle->ops;
	handle->store->host = host;
	return read_options("store", handle->ops->name, handle->ops->options, handle->options,
			    options, count, error);
}

int
ob_store_handle_open(struct ob_store_handle *handle, bool create, bool read_only,
		     struct ob_error *error)
{
	struct ob_store_config config = {
	    .url = handle->url,
	    .options = handle->options,
	    .create = create,
	    .read_only = read_only,
	};

	handle->ops->close(handle->store);
	memset(handle->store, 0, handle->ops->size);
	handle->store->ops = handle->ops;
	handle->store->host = handle->host;
	return handle->ops->open(handle->store, &config, error);
}

void
ob_store_handle_free(struct ob_store_handle *handle)
{
	if (handle->store != NULL && handle->options != NULL)
		handle->ops->close(handle->store);
	if (handle->options != NULL && handle->ops->options != NULL)
		ob_options_free(handle->ops->options, handle->options);
	free(handle->store);
	free(handle->options);
	free(handle->url);
	*handle = (struct ob_store_handle){0};
}

int
ob_sink_handle_init(struct ob_sink_handle *handle, const char *url, const char *const *options,
		    size_t count, const struct ob_host *host, struct ob_error *error)
{
	int code;

	*handle = (struct ob_sink_handle){.host = host};
	code = ob_registry_find_sink(url, &handle->ops, error);
	if (code != OB_OK)
		return code;
	handle->url = strdup(url);
	handle->options = zeroed(handle->ops->options_size);
	handle->sink = zeroed(handle->ops->size);
	if (handle->url == NULL || handle->options == NULL || handle->sink == NULL)
		return fail_no_memory(error);
	handle->sink->ops = handle->ops;
	handle->sink->host = host;
	return read_options("sink", handle->ops->name, handle->ops->options, handle->options,
			    options, count, error);
}

int
ob_sink_handle_open(struct ob_sink_handle *handle, const char *subscription,
		    const struct ob_callback *callback, struct ob_error *error)
{
	struct ob_sink_config config = {
	    .url = handle->url,
	    .options = handle->options,
	    .subscription = subscription,
	    .callback = callback,
	};

	return handle->ops->open(handle->sink, &config, error);
}

void
ob_sink_handle_free(struct ob_sink_handle *handle)
{
	if (handle->sink != NULL && handle->options != NULL)
		handle->ops->close(handle->sink);
	if (handle->options != NULL && handle->ops->options != NULL)
		ob_options_free(handle->ops->options, handle->options);
	free(handle->sink);
	free(handle->options);
	free(handle->url);
	*handle = (struct ob_sink_handle){0};
}
