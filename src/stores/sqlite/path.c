/*
 * Why a database cannot be opened, read or written, as far as the system tells: the way to the file, the rights of this user, the
 * room on the disk. To most of it SQLite says only "unable to open database file" or "disk I/O error".
 */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "sqlite_store.h"
#include "text.h"

/* SQLite makes its shared memory in pieces of 32 KiB. With less than this nothing goes well. */
#define ROOM_BYTES_MIN (64 * 1024)

/* "nobody (65534)", or the number alone. */
struct user_name {
	char text[64];
};

static struct user_name
user_name(uid_t uid)
{
	struct user_name name;
	struct passwd entry, *found = NULL;
	char memory[1024];

	if (getpwuid_r(uid, &entry, memory, sizeof(memory), &found) == 0 && found != NULL)
		snprintf(name.text, sizeof(name.text), "%.48s (%u)", found->pw_name, (unsigned)uid);
	else
		snprintf(name.text, sizeof(name.text), "%u", (unsigned)uid);
	return name;
}

/* "SUBJECT: user U may not DO PATH, which ..." with whose it is and what mends it. */
static int
fail_right(const char *subject, const char *may_not, const char *path, const char *which,
	   struct ob_error *error)
{
	struct user_name user = user_name(geteuid()), owner = {""};
	struct stat st = {0};

	if (stat(path, &st) == 0)
		owner = user_name(st.st_uid);
	return ob_error_set(
	    error, OB_DENIED,
	    "%s: user %s may not %s %s%s (its owner is %s, its mode %04o): give the right with "
	    "chmod or chown, or run as a user that has it",
	    subject, user.text, may_not, path, which, owner.text, (unsigned)st.st_mode & 07777);
}

static int
fail_access(const char *subject, int number, const char *may_not, const char *path,
	    const char *which, struct ob_error *error)
{
	if (number == EACCES)
		return fail_right(subject, may_not, path, which, error);
	if (number == EROFS)
		return ob_error_set(error, OB_DENIED,
				    "%s: %s is on a file system that is mounted read-only", subject,
				    path);
	return ob_error_set(error, number == EPERM ? OB_DENIED : OB_UNREACHABLE, "%s: %s: %s",
			    subject, path, strerror(number));
}

/* The directory in which the file is or will be. */
static void
directory_of(const char *path, char out[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	char directory[PATH_MAX] = ".";

	if (slash == path)
		ob_text_copy(directory, sizeof(directory), "/");
	else if (slash != NULL)
		snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
	if (realpath(directory, out) == NULL)
		ob_text_copy(out, PATH_MAX, directory);
}

static int
directory_check(const char *subject, const char *path, const char *which, struct ob_error *error)
{
	char directory[PATH_MAX];

	directory_of(path, directory);
	if (access(directory, W_OK | X_OK) == 0)
		return OB_OK;
	return fail_access(subject, errno, "make files in the directory", directory, which, error);
}

/* The first directory on the way to the file that does not lead on. */
static int
way_fail(const struct sqlite_store *store, int number, struct ob_error *error)
{
	char part[PATH_MAX], directory[PATH_MAX];
	struct stat st;

	for (const char *at = strchr(store->path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(at - store->path), store->path);
		if (stat(part, &st) != 0) {
			if (errno != ENOENT)
				break;
			directory_of(store->path, directory);
			return ob_error_set(
			    error, OB_NOT_FOUND,
			    "%s: there is no directory %s; make it with: mkdir -p %s", store->name,
			    directory, directory);
		}
		if (!S_ISDIR(st.st_mode))
			return ob_error_set(error, OB_NOT_FOUND, "%s: %s is not a directory",
					    store->name, part);
		if (access(part, X_OK) != 0)
			return fail_access(store->name, errno, "go through the directory", part, "",
					   error);
	}
	return ob_error_set(error, OB_UNREACHABLE, "%s: %s", store->name, strerror(number));
}

static int
fail_absent(const struct sqlite_store *store, bool create, bool *is_new, struct ob_error *error)
{
	char directory[PATH_MAX];
	struct stat st;

	/* Anything but a link was made by another process since we looked, which is making the same database. */
	if (lstat(store->path, &st) == 0 && S_ISLNK(st.st_mode))
		return ob_error_set(
		    error, OB_NOT_FOUND,
		    "%s: this is a link to a file that is not there: mend or remove it",
		    store->name);
	if (!create)
		return ob_error_set(error, OB_NOT_FOUND,
				    "%s: there is no such database; make it with: outbox init %s",
				    store->name, store->name);
	directory_of(store->path, directory);
	if (access(directory, F_OK) != 0)
		return way_fail(store, errno, error);
	*is_new = true;
	return directory_check(store->name, store->path, "", error);
}

int
ob_sqlite_path_check(const struct sqlite_store *store, bool create, bool *is_new,
		     struct ob_error *error)
{
	struct stat st;

	*is_new = false;
	if (stat(store->path, &st) != 0)
		return errno == ENOENT ? fail_absent(store, create, is_new, error)
				       : way_fail(store, errno, error);
	if (S_ISDIR(st.st_mode))
		return ob_error_set(error, OB_CONFIG,
				    "%s: this is a directory, not a database file", store->name);
	if (!S_ISREG(st.st_mode))
		return ob_error_set(error, OB_CONFIG, "%s: this is not a regular file",
				    store->name);
	*is_new = st.st_size == 0 && create;
	if (access(store->path, R_OK) != 0)
		return fail_access(store->name, errno, "read the file", store->path, "", error);
	if (!store->read_only && access(store->path, W_OK) != 0)
		return fail_access(store->name, errno, "write the file", store->path, "", error);
	return OB_OK;
}

/* What SQLite keeps beside the file may be missing and not be made, or be another user's. */
static int
side_files_check(const struct sqlite_store *store, const char *subject, struct ob_error *error)
{
	static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", store->path, suffixes[i]);
		if (access(path, F_OK) == 0 && access(path, R_OK | W_OK) != 0)
			return fail_access(subject, errno, "write the file", path,
					   ", which another program has made beside the database",
					   error);
	}
	return directory_check(subject, store->path, ", as SQLite does beside the database", error);
}

static int
room_check(const char *subject, enum ob_code code, const char *path, struct ob_error *error)
{
	char directory[PATH_MAX];
	struct statvfs st;
	uint64_t blocks;

	directory_of(path, directory);
	if (statvfs(directory, &st) != 0)
		return OB_OK;
	/* Some are kept for root. */
	blocks = geteuid() == 0 ? st.f_bfree : st.f_bavail;
	if (blocks * st.f_frsize >= ROOM_BYTES_MIN)
		return OB_OK;
	return ob_error_set(error, code, "%s: the disk of %s is full: free some space", subject,
			    directory);
}

int
ob_sqlite_path_explain(const struct sqlite_store *store, int rc, enum ob_code code,
		       const char *what, struct ob_error *error)
{
	int number = store->db == NULL ? 0 : sqlite3_system_errno(store->db);
	char subject[OB_ERROR_TEXT_MAX];

	snprintf(subject, sizeof(subject), "%s: %s", store->name, what);
	if (number == EMFILE || number == ENFILE || number == EFBIG)
		return ob_error_set(error, code, "%s: %s: see ulimit -%c", subject,
				    strerror(number), number == EFBIG ? 'f' : 'n');
	switch (rc & 0xff) {
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
		return side_files_check(store, subject, error);
	case SQLITE_FULL:
	case SQLITE_IOERR:
		return room_check(subject, code, store->path, error);
	default:
		return OB_OK;
	}
}
