/*
 * Takes orders: each order and its message are one transaction, with liboutbox-postgres on the program's own connection.
 *
 * usage: orders DATABASE-URL CUSTOMER:TOTAL...      an order beyond the customer's credit is declined
 *
 * The database needs an outbox (outbox init URL) and the tables of ../shop.sql.
 *
 *     cc orders.c $(pkg-config --cflags --libs liboutbox-postgres libpq)
 */
#include <libpq-fe.h>
#include <outbox/postgres.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs one statement of the application's own; NULL, and why on stderr, if it fails. */
static PGresult *
run(PGconn *conn, const char *sql, int count, const char *const *values)
{
	PGresult *result = PQexecParams(conn, sql, count, NULL, values, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
		return result;
	fprintf(stderr, "orders: %s", PQerrorMessage(conn));
	PQclear(result);
	return NULL;
}

static int
run_simply(PGconn *conn, const char *sql)
{
	PGresult *result = run(conn, sql, 0, NULL);

	PQclear(result);
	return result == NULL;
}

static int
message_publish(PGconn *conn, const char *customer, const char *number, const char *total)
{
	struct ob_error error;
	char payload[256];

	snprintf(payload, sizeof(payload), "{\"customer\":\"%s\",\"number\":%s,\"total\":%s}",
		 customer, number, total);
	const struct ob_new_message message = {
	    .topic = "orders.placed",
	    .key = customer,
	    .content_type = "application/json",
	    .payload = payload,
	    .payload_size = strlen(payload),
	};
	if (ob_postgres_publish(conn, NULL, &message, 1, NULL, &error) == OB_OK)
		return 0;
	fprintf(stderr, "orders: %s\n", error.text);
	return 1;
}

/* Within the transaction that the caller has begun. */
static int
order_write(PGconn *conn, const char *customer, const char *total, int *declined)
{
	const char *const values[] = {customer, total};
	/* First what takes the customer's row lock: so the orders of one customer are published in their order. */
	PGresult *row = run(conn,
			    "UPDATE customers SET orders = orders + 1, credit = credit - $2"
			    " WHERE name = $1 RETURNING orders, credit",
			    2, values);
	int failed = PQntuples(row) != 1;

	if (!failed) {
		const char *const order[] = {customer, PQgetvalue(row, 0, 0), total};
		PGresult *inserted = run(conn,
					 "INSERT INTO orders (customer, number, total)"
					 " VALUES ($1, $2, $3)",
					 3, order);

		failed = inserted == NULL || message_publish(conn, customer, order[1], total);
		*declined = strtol(PQgetvalue(row, 0, 1), NULL, 10) < 0;
		PQclear(inserted);
	}
	PQclear(row);
	return failed;
}

static int
order_place(PGconn *conn, const char *customer, const char *total)
{
	int declined = 0;
	int failed = run_simply(conn, "BEGIN");

	if (failed)
		return 1;
	failed = order_write(conn, customer, total, &declined);
	/* Both or neither: the order of who has no credit left goes, and its message with it. */
	if (failed || declined)
		failed |= run_simply(conn, "ROLLBACK");
	else
		failed = run_simply(conn, "COMMIT");
	if (!failed)
		printf("%s %s\n", declined ? "declined" : "placed", customer);
	return failed;
}

int
main(int argc, char **argv)
{
	PGconn *conn;
	int failed;

	if (argc < 3) {
		fprintf(stderr, "usage: orders DATABASE-URL CUSTOMER:TOTAL...\n");
		return 2;
	}
	conn = PQconnectdb(argv[1]);
	failed = PQstatus(conn) != CONNECTION_OK;
	if (failed)
		fprintf(stderr, "orders: %s", PQerrorMessage(conn));
	for (int i = 2; i < argc && !failed; i++) {
		char *total = strchr(argv[i], ':');

		if (total == NULL) {
			fprintf(stderr, "orders: not CUSTOMER:TOTAL: %s\n", argv[i]);
			failed = 1;
		} else {
			*total = '\0';
			failed = order_place(conn, argv[i], total + 1);
		}
	}
	PQfinish(conn);
	return failed;
}
