/* The demo's reckoning: what the shop's own table and log say against what the recipient wrote down. */
#ifndef OB_CLI_DEMO_COUNT_H
#define OB_CLI_DEMO_COUNT_H

#include <stdint.h>

#include "writer_url.h"

struct ob_demo_counts {
	uint64_t committed;    /* orders in the shop's table */
	uint64_t rolled_back;  /* lines of the shop's log */
	uint64_t received;     /* lines of the recipient's log */
	uint64_t delivered;    /* orders that arrived at least once */
	uint64_t duplicates;   /* arrivals of an order that had arrived before */
	uint64_t lost;         /* committed and never arrived */
	uint64_t phantoms;     /* arrived and never committed */
	uint64_t out_of_order; /* first arrivals behind a later order of the same customer */
};

/* Reads the three: the shop's table `orders`, its log, the recipient's. A file that is not there yet counts as empty. */
int ob_demo_count(struct ob_url_writer *shop, const char *orders, const char *shop_log,
		  const char *received_log, struct ob_demo_counts *counts, struct ob_error *error);

/* Only the arrivals so far: lines of the recipient's log. */
uint64_t ob_demo_lines(const char *path, const char *prefix);

#endif
