/* What the inbox of every kind of database demands. Pure. */
#ifndef OB_PRODUCER_INBOX_RULES_H
#define OB_PRODUCER_INBOX_RULES_H

#include <outbox/error.h>
#include <stdint.h>

/* OB_INVALID unless the text is UTF-8, not empty and not too long. */
int ob_inbox_consumer_check(const char *consumer, struct ob_error *error);
int ob_inbox_names_check(const char *consumer, const char *id, struct ob_error *error);

/* OB_USAGE unless ids are kept for longer than a message may be retried. `retry_ms` as in <outbox/inbox.h>. */
int ob_inbox_keep_check(int64_t keep_ms, int64_t retry_ms, struct ob_error *error);

#define OB_INBOX_ROWS_DEFAULT 1000

#endif
