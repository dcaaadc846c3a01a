/*
 * What SQLite can do at best: a bare SELECT loop over the rows that a relay would read, looking at each column.
 *
 * usage: bench-select DATABASE
 *
 * Prints "<rows> <seconds> <bytes>".
 */
#include <inttypes.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static const char sql[] =
    "SELECT seq, id, topic, partition_key, type, content_type, headers, created_at, deliver_after, payload"
    " FROM outbox_message WHERE seq > 0 ORDER BY seq";

static double
now_s(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *statement = NULL;
	uint64_t rows = 0, bytes = 0;
	double started = now_s();
	int rc;

	if (argc != 2) {
		fprintf(stderr, "usage: bench-select DATABASE\n");
		return 2;
	}
	if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) {
		fprintf(stderr, "bench-select: %s: %s\n", argv[1], sqlite3_errmsg(db));
		return 1;
	}
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		rows++;
		for (int column = 1; column < 10; column++) {
			if (sqlite3_column_blob(statement, column) != NULL)
				bytes += (uint64_t)sqlite3_column_bytes(statement, column);
		}
	}
	if (rc != SQLITE_DONE)
		fprintf(stderr, "bench-select: %s: %s\n", argv[1], sqlite3_errmsg(db));
	printf("%" PRIu64 " %.6f %" PRIu64 "\n", rows, now_s() - started, bytes);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return rc == SQLITE_DONE ? 0 : 1;
}
