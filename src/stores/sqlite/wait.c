/*
 * Sleeping until somebody commits.
 *
 * inotify tells of writes to the -wal (or the main file), PRAGMA data_version whether they were a commit by
 * another connection. The write comes first and the commit shows a little later, behind the writer's own
 * sync; so after a write the version is asked again after short, doubling pauses. Where nothing can be
 * watched the version is asked every POLL_MS, which costs some microseconds.
 *
 * A watch makes each write to the file dearer for the application (a tenth of the time of a writer that does
 * nothing else). So it stands only while nothing is being written: it is set before the sleep and taken
 * back at the first write.
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

static int
watch_add(const struct sqlite_store *store, const char *path, uint32_t mask)
{
	return path == NULL ? -1 : inotify_add_watch(store->watch_fd, path, mask);
}

static void
watch_wal(struct sqlite_store *store)
{
	char *path = side_file(store, "-wal");

	store->watch_wal = watch_add(store, path, IN_MODIFY);
	sqlite3_free(path);
}

static void
watch_drop(const struct sqlite_store *store, int *watch)
{
	if (*watch >= 0)
		(void)inotify_rm_watch(store->watch_fd, *watch);
	*watch = -1;
}

static void
watch_end(struct sqlite_store *store)
{
	watch_drop(store, &store->watch_main);
	watch_drop(store, &store->watch_directory);
	watch_drop(store, &store->watch_wal);
}

/* False when the file cannot be watched. */
static bool
watch_begin(struct sqlite_store *store)
{
	char *copy;

	if (store->watch_fd < 0)
		store->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (store->watch_fd < 0)
		return false;
	copy = strdup(store->path);
	store->watch_main = watch_add(store, store->path, IN_MODIFY | IN_MOVE_SELF);
	/* The -wal comes and goes; so does the file itself when somebody restores it. */
	store->watch_directory =
	    watch_add(store, copy == NULL ? NULL : dirname(copy), IN_CREATE | IN_MOVED_TO);
	watch_wal(store);
	free(copy);
	if (store->watch_main >= 0 && store->watch_directory >= 0)
		return true;
	watch_end(store);
	return false;
}

static bool
is_watched(const struct sqlite_store *store)
{
	return store->watch_main >= 0;
}

void
ob_sqlite_unwatch(struct sqlite_store *store)
{
	if (store->watch_fd >= 0)
		close(store->watch_fd);
	store->watch_fd = store->watch_main = store->watch_directory = store->watch_wal = -1;
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
			/* What a watch of before has left behind says nothing. */
			else if (event.wd == store->watch_main || event.wd == store->watch_wal)
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

enum wakened { BY_TIME = 0, BY_WRITE, BY_ORDER };

/* Sleeps for at most `us`. */
static enum wakened
sleep_or_event(struct sqlite_store *store, int64_t us)
{
	struct pollfd fds[2] = {
	    {.fd = store->wake_fd, .events = POLLIN},
	    {.fd = is_watched(store) ? store->watch_fd : -1, .events = POLLIN},
	};
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	uint64_t count;

	if (ppoll(fds, 2, &time, NULL) <= 0)
		return BY_TIME;
	if ((fds[0].revents & POLLIN) != 0) {
		(void)!read(store->wake_fd, &count, sizeof(count));
		return BY_ORDER;
	}
	return events_drain(store) ? BY_WRITE : BY_TIME;
}

/* After a write the commit is looked for so often, at pauses that double. */
struct looks {
	int left;
	int64_t pause_us;
};

/* How long to sleep before the version is asked again. Sets the watch where that is what to wait for; then `*again`: what
   was written just before it must be looked for once more. */
static int64_t
sleep_time(struct sqlite_store *store, struct looks *looks, bool *again)
{
	int64_t us = looks->pause_us;

	*again = false;
	if (looks->left > 0) {
		looks->left--;
		looks->pause_us = 2 * us < LOOK_MAX_US ? 2 * us : LOOK_MAX_US;
		return us;
	}
	if (is_watched(store))
		return POLL_WATCH_MS * INT64_C(1000);
	*again = watch_begin(store);
	return POLL_MS * INT64_C(1000);
}

static int
wait_for_commit(struct sqlite_store *store, int64_t until_us, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	struct looks looks = {0};
	enum wakened wakened = BY_TIME;

	for (;;) {
		int64_t left_us = until_us - host->monotonic_us(host->context), sleep_us;
		bool changed = false, again;
		int code;

		code = ob_sqlite_connection_look(store, error);
		if (code != OB_OK)
			return code;
		code = version_changed(store, &changed, error);
		if (code == OB_BUSY)
			code = OB_OK;
		if (code != OB_OK || (store->acquired && store->more))
			return code;
		/* A file that was replaced is for the next call to speak of. */
		if (changed || wakened == BY_ORDER || left_us <= 0 ||
		    ob_sqlite_file_check(store, NULL) != OB_OK)
			return OB_OK;
		sleep_us = sleep_time(store, &looks, &again);
		if (again)
			continue;
		wakened = sleep_or_event(store, sleep_us < left_us ? sleep_us : left_us);
		if (wakened == BY_WRITE) {
			watch_end(store);
			looks = (struct looks){.left = LOOK_TIMES, .pause_us = LOOK_FIRST_US};
		}
	}
}

int
ob_sqlite_wait(struct ob_store *base, int64_t timeout_ms, struct ob_error *error)
{
	struct sqlite_store *store = store_of(base);
	const struct ob_host *host = base->host;
	int code =
	    wait_for_commit(store, host->monotonic_us(host->context) + timeout_ms * 1000, error);

	watch_end(store);
	return code;
}

void
ob_sqlite_wake(struct ob_store *base)
{
	uint64_t one = 1;

	(void)!write(store_of(base)->wake_fd, &one, sizeof(one));
}
