/*
 * What was read is on the disk before it is handed out.
 *
 * An application with synchronous=NORMAL (or OFF) can lose its last commits in a power cut, and their ids are
 * then given out again: a message that was delivered would never have been. So what is new is made
 * durable here, once a fetch, by the application's own file: in WAL mode the -wal, else the main file and
 * the directory, in which the journal's removal is the commit.
 *
 * A log that was begun anew no longer holds what a checkpoint has put into the main file, and with
 * synchronous=OFF the checkpoint did not sync that either. So after the -wal its salt is looked at, which every
 * new beginning changes: if it is not the one of the last time, the main file is made durable, too. The order
 * matters: a salt that is the same after the sync was the same before it.
 *
 * SQLite's own descriptors are used for the database and the WAL. To open and close the main file once more
 * would drop the locks of every connection of this process (POSIX), those of the application too.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sqlite_store.h"

/* What was read may not be handed out, and what was handed out before is given up with it. */
static int
sync_fail(struct sqlite_store *store, const char *path, const char *why, struct ob_error *error)
{
	store->in_doubt = true;
	return ob_error_set(error, OB_AGAIN,
			    "%s: what was read cannot be made durable: sync of %s: %s", store->name,
			    path, why);
}

static int
file_sync(struct sqlite_store *store, int which, struct ob_error *error)
{
	sqlite3_file *file = NULL;
	int rc = sqlite3_file_control(store->db, "main", which, &file);

	if (rc != SQLITE_OK)
		return ob_sqlite_fail(store, rc, "sync", error);
	/* Nothing was written yet that we could have read. */
	if (file == NULL || file->pMethods == NULL)
		return OB_OK;
	rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
	return rc == SQLITE_OK ? OB_OK : sync_fail(store, store->path, sqlite3_errstr(rc), error);
}

/* What tells one beginning of the -wal from the next: bytes 16 to 23 of its head, 0 when it is empty or not there. */
static uint64_t
wal_salt(struct sqlite_store *store)
{
	sqlite3_file *file = NULL;
	uint64_t salt = 0;

	if (sqlite3_file_control(store->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) !=
		SQLITE_OK ||
	    file == NULL || file->pMethods == NULL ||
	    file->pMethods->xRead(file, &salt, sizeof(salt), 16) != SQLITE_OK)
		return 0;
	return salt;
}

static int
wal_sync(struct sqlite_store *store, struct ob_error *error)
{
	int code = file_sync(store, SQLITE_FCNTL_JOURNAL_POINTER, error);
	uint64_t salt;

	if (code != OB_OK)
		return code;
	salt = wal_salt(store);
	if (store->durable_position > 0 && salt != 0 && salt == store->durable_salt)
		return OB_OK;
	code = file_sync(store, SQLITE_FCNTL_FILE_POINTER, error);
	if (code == OB_OK)
		store->durable_salt = salt;
	return code;
}

static int
path_sync(struct sqlite_store *store, const char *path, struct ob_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), failed;

	if (fd < 0)
		return errno == ENOENT ? OB_OK : sync_fail(store, path, strerror(errno), error);
	/* Some file systems cannot sync a directory, and need not. */
	failed = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP ? errno : 0;
	close(fd);
	return failed == 0 ? OB_OK : sync_fail(store, path, strerror(failed), error);
}

static int
rollback_mode_sync(struct sqlite_store *store, struct ob_error *error)
{
	char *journal = sqlite3_mprintf("%s-journal", store->path), *copy = strdup(store->path);
	int code = OB_OK;

	if (journal == NULL || copy == NULL)
		code = ob_error_set(error, OB_NOMEM, "%s: out of memory", store->name);
	if (code == OB_OK)
		code = file_sync(store, SQLITE_FCNTL_FILE_POINTER, error);
	/* A journal that is kept (truncated or cleared) says by its content that the commit is done. */
	if (code == OB_OK)
		code = path_sync(store, journal, error);
	if (code == OB_OK)
		code = path_sync(store, dirname(copy), error);
	sqlite3_free(journal);
	free(copy);
	return code;
}

int
ob_sqlite_make_durable(struct sqlite_store *store, struct ob_error *error)
{
	int code;

	if (store->reading.read.log <= store->durable_position)
		return OB_OK;
	/* An application may turn WAL mode on under a connection that is open; off it cannot. */
	if (!store->wal) {
		code = ob_sqlite_read_mode(store, error);
		if (code != OB_OK)
			return code;
	}
	code = store->wal ? wal_sync(store, error) : rollback_mode_sync(store, error);
	if (code != OB_OK)
		return code;
	if (store->seen_position > store->known.log_end) {
		store->known.log_end = store->seen_position;
		store->known.log_end_id = store->seen_id;
	}
	/* Where the log's end was not looked at, or all of it is trimmed, it is at least what was read or passed. */
	store->durable_position = store->seen_position > store->reading.read.log
				      ? store->seen_position
				      : store->reading.read.log;
	return OB_OK;
}
