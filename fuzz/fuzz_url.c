/* URLs: what is read is whole, and the redacted form never shows the password. */
#include "fuzz.h"

#include "url.h"

static void
check_redacted(const struct ob_url *url, const char *text)
{
	struct ob_buf shown;

	ob_buf_init(&shown, 8 * OB_URL_SIZE_MAX);
	FUZZ_CHECK(ob_url_redact(&shown, text));
	if (url->password != NULL && *url->password != '\0')
		FUZZ_CHECK(strstr(ob_buf_text(&shown), ":***@") != NULL);
	ob_buf_free(&shown);
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct ob_error error = {0};
	struct ob_url url;
	struct ob_buf shown;

	if (ob_url_parse(&url, text, &error) == OB_OK) {
		FUZZ_CHECK(url.scheme[0] != '\0');
		FUZZ_CHECK(url.port >= 0);
		FUZZ_CHECK(url.port <= 65535);
		FUZZ_CHECK(url.has_authority == (url.host != NULL));
		for (size_t i = 0; i < url.query_count; i++)
			FUZZ_CHECK(ob_url_query(&url, url.query[i].name) != NULL);
		check_redacted(&url, text);
	} else {
		FUZZ_CHECK(error.code == OB_CONFIG);
		FUZZ_CHECK(url.memory == NULL);
	}
	ob_url_free(&url);
	ob_buf_init(&shown, 1 << 20);
	FUZZ_CHECK(ob_url_redact(&shown, text));
	ob_buf_free(&shown);
	free(text);
	return 0;
}
