/*
 * The attempts that parked and dead rows keep, as a JSON array of {"at":RFC 3339,"code":...,"text":...}, oldest
 * first, the last OB_TRIES_KEPT of them.
 */
#ifndef OB_STORES_TRIES_H
#define OB_STORES_TRIES_H

#include <outbox/store.h>

#include "buf.h"

#define OB_TRIES_TEXT_MAX (64 * 1024)

/*
 * Writes `kept` (an array that this function made; NULL or "": none) with `count` tries added to `out`,
 * which is reset first. `now_us` is the database's time. False when there is no memory.
 */
bool ob_tries_append(struct ob_buf *out, const char *kept, const struct ob_try *tries,
		     uint32_t count, int64_t now_us);

#endif
