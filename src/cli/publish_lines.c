#include "publish_lines.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "message_line.h"
#include "output.h"
#include "progress.h"

/* A payload in Base64, its headers and the rest. */
#define LINE_SIZE_MAX ((size_t)OB_PAYLOAD_BYTES_MAX * 6 + 1024 * 1024)

struct publishing {
	struct ob_cli *cli;
	struct ob_url_writer writer;
	int64_t batch;
	bool prints_ids;
	struct ob_buf ids; /* of the open batch, a line each */
	uint64_t line;     /* the last that was read */
	uint64_t in_batch; /* written, not committed */
	uint64_t committed;
	struct ob_progress progress;
};

static int
batch_commit(struct publishing *it, struct ob_error *error)
{
	int rc;

	if (it->in_batch == 0)
		return OB_OK;
	rc = ob_url_writer_run(&it->writer, "COMMIT", error);
	if (rc != OB_OK)
		return rc;
	it->committed += it->in_batch;
	it->in_batch = 0;
	if (it->prints_ids)
		(void)fwrite(ob_buf_text(&it->ids), 1, it->ids.size, stdout);
	ob_buf_reset(&it->ids);
	ob_progress_tell(&it->progress, it->committed);
	return OB_OK;
}

static int
line_publish(struct publishing *it, const char *text, size_t size, struct ob_error *error)
{
	struct ob_message_line line;
	struct ob_message_id id;
	int rc = ob_message_line_read(&line, text, size, error);

	if (rc == OB_OK && it->in_batch == 0)
		rc = ob_url_writer_run(&it->writer, "BEGIN IMMEDIATE", error);
	if (rc == OB_OK)
		rc =
		    ob_sqlite_publisher_publish(it->writer.publisher, &line.message, 1, &id, error);
	if (rc == OB_OK) {
		it->in_batch++;
		if (it->prints_ids && !ob_buf_appendf(&it->ids, "%s\n", id.text))
			rc = ob_error_set(error, OB_NOMEM, "out of memory");
	}
	ob_message_line_free(&line);
	if (rc != OB_OK) {
		ob_error_prefix(error, "line %" PRIu64, it->line);
		return rc;
	}
	return it->in_batch == (uint64_t)it->batch ? batch_commit(it, error) : OB_OK;
}

static bool
is_blank(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
			return false;
	return true;
}

static int
lines_read(struct publishing *it, struct ob_error *error)
{
	char *text = NULL;
	size_t capacity = 0;
	ssize_t size;
	int rc = OB_OK;

	while (rc == OB_OK && (size = getline(&text, &capacity, stdin)) >= 0) {
		it->line++;
		if ((size_t)size > LINE_SIZE_MAX)
			rc = ob_error_set(error, OB_LIMIT,
					  "line %" PRIu64 ": longer than any message may be",
					  it->line);
		else if (!is_blank(text, (size_t)size))
			rc = line_publish(it, text, (size_t)size, error);
	}
	if (rc == OB_OK && ferror(stdin) != 0)
		rc = ob_error_set(error, OB_FAILED, "stdin cannot be read");
	free(text);
	return rc == OB_OK ? batch_commit(it, error) : rc;
}

static int
counts_print(const struct publishing *it, bool json, struct ob_error *error)
{
	struct ob_json out;
	int rc;

	if (!json) {
		ob_say("%" PRIu64 " messages were published.", it->committed);
		return OB_OK;
	}
	ob_json_begin(&out);
	ob_json_open(&out, NULL, '{');
	ob_json_number(&out, "published", (int64_t)it->committed);
	ob_json_number(&out, "lines", (int64_t)it->line);
	ob_json_close(&out, '}');
	rc = ob_json_print(&out, error);
	ob_json_free(&out);
	return rc;
}

int
ob_publish_lines(struct ob_cli *cli, int64_t batch, bool json, bool quiet, struct ob_error *error)
{
	struct publishing it = {.cli = cli, .batch = batch, .prints_ids = !json && !quiet};
	int rc = ob_url_writer_open(cli, &it.writer, cli->arguments[0], error);

	ob_buf_init(&it.ids, (size_t)batch * (OB_NAME_BYTES_MAX + 1));
	ob_progress_begin(&it.progress, cli, 0);
	if (rc == OB_OK) {
		rc = lines_read(&it, error);
		ob_progress_end(&it.progress);
		if (rc != OB_OK && it.committed > 0) {
			cli->exit_status = OB_EXIT_PARTIAL;
			ob_error_prefix(error,
					"%" PRIu64
					" messages were published before this and none after it",
					it.committed);
		} else if (rc != OB_OK) {
			ob_error_prefix(error, "nothing was published");
		} else {
			rc = counts_print(&it, json, error);
		}
	}
	/* Closing takes back what an open batch holds. */
	ob_url_writer_close(&it.writer);
	ob_buf_free(&it.ids);
	return rc;
}
