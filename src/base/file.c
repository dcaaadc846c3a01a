#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
file_error(const char *path, int number, struct ob_error *error)
{
	enum ob_code code = OB_FAILED;

	if (number == ENOENT || number == ENOTDIR)
		code = OB_NOT_FOUND;
	else if (number == EACCES || number == EPERM)
		code = OB_DENIED;
	return ob_error_set(error, code, "%s: %s", path, strerror(number));
}

/* Reads to the end, one byte past the room that the buffer has to tell a file that is too large. */
static int
read_all(int fd, const char *path, struct ob_buf *out, struct ob_error *error)
{
	char chunk[4096];
	ssize_t size;

	for (;;) {
		size = read(fd, chunk, sizeof(chunk));
		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			break;
		if (!ob_buf_append(out, chunk, (size_t)size)) {
			ob_error_set(error, OB_LIMIT, "%s: larger than %zu bytes", path,
				     out->limit);
			break;
		}
	}
	explicit_bzero(chunk, sizeof(chunk));
	if (size < 0)
		return file_error(path, errno, error);
	return out->failed ? OB_LIMIT : OB_OK;
}

static int
check_secret(const char *path, const struct stat *st, struct ob_error *error)
{
	if ((st->st_mode & (S_IROTH | S_IWOTH | S_IWGRP)) != 0)
		return ob_error_set(error, OB_CONFIG,
				    "%s: others may read or change this secret; mend it with: "
				    "chmod 600 %s",
				    path, path);
	return OB_OK;
}

static int
file_read(const char *path, bool secret, struct ob_buf *out, struct ob_error *error)
{
	struct stat st;
	int code;
	/* O_NONBLOCK: a FIFO in the file's place must not hold us up. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return file_error(path, errno, error);
	if (fstat(fd, &st) != 0)
		code = file_error(path, errno, error);
	else if (!S_ISREG(st.st_mode))
		code = ob_error_set(error, OB_CONFIG, "%s: not a regular file", path);
	else
		code = secret ? check_secret(path, &st, error) : OB_OK;
	if (code == OB_OK)
		code = read_all(fd, path, out, error);
	close(fd);
	return code;
}

int
ob_file_read(const char *path, struct ob_buf *out, struct ob_error *error)
{
	return file_read(path, false, out, error);
}

int
ob_file_read_secret(const char *path, struct ob_buf *out, struct ob_error *error)
{
	size_t start = out->size;
	int code = file_read(path, true, out, error);

	if (code != OB_OK)
		return code;
	if (out->size > start && out->data[out->size - 1] == '\n')
		ob_buf_truncate(out, out->size - 1);
	if (out->size > start && out->data[out->size - 1] == '\r')
		ob_buf_truncate(out, out->size - 1);
	if (out->size == start)
		return ob_error_set(error, OB_CONFIG, "%s: the file is empty", path);
	return OB_OK;
}

int
ob_file_check_secret(const char *path, struct ob_error *error)
{
	struct stat st;

	return stat(path, &st) != 0 ? file_error(path, errno, error)
				    : check_secret(path, &st, error);
}
