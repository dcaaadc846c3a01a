/*
 * Assertions that stay on in release.
 *
 * OB_CHECK is for what cannot happen: a broken promise between two of our own functions. It says
 * where and what, and aborts: the store has everything, so a relay that stops loses nothing, and
 * one that goes on with a broken state may. What can happen (a full disk, a bad option, a lying
 * recipient) gets an error code. One condition each: write OB_CHECK(a); OB_CHECK(b); and not
 * OB_CHECK(a && b).
 */
#ifndef OB_BASE_CHECK_H
#define OB_BASE_CHECK_H

/* Prints "FILE:LINE: check failed: TEXT" to stderr and aborts. */
_Noreturn void ob_check_failed(const char *text, const char *file, int line);

#define OB_CHECK(condition) \
	((condition) ? (void)0 : ob_check_failed(#condition, __FILE__, __LINE__))

#endif
