/* Lines of NAME=VALUE against a table with every type; what was read can be shown and read again. */
#include "fuzz.h"

#include "options.h"

struct values {
	bool on;
	int64_t count, size, wait_ms;
	char *text, *secret_file;
	int mode;
	struct ob_strings names;
};

static const char *const modes[] = {"fast", "safe", NULL};
static const struct ob_option table[] = {
    {"on", OB_OPTION_BOOL, "true", "", offsetof(struct values, on), 0, 0, NULL, 0},
    {"count", OB_OPTION_INT, NULL, "", offsetof(struct values, count), -5, 100, NULL, 0},
    {"size", OB_OPTION_SIZE, "1MiB", "", offsetof(struct values, size), 0, 0, NULL, 0},
    {"wait", OB_OPTION_DURATION, "5s", "", offsetof(struct values, wait_ms), 0, 0, NULL, 0},
    {"text", OB_OPTION_STRING, NULL, "", offsetof(struct values, text), 0, 0, NULL, 0},
    {"secret-file", OB_OPTION_PATH, NULL, "", offsetof(struct values, secret_file), 0, 0, NULL, 0},
    {"mode", OB_OPTION_ENUM, "safe", "", offsetof(struct values, mode), 0, 0, modes, 0},
    {"names", OB_OPTION_LIST, NULL, "", offsetof(struct values, names), 0, 0, NULL, 0},
    {.type = OB_OPTION_END},
};

/* Shows each value and sets it from what was shown. */
static void
set_again(struct ob_options *options, const struct values *values)
{
	struct ob_buf shown;

	ob_buf_init(&shown, 1 << 20);
	for (const struct ob_option *row = table; row->type != OB_OPTION_END; row++) {
		ob_buf_reset(&shown);
		FUZZ_CHECK(ob_option_show(row, values, &shown));
		if (row->type == OB_OPTION_LIST || shown.size == 0)
			continue;
		FUZZ_CHECK(ob_options_set(options, row->name, ob_buf_text(&shown), NULL) == OB_OK);
	}
	ob_buf_free(&shown);
}

int
ob_fuzz(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *rest = text, *line;
	struct ob_options options;
	struct values values;
	struct ob_error error;

	FUZZ_CHECK(ob_options_begin(&options, "fuzz", table, &values, NULL) == OB_OK);
	while ((line = strsep(&rest, "\n")) != NULL) {
		error = (struct ob_error){0};
		if (ob_options_set_pair(&options, line, &error) != OB_OK) {
			FUZZ_CHECK(error.code == OB_CONFIG);
			FUZZ_CHECK(error.text[0] != '\0');
		}
	}
	FUZZ_CHECK(values.count >= -5);
	FUZZ_CHECK(values.count <= 100);
	set_again(&options, &values);
	ob_options_free(table, &values);
	free(text);
	return 0;
}
