#include "wake.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int
ob_wake_open(struct ob_wake *wake, struct ob_error *error)
{
	wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (wake->fd < 0)
		return ob_error_set(error, OB_FAILED, "eventfd: %s", strerror(errno));
	wake->is_open = true;
	return OB_OK;
}

void
ob_wake_close(struct ob_wake *wake)
{
	if (wake->is_open)
		close(wake->fd);
	wake->is_open = false;
}

void
ob_wake_ring(struct ob_wake *wake)
{
	const uint64_t one = 1;

	/* It can only fail when it was rung 2^64 times and not heard, and then it is ringing. */
	if (wake->is_open && write(wake->fd, &one, sizeof(one)) < 0)
		return;
}

void
ob_wake_clear(struct ob_wake *wake)
{
	uint64_t count;

	if (read(wake->fd, &count, sizeof(count)) < 0)
		return;
}

void
ob_wake_wait(struct ob_wake *wake, int timeout_ms)
{
	struct pollfd fd = {.fd = wake->fd, .events = POLLIN};

	if (poll(&fd, 1, timeout_ms) > 0)
		ob_wake_clear(wake);
}
