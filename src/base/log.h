/*
 * One line of log, as text, JSON or logfmt. Pure: the caller has the clock and writes the line (the
 * relay does both), so a line can be tested to the byte.
 *
 * Whatever a recipient or a database answered may stand in the text, so a terminal must not be led
 * astray: control characters and bytes that are not UTF-8 are escaped, and a line is one line.
 */
#ifndef OB_BASE_LOG_H
#define OB_BASE_LOG_H

#include <outbox/host.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define OB_LOG_LINE_MAX 4096

enum ob_log_format {
	OB_LOG_TEXT = 0, /* 2026-01-02T03:04:05.678Z warn  subscription shipping: paused */
	OB_LOG_JSON,     /* {"time":"...","level":"warn","text":"..."} */
	OB_LOG_LOGFMT,   /* time=... level=warn text="..." */
};

/* "error", "warn", "info", "debug". */
const char *ob_log_level_name(enum ob_log_level level);

/*
 * Appends the line with its newline. A text that is too long is cut and ends in "...". False only
 * when the buffer, whose limit should be 2 * OB_LOG_LINE_MAX or more beyond its content, is full.
 */
bool ob_log_line(struct ob_buf *out, enum ob_log_format format, int64_t wall_us,
		 enum ob_log_level level, const char *text);

/*
 * Appends bytes for a person's eyes: control characters, DEL, C1 controls and bytes that are not
 * UTF-8 as \xXX, a backslash as it is. Also for payloads and headers that a command shows on a
 * terminal.
 */
bool ob_log_escape(struct ob_buf *out, const void *data, size_t size);

#endif
