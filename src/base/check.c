#include "check.h"

#include <stdio.h>
#include <stdlib.h>

void
ob_check_failed(const char *text, const char *file, int line)
{
	fprintf(stderr, "%s:%d: check failed: %s\n", file, line, text);
	abort();
}
