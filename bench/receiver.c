/*
 * An HTTP receiver that does next to nothing, so that benchmarks measure the sender: one thread,
 * epoll, keep-alive, answers 204 to every request. With --log it notes which message arrived when,
 * with --lines what arrived.
 *
 * usage: bench-receiver [--port N] [--port-file FILE] [--work-us N] [--log FILE] [--count N]
 *                       [--lines FILE]
 *
 * --work-us burns that much CPU for each request, for a receiver that is slower than any sender.
 * --log     writes "<webhook-id> <CLOCK_MONOTONIC ns>" for each request, at the end.
 * --lines   appends "<webhook-id> <first line of the body>" once a request is there as a whole, and
 *           answers only then; a request may have 60 KiB.
 * --count   ends after so many requests; else SIGTERM ends it. Prints "<requests> <seconds from
 * first to last>".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ID_MAX 40

struct connection {
	int fd;
	size_t used;
	size_t body_left; /* bytes of a body still to come after the head was dealt with */
	char bytes[64 * 1024];
};

struct arrival {
	char id[ID_MAX];
	int64_t at_ns;
};

static struct {
	int64_t work_ns;
	uint64_t count_max, count;
	int64_t first_ns, last_ns;
	const char *log_path;
	FILE *lines;
	struct arrival *arrivals;
	size_t arrival_capacity;
} state;

static volatile sig_atomic_t stopping;

static void
on_term(int signal_number)
{
	(void)signal_number;
	stopping = 1;
}

static int64_t
now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void
die(const char *what)
{
	fprintf(stderr, "bench-receiver: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The value of a header in [head, end), or NULL; `*size` is its length. */
static const char *
header_find(const char *head, const char *end, const char *name, size_t *size)
{
	size_t name_size = strlen(name);

	for (const char *line = head; line != NULL && line < end;) {
		const char *eol = memchr(line, '\n', (size_t)(end - line));
		if (eol == NULL)
			return NULL;
		if ((size_t)(eol - line) > name_size && line[name_size] == ':' &&
		    strncasecmp(line, name, name_size) == 0) {
			const char *value = line + name_size + 1;
			while (value < eol && *value == ' ')
				value++;
			*size = (size_t)(eol - value);
			while (*size > 0 && (value[*size - 1] == '\r' || value[*size - 1] == ' '))
				(*size)--;
			return value;
		}
		line = eol + 1;
	}
	return NULL;
}

static void
arrival_note(const char *head, const char *end)
{
	size_t size = 0;
	const char *id;

	state.last_ns = now_ns();
	if (state.count++ == 0)
		state.first_ns = state.last_ns;
	if (state.log_path == NULL)
		return;
	if (state.count > state.arrival_capacity) {
		state.arrival_capacity =
		    state.arrival_capacity ? 2 * state.arrival_capacity : 65536;
		state.arrivals =
		    realloc(state.arrivals, state.arrival_capacity * sizeof(state.arrivals[0]));
		if (state.arrivals == NULL)
			die("memory");
	}
	struct arrival *arrival = &state.arrivals[state.count - 1];
	memset(arrival, 0, sizeof(*arrival));
	id = header_find(head, end, "webhook-id", &size);
	if (id != NULL)
		memcpy(arrival->id, id, size < ID_MAX - 1 ? size : ID_MAX - 1);
	arrival->at_ns = state.last_ns;
}

static void
line_note(const char *head, const char *body, size_t body_size)
{
	size_t id_size = 0;
	const char *id = header_find(head, body - 2, "webhook-id", &id_size);
	const char *eol = memchr(body, '\n', body_size);

	if (eol != NULL)
		body_size = (size_t)(eol - body);
	if (fprintf(state.lines, "%.*s %.*s\n", (int)id_size, id != NULL ? id : "", (int)body_size,
		    body) < 0)
		die("--lines");
}

/* Deals with one request at the start of the buffer. False when its head is not there yet. */
static bool
request_take(struct connection *c)
{
	static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
	char *end = memmem(c->bytes, c->used, "\r\n\r\n", 4);
	size_t head_size, size = 0, body = 0;

	if (end == NULL)
		return false;
	head_size = (size_t)(end - c->bytes) + 4;
	const char *length = header_find(c->bytes, end + 2, "content-length", &size);
	if (length != NULL)
		body = strtoul(length, NULL, 10);
	if (state.lines != NULL) {
		if (c->used - head_size < body)
			return false;
		line_note(c->bytes, c->bytes + head_size, body);
	}
	arrival_note(c->bytes, end + 2);
	for (int64_t until = now_ns() + state.work_ns; state.work_ns > 0 && now_ns() < until;)
		;
	if (write(c->fd, answer, sizeof(answer) - 1) < 0)
		return false;
	size_t here = c->used - head_size < body ? c->used - head_size : body;
	c->body_left = body - here;
	c->used -= head_size + here;
	memmove(c->bytes, c->bytes + head_size + here, c->used);
	return true;
}

/* False when the connection has ended. */
static bool
connection_read(struct connection *c)
{
	ssize_t got = read(c->fd, c->bytes + c->used, sizeof(c->bytes) - c->used);

	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	size_t skip = c->body_left < (size_t)got ? c->body_left : (size_t)got;
	c->body_left -= skip;
	memmove(c->bytes + c->used, c->bytes + c->used + skip, (size_t)got - skip);
	c->used += (size_t)got - skip;
	while (c->body_left == 0 && c->used > 0 && request_take(c))
		;
	return c->used < sizeof(c->bytes);
}

static int
listen_on(int port, const char *port_file)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t size = sizeof(address);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 256) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		die("listen");
	if (port_file != NULL) {
		FILE *file = fopen(port_file, "w");
		if (file == NULL || fprintf(file, "%d\n", ntohs(address.sin_port)) < 0 ||
		    fclose(file))
			die(port_file);
	}
	return fd;
}

static void
connection_accept(int epoll, int listener)
{
	int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct connection *c;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		die("memory");
	c->fd = fd;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void
serve(int listener)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening) < 0)
		die("epoll");
	while (!stopping && (state.count_max == 0 || state.count < state.count_max)) {
		struct epoll_event events[64];
		int n = epoll_wait(epoll, events, 64, state.lines != NULL ? 0 : 1000);

		/* Whoever follows the lines need not wait once there is nothing else to do. */
		if (n == 0 && state.lines != NULL) {
			fflush(state.lines);
			n = epoll_wait(epoll, events, 64, 1000);
		}

		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			if (c == NULL) {
				connection_accept(epoll, listener);
			} else if (!connection_read(c)) {
				close(c->fd);
				free(c);
			}
		}
	}
	close(epoll);
}

static void
log_write(void)
{
	FILE *file = fopen(state.log_path, "w");

	if (file == NULL)
		die(state.log_path);
	for (uint64_t i = 0; i < state.count; i++)
		fprintf(file, "%s %lld\n", state.arrivals[i].id,
			(long long)state.arrivals[i].at_ns);
	if (fclose(file))
		die(state.log_path);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
						{"port-file", required_argument, NULL, 'f'},
						{"work-us", required_argument, NULL, 'w'},
						{"log", required_argument, NULL, 'l'},
						{"count", required_argument, NULL, 'c'},
						{"lines", required_argument, NULL, 'b'},
						{0}};
	struct sigaction term = {.sa_handler = on_term};
	const char *port_file = NULL;
	int port = 0;

	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (option) {
		case 'p':
			port = (int)strtol(optarg, NULL, 10);
			break;
		case 'f':
			port_file = optarg;
			break;
		case 'w':
			state.work_ns = strtol(optarg, NULL, 10) * 1000;
			break;
		case 'l':
			state.log_path = optarg;
			break;
		case 'b':
			state.lines = fopen(optarg, "a");
			if (state.lines == NULL)
				die(optarg);
			break;
		case 'c':
			state.count_max = strtoull(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	}
	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGINT, &term, NULL);
	signal(SIGPIPE, SIG_IGN);
	serve(listen_on(port, port_file));
	if (state.log_path != NULL)
		log_write();
	if (state.lines != NULL && fclose(state.lines) != 0)
		die("--lines");
	printf("%llu %.6f\n", (unsigned long long)state.count,
	       (double)(state.last_ns - state.first_ns) / 1e9);
	return 0;
}
