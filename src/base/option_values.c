/* The single values: numbers, sizes, durations, switches. See options.h. */
#include "options.h"
#include "text.h"

#include <string.h>

struct unit {
	const char *name;
	int64_t factor;
};

const char *
ob_parse_bool(const char *text, bool *value)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};

	for (size_t i = 0; i < 4; i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*value = strcmp(text, yes[i]) == 0;
			return NULL;
		}
	}
	return "true or false";
}

const char *
ob_parse_int(const char *text, int64_t *value)
{
	return ob_text_to_int64(text, value) ? NULL : "a whole number";
}

/* Digits and one of the units. A unit named "" allows the number alone. */
static bool
parse_unit(const char *text, const struct unit *units, int64_t *value)
{
	size_t digits = strspn(text, "0123456789");
	char number[32];
	int64_t count;

	if (digits == 0 || digits >= sizeof(number))
		return false;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (!ob_text_to_int64(number, &count))
		return false;
	for (; units->name != NULL; units++) {
		if (strcmp(text + digits, units->name) != 0)
			continue;
		return !__builtin_mul_overflow(count, units->factor, value);
	}
	return false;
}

const char *
ob_parse_size(const char *text, int64_t *bytes)
{
	static const struct unit units[] = {
	    {"", 1},
	    {"KiB", INT64_C(1) << 10},
	    {"MiB", INT64_C(1) << 20},
	    {"GiB", INT64_C(1) << 30},
	    {NULL, 0},
	};
	int64_t value;

	if (!parse_unit(text, units, &value))
		return "a size such as 512, 64KiB, 16MiB or 1GiB";
	*bytes = value;
	return NULL;
}

const char *
ob_parse_duration(const char *text, int64_t *duration_ms)
{
	static const struct unit units[] = {
	    {"ms", 1},          {"s", 1000},         {"m", 60 * 1000},
	    {"h", 3600 * 1000}, {"d", 86400 * 1000}, {NULL, 0},
	};
	int64_t value;

	if (strcmp(text, "0") == 0)
		value = 0;
	else if (!parse_unit(text, units, &value))
		return "a duration such as 500ms, 10s, 5m, 24h or 7d";
	*duration_ms = value;
	return NULL;
}
