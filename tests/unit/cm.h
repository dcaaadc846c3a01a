/* cmocka with what it wants to see before it. */
#ifndef OB_TESTS_CM_H
#define OB_TESTS_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Runs the tests of an array as a program. */
#define CM_MAIN(tests)                                            \
	int main(void)                                            \
	{                                                         \
		return cmocka_run_group_tests(tests, NULL, NULL); \
	}

#endif
