/*
 * Small helpers for bytes and text. Pure: nothing here allocates, blocks or keeps anything.
 */
#ifndef OB_BASE_TEXT_H
#define OB_BASE_TEXT_H

#include <outbox/message.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of a C string, without its NUL; absent when `text` is NULL. They live as long as it
 * does. */
struct ob_bytes ob_bytes_of_text(const char *text);

/* The same bytes, absent and empty told apart. */
bool ob_bytes_equal(struct ob_bytes a, struct ob_bytes b);

/* Equal to this C string. */
bool ob_bytes_equal_text(struct ob_bytes bytes, const char *text);

/* Without spaces, tabs, CR and LF at both ends. */
struct ob_bytes ob_bytes_trim(struct ob_bytes bytes);

/* `text` starts with `prefix`. */
bool ob_text_starts_with(const char *text, const char *prefix);

/*
 * Reads a decimal number that fills the whole text: an optional '-', then digits and nothing else.
 * False, with `*value` untouched, if there is anything else or the number does not fit.
 */
bool ob_text_to_int64(const char *text, int64_t *value);

/*
 * Copies `text` into `out`, cut to its `size` with a NUL at the end, and without half a UTF-8
 * character. Returns whether all of it fitted. `size` is at least 1.
 */
bool ob_text_copy(char *out, size_t size, const char *text);

/* The fewest letters to insert, delete, change or swap with their neighbour; OB_TEXT_FAR past 64
 * bytes. */
#define OB_TEXT_FAR 1000
unsigned ob_text_distance(const char *a, const char *b);

/*
 * The name that somebody who wrote `text` most probably meant, or NULL if none is near: for "did
 * you mean". `names` holds `count` strings; NULL ones are passed over.
 */
const char *ob_text_nearest(const char *text, const char *const *names, size_t count);

#endif
