/* The demo's shop: a process that places orders, and takes some of them back, as fast as customers come. */
#ifndef OB_CLI_DEMO_SHOP_H
#define OB_CLI_DEMO_SHOP_H

#include "demo_stage.h"

#define OB_SHOP_CUSTOMERS 8

/* The stage has the outbox and the shop's table, and says where the shop's log is: "committed ID" or "rolled_back ID". */
struct ob_shop {
	const struct ob_stage *stage;
	int64_t every_ms; /* between two orders, on average */
};

/* Of the application's own table. */
#define OB_SHOP_COLUMNS                                                                \
	"(number INTEGER PRIMARY KEY, customer TEXT NOT NULL, total INTEGER NOT NULL," \
	" message_id TEXT NOT NULL)"

/* Runs until SIGTERM; returns an exit status. `context` is a struct ob_shop. */
int ob_shop_run(void *context);

#endif
