/* See crash.h. Compiled only into builds for tests. */
#include "crash.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_ulong crash_passes;
static atomic_ulong crash_in_flight;

void
ob_crash_note_in_flight(unsigned long count)
{
	atomic_store_explicit(&crash_in_flight, count, memory_order_relaxed);
}

static void
crash_write_log(const char *name)
{
	const char *path = getenv("OB_CRASH_LOG");
	char line[64];
	int size, fd;

	if (path == NULL)
		return;
	size = snprintf(line, sizeof(line), "%s %lu\n", name, atomic_load(&crash_in_flight));
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, (size_t)size) != size)
		fprintf(stderr, "crash point %s: cannot write %s\n", name, path);
}

/* True when OB_CRASH_AT names this point; `at` is then the pass to die at. */
static bool
crash_is_wanted(const char *name, unsigned long *at)
{
	const char *wanted = getenv("OB_CRASH_AT");
	size_t size = strlen(name);

	if (wanted == NULL || strncmp(wanted, name, size) != 0)
		return false;
	if (wanted[size] != '\0' && wanted[size] != ':')
		return false;
	*at = wanted[size] == ':' ? strtoul(wanted + size + 1, NULL, 10) : 1;
	return true;
}

void
ob_crash_point(const char *name)
{
	unsigned long at;

	if (!crash_is_wanted(name, &at))
		return;
	if (atomic_fetch_add(&crash_passes, 1) + 1 != at)
		return;
	crash_write_log(name);
	raise(SIGKILL);
	for (;;) /* The signal takes the whole process, if not at once. */
		pause();
}
