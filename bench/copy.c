/*
 * What PostgreSQL can give at best: COPY in binary of the rows that a relay would read, taken by libpq.
 *
 * usage: bench-copy URL
 *
 * Prints "<rows> <seconds> <bytes>".
 */
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static const char sql[] =
    "COPY (SELECT seq, id, topic, partition_key, type, content_type, headers, created_at, deliver_after, payload, payload_bytes"
    " FROM outbox.message ORDER BY seq) TO STDOUT (FORMAT binary)";

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
	uint64_t rows = 0, bytes = 0;
	PGconn *connection;
	double started;
	char *row;
	int size;

	if (argc != 2) {
		fprintf(stderr, "usage: bench-copy URL\n");
		return 2;
	}
	started = now_s();
	connection = PQconnectdb(argv[1]);
	PQclear(PQexec(connection, sql));
	while ((size = PQgetCopyData(connection, &row, 0)) > 0) {
		rows++;
		bytes += (uint64_t)size;
		PQfreemem(row);
	}
	if (size != -1 || rows == 0) {
		fprintf(stderr, "bench-copy: %s", PQerrorMessage(connection));
		return 1;
	}
	/* The trailer comes as a row of its own. */
	printf("%" PRIu64 " %.6f %" PRIu64 "\n", rows - 1, now_s() - started, bytes);
	PQfinish(connection);
	return 0;
}
