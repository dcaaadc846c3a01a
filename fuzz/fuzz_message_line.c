/* A line of `outbox publish --json-lines`: read or refused, and nothing else. */
#include "fuzz.h"

#include "message_line.h"

int
ob_fuzz(const uint8_t *data, size_t size)
{
	struct ob_message_line line;
	struct ob_error error = {0};
	int rc = ob_message_line_read(&line, (const char *)data, size, &error);

	if (rc == OB_OK) {
		FUZZ_CHECK(line.message.payload != NULL || line.message.payload_size == 0);
		FUZZ_CHECK(size >= 2);
	} else {
		FUZZ_CHECK(error.code == OB_INVALID);
		FUZZ_CHECK(error.text[0] != '\0');
	}
	ob_message_line_free(&line);
	return 0;
}
