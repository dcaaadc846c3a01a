/*
 * The HTTP sink, in parts:
 *
 *	http.c      the table: options, open and close, submit, poll, cancel
 *	setup.c     URL, headers, secrets and certificates, and reading them again
 *	request.c   one request: from messages to a transfer, and from its end to receipts
 *	batch.c     which messages go together, when several share a request
 *	loop.c      libcurl's sockets and timers in one epoll
 *	outcome.c   what statuses and failures mean
 */
#ifndef OB_SINKS_HTTP_SINK_H
#define OB_SINKS_HTTP_SINK_H

#include <curl/curl.h>
#include <outbox/sink.h>
#include <outbox/store.h>
#include <sys/stat.h>

#include "buf.h"
#include "format.h"
#include "list.h"
#include "map.h"
#include "outcome.h"
#include "reason.h"
#include "wake.h"
#include "webhook.h"

#define HTTP_ANSWER_MAX       512          /* of a body, kept for the receipt's text */
#define HTTP_HEAD_MAX         (64 * 1024)  /* of all heads of one answer, 1xx among them */
#define HTTP_KEPT_MAX         (256 * 1024) /* of a buffer, from one request to the next */
#define HTTP_FILES_MAX        16
#define HTTP_RETRY_AFTER_SIZE 64
#define HTTP_USER_AGENT       "User-Agent"

struct http_options {
	int format;
	char *source, *content_type;
	struct ob_strings headers;
	char *header_file, *bearer_token_file;
	struct ob_strings secret_files;
	int64_t connections;
	int http2;
	int64_t request_timeout_ms, connect_timeout_ms;
	int64_t low_speed_limit, low_speed_time_ms;
	int64_t answer_bytes_max, message_bytes_max;
	int64_t retry_after_max_ms;
	int64_t batch, batch_bytes_max, batch_linger_ms;
	char *ca_file, *cert_file, *key_file;
	bool is_insecure;
	char *proxy;
	struct ob_strings down, retry, reject, blocked;
};

enum http_http2 { HTTP2_AUTO = 0, HTTP2_OFF, HTTP2_ALWAYS };

/* One message that the sink holds. */
struct http_item {
	uint64_t ticket;
	const struct ob_message *message;
	struct http_lane *lane; /* NULL: no key, or the sink keeps no lanes */
	uint32_t attempt;
	int64_t taken_us;
};

/* A key of which the sink holds messages; batches alone know lanes. See batch.c. */
struct http_lane {
	uint64_t number;
	uint32_t held;     /* tickets whose receipt was not given out yet */
	uint32_t sending;  /* of these, in the one request that may be under way */
	bool has_failed;   /* one of them failed: those behind it are returned */
	uint64_t gathered; /* the last gathering that took one of them */
	uint64_t passed;   /* the last gathering that had to leave one of them behind */
	struct http_lane *next_free;
};

struct http_request {
	struct http_sink *http;
	struct ob_list link; /* in `idle` or `active` */
	CURL *easy;
	struct http_item *items; /* room for `batch` */
	size_t count;
	struct ob_formatted content;
	size_t body_given; /* builds with crash points alone */
	struct ob_buf signature;
	struct curl_slist nodes[OB_FIELDS_MAX + 2];
	unsigned sends; /* how often it has gone out */
	/* the answer */
	char answer[HTTP_ANSWER_MAX];
	size_t answer_kept;
	uint64_t answer_bytes, head_bytes;
	bool is_cut; /* we ended an answer that was too long */
	char retry_after[HTTP_RETRY_AFTER_SIZE];
	char problem[CURL_ERROR_SIZE];
};

/* A receipt that waits for poll, and the texts that it points to. */
struct http_done {
	struct ob_receipt receipt;
	struct ob_reason reason;
	struct http_lane *lane;
};

struct http_socket {
	uint8_t wanted;     /* CURL_POLL_*; 0: libcurl has no interest at present */
	uint8_t registered; /* what epoll knows of it, in the same terms */
	bool is_ours;       /* opened by our callback, so its end is told */
};

struct http_loop {
	CURLM *multi;
	int epoll_fd;
	struct ob_wake wake;
	struct http_socket *sockets; /* by descriptor */
	size_t socket_count;
	int64_t due_us; /* libcurl's timer; -1: none */
	bool was_woken;
};

/* A file that is read again when it changes. */
struct http_file {
	const char *path;
	struct stat seen;
	bool is_tls; /* libcurl reads it, at each new connection */
};

struct http_sink {
	struct ob_sink base; /* first: the relay knows the instance by it */
	const struct http_options *options;
	bool has_curl, is_open;
	char *url, *user, *password; /* the URL without user and password */
	char *shown;                 /* scheme, host and port: for people */
	struct ob_format_config format;
	struct http_policy policy;
	struct ob_fields constant; /* headers of every request */
	struct ob_buf token;
	struct ob_webhook_keys keys;
	struct http_file files[HTTP_FILES_MAX];
	size_t file_count;
	int64_t files_checked_us;
	bool must_reload, must_renew; /* files changed; connections must be made anew */
	bool shares_connections;      /* HTTP/2 carries several requests on one */
	size_t failed_on_shared; /* requests, one after the other, on connections that were there */
	struct http_loop loop;
	struct http_request *requests;
	struct http_item *items;
	size_t connections, batch;
	struct ob_list idle, active; /* of requests */
	size_t in_flight;            /* tickets without a receipt given out */
	/* a ring of twice the tickets: what poll gave out stands until the next poll */
	struct http_done *done;
	size_t done_size, done_first, done_count;
	/* batches alone */
	struct http_item *waiting;
	size_t waiting_count;
	struct ob_map lanes;
	struct http_lane *lane_memory, *lane_free;
	uint64_t gathering;
	bool is_flushed;
};

/* setup.c */
int http_setup_url(struct http_sink *http, const char *url, struct ob_error *error);
int http_setup_files(struct http_sink *http, struct ob_error *error);
/* Reads headers, token and secrets; on failure what was there stays. */
int http_setup_read(struct http_sink *http, struct ob_error *error);
/* Looks, at most once a second, whether a file has changed, and reads it again. */
void http_setup_refresh(struct http_sink *http, int64_t now_us);
void http_setup_easy(struct http_sink *http, CURL *easy);
void http_setup_free(struct http_sink *http);

/* loop.c */
int http_loop_open(struct http_sink *http, struct ob_error *error);
void http_loop_close(struct http_loop *loop);
/* Waits at most so long for sockets and timers, and lets libcurl work on them. */
void http_loop_run(struct http_sink *http, int timeout_ms);
void http_loop_setup_easy(struct http_sink *http, CURL *easy);

/* http.c */
/* A request has ended, and is no more among the active: decides whether the connections must be made anew. */
void http_connection_doubt(struct http_sink *http, const struct http_request *request,
			   CURLcode result);

/* request.c */
int http_request_open(struct http_sink *http, struct http_request *request, struct ob_error *error);
void http_request_close(struct http_request *request);
/* Sends one message: formats it and starts the transfer. What cannot be sent gets its receipt. */
void http_request_single(struct http_request *request, const struct http_item *item);
/* Starts the transfer of `content`, which is ready, for the request's items. */
void http_request_start(struct http_request *request, struct ob_bytes webhook_id);
/* Receipts of the transfers that have ended. */
void http_requests_collect(struct http_sink *http);
/* Ends all transfers. */
void http_requests_cancel(struct http_sink *http);
/* Puts a receipt into the ring. `reason` may be NULL with SENT. */
struct http_done *http_done_put(struct http_sink *http, const struct http_item *item,
				enum ob_fate fate, bool reached, const struct ob_reason *reason);
void http_reject(struct http_sink *http, const struct http_item *item, const char *code,
		 const char *problem);
/* Why this message can be in no request, or NULL; `code` then says it too. */
const char *http_message_problem(const struct http_sink *http, const struct ob_message *message,
				 const char **code);

/* batch.c */
int http_batch_open(struct http_sink *http, struct ob_error *error);
void http_batch_close(struct http_sink *http);
void http_batch_take(struct http_sink *http, const struct ob_delivery *delivery);
/* Starts what is ready to go; returns how long the rest may linger, in ms, -1: nothing does. */
int http_batch_send(struct http_sink *http, int64_t now_us);
/* A request's messages have failed: those behind them, of the same keys, are given back. */
void http_batch_fail(struct http_sink *http, const struct http_request *request);
/* The receipt of one of the lane's messages was given out. */
void http_batch_forget(struct http_sink *http, struct http_lane *lane);
void http_batch_cancel(struct http_sink *http);

static inline int64_t
http_now_us(const struct http_sink *http)
{
	return http->base.host->monotonic_us(http->base.host->context);
}

#endif
