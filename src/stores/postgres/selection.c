/*
 * Which rows a person means: conditions on a table m, which list and change have in common.
 */
#include <string.h>

#include "pattern.h"
#include "postgres_store.h"

/* '*' is any bytes; everything else stands for itself. */
static void
like_append(struct postgres_store *store, struct ob_bytes pattern)
{
	const char *bytes = pattern.data;
	struct ob_buf like;

	ob_buf_init(&like, 2 * OB_PATTERN_LIST_SIZE_MAX + 1);
	for (size_t i = 0; i < pattern.size; i++) {
		if (bytes[i] == '%' || bytes[i] == '_' || bytes[i] == '\\')
			ob_buf_append_byte(&like, '\\');
		ob_buf_append_byte(&like, bytes[i] == '*' ? '%' : bytes[i]);
	}
	ob_postgres_sql(store, "m.topic COLLATE \"C\" LIKE ");
	ob_postgres_literal(store, ob_buf_text(&like));
	ob_buf_free(&like);
}

bool
ob_postgres_topic_append(struct postgres_store *store, const char *patterns)
{
	const char *list = patterns;
	struct ob_bytes pattern;
	bool any = false, first = true;

	while ((pattern = ob_pattern_next(&list)).data != NULL)
		any = any || (pattern.size == 1 && *(const char *)pattern.data == '*');
	if (any)
		return true;
	ob_postgres_sql(store, "(");
	for (list = patterns; (pattern = ob_pattern_next(&list)).data != NULL; first = false) {
		if (!first)
			ob_postgres_sql(store, " OR ");
		like_append(store, pattern);
	}
	ob_postgres_sql(store, ")");
	return false;
}

static void
equal_append(struct postgres_store *store, const char *column, const char *text)
{
	if (text == NULL)
		return;
	ob_postgres_sql(store, " AND %s = ", column);
	ob_postgres_literal(store, text);
}

void
ob_postgres_selection_append(struct postgres_store *store, const struct ob_selection *selection,
			     bool of_log)
{
	if (selection->id != NULL) {
		ob_postgres_sql(store, " AND m.id::text = lower(");
		ob_postgres_literal(store, selection->id);
		ob_postgres_sql(store, ")");
	}
	if (selection->topic != NULL) {
		ob_postgres_sql(store, " AND ");
		if (ob_postgres_topic_append(store, selection->topic))
			ob_postgres_sql(store, "true");
	}
	equal_append(store, "m.partition_key", selection->key);
	equal_append(store, "m.type", selection->type);
	if (!of_log) {
		equal_append(store, "m.code", selection->code);
		equal_append(store, "m.subscription", selection->subscription);
	} else if (selection->code != NULL) {
		/* The log is listed for no reason. */
		ob_postgres_sql(store, " AND false");
	}
}

int
ob_postgres_selection_check(const struct ob_selection *selection, struct ob_error *error)
{
	return selection->topic == NULL ? OB_OK : ob_pattern_check(selection->topic, error);
}
