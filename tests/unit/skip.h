/* A skip that says why; one without a reason counts as failed. Include after cmocka.h. */
#ifndef OB_TESTS_SKIP_H
#define OB_TESTS_SKIP_H

#define OB_SKIP(reason)                                 \
	do {                                            \
		print_message("# SKIP %s\n", (reason)); \
		skip();                                 \
	} while (0)

#endif
