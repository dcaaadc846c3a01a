/* A log line is one line of harmless UTF-8, whatever is in its text. */
#include "fuzz.h"

#include "log.h"
#include "utf8.h"

int
ob_fuzz(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct ob_buf line;

	ob_buf_init(&line, 4 * OB_LOG_LINE_MAX);
	for (int format = OB_LOG_TEXT; format <= OB_LOG_LOGFMT; format++) {
		ob_buf_reset(&line);
		FUZZ_CHECK(ob_log_line(&line, (enum ob_log_format)format, 0, OB_LOG_INFO, text));
		FUZZ_CHECK(ob_utf8_valid(line.data, line.size));
		FUZZ_CHECK(strchr(line.data, '\n') == line.data + line.size - 1);
		FUZZ_CHECK(strchr(line.data, 0x1b) == NULL);
	}
	ob_buf_free(&line);
	free(text);
	return 0;
}
