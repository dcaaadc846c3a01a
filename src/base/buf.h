/*
 * A growable buffer of bytes with a hard limit.
 *
 * The limit is set at init and counts the bytes held, not the spare room. An append that would pass
 * it, or for which there is no memory, returns false, leaves the content as it was, and sets
 * `failed`, which stays set until the next reset: a run of appends can be checked once, at its end.
 *
 * The content is always followed by a NUL that is not counted, so text can be handed to C
 * functions. Nothing is allocated before the first append. A buffer belongs to one thread at a time
 * and never blocks.
 */
#ifndef OB_BASE_BUF_H
#define OB_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <outbox/api.h>

struct ob_buf {
	char *data;      /* NULL until something was appended; else followed by a NUL */
	size_t size;     /* bytes held */
	size_t capacity; /* bytes allocated, the NUL included */
	size_t limit;    /* the greatest size */
	bool failed;     /* an append was refused since the last reset */
};

/* An empty buffer for at most `limit` bytes. Allocates nothing; needs ob_buf_free later. */
void ob_buf_init(struct ob_buf *buf, size_t limit);

/* Appends `size` bytes. `data` may be NULL if `size` is 0. It must not point into the buffer
 * itself. */
bool ob_buf_append(struct ob_buf *buf, const void *data, size_t size);

/* Appends a C string, or one byte. */
bool ob_buf_append_text(struct ob_buf *buf, const char *text);
bool ob_buf_append_byte(struct ob_buf *buf, char byte);

/* Appends what printf would print. */
bool ob_buf_appendf(struct ob_buf *buf, const char *fmt, ...) OB_PRINTF(2, 3);
bool ob_buf_vappendf(struct ob_buf *buf, const char *fmt, va_list args) OB_PRINTF(2, 0);

/*
 * Room for `size` more bytes: returns where to write them, or NULL as an append that is refused.
 * What was written counts only after ob_buf_commit, with at most the size that was asked for.
 */
char *ob_buf_reserve(struct ob_buf *buf, size_t size);
void ob_buf_commit(struct ob_buf *buf, size_t size);

/* The content as a C string: "" when empty, never NULL. Valid until the buffer changes. */
const char *ob_buf_text(const struct ob_buf *buf);

/* Cuts the content to its first `size` bytes, of which there must be as many. */
void ob_buf_truncate(struct ob_buf *buf, size_t size);

/*
 * Gives the memory to the caller, who frees it with free(), and leaves an empty buffer with the
 * same limit. Returns NULL if an append failed, or there is no memory for an empty string. `size`
 * may be NULL.
 */
char *ob_buf_take(struct ob_buf *buf, size_t *size);

/* Empty again, the memory kept for the next use, `failed` cleared. */
void ob_buf_reset(struct ob_buf *buf);

/* Frees the memory. Safe on a zeroed buffer and twice. ob_buf_wipe clears the bytes first: for
 * secrets. */
void ob_buf_free(struct ob_buf *buf);
void ob_buf_wipe(struct ob_buf *buf);

#endif
