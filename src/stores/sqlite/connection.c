/* Opening, closing, statements, transactions, and what an error of SQLite means to the caller. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"
#include "sqlite_store.h"
#include "text.h"

/* A message may carry this much beside its payload; see also the limits in 001_outbox.sql. */
#define FIELDS_BYTES_MAX (256 * 1024)
/* The longest sleep between two tries to get the write lock. Short, since SQLite queues nobody: who
   sleeps long among busy writers starves. */
#define BUSY_SLEEP_MS_MAX  4
#define WRITE_PAUSE_MAX_US 25000

static struct sqlite_store *
store_of(struct ob_store *base)
{
	return (struct sqlite_store *)(void *)base;
}

/* The path in "sqlite:PATH"; "sqlite:///PATH" is taken too. */
static const char *
path_of_url(const char *url)
{
	const char *path = strncasecmp(url, "sqlite:", 7) == 0 ? url + 7 : url;

	return ob_text_starts_with(path, "///") ? path + 2 : path;
}

static void
outbox_match(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	struct sqlite_store *store = sqlite3_user_data(context);
	struct ob_bytes topic;

	(void)argc;
	topic.data = sqlite3_value_text(argv[0]);
	topic.size = (size_t)sqlite3_value_bytes(argv[0]);
	store->matched = topic.data != NULL && ob_pattern_match(store->topics, topic);
	sqlite3_result_int(context, store->matched);
}

static int
busy_handler(void *context, int calls)
{
	struct sqlite_store *store = context;
	const struct ob_host *host = store->base.host;
	int64_t now_us = host->monotonic_us(host->context);

	if (calls == 0)
		store->busy_since_us = now_us;
	if (now_us - store->busy_since_us >= store->options->busy_timeout_ms * 1000)
		return 0;
	sqlite3_sleep(calls < BUSY_SLEEP_MS_MAX ? 1 + calls : BUSY_SLEEP_MS_MAX);
	return 1;
}

int
ob_sqlite_read_mode(struct sqlite_store *store, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(store, "PRAGMA journal_mode", &statement, error), rc;

	if (code != OB_OK)
		return code;
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		store->wal =
		    sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
	else
		code = ob_sqlite_fail(store, rc, "open", error);
	sqlite3_finalize(statement);
	ob_sqlite_file_note_sides(store);
	return code;
}

/*
 * A database that is made here gets WAL mode; one that the application has keeps its own. Another process
 * may be making the same one: SQLite then answers busy at once, whatever the busy handler says.
 */
static int
connection_make(struct sqlite_store *store, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	int64_t until_us =
	    host->monotonic_us(host->context) + store->options->busy_timeout_ms * 1000;
	int code;

	for (;;) {
		code = ob_sqlite_run_text(store, "PRAGMA journal_mode = WAL", error);
		if (code != OB_BUSY || host->monotonic_us(host->context) >= until_us)
			return code;
		sqlite3_sleep(BUSY_SLEEP_MS_MAX);
	}
}

/* What every connection of ours is set to. */
static int
connection_configure(struct sqlite_store *store, struct ob_error *error)
{
	static const char set_up[] =
	    /* A settle that a power cut takes back is only a duplicate, and in WAL mode the log stays
	       whole without a sync at each commit. (In rollback mode it would not: see below.) */
	    "PRAGMA synchronous = NORMAL;"
	    "PRAGMA wal_autocheckpoint = 0;"
	    "PRAGMA foreign_keys = OFF;"
	    "PRAGMA trusted_schema = OFF;"
	    "PRAGMA temp_store = MEMORY;";
	sqlite3_stmt *statement = NULL;
	int code, rc;

	sqlite3_extended_result_codes(store->db, 1);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH,
		      (int)(store->options->message_bytes_max + FIELDS_BYTES_MAX));
	rc = sqlite3_create_function_v2(store->db, "outbox_match", 1,
					SQLITE_UTF8 | SQLITE_DIRECTONLY, store, outbox_match, NULL,
					NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_create_function_v2(store->db, "outbox_topic", 2,
						SQLITE_UTF8 | SQLITE_DIRECTONLY |
						    SQLITE_DETERMINISTIC,
						NULL, ob_sqlite_topic_function, NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return ob_sqlite_fail(store, rc, "open", error);
	code = ob_sqlite_read_mode(store, error);
	if (code != OB_OK)
		return code;
	code = ob_sqlite_prepare_text(store, "PRAGMA encoding", &statement, error);
	if (code != OB_OK)
		return code;
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		store->utf16 = sqlite3_strnicmp((const char *)sqlite3_column_text(statement, 0),
						"UTF-16", 6) == 0;
	sqlite3_finalize(statement);
	if (rc != SQLITE_ROW)
		return ob_sqlite_fail(store, rc, "open", error);
	code = ob_sqlite_run_text(store, set_up, error);
	/* Without the WAL, NORMAL could leave a half written file behind a power cut. */
	if (code == OB_OK && !store->wal)
		code = ob_sqlite_run_text(store, "PRAGMA synchronous = FULL", error);
	if (code == OB_OK && store->read_only)
		code = ob_sqlite_run_text(store, "PRAGMA query_only = ON", error);
	return code;
}

static int
connection_open(struct sqlite_store *store, bool create, struct ob_error *error)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
	int64_t schema_version;
	struct stat before, st;
	bool is_new, was_there;
	int code, rc;

	code = ob_sqlite_path_check(store, create, &is_new, error);
	if (code != OB_OK)
		return code;
	was_there = stat(store->path, &before) == 0;
	if (create)
		flags |= SQLITE_OPEN_CREATE;
	rc = sqlite3_open_v2(store->path, &store->db, flags, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_busy_handler(store->db, busy_handler, store);
		/* The file is opened for good, and its head read, only now. */
		code =
		    ob_sqlite_number_text(store, "PRAGMA schema_version", &schema_version, error);
		if (code != OB_OK)
			return code;
	} else {
		return ob_sqlite_fail(store, rc, "open", error);
	}
	if (!store->read_only && sqlite3_db_readonly(store->db, "main") == 1)
		return ob_error_set(error, OB_DENIED, "%s: the database is read-only", store->name);
	if (is_new) {
		code = connection_make(store, error);
		if (code != OB_OK)
			return code;
	}
	code = connection_configure(store, error);
	if (code != OB_OK)
		return code;
	if (stat(store->path, &st) != 0)
		return ob_error_set(error, OB_UNREACHABLE, "%s: %s", store->name, strerror(errno));
	/* The new one would be taken for the one that is open. */
	if (was_there && (st.st_ino != before.st_ino || st.st_dev != before.st_dev))
		return ob_error_set(error, OB_BUSY,
				    "%s: the file was replaced while it was being opened",
				    store->name);
	store->file = (struct sqlite_file_id){.device = st.st_dev, .inode = st.st_ino};
	return OB_OK;
}

static void
connection_close(struct sqlite_store *store)
{
	for (int i = 0; i < SQL_COUNT; i++) {
		sqlite3_finalize(store->statements[i]);
		store->statements[i] = NULL;
	}
	sqlite3_close_v2(store->db);
	store->db = NULL;
}

int
ob_sqlite_open(struct ob_store *base, const struct ob_store_config *config, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	const char *path = path_of_url(config->url);

	store->options = config->options;
	store->read_only = config->read_only;
	store->wake_fd = store->watch_fd = -1;
	store->watch_main = store->watch_directory = store->watch_wal = -1;
	if (*path == '\0' || ob_text_starts_with(path, ":memory:") ||
	    ob_text_starts_with(path, "file:"))
		return ob_error_set(
		    error, OB_CONFIG,
		    "%s: give the path of a file, as in sqlite:/var/lib/shop/shop.db", config->url);
	store->path = strdup(path);
	store->name = sqlite3_mprintf("sqlite:%s", path);
	if (store->path == NULL || store->name == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	if (!ob_map_init(&store->handed, SQLITE_STORE_HANDED_MAX))
		return ob_error_set(error, OB_NOMEM, "out of memory");
	store->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (store->wake_fd < 0)
		return ob_error_set(error, OB_LIMIT, "%s: eventfd: %s", store->name,
				    strerror(errno));
	return connection_open(store, config->create, error);
}

void
ob_sqlite_close(struct ob_store *base)
{
	struct sqlite_store *store = store_of(base);

	if (store->path == NULL)
		return;
	connection_close(store);
	ob_sqlite_unwatch(store);
	if (store->wake_fd >= 0)
		close(store->wake_fd);
	ob_map_free(&store->handed);
	ob_reading_free(&store->reading);
	free(store->topics);
	free(store->path);
	sqlite3_free(store->name);
	store->path = store->name = store->topics = NULL;
}

int
ob_sqlite_reconnect(struct sqlite_store *store, struct ob_error *error)
{
	int code;

	if (store->in_doubt)
		ob_sqlite_forget(store);
	connection_close(store);
	code = connection_open(store, false, error);
	store->is_stale = code != OB_OK;
	store->in_doubt = store->in_doubt && store->is_stale;
	return code;
}

int
ob_sqlite_connection_look(const struct sqlite_store *store, struct ob_error *error)
{
	if (store->in_doubt)
		return ob_error_set(error, OB_AGAIN, "%s: the lease must be taken again",
				    store->name);
	if (store->is_stale)
		return ob_error_set(error, OB_DENIED, "%s: it must be opened anew", store->name);
	return OB_OK;
}

/* Errors of the connection or of the file beneath it, after which SQLite's own word is not enough. */
static int
fail_in_doubt(struct sqlite_store *store, enum ob_code code, int rc, const char *what,
	      struct ob_error *error)
{
	int explained = ob_sqlite_path_explain(store, rc, code, what, error);

	store->in_doubt = true;
	if (explained != OB_OK)
		return explained;
	return ob_error_set(error, code, "%s: %s: %s (SQLite %d)", store->name, what,
			    store->db == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(store->db), rc);
}

int
ob_sqlite_fail(struct sqlite_store *store, int rc, const char *what, struct ob_error *error)
{
	const char *text = store->db == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(store->db);
	int code;

	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ob_error_set(error, OB_BUSY,
				    "%s: %s: another connection holds the write lock", store->name,
				    what);
	case SQLITE_FULL:
		code = ob_sqlite_path_explain(store, rc, OB_LIMIT, what, error);
		return code != OB_OK ? code
				     : ob_error_set(error, OB_LIMIT,
						    "%s: %s: there is no room: a quota, or PRAGMA "
						    "max_page_count",
						    store->name, what);
	case SQLITE_READONLY:
		if (rc == SQLITE_READONLY_DBMOVED)
			return ob_error_set(error, OB_FOREIGN, "%s: the file was moved or removed",
					    store->name);
		/* A file that might not be written when it was opened stays so for this connection. */
		store->is_stale = true;
		code = ob_sqlite_path_explain(store, rc, OB_DENIED, what, error);
		if (code != OB_OK)
			return code;
		return ob_error_set(
		    error, OB_DENIED,
		    "%s: %s: the database is read-only: this user must be able to write the "
		    "file and its directory, where SQLite keeps files beside it",
		    store->name, what);
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return ob_error_set(error, OB_DENIED, "%s: %s: %s", store->name, what, text);
	case SQLITE_NOTADB:
		return ob_error_set(error, OB_CONFIG, "%s: the file is not an SQLite database",
				    store->name);
	case SQLITE_NOMEM:
		return ob_error_set(error, OB_NOMEM, "%s: %s: out of memory", store->name, what);
	case SQLITE_TOOBIG:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		return ob_error_set(error, OB_INVALID, "%s: %s: %s", store->name, what, text);
	case SQLITE_ERROR:
	case SQLITE_SCHEMA:
		/* Our statements are right for our tables; so the tables are not ours. */
		return ob_error_set(error, OB_SCHEMA, "%s: %s: %s; look with: outbox doctor %s",
				    store->name, what, text, store->name);
	case SQLITE_CANTOPEN:
		return fail_in_doubt(store, OB_UNREACHABLE, rc, what, error);
	case SQLITE_CORRUPT:
		return fail_in_doubt(store, OB_FAILED, rc, what, error);
	case SQLITE_IOERR:
	case SQLITE_PROTOCOL:
		return fail_in_doubt(store, OB_AGAIN, rc, what, error);
	default:
		return fail_in_doubt(store, OB_FAILED, rc, what, error);
	}
}

int
ob_sqlite_prepare_text(struct sqlite_store *store, const char *sql, sqlite3_stmt **statement,
		       struct ob_error *error)
{
	int rc = sqlite3_prepare_v2(store->db, sql, -1, statement, NULL);

	return rc == SQLITE_OK ? OB_OK : ob_sqlite_fail(store, rc, "prepare", error);
}

int
ob_sqlite_prepare(struct sqlite_store *store, enum sqlite_statement which, sqlite3_stmt **out,
		  struct ob_error *error)
{
	sqlite3_stmt **statement = &store->statements[which];
	int rc;

	if (store->db == NULL)
		return ob_error_set(error, OB_AGAIN, "%s: not connected", store->name);
	if (*statement == NULL) {
		rc = sqlite3_prepare_v3(store->db, ob_sqlite_statement_texts[which], -1,
					SQLITE_PREPARE_PERSISTENT, statement, NULL);
		if (rc != SQLITE_OK)
			return ob_sqlite_fail(store, rc, "prepare", error);
	}
	sqlite3_clear_bindings(*statement);
	*out = *statement;
	return OB_OK;
}

int
ob_sqlite_run(struct sqlite_store *store, sqlite3_stmt *statement, const char *what,
	      struct ob_error *error)
{
	int rc, code = OB_OK;

	do {
		rc = sqlite3_step(statement);
	} while (rc == SQLITE_ROW);
	if (rc != SQLITE_DONE)
		code = ob_sqlite_fail(store, rc, what, error);
	sqlite3_reset(statement);
	return code;
}

int
ob_sqlite_run_text(struct sqlite_store *store, const char *sql, struct ob_error *error)
{
	int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? OB_OK : ob_sqlite_fail(store, rc, "execute", error);
}

int
ob_sqlite_number(struct sqlite_store *store, sqlite3_stmt *statement, int64_t if_none,
		 int64_t *value, struct ob_error *error)
{
	int rc = sqlite3_step(statement), code = OB_OK;

	if (rc == SQLITE_ROW)
		*value = sqlite3_column_type(statement, 0) == SQLITE_NULL
			     ? if_none
			     : sqlite3_column_int64(statement, 0);
	else if (rc == SQLITE_DONE)
		*value = if_none;
	else
		code = ob_sqlite_fail(store, rc, "read", error);
	sqlite3_reset(statement);
	return code;
}

int
ob_sqlite_number_text(struct sqlite_store *store, const char *sql, int64_t *value,
		      struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare_text(store, sql, &statement, error);

	if (code != OB_OK)
		return code;
	code = ob_sqlite_number(store, statement, 0, value, error);
	sqlite3_finalize(statement);
	return code;
}

static int
run_prepared(struct sqlite_store *store, enum sqlite_statement which, const char *what,
	     struct ob_error *error)
{
	sqlite3_stmt *statement = NULL;
	int code = ob_sqlite_prepare(store, which, &statement, error);

	return code != OB_OK ? code : ob_sqlite_run(store, statement, what, error);
}

int
ob_sqlite_begin_read(struct sqlite_store *store, struct ob_error *error)
{
	return run_prepared(store, SQL_BEGIN, "begin", error);
}

void
ob_sqlite_sleep(int64_t us)
{
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	if (us > 0)
		(void)ppoll(NULL, 0, &time, NULL);
}

/*
 * The application polls for the lock with pauses that grow, so that a relay which takes it again as soon as it
 * has let go can keep it waiting for long. After each write we stay away for as long as it took.
 */
static void
write_pause(struct sqlite_store *store)
{
	const struct ob_host *host = store->base.host;
	int64_t since_us = host->monotonic_us(host->context) - store->write_ended_us;
	int64_t pause_us = store->write_took_us - since_us;

	if (pause_us > WRITE_PAUSE_MAX_US)
		pause_us = WRITE_PAUSE_MAX_US;
	if (store->write_ended_us != 0 && pause_us >= 1000)
		ob_sqlite_sleep(pause_us);
}

int
ob_sqlite_begin_write(struct sqlite_store *store, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	int code;

	write_pause(store);
	code = run_prepared(store, SQL_BEGIN_IMMEDIATE, "begin", error);
	store->write_began_us = code == OB_OK ? host->monotonic_us(host->context) : 0;
	return code;
}

int
ob_sqlite_end(struct sqlite_store *store, int result, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;

	if (result == OB_OK)
		result = run_prepared(store, SQL_COMMIT, "commit", error);
	/* Some errors have rolled back already; a commit that was refused as busy has not. */
	if (result != OB_OK && store->db != NULL && !sqlite3_get_autocommit(store->db))
		run_prepared(store, SQL_ROLLBACK, "rollback", NULL);
	if (store->write_began_us != 0) {
		store->write_ended_us = host->monotonic_us(host->context);
		store->write_took_us = store->write_ended_us - store->write_began_us;
		store->write_began_us = 0;
	}
	return result;
}

int
ob_sqlite_version(struct sqlite_store *store, int64_t *version, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare(store, SQL_DATA_VERSION, &statement, error);

	return code != OB_OK ? code : ob_sqlite_number(store, statement, 0, version, error);
}

int
ob_sqlite_now(struct sqlite_store *store, int64_t *now_ms, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int code = ob_sqlite_prepare(store, SQL_NOW, &statement, error);

	return code != OB_OK ? code : ob_sqlite_number(store, statement, 0, now_ms, error);
}

struct ob_bytes
ob_sqlite_column(struct sqlite_store *store, sqlite3_stmt *statement, int column)
{
	struct ob_bytes bytes;

	/* In UTF-8 text and blob are the same bytes, and the blob needs no NUL and so no copy. */
	if (!store->utf16 || sqlite3_column_type(statement, column) == SQLITE_BLOB)
		bytes.data = sqlite3_column_blob(statement, column);
	else
		bytes.data = sqlite3_column_text(statement, column);
	if (bytes.data != NULL) {
		bytes.size = (size_t)sqlite3_column_bytes(statement, column);
		return bytes;
	}
	/* No bytes are given as NULL, too; they are empty, not absent. */
	bytes.size = 0;
	if (sqlite3_column_type(statement, column) != SQLITE_NULL)
		bytes.data = "";
	return bytes;
}

int
ob_sqlite_bind_string(sqlite3_stmt *statement, int at, const char *text)
{
	return sqlite3_bind_text(statement, at, text, -1, SQLITE_TRANSIENT);
}

void
ob_sqlite_column_text_copy(sqlite3_stmt *statement, int column, char *out, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);

	ob_text_copy(out, size, text == NULL ? "" : text);
}
