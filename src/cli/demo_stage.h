/*
 * Where the demo plays: a directory for what its processes write, and a database. That is an SQLite file in the directory, or
 * a schema of its own in a PostgreSQL database that the user names, in which nothing else is read or written.
 */
#ifndef OB_CLI_DEMO_STAGE_H
#define OB_CLI_DEMO_STAGE_H

#include "demo_count.h"
#include "writer_url.h"

enum { OB_STAGE_PATH_SIZE = 512 };

#define OB_STAGE_SCHEMA "outbox_demo"

struct ob_stage {
	struct ob_cli *cli;
	const char *url;
	const char *store_option; /* "NAME=VALUE" for all that open the database; NULL: none */
	const char *orders;       /* the shop's table */
	char directory[OB_STAGE_PATH_SIZE - 64];
	char shop_log[OB_STAGE_PATH_SIZE], received[OB_STAGE_PATH_SIZE],
	    relay_log[OB_STAGE_PATH_SIZE], shipping_log[OB_STAGE_PATH_SIZE];
	char own_url[OB_STAGE_PATH_SIZE]; /* of the file in the directory */
	bool has_schema;                  /* made by us: to be dropped */
};

/* Makes directory and database; `url` NULL: an SQLite file. Clear it in any case. */
int ob_stage_set(struct ob_stage *stage, struct ob_cli *cli, const char *url,
		 struct ob_error *error);

/* Takes away all that was made; `keep`: says where it is instead. */
int ob_stage_clear(struct ob_stage *stage, bool keep, struct ob_error *error);

/* A connection like the shop's. Close it in any case. */
int ob_stage_writer(const struct ob_stage *stage, struct ob_url_writer *writer,
		    struct ob_error *error);

/* What the shop's table, the shop's log and the recipient's output say by now. */
int ob_stage_count(const struct ob_stage *stage, struct ob_demo_counts *counts,
		   struct ob_error *error);

#endif
