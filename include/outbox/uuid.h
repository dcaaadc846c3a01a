/*
 * Message ids: UUIDs of version 7 (RFC 9562, 5.7), which sort by the time they were made.
 */
#ifndef OUTBOX_UUID_H
#define OUTBOX_UUID_H

#include <outbox/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_UUID_TEXT_SIZE 37 /* 36 characters and a NUL */

/*
 * Writes a new id in lower-case text form.
 *
 * Within a process each id sorts behind all ids that were made before it, whatever the threads and the
 * clock do (RFC 9562, 6.2, method 3: twelve bits below the millisecond, raised by one where the clock does
 * not). The other 62 bits are fresh from the system's entropy for each id, so a process and the child that
 * it forked never make the same one.
 *
 * From any thread; takes no lock, allocates nothing, and may be called between fork and exec. Blocks only
 * while the system has not gathered its first entropy. Returns OB_FAILED when the system gives none.
 */
OB_API int ob_uuid7(char out[OB_UUID_TEXT_SIZE], struct ob_error *error);

#ifdef __cplusplus
}
#endif
#endif
