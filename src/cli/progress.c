#include "progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "output.h"

enum { FIRST_MS = 2000, EVERY_MS = 500 };

static int64_t
now_ms(const struct ob_progress *progress)
{
	const struct ob_host *host = progress->cli->host;

	return host->monotonic_us(host->context) / 1000;
}

void
ob_progress_begin(struct ob_progress *progress, const struct ob_cli *cli, uint64_t total)
{
	*progress = (struct ob_progress){.cli = cli, .total = total};
	progress->began_ms = now_ms(progress);
}

void
ob_progress_tell(struct ob_progress *progress, uint64_t done)
{
	int64_t now = now_ms(progress), took = now - progress->began_ms;
	char left[OB_TEXT_FIELD_MAX];

	if (!progress->cli->terminal || took < FIRST_MS || now - progress->told_ms < EVERY_MS)
		return;
	(void)fprintf(stderr, "\r\033[K%" PRIu64, done);
	if (progress->total > 0)
		(void)fprintf(stderr, " of %" PRIu64, progress->total);
	(void)fprintf(stderr, " messages, %" PRIu64 " a second", done * 1000 / (uint64_t)took);
	if (progress->total > done && done > 0) {
		ob_duration_print(left, (int64_t)((double)(progress->total - done) * (double)took /
						  (double)done));
		(void)fprintf(stderr, ", %s left", left);
	}
	(void)fflush(stderr);
	progress->told_ms = now;
	progress->told = true;
}

void
ob_progress_end(struct ob_progress *progress)
{
	if (progress->told)
		(void)fputs("\r\033[K", stderr);
	progress->told = false;
}
