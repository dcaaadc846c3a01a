/*
 * Topic patterns: `orders.*`, `invoices`, `*`.
 *
 * A '*' stands for any bytes, none too; everything else stands for itself. A list is comma
 * separated, with spaces around its patterns allowed, and matches what one of its patterns matches.
 * Matching takes no more than (size of pattern) x (size of topic) steps, whoever chose them.
 */
#ifndef OB_BASE_PATTERN_H
#define OB_BASE_PATTERN_H

#include <outbox/error.h>
#include <outbox/message.h>
#include <stdbool.h>

#define OB_PATTERN_LIST_SIZE_MAX 4096

/* The topic matches one pattern of the list, which ob_pattern_check has accepted. */
bool ob_pattern_match(const char *list, struct ob_bytes topic);

/* OB_CONFIG with what is wrong: an empty pattern or list, a control character, bad UTF-8, too long.
 */
int ob_pattern_check(const char *list, struct ob_error *error);

/*
 * Takes the next pattern out of a list: returns its bytes without the spaces and moves `*list` on;
 * absent at the end. For stores that turn patterns into SQL.
 */
struct ob_bytes ob_pattern_next(const char **list);

#endif
