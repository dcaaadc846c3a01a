/* The engine's configuration: what it is when nobody says, and what makes no sense. */
#include <inttypes.h>

#include "core.h"

#define ROWS_MAX  ((uint64_t)1 << 20)
#define YEAR_MS   ((int64_t)366 * 24 * 3600 * 1000)
#define STORM_MAX 1000
#define IN_FLIGHT 256

#define FILL(field, value)                 \
	do {                               \
		if ((field) == 0)          \
			(field) = (value); \
	} while (0)

void
ob_engine_config_defaults(struct ob_engine_config *config)
{
	FILL(config->window_count_max, 4096);
	FILL(config->window_bytes_max, (uint64_t)16 * 1024 * 1024);
	FILL(config->fetch_count_max, 1024);
	FILL(config->parked_window_max, 512);
	FILL(config->submit_count_max, 256);
	FILL(config->in_flight_max, IN_FLIGHT);
	FILL(config->settle_every_ms, 100);
	FILL(config->park_after_ms, 1000);
	FILL(config->probe_first_ms, 500);
	FILL(config->probe_max_ms, 30 * 1000);
	FILL(config->storm_limit, 20);
	FILL(config->verdict_ms, 1000);
	FILL(config->lease_ms, 10 * 1000);
	FILL(config->retry.first_ms, 1000);
	FILL(config->retry.max_ms, 300 * 1000);
	FILL(config->retry.jitter_pct, 20);
	FILL(config->retry.age_max_ms, 86400 * 1000);
	FILL(config->quotas.parked_rows, 100000);
	FILL(config->quotas.parked_rows_of_key, 10000);
	FILL(config->quotas.parked_keys, 10000);
	FILL(config->quotas.scheduled_rows, 1000000);
	FILL(config->quotas.dead_rows, 1000000);
	FILL(config->sink.in_flight_max, config->in_flight_max);
}

struct bound {
	const char *field;
	uint64_t value, min, max;
};

static int
bounds_check(const struct bound *bounds, size_t count, struct ob_error *error)
{
	for (size_t i = 0; i < count; i++) {
		const struct bound *it = &bounds[i];

		if (it->value < it->min || it->value > it->max)
			return ob_error_set(error, OB_CONFIG,
					    "%s is %" PRIu64 ", but must be %" PRIu64
					    " to %" PRIu64,
					    it->field, it->value, it->min, it->max);
	}
	return OB_OK;
}

int
ob_engine_config_check(const struct ob_engine_config *config, struct ob_error *error)
{
	/* A negative time is a huge number here, and so out of bounds. */
	const uint64_t year = (uint64_t)YEAR_MS;
	const uint64_t keys_max = ROWS_MAX - 1;
	const struct bound bounds[] = {
	    {"window_count_max", config->window_count_max, 1, ROWS_MAX},
	    {"window_bytes_max", config->window_bytes_max, 1, (uint64_t)1 << 40},
	    {"fetch_count_max", config->fetch_count_max, 1, ROWS_MAX},
	    {"parked_window_max", config->parked_window_max, 1, ROWS_MAX},
	    {"submit_count_max", config->submit_count_max, 1, ROWS_MAX},
	    {"in_flight_max", config->in_flight_max, 1, ROWS_MAX},
	    {"settle_every_ms", (uint64_t)config->settle_every_ms, 0, year},
	    {"park_after_ms", (uint64_t)config->park_after_ms, 0, year},
	    {"probe_first_ms", (uint64_t)config->probe_first_ms, 1, year},
	    {"probe_max_ms", (uint64_t)config->probe_max_ms, (uint64_t)config->probe_first_ms,
	     year},
	    {"storm_limit", config->storm_limit, 0, STORM_MAX},
	    {"verdict_ms", (uint64_t)config->verdict_ms, 0, year},
	    {"lease_ms", (uint64_t)config->lease_ms, 1, year},
	    {"retry.first_ms", (uint64_t)config->retry.first_ms, 1, year},
	    {"retry.max_ms", (uint64_t)config->retry.max_ms, (uint64_t)config->retry.first_ms,
	     year},
	    {"retry.jitter_pct", config->retry.jitter_pct, 0, 100},
	    {"retry.age_max_ms", (uint64_t)config->retry.age_max_ms, 0, 100 * year},
	    {"quotas.parked_rows", config->quotas.parked_rows, 0, INT64_MAX / 2},
	    {"quotas.parked_keys", config->quotas.parked_keys, 0, keys_max},
	    {"quotas.scheduled_rows", config->quotas.scheduled_rows, 0, INT64_MAX / 2},
	    {"quotas.dead_rows", config->quotas.dead_rows, 0, INT64_MAX / 2},
	    {"sink.in_flight_max", config->sink.in_flight_max, 1, UINT32_MAX},
	    {"sink.order", (uint64_t)config->sink.order, OB_ORDER_NONE, OB_ORDER_ALWAYS},
	};

	return bounds_check(bounds, sizeof(bounds) / sizeof(bounds[0]), error);
}
