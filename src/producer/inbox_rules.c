#include "inbox_rules.h"

#include <outbox/inbox.h>
#include <outbox/new_message.h>
#include <string.h>

#include "utf8.h"

static int
name_check(const char *field, const char *text, struct ob_error *error)
{
	size_t size = text == NULL ? 0 : strlen(text);

	if (size == 0)
		return ob_error_set(error, OB_INVALID, "inbox: %s: empty", field);
	if (size > OB_NAME_BYTES_MAX)
		return ob_error_set(error, OB_INVALID,
				    "inbox: %s: %zu bytes, of which at most %d are allowed", field,
				    size, OB_NAME_BYTES_MAX);
	if (!ob_utf8_valid(text, size))
		return ob_error_set(error, OB_INVALID, "inbox: %s: not UTF-8", field);
	return OB_OK;
}

int
ob_inbox_consumer_check(const char *consumer, struct ob_error *error)
{
	return name_check("consumer", consumer, error);
}

int
ob_inbox_names_check(const char *consumer, const char *id, struct ob_error *error)
{
	int rc = name_check("consumer", consumer, error);

	return rc == OB_OK ? name_check("id", id, error) : rc;
}

int
ob_inbox_keep_check(int64_t keep_ms, int64_t retry_ms, struct ob_error *error)
{
	int64_t longest_ms = retry_ms <= 0 ? OB_INBOX_RETRY_DEFAULT_MS : retry_ms;

	if (keep_ms > longest_ms)
		return OB_OK;
	return ob_error_set(
	    error, OB_USAGE,
	    "inbox: ids must be kept for longer than a message may be retried (%lld s), not %lld s",
	    (long long)(longest_ms / 1000), (long long)(keep_ms / 1000));
}
