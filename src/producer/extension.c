/*
 * The SQLite extension outbox_sqlite.so: writing messages from any language that can load it.
 *
 *     SELECT outbox_publish('orders.placed', '{"order": 1}', 'alice');
 *
 * A failure is an error of the statement that calls the function; the transaction goes on, as after any other
 * statement that failed.
 */
#include "sqlite_api.h"

#include <outbox/sqlite.h>
#include <outbox/uuid.h>
#include <stdio.h>
#include <string.h>

#include "rfc3339.h"
#include "writer.h"

SQLITE_EXTENSION_INIT1

#ifndef SQLITE_DIRECTONLY
#define SQLITE_DIRECTONLY 0x000080000
#endif
#ifndef SQLITE_INNOCUOUS
#define SQLITE_INNOCUOUS 0x000200000
#endif

enum argument {
	ARGUMENT_TOPIC,
	ARGUMENT_PAYLOAD,
	ARGUMENT_KEY,
	ARGUMENT_TYPE,
	ARGUMENT_HEADERS,
	ARGUMENT_CONTENT_TYPE,
	ARGUMENT_DELIVER_AFTER,
	ARGUMENT_ID,
	ARGUMENT_COUNT,
};

static void
result_fail(sqlite3_context *context, int rc, const struct ob_error *error)
{
	if (rc == OB_NOMEM) {
		sqlite3_result_error_nomem(context);
		return;
	}
	/* First the text: the code keeps it. */
	sqlite3_result_error(context, error->text, -1);
	if (rc == OB_BUSY)
		sqlite3_result_error_code(context, SQLITE_BUSY);
	else if (rc == OB_INVALID)
		sqlite3_result_error_code(context, SQLITE_CONSTRAINT);
}

/* The bytes of a value as text; absent for NULL. Valid for as long as the value is. */
static int
text_read(sqlite3_value *value, struct ob_bytes *out, struct ob_error *error)
{
	*out = (struct ob_bytes){NULL, 0};
	if (sqlite3_value_type(value) == SQLITE_NULL)
		return OB_OK;
	out->data = sqlite3_value_text(value);
	if (out->data == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	out->size = (size_t)sqlite3_value_bytes(value);
	return OB_OK;
}

/* Text and BLOB are written as they are, a number as its text. */
static int
payload_read(sqlite3_value *value, struct ob_bytes *out, sqlite3_value **bound,
	     struct ob_error *error)
{
	int type = sqlite3_value_type(value);

	*bound = type == SQLITE_TEXT || type == SQLITE_BLOB ? value : NULL;
	if (type != SQLITE_BLOB)
		return text_read(value, out, error);
	out->data = sqlite3_value_blob(value);
	out->size = (size_t)sqlite3_value_bytes(value);
	return OB_OK;
}

/* RFC 3339, or what datetime() gives, which is UTC without saying so. */
static int
time_read(sqlite3_value *value, char time[OB_RFC3339_SIZE], struct ob_bytes *out,
	  struct ob_error *error)
{
	int64_t time_us;
	char zoned[64];
	int rc = text_read(value, out, error);

	if (rc != OB_OK || out->data == NULL)
		return rc;
	(void)snprintf(zoned, sizeof(zoned), "%.*sZ", (int)(out->size < 40 ? out->size : 40),
		       (const char *)out->data);
	if (!ob_rfc3339_parse(out->data, out->size, &time_us) &&
	    !ob_rfc3339_parse(zoned, strlen(zoned), &time_us))
		return ob_error_set(
		    error, OB_INVALID,
		    "deliver_after: not a time; write it as YYYY-MM-DDTHH:MM:SSZ or with datetime()");
	ob_rfc3339_format(time, time_us);
	*out = (struct ob_bytes){time, strlen(time)};
	return OB_OK;
}

/* Reads all arguments, those that were not given as absent. */
static int
arguments_read(sqlite3_value **arguments, int count, struct ob_outgoing *message,
	       sqlite3_value **payload, char time[OB_RFC3339_SIZE], struct ob_error *error)
{
	struct ob_bytes *const texts[ARGUMENT_COUNT] = {
	    [ARGUMENT_TOPIC] = &message->topic,
	    [ARGUMENT_KEY] = &message->key,
	    [ARGUMENT_TYPE] = &message->type,
	    [ARGUMENT_HEADERS] = &message->headers,
	    [ARGUMENT_CONTENT_TYPE] = &message->content_type,
	    [ARGUMENT_ID] = &message->id,
	};
	int rc = OB_OK;

	for (int i = 0; rc == OB_OK && i < count; i++) {
		if (i == ARGUMENT_PAYLOAD)
			rc = payload_read(arguments[i], &message->payload, payload, error);
		else if (i == ARGUMENT_DELIVER_AFTER)
			rc = time_read(arguments[i], time, &message->deliver_after, error);
		else
			rc = text_read(arguments[i], texts[i], error);
	}
	return rc;
}

static int
publish(sqlite3 *db, struct ob_outgoing *message, sqlite3_value *payload, struct ob_error *error)
{
	sqlite3_stmt *insert = NULL;
	int rc = ob_outgoing_check(message, error);

	if (rc != OB_OK)
		return rc;
	/* Prepared for each call: a statement that is kept would keep sqlite3_close from closing. */
	rc = ob_writer_prepare(db, false, &insert, error);
	if (rc != OB_OK)
		return rc;
	rc = ob_writer_insert(insert, message, payload, error);
	(void)sqlite3_finalize(insert);
	return rc;
}

static void
function_publish(sqlite3_context *context, int count, sqlite3_value **arguments)
{
	sqlite3 *db = sqlite3_context_db_handle(context);
	struct ob_outgoing message = {0};
	sqlite3_value *payload = NULL;
	char time[OB_RFC3339_SIZE];
	char id[OB_UUID_TEXT_SIZE];
	struct ob_error error;
	int rc = OB_OK;

	if (count < 1 || count > ARGUMENT_COUNT)
		rc = ob_error_set(
		    &error, OB_INVALID,
		    "takes topic, payload, partition_key, type, headers, content_type, deliver_after, id; "
		    "all but the topic may be left out");
	if (rc == OB_OK)
		rc = arguments_read(arguments, count, &message, &payload, time, &error);
	if (rc == OB_OK && message.id.data == NULL) {
		rc = ob_uuid7(id, &error);
		message.id = (struct ob_bytes){id, OB_UUID_TEXT_SIZE - 1};
	}
	if (rc == OB_OK)
		rc = publish(db, &message, payload, &error);
	if (rc == OB_OK) {
		sqlite3_result_text(context, message.id.data, (int)message.id.size,
				    SQLITE_TRANSIENT);
		return;
	}
	ob_error_prefix(&error, "outbox_publish");
	result_fail(context, rc, &error);
}

static void
function_uuid7(sqlite3_context *context, int count, sqlite3_value **arguments)
{
	char id[OB_UUID_TEXT_SIZE];
	struct ob_error error;
	int rc = ob_uuid7(id, &error);

	(void)count;
	(void)arguments;
	if (rc == OB_OK)
		sqlite3_result_text(context, id, OB_UUID_TEXT_SIZE - 1, SQLITE_TRANSIENT);
	else
		result_fail(context, rc, &error);
}

static int
extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
{
	int rc;

	SQLITE_EXTENSION_INIT2(api);
	(void)error;
	/* Writes, so it may not hide in a view or trigger of a database that somebody else made. */
	rc = sqlite3_create_function_v2(db, "outbox_publish", -1, SQLITE_UTF8 | SQLITE_DIRECTONLY,
					NULL, function_publish, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_create_function_v2(db, "outbox_uuid7", 0,
						SQLITE_UTF8 | SQLITE_INNOCUOUS, NULL,
						function_uuid7, NULL, NULL, NULL);
	return rc;
}

/* SQLite derives the first name from the file's ("outbox_sqlite" without what is no letter); the
   others are for programs that ask for them. */
OB_API int sqlite3_outboxsqlite_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);
OB_API int sqlite3_outbox_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);
OB_API int sqlite3_extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);

int
sqlite3_outboxsqlite_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
{
	return extension_init(db, error, api);
}

int
sqlite3_outbox_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
{
	return extension_init(db, error, api);
}

int
sqlite3_extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
{
	return extension_init(db, error, api);
}
