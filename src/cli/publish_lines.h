/* `publish --json-lines`: many messages from stdin, a transaction a batch. */
#ifndef OB_CLI_PUBLISH_LINES_H
#define OB_CLI_PUBLISH_LINES_H

#include "command.h"
#include "writer_url.h"

/* Prints the ids of what is committed unless `quiet` or `json`, and counts at the end. */
int ob_publish_lines(struct ob_cli *cli, const struct ob_strings *store_options, int64_t batch,
		     bool json, bool quiet, struct ob_error *error);

#endif
