#include <errno.h>
#include <outbox/uuid.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The tick of the last id: milliseconds since 1970 in the upper bits, 1/4096 of a millisecond below. */
static _Atomic uint64_t last_tick;

static uint64_t
tick_of_clock(void)
{
	struct timespec now;

	/* Cannot fail with this clock. */
	(void)clock_gettime(CLOCK_REALTIME, &now);
	uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	uint64_t below = (uint64_t)(now.tv_nsec % 1000000) * 4096 / 1000000;

	return ms << 12 | below;
}

/* A tick above every tick that was given before: the clock's where that is later, else the next one. */
static uint64_t
tick_next(void)
{
	uint64_t last = atomic_load_explicit(&last_tick, memory_order_relaxed);
	uint64_t clock = tick_of_clock();
	uint64_t next;

	do {
		next = clock > last ? clock : last + 1;
	} while (!atomic_compare_exchange_weak_explicit(
	    &last_tick, &last, next, memory_order_relaxed, memory_order_relaxed));
	return next;
}

static int
entropy_read(unsigned char *out, size_t size, struct ob_error *error)
{
	ssize_t got;

	/* Up to 256 bytes come whole; only the wait for the first entropy after boot can be interrupted. */
	do {
		got = getrandom(out, size, 0);
	} while (got < 0 && errno == EINTR);
	if (got != (ssize_t)size)
		return ob_error_set(error, OB_FAILED, "uuid: the system gives no random bytes: %s",
				    got < 0 ? strerror(errno) : "too few");
	return OB_OK;
}

int
ob_uuid7(char out[OB_UUID_TEXT_SIZE], struct ob_error *error)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[16];
	int rc = entropy_read(bytes + 8, 8, error);

	if (rc != OB_OK)
		return rc;
	uint64_t tick = tick_next();
	for (int i = 0; i < 6; i++)
		bytes[i] = (unsigned char)(tick >> (52 - 8 * i));
	bytes[6] = (unsigned char)(0x70 | (tick >> 8 & 0x0f));
	bytes[7] = (unsigned char)tick;
	bytes[8] = (unsigned char)(0x80 | (bytes[8] & 0x3f));

	char *at = out;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[bytes[i] >> 4];
		*at++ = digits[bytes[i] & 0x0f];
	}
	*at = '\0';
	return OB_OK;
}
