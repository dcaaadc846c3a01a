/*
 * libcurl's sockets and timers in one epoll.
 *
 * curl_multi_socket_action does work for the sockets that have something to say, and for no others. Told naively, though,
 * epoll would hear of each socket twice a request, since libcurl lets go of a connection that is idle and takes it up
 * again for the next request. So a socket of our own stays registered for reading while it is idle, and is taken out only when
 * it speaks up without being asked (the recipient closed it); a request on a connection that stands costs no call.
 * Sockets that libcurl makes for itself (its resolver's) close without a word to us, so they are taken out at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_sink.h"

#define EVENTS_MAX 64

static struct http_socket *
socket_at(struct http_loop *loop, curl_socket_t fd)
{
	size_t needed = (size_t)fd + 1;

	if (needed > loop->socket_count) {
		size_t count = needed < 64 ? 64 : 2 * needed;
		struct http_socket *sockets = realloc(loop->sockets, count * sizeof(*sockets));

		if (sockets == NULL)
			return NULL;
		memset(sockets + loop->socket_count, 0,
		       (count - loop->socket_count) * sizeof(*sockets));
		loop->sockets = sockets;
		loop->socket_count = count;
	}
	return &loop->sockets[fd];
}

static void
socket_register(struct http_loop *loop, curl_socket_t fd, struct http_socket *it, uint8_t wanted)
{
	struct epoll_event event = {.data.fd = fd};

	if ((wanted & CURL_POLL_IN) != 0)
		event.events |= EPOLLIN;
	if ((wanted & CURL_POLL_OUT) != 0)
		event.events |= EPOLLOUT;
	/* ENOENT: it was closed and its number given out again behind our back. */
	if (it->registered == 0 || epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	it->registered = wanted;
}

static void
socket_unregister(struct http_loop *loop, curl_socket_t fd, struct http_socket *it)
{
	if (it->registered != 0)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	it->registered = 0;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *unused)
{
	struct http_loop *loop = context;
	struct http_socket *it = socket_at(loop, fd);

	(void)easy;
	(void)unused;
	if (it == NULL)
		return -1;
	if (what == CURL_POLL_REMOVE) {
		it->wanted = 0;
		if (!it->is_ours)
			socket_unregister(loop, fd, it);
		return 0;
	}
	it->wanted = (uint8_t)what;
	if (it->registered != it->wanted)
		socket_register(loop, fd, it, it->wanted);
	return 0;
}

static curl_socket_t
on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_loop *loop = context;
	curl_socket_t fd =
	    socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	struct http_socket *it;

	(void)purpose;
	if (fd == CURL_SOCKET_BAD)
		return CURL_SOCKET_BAD;
	it = socket_at(loop, fd);
	if (it == NULL) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	*it = (struct http_socket){.is_ours = true};
	return fd;
}

static int
on_close(void *context, curl_socket_t fd)
{
	struct http_loop *loop = context;

	/* Closing takes it out of epoll. */
	if ((size_t)fd < loop->socket_count)
		loop->sockets[fd] = (struct http_socket){0};
	return close(fd);
}

static int
on_timer(CURLM *multi, long timeout_ms, void *context)
{
	struct http_sink *http = context;

	(void)multi;
	http->loop.due_us = timeout_ms < 0 ? -1 : http_now_us(http) + timeout_ms * 1000;
	return 0;
}

static int
multi_open(struct http_sink *http, struct ob_error *error)
{
	CURLM *multi = curl_multi_init();

	if (multi == NULL)
		return ob_error_set(error, OB_NOMEM, "sink http: no memory");
	http->loop.multi = multi;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, &http->loop);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)http->connections);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)http->connections);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	return OB_OK;
}

int
http_loop_open(struct http_sink *http, struct ob_error *error)
{
	struct http_loop *loop = &http->loop;
	struct epoll_event event = {.events = EPOLLIN};
	int code;

	loop->due_us = -1;
	if (!loop->wake.is_open && (code = ob_wake_open(&loop->wake, error)) != OB_OK)
		return code;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return ob_error_set(error, OB_FAILED, "sink http: epoll: %s", strerror(errno));
	event.data.fd = loop->wake.fd;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake.fd, &event) != 0)
		return ob_error_set(error, OB_FAILED, "sink http: epoll: %s", strerror(errno));
	return multi_open(http, error);
}

void
http_loop_close(struct http_loop *loop)
{
	if (loop->multi != NULL)
		curl_multi_cleanup(loop->multi);
	loop->multi = NULL;
	if (loop->epoll_fd > 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
	free(loop->sockets);
	loop->sockets = NULL;
	loop->socket_count = 0;
}

void
http_loop_setup_easy(struct http_sink *http, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &http->loop);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, &http->loop);
}

static void
on_event(struct http_loop *loop, const struct epoll_event *event)
{
	int fd = event->data.fd, mask = 0, running;
	struct http_socket *it;

	if (fd == loop->wake.fd) {
		ob_wake_clear(&loop->wake);
		loop->was_woken = true;
		return;
	}
	it = &loop->sockets[fd];
	if (it->wanted == 0) {
		socket_unregister(loop, fd, it);
		return;
	}
	if ((event->events & (EPOLLIN | EPOLLHUP)) != 0)
		mask |= CURL_CSELECT_IN;
	if ((event->events & EPOLLOUT) != 0)
		mask |= CURL_CSELECT_OUT;
	if ((event->events & EPOLLERR) != 0)
		mask |= CURL_CSELECT_ERR;
	curl_multi_socket_action(loop->multi, fd, mask, &running);
}

/* How long to wait: no longer than the timer allows, rounded up so as not to turn idly before it is due. */
static int
wait_ms(const struct http_loop *loop, int timeout_ms, int64_t now_us)
{
	int64_t left_ms;

	if (loop->due_us < 0)
		return timeout_ms;
	left_ms = loop->due_us <= now_us ? 0 : (loop->due_us - now_us + 999) / 1000;
	return timeout_ms >= 0 && timeout_ms < left_ms ? timeout_ms : (int)left_ms;
}

static void
run_timer(struct http_sink *http)
{
	struct http_loop *loop = &http->loop;
	int running;

	/* A request that was just added stands in the timer, with nothing to wait for. */
	if (loop->due_us < 0 || loop->due_us > http_now_us(http))
		return;
	loop->due_us = -1;
	curl_multi_socket_action(loop->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

void
http_loop_run(struct http_sink *http, int timeout_ms)
{
	struct http_loop *loop = &http->loop;
	struct epoll_event events[EVENTS_MAX];
	int count;

	run_timer(http);
	/* A transfer may have ended already: refused, or nothing to wait for. */
	http_requests_collect(http);
	if (http->done_count > 0)
		timeout_ms = 0;
	if (timeout_ms != 0)
		timeout_ms = wait_ms(loop, timeout_ms, http_now_us(http));
	count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, timeout_ms);
	for (int i = 0; i < count; i++)
		on_event(loop, &events[i]);
	if (timeout_ms != 0)
		run_timer(http);
	http_requests_collect(http);
}
