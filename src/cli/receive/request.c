#include "request.h"

#include <errno.h>
#include <outbox/webhook.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

/* While an answer is given byte by byte. */
#define SLOW_STEP_US 100000
/* Buffers of requests that are not in use keep no more than this. */
#define KEPT_MAX (256 * 1024)

static int64_t
now_us(const struct receive_server *server)
{
	return server->host->monotonic_us(server->host->context);
}

static struct receive_request *
request_new(struct receive_server *server, struct MHD_Connection *connection)
{
	struct ob_list *spare = ob_list_pop_front(&server->spare);
	struct receive_request *request;

	if (spare != NULL) {
		request = OB_CONTAINER_OF(spare, struct receive_request, link);
	} else {
		request = calloc(1, sizeof(*request));
		if (request == NULL)
			return NULL;
		ob_list_init(&request->link);
		ob_buf_init(&request->body, (size_t)server->config.body_max);
		receive_arrival_init(&request->arrival);
	}
	request->connection = connection;
	request->state = RECEIVE_READING;
	server->open++;
	return request;
}

void
receive_request_completed(void *closure, struct MHD_Connection *connection, void **context,
			  enum MHD_RequestTerminationCode why)
{
	struct receive_server *server = closure;
	struct receive_request *request = *context;

	(void)connection;
	(void)why;
	if (request == NULL)
		return;
	*context = NULL;
	ob_list_remove(&request->link);
	if (request->body.capacity > KEPT_MAX)
		ob_buf_free(&request->body);
	ob_buf_reset(&request->body);
	receive_arrival_reset(&request->arrival);
	ob_list_push_front(&server->spare, &request->link);
	server->open--;
}

void
receive_requests_free(struct receive_server *server)
{
	struct ob_list *next;

	for (struct ob_list *link = server->spare.next; link != &server->spare; link = next) {
		struct receive_request *request =
		    OB_CONTAINER_OF(link, struct receive_request, link);

		next = link->next;
		ob_buf_free(&request->body);
		receive_arrival_free(&request->arrival);
		free(request);
	}
	ob_list_init(&server->spare);
}

/* ---- judging what came ---- */

static enum MHD_Result
note_field(void *closure, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	return receive_arrival_field(closure, name, value) ? MHD_YES : MHD_NO;
}

static bool
is_verified(const struct receive_server *server, const struct receive_request *request)
{
	const struct receive_arrival *arrival = &request->arrival;
	struct ob_webhook_request signed_one = {
	    .id = receive_arrival_find(arrival, "webhook-id"),
	    .timestamp = receive_arrival_find(arrival, "webhook-timestamp"),
	    .signature = receive_arrival_find(arrival, "webhook-signature"),
	    .body = {ob_buf_text(&request->body), request->body.size},
	};
	int64_t now_s = server->host->wall_us(server->host->context) / 1000000;

	return ob_webhook_verify(server->config.secrets, server->config.secret_count, &signed_one,
				 now_s, OB_WEBHOOK_TOLERANCE_S, NULL) == OB_OK;
}

/* The whole request is one outcome: when one of its messages is to fail, none is taken. */
static bool
is_to_fail(struct receive_server *server, const struct receive_arrival *arrival)
{
	bool by_number = receive_plan_request(&server->plan),
	     fails = by_number && arrival->event_count == 0;

	for (size_t i = 0; i < arrival->event_count; i++)
		if (receive_plan_fails(&server->plan, arrival->events[i].id, arrival->events[i].key,
				       by_number))
			fails = true;
	return fails;
}

/* All of it or false. */
static bool
write_all(int fd, const struct ob_buf *bytes)
{
	size_t done = 0;

	while (done < bytes->size) {
		ssize_t size = write(fd, bytes->data + done, bytes->size - done);

		if (size < 0 && errno != EINTR)
			return false;
		if (size > 0)
			done += (size_t)size;
	}
	return true;
}

/* Writes a line for each message of the request, in one write, before it is answered: what was answered is on record. */
static bool
record(struct receive_server *server, const struct receive_request *request, bool taken,
       struct receive_line line)
{
	const struct receive_arrival *arrival = &request->arrival;

	ob_buf_reset(&server->line);
	for (size_t i = 0; i < arrival->event_count; i++) {
		line.number = 0;
		line.duplicate = false;
		if (taken) {
			line.number = ++server->counts.taken;
			line.duplicate = receive_plan_taken(&server->plan, arrival->events[i].id);
			server->counts.duplicates += line.duplicate;
		}
		if (!receive_line_write(&server->line, arrival, &arrival->events[i], &line))
			return false;
	}
	if (server->log >= 0 && !write_all(server->log, &server->line))
		return false;
	return server->config.quiet || write_all(STDOUT_FILENO, &server->line);
}

static bool
is_success(unsigned status)
{
	return status >= 200 && status < 300;
}

/* Takes the request or refuses it: sets its status, and how it fails. */
static void
judge(struct receive_server *server, struct receive_request *request)
{
	const struct receive_config *config = &server->config;
	struct receive_arrival *arrival = &request->arrival;
	struct ob_bytes body = {ob_buf_text(&request->body), request->body.size};
	struct receive_line line = {.checked = config->secret_count > 0};
	bool readable;

	server->active_at_us = server->counts.last_us = now_us(server);
	if (server->counts.requests++ == 0)
		server->counts.first_us = server->active_at_us;
	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, note_field, arrival);
	readable = receive_arrival_read(arrival, body);
	line.verified = line.checked && is_verified(server, request);
	request->how = RECEIVE_STATUS;
	request->status = config->status;
	if (line.checked && !line.verified) {
		server->counts.unverified++;
		request->status = MHD_HTTP_UNAUTHORIZED;
	} else if (!readable) {
		server->counts.unreadable++;
		request->status = MHD_HTTP_BAD_REQUEST;
	} else if (is_to_fail(server, arrival)) {
		server->counts.failed++;
		request->how = config->fail_with;
		request->status = config->fail_status;
	}
	line.status = request->how == RECEIVE_STATUS ? request->status : 0;
	if (!record(server, request, is_success(line.status), line)) {
		server->broken = true;
		request->how = RECEIVE_STATUS;
		request->status = MHD_HTTP_INSUFFICIENT_STORAGE;
	}
}

/* ---- answering ---- */

static enum MHD_Result
answer(struct receive_server *server, struct receive_request *request)
{
	return MHD_queue_response(request->connection, request->status,
				  is_success(request->status) ? server->answer : server->refusal);
}

/* Writes past MHD, which is to close the connection then. What the socket does not take at once is dropped. */
static void
write_raw(const struct receive_request *request, const char *bytes, size_t size)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (info != NULL && send(info->connect_fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

/* The list is in the order of the times; most requests wait equally long, so the place is found from its end. */
static void
wait_until(struct receive_server *server, struct receive_request *request, int64_t due_us)
{
	struct ob_list *place = &server->waiting;

	request->due_us = due_us;
	while (place->prev != &server->waiting &&
	       OB_CONTAINER_OF(place->prev, struct receive_request, link)->due_us > due_us)
		place = place->prev;
	ob_list_insert_before(place, &request->link);
}

static enum MHD_Result
suspend_until(struct receive_server *server, struct receive_request *request,
	      enum receive_state state, int64_t due_us)
{
	if (server->going_down)
		return MHD_NO;
	request->state = state;
	wait_until(server, request, due_us);
	MHD_suspend_connection(request->connection);
	return MHD_YES;
}

/* Does what was judged; MHD_NO closes the connection without an answer. */
static enum MHD_Result
act(struct receive_server *server, struct receive_request *request)
{
	static const char garbage[] = "\x16\x03\x01 this is no HTTP\r\n\r\n\0\xff\xfe";
	static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nand here it";
	static const char slow[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";

	switch (request->how) {
	case RECEIVE_STATUS:
		return answer(server, request);
	case RECEIVE_CLOSE:
		return MHD_NO;
	case RECEIVE_GARBAGE:
		write_raw(request, garbage, sizeof(garbage) - 1);
		return MHD_NO;
	case RECEIVE_CUT:
		write_raw(request, half, sizeof(half) - 1);
		return MHD_NO;
	case RECEIVE_SLOW:
		write_raw(request, slow, sizeof(slow) - 1);
		return suspend_until(server, request, RECEIVE_DRIPPING,
				     now_us(server) + SLOW_STEP_US);
	case RECEIVE_HANG:
		break;
	}
	return suspend_until(server, request, RECEIVE_HANGING, INT64_MAX);
}

static enum MHD_Result
finish(struct receive_server *server, struct receive_request *request)
{
	if (request->body.failed) {
		request->status = MHD_HTTP_CONTENT_TOO_LARGE;
		return answer(server, request);
	}
	judge(server, request);
	if (server->config.delay_ms > 0)
		return suspend_until(server, request, RECEIVE_DELAYED,
				     now_us(server) + server->config.delay_ms * 1000);
	return act(server, request);
}

/* Called again for a request whose connection was resumed. */
static enum MHD_Result
go_on(struct receive_server *server, struct receive_request *request)
{
	enum receive_state state = request->state;

	request->state = RECEIVE_ENDING;
	return state == RECEIVE_DELAYED ? act(server, request) : MHD_NO;
}

enum MHD_Result
receive_request_handle(void *closure, struct MHD_Connection *connection, const char *url,
		       const char *method, const char *version, const char *upload,
		       size_t *upload_size, void **context)
{
	struct receive_server *server = closure;
	struct receive_request *request = *context;

	(void)url;
	(void)version;
	if (request == NULL) {
		*context = request_new(server, connection);
		return *context == NULL ? MHD_NO : MHD_YES;
	}
	if (request->state != RECEIVE_READING)
		return go_on(server, request);
	if (*upload_size > 0) {
		/* A body past the limit is read to its end and answered then, as curl wants it. */
		ob_buf_append(&request->body, upload, *upload_size);
		*upload_size = 0;
		return MHD_YES;
	}
	if (strcmp(method, "POST") != 0) {
		request->status = MHD_HTTP_METHOD_NOT_ALLOWED;
		return answer(server, request);
	}
	return finish(server, request);
}

/* One more byte of a slow answer; it waits on. */
static void
drip(struct receive_server *server, struct receive_request *request)
{
	write_raw(request, ".", 1);
	wait_until(server, request, now_us(server) + SLOW_STEP_US);
}

int64_t
receive_requests_due(struct receive_server *server, bool all)
{
	struct ob_list *link;
	int64_t now = now_us(server);

	while ((link = ob_list_first(&server->waiting)) != NULL) {
		struct receive_request *request =
		    OB_CONTAINER_OF(link, struct receive_request, link);

		if (!all && request->due_us > now)
			return request->due_us;
		ob_list_remove(link);
		if (!all && request->state == RECEIVE_DRIPPING) {
			drip(server, request);
			continue;
		}
		MHD_resume_connection(request->connection);
		server->resumed = true;
	}
	return INT64_MAX;
}
