#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "request.h"
#include "text.h"

#define LINE_MAX_SIZE    ((size_t)1024 * 1024 * 1024)
#define CONNECTIONS_MAX  2000
#define HEADERS_SIZE_MAX ((size_t)512 * 1024)
/* How long answers may take to leave once the end is reached. */
#define LINGER_US 2000000

static int64_t
server_now_us(const struct receive_server *server)
{
	return server->host->monotonic_us(server->host->context);
}

/* ---- the socket ---- */

/* "127.0.0.1:8181", "[::1]:0", or a port alone. */
static int
parse_address(struct receive_server *server, struct ob_error *error)
{
	const char *text = server->config.listen, *colon = strrchr(text, ':');
	const char *port_text = colon == NULL ? text : colon + 1;
	struct sockaddr_in *four = (struct sockaddr_in *)&server->address;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&server->address;
	char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
	size_t size = colon == NULL ? 0 : (size_t)(colon - text);
	int64_t port;

	if (size >= sizeof(host) || !ob_text_to_int64(port_text, &port) || port < 0 || port > 65535)
		goto wrong;
	if (size > 0) {
		memcpy(host, text, size);
		host[size] = '\0';
	}
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
		server->address_size = sizeof(*four);
		return OB_OK;
	}
	if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
		host[size - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &six->sin6_addr) == 1) {
			six->sin6_family = AF_INET6;
			six->sin6_port = htons((uint16_t)port);
			server->address_size = sizeof(*six);
			return OB_OK;
		}
	}
wrong:
	return ob_error_set(
	    error, OB_USAGE,
	    "--listen %s: give an address and a port, such as 127.0.0.1:8181 or [::1]:0", text);
}

static unsigned
server_port(const struct receive_server *server)
{
	return ntohs(server->address.ss_family == AF_INET6
			 ? ((const struct sockaddr_in6 *)&server->address)->sin6_port
			 : ((const struct sockaddr_in *)&server->address)->sin_port);
}

void
receive_server_url(const struct receive_server *server, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (server->address.ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&server->address)->sin6_addr,
			  host, sizeof(host));
	else
		inet_ntop(AF_INET, &((const struct sockaddr_in *)&server->address)->sin_addr, host,
			  sizeof(host));
	snprintf(out, size,
		 server->address.ss_family == AF_INET6 ? "http://[%s]:%u/" : "http://%s:%u/", host,
		 server_port(server));
}

/* Listens on the address, and notes the port if any was asked for. Its descriptor, or -1 with errno. */
static int
listen_on(struct receive_server *server)
{
	int fd = socket(server->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int on = 1;
	int number;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, (const struct sockaddr *)&server->address, server->address_size) == 0 &&
	    listen(fd, SOMAXCONN) == 0 &&
	    getsockname(fd, (struct sockaddr *)&server->address, &server->address_size) == 0)
		return fd;
	number = errno;
	close(fd);
	errno = number;
	return -1;
}

static int
server_up(struct receive_server *server, struct ob_error *error)
{
	int fd = listen_on(server);

	if (fd < 0)
		return ob_error_set(error, OB_FAILED, "--listen %s: %s", server->config.listen,
				    strerror(errno));
	server->daemon =
	    MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO, 0, NULL,
			     NULL, receive_request_handle, server, MHD_OPTION_LISTEN_SOCKET, fd,
			     MHD_OPTION_NOTIFY_COMPLETED, receive_request_completed, server,
			     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
			     MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADERS_SIZE_MAX, MHD_OPTION_END);
	if (server->daemon == NULL) {
		close(fd);
		return ob_error_set(error, OB_FAILED, "the HTTP server cannot be started");
	}
	server->up_at_us = 0;
	return OB_OK;
}

/* Closes the socket and every connection, so that a sender is refused. */
static void
server_down(struct receive_server *server)
{
	if (server->daemon == NULL)
		return;
	/* MHD must not be stopped while a connection is suspended. */
	server->going_down = true;
	receive_requests_due(server, true);
	MHD_run(server->daemon);
	MHD_stop_daemon(server->daemon);
	server->daemon = NULL;
	server->going_down = false;
}

/* ---- start and stop ---- */

/* By a new name first: whoever waits for the file must not read half of it. */
static int
write_port_file(const struct receive_server *server, struct ob_error *error)
{
	const char *path = server->config.port_file;
	char name[PATH_MAX];
	FILE *file;
	bool ok;

	if (path == NULL)
		return OB_OK;
	if ((size_t)snprintf(name, sizeof(name), "%s.new", path) >= sizeof(name))
		return ob_error_set(error, OB_USAGE, "--port-file: the name is too long");
	file = fopen(name, "we");
	ok = file != NULL && fprintf(file, "%u\n", server_port(server)) > 0;
	if (file != NULL && fclose(file) != 0)
		ok = false;
	if (!ok || rename(name, path) != 0)
		return ob_error_set(error, OB_FAILED, "--port-file %s: %s", path, strerror(errno));
	return OB_OK;
}

static bool
make_responses(struct receive_server *server)
{
	static char nothing[] = "";
	char seconds[24];

	server->answer = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
	server->refusal = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
	if (server->answer == NULL || server->refusal == NULL)
		return false;
	if (server->config.retry_after_s < 0)
		return true;
	snprintf(seconds, sizeof(seconds), "%lld", (long long)server->config.retry_after_s);
	return MHD_add_response_header(server->refusal, "Retry-After", seconds) == MHD_YES;
}

int
receive_server_start(struct receive_server *server, struct ob_error *error)
{
	unsigned char random[16];
	int rc;

	server->log = -1;
	ob_list_init(&server->waiting);
	ob_list_init(&server->spare);
	ob_buf_init(&server->line, LINE_MAX_SIZE);
	server->host->random(server->host->context, random, sizeof(random));
	if (!receive_plan_open(&server->plan, random) || !make_responses(server))
		return ob_error_set(error, OB_NOMEM, "no memory");
	if (server->config.log != NULL) {
		server->log =
		    open(server->config.log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
		if (server->log < 0)
			return ob_error_set(error, OB_FAILED, "--log %s: %s", server->config.log,
					    strerror(errno));
	}
	rc = parse_address(server, error);
	if (rc == OB_OK)
		rc = server_up(server, error);
	if (rc == OB_OK)
		rc = write_port_file(server, error);
	return rc;
}

void
receive_server_stop(struct receive_server *server)
{
	server_down(server);
	receive_requests_free(server);
	receive_plan_close(&server->plan);
	ob_buf_free(&server->line);
	if (server->answer != NULL)
		MHD_destroy_response(server->answer);
	if (server->refusal != NULL)
		MHD_destroy_response(server->refusal);
	server->answer = server->refusal = NULL;
	if (server->log >= 0)
		close(server->log);
	server->log = -1;
}

/* ---- the loop ---- */

static bool
is_done(const struct receive_server *server, int64_t now_us)
{
	const struct receive_config *config = &server->config;

	return server->broken ||
	       (config->count > 0 && server->counts.taken >= (uint64_t)config->count) ||
	       (config->idle_ms > 0 && server->open == 0 &&
		now_us >= server->active_at_us + config->idle_ms * 1000);
}

/* Goes down when it is time to, once the answers have left, and up again. */
static int
keep_up(struct receive_server *server, int64_t now_us, struct ob_error *error)
{
	const struct receive_config *config = &server->config;

	if (server->up_at_us != 0 && now_us >= server->up_at_us)
		return server_up(server, error);
	if (server->went_down || config->down_after < 0 || server->open > 0 ||
	    server->counts.taken < (uint64_t)config->down_after)
		return OB_OK;
	server->went_down = true;
	server_down(server);
	server->up_at_us = now_us + config->down_for_ms * 1000;
	return OB_OK;
}

/* Until when the loop may sleep. */
static int64_t
next_due_us(struct receive_server *server)
{
	int64_t until_us =
	    server->daemon == NULL ? server->up_at_us : receive_requests_due(server, false);
	int64_t idle_us = server->active_at_us + server->config.idle_ms * 1000;

	if (server->config.idle_ms > 0 && idle_us < until_us)
		until_us = idle_us;
	return until_us;
}

/* Waits for requests, for the stop, or for what is due, and serves. True when it is to stop. */
static bool
serve(struct receive_server *server, int stop_fd, int64_t until_us)
{
	const union MHD_DaemonInfo *info =
	    server->daemon == NULL ? NULL
				   : MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	struct pollfd fds[] = {{.fd = stop_fd, .events = POLLIN},
			       {.fd = info == NULL ? -1 : info->epoll_fd, .events = POLLIN}};
	int64_t now_us = server_now_us(server);
	int64_t left_ms = until_us <= now_us ? 0 : (until_us - now_us + 999) / 1000;
	MHD_UNSIGNED_LONG_LONG mhd_ms;

	if (left_ms > 1000)
		left_ms = 1000;
	if (server->resumed)
		left_ms = 0;
	server->resumed = false;
	if (server->daemon != NULL && MHD_get_timeout(server->daemon, &mhd_ms) == MHD_YES &&
	    (int64_t)mhd_ms < left_ms)
		left_ms = (int64_t)mhd_ms;
	if (poll(fds, 2, (int)left_ms) > 0 && fds[0].revents != 0)
		return true;
	if (server->daemon != NULL)
		MHD_run(server->daemon);
	return false;
}

/* Lets the answers that were given leave. */
static void
linger(struct receive_server *server)
{
	int64_t until_us = server_now_us(server) + LINGER_US;

	while (server->daemon != NULL && server->open > 0 && server_now_us(server) < until_us) {
		int64_t due_us = receive_requests_due(server, false);

		serve(server, -1, due_us < until_us ? due_us : until_us);
	}
}

int
receive_server_run(struct receive_server *server, int stop_fd, struct ob_error *error)
{
	int64_t now_us = server_now_us(server);

	server->active_at_us = now_us;
	while (!is_done(server, now_us)) {
		int rc = keep_up(server, now_us, error);

		if (rc != OB_OK)
			return rc;
		if (serve(server, stop_fd, next_due_us(server)))
			return OB_OK;
		now_us = server_now_us(server);
	}
	linger(server);
	if (server->broken)
		return ob_error_set(error, OB_FAILED, "what arrived cannot be written down: %s",
				    strerror(errno));
	return OB_OK;
}
