/*
 * Sleeping until somebody commits.
 *
 * inotify tells of writes to the -wal (or the main file), PRAGMA data_version whether they were a commit by
 * another connection. The write comes first and the commit shows a little later, behind the writer's own
 * sync; so after a write the version is asked again after short, doubling pauses. Where nothing can be
 * watched the version is asked every POLL_MS, which costs some microseconds.
 */
#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sqlite_store.h"

#define POLL_MS       50   /* without inotify */
#define POLL_WATCH_MS 1000 /* with it, against events that never come */
#define LOOK_FIRST_US 200  /* after a write */
#define LOOK_MAX_US   5000
#define LOOK_TIMES    40

static struct sqlite_store *
store_of(struct ob_store *base)
{
	return (struct sqlite_store *)(void *)base;
}

static char *
side_file(const struct sqlite_store *store, const char *suffix)
{
	return sqlite3_mprintf("%s%s", store->path, suffix);
}

int64_t
ob_sqlite_wal_size(const struct sqlite_store *store)
{
	char *path = side_file(store, "-wal");
	struct stat st;
	int64_t size = path != NULL && stat(path, &st) == 0 ? st.st_size : 0;

	sqlite3_free(path);
	return size;
}

static void
watch_wal(struct sqlite_store *store)
{
	char *path = side_file(store, "-wal");

	if (path != NULL)
		store->watch_wal = inotify_add_watch(store->watch_fd, path, IN_MODIFY);
	sqlite3_free(path);
}

void
ob_sqlite_watch(struct sqlite_store *store)
{
	char *copy;

	ob_sqlite_unwatch(store);
	store->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (store->watch_fd < 0)
		return;
	copy = strdup(store->path);
	store->watch_main =
	    inotify_add_watch(store->watch_fd, store->path, IN_MODIFY | IN_MOVE_SELF);
	/* The -wal comes and goes; so does the file itself when somebody restores it. */
	store->watch_directory = copy == NULL ? -1
					      : inotify_add_watch(store->watch_fd, dirname(copy),
								  IN_CREATE | IN_MOVED_TO);
	watch_wal(store);
	free(copy);
	if (store->watch_main < 0 || store->watch_directory < 0)
		ob_sqlite_unwatch(store);
}

void
ob_sqlite_unwatch(struct sqlite_store *store)
{
	if (store->watch_fd >= 0)
		close(store->watch_fd);
	store->watch_fd = -1;
}

/* Reads what inotify has; true if one of our files was written. */
static bool
events_drain(struct sqlite_store *store)
{
	union {
		struct inotify_event align;
		char bytes[4096];
	} buffer;
	bool written = false;
	ssize_t size;

	while ((size = read(store->watch_fd, buffer.bytes, sizeof(buffer.bytes))) > 0) {
		for (char *at = buffer.bytes; at < buffer.bytes + size;) {
			struct inotify_event event;

			memcpy(&event, at, sizeof(event));
			at += sizeof(event) + event.len;
			if (event.wd == store->watch_directory)
				watch_wal(store);
			else
				written = true;
			if ((event.mask & IN_Q_OVERFLOW) != 0)
				written = true;
		}
	}
	return written;
}

static int
version_changed(struct sqlite_store *store, bool *changed, struct ob_error *error)
{
	sqlite3_stmt *statement;
	int64_t version;
	int code = ob_sqlite_prepare(store, SQL_DATA_VERSION, &statement, error);

	if (code == OB_OK)
		code = ob_sqlite_number(store, statement, 0, &version, error);
	if (code != OB_OK)
		return code;
	*changed = version != store->version_read;
	/* Who fetches nothing (`tail`) has seen the change by being told. */
	if (!store->acquired)
		store->version_read = version;
	return OB_OK;
}

/* Sleeps for at most `us`; 1: woken, 2: one of our files was written, 0: neither. */
static int
sleep_or_event(struct sqlite_store *store, int64_t us)
{
	struct pollfd fds[2] = {
	    {.fd = store->wake_fd, .events = POLLIN},
	    {.fd = store->watch_fd, .events = POLLIN},
	};
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	uint64_t count;

	if (ppoll(fds, 2, &time, NULL) <= 0)
		return 0;
	if ((fds[0].revents & POLLIN) != 0) {
		(void)!read(store->wake_fd, &count, sizeof(count));
		return 1;
	}
	return events_drain(store) ? 2 : 0;
}

int
ob_sqlite_wait(struct ob_store *base, int64_t timeout_ms, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	const struct ob_host *host = base->host;
	int64_t until_us = host->monotonic_us(host->context) + timeout_ms * 1000;
	int64_t look_us = 0;
	int looks = 0, event = 0, code;

	for (;;) {
		int64_t left_us = until_us - host->monotonic_us(host->context), sleep_us;
		bool changed = false;

		if (store->db == NULL || store->in_doubt)
			return ob_error_set(error, OB_AGAIN, "%s: the connection is in doubt",
					    store->name);
		code = version_changed(store, &changed, error);
		if (code == OB_BUSY)
			code = OB_OK;
		if (code != OB_OK || (store->acquired && store->more))
			return code;
		/* A file that was replaced is for the next call to speak of. */
		if (changed || event == 1 || left_us <= 0 ||
		    ob_sqlite_file_check(store, NULL) != OB_OK)
			break;
		sleep_us = (store->watch_fd >= 0 ? POLL_WATCH_MS : POLL_MS) * INT64_C(1000);
		/* A write was seen and no commit yet. */
		if (event == 2 && looks == 0) {
			looks = LOOK_TIMES;
			look_us = LOOK_FIRST_US;
		}
		if (looks > 0) {
			sleep_us = look_us;
			look_us = 2 * look_us < LOOK_MAX_US ? 2 * look_us : LOOK_MAX_US;
			looks--;
		}
		event = sleep_or_event(store, sleep_us < left_us ? sleep_us : left_us);
	}
	return OB_OK;
}

void
ob_sqlite_wake(struct ob_store *base)
{
	uint64_t one = 1;

	(void)!write(store_of(base)->wake_fd, &one, sizeof(one));
}
