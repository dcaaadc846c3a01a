/*
 * Opening intervals: in which order the log is read, and why nothing is lost, reordered or given out twice by it.
 *
 * Numbers are drawn before the commit, and transaction ids before that; neither is the order of the commits, and below
 * any number and any id that was seen another row may still appear. What PostgreSQL can tell is which transactions had
 * ended at a moment: a snapshot. So the log is read in intervals. A point is a snapshot S with a number q that was drawn
 * before it; an interval is what S2 sees and S1 does not, read upwards by number. After it the next one begins at
 * S2. PgQ reads this way.
 *
 *	   S1,q1          S2,q2          S3,q3
 *	─────┼──────────────┼──────────────┼─────▶
 *	     └─ by number ─▶└─ by number ─▶└─ ...
 *
 * Nothing is lost. A transaction that commits is in progress in every snapshot up to some moment and has ended in every
 * one after it. So its rows are invisible in one point and visible in the next: in exactly one interval. No interval waits for
 * anybody: who holds a transaction open is in progress in S1 and in S2, and comes in a later one.
 *
 * Nothing is reordered. Writers of one key serialise: the later one inserts after the earlier one committed. Every
 * snapshot that sees the later row then sees the earlier one, so the earlier one is in the same interval or before it; and its number
 * is the lower one, since `seq` stands last in the row and is drawn under the lock.
 *
 * Which rows those are is asked without scanning, in two branches. A row that S2 sees and S1 does not was written by a
 * transaction that was in progress at S1, which is one of xip(S1) (index on xid), or not yet begun by then as far as S1 knows,
 * that is xid >= xmax(S1); of those only numbers above q1 (index on seq). The second branch rests on how a point is made:
 *
 *	BEGIN; q := last value of the sequence; take a transaction id X; COMMIT
 *	BEGIN; UPDATE opening SET snapshot = S := pg_current_snapshot(); COMMIT (synchronous)
 *	high := last value of the sequence
 *
 * Who drew a number up to q had its id before (`xid` is the first column), so before X was taken. Thus that id is below X,
 * X has ended when S is taken, and xmax(S) is above X: it has ended in S or stands in xip(S). It is never in the second
 * branch, and no row of the second branch has a number up to q. Rows that S sees have numbers up to `high`.
 *
 * Only what is durable is believed. The second transaction's synchronous commit makes durable all that stands before it in the
 * write-ahead log: the end of everything that S calls ended, and the numbers up to q. So after a crash no id and no number
 * below them can be given out again, which would put a new row into an old interval. Before that commit is confirmed neither S nor q is used;
 * when its outcome is unknown, everything is loaded again. And only who has all that may go on: each settle and each fetch
 * names the snapshot that stands in `opening`, in the statement that writes or in the transaction that reads. A standby that
 * was promoted without it refuses, and so does a server that crashed unseen behind a proxy and lost an unconfirmed one.
 *
 * The same commit waits for a standby where the server has a synchronous one, also when applications do not wait for it
 * (synchronous_commit = local). There is one write-ahead log, so a standby that has flushed this commit has flushed the end of everything
 * that S calls ended: the option standby-flushed asks for no more than that there is one.
 *
 * What goes wrong with less (each was seen under load; docs/reading-postgresql.md has some of it as conversations to replay):
 *
 *	number > last              7 commits after 8 was read: 7 is lost
 *	by xid, below all open     T2 takes its id, T1 a later one, writes the key and commits; then T2 writes the key and commits:
 *	transactions               T2's message comes first. And everything waits for the oldest open transaction
 *	without xip(S1)            who was in progress at S1 has a low id and a low number: lost
 *	q just before S, no X      xmax(S) is the latest ended id plus one. One in progress above it is not in xip(S), and drew its
 *	                           number before q: in neither branch
 *	SELECT last_value FROM     reads the sequence's page without its lock, while nextval() has it set up to 32 ahead for a moment:
 *	the sequence               q is too high. pg_sequence_last_value() takes the lock
 *	waiting until the log is   stalls behind a stranger's unfinished page; and after a crash between two looks the new
 *	flushed, no commit         server's position passes for the old one's
 *	the snapshot only checked  on a promoted standby the settle has then written a snapshot that means nothing there
 *	after the settle
 *
 * Shards (shards.c) read the same points and take their own rows. While their number is being changed, the next interval ends at
 * the point that all of them end at, which was made in the same way; then there is none.
 *
 * An idle relay writes nothing: it looks. Something can have come into no interval yet only from a transaction that was in
 * progress at the newest point and has ended since, or from one with a number above its q. The look asks for last value and
 * snapshot, which touches no table; only where they allow for something new are the indexes asked.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "postgres_store.h"
#include "text.h"

/* Numbers that were drawn, and yet nothing is to be seen of them: then a new point makes looks cheap again. */
#define DRAWN_MANY 10000
/* The same when the others' rows must be told from ours by their keys. */
#define DRAWN_MANY_OF_SHARDS 2000

int
ob_postgres_waiting_reset(struct postgres_store *store, struct ob_error *error)
{
	const struct postgres_snapshot *snapshot =
	    &ob_postgres_points_last(&store->points)->snapshot;
	uint64_t *waiting = calloc(snapshot->xip_count + 1, sizeof(waiting[0]));

	if (waiting == NULL)
		return ob_postgres_no_memory(store, error);
	if (snapshot->xip_count > 0)
		memcpy(waiting, snapshot->xip, snapshot->xip_count * sizeof(waiting[0]));
	free(store->waiting);
	store->waiting = waiting;
	store->waiting_count = snapshot->xip_count;
	return OB_OK;
}

/* ---- opening ---- */

/* The two are statements of their own, so that nothing can put them in another order. */
void
ob_postgres_opening_begin(struct postgres_store *store)
{
	ob_postgres_sql(store,
			"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
			"SELECT coalesce(pg_sequence_last_value('%s.message_seq_seq'), 0);"
			"SELECT pg_current_xact_id();",
			store->schema);
}

/* A point that was opened: the answer with its row, a number that was drawn before it, one at or above all that it sees, and a
   transaction of our own between, if that is known. */
static int
opening_take(struct postgres_store *store, const PGresult *opened, int64_t q, int64_t high,
	     uint64_t own, struct ob_error *error)
{
	struct postgres_snapshot snapshot;
	uint64_t number = ob_postgres_points_last(&store->points)->number + 1;
	char *copy;

	if (PQntuples(opened) == 0)
		return ob_postgres_unguarded(store, error);
	/* Committed, and nobody waited for a standby. */
	if (store->options->standby_flushed && !ob_postgres_bool(opened, 0, 2)) {
		store->in_doubt = true;
		return ob_postgres_no_standby(store, error);
	}
	copy = strdup(ob_postgres_text(opened, 0, 1));
	if (copy == NULL || !ob_postgres_snapshot_parse(&snapshot, copy)) {
		free(copy);
		/* It stands in the table, and we do not know it. */
		store->in_doubt = true;
		return ob_postgres_no_memory(store, error);
	}
	free(store->lease.opened);
	store->lease.opened = copy;
	ob_text_copy(store->lease.opening_at, sizeof(store->lease.opening_at),
		     ob_postgres_text(opened, 0, 0));
	OB_CHECK(ob_postgres_points_add(&store->points, &snapshot, number, q, high, own));
	store->known_new = store->fruitful = false;
	return ob_postgres_waiting_reset(store, error);
}

static void
opening_append(struct postgres_store *store, const char *snapshot)
{
	ob_postgres_write_append(store);
	ob_postgres_sql(store,
			"UPDATE %s.opening AS o SET snapshot = %s"
			" WHERE o.ctid = '%s' AND o.subscription = '%s' AND o.shard = %u"
			" AND o.epoch = %lld AND o.snapshot::text = '%s'"
			" RETURNING o.ctid, o.snapshot::text,"
			" current_setting('synchronous_standby_names') <> '';COMMIT;"
			"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;"
			"SELECT coalesce(pg_sequence_last_value('%s.message_seq_seq'), 0);",
			store->schema, snapshot, store->lease.opening_at, store->subscription,
			store->shard, (long long)store->lease.epoch, store->lease.opened,
			store->schema);
}

/* The interval that ends where all shards end. */
static int
common_open(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	char *literal;
	int code;

	ob_buf_reset(&store->sql);
	literal = PQescapeLiteral(store->conn, store->common, strlen(store->common));
	if (literal == NULL)
		return ob_postgres_no_memory(store, error);
	opening_append(store, literal);
	PQfreemem(literal);
	code = ob_postgres_commit(store, "open the last interval", &answers, error);
	if (code != OB_OK)
		return code;
	code = opening_take(store, answers.items[0], store->common_q,
			    ob_postgres_number(answers.items[1], 0, 0, 0), 0, error);
	ob_postgres_answers_free(&answers);
	return code;
}

bool
ob_postgres_at_common(const struct postgres_store *store)
{
	return *store->common != '\0' &&
	       strcmp(ob_postgres_points_last(&store->points)->snapshot.text, store->common) == 0;
}

int
ob_postgres_interval_open(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code;

	if (*store->common != '\0')
		return common_open(store, error);

	/* Two transactions and a look, in one message. */
	ob_buf_reset(&store->sql);
	ob_postgres_opening_begin(store);
	ob_postgres_sql(store, "COMMIT;");
	opening_append(store, "pg_current_snapshot()");
	code = ob_postgres_commit(store, "open an interval", &answers, error);
	if (code != OB_OK)
		return code;
	code = opening_take(store, answers.items[2], ob_postgres_number(answers.items[0], 0, 0, 0),
			    ob_postgres_number(answers.items[3], 0, 0, 0),
			    (uint64_t)ob_postgres_number(answers.items[1], 0, 0, 0), error);
	ob_postgres_answers_free(&answers);
	return code;
}

/* ---- looking ---- */

/* Moves those of `waiting` that have ended to its end; returns how many are left before them. */
static size_t
waiting_part(struct postgres_store *store, const struct postgres_snapshot *now)
{
	size_t left = 0;

	for (size_t i = 0; i < store->waiting_count; i++) {
		uint64_t xid = store->waiting[i];

		if (!ob_postgres_snapshot_in_progress(now, xid))
			continue;
		store->waiting[i] = store->waiting[left];
		store->waiting[left++] = xid;
	}
	return left;
}

/* A transaction that the newest point does not know has ended. One that is counted too often costs a closer look. */
static bool
younger_ended(const struct postgres_snapshot *last, const struct postgres_snapshot *now)
{
	uint64_t in_progress = 0;

	for (size_t i = 0; i < now->xip_count; i++)
		in_progress += now->xip[i] >= last->xmax;
	return now->xmax > last->xmax && now->xmax - last->xmax > in_progress;
}

/* Asks the indexes whether there is a row of those that have ended, or of a younger transaction. */
static int
look_closely(struct postgres_store *store, size_t left, bool *found, struct ob_error *error)
{
	const struct postgres_point *last = ob_postgres_points_last(&store->points);
	struct postgres_answers answers = {0};
	int code;

	ob_postgres_begin_read(store);
	ob_postgres_sql(store, "SELECT EXISTS (SELECT FROM %s.message AS m WHERE m.xid = ANY ('{",
			store->schema);
	for (size_t i = left; i < store->waiting_count; i++)
		ob_postgres_sql(store, "%s%" PRIu64, i > left ? "," : "", store->waiting[i]);
	ob_postgres_sql(store, "}')");
	ob_postgres_shard_append(store, store->shards, store->shard);
	ob_postgres_sql(store,
			") OR EXISTS (SELECT FROM %s.message AS m WHERE m.xid >= '%" PRIu64 "'",
			store->schema, last->snapshot.xmax);
	ob_postgres_shard_append(store, store->shards, store->shard);
	ob_postgres_sql(store, ");");
	code = ob_postgres_commit(store, "look", &answers, error);
	if (code != OB_OK)
		return code;
	*found = ob_postgres_bool(answers.items[0], 0, 0);
	ob_postgres_answers_free(&answers);
	/* They have ended and left nothing: they never will. */
	if (!*found)
		store->waiting_count = left;
	return OB_OK;
}

static int
look_judge(struct postgres_store *store, int64_t value, const struct postgres_snapshot *now,
	   bool *found, struct ob_error *error)
{
	const struct postgres_point *last = ob_postgres_points_last(&store->points);
	size_t left;
	bool drawn;

	*found = *store->common != '\0' && !ob_postgres_at_common(store);
	if (*store->common != '\0')
		return OB_OK;
	left = waiting_part(store, now);
	drawn = value > last->q && younger_ended(&last->snapshot, now);
	if (left == store->waiting_count && !drawn)
		return OB_OK;
	*found = store->fruitful ||
		 value - last->q > (store->shards > 1 ? DRAWN_MANY_OF_SHARDS : DRAWN_MANY);
	return *found ? OB_OK : look_closely(store, left, found, error);
}

int
ob_postgres_look(struct postgres_store *store, bool *found, bool *guarded, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	struct postgres_snapshot now;
	int64_t value;
	int code;

	*found = false;
	*guarded = true;
	ob_postgres_begin_read(store);
	ob_postgres_sql(store,
			"SELECT coalesce(pg_sequence_last_value('%s.message_seq_seq'), 0),"
			" pg_current_snapshot(), EXISTS (SELECT FROM %s.checkpoint AS c WHERE ",
			store->schema, store->schema);
	ob_postgres_guard(store);
	ob_postgres_sql(store, ");");
	code = ob_postgres_commit(store, "look", &answers, error);
	if (code != OB_OK)
		return code;
	value = ob_postgres_number(answers.items[0], 0, 0, 0);
	*guarded = ob_postgres_bool(answers.items[0], 0, 2);
	if (*guarded && !ob_postgres_snapshot_parse(&now, ob_postgres_text(answers.items[0], 0, 1)))
		code = ob_postgres_no_memory(store, error);
	ob_postgres_answers_free(&answers);
	if (code != OB_OK || !*guarded)
		return code;
	code = look_judge(store, value, &now, found, error);
	ob_postgres_snapshot_free(&now);
	if (code == OB_OK && *found)
		store->known_new = true;
	return code;
}
