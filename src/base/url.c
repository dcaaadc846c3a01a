#include "url.h"

#include <stdlib.h>
#include <string.h>

#include "percent.h"
#include "text.h"

static int
wrong(struct ob_error *error, const char *what)
{
	return ob_error_set(error, OB_CONFIG, "URL: %s", what);
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The length of the scheme (RFC 3986, 3.1), 0 if there is none. */
static size_t
scheme_size(const char *text)
{
	size_t size = 0;

	if (!is_letter(text[0]))
		return 0;
	while (is_letter(text[size]) || (text[size] >= '0' && text[size] <= '9') ||
	       (text[size] != '\0' && strchr("+-.", text[size]) != NULL))
		size++;
	return text[size] == ':' ? size : 0;
}

/*
 * Decodes `size` bytes to the end of the memory, which has room for all of the URL twice, and
 * returns them as a C string; NULL if the code is wrong or holds a NUL.
 */
static const char *
decode(struct ob_buf *memory, const char *text, size_t size)
{
	size_t start = memory->size;

	if (!ob_percent_decode(memory, text, size) ||
	    strlen(memory->data + start) != memory->size - start ||
	    !ob_buf_append_byte(memory, '\0'))
		return NULL;
	return memory->data + start;
}

static int
parse_port(const char *text, size_t size, int *port, struct ob_error *error)
{
	int value = 0;

	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9' || value > 65535)
			return wrong(error, "the port is not a number from 1 to 65535 (a special "
					    "character in a password is written as %XX)");
		value = value * 10 + (text[i] - '0');
	}
	if (value < 1 || value > 65535)
		return wrong(error, "the port is not a number from 1 to 65535");
	*port = value;
	return OB_OK;
}

static int
parse_user(struct ob_url *url, struct ob_buf *memory, const char *text, size_t size,
	   struct ob_error *error)
{
	const char *colon = memchr(text, ':', size);
	size_t user_size = colon == NULL ? size : (size_t)(colon - text);

	url->user = decode(memory, text, user_size);
	if (url->user == NULL)
		return wrong(error, "the user is not percent-encoded as it should be");
	if (colon == NULL)
		return OB_OK;
	url->password = decode(memory, colon + 1, size - user_size - 1);
	if (url->password == NULL)
		return wrong(error, "the password is not percent-encoded as it should be");
	return OB_OK;
}

static int
parse_host(struct ob_url *url, struct ob_buf *memory, const char *text, size_t size,
	   struct ob_error *error)
{
	const char *end = text + size, *close, *colon;

	if (size > 0 && text[0] == '[') {
		close = memchr(text, ']', size);
		if (close == NULL)
			return wrong(error, "the address has no closing bracket");
		if (strspn(text + 1, "0123456789abcdefABCDEF:.") != (size_t)(close - text - 1) ||
		    close == text + 1)
			return wrong(error, "there is no IPv6 address between the brackets");
		text++;
		colon = close + 1;
		if (colon < end && *colon != ':')
			return wrong(error, "only a port may follow the bracket");
	} else {
		colon = memchr(text, ':', size);
		close = colon == NULL ? end : colon;
		colon = close;
	}
	url->host = decode(memory, text, (size_t)(close - text));
	if (url->host == NULL)
		return wrong(error, "the host is not percent-encoded as it should be");
	for (const char *c = url->host; *c != '\0'; c++)
		if ((unsigned char)*c <= 0x20 || *c == 0x7f || strchr("/?#@\\", *c) != NULL)
			return wrong(error, "the host holds a character that no host has");
	return colon < end ? parse_port(colon + 1, (size_t)(end - colon - 1), &url->port, error)
			   : OB_OK;
}

static int
parse_query(struct ob_url *url, struct ob_buf *memory, const char *text, struct ob_error *error)
{
	while (*text != '\0') {
		size_t size = strcspn(text, "&"), name_size = strcspn(text, "=&");
		size_t value_at = name_size < size ? name_size + 1 : size;
		struct ob_url_pair *pair = &url->query[url->query_count];

		if (url->query_count == OB_URL_QUERY_MAX)
			return wrong(error, "more than 32 values behind the question mark");
		pair->name = decode(memory, text, name_size);
		pair->value = decode(memory, text + value_at, size - value_at);
		if (pair->name == NULL || pair->value == NULL || *pair->name == '\0')
			return wrong(error, "what is behind the question mark is not "
					    "name=value&name=value, percent-encoded");
		url->query_count++;
		text += size;
		text += *text == '&';
	}
	return OB_OK;
}

static int
parse_authority(struct ob_url *url, struct ob_buf *memory, const char *text, struct ob_error *error)
{
	size_t size = strcspn(text, "/?#"), path_size = strcspn(text + size, "?#");
	const char *at = memrchr(text, '@', size);
	size_t user_size = at == NULL ? 0 : (size_t)(at - text);
	size_t host_at = at == NULL ? 0 : user_size + 1;
	int code = OB_OK;

	if (strchr(text, '#') != NULL)
		return wrong(error, "a '#' has no meaning here; in a path it is written %23");
	if (at != NULL)
		code = parse_user(url, memory, text, user_size, error);
	if (code == OB_OK)
		code = parse_host(url, memory, text + host_at, size - host_at, error);
	if (code != OB_OK)
		return code;
	url->path = decode(memory, text + size, path_size);
	if (url->path == NULL)
		return wrong(error, "the path is not percent-encoded as it should be");
	text += size + path_size;
	return *text == '?' ? parse_query(url, memory, text + 1, error) : OB_OK;
}

int
ob_url_parse(struct ob_url *url, const char *text, struct ob_error *error)
{
	/* Nothing may move once something points into it: the room is taken at once. Each part is
	   decoded once and adds a NUL; scheme and rest are copies. */
	size_t size = strlen(text), room = 3 * size + 2 * OB_URL_QUERY_MAX + 16, scheme;
	struct ob_buf memory;
	int code = OB_OK;

	*url = (struct ob_url){0};
	if (size > OB_URL_SIZE_MAX)
		return wrong(error, "longer than 8192 bytes");
	scheme = scheme_size(text);
	if (scheme == 0)
		return wrong(error, "it does not start with a scheme such as sqlite: or https:");
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return wrong(error, "it holds a control character");
	ob_buf_init(&memory, room);
	if (ob_buf_reserve(&memory, room) == NULL)
		return ob_error_set(error, OB_NOMEM, "URL: out of memory");
	ob_buf_append(&memory, text, scheme);
	for (size_t i = 0; i < scheme; i++)
		if (memory.data[i] >= 'A' && memory.data[i] <= 'Z')
			memory.data[i] = (char)(memory.data[i] + ('a' - 'A'));
	ob_buf_append_byte(&memory, '\0');
	ob_buf_append(&memory, text + scheme + 1, size - scheme);
	url->scheme = memory.data;
	url->rest = memory.data + scheme + 1;
	url->memory = memory.data;
	url->memory_size = memory.capacity;
	url->has_authority = ob_text_starts_with(url->rest, "//");
	if (url->has_authority)
		code = parse_authority(url, &memory, url->rest + 2, error);
	if (code != OB_OK)
		ob_url_free(url);
	return code;
}

const char *
ob_url_query(const struct ob_url *url, const char *name)
{
	for (size_t i = 0; i < url->query_count; i++)
		if (strcmp(url->query[i].name, name) == 0)
			return url->query[i].value;
	return NULL;
}

void
ob_url_free(struct ob_url *url)
{
	if (url->memory != NULL)
		explicit_bzero(url->memory, url->memory_size);
	free(url->memory);
	*url = (struct ob_url){0};
}

static bool
redact_text(struct ob_buf *out, const char *text, size_t size)
{
	bool done = true;

	for (size_t i = 0; i < size; i++)
		done = ob_buf_append_byte(
			   out, (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]) &&
		       done;
	return done;
}

static bool
is_secret_name(const char *name, size_t size)
{
	static const char *const words[] = {"pass", "secret", "token", "key",
					    "sig",  "pwd",    "auth",  "cred"};

	for (size_t at = 0; at < size; at++) {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			size_t length = strlen(words[i]);

			if (length <= size - at && strncasecmp(name + at, words[i], length) == 0)
				return true;
		}
	}
	return false;
}

/* Hides the values of the query that follows, from its '?' to the end. */
static bool
redact_query(struct ob_buf *out, const char *text)
{
	bool done = redact_text(out, text, *text == '?');

	text += *text == '?';
	while (*text != '\0') {
		size_t size = strcspn(text, "&"), name = strcspn(text, "=&");
		bool hide =
		    name < size && (is_secret_name(text, name) || memchr(text, '%', name) != NULL);

		done = redact_text(out, text, hide ? name + 1 : size) && done;
		if (hide)
			done = ob_buf_append_text(out, "***") && done;
		done = redact_text(out, text + size, text[size] == '&') && done;
		text += size + (text[size] == '&');
	}
	return done;
}

/* The '@' behind a user without a password in a URL for HTTP, where the user is the secret then; or NULL. */
static const char *
lone_user_end(const char *text, const char *start)
{
	size_t size = strcspn(start, "/?#");
	const char *at = memrchr(start, '@', size), *colon;

	if (at == NULL || strncasecmp(text, "http", 4) != 0)
		return NULL;
	colon = memchr(start, ':', (size_t)(at - start));
	return colon == NULL || colon + 1 == at ? at : NULL;
}

bool
ob_url_redact(struct ob_buf *out, const char *text)
{
	const char *start = strstr(text, "://"), *at, *colon, *user_end;
	size_t size;
	bool done;

	if (start == NULL)
		return redact_text(out, text, strlen(text));
	start += 3;
	/* The last '@' even behind a '/' or '?': a password that was not encoded may hold these. */
	at = strrchr(start, '@');
	user_end = lone_user_end(text, start);
	if (user_end != NULL) {
		done = redact_text(out, text, (size_t)(start - text)) &&
		       ob_buf_append_text(out, "***");
		/* With a ':' before a later '@' this one may belong to the user's name, or begin a password. */
		text = memchr(start, ':', (size_t)(at - start)) != NULL ? at : user_end;
	} else if (at != NULL && memchr(start, ':', (size_t)(at - start)) != NULL) {
		colon = memchr(start, ':', (size_t)(at - start));
		/* A ':' that only stands before a port, with the '@' in the path, hides that path:
		 * so be it. */
		done = redact_text(out, text, (size_t)(colon + 1 - text)) &&
		       ob_buf_append_text(out, "***");
		text = at;
	} else {
		done = true;
	}
	/* An '@' in the query took the '?' with it. */
	size = strcspn(text, "?&");
	done = redact_text(out, text, size) && done;
	return redact_query(out, text + size) && done;
}
