/*
 * The SQLite store, shared by its files. One connection, one thread.
 *
 *	connection.c  opening, closing, statements, transactions, what an error of SQLite means
 *	path.c        why a file cannot be opened or written: rights, directories, a full disk
 *	schema.c      migrations, and whether our tables are as they should be
 *	subscribe.c   making a subscription
 *	lease.c       acquire, renew, release, and the fence that every call passes
 *	known.c       whether the database went back in time
 *	fetch.c       reading the log and the due parked rows
 *	settle.c      writing outcomes
 *	durable.c     what was read is on the disk before it is handed out
 *	wait.c        sleeping until somebody commits
 *	change.c, replay.c, list.c, stats.c, trim.c, doctor.c  what people see and change, and house-keeping
 *
 * The application's transactions come first: reads are short (a reader in rollback mode holds up a
 * commit), write transactions are short (at most one writes), and the relay never checkpoints the WAL
 * while anybody else writes.
 *
 * Functions return an ob_code and fill `error`.
 */
#ifndef OB_SQLITE_STORE_H
#define OB_SQLITE_STORE_H

#include <outbox/store.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "map.h"
#include "reading.h"

#define SQLITE_STORE_HOLDER_SIZE 33 /* 128 random bits in hex, and a NUL */
/* How many parked rows may be handed out at once. */
#define SQLITE_STORE_HANDED_MAX 4096

struct sqlite_options {
	int64_t retention_ms;
	int64_t busy_timeout_ms;
	int64_t message_bytes_max;
	int64_t wal_limit_bytes;
};

/* Statements that are prepared once a connection; their texts stand in statements.c. */
enum sqlite_statement {
	SQL_BEGIN = 0,
	SQL_BEGIN_IMMEDIATE,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_DATA_VERSION,
	SQL_NOW,
	SQL_FENCE,
	SQL_MESSAGES,
	SQL_MESSAGES_MATCHING,
	SQL_MESSAGE_WITHOUT_PAYLOAD,
	SQL_PARKED_DUE,
	SQL_PARKED_RUN,
	SQL_PARKED_NEXT_DUE,
	SQL_LOG_END,
	SQL_PARK,
	SQL_DEAD_FROM_LOG,
	SQL_PARKED_TRIES,
	SQL_REPARK,
	SQL_DEAD_FROM_PARKED,
	SQL_UNPARK,
	SQL_PROMOTE,
	SQL_CHECKPOINT,
	SQL_HOLD_BACK,
	SQL_COUNT
};

struct sqlite_file_id {
	dev_t device;
	ino_t inode;
};

/* What the lease row must say while the lease is ours. */
struct sqlite_lease {
	char holder[SQLITE_STORE_HOLDER_SIZE];
	int64_t beat;
	int64_t epoch;
	int64_t lease_ms;
};

/* The log as a whole, as one transaction sees it. */
struct sqlite_log {
	char outbox[SQLITE_STORE_HOLDER_SIZE]; /* which outbox it is */
	int64_t numbers;                       /* the highest that was ever given to a message */
	uint64_t id; /* of the message at known.log_end, its hash; 0: it is gone */
};

/* What the rows of a subscription say. */
struct sqlite_said {
	char holder[SQLITE_STORE_HOLDER_SIZE];
	int64_t epoch, beat, position, adopted_at;
	struct sqlite_log log;
};

/* What is known to be committed. It outlives the connection: see known.c. */
struct sqlite_known {
	struct sqlite_said said; /* without an outbox: nothing is known yet */
	int64_t log_end;         /* the last message that was seen, 0: none */
	uint64_t log_end_id;
};

struct sqlite_store {
	struct ob_store base; /* first: the contract's part */
	const struct sqlite_options *options;
	char *path;
	char *name; /* "sqlite:PATH", for errors */
	bool read_only;

	sqlite3 *db;
	sqlite3_stmt *statements[SQL_COUNT];
	struct sqlite_file_id file, file_wal, file_shm; /* the last two are 0 when not there */
	bool wal;                                       /* journal_mode of the database */
	bool utf16;
	bool in_doubt; /* an error after which only a new connection can be believed */
	bool
	    is_stale; /* only a new connection can write, but nothing of what we know is in doubt */
	struct sqlite_known known;
	const char *refuses; /* why only a person can let us go on; NULL: we may */
	int64_t refuses_since_us;
	int64_t busy_since_us;
	int64_t write_began_us, write_took_us, write_ended_us; /* of our own transactions */

	/* The subscription that is run. */
	char subscription[OB_SUBSCRIPTION_NAME_MAX + 1];
	char *topics;
	bool all_topics;
	enum ob_order_by order_by;
	bool acquired;
	struct sqlite_lease lease;
	struct ob_reading reading;
	struct ob_map handed; /* parked positions that await their outcome */
	bool matched;         /* what the last outbox_match() of a row said */

	/* Whose lease we wait for, and until when by our own clock. */
	char waited_holder[SQLITE_STORE_HOLDER_SIZE];
	int64_t waited_beat;
	int64_t waited_looked_us;
	int64_t waited_until_us;

	int64_t durable_position; /* rows up to here are known to be on the disk */
	uint64_t durable_salt;    /* of the -wal when the main file was last made durable */
	int64_t seen_position;    /* the last row of the log when it was last read */
	uint64_t seen_id;
	char day[10]; /* the date of the last created_at, and when that day began */
	int64_t day_us;
	int64_t version_read;                /* data_version of the last fetch */
	bool more;                           /* the last fetch left rows behind */
	int64_t read_took_us, read_ended_us; /* of the last fetch */

	int wake_fd, watch_fd;
	int watch_directory, watch_main, watch_wal; /* -1: not watched */
	int64_t quiet_since_us;                     /* since when nobody else has committed */
	int64_t quiet_version;
	int64_t trim_took_us, trim_ended_us, trim_version; /* of the last piece of work */
	int64_t trim_rows;                                 /* of one piece of work */
};

/* ---- connection.c ---- */

int ob_sqlite_open(struct ob_store *base, const struct ob_store_config *config,
		   struct ob_error *error);
void ob_sqlite_close(struct ob_store *base);
/* Closes and opens the connection anew, after an error that left it in doubt. */
int ob_sqlite_reconnect(struct sqlite_store *store, struct ob_error *error);

/* OB_AGAIN or OB_DENIED when only acquire can go on, which connects anew. */
int ob_sqlite_connection_look(const struct sqlite_store *store, struct ob_error *error);

/* Reads the journal mode, which others may change. */
int ob_sqlite_read_mode(struct sqlite_store *store, struct ob_error *error);
/* What `rc` means to the caller, with the text. Sets `in_doubt` where it must. */
int ob_sqlite_fail(struct sqlite_store *store, int rc, const char *what, struct ob_error *error);
/* A statement that the store keeps, with its bindings cleared. */
int ob_sqlite_prepare(struct sqlite_store *store, enum sqlite_statement which,
		      sqlite3_stmt **statement, struct ob_error *error);
/* Any other statement, to be finalized. */
int ob_sqlite_prepare_text(struct sqlite_store *store, const char *sql, sqlite3_stmt **statement,
			   struct ob_error *error);
/* Runs a statement that returns no row, and resets it. */
int ob_sqlite_run(struct sqlite_store *store, sqlite3_stmt *statement, const char *what,
		  struct ob_error *error);
int ob_sqlite_run_text(struct sqlite_store *store, const char *sql, struct ob_error *error);
/* One number from the first column of the first row; `if_none` when there is no row. Resets. */
int ob_sqlite_number(struct sqlite_store *store, sqlite3_stmt *statement, int64_t if_none,
		     int64_t *value, struct ob_error *error);
int ob_sqlite_number_text(struct sqlite_store *store, const char *sql, int64_t *value,
			  struct ob_error *error);

int ob_sqlite_begin_read(struct sqlite_store *store, struct ob_error *error);
int ob_sqlite_begin_write(struct sqlite_store *store, struct ob_error *error);
/* Ends the transaction: commits when `result` is OB_OK, else rolls back and keeps `result`. */
int ob_sqlite_end(struct sqlite_store *store, int result, struct ob_error *error);

/* Sleeps for so many microseconds; not at all for 0 or less. */
void ob_sqlite_sleep(int64_t us);
/* PRAGMA data_version, which changes when another connection has committed. */
int ob_sqlite_version(struct sqlite_store *store, int64_t *version, struct ob_error *error);
/* The database's clock, in milliseconds since 1970. */
int ob_sqlite_now(struct sqlite_store *store, int64_t *now_ms, struct ob_error *error);
/* A column's bytes, in UTF-8 whatever the database's encoding. They live until the next step. */
struct ob_bytes ob_sqlite_column(struct sqlite_store *store, sqlite3_stmt *statement, int column);
int ob_sqlite_bind_string(sqlite3_stmt *statement, int at, const char *text);
/* A copy of a column's text, cut to `size`. */
void ob_sqlite_column_text_copy(sqlite3_stmt *statement, int column, char *out, size_t size);

/* ---- path.c ---- */

/* OB_OK when the file, or with `create` its directory, is there and may be used; else says what is in the way. */
int ob_sqlite_path_check(const struct sqlite_store *store, bool create, bool *is_new,
			 struct ob_error *error);
/* What is behind an error of SQLite, where the system tells: the code (a full disk: `code`), with the text. OB_OK: no more is known. */
int ob_sqlite_path_explain(const struct sqlite_store *store, int rc, enum ob_code code,
			   const char *what, struct ob_error *error);

/* ---- statements.c ---- */

extern const char *const ob_sqlite_statement_texts[SQL_COUNT];

/* ---- schema.c ---- */

int ob_sqlite_migrate(struct ob_store *base, enum ob_migrate_mode mode,
		      void (*each)(void *context, const struct ob_migration *migration),
		      void *context, struct ob_error *error);
char *ob_sqlite_schema_sql(const void *options);
/* OB_SCHEMA, with what mends it, when our tables are not there, altered or newer. */
int ob_sqlite_schema_check(struct sqlite_store *store, struct ob_error *error);

/* ---- lease.c ---- */

int ob_sqlite_subscribe(struct ob_store *base, const struct ob_subscription *subscription,
			struct ob_error *error);
int ob_sqlite_acquire(struct ob_store *base, const struct ob_lease_request *request,
		      struct ob_acquired *acquired, struct ob_error *error);
int ob_sqlite_renew(struct ob_store *base, const struct ob_relay_state *state,
		    struct ob_error *error);
int ob_sqlite_release(struct ob_store *base, struct ob_error *error);
/* Before a transaction: the connection is not in doubt, and the file is the one that was opened. */
int ob_sqlite_lease_look(struct sqlite_store *store, struct ob_error *error);
/* Inside a transaction: the lease is ours, of our epoch, and the checkpoint is where we left it. Gives the time. */
int ob_sqlite_fence(struct sqlite_store *store, int64_t *now_ms, struct ob_error *error);
/* Nothing that was fetched is valid any more. */
void ob_sqlite_forget(struct sqlite_store *store);

/* ---- known.c ---- */

/* Three columns: which outbox, the highest number given, the id of the message that `at`, a parameter, names. */
#define OB_SQLITE_LOG_COLUMNS(at)                                                            \
	"(SELECT id FROM outbox_instance),"                                                  \
	" max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox_message'), 0)," \
	" coalesce((SELECT max(seq) FROM outbox_message), 0)),"                              \
	" (SELECT id FROM outbox_message WHERE seq = " at ")"
void ob_sqlite_log_read(sqlite3_stmt *statement, int column, struct sqlite_log *log);
uint64_t ob_sqlite_id_hash(sqlite3_stmt *statement, int column);

/* What is wrong with the log of a database whose lease is as we left it; NULL: nothing. */
const char *ob_sqlite_log_fault(const struct sqlite_store *store, const struct sqlite_log *log,
				int64_t position);
/* Why a database that says this must be refused; NULL: it need not be. */
const char *ob_sqlite_known_fault(const struct sqlite_store *store, const struct sqlite_said *said);
/* That was committed, or was seen so. */
void ob_sqlite_known_note(struct sqlite_store *store, const struct sqlite_said *said);
/* From now on, until it is adopted. `why` is a constant. */
void ob_sqlite_refuse(struct sqlite_store *store, const char *why);
/* The reason code of `refuses`. */
const char *ob_sqlite_refusal_code(const struct sqlite_store *store);
/* OB_FOREIGN, with why and the command to go on. */
int ob_sqlite_foreign(const struct sqlite_store *store, struct ob_error *error);

/* Remembers which files beside the database belong to the open connection. */
void ob_sqlite_file_note_sides(struct sqlite_store *store);
/* OB_FOREIGN when the path leads to another file than the one that is open; OB_AGAIN when that holds for what belongs to
   it, or when nobody can tell. */
int ob_sqlite_file_check(struct sqlite_store *store, struct ob_error *error);
/* The same, and draws the conclusions of what is found. */
int ob_sqlite_file_look(struct sqlite_store *store, struct ob_error *error);

/* ---- fetch.c, settle.c, durable.c, wait.c ---- */

int ob_sqlite_fetch(struct ob_store *base, const struct ob_fetch *fetch, struct ob_batch *batch,
		    struct ob_error *error);
/* The columns id to payload, from `column` on, into a message whose bytes live in the batch. */
int ob_sqlite_read_message(struct sqlite_store *store, sqlite3_stmt *statement, int column,
			   struct ob_batch *batch, struct ob_message *message,
			   struct ob_error *error);
int ob_sqlite_settle(struct ob_store *base, const struct ob_settle *settle, struct ob_error *error);
int ob_sqlite_make_durable(struct sqlite_store *store, struct ob_error *error);
int ob_sqlite_wait(struct ob_store *base, int64_t timeout_ms, struct ob_error *error);
void ob_sqlite_wake(struct ob_store *base);
/* The size of the -wal file, 0 if there is none. */
int64_t ob_sqlite_wal_size(const struct sqlite_store *store);
/* Gives back what waiting holds. */
void ob_sqlite_unwatch(struct sqlite_store *store);

/* ---- selection.c ---- */

/* The conditions on a parked or dead row that a person may give; see selection.c for the parameters. */
#define OB_SQLITE_SELECTED                                                      \
	"(?4 IS NULL OR id = ?4) AND (?5 IS NULL OR outbox_topic(topic, ?5))"   \
	" AND (?6 IS NULL OR partition_key = ?6) AND (?7 IS NULL OR type = ?7)" \
	" AND (?8 IS NULL OR code = ?8)"

void ob_sqlite_selection_bind(sqlite3_stmt *statement, const struct ob_selection *selection,
			      int64_t position_after, int64_t limit);
int ob_sqlite_selection_check(const struct ob_selection *selection, struct ob_error *error);
void ob_sqlite_topic_function(sqlite3_context *context, int argc, sqlite3_value **argv);

/* ---- change.c, list.c, stats.c, trim.c, doctor.c ---- */

int ob_sqlite_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		     struct ob_error *error);
int ob_sqlite_list(struct ob_store *base, const struct ob_selection *selection,
		   bool (*each)(void *context, const struct ob_listed *row), void *context,
		   struct ob_error *error);
int ob_sqlite_stats(struct ob_store *base, const char *subscription,
		    void (*each)(void *context, const struct ob_subscription_stats *stats),
		    void *context, struct ob_error *error);
int ob_sqlite_trim(struct ob_store *base, uint64_t *rows, bool *again, struct ob_error *error);
int ob_sqlite_check(struct ob_store *base, const struct ob_report *report, struct ob_error *error);

/* ---- write.c ---- */

extern const struct ob_writer_ops ob_sqlite_writer;

#endif
