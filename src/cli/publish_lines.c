#include "publish_lines.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "message_line.h"
#include "output.h"
#include "progress.h"

/* A payload in Base64, its headers and the rest. */
#define LINE_SIZE_MAX ((size_t)OB_PAYLOAD_BYTES_MAX * 6 + 1024 * 1024)

/* Lines are written in chunks, since each write is a round trip; what is read and not yet written is limited. */
enum { CHUNK_LINES_MAX = 500, CHUNK_BYTES_MAX = 1024 * 1024 };

struct publishing {
	struct ob_cli *cli;
	struct ob_url_writer writer;
	int64_t batch;
	bool prints_ids;
	struct ob_message_line *lines; /* read and found good, not yet written */
	struct ob_new_message *messages;
	struct ob_message_id *message_ids;
	size_t chunk, chunk_bytes;
	uint64_t chunk_line; /* where the chunk begins */
	struct ob_buf ids;   /* of the open batch, a line each */
	uint64_t line;       /* the last that was read */
	uint64_t in_batch;   /* written, not committed */
	uint64_t committed;
	struct ob_progress progress;
};

static void
chunk_drop(struct publishing *it)
{
	for (size_t i = 0; i < it->chunk; i++)
		ob_message_line_free(&it->lines[i]);
	it->chunk = it->chunk_bytes = 0;
}

static int
chunk_fail(const struct publishing *it, int rc, struct ob_error *error)
{
	if (it->chunk == 1)
		ob_error_prefix(error, "line %" PRIu64, it->chunk_line);
	else
		ob_error_prefix(error, "lines %" PRIu64 " to %" PRIu64, it->chunk_line, it->line);
	return rc;
}

static int
chunk_write(struct publishing *it, struct ob_error *error)
{
	bool kept = true;
	int rc = OB_OK;

	if (it->chunk == 0)
		return OB_OK;
	if (it->in_batch == 0)
		rc = ob_url_writer_begin(&it->writer, error);
	for (size_t i = 0; i < it->chunk; i++)
		it->messages[i] = it->lines[i].message;
	if (rc == OB_OK)
		rc = ob_url_writer_publish(&it->writer, it->messages, it->chunk, it->message_ids,
					   error);
	if (rc != OB_OK)
		return chunk_fail(it, rc, error);
	for (size_t i = 0; i < it->chunk && it->prints_ids; i++)
		kept = kept && ob_buf_appendf(&it->ids, "%s\n", it->message_ids[i].text);
	it->in_batch += it->chunk;
	chunk_drop(it);
	return kept ? OB_OK : ob_error_set(error, OB_NOMEM, "out of memory");
}

static int
batch_commit(struct publishing *it, struct ob_error *error)
{
	int rc = chunk_write(it, error);

	if (rc != OB_OK || it->in_batch == 0)
		return rc;
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
	struct ob_message_line *line = &it->lines[it->chunk];
	int rc = ob_message_line_read(line, text, size, error);

	if (rc == OB_OK)
		rc = it->writer.ops->check(&line->message, error);
	if (rc != OB_OK) {
		ob_message_line_free(line);
		ob_error_prefix(error, "line %" PRIu64, it->line);
		return rc;
	}
	if (it->chunk == 0)
		it->chunk_line = it->line;
	it->chunk++;
	it->chunk_bytes += size;
	if (it->in_batch + it->chunk == (uint64_t)it->batch)
		return batch_commit(it, error);
	if (it->chunk == CHUNK_LINES_MAX || it->chunk_bytes >= CHUNK_BYTES_MAX)
		return chunk_write(it, error);
	return OB_OK;
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

static int
publishing_begin(struct publishing *it, const struct ob_strings *store_options,
		 struct ob_error *error)
{
	ob_buf_init(&it->ids, (size_t)it->batch * (OB_NAME_BYTES_MAX + 1));
	it->lines = calloc(CHUNK_LINES_MAX, sizeof(*it->lines));
	it->messages = calloc(CHUNK_LINES_MAX, sizeof(*it->messages));
	it->message_ids = calloc(CHUNK_LINES_MAX, sizeof(*it->message_ids));
	if (it->lines == NULL || it->messages == NULL || it->message_ids == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	ob_progress_begin(&it->progress, it->cli, 0);
	return ob_url_writer_open(it->cli, &it->writer, it->cli->arguments[0], store_options,
				  error);
}

static void
publishing_end(struct publishing *it)
{
	/* Closing takes back what an open batch holds. */
	ob_url_writer_close(&it->writer);
	chunk_drop(it);
	free(it->lines);
	free(it->messages);
	free(it->message_ids);
	ob_buf_free(&it->ids);
}

int
ob_publish_lines(struct ob_cli *cli, const struct ob_strings *store_options, int64_t batch,
		 bool json, bool quiet, struct ob_error *error)
{
	struct publishing it = {.cli = cli, .batch = batch, .prints_ids = !json && !quiet};
	int rc = publishing_begin(&it, store_options, error);

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
	publishing_end(&it);
	return rc;
}
