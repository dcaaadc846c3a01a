/*
 * What commands print: JSON for programs, aligned text for people. Data goes to stdout, talk to stderr. Bytes that
 * others wrote are escaped before a person's terminal sees them.
 */
#ifndef OB_CLI_OUTPUT_H
#define OB_CLI_OUTPUT_H

#include <outbox/message.h>
#include <outbox/report.h>
#include <stdint.h>
#include <stdio.h>

#include "buf.h"
#include "command.h"

/* ---- JSON: members and items are separated by themselves ---- */

struct ob_json {
	struct ob_buf buf;
	bool comma;
};

void ob_json_begin(struct ob_json *json);
/* `name` is NULL inside an array and at the top. `bracket` is '{' or '['. */
void ob_json_open(struct ob_json *json, const char *name, char bracket);
void ob_json_close(struct ob_json *json, char bracket);
void ob_json_text(struct ob_json *json, const char *name, const char *text); /* NULL: null */
void ob_json_bytes(struct ob_json *json, const char *name,
		   struct ob_bytes bytes); /* absent: null */
void ob_json_number(struct ob_json *json, const char *name, int64_t number);
void ob_json_bool(struct ob_json *json, const char *name, bool value);
void ob_json_raw(struct ob_json *json, const char *name, const char *value); /* JSON already */
/* Prints it with a newline, and begins anew. OB_NOMEM when it was too large. */
int ob_json_print(struct ob_json *json, struct ob_error *error);
void ob_json_free(struct ob_json *json);

/* The members of a message: id, topic, key, type, content_type, headers, payload or payload_base64, created_at. */
void ob_json_message(struct ob_json *json, const struct ob_message *message);

/* ---- plain: a line a row, fields between tabs, nothing cut, no colour ---- */

/* Begins a row, or adds a field to one. What would break a line or a field is escaped; "-": absent or empty. */
void ob_plain_bytes(struct ob_buf *line, struct ob_bytes value);
void ob_plain_text(struct ob_buf *line, const char *text); /* NULL: absent */
void ob_plain_number(struct ob_buf *line, int64_t number);
/* Prints the row and begins anew. OB_NOMEM when it was too large. */
int ob_plain_print(struct ob_buf *line, struct ob_error *error);

/* OB_USAGE when more than one of --json, --json-lines and --plain was given. */
int ob_one_form_check(bool json, bool json_lines, bool plain, struct ob_error *error);

/* ---- text ---- */

#define OB_TEXT_FIELD_MAX 64

/* Bytes for a person's eyes, cut at `width` characters with "..." where longer; "-" when absent. */
void ob_print_bytes(struct ob_buf *out, struct ob_bytes bytes, size_t width);

/* A word of a command that a person may copy into a shell: quoted where it must be. */
void ob_print_argument(struct ob_buf *out, const char *text);

/* "340 ms", "1.2 s", "3 min 5 s", "2 h 4 min", "5 d 1 h". */
void ob_duration_print(char out[OB_TEXT_FIELD_MAX], int64_t duration_ms);

/* The current time less so many milliseconds, RFC 3339 in UTC. */
void ob_time_ago(const struct ob_cli *cli, char out[OB_TEXT_FIELD_MAX], int64_t ago_ms);

enum ob_color {
	OB_COLOR_PLAIN,
	OB_COLOR_RED,
	OB_COLOR_GREEN,
	OB_COLOR_YELLOW,
	OB_COLOR_DIM,
	OB_COLOR_BOLD
};

/* The escape that begins a colour on stdout, "" when it shows none. PLAIN ends one. */
const char *ob_color(const struct ob_cli *cli, enum ob_color color);

/* Talk: a line to stderr. */
void ob_say(const char *format, ...) OB_PRINTF(1, 2);

/* Asks a yes-or-no question on the terminal; false without one. */
bool ob_confirm(const struct ob_cli *cli, const char *format, ...) OB_PRINTF(2, 3);

/* ---- findings of a check ---- */

struct ob_findings {
	struct ob_cli *cli;
	struct ob_json *json; /* NULL: text */
	bool plain;           /* and that in rows: level, code, what, mend */
	unsigned warnings, failures;
};

/* A report that prints what it is given. */
struct ob_report ob_findings_report(struct ob_findings *findings);
void ob_finding_add(struct ob_findings *findings, enum ob_finding_level level, const char *code,
		    const char *what, const char *mend);

#endif
