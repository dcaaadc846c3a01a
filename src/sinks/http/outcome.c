#include "outcome.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

static void
set_each(struct http_policy *policy, const short *statuses, enum ob_fate fate)
{
	for (; *statuses != 0; statuses++)
		policy->fates[*statuses] = (uint8_t)fate;
}

static void
set_range(struct http_policy *policy, int from, int to, enum ob_fate fate)
{
	for (int status = from; status <= to; status++)
		policy->fates[status] = (uint8_t)fate;
}

void
http_policy_init(struct http_policy *policy)
{
	static const short blocked[] = {401, 402, 403, 404, 405, 407, 410, 426, 501, 505, 511, 0};
	static const short retry[] = {408, 409, 421, 423, 424, 425, 0};
	static const short down[] = {429, 502, 503, 0};

	/* What is no final status of HTTP says nothing about the message: it is tried again. */
	memset(policy->fates, OB_FATE_RETRY, sizeof(policy->fates));
	set_range(policy, 200, 299, OB_FATE_SENT);
	set_range(policy, 300, 399, OB_FATE_BLOCKED);
	set_range(policy, 400, 499, OB_FATE_REJECT);
	set_each(policy, blocked, OB_FATE_BLOCKED);
	set_each(policy, retry, OB_FATE_RETRY);
	set_each(policy, down, OB_FATE_DOWN);
}

static bool
parse_status(const char *text, size_t size, int *status)
{
	*status = 0;
	if (size != 3)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*status = *status * 10 + (text[i] - '0');
	}
	return true;
}

static bool
parse_statuses(const char *text, int *from, int *to)
{
	size_t size = strlen(text);

	if (size == 3 && text[0] >= '3' && text[0] <= '5' && strcmp(text + 1, "xx") == 0) {
		*from = (text[0] - '0') * 100;
		*to = *from + 99;
		return true;
	}
	if (size == 3) {
		if (!parse_status(text, size, from))
			return false;
		*to = *from;
	} else if (size != 7 || text[3] != '-' || !parse_status(text, 3, from) ||
		   !parse_status(text + 4, 3, to)) {
		return false;
	}
	return *from >= 300 && *from <= *to && *to <= HTTP_STATUS_MAX;
}

int
http_policy_set(struct http_policy *policy, const char *option, const struct ob_strings *statuses,
		enum ob_fate fate, struct ob_error *error)
{
	int from, to;

	for (size_t i = 0; i < statuses->count; i++) {
		if (!parse_statuses(statuses->items[i], &from, &to))
			return ob_error_set(error, OB_CONFIG,
					    "option %s: \"%s\" is no status from 300 to 599, such "
					    "as 503, 500-599 or 5xx",
					    option, statuses->items[i]);
		set_range(policy, from, to, fate);
	}
	return OB_OK;
}

void
http_outcome_of_status(struct http_outcome *out, const struct http_policy *policy, long status)
{
	out->fate = status < 0 || status > HTTP_STATUS_MAX ? OB_FATE_RETRY : policy->fates[status];
	out->reached = true;
	snprintf(out->code, sizeof(out->code), "http_%ld", status);
}

static const char *
connect_code(long os_errno)
{
	switch (os_errno) {
	case ECONNREFUSED:
		return "connect_refused";
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
		return "unreachable";
	case EACCES:
	case EPERM:
		return "connect_denied";
	case EMFILE:
	case ENFILE:
		return "too_many_files";
	default:
		return "connect_failed";
	}
}

/* What can go wrong before the request is on its way, NULL for anything else. */
static const char *
early_code(CURLcode result, long os_errno)
{
	switch (result) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return "dns";
	case CURLE_COULDNT_RESOLVE_PROXY:
		return "proxy_dns";
	case CURLE_PROXY:
		return "proxy";
	case CURLE_COULDNT_CONNECT:
		return connect_code(os_errno);
	case CURLE_SSL_CONNECT_ERROR:
		return "tls_handshake";
	/* The recipient's certificate is mended by the recipient; ours would be tried in vain. */
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		return "tls_verify";
	default:
		return NULL;
	}
}

static const char *
blocked_code(CURLcode result)
{
	switch (result) {
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
		return "tls_config";
	case CURLE_URL_MALFORMAT:
	case CURLE_LOGIN_DENIED:
		return "bad_url";
	default:
		return NULL;
	}
}

static const char *
late_code(CURLcode result)
{
	switch (result) {
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_HTTP3:
		return "connection_lost";
	/* Not HTTP, HTTP/0.9, a head without an end, an encoding that is none. */
	default:
		return "bad_answer";
	}
}

void
http_outcome_of_error(struct http_outcome *out, CURLcode result, bool was_sent, long os_errno)
{
	const char *code = early_code(result, os_errno);

	out->fate = OB_FATE_DOWN;
	out->reached = was_sent;
	if (result == CURLE_OPERATION_TIMEDOUT) {
		/* It may well have arrived, so it counts as a try and comes again under its id. */
		if (was_sent)
			out->fate = OB_FATE_UNKNOWN;
		code = was_sent ? "timeout" : "connect_timeout";
	} else if (result == CURLE_OUT_OF_MEMORY) {
		if (was_sent)
			out->fate = OB_FATE_UNKNOWN;
		code = "no_memory";
	} else if (code != NULL) {
		out->reached = false;
	} else if (blocked_code(result) != NULL) {
		out->fate = OB_FATE_BLOCKED;
		code = blocked_code(result);
	} else {
		code = late_code(result);
	}
	ob_text_copy(out->code, sizeof(out->code), code);
}
