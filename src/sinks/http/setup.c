/*
 * What is set once: the URL, headers, secrets and certificates, and reading them again when their files change.
 *
 * TLS is always verified. The one way around it has the word insecure in its name and is warned about at each start. What the
 * environment says about proxies counts for nothing: messages go where the configuration says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "http_sink.h"
#include "text.h"

#define FILE_CHECK_US   1000000
#define HEADER_FILE_MAX 65536
#define TOKEN_MAX       16384
#define SECRET_MAX      1024

static char *
part_of(CURLU *parsed, CURLUPart part, unsigned flags)
{
	char *text = NULL, *copy = NULL;

	if (curl_url_get(parsed, part, &text, flags) == CURLUE_OK)
		copy = strdup(text);
	curl_free(text);
	return copy;
}

/* The URL may hold a password, and many webhooks hold a secret in their path: only host and port are shown. */
static int
show_url(struct http_sink *http, CURLU *parsed, struct ob_error *error)
{
	char *scheme = part_of(parsed, CURLUPART_SCHEME, 0);
	char *host = part_of(parsed, CURLUPART_HOST, 0);
	char *port = part_of(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	int code = OB_OK;

	if (scheme == NULL || host == NULL || port == NULL ||
	    asprintf(&http->shown, "%s://%s:%s", scheme, host, port) < 0) {
		http->shown = NULL;
		code = ob_error_set(error, OB_CONFIG, "sink http: the URL names no host");
	}
	free(scheme);
	free(host);
	free(port);
	return code;
}

int
http_setup_url(struct http_sink *http, const char *url, struct ob_error *error)
{
	CURLU *parsed = curl_url();
	CURLUcode result = CURLUE_OUT_OF_MEMORY;
	int code = OB_OK;

	if (!ob_text_starts_with(url, "http://") && !ob_text_starts_with(url, "https://")) {
		code = ob_error_set(error, OB_CONFIG,
				    "sink http: the URL must begin with http:// or https://");
		goto out;
	}
	/* libcurl would take the first part of the path for the host. */
	if (strchr("/?#", strstr(url, "//")[2]) != NULL) {
		code = ob_error_set(error, OB_CONFIG, "sink http: the URL names no host");
		goto out;
	}
	if (parsed != NULL)
		result = curl_url_set(parsed, CURLUPART_URL, url, 0);
	if (result != CURLUE_OK) {
		code = ob_error_set(error, OB_CONFIG, "sink http: the URL is wrong: %s",
				    curl_url_strerror(result));
		goto out;
	}
	if ((code = show_url(http, parsed, error)) != OB_OK)
		goto out;
	http->user = part_of(parsed, CURLUPART_USER, CURLU_URLDECODE);
	http->password = part_of(parsed, CURLUPART_PASSWORD, CURLU_URLDECODE);
	curl_url_set(parsed, CURLUPART_USER, NULL, 0);
	curl_url_set(parsed, CURLUPART_PASSWORD, NULL, 0);
	curl_url_set(parsed, CURLUPART_FRAGMENT, NULL, 0);
	http->url = part_of(parsed, CURLUPART_URL, 0);
	if (http->url == NULL)
		code = ob_error_set(error, OB_NOMEM, "sink http: no memory");
out:
	curl_url_cleanup(parsed);
	return code;
}

static int
watch(struct http_sink *http, const char *path, bool is_tls, struct ob_error *error)
{
	if (path == NULL || path[0] == '\0')
		return OB_OK;
	if (http->file_count == HTTP_FILES_MAX)
		return ob_error_set(error, OB_CONFIG, "sink http: more than %d files",
				    HTTP_FILES_MAX);
	http->files[http->file_count++] = (struct http_file){.path = path, .is_tls = is_tls};
	return OB_OK;
}

int
http_setup_files(struct http_sink *http, struct ob_error *error)
{
	const struct http_options *options = http->options;
	int code = watch(http, options->header_file, false, error);

	if (code == OB_OK)
		code = watch(http, options->bearer_token_file, false, error);
	for (size_t i = 0; i < options->secret_files.count && code == OB_OK; i++)
		code = watch(http, options->secret_files.items[i], false, error);
	if (code == OB_OK)
		code = watch(http, options->ca_file, true, error);
	if (code == OB_OK)
		code = watch(http, options->cert_file, true, error);
	if (code == OB_OK)
		code = watch(http, options->key_file, true, error);
	for (size_t i = 0; i < http->file_count && code == OB_OK; i++)
		if (stat(http->files[i].path, &http->files[i].seen) != 0)
			code = ob_error_set(error, OB_CONFIG, "sink http: %s: %m",
					    http->files[i].path);
	return code;
}

/* An operator's header may be any but those that frame the request or are ours. */
static int
add_line(struct ob_fields *fields, const char *line, size_t size, struct ob_error *error)
{
	const char *colon = memchr(line, ':', size);
	struct ob_bytes name, value;
	const char *problem;

	if (colon == NULL)
		return ob_error_set(error, OB_CONFIG,
				    "a header must be written as \"Name: value\"");
	name = ob_bytes_trim((struct ob_bytes){line, (size_t)(colon - line)});
	value = ob_bytes_trim((struct ob_bytes){colon + 1, size - (size_t)(colon - line) - 1});
	if (name.size == 13 && strncasecmp(name.data, "authorization", 13) == 0) {
		problem = ob_field_value_problem(value);
		if (problem == NULL)
			ob_fields_add(fields, "", "Authorization", value);
	} else {
		problem = ob_fields_add_foreign(fields, name, value);
	}
	if (problem != NULL)
		return ob_error_set(error, OB_CONFIG, "header \"%.*s\": %s",
				    (int)(name.size < 64 ? name.size : 64), (const char *)name.data,
				    problem);
	return OB_OK;
}

static int
read_header_file(const char *path, struct ob_fields *fields, struct ob_error *error)
{
	struct ob_buf text;
	const char *at, *end;
	unsigned number = 0;
	int code;

	ob_buf_init(&text, HEADER_FILE_MAX);
	code = ob_file_read_secret(path, &text, error);
	for (at = ob_buf_text(&text), end = at + text.size; code == OB_OK && at < end;) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		struct ob_bytes line;

		if (stop == NULL)
			stop = end;
		line = ob_bytes_trim((struct ob_bytes){at, (size_t)(stop - at)});
		number++;
		if (line.size > 0 &&
		    (code = add_line(fields, line.data, line.size, error)) != OB_OK)
			ob_error_prefix(error, "sink http: %s: line %u", path, number);
		at = stop + 1;
	}
	ob_buf_wipe(&text);
	return code;
}

static int
read_token(const char *path, struct ob_fields *fields, struct ob_buf *token, struct ob_error *error)
{
	int code = ob_file_read_secret(path, token, error);
	struct ob_buf value;

	if (code != OB_OK)
		return code;
	if (ob_field_value_problem((struct ob_bytes){token->data, token->size}) != NULL)
		return ob_error_set(error, OB_CONFIG,
				    "sink http: %s: the token holds a control character", path);
	ob_buf_init(&value, TOKEN_MAX + 16);
	ob_buf_append_text(&value, "Bearer ");
	ob_buf_append(&value, token->data, token->size);
	ob_fields_add(fields, "", "Authorization", (struct ob_bytes){value.data, value.size});
	ob_buf_wipe(&value);
	return OB_OK;
}

static int
read_secret(const char *path, struct ob_webhook_keys *keys, struct ob_error *error)
{
	struct ob_buf text;
	int code;

	ob_buf_init(&text, SECRET_MAX);
	code = ob_file_read_secret(path, &text, error);
	if (code == OB_OK && (code = ob_webhook_keys_add(keys, ob_buf_text(&text), error)) != OB_OK)
		ob_error_prefix(error, "sink http: %s", path);
	ob_buf_wipe(&text);
	return code;
}

int
http_setup_read(struct http_sink *http, struct ob_error *error)
{
	const struct http_options *options = http->options;
	struct ob_fields fields;
	struct ob_buf token;
	struct ob_webhook_keys keys;
	int code = OB_OK;

	ob_fields_init(&fields);
	ob_buf_init(&token, TOKEN_MAX);
	ob_webhook_keys_init(&keys);
	for (size_t i = 0; i < options->headers.count && code == OB_OK; i++) {
		const char *line = options->headers.items[i];

		if ((code = add_line(&fields, line, strlen(line), error)) != OB_OK)
			ob_error_prefix(error, "sink http");
	}
	if (code == OB_OK && options->header_file != NULL)
		code = read_header_file(options->header_file, &fields, error);
	if (!ob_fields_have(&fields, HTTP_USER_AGENT))
		ob_fields_add(&fields, "", HTTP_USER_AGENT, ob_bytes_of_text("outbox"));
	if (code == OB_OK && options->bearer_token_file != NULL)
		code = read_token(options->bearer_token_file, &fields, &token, error);
	for (size_t i = 0; i < options->secret_files.count && code == OB_OK; i++)
		code = read_secret(options->secret_files.items[i], &keys, error);
	if (code == OB_OK && options->key_file != NULL)
		code = ob_file_check_secret(options->key_file, error);
	if (code == OB_OK && fields.full)
		code = ob_error_set(error, OB_CONFIG, "sink http: too many headers");
	if (code != OB_OK) {
		ob_buf_wipe(&fields.text);
		ob_buf_wipe(&token);
		ob_webhook_keys_free(&keys);
		return code;
	}
	ob_buf_wipe(&http->constant.text);
	ob_buf_wipe(&http->token);
	ob_webhook_keys_free(&http->keys);
	http->constant = fields;
	http->token = token;
	http->keys = keys;
	return OB_OK;
}

void
http_setup_refresh(struct http_sink *http, int64_t now_us)
{
	const struct ob_host *host = http->base.host;
	struct ob_error error;
	bool has_changed = http->must_reload;

	if (http->file_count == 0 ||
	    (!has_changed && now_us - http->files_checked_us < FILE_CHECK_US))
		return;
	http->files_checked_us = now_us;
	for (size_t i = 0; i < http->file_count; i++) {
		struct http_file *file = &http->files[i];
		struct stat now;

		/* A file that is gone for a moment is being replaced. */
		if (stat(file->path, &now) != 0 ||
		    (now.st_mtim.tv_sec == file->seen.st_mtim.tv_sec &&
		     now.st_mtim.tv_nsec == file->seen.st_mtim.tv_nsec &&
		     now.st_ino == file->seen.st_ino && now.st_size == file->seen.st_size))
			continue;
		file->seen = now;
		has_changed = true;
		if (file->is_tls)
			http->must_renew = true;
	}
	http->must_reload = false;
	if (has_changed && http_setup_read(http, &error) != OB_OK) {
		ob_error_prefix(&error, "what was read before goes on");
		host->log(host->context, OB_LOG_WARN, error.text);
	}
}

static void
setup_tls(const struct http_options *options, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options->is_insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options->is_insecure ? 0L : 2L);
	if (options->ca_file != NULL) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file);
		/* Only this one counts, not also those of the system's directory. */
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (options->cert_file != NULL)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, options->cert_file);
	if (options->key_file != NULL)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, options->key_file);
}

static void
setup_limits(const struct http_options *options, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)options->request_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms);
	if (options->low_speed_limit > 0 && options->low_speed_time_ms > 0) {
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)options->low_speed_limit);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
				 (long)((options->low_speed_time_ms + 999) / 1000));
	}
	/* libcurl would keep an address for a minute, also one at which nobody is any more. Connections are kept, so names are
	   seldom asked for. */
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	/* Answers are small, and requests are written from where they lie. */
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
}

/* libcurl 7.88 breaks a plain connection that speaks HTTP/2 when it is used again; 8.0.0 was mended. */
static bool
breaks_plain_http2(void)
{
	unsigned number = curl_version_info(CURLVERSION_NOW)->version_num;

	return number >= 0x075800 && number < 0x080000;
}

void
http_setup_easy(struct http_sink *http, CURL *easy)
{
	const struct http_options *options = http->options;
	bool is_tls = ob_text_starts_with(http->url, "https://");
	long version = CURL_HTTP_VERSION_1_1;

	curl_easy_setopt(easy, CURLOPT_URL, http->url);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	/* A name server that hangs must not hold up close. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, options->proxy != NULL ? options->proxy : "");
	/* Without it the environment's no_proxy would lead past the proxy that is configured. */
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	if (http->user != NULL || http->password != NULL) {
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(easy, CURLOPT_USERNAME, http->user != NULL ? http->user : "");
		curl_easy_setopt(easy, CURLOPT_PASSWORD,
				 http->password != NULL ? http->password : "");
	}
	if (options->http2 == HTTP2_ALWAYS)
		version = is_tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
	else if (options->http2 == HTTP2_AUTO && is_tls)
		version = CURL_HTTP_VERSION_2TLS;
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version);
	/* Share a connection that can carry several requests, rather than open one for each. */
	http->shares_connections = version != CURL_HTTP_VERSION_1_1;
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, http->shares_connections ? 1L : 0L);
	if (version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE && breaks_plain_http2()) {
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	}
	setup_tls(options, easy);
	setup_limits(options, easy);
}

void
http_setup_free(struct http_sink *http)
{
	free(http->url);
	free(http->shown);
	if (http->password != NULL)
		explicit_bzero(http->password, strlen(http->password));
	free(http->password);
	free(http->user);
	http->url = http->shown = http->password = http->user = NULL;
	ob_buf_wipe(&http->constant.text);
	ob_buf_wipe(&http->token);
	ob_webhook_keys_free(&http->keys);
}
