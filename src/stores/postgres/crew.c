/*
 * Who else runs a subscription, and which of its shards.
 *
 * Each relay that joins has a row, which it writes again when a third of its time has passed. The server's clock says who is
 * live. But a clock that was set back must not keep the dead alive: whose row has not changed for all of its time by our own
 * clock is dead, too. So it is with leases.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "postgres_store.h"

/* A row that was not written for so long is deleted. */
#define GONE_MS 60000

/* Since when somebody's row has been as it is. */
struct seen {
	uint64_t who; /* 0: nobody */
	int64_t beat;
	int64_t since_us;
};

struct postgres_watch {
	struct seen leases[OB_SHARDS_MAX];
	struct seen members[OB_MEMBERS_MAX];
	/* Our own row. */
	uint64_t member;
	int64_t written_us;
};

static int64_t
now_us(const struct postgres_store *store)
{
	return store->base.host->monotonic_us(store->base.host->context);
}

/* How long it is live: by the server's clock `left_ms`, of `all_ms`, unless it has not moved for longer than that. */
static int64_t
left_ms(const struct postgres_store *store, struct seen *seen, uint64_t who, int64_t beat,
	int64_t left, int64_t all_ms)
{
	int64_t now = now_us(store), own;

	if (seen->who != who || seen->beat != beat)
		*seen = (struct seen){.who = who, .beat = beat, .since_us = now};
	own = all_ms - (now - seen->since_us) / 1000;
	left = left < all_ms ? left : all_ms;
	return left < own ? left : own;
}

/* ---- asking ---- */

static void
membership_append(struct postgres_store *store, const struct ob_member *member)
{
	ob_postgres_write_append(store);
	ob_postgres_sql(
	    store,
	    "INSERT INTO %s.member AS m (subscription, member, owner, live_ms, expires_at) SELECT name,"
	    " %lld, ",
	    store->schema, (long long)member->member);
	ob_postgres_literal(store, member->owner == NULL ? "" : member->owner);
	ob_postgres_sql(
	    store,
	    ", %lld, clock_timestamp() + interval '%lld ms' FROM %s.subscription WHERE name = ",
	    (long long)member->live_ms, (long long)member->live_ms, store->schema);
	ob_postgres_literal(store, member->subscription);
	/* Who was silent for too long has lost its place. */
	ob_postgres_sql(
	    store,
	    " ON CONFLICT (subscription, member) DO UPDATE SET beat = m.beat + 1, owner = excluded.owner,"
	    " live_ms = excluded.live_ms, expires_at = excluded.expires_at, joined_at ="
	    " CASE WHEN m.expires_at > clock_timestamp() THEN m.joined_at ELSE clock_timestamp() END;"
	    "DELETE FROM %s.member WHERE expires_at < clock_timestamp() - interval '%d ms' AND member <> %lld"
	    " AND subscription = ",
	    store->schema, GONE_MS, (long long)member->member);
	ob_postgres_literal(store, member->subscription);
	ob_postgres_sql(store, ";COMMIT;");
}

enum { CREW_WHOLE, CREW_ENDING, CREW_MEMBERS, CREW_LEASES };

static int
crew_ask(struct postgres_store *store, const struct ob_member *member, bool write,
	 struct postgres_answers *answers, struct ob_error *error)
{
	ob_buf_reset(&store->sql);
	if (write)
		membership_append(store, member);
	ob_postgres_sql(store,
			"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;"
			"SELECT shards, shards_next FROM %s.subscription WHERE name = ",
			store->schema);
	ob_postgres_literal(store, member->subscription);
	ob_postgres_sql(store, ";SELECT ");
	ob_postgres_ending_append(store, member->subscription);
	ob_postgres_sql(store,
			";SELECT member, beat, live_ms,"
			" (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint"
			" FROM %s.member WHERE expires_at > clock_timestamp() AND subscription = ",
			store->schema);
	ob_postgres_literal(store, member->subscription);
	ob_postgres_sql(
	    store,
	    " ORDER BY joined_at, member LIMIT %d;SELECT shard, holder, member, beat, lease_ms,"
	    " (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint"
	    " FROM %s.lease WHERE holder <> '' AND expires_at > clock_timestamp() AND shard < %d"
	    " AND subscription = ",
	    2 * OB_MEMBERS_MAX, store->schema, OB_SHARDS_MAX);
	ob_postgres_literal(store, member->subscription);
	ob_postgres_sql(store, " ORDER BY shard;");
	return ob_postgres_commit(store, "join", answers, error);
}

/* ---- what the answers say ---- */

static void
crew_end(struct ob_crew *crew, int64_t left)
{
	if (crew->next_end_ms < 0 || left < crew->next_end_ms)
		crew->next_end_ms = left;
}

/* The place where a member is watched: its own, or that of one who is gone, or the last. */
static struct seen *
seen_of(struct postgres_watch *watch, uint64_t member)
{
	struct seen *oldest = &watch->members[0];

	for (size_t i = 0; i < OB_MEMBERS_MAX; i++) {
		struct seen *it = &watch->members[i];

		if (it->who == member)
			return it;
		if (it->who == 0 || (oldest->who != 0 && it->since_us < oldest->since_us))
			oldest = it;
	}
	return oldest;
}

static void
members_take(struct postgres_store *store, const PGresult *rows, uint64_t own, struct ob_crew *crew)
{
	for (int i = 0; i < PQntuples(rows) && crew->member_count < OB_MEMBERS_MAX; i++) {
		uint64_t member = (uint64_t)ob_postgres_number(rows, i, 0, 0);
		int64_t left = left_ms(
		    store, seen_of(store->watch, member), member, ob_postgres_number(rows, i, 1, 0),
		    ob_postgres_number(rows, i, 3, 0), ob_postgres_number(rows, i, 2, 0));

		if (left <= 0 && member != own)
			continue;
		crew->members[crew->member_count++] = member;
		if (member != own)
			crew_end(crew, left);
	}
}

/* `dead` gets those that only the server's clock calls live. */
static void
leases_take(struct postgres_store *store, const PGresult *rows, uint64_t own, struct ob_buf *dead,
	    struct ob_crew *crew)
{
	for (int i = 0; i < PQntuples(rows); i++) {
		uint32_t shard = (uint32_t)ob_postgres_number(rows, i, 0, 0);
		const char *holder = ob_postgres_text(rows, i, 1);
		uint64_t member = (uint64_t)ob_postgres_number(rows, i, 2, 0);
		int64_t beat = ob_postgres_number(rows, i, 3, 0), left;

		left = left_ms(
		    store, &store->watch->leases[shard], ob_hash_lane(holder, strlen(holder)), beat,
		    ob_postgres_number(rows, i, 5, 0), ob_postgres_number(rows, i, 4, 0));
		if (left <= 0) {
			ob_buf_appendf(dead, "%s('%s', %" PRId64 ")", dead->size > 0 ? ", " : "",
				       holder, beat);
			continue;
		}
		crew->leases[shard] = (struct ob_shard_lease){.held = true, .member = member};
		if (own == 0 || member != own)
			crew_end(crew, left);
	}
}

static bool
is_listed(const struct ob_crew *crew, uint64_t member)
{
	for (uint32_t i = 0; i < crew->member_count; i++)
		if (crew->members[i] == member)
			return true;
	return false;
}

static bool
is_held(const struct ob_crew *crew)
{
	for (uint32_t i = 0; i < OB_SHARDS_MAX; i++)
		if (crew->leases[i].held)
			return true;
	return false;
}

static int
crew_look(struct postgres_store *store, const struct ob_member *member, bool write,
	  struct ob_buf *dead, struct ob_crew *crew, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	int code = crew_ask(store, member, write, &answers, error);

	if (code != OB_OK)
		return code;
	*crew = (struct ob_crew){
	    .shards = (uint32_t)ob_postgres_number(answers.items[CREW_WHOLE], 0, 0, 0),
	    .shards_next = (uint32_t)ob_postgres_number(answers.items[CREW_WHOLE], 0, 1, 0),
	    .ending = ob_postgres_bool(answers.items[CREW_ENDING], 0, 0),
	    .next_end_ms = -1,
	};
	members_take(store, answers.items[CREW_MEMBERS], member->member, crew);
	leases_take(store, answers.items[CREW_LEASES], member->member, dead, crew);
	ob_postgres_answers_free(&answers);
	return crew->shards > 0
		   ? OB_OK
		   : ob_error_set(error, OB_NOT_FOUND, "%s: there is no subscription '%s'",
				  store->name, member->subscription);
}

/* ---- the calls ---- */

static int
watch_make(struct postgres_store *store, struct ob_error *error)
{
	if (store->watch == NULL)
		store->watch = calloc(1, sizeof(*store->watch));
	return store->watch != NULL ? OB_OK : ob_postgres_no_memory(store, error);
}

/* Its row is written when a third of its time has passed. */
static bool
is_due(const struct postgres_store *store, const struct ob_member *member)
{
	const struct postgres_watch *watch = store->watch;

	return member->member != 0 &&
	       (watch->member != member->member ||
		now_us(store) - watch->written_us >= member->live_ms * 1000 / 3);
}

static int
crew_write_and_look(struct postgres_store *store, const struct ob_member *member, bool write,
		    struct ob_buf *dead, struct ob_crew *crew, struct ob_error *error)
{
	struct postgres_watch *watch = store->watch;
	int64_t asked_us = now_us(store);
	int code;

	ob_buf_reset(dead);
	code = crew_look(store, member, write, dead, crew, error);
	if (code == OB_OK && write) {
		watch->member = member->member;
		watch->written_us = asked_us;
	}
	return code;
}

int
ob_postgres_join(struct ob_store *base, const struct ob_member *member, struct ob_crew *crew,
		 struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	bool followed = false, write;
	struct ob_buf dead;
	int code = watch_make(store, error);

	if (code != OB_OK)
		return code;
	ob_buf_init(&dead, POSTGRES_SQL_MAX);
	write = is_due(store, member);
	code = crew_write_and_look(store, member, write, &dead, crew, error);
	/* The server's clock was put forward, or somebody deleted it. */
	if (code == OB_OK && member->member != 0 && !write && !is_listed(crew, member->member) &&
	    crew->member_count < OB_MEMBERS_MAX)
		code = crew_write_and_look(store, member, true, &dead, crew, error);
	if (code == OB_OK && crew->ending && !is_held(crew))
		code = ob_postgres_shards_follow(store, member->subscription,
						 dead.size > 0 ? ob_buf_text(&dead) : NULL,
						 &followed, error);
	if (code == OB_OK && followed)
		code = crew_write_and_look(store, member, false, &dead, crew, error);
	ob_buf_free(&dead);
	return code;
}

int
ob_postgres_leave(struct ob_store *base, const char *subscription, uint64_t member,
		  struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	struct postgres_answers answers = {0};
	bool there;
	int code;

	ob_postgres_begin_write(store);
	ob_postgres_sql(store, "DELETE FROM %s.member WHERE member = %lld AND subscription = ",
			store->schema, (long long)member);
	ob_postgres_literal(store, subscription);
	ob_postgres_sql(store, ";SELECT FROM %s.subscription WHERE name = ", store->schema);
	ob_postgres_literal(store, subscription);
	ob_postgres_sql(store, ";");
	code = ob_postgres_commit(store, "leave", &answers, error);
	if (code != OB_OK)
		return code;
	there = PQntuples(answers.items[0]) > 0;
	ob_postgres_answers_free(&answers);
	if (store->watch != NULL)
		store->watch->member = 0;
	return there ? OB_OK
		     : ob_error_set(error, OB_NOT_FOUND, "%s: there is no subscription '%s'",
				    store->name, subscription);
}
