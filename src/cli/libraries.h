/* The libraries that this program runs with, and their versions at run time. */
#ifndef OB_CLI_LIBRARIES_H
#define OB_CLI_LIBRARIES_H

#include <stddef.h>

#define OB_LIBRARIES_MAX 8

struct ob_library {
	const char *name;
	const char *version;
};

/* Fills the array; returns how many. */
size_t ob_libraries(struct ob_library libraries[OB_LIBRARIES_MAX]);

#endif
