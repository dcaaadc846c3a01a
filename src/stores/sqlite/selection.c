/*
 * Which rows a person means: the conditions that list and change have in common.
 *
 * Parameters: ?1 subscription, ?2 behind this position, ?3 how many, ?4 id, ?5 topic pattern, ?6 key, ?7 type, ?8
 * reason code; NULL is any.
 */
#include <string.h>

#include "pattern.h"
#include "sqlite_store.h"

void
ob_sqlite_selection_bind(sqlite3_stmt *statement, const struct ob_selection *selection,
			 int64_t position_after, int64_t limit)
{
	ob_sqlite_bind_string(statement, 1, selection->subscription);
	sqlite3_bind_int64(statement, 2, position_after);
	sqlite3_bind_int64(statement, 3, limit);
	ob_sqlite_bind_string(statement, 4, selection->id);
	ob_sqlite_bind_string(statement, 5, selection->topic);
	ob_sqlite_bind_string(statement, 6, selection->key);
	ob_sqlite_bind_string(statement, 7, selection->type);
	ob_sqlite_bind_string(statement, 8, selection->code);
}

int
ob_sqlite_selection_check(const struct ob_selection *selection, struct ob_error *error)
{
	return selection->topic == NULL ? OB_OK : ob_pattern_check(selection->topic, error);
}

/* outbox_topic(topic, patterns): the function that the conditions use. */
void
ob_sqlite_topic_function(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	struct ob_bytes topic;
	const char *patterns;

	(void)argc;
	patterns = (const char *)sqlite3_value_text(argv[1]);
	topic.data = sqlite3_value_text(argv[0]);
	topic.size = (size_t)sqlite3_value_bytes(argv[0]);
	sqlite3_result_int(context, patterns != NULL && topic.data != NULL &&
					ob_pattern_match(patterns, topic));
}
