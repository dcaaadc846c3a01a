/*
 * file: what a disk may do to it. write, fdatasync and ftruncate of the sink are replaced by ours (the linker's --wrap), which
 * fail when told to.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sink_trial.h"
#include "sinks.h"

static struct {
	int room;       /* bytes that may still be written; -1: any number */
	int sync_error; /* of the next fdatasync */
	int truncate_error;
	int syncs;
	bool unsynced; /* something was written since the last fdatasync */
} disk;

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_ftruncate64(int fd, off_t size);
int __wrap_ftruncate64(int fd, off_t size);

ssize_t
__wrap_write(int fd, const void *bytes, size_t size)
{
	if (fd <= 2)
		return __real_write(fd, bytes, size);
	if (disk.room == 0) {
		errno = ENOSPC;
		return -1;
	}
	if (disk.room > 0) {
		size = size < (size_t)disk.room ? size : (size_t)disk.room;
		disk.room -= (int)size;
	}
	disk.unsynced = true;
	return __real_write(fd, bytes, size);
}

int
__wrap_fdatasync(int fd)
{
	disk.syncs++;
	if (disk.sync_error != 0) {
		errno = disk.sync_error;
		disk.sync_error = 0;
		return -1;
	}
	disk.unsynced = false;
	return __real_fdatasync(fd);
}

int
__wrap_ftruncate64(int fd, off_t size)
{
	if (disk.truncate_error != 0) {
		errno = disk.truncate_error;
		disk.truncate_error = 0;
		return -1;
	}
	return __real_ftruncate64(fd, size);
}

static char directory[64], path[128], url[160];
static struct trial trial, another;
static const struct ob_message message = {.id = {"1", 1}, .topic = {"t", 1}, .payload = {"p", 1}};
static const char line[] =
    "{\"id\":\"1\",\"topic\":\"t\",\"created_at\":\"1970-01-01T00:00:00.000Z\",\"payload\":\"p\"}\n";

static int
begin(void **state)
{
	(void)state;
	memset(&disk, 0, sizeof(disk));
	disk.room = -1;
	snprintf(directory, sizeof(directory), "/tmp/outbox-file-XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/out", directory);
	snprintf(url, sizeof(url), "file:%s", path);
	return 0;
}

static int
end(void **state)
{
	char old[160];

	(void)state;
	trial_close(&trial);
	if (another.sink != NULL)
		trial_close(&another);
	another = (struct trial){0};
	snprintf(old, sizeof(old), "%s.old", path);
	unlink(old);
	unlink(path);
	return rmdir(directory);
}

static void
start(void)
{
	assert_int_equal(trial_open(&trial, &ob_sink_file, url, NULL), OB_OK);
}

static void
assert_sent(void)
{
	assert_int_equal(trial_send(&trial, &message).fate, OB_FATE_SENT);
	assert_false(disk.unsynced);
}

static void
assert_content(const char *name, const char *expected)
{
	char content[1024] = "";
	FILE *file = fopen(name, "r");

	assert_non_null(file);
	content[fread(content, 1, sizeof(content) - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(content, expected);
}

static void
write_content(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void
many_messages_pay_one_sync(void **state)
{
	struct ob_delivery deliveries[100];
	struct ob_receipt receipts[100];
	size_t accepted;

	(void)state;
	start();
	for (size_t i = 0; i < 100; i++)
		deliveries[i] = (struct ob_delivery){.ticket = i, .message = &message};
	ob_sink_file.submit(trial.sink, deliveries, 100, &accepted);
	assert_int_equal(accepted, 100);
	assert_int_equal(disk.syncs, 0);
	assert_int_equal(ob_sink_file.poll(trial.sink, 0, receipts, 60), 60);
	assert_int_equal(ob_sink_file.poll(trial.sink, 0, receipts, 100), 40);
	assert_int_equal(disk.syncs, 1);
	assert_false(disk.unsynced);
}

static void
a_full_disk_leaves_no_half_line(void **state)
{
	struct ob_receipt receipt;

	(void)state;
	start();
	assert_sent();
	disk.room = 10;
	receipt = trial_send(&trial, &message);
	assert_int_equal(receipt.fate, OB_FATE_DOWN);
	assert_string_equal(receipt.code, "disk_full");
	assert_content(path, line);
	disk.room = -1;
	assert_sent();
}

static void
a_half_line_that_cannot_be_cut_off_is_ended(void **state)
{
	char expected[512];

	(void)state;
	start();
	disk.room = 10;
	disk.truncate_error = EIO;
	assert_int_equal(trial_send(&trial, &message).fate, OB_FATE_DOWN);
	disk.room = -1;
	assert_sent();
	snprintf(expected, sizeof(expected), "%.10s\n%s", line, line);
	assert_content(path, expected);
}

static void
what_was_not_synced_is_not_sent(void **state)
{
	struct ob_receipt receipt;

	(void)state;
	start();
	disk.sync_error = EIO;
	receipt = trial_send(&trial, &message);
	assert_int_equal(receipt.fate, OB_FATE_DOWN);
	assert_string_equal(receipt.code, "file_error");
	assert_content(path, "");
	assert_sent();
	assert_content(path, line);
}

static void
the_torn_line_of_a_crash_stays_alone(void **state)
{
	char expected[512];

	(void)state;
	write_content("{\"id\":\"0\",\"to");
	start();
	assert_sent();
	assert_sent();
	snprintf(expected, sizeof(expected), "{\"id\":\"0\",\"to\n%s%s", line, line);
	assert_content(path, expected);
}

static void
a_locked_file_is_down_until_it_is_free(void **state)
{
	struct ob_receipt receipt;
	int fd;

	(void)state;
	write_content("");
	fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	start();
	receipt = trial_send(&trial, &message);
	assert_int_equal(receipt.fate, OB_FATE_DOWN);
	assert_string_equal(receipt.code, "file_locked");
	assert_content(path, "");
	close(fd);
	assert_sent();
}

/* As two shards of one relay do. */
static void
several_write_to_one_file_by_turns(void **state)
{
	char expected[512];

	(void)state;
	start();
	assert_int_equal(trial_open(&another, &ob_sink_file, url, NULL), OB_OK);
	assert_sent();
	assert_int_equal(trial_send(&another, &message).fate, OB_FATE_SENT);
	assert_sent();
	snprintf(expected, sizeof(expected), "%s%s%s", line, line, line);
	assert_content(path, expected);
}

static void
a_full_disk_takes_no_line_of_another(void **state)
{
	char expected[512];

	(void)state;
	start();
	assert_int_equal(trial_open(&another, &ob_sink_file, url, NULL), OB_OK);
	assert_sent();
	assert_int_equal(trial_send(&another, &message).fate, OB_FATE_SENT);
	disk.room = 10;
	assert_int_equal(trial_send(&trial, &message).fate, OB_FATE_DOWN);
	snprintf(expected, sizeof(expected), "%s%s", line, line);
	assert_content(path, expected);
	disk.room = -1;
	assert_int_equal(trial_send(&another, &message).fate, OB_FATE_SENT);
	snprintf(expected, sizeof(expected), "%s%s%s", line, line, line);
	assert_content(path, expected);
}

static void
who_is_writing_is_waited_for(void **state)
{
	const struct ob_delivery delivery = {.ticket = 1, .message = &message};
	struct ob_receipt receipt;
	size_t accepted;
	int fd;

	(void)state;
	start();
	fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	ob_sink_file.submit(trial.sink, &delivery, 1, &accepted);
	assert_int_equal(accepted, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ob_sink_file.poll(trial.sink, 10, &receipt, 1), 0);
	close(fd);
	assert_int_equal(ob_sink_file.poll(trial.sink, 1000, &receipt, 1), 1);
	assert_int_equal(receipt.fate, OB_FATE_SENT);
	assert_content(path, line);
}

static void
rotation_goes_on_in_a_new_file(void **state)
{
	char old[160];

	(void)state;
	start();
	assert_sent();
	snprintf(old, sizeof(old), "%s.old", path);
	assert_int_equal(rename(path, old), 0);
	ob_sink_file.reopen(trial.sink);
	assert_sent();
	assert_content(old, line);
	assert_content(path, line);
}

static void
a_deleted_file_is_made_anew(void **state)
{
	(void)state;
	start();
	assert_sent();
	assert_int_equal(unlink(path), 0);
	assert_sent();
	assert_content(path, line);
}

static void
what_is_no_file_is_refused(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(trial_open(&trial, &ob_sink_file, url, NULL), OB_CONFIG);
	assert_non_null(strstr(trial.error.text, "not a regular file"));
}

static void
a_new_file_has_the_mode_asked_for(void **state)
{
	const char *const options[] = {"mode=0640", NULL};
	mode_t before = umask(0);
	struct stat status;

	(void)state;
	assert_int_equal(trial_open(&trial, &ob_sink_file, url, options), OB_OK);
	umask(before);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0640);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(many_messages_pay_one_sync),
	    CASE(a_full_disk_leaves_no_half_line),
	    CASE(a_half_line_that_cannot_be_cut_off_is_ended),
	    CASE(what_was_not_synced_is_not_sent),
	    CASE(the_torn_line_of_a_crash_stays_alone),
	    CASE(a_locked_file_is_down_until_it_is_free),
	    CASE(several_write_to_one_file_by_turns),
	    CASE(a_full_disk_takes_no_line_of_another),
	    CASE(who_is_writing_is_waited_for),
	    CASE(rotation_goes_on_in_a_new_file),
	    CASE(a_deleted_file_is_made_anew),
	    CASE(what_is_no_file_is_refused),
	    CASE(a_new_file_has_the_mode_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
