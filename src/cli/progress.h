/* Progress on a terminal, of work that takes longer than two seconds; elsewhere nothing. One line, which is gone at the end. */
#ifndef OB_CLI_PROGRESS_H
#define OB_CLI_PROGRESS_H

#include "command.h"

struct ob_progress {
	const struct ob_cli *cli;
	uint64_t total; /* of messages; 0: not known */
	int64_t began_ms, told_ms;
	bool told;
};

void ob_progress_begin(struct ob_progress *progress, const struct ob_cli *cli, uint64_t total);
/* So many are done. May be called often. */
void ob_progress_tell(struct ob_progress *progress, uint64_t done);
void ob_progress_end(struct ob_progress *progress);

#endif
