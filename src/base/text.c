#include "text.h"

#include <assert.h>
#include <string.h>

#define DISTANCE_LENGTH_MAX 64

struct ob_bytes
ob_bytes_of_text(const char *text)
{
	return (struct ob_bytes){.data = text, .size = text == NULL ? 0 : strlen(text)};
}

bool
ob_bytes_equal(struct ob_bytes a, struct ob_bytes b)
{
	if (a.data == NULL || b.data == NULL)
		return a.data == b.data;
	return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

bool
ob_bytes_equal_text(struct ob_bytes bytes, const char *text)
{
	return ob_bytes_equal(bytes, ob_bytes_of_text(text));
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct ob_bytes
ob_bytes_trim(struct ob_bytes bytes)
{
	const char *data = bytes.data;
	size_t from = 0, to = bytes.size;

	if (data == NULL)
		return bytes;
	while (from < to && is_space(data[from]))
		from++;
	while (to > from && is_space(data[to - 1]))
		to--;
	return (struct ob_bytes){.data = data + from, .size = to - from};
}

bool
ob_text_starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
ob_text_to_int64(const char *text, int64_t *value)
{
	bool negative = *text == '-';
	int64_t sum = 0;

	text += negative;
	if (*text == '\0')
		return false;
	/* Summed below zero, where there is room for the smallest number too. */
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		if (__builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_sub_overflow(sum, *text - '0', &sum))
			return false;
	}
	if (!negative && __builtin_sub_overflow((int64_t)0, sum, &sum))
		return false;
	*value = sum;
	return true;
}

bool
ob_text_copy(char *out, size_t size, const char *text)
{
	size_t length = strlen(text);
	bool fits = length < size;

	assert(size > 0);
	if (!fits) {
		length = size - 1;
		/* Back over the bytes that continue a character, to its first, which goes too. */
		while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	memcpy(out, text, length);
	out[length] = '\0';
	return fits;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* The optimal string alignment distance, by rows: `before` and `last` are the two rows above. */
unsigned
ob_text_distance(const char *a, const char *b)
{
	unsigned rows[3][DISTANCE_LENGTH_MAX + 1];
	size_t a_size = strlen(a), b_size = strlen(b);

	if (a_size > DISTANCE_LENGTH_MAX || b_size > DISTANCE_LENGTH_MAX)
		return OB_TEXT_FAR;
	for (size_t j = 0; j <= b_size; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_size; i++) {
		unsigned *now = rows[i % 3];
		const unsigned *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b_size; j++) {
			unsigned change = last[j - 1] + (a[i - 1] != b[j - 1]);

			now[j] = min3(last[j] + 1, now[j - 1] + 1, change);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
	}
	return rows[a_size % 3][b_size];
}

const char *
ob_text_nearest(const char *text, const char *const *names, size_t count)
{
	const char *nearest = NULL;
	/* A third of the word may be wrong: "tpoic" is near "topic", "x" is near nothing. */
	unsigned least = (unsigned)(strlen(text) < 3 * OB_TEXT_FAR ? strlen(text) / 3 : 0) + 1;

	if (strlen(text) < 2)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		unsigned distance;

		if (names[i] == NULL)
			continue;
		distance = ob_text_distance(text, names[i]);
		if (distance <= least && (nearest == NULL || distance < least)) {
			nearest = names[i];
			least = distance;
		}
	}
	return nearest;
}
