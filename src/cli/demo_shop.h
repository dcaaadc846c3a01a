/* The demo's shop: a process that places orders, and takes some of them back, as fast as customers come. */
#ifndef OB_CLI_DEMO_SHOP_H
#define OB_CLI_DEMO_SHOP_H

#include "command.h"

#define OB_SHOP_CUSTOMERS 8

struct ob_shop {
	struct ob_cli *cli;
	const char *url;      /* of the database, which has the outbox and the table orders */
	const char *log_path; /* a line for each order: "committed ID" or "rolled_back ID" */
	int64_t every_ms;     /* between two orders, on average */
};

/* The application's own table. */
#define OB_SHOP_SQL                                                                                        \
	"CREATE TABLE orders (number INTEGER PRIMARY KEY, customer TEXT NOT NULL, total INTEGER NOT NULL," \
	" message_id TEXT NOT NULL)"

/* Runs until SIGTERM; returns an exit status. `context` is a struct ob_shop. */
int ob_shop_run(void *context);

#endif
