#include "repeats.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

/* How much of a line says of which kind it is. */
static size_t
kind_size(const char *line)
{
	const char *at = strstr(line, ": ");

	if (at != NULL)
		at = strstr(at + 2, ": ");
	return at != NULL ? (size_t)(at - line) : strlen(line);
}

static bool
is_of_kind(const struct ob_repeat *kind, const char *line)
{
	size_t size = kind_size(line);

	return kind_size(kind->line) == size && memcmp(kind->line, line, size) == 0;
}

/* The kind of a line, a new one if need be. Those for which there is no room are all of the last kind. */
static struct ob_repeat *
kind_of(struct ob_repeats *repeats, const char *line)
{
	for (unsigned i = 0; i < repeats->count; i++)
		if (is_of_kind(&repeats->kinds[i], line))
			return &repeats->kinds[i];
	if (repeats->count == OB_REPEATS_KINDS_MAX)
		return &repeats->kinds[OB_REPEATS_KINDS_MAX - 1];
	repeats->kinds[repeats->count] = (struct ob_repeat){0};
	ob_text_copy(repeats->kinds[repeats->count].line, OB_REPEATS_LINE_SIZE, line);
	return &repeats->kinds[repeats->count++];
}

bool
ob_repeats_pass(struct ob_repeats *repeats, int64_t now_ms, enum ob_log_level level,
		const char *line)
{
	char kept[OB_REPEATS_LINE_SIZE];
	struct ob_repeat *kind;

	if (repeats->count == 0)
		repeats->since_ms = now_ms;
	/* What is compared must not be longer than what is kept. */
	ob_text_copy(kept, sizeof(kept), line);
	kind = kind_of(repeats, kept);
	if (kind->passed < OB_REPEATS_OF_KIND) {
		kind->passed++;
		return true;
	}
	ob_text_copy(kind->line, sizeof(kind->line), kept);
	kind->level = level;
	kind->held++;
	kind->held_at = ++repeats->clock;
	return false;
}

static bool
is_over(const struct ob_repeats *repeats, int64_t now_ms)
{
	return repeats->count > 0 && now_ms - repeats->since_ms >= OB_REPEATS_WHILE_MS;
}

/* Those that flooded this while may pass once in the next; the others are forgotten. */
static void
begin_anew(struct ob_repeats *repeats, int64_t now_ms)
{
	unsigned count = 0;

	for (unsigned i = 0; i < repeats->count; i++)
		if (repeats->kinds[i].held_at != 0) {
			repeats->kinds[i].held_at = 0;
			repeats->kinds[i].passed = OB_REPEATS_OF_KIND - 1;
			repeats->kinds[count++] = repeats->kinds[i];
		}
	repeats->count = count;
	repeats->since_ms = now_ms;
}

bool
ob_repeats_next(struct ob_repeats *repeats, int64_t now_ms, bool ends, enum ob_log_level *level,
		char *out)
{
	struct ob_repeat *next = NULL;

	if (!is_over(repeats, now_ms) && !ends)
		return false;
	for (unsigned i = 0; i < repeats->count; i++) {
		struct ob_repeat *kind = &repeats->kinds[i];

		if (kind->held > 0 && (next == NULL || kind->held_at < next->held_at))
			next = kind;
	}
	if (next == NULL) {
		begin_anew(repeats, now_ms);
		return false;
	}
	(void)snprintf(out, OB_REPEATS_SUMMARY_SIZE, "%s (the last of %u more like this in %lld s)",
		       next->line, next->held,
		       (long long)(now_ms - repeats->since_ms + 500) / 1000);
	*level = next->level;
	next->held = 0;
	return true;
}
