/*
 * The PostgreSQL store, shared by its files. One connection, one thread.
 *
 *	connection.c    connecting to the writable one of several hosts
 *	query.c         sending statements with a deadline, and what an error of the server means
 *	schema.c        migrations
 *	schema_check.c  whether our tables are as they should be
 *	subscribe.c     making a subscription
 *	lease.c         acquire
 *	held.c          the guard that every call of an owner passes, renew, release
 *	crew.c          who else runs a subscription, and which shards
 *	shards.c        changing the number of shards
 *	points.c        snapshots, and the points between which is read
 *	interval.c      opening intervals: the argument why nothing is lost or reordered stands there
 *	fetch.c         reading the log, page by page
 *	parked.c        reading the due parked rows
 *	rows.c          messages as the server sends them
 *	settle.c        writing outcomes
 *	wait.c          sleeping until somebody commits
 *	notify.c        being woken by who commits
 *	selection.c     which rows a person means
 *	change.c, list.c, stats.c, trim.c, doctor.c  what people see and change, and house-keeping
 *
 * Everything works through a proxy that gives a connection of the server's for a transaction only: nothing but a hint (notify.c)
 * is kept in the server's session, no statement is prepared by name, and each transaction begins with a BEGIN of its own that
 * names its isolation level.
 *
 * Functions return an ob_code and fill `error`.
 */
#ifndef OB_POSTGRES_STORE_H
#define OB_POSTGRES_STORE_H

#include <libpq-fe.h>
#include <outbox/store.h>

#include "buf.h"
#include "map.h"
#include "points.h"
#include "reading.h"

/* Frozen with the schema; see 001_outbox.sql. */
#define POSTGRES_STRETCH    100000
#define POSTGRES_PARTITIONS 16

#define POSTGRES_VERSION_MIN 140000
#define POSTGRES_SQL_MAX     (256 * 1024 * 1024)
#define POSTGRES_ANSWERS_MAX 16
/* How long a transaction of ours waits for a lock: it stands in a queue, and the application's behind it. */
#define POSTGRES_LOCK_TIMEOUT_MS 2000
/* How long the server keeps our locks when we say nothing within a transaction: our machine may be gone, and nobody told it. */
#define POSTGRES_IDLE_TIMEOUT_MS 5000
#define POSTGRES_HOLDER_SIZE     33 /* 128 random bits in hex, and a NUL */
#define POSTGRES_CTID_SIZE       32
/* How many parked rows may be handed out at once. */
#define POSTGRES_HANDED_MAX 4096

struct postgres_options {
	char *schema;
	char *instance_name;
	bool roles;
	bool standby_flushed;
	bool notify;
	int64_t poll_max_ms;
	int64_t connect_timeout_ms;
	int64_t timeout_ms;
	int64_t retention_ms;
	int64_t message_bytes_max;
	int64_t turn_age_ms;
	int64_t turn_bytes;
};

/* What the lease and the checkpoint must say while the lease is ours. */
struct postgres_lease {
	char holder[POSTGRES_HOLDER_SIZE];
	int64_t epoch;
	int64_t lease_ms;
	int64_t beat;                           /* of the checkpoint's row */
	char checkpoint_at[POSTGRES_CTID_SIZE]; /* where its row was last seen */
	char opening_at[POSTGRES_CTID_SIZE];    /* and that of `opening` */
	char *opened;                           /* the snapshot in it */
};

struct postgres_store {
	struct ob_store base; /* first: the contract's part */
	const struct postgres_options *options;
	char *url;
	char *name;   /* the URL without secrets, for errors */
	char *schema; /* as it stands in statements */
	bool read_only;

	PGconn *conn;
	bool in_doubt;       /* an error after which only a new connection can be believed */
	int64_t patience_ms; /* more than the option timeout says; 0: no more */
	bool unconfirmed;    /* a COMMIT did not wait for the synchronous standby to the end */
	struct ob_buf sql;   /* the message that is being made */
	struct ob_buf members;
	int wake_fd;

	/* The subscription that is run. */
	char subscription[OB_SUBSCRIPTION_NAME_MAX + 1];
	uint32_t shard, shards;
	char *matches; /* the condition on m.topic, NULL for all topics */
	enum ob_order_by order_by;
	bool acquired;
	struct postgres_lease lease;
	struct ob_map handed; /* parked positions that await their outcome */
	bool may_be_parked;   /* false: there is certainly no parked row */

	/* Where reading is. */
	struct ob_reading reading;
	struct postgres_points points;
	char *common; /* the point at which the shards end, "" when none is set */
	int64_t common_q;
	char *replay_s1, *replay_s2; /* what a replay reads again; replay_s2 up to replay_cut */
	int64_t replay_cut;
	uint64_t begun;     /* the number of the interval whose late ones stand in `members` */
	int64_t low;        /* no number of that interval is at or below */
	int64_t inline_max; /* payloads up to here come with the page */
	bool more;          /* the last fetch left rows behind */
	bool known_new;     /* a look found something that is in no interval yet */
	bool fruitful;      /* the interval that was opened last had rows */
	uint64_t *waiting;  /* those in progress at the last point that may still bring rows */
	size_t waiting_count;
	int64_t found_us; /* when something was last found, for the pace of polling */

	/* What the last wait saw, of who fetches nothing (`tail`), or the last fetch that wanted nothing; else without text. */
	struct postgres_snapshot seen;

	bool asleep; /* the advisory lock is held that tells so */
	bool pooled; /* there is no session of the server's to sleep in */

	int64_t trim_not_before_us;

	struct postgres_watch *watch; /* of who joins */

	/* Whose lease we wait for: a clock set back must not make it last for ever. */
	char waited_holder[POSTGRES_HOLDER_SIZE];
	int64_t waited_beat;
	int64_t waited_since_us;
};

static inline struct postgres_store *
postgres_store_of(struct ob_store *base)
{
	return (struct postgres_store *)(void *)base;
}

/* ---- connection.c ---- */

int ob_postgres_open(struct ob_store *base, const struct ob_store_config *config,
		     struct ob_error *error);
void ob_postgres_close(struct ob_store *base);
/* The option standby-flushed, and no standby for which a commit waits. */
int ob_postgres_no_standby(struct postgres_store *store, struct ob_error *error);
/* Closes and opens the connection anew, after an error that left it in doubt. */
int ob_postgres_reconnect(struct postgres_store *store, struct ob_error *error);

/* ---- query.c ---- */

/* The results with rows of one message, in their order. */
struct postgres_answers {
	PGresult *items[POSTGRES_ANSWERS_MAX];
	size_t count;
	/* Takes each row of a COPY ... TO STDOUT; may be NULL. */
	int (*copied)(void *context, const char *row, size_t size, struct ob_error *error);
	void *context;
};

/*
 * Sends the statements in store->sql as one message and waits for all of it. `answers` may be NULL; else it is filled on
 * success and must be freed. After a failure no transaction is open. OB_AGAIN when the outcome is unknown.
 */
int ob_postgres_run(struct postgres_store *store, const char *what,
		    struct postgres_answers *answers, struct ob_error *error);
/* The same with COMMIT behind them. */
int ob_postgres_commit(struct postgres_store *store, const char *what,
		       struct postgres_answers *answers, struct ob_error *error);
/* The next transaction that writes, and the messages until this is called again with 0, may take longer. */
void ob_postgres_patience(struct postgres_store *store, int64_t ms);
/* Ends a transaction that was left open, and keeps `code`. */
int ob_postgres_rollback(struct postgres_store *store, int code);
/* What libpq calls with each notice of the server. */
void ob_postgres_notice(void *context, const PGresult *notice);
void ob_postgres_answers_free(struct postgres_answers *answers);
/* Begins a message in store->sql: with a transaction that writes durably, or one that only reads. */
void ob_postgres_begin_write(struct postgres_store *store);
void ob_postgres_begin_read(struct postgres_store *store);
/* Appends the beginning of another transaction that writes. */
void ob_postgres_write_append(struct postgres_store *store);
/* Appends to store->sql. Errors show when it is run. */
void ob_postgres_sql(struct postgres_store *store, const char *format, ...) OB_PRINTF(2, 3);
/* A literal of any text, NULL too. */
void ob_postgres_literal(struct postgres_store *store, const char *text);
/* One number; `if_none` when there is no row or it is NULL. */
int64_t ob_postgres_number(const PGresult *result, int row, int column, int64_t if_none);
/* True when it is; false for NULL. */
bool ob_postgres_bool(const PGresult *result, int row, int column);
/* Text, "" for NULL; lives as long as the result. */
const char *ob_postgres_text(const PGresult *result, int row, int column);
/* What an error with this SQLSTATE means to the caller. */
enum ob_code ob_postgres_code_of(const char *sqlstate);
int ob_postgres_no_memory(const struct postgres_store *store, struct ob_error *error);

/* ---- schema.c, schema_check.c ---- */

int ob_postgres_migrate(struct ob_store *base, enum ob_migrate_mode mode,
			void (*each)(void *context, const struct ob_migration *migration),
			void *context, struct ob_error *error);
char *ob_postgres_schema_sql(const void *options);
/* The version that the database has, 0 when our tables are not there; and that which this program knows. */
int ob_postgres_schema_version(struct postgres_store *store, int64_t *version,
			       struct ob_error *error);
uint32_t ob_postgres_schema_known(void);
int ob_postgres_schema_newer(struct postgres_store *store, int64_t version, struct ob_error *error);
/* The schema's name as it stands in statements, NULL with `error` filled when it can be none. To be freed. */
char *ob_postgres_schema_name(const struct postgres_options *options, struct ob_error *error);
/* OB_SCHEMA, with what mends it, when our tables are not there, altered or newer. */
int ob_postgres_schema_check(struct postgres_store *store, struct ob_error *error);

/* ---- subscribe.c, lease.c, held.c ---- */

int ob_postgres_subscribe(struct ob_store *base, const struct ob_subscription *subscription,
			  struct ob_error *error);
int ob_postgres_acquire(struct ob_store *base, const struct ob_lease_request *request,
			struct ob_acquired *acquired, struct ob_error *error);
int ob_postgres_renew(struct ob_store *base, const struct ob_relay_state *state,
		      struct ob_error *error);
int ob_postgres_release(struct ob_store *base, struct ob_error *error);
/* Before a transaction: the connection is not in doubt, and the lease is held. */
int ob_postgres_lease_look(struct postgres_store *store, struct ob_error *error);
/*
 * Appends the conditions on a row c of `checkpoint` that hold while the lease is ours, of our epoch, and the
 * database is the one that we read from and left. A statement with them that meets no row found that one of them
 * does not hold: ob_postgres_unguarded then tells which. It returns OB_BUSY when the rows only stand elsewhere.
 */
void ob_postgres_guard(struct postgres_store *store);
int ob_postgres_unguarded(struct postgres_store *store, struct ob_error *error);
/* Nothing that was fetched is valid any more. */
void ob_postgres_forget(struct postgres_store *store);

/* ---- crew.c, shards.c ---- */

int ob_postgres_join(struct ob_store *base, const struct ob_member *member, struct ob_crew *crew,
		     struct ob_error *error);
int ob_postgres_leave(struct ob_store *base, const char *subscription, uint64_t member,
		      struct ob_error *error);
/* There are to be so many shards. */
int ob_postgres_shards_change(struct postgres_store *store, const char *subscription,
			      uint32_t shards, struct ob_error *error);
/* Appends the condition that every shard has come to the common point. */
void ob_postgres_ending_append(struct postgres_store *store, const char *subscription);
/* Makes the next shards if the present ones have ended and nobody holds one. `dead`: the text of VALUES (holder, beat), ... of
   leases that are not renewed any more, whatever the server's clock says; may be NULL. */
int ob_postgres_shards_follow(struct postgres_store *store, const char *subscription,
			      const char *dead, bool *followed, struct ob_error *error);
/* Appends " AND ..." for the rows of one of so many shards in a table m. */
void ob_postgres_shard_append(struct postgres_store *store, uint32_t shards, uint32_t shard);

/* ---- interval.c ---- */

/* Appends the first transaction of an opening to store->sql, and the beginning of the second; see there. */
void ob_postgres_opening_begin(struct postgres_store *store);
/* Opens an interval behind the newest point, durably. */
int ob_postgres_interval_open(struct postgres_store *store, struct ob_error *error);
/* The newest point is the one at which all shards end: there is no interval behind it. */
bool ob_postgres_at_common(const struct postgres_store *store);
/* Whether there is something that is in no interval yet. Writes nothing. `*guarded` false: unguarded. */
int ob_postgres_look(struct postgres_store *store, bool *found, bool *guarded,
		     struct ob_error *error);
/* The last point has just become this one. */
int ob_postgres_waiting_reset(struct postgres_store *store, struct ob_error *error);

/* ---- fetch.c, parked.c, rows.c ---- */

int ob_postgres_fetch(struct ob_store *base, const struct ob_fetch *fetch, struct ob_batch *batch,
		      struct ob_error *error);
/* The due parked rows, and when the next is due. */
int ob_postgres_parked_fetch(struct postgres_store *store, const struct ob_fetch *fetch,
			     struct ob_batch *batch, struct ob_error *error);

/* One message of a COPY in binary, in the columns of POSTGRES_MESSAGE. The bytes are those of the server's row. */
struct postgres_row {
	int64_t position;
	struct ob_message message; /* id: 16 bytes */
	bool matches;
	bool scheduled;
	int64_t deliver_after_us; /* since 1970 */
	int64_t payload_bytes;    /* of a payload that did not come with it; -1: it came */
};

/*
 * The columns of a message in the table m: which is its number, the condition under which it is of interest ("true"), up to which
 * size its payload comes with it, and when it is to be delivered.
 */
void ob_postgres_message_columns(struct postgres_store *store, const char *number,
				 const char *matches, int64_t inline_max,
				 const char *deliver_after);
/* `*end`: it is the end of the copy, and no row. False when it cannot be read. */
bool ob_postgres_row_read(struct postgres_row *row, const char *data, size_t size, bool *end);
/* Copies the message into the batch, its id in text form. */
bool ob_postgres_message_copy(struct ob_batch *batch, const struct postgres_row *row,
			      const char *data, size_t size, struct ob_message *message);
/* The size it has as a message: its id in text form. */
uint32_t ob_postgres_row_bytes(const struct postgres_row *row);

/* ---- settle.c, wait.c, notify.c ---- */

int ob_postgres_settle(struct ob_store *base, const struct ob_settle *settle,
		       struct ob_error *error);
int ob_postgres_wait(struct ob_store *base, int64_t timeout_ms, struct ob_error *error);
void ob_postgres_wake(struct ob_store *base);
/* A fetch of nothing: only whether a person changed something. What was committed so far wakes nobody up. */
int ob_postgres_look_away(struct postgres_store *store, struct ob_error *error);
/* Before a sleep in which nothing is expected: asks to be notified, and tells that it sleeps. Says so when that cannot be. */
int ob_postgres_fall_asleep(struct postgres_store *store, struct ob_error *error);
int ob_postgres_awake(struct postgres_store *store, struct ob_error *error);
/* Takes what was notified; whether there was something. */
bool ob_postgres_notified(struct postgres_store *store);
/* Whether another process of the server's answers than the connection was told of. */
bool ob_postgres_is_pooled(const struct postgres_store *store, int64_t pid);
/* Lanes that lost rows get a new head; `lanes` is the text of VALUES (lane, the position that went), ... */
void ob_postgres_promote(struct postgres_store *store, const char *subscription, const char *lanes);

/* ---- selection.c ---- */

/* Appends a condition on m.topic; true, and nothing appended, when all topics match. */
bool ob_postgres_topic_append(struct postgres_store *store, const char *patterns);
/* Appends " AND ..." for what a person selects from a table m: the log, or one of parked and dead. */
void ob_postgres_selection_append(struct postgres_store *store,
				  const struct ob_selection *selection, bool of_log);
int ob_postgres_selection_check(const struct ob_selection *selection, struct ob_error *error);

/* ---- change.c, list.c, stats.c, trim.c, doctor.c ---- */

int ob_postgres_change(struct ob_store *base, const struct ob_change *change, uint64_t *count,
		       struct ob_error *error);
int ob_postgres_list(struct ob_store *base, const struct ob_selection *selection,
		     bool (*each)(void *context, const struct ob_listed *row), void *context,
		     struct ob_error *error);
int ob_postgres_stats(struct ob_store *base, const char *subscription,
		      void (*each)(void *context, const struct ob_subscription_stats *stats),
		      void *context, struct ob_error *error);
int ob_postgres_trim(struct ob_store *base, uint64_t *rows, bool *again, struct ob_error *error);
int ob_postgres_check(struct ob_store *base, const struct ob_report *report,
		      struct ob_error *error);

/* ---- write.c ---- */

extern const struct ob_writer_ops ob_postgres_writer;

#endif
