/*
 * file: appends each message as a line of JSON to a file.
 *
 * Kept: when fsync has returned. A poll writes all that was submitted since the last one, in as few
 * writes as it takes, and pays one fsync for all of them; only then their receipts are made (group
 * commit). Duplicates: to be dropped by the line's "id". Order: always. The lines of a poll stand
 * in the file together and in order, or none of them does: when a write fails half-way, the file is
 * cut back to where it was. So nothing stands behind a message that failed.
 *
 * Several may write to one file: shards of a relay, each with a descriptor of its own, and other
 * relays. A write may be cut short, and the rest of its line would then stand behind a line of
 * somebody else's; and what is cut off must be one's own. So whoever writes has the file locked
 * (flock) from the first write to the fsync, or to the cut.
 *
 * What can go wrong:
 *   a full disk           the file is cut back, everything is DOWN until there is room
 *   a crash in a write    the file may end in half a line, of a message without a receipt; whoever
 * writes next ends this line first, so that only it is broken, and the message comes again, whole
 *   fsync fails           nobody knows what the disk holds: cut back, open the file anew, DOWN
 *   the lock is not free  it is asked for again and again; DOWN when it is kept for too long, by a
 * process that was stopped, say
 *   the file is deleted   it is made anew before the next write, not written into the void
 *   rotation              move the file, then reopen (SIGHUP): later lines go to a new file of the
 * old name
 */
#include <outbox/sink.h>
#include <outbox/store.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_line.h"
#include "sinks.h"
#include "tickets.h"
#include "wake.h"

/* One write takes about so much; a longer line goes out by itself, and its memory is given back
 * afterwards. */
#define WRITE_SIZE (256 * 1024)
/* How often the lock is asked for while another has it, and for how long: more than a slow disk takes for an fsync. */
#define LOCK_EVERY_MS 1
#define LOCK_MAX_MS   5000

struct file_options {
	int64_t in_flight;
	int mode;
	bool sync;
};

struct file_sink {
	struct ob_sink base;
	const char *path; /* a part of `url` */
	char *url;
	mode_t mode;
	bool sync;
	int fd; /* open when is_open */
	bool is_open;
	bool torn;             /* the file ends in the middle of a line */
	off_t start;           /* the file's size before what is being written */
	int64_t lock_until_us; /* until then the lock is waited for; 0: it is not */
	struct ob_tickets tickets;
	struct ob_wake wake;
	struct ob_buf lines, scratch;
	char text[OB_REASON_TEXT_MAX]; /* of the failure that the last receipts tell of */
};

static const char *const file_modes[] = {"0600", "0640", "0644", "0660", NULL};

static const struct ob_option file_option_table[] = {
    {.name = "in-flight",
     .type = OB_OPTION_INT,
     .default_text = "4096",
     .help = "The most messages that are written at once, with one fsync.",
     .field = offsetof(struct file_options, in_flight),
     .min = 1,
     .max = OB_SINK_IN_FLIGHT_MAX},
    {.name = "mode",
     .type = OB_OPTION_ENUM,
     .default_text = "0600",
     .help = "The mode of a file that is made, before the umask.",
     .field = offsetof(struct file_options, mode),
     .choices = file_modes},
    {.name = "sync",
     .type = OB_OPTION_BOOL,
     .default_text = "true",
     .help =
	 "Wait until the disk has the lines; without it a power failure may lose what was sent.",
     .field = offsetof(struct file_options, sync)},
    {0},
};

/* What a failure means, by errno. The code is stable; `text` is for a person. */
struct file_trouble {
	enum ob_fate fate;
	const char *code;
};

static struct file_trouble
file_trouble_of(int number)
{
	switch (number) {
	case ENOSPC:
	case EDQUOT:
		return (struct file_trouble){OB_FATE_DOWN, "disk_full"};
	case EWOULDBLOCK:
		return (struct file_trouble){OB_FATE_DOWN, "file_locked"};
	case EACCES:
	case EPERM:
	case EROFS:
		return (struct file_trouble){OB_FATE_BLOCKED, "file_denied"};
	case ENOENT:
	case ENOTDIR:
		return (struct file_trouble){OB_FATE_BLOCKED, "file_no_directory"};
	case EISDIR:
	case EINVAL:
	case EMEDIUMTYPE:
	case ENXIO:
	case ELOOP:
		return (struct file_trouble){OB_FATE_BLOCKED, "file_not_regular"};
	case EFBIG:
		return (struct file_trouble){OB_FATE_BLOCKED, "file_too_large"};
	default:
		return (struct file_trouble){OB_FATE_DOWN, "file_error"};
	}
}

static const char *
file_describe(int number)
{
	switch (number) {
	case EWOULDBLOCK:
		return "another process keeps this file locked";
	case ENOENT:
		return "the directory does not exist";
	case EINVAL:
		return "it is not a regular file";
	case EMEDIUMTYPE:
		return "it is an SQLite database";
	default:
		return strerror(number);
	}
}

static void
file_shut(struct file_sink *file)
{
	if (file->is_open)
		close(file->fd);
	file->is_open = false;
}

/* Makes the name of a new file outlive a power failure as its content does. */
static bool
file_sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory = slash == NULL   ? strdup(".")
			  : slash == path ? strdup("/")
					  : strndup(path, (size_t)(slash - path));
	int fd;
	bool ok;

	if (directory == NULL)
		return false;
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(directory);
	if (fd < 0)
		return false;
	/* Some file systems know no fsync of a directory. */
	ok = fsync(fd) == 0 || errno == EINVAL;
	close(fd);
	return ok;
}

/* Whether the file ends in the middle of a line. */
static bool
file_is_torn(int fd, off_t size)
{
	char last;

	return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/* Lines behind a database would be lost with its next page; a slip of the hand must not do that. */
static bool
file_is_database(int fd)
{
	static const char magic[16] = "SQLite format 3";
	char head[sizeof(magic)];

	return pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	       memcmp(head, magic, sizeof(magic)) == 0;
}

/* Opens the file; 0 or an errno. */
static int
file_acquire(struct file_sink *file)
{
	struct stat status;
	int number = 0;

	/* Without O_NONBLOCK a FIFO of that name would hold us until somebody reads it. */
	file->fd = open(file->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
			file->mode);
	if (file->fd < 0)
		return errno;
	file->is_open = true;
	if (fstat(file->fd, &status) != 0)
		number = errno;
	else if (!S_ISREG(status.st_mode))
		number = EINVAL;
	else if (file_is_database(file->fd))
		number = EMEDIUMTYPE;
	else if (file->sync && !file_sync_directory(file->path))
		number = errno;
	if (number != 0)
		file_shut(file);
	return number;
}

/* Opens the file if it is not open, or no longer there, and locks it; 0 or an errno. Notes its size, and how it ends. */
static int
file_get_ready(struct file_sink *file)
{
	struct stat status;
	int number;

	if (file->is_open && (fstat(file->fd, &status) != 0 || status.st_nlink == 0))
		file_shut(file);
	if (!file->is_open) {
		number = file_acquire(file);
		if (number != 0)
			return number;
	}
	if (flock(file->fd, LOCK_EX | LOCK_NB) != 0)
		return errno;
	if (fstat(file->fd, &status) != 0) {
		number = errno;
		file_shut(file);
		return number;
	}
	file->start = status.st_size;
	file->torn = file_is_torn(file->fd, status.st_size);
	return 0;
}

static int64_t
file_now_us(const struct file_sink *file)
{
	return file->base.host->monotonic_us(file->base.host->context);
}

/* The same, but waits for who has the lock, `timeout_ms` at most: EWOULDBLOCK. */
static int
file_await_lock(struct file_sink *file, int timeout_ms)
{
	int64_t until_us = file_now_us(file) + (int64_t)timeout_ms * 1000;
	int number;

	while ((number = file_get_ready(file)) == EWOULDBLOCK && file_now_us(file) < until_us)
		ob_wake_wait(&file->wake, LOCK_EVERY_MS);
	return number;
}

/* Whether there is time left to go on asking for it at later polls. */
static bool
file_is_patient(struct file_sink *file)
{
	int64_t now_us = file_now_us(file);

	if (file->lock_until_us == 0)
		file->lock_until_us = now_us + LOCK_MAX_MS * 1000;
	return now_us < file->lock_until_us;
}

/* Writes what was formatted; 0 or an errno. */
static int
file_write_lines(struct file_sink *file)
{
	size_t done = 0;

	while (done < file->lines.size) {
		ssize_t size = write(file->fd, file->lines.data + done, file->lines.size - done);

		if (size < 0 && errno != EINTR)
			return errno;
		if (size > 0)
			done += (size_t)size;
	}
	if (file->lines.capacity > 2 * WRITE_SIZE)
		ob_buf_free(&file->lines);
	ob_buf_reset(&file->lines);
	return 0;
}

static int
file_write_tickets(struct file_sink *file)
{
	const struct ob_ticket *ticket;
	int number;

	ob_buf_reset(&file->lines);
	if (file->torn)
		ob_buf_append_byte(&file->lines, '\n');
	for (uint64_t i = 0; (ticket = ob_tickets_at(&file->tickets, i)) != NULL; i++) {
		if (!ob_json_line(&file->lines, ticket->message, &file->scratch))
			return ENOMEM;
		if (file->lines.size < WRITE_SIZE)
			continue;
		number = file_write_lines(file);
		if (number != 0)
			return number;
	}
	number = file_write_lines(file);
	if (number == 0 && file->sync && fdatasync(file->fd) != 0)
		number = errno;
	return number;
}

/* Everything that waits is written and kept, or nothing of it. Without an answer while another has the lock. */
static void
file_commit(struct file_sink *file, int timeout_ms)
{
	struct file_trouble trouble;
	int number = file_await_lock(file, timeout_ms < LOCK_EVERY_MS ? timeout_ms : LOCK_EVERY_MS);

	if (number == EWOULDBLOCK && file_is_patient(file))
		return;
	file->lock_until_us = 0;
	if (number == 0) {
		number = file_write_tickets(file);
		if (number == 0) {
			(void)flock(file->fd, LOCK_UN);
			ob_tickets_answer_all(&file->tickets, OB_FATE_SENT, true, NULL, NULL);
			return;
		}
		/* If cutting back fails too, whoever writes next finds the half line. */
		(void)!ftruncate(file->fd, file->start);
		file_shut(file);
	}
	trouble = file_trouble_of(number);
	snprintf(file->text, sizeof(file->text), "%s", file_describe(number));
	ob_tickets_answer_all(&file->tickets, trouble.fate, false, trouble.code, file->text);
}

/* "file:PATH", or "file:///PATH" as other programs write it. */
static int
file_parse_url(struct file_sink *file, const char *url, struct ob_error *error)
{
	file->url = strdup(url);
	if (file->url == NULL)
		return ob_error_set(error, OB_NOMEM, "sink file: no memory");
	file->path = file->url + strlen("file:");
	if (strncmp(file->path, "///", 3) == 0)
		file->path += 2;
	else if (strncmp(file->path, "//", 2) == 0)
		return ob_error_set(error, OB_CONFIG,
				    "sink %s: names another host; write file:PATH", url);
	if (*file->path == '\0')
		return ob_error_set(error, OB_CONFIG, "sink file: has no path; write file:PATH");
	return OB_OK;
}

static int
file_open(struct ob_sink *sink, const struct ob_sink_config *config, struct ob_error *error)
{
	static const mode_t modes[] = {0600, 0640, 0644, 0660};
	struct file_sink *file = (struct file_sink *)sink;
	const struct file_options *options = config->options;
	int code, number;

	ob_buf_init(&file->lines, OB_JSON_LINE_MAX);
	ob_buf_init(&file->scratch, OB_JSON_LINE_MAX);
	code = file_parse_url(file, config->url, error);
	if (code != OB_OK)
		return code;
	file->mode = modes[options->mode];
	file->sync = options->sync;
	if (!ob_tickets_open(&file->tickets, (uint32_t)options->in_flight))
		return ob_error_set(error, OB_NOMEM, "sink file: no memory");
	if (ob_wake_open(&file->wake, error) != OB_OK)
		return OB_FAILED;
	/* What only a person can mend is told at once; a full disk or a lock may pass. */
	number = file_acquire(file);
	if (number != 0 && file_trouble_of(number).fate == OB_FATE_BLOCKED)
		return ob_error_set(error, OB_CONFIG, "sink file:%s: %s", file->path,
				    file_describe(number));
	return OB_OK;
}

static void
file_close(struct ob_sink *sink)
{
	struct file_sink *file = (struct file_sink *)sink;

	file_shut(file);
	ob_wake_close(&file->wake);
	ob_tickets_close(&file->tickets);
	ob_buf_free(&file->lines);
	ob_buf_free(&file->scratch);
	free(file->url);
	file->url = NULL;
}

static void
file_limits(const struct ob_sink *sink, struct ob_sink_limits *limits)
{
	const struct file_sink *file = (const struct file_sink *)sink;

	*limits = (struct ob_sink_limits){
	    .in_flight_max = file->tickets.capacity,
	    .order = OB_ORDER_ALWAYS,
	};
}

static void
file_submit(struct ob_sink *sink, const struct ob_delivery *deliveries, size_t count,
	    size_t *accepted)
{
	struct file_sink *file = (struct file_sink *)sink;

	*accepted = ob_tickets_put(&file->tickets, deliveries, count);
}

static size_t
file_poll(struct ob_sink *sink, int timeout_ms, struct ob_receipt *receipts, size_t capacity)
{
	struct file_sink *file = (struct file_sink *)sink;

	if (ob_tickets_answered(&file->tickets) == 0) {
		if (ob_tickets_next(&file->tickets) != NULL)
			file_commit(file, timeout_ms);
		else if (timeout_ms != 0)
			ob_wake_wait(&file->wake, timeout_ms);
	}
	return ob_tickets_take(&file->tickets, receipts, capacity);
}

static void
file_wake(struct ob_sink *sink)
{
	ob_wake_ring(&((struct file_sink *)sink)->wake);
}

/* Between polls a ticket is either answered or was never written. */
static void
file_cancel(struct ob_sink *sink)
{
	struct file_sink *file = (struct file_sink *)sink;

	file->lock_until_us = 0;
	ob_tickets_answer_all(&file->tickets, OB_FATE_RETURNED, false, "cancelled", NULL);
}

static int
file_check(struct ob_sink *sink, int timeout_ms, const struct ob_report *report,
	   struct ob_error *error)
{
	struct file_sink *file = (struct file_sink *)sink;
	struct ob_finding finding = {.level = OB_FINDING_OK, .code = "file_ok"};
	char what[256];
	int number = file_await_lock(file, timeout_ms);

	(void)error;
	if (number == 0) {
		(void)flock(file->fd, LOCK_UN);
		finding.what = "the file can be written";
	} else {
		finding.level = OB_FINDING_FAIL;
		finding.code = file_trouble_of(number).code;
		snprintf(what, sizeof(what), "the file cannot be written: %s",
			 file_describe(number));
		finding.what = what;
	}
	report->add(report->context, &finding);
	return OB_OK;
}

/* The next write opens it. */
static void
file_reopen(struct ob_sink *sink)
{
	file_shut((struct file_sink *)sink);
}

static const char *const file_schemes[] = {"file", NULL};

const struct ob_sink_ops ob_sink_file = {
    .contract = OB_SINK_CONTRACT,
    .name = "file",
    .schemes = file_schemes,
    .help = "file:PATH: appends each message as a line of JSON",
    .options = file_option_table,
    .options_size = sizeof(struct file_options),
    .size = sizeof(struct file_sink),
    .open = file_open,
    .close = file_close,
    .limits = file_limits,
    .submit = file_submit,
    .poll = file_poll,
    .wake = file_wake,
    .cancel = file_cancel,
    .check = file_check,
    .reopen = file_reopen,
};
