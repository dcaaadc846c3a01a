#include "output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base64.h"
#include "json.h"
#include "log.h"
#include "rfc3339.h"
#include "utf8.h"

/* A message of 16 MiB whose every byte is escaped as \u00XX, and its other fields. */
#define JSON_SIZE_MAX ((size_t)112 * 1024 * 1024)

void
ob_json_begin(struct ob_json *json)
{
	ob_buf_init(&json->buf, JSON_SIZE_MAX);
	json->comma = false;
}

static void
name_append(struct ob_json *json, const char *name)
{
	if (json->comma)
		ob_buf_append_byte(&json->buf, ',');
	json->comma = true;
	if (name != NULL) {
		ob_json_append_string(&json->buf, name, strlen(name));
		ob_buf_append_byte(&json->buf, ':');
	}
}

void
ob_json_open(struct ob_json *json, const char *name, char bracket)
{
	name_append(json, name);
	ob_buf_append_byte(&json->buf, bracket);
	json->comma = false;
}

void
ob_json_close(struct ob_json *json, char bracket)
{
	ob_buf_append_byte(&json->buf, bracket);
	json->comma = true;
}

void
ob_json_bytes(struct ob_json *json, const char *name, struct ob_bytes bytes)
{
	name_append(json, name);
	if (bytes.data == NULL)
		ob_buf_append_text(&json->buf, "null");
	else
		ob_json_append_string(&json->buf, bytes.data, bytes.size);
}

void
ob_json_text(struct ob_json *json, const char *name, const char *text)
{
	ob_json_bytes(json, name, (struct ob_bytes){text, text == NULL ? 0 : strlen(text)});
}

void
ob_json_number(struct ob_json *json, const char *name, int64_t number)
{
	name_append(json, name);
	ob_buf_appendf(&json->buf, "%" PRId64, number);
}

void
ob_json_bool(struct ob_json *json, const char *name, bool value)
{
	name_append(json, name);
	ob_buf_append_text(&json->buf, value ? "true" : "false");
}

void
ob_json_raw(struct ob_json *json, const char *name, const char *value)
{
	name_append(json, name);
	ob_buf_append_text(&json->buf, value);
}

int
ob_json_print(struct ob_json *json, struct ob_error *error)
{
	bool failed = json->buf.failed;

	if (!failed) {
		(void)fwrite(ob_buf_text(&json->buf), 1, json->buf.size, stdout);
		(void)fputc('\n', stdout);
	}
	ob_buf_reset(&json->buf);
	json->comma = false;
	return failed ? ob_error_set(error, OB_NOMEM, "the output is too large for the memory")
		      : OB_OK;
}

void
ob_json_free(struct ob_json *json)
{
	ob_buf_free(&json->buf);
}

void
ob_json_message(struct ob_json *json, const struct ob_message *message)
{
	char created[OB_RFC3339_SIZE];
	const struct ob_bytes payload = message->payload;

	ob_rfc3339_format(created, message->created_at_us);
	ob_json_bytes(json, "id", message->id);
	ob_json_bytes(json, "topic", message->topic);
	ob_json_bytes(json, "key", message->key);
	ob_json_bytes(json, "type", message->type);
	ob_json_bytes(json, "content_type", message->content_type);
	ob_json_bytes(json, "headers", message->headers);
	ob_json_text(json, "created_at", created);
	if (payload.data == NULL || ob_utf8_valid(payload.data, payload.size)) {
		ob_json_bytes(json, "payload", payload);
	} else {
		name_append(json, "payload_base64");
		ob_buf_append_byte(&json->buf, '"');
		(void)ob_base64_encode(&json->buf, payload.data, payload.size);
		ob_buf_append_byte(&json->buf, '"');
	}
}

void
ob_plain_bytes(struct ob_buf *line, struct ob_bytes value)
{
	if (line->size > 0)
		ob_buf_append_byte(line, '\t');
	if (value.data == NULL || value.size == 0)
		ob_buf_append_byte(line, '-');
	else
		ob_log_escape(line, value.data, value.size);
}

void
ob_plain_text(struct ob_buf *line, const char *text)
{
	ob_plain_bytes(line, (struct ob_bytes){text, text == NULL ? 0 : strlen(text)});
}

void
ob_plain_number(struct ob_buf *line, int64_t number)
{
	ob_buf_appendf(line, "%s%" PRId64, line->size > 0 ? "\t" : "", number);
}

int
ob_plain_print(struct ob_buf *line, struct ob_error *error)
{
	bool failed = line->failed;

	if (!failed)
		(void)printf("%s\n", ob_buf_text(line));
	ob_buf_reset(line);
	return failed ? ob_error_set(error, OB_NOMEM, "the output is too large for the memory")
		      : OB_OK;
}

int
ob_one_form_check(bool json, bool json_lines, bool plain, struct ob_error *error)
{
	if (json + json_lines + plain > 1)
		return ob_error_set(error, OB_USAGE,
				    "--json, --json-lines and --plain exclude each other");
	return OB_OK;
}

void
ob_print_bytes(struct ob_buf *out, struct ob_bytes bytes, size_t width)
{
	size_t size = bytes.size;

	if (bytes.data == NULL) {
		ob_buf_append_byte(out, '-');
		return;
	}
	if (size > width)
		size = ob_utf8_valid_prefix(bytes.data, width);
	if (size == 0 && bytes.size > width)
		size = width;
	ob_log_escape(out, bytes.data, size);
	if (size < bytes.size)
		ob_buf_append_text(out, "...");
}

void
ob_print_argument(struct ob_buf *out, const char *text)
{
	static const char plain[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";

	if (*text != '\0' && text[strspn(text, plain)] == '\0') {
		ob_buf_append_text(out, text);
		return;
	}
	ob_buf_append_byte(out, '\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			ob_buf_append_text(out, "'\\''");
		else
			ob_buf_append_byte(out, *text);
	}
	ob_buf_append_byte(out, '\'');
}

void
ob_duration_print(char out[OB_TEXT_FIELD_MAX], int64_t duration_ms)
{
	int64_t s = duration_ms / 1000;

	if (duration_ms < 1000)
		(void)snprintf(out, OB_TEXT_FIELD_MAX, "%" PRId64 " ms", duration_ms);
	else if (s < 60)
		(void)snprintf(out, OB_TEXT_FIELD_MAX, "%" PRId64 ".%d s", s,
			       (int)(duration_ms % 1000 / 100));
	else if (s < 3600)
		(void)snprintf(out, OB_TEXT_FIELD_MAX, "%" PRId64 " min %" PRId64 " s", s / 60,
			       s % 60);
	else if (s < 86400)
		(void)snprintf(out, OB_TEXT_FIELD_MAX, "%" PRId64 " h %" PRId64 " min", s / 3600,
			       s / 60 % 60);
	else
		(void)snprintf(out, OB_TEXT_FIELD_MAX, "%" PRId64 " d %" PRId64 " h", s / 86400,
			       s / 3600 % 24);
}

void
ob_time_ago(const struct ob_cli *cli, char out[OB_TEXT_FIELD_MAX], int64_t ago_ms)
{
	ob_rfc3339_format(out, cli->host->wall_us(cli->host->context) - ago_ms * 1000);
}

const char *
ob_color(const struct ob_cli *cli, enum ob_color color)
{
	static const char *const codes[] = {
	    [OB_COLOR_PLAIN] = "\033[0m",  [OB_COLOR_RED] = "\033[31m",
	    [OB_COLOR_GREEN] = "\033[32m", [OB_COLOR_YELLOW] = "\033[33m",
	    [OB_COLOR_DIM] = "\033[2m",    [OB_COLOR_BOLD] = "\033[1m",
	};

	return cli->color ? codes[color] : "";
}

void
ob_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
}

bool
ob_confirm(const struct ob_cli *cli, const char *format, ...)
{
	char answer[16];
	va_list args;

	if (!cli->interactive)
		return false;
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputs(" [y/N] ", stderr);
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	       (answer[0] == 'y' || answer[0] == 'Y');
}

static void
finding_print(struct ob_findings *findings, const struct ob_finding *finding)
{
	static const struct {
		const char *word;
		enum ob_color color;
	} levels[] = {
	    [OB_FINDING_OK] = {"ok", OB_COLOR_GREEN},
	    [OB_FINDING_NOTE] = {"note", OB_COLOR_DIM},
	    [OB_FINDING_WARN] = {"warn", OB_COLOR_YELLOW},
	    [OB_FINDING_FAIL] = {"FAIL", OB_COLOR_RED},
	};
	const struct ob_cli *cli = findings->cli;
	struct ob_buf line;

	ob_buf_init(&line, 4096);
	ob_log_escape(&line, finding->what, strlen(finding->what));
	(void)printf("%s%-4s%s  %s\n", ob_color(cli, levels[finding->level].color),
		     levels[finding->level].word, ob_color(cli, OB_COLOR_PLAIN),
		     ob_buf_text(&line));
	if (finding->mend != NULL)
		(void)printf("      mend: %s\n", finding->mend);
	ob_buf_free(&line);
}

static void
finding_plain(const char *level, const struct ob_finding *finding)
{
	struct ob_buf line;

	ob_buf_init(&line, 65536);
	ob_plain_text(&line, level);
	ob_plain_text(&line, finding->code);
	ob_plain_text(&line, finding->what);
	ob_plain_text(&line, finding->mend);
	(void)ob_plain_print(&line, NULL);
	ob_buf_free(&line);
}

static void
finding_add(void *context, const struct ob_finding *finding)
{
	static const char *const names[] = {"ok", "note", "warn", "fail"};
	struct ob_findings *findings = context;
	struct ob_json *json = findings->json;

	if (finding->level == OB_FINDING_WARN)
		findings->warnings++;
	if (finding->level == OB_FINDING_FAIL)
		findings->failures++;
	if (findings->plain) {
		finding_plain(names[finding->level], finding);
		return;
	}
	if (json == NULL) {
		finding_print(findings, finding);
		return;
	}
	ob_json_open(json, NULL, '{');
	ob_json_text(json, "level", names[finding->level]);
	ob_json_text(json, "code", finding->code);
	ob_json_text(json, "what", finding->what);
	ob_json_text(json, "mend", finding->mend);
	ob_json_close(json, '}');
}

struct ob_report
ob_findings_report(struct ob_findings *findings)
{
	return (struct ob_report){.context = findings, .add = finding_add};
}

void
ob_finding_add(struct ob_findings *findings, enum ob_finding_level level, const char *code,
	       const char *what, const char *mend)
{
	finding_add(findings, &(struct ob_finding){level, code, what, mend});
}
