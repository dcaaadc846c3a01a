/* What base64 and hex accept is what they would write. */
#include "fuzz.h"

#include "base64.h"
#include "hex.h"

int
ob_fuzz(const uint8_t *data, size_t size)
{
	struct ob_buf bytes, text;

	ob_buf_init(&bytes, 1 << 20);
	ob_buf_init(&text, 1 << 20);
	if (ob_base64_decode(&bytes, data, size)) {
		FUZZ_CHECK(ob_base64_encode(&text, bytes.data, bytes.size));
		FUZZ_CHECK(text.size == size);
		FUZZ_CHECK(size == 0 || memcmp(text.data, data, size) == 0);
	} else {
		FUZZ_CHECK(bytes.size == 0);
	}
	ob_buf_reset(&bytes);
	ob_buf_reset(&text);
	if (ob_hex_decode(&bytes, data, size)) {
		FUZZ_CHECK(ob_hex_encode(&text, bytes.data, bytes.size));
		FUZZ_CHECK(text.size == size);
	}
	ob_buf_free(&bytes);
	ob_buf_free(&text);
	return 0;
}
