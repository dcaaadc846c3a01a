#include "points.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* ---- snapshots ---- */

static bool
number_read(const char **at, char end, uint64_t *value)
{
	char *behind;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*value = strtoull(*at, &behind, 10);
	*at = behind + 1;
	return errno == 0 && (*behind == end || (end == ',' && *behind == '\0'));
}

static size_t
items_count(const char *list)
{
	size_t count = *list != '\0';

	for (; *list != '\0'; list++)
		count += *list == ',';
	return count;
}

bool
ob_postgres_snapshot_parse(struct postgres_snapshot *snapshot, const char *text)
{
	const char *at = text;
	bool good;

	*snapshot = (struct postgres_snapshot){0};
	good = number_read(&at, ':', &snapshot->xmin) && number_read(&at, ':', &snapshot->xmax);
	if (!good)
		return false;
	snapshot->text = strdup(text);
	snapshot->xip = calloc(items_count(at) + 1, sizeof(snapshot->xip[0]));
	good = snapshot->text != NULL && snapshot->xip != NULL;
	while (good && at[-1] != '\0' && *at != '\0')
		good = number_read(&at, ',', &snapshot->xip[snapshot->xip_count++]);
	if (!good)
		ob_postgres_snapshot_free(snapshot);
	return good;
}

void
ob_postgres_snapshot_free(struct postgres_snapshot *snapshot)
{
	free(snapshot->text);
	free(snapshot->xip);
	*snapshot = (struct postgres_snapshot){0};
}

bool
ob_postgres_snapshot_in_progress(const struct postgres_snapshot *snapshot, uint64_t xid)
{
	size_t low = 0, high = snapshot->xip_count;

	if (xid >= snapshot->xmax)
		return true;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (snapshot->xip[middle] == xid)
			return true;
		if (snapshot->xip[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* ---- points ---- */

static struct postgres_point *
point_at(struct postgres_points *points, size_t index)
{
	return &points->items[(points->head + index) % POSTGRES_POINTS_MAX];
}

void
ob_postgres_points_clear(struct postgres_points *points)
{
	for (size_t i = 0; i < points->count; i++)
		ob_postgres_snapshot_free(&point_at(points, i)->snapshot);
	points->head = points->count = points->history_count = 0;
}

bool
ob_postgres_points_full(const struct postgres_points *points)
{
	return points->count == POSTGRES_POINTS_MAX;
}

bool
ob_postgres_points_add(struct postgres_points *points, struct postgres_snapshot *snapshot,
		       uint64_t number, int64_t q, int64_t high, uint64_t own)
{
	size_t slot = points->history_count % POSTGRES_HISTORY_MAX;

	if (ob_postgres_points_full(points))
		return false;
	*point_at(points, points->count++) = (struct postgres_point){
	    .number = number, .snapshot = *snapshot, .q = q, .high = high, .own = own};
	*snapshot = (struct postgres_snapshot){0};
	if (own != 0) {
		points->history[slot].own = own;
		points->history[slot].q = q;
		points->history_count++;
	}
	return true;
}

const struct postgres_point *
ob_postgres_points_get(const struct postgres_points *points, uint64_t number)
{
	uint64_t first;

	if (points->count == 0)
		return NULL;
	first = points->items[points->head].number;
	if (number < first || number - first >= points->count)
		return NULL;
	return &points->items[(points->head + (size_t)(number - first)) % POSTGRES_POINTS_MAX];
}

const struct postgres_point *
ob_postgres_points_last(const struct postgres_points *points)
{
	OB_CHECK(points->count > 0);
	return &points->items[(points->head + points->count - 1) % POSTGRES_POINTS_MAX];
}

void
ob_postgres_points_drop(struct postgres_points *points, uint64_t number)
{
	while (points->count > 1 && points->items[points->head].number < number) {
		ob_postgres_snapshot_free(&points->items[points->head].snapshot);
		points->head = (points->head + 1) % POSTGRES_POINTS_MAX;
		points->count--;
	}
}

/*
 * A transaction draws its numbers after it got its id. So one that is younger than a transaction of ours, which itself
 * began after q was read, drew all of them above that q.
 */
static int64_t
drawn_above(const struct postgres_points *points, uint64_t xid)
{
	size_t count = points->history_count < POSTGRES_HISTORY_MAX ? points->history_count
								    : POSTGRES_HISTORY_MAX;
	int64_t q = -1;

	for (size_t i = 0; i < count; i++)
		if (points->history[i].own < xid && points->history[i].q > q)
			q = points->history[i].q;
	return q;
}

int64_t
ob_postgres_points_late(const struct postgres_points *points, const struct postgres_point *from,
			const struct postgres_snapshot *to, struct ob_buf *members)
{
	int64_t low = from->q;

	ob_buf_reset(members);
	ob_buf_append_byte(members, '{');
	for (size_t i = 0; i < from->snapshot.xip_count; i++) {
		uint64_t xid = from->snapshot.xip[i];
		int64_t q;

		if (ob_postgres_snapshot_in_progress(to, xid))
			continue;
		ob_buf_appendf(members, "%s%" PRIu64, members->size > 1 ? "," : "", xid);
		q = drawn_above(points, xid);
		if (q < low)
			low = q;
	}
	ob_buf_append_byte(members, '}');
	return low;
}
