#include "buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define CAPACITY_MIN 64

void
ob_buf_init(struct ob_buf *buf, size_t limit)
{
	*buf = (struct ob_buf){.limit = limit};
}

/*
 * Makes room for `more` bytes and the NUL. Doubling keeps the cost of n appends at O(n); the last
 * step goes no further than the limit, so a large limit costs nothing until it is used.
 */
static bool
buf_grow(struct ob_buf *buf, size_t more)
{
	size_t needed, capacity;
	char *data;

	if (more > buf->limit - buf->size || buf->limit == SIZE_MAX) {
		buf->failed = true;
		return false;
	}
	needed = buf->size + more + 1;
	if (needed <= buf->capacity)
		return true;
	capacity = buf->capacity < CAPACITY_MIN ? CAPACITY_MIN : buf->capacity;
	while (capacity < needed)
		capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
	if (capacity > buf->limit + 1)
		capacity = buf->limit + 1;
	data = realloc(buf->data, capacity);
	if (data == NULL) {
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->capacity = capacity;
	return true;
}

char *
ob_buf_reserve(struct ob_buf *buf, size_t size)
{
	if (!buf_grow(buf, size))
		return NULL;
	buf->data[buf->size] = '\0';
	return buf->data + buf->size;
}

void
ob_buf_commit(struct ob_buf *buf, size_t size)
{
	OB_CHECK(buf->data != NULL);
	OB_CHECK(size < buf->capacity - buf->size);
	buf->size += size;
	buf->data[buf->size] = '\0';
}

bool
ob_buf_append(struct ob_buf *buf, const void *data, size_t size)
{
	if (!buf_grow(buf, size))
		return false;
	if (size > 0)
		memcpy(buf->data + buf->size, data, size);
	buf->size += size;
	buf->data[buf->size] = '\0';
	return true;
}

bool
ob_buf_append_text(struct ob_buf *buf, const char *text)
{
	return ob_buf_append(buf, text, strlen(text));
}

bool
ob_buf_append_byte(struct ob_buf *buf, char byte)
{
	return ob_buf_append(buf, &byte, 1);
}

bool
ob_buf_vappendf(struct ob_buf *buf, const char *fmt, va_list args)
{
	va_list again;
	int length;

	va_copy(again, args);
	length = vsnprintf(NULL, 0, fmt, args);
	if (length >= 0 && buf_grow(buf, (size_t)length)) {
		vsnprintf(buf->data + buf->size, (size_t)length + 1, fmt, again);
		buf->size += (size_t)length;
	} else {
		buf->failed = true;
		length = -1;
	}
	va_end(again);
	return length >= 0;
}

bool
ob_buf_appendf(struct ob_buf *buf, const char *fmt, ...)
{
	va_list args;
	bool done;

	va_start(args, fmt);
	done = ob_buf_vappendf(buf, fmt, args);
	va_end(args);
	return done;
}

const char *
ob_buf_text(const struct ob_buf *buf)
{
	return buf->data == NULL ? "" : buf->data;
}

void
ob_buf_truncate(struct ob_buf *buf, size_t size)
{
	OB_CHECK(size <= buf->size);
	buf->size = size;
	if (buf->data != NULL)
		buf->data[size] = '\0';
}

char *
ob_buf_take(struct ob_buf *buf, size_t *size)
{
	char *data;

	if (buf->failed || !ob_buf_append(buf, NULL, 0))
		return NULL;
	data = buf->data;
	if (size != NULL)
		*size = buf->size;
	ob_buf_init(buf, buf->limit);
	return data;
}

void
ob_buf_reset(struct ob_buf *buf)
{
	buf->failed = false;
	ob_buf_truncate(buf, 0);
}

void
ob_buf_free(struct ob_buf *buf)
{
	free(buf->data);
	ob_buf_init(buf, buf->limit);
}

void
ob_buf_wipe(struct ob_buf *buf)
{
	if (buf->data != NULL)
		explicit_bzero(buf->data, buf->capacity);
	ob_buf_free(buf);
}
