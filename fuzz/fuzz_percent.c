/* What was encoded decodes to itself, and holds nothing that a header or URL must not hold. */
#include "fuzz.h"

#include "percent.h"

static void
check_round(const uint8_t *data, size_t size, bool (*encode)(struct ob_buf *, const void *, size_t))
{
	struct ob_buf code, plain;

	ob_buf_init(&code, 1 << 20);
	ob_buf_init(&plain, 1 << 20);
	if (encode(&code, data, size)) {
		for (size_t i = 0; i < code.size; i++) {
			FUZZ_CHECK(code.data[i] > 0x20);
			FUZZ_CHECK(code.data[i] < 0x7f);
			FUZZ_CHECK(code.data[i] != '"');
		}
		FUZZ_CHECK(ob_percent_decode(&plain, code.data, code.size));
		FUZZ_CHECK(plain.size == size);
		FUZZ_CHECK(size == 0 || memcmp(plain.data, data, size) == 0);
	}
	ob_buf_free(&code);
	ob_buf_free(&plain);
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	struct ob_buf plain;

	check_round(data, size, ob_percent_encode);
	check_round(data, size, ob_percent_encode_header);
	ob_buf_init(&plain, 1 << 20);
	if (ob_percent_decode(&plain, data, size))
		FUZZ_CHECK(plain.size <= size);
	ob_buf_free(&plain);
	return 0;
}
