/*
 * What an HTTP recipient's answer, or the lack of one, means for the message. Pure functions.
 *
 *	status                          fate     why
 *	2xx                             sent     the only answer that confirms
 *	3xx                             blocked  redirects are not followed: the URL must be mended
 *	401 402 403 407 511             blocked  a credential or a right: a person must act
 *	404 405 410 426 501 505         blocked  there is no recipient at this URL, or it no longer wants anything
 *	                                         (Standard Webhooks: 410 disables)
 *	408 409 421 423 424 425         retry    about this message at this moment
 *	429 503                         down     says of itself that nothing works at present; Retry-After counts
 *	502                             down     its proxy could not reach it: the same as a refused connection,
 *	                                         and the usual answer while a service is being restarted
 *	504 and other 5xx               retry    like a time-out of our own: it may be this message that is slow or
 *	                                         breaks it, so only its key waits
 *	other 4xx                       reject   the recipient understood, and does not want this message
 *
 * DOWN and BLOCKED pause the subscription and use up no try, but for the message that brings the recipient down again
 * and again; so a 502 that one poison message causes is charged to that message by the engine. The options
 * down-statuses, retry-statuses, reject-statuses and blocked-statuses change single lines.
 *
 *	failure                         fate     reached
 *	name not found, refused, no
 *	route, TLS, time-out before
 *	anything was sent               down     no
 *	connection lost, not HTTP       down     yes
 *	time-out after it was sent      unknown
 *	own certificate unusable        blocked
 */
#ifndef OB_SINKS_HTTP_OUTCOME_H
#define OB_SINKS_HTTP_OUTCOME_H

#include <curl/curl.h>
#include <outbox/option.h>
#include <outbox/sink.h>

#define HTTP_STATUS_MAX 599

struct http_policy {
	uint8_t fates[HTTP_STATUS_MAX + 1]; /* enum ob_fate, by status */
};

struct http_outcome {
	enum ob_fate fate;
	bool reached;
	char code[24]; /* "http_422", "connect_refused" ... */
};

/* The table above. */
void http_policy_init(struct http_policy *policy);
/* Lays statuses on a fate: "404", "500-503" or "5xx". OB_CONFIG, naming the option, for anything else, and for 2xx, which
 * is what "sent" means. */
int http_policy_set(struct http_policy *policy, const char *option,
		    const struct ob_strings *statuses, enum ob_fate fate, struct ob_error *error);

/* A final status was received. */
void http_outcome_of_status(struct http_outcome *out, const struct http_policy *policy,
			    long status);
/* The transfer failed without a usable status. `was_sent`: some of the request had gone out. `os_errno` as
 * CURLINFO_OS_ERRNO has it. */
void http_outcome_of_error(struct http_outcome *out, CURLcode result, bool was_sent, long os_errno);

#endif
