/*
 * What we know that the database has said, and whether it went back in time.
 *
 * A database that is restored, replaced or reset under a relay gives out numbers again that were delivered, and a
 * checkpoint of the past sends again what was sent. Only a person knows what is meant, so such a database is
 * refused. What is known lives as long as the instance, through every reconnect:
 *
 *	outbox               another one is another database
 *	epoch, holder, beat  they rise with each owner and each renewal (see lease.c)
 *	position             the checkpoint only rises
 *	log_end, its id      the last message that was seen: it is there under its number, or was trimmed
 *
 * The log's end catches what the lease cannot: a copy that was made after the last renewal. And numbers that
 * begin anew below the checkpoint (sqlite_sequence was emptied, the table made anew) can be seen by a relay
 * that has only just started.
 *
 * A person's adoption makes all this void: `adopted_at` is then later than the one known. A copy that was made after an
 * earlier adoption has an earlier one.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "hash.h"
#include "sqlite_store.h"

static const char log_reset[] =
    "its log gives out numbers again that were settled: sqlite_sequence or the table was emptied";

/* The id's hash; 0: there is none. */
uint64_t
ob_sqlite_id_hash(sqlite3_stmt *statement, int column)
{
	static const unsigned char key[OB_HASH_KEY_SIZE] = {0};
	const void *id = sqlite3_column_text(statement, column);

	if (id == NULL)
		return 0;
	return ob_hash(key, id, (size_t)sqlite3_column_bytes(statement, column)) | 1;
}

void
ob_sqlite_log_read(sqlite3_stmt *statement, int column, struct sqlite_log *log)
{
	ob_sqlite_column_text_copy(statement, column, log->outbox, sizeof(log->outbox));
	log->numbers = sqlite3_column_int64(statement, column + 1);
	log->id = ob_sqlite_id_hash(statement, column + 2);
}

const char *
ob_sqlite_log_fault(const struct sqlite_store *store, const struct sqlite_log *log,
		    int64_t position)
{
	const struct sqlite_known *known = &store->known;

	if (known->said.log.outbox[0] != '\0' && strcmp(log->outbox, known->said.log.outbox) != 0)
		return "it is another outbox";
	if (position > log->numbers)
		return log_reset;
	if (log->numbers < known->log_end)
		return "the last message that was read is not there";
	if (known->log_end > 0 && log->id != 0 && log->id != known->log_end_id)
		return "another message has the number of the last one that was read";
	return NULL;
}

const char *
ob_sqlite_known_fault(const struct sqlite_store *store, const struct sqlite_said *said)
{
	const struct sqlite_known *known = &store->known;

	/* What is new to us, or adopted since, can be told by itself alone. */
	if (known->said.log.outbox[0] == '\0' || said->adopted_at > known->said.adopted_at)
		return said->position > said->log.numbers ? log_reset : NULL;
	if (store->refuses != NULL)
		return store->refuses;
	if (said->epoch < known->said.epoch)
		return "its lease is of an earlier time";
	/* The holder's name is emptied when the lease is given up. */
	if (said->epoch == known->said.epoch &&
	    (said->beat < known->said.beat ||
	     (said->holder[0] != '\0' && strcmp(said->holder, known->said.holder) != 0)))
		return "its lease is of an earlier time";
	if (said->position < known->said.position)
		return "its checkpoint is of an earlier time";
	return ob_sqlite_log_fault(store, &said->log, said->position);
}

void
ob_sqlite_known_note(struct sqlite_store *store, const struct sqlite_said *said)
{
	struct sqlite_known *known = &store->known;

	/* After an adoption the log may be another. */
	if (said->adopted_at > known->said.adopted_at)
		known->log_end = 0;
	known->said = *said;
	store->refuses = NULL;
}

void
ob_sqlite_refuse(struct sqlite_store *store, const char *why)
{
	const struct ob_host *host = store->base.host;

	if (store->refuses == NULL)
		store->refuses_since_us = host->monotonic_us(host->context);
	store->refuses = why;
}

const char *
ob_sqlite_refusal_code(const struct sqlite_store *store)
{
	return store->refuses == log_reset ? "log_reset" : ob_code_name(OB_FOREIGN);
}

int
ob_sqlite_foreign(const struct sqlite_store *store, struct ob_error *error)
{
	return ob_error_set(
	    error, OB_FOREIGN,
	    "%s: the database is not what it was (%s); if that is meant, say where to go on: "
	    "outbox adopt %s --subscription %s %s--from-beginning, --from-now or --from ID",
	    store->name, store->refuses, store->name, store->subscription,
	    store->refuses == log_reset ? "" : "--from-checkpoint, ");
}

/* ---- the files ---- */

static struct sqlite_file_id
file_id(const struct stat *st)
{
	return (struct sqlite_file_id){.device = st->st_dev, .inode = st->st_ino};
}

/* In WAL mode they stay where they are for as long as a connection is open. */
static struct sqlite_file_id
side_file_id(const struct sqlite_store *store, const char *suffix)
{
	char *path = store->wal ? sqlite3_mprintf("%s%s", store->path, suffix) : NULL;
	struct sqlite_file_id id = {0};
	struct stat st;

	if (path != NULL && stat(path, &st) == 0)
		id = file_id(&st);
	sqlite3_free(path);
	return id;
}

void
ob_sqlite_file_note_sides(struct sqlite_store *store)
{
	store->file_wal = side_file_id(store, "-wal");
	store->file_shm = side_file_id(store, "-shm");
}

static bool
file_id_equal(struct sqlite_file_id a, struct sqlite_file_id b)
{
	return a.device == b.device && a.inode == b.inode;
}

/* Who removes or replaces the -wal beside an open database parts us from all who open it after that. */
static int
side_file_check(struct sqlite_store *store, const char *suffix, struct sqlite_file_id *was,
		struct ob_error *error)
{
	struct sqlite_file_id is = side_file_id(store, suffix);

	/* SQLite makes them when they are first needed. */
	if (was->inode == 0)
		*was = is;
	if (file_id_equal(*was, is))
		return OB_OK;
	return ob_error_set(error, OB_AGAIN,
			    "%s: its file %s%s was removed or replaced while it was in use",
			    store->name, store->path, suffix);
}

int
ob_sqlite_file_check(struct sqlite_store *store, struct ob_error *error)
{
	struct stat st;
	int code;

	if (stat(store->path, &st) != 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			return ob_error_set(error, OB_AGAIN, "%s: %s", store->name,
					    strerror(errno));
		return ob_error_set(error, OB_FOREIGN,
				    "%s: the file was removed while it was in use", store->name);
	}
	if (!file_id_equal(store->file, file_id(&st)))
		return ob_error_set(error, OB_FOREIGN,
				    "%s: the file was replaced while it was in use", store->name);
	code = side_file_check(store, "-wal", &store->file_wal, error);
	return code == OB_OK ? side_file_check(store, "-shm", &store->file_shm, error) : code;
}

int
ob_sqlite_file_look(struct sqlite_store *store, struct ob_error *error)
{
	int code = ob_sqlite_file_check(store, error);

	if (code == OB_OK)
		return OB_OK;
	ob_sqlite_forget(store);
	store->in_doubt = true;
	/* Before the first acquire nothing rests on the file, so another one is as good. */
	if (code != OB_FOREIGN || store->known.said.log.outbox[0] == '\0')
		return code;
	ob_sqlite_refuse(store, "its file was replaced or removed");
	return ob_sqlite_foreign(store, error);
}
