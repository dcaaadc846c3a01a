#include "http_recipient.h"

#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define HEAD_MAX        65536

struct http_recipient {
	http_arrived_fn arrived;
	void *context;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t acceptor;
	int listener, port;
	bool down, hang, stopping;
	int fds[CONNECTIONS_MAX]; /* 0: free */
	unsigned connections;
};

struct connection {
	struct http_recipient *recipient;
	int slot, fd;
};

static int
listener_open(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert(fd > 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	assert(listen(fd, 64) == 0);
	return fd;
}

/* Reads until there is a whole head; its size with the empty line, or 0 when the other side has gone. */
static size_t
read_head(int fd, char *bytes, size_t *used)
{
	for (;;) {
		char *end = memmem(bytes, *used, "\r\n\r\n", 4);
		ssize_t got;

		if (end != NULL)
			return (size_t)(end - bytes) + 4;
		if (*used == HEAD_MAX)
			return 0;
		got = recv(fd, bytes + *used, HEAD_MAX - *used, 0);
		if (got <= 0)
			return 0;
		*used += (size_t)got;
	}
}

static bool
header_of(const char *head, size_t size, const char *name, char *value, size_t value_size)
{
	const char *at = head, *end = head + size;
	size_t name_size = strlen(name);

	while (at < end) {
		const char *stop = memchr(at, '\r', (size_t)(end - at));

		if (stop == NULL)
			break;
		if ((size_t)(stop - at) > name_size && at[name_size] == ':' &&
		    strncasecmp(at, name, name_size) == 0) {
			at += name_size + 1;
			while (at < stop && *at == ' ')
				at++;
			snprintf(value, value_size, "%.*s", (int)(stop - at), at);
			return true;
		}
		at = stop + 2;
	}
	return false;
}

static void
wait_while_it_hangs(struct http_recipient *it)
{
	pthread_mutex_lock(&it->lock);
	while (it->hang && !it->stopping && !it->down)
		pthread_cond_wait(&it->changed, &it->lock);
	pthread_mutex_unlock(&it->lock);
}

static bool
serve_one(struct http_recipient *it, int fd, char *bytes, size_t *used)
{
	struct http_arrived arrived = {0};
	char text[256], answer[160];
	size_t head = read_head(fd, bytes, used), size, had;
	char *body;
	int status;

	if (head == 0)
		return false;
	size = header_of(bytes, head, "content-length", text, sizeof(text))
		   ? strtoul(text, NULL, 10)
		   : 0;
	body = malloc(size + 1);
	assert(body != NULL);
	had = *used - head < size ? *used - head : size;
	memcpy(body, bytes + head, had);
	while (had < size) {
		ssize_t got = recv(fd, body + had, size - had, 0);

		if (got <= 0)
			break;
		had += (size_t)got;
	}
	wait_while_it_hangs(it);
	if (had < size) {
		free(body);
		return false;
	}
	body[size] = '\0';
	header_of(bytes, head, "webhook-id", arrived.id, sizeof(arrived.id));
	arrived.has_type = header_of(bytes, head, "content-type", text, sizeof(text));
	arrived.body = body;
	arrived.size = size;
	pthread_mutex_lock(&it->lock);
	status = it->down || it->stopping ? 0 : it->arrived(it->context, &arrived);
	pthread_mutex_unlock(&it->lock);
	free(body);
	*used = *used > head + size ? *used - head - size : 0;
	memmove(bytes, bytes + head + size, *used);
	if (status == 0)
		return false;
	snprintf(answer, sizeof(answer), "HTTP/1.1 %d Said\r\nContent-Length: 5\r\n\r\nwell\n",
		 status);
	return send(fd, answer, strlen(answer), MSG_NOSIGNAL) > 0;
}

static void *
serve(void *context)
{
	struct connection *connection = context;
	struct http_recipient *it = connection->recipient;
	char *bytes = malloc(HEAD_MAX);
	size_t used = 0;

	assert(bytes != NULL);
	do
		wait_while_it_hangs(it);
	while (serve_one(it, connection->fd, bytes, &used));
	free(bytes);
	pthread_mutex_lock(&it->lock);
	close(connection->fd);
	it->fds[connection->slot] = 0;
	it->connections--;
	pthread_cond_broadcast(&it->changed);
	pthread_mutex_unlock(&it->lock);
	free(connection);
	return NULL;
}

/* Under the lock. */
static void
connection_begin(struct http_recipient *it, int fd)
{
	struct connection *connection = malloc(sizeof(*connection));
	pthread_t thread;
	int slot = 0;

	assert(connection != NULL);
	while (slot < CONNECTIONS_MAX && it->fds[slot] != 0)
		slot++;
	assert(slot < CONNECTIONS_MAX);
	it->fds[slot] = fd;
	it->connections++;
	*connection = (struct connection){.recipient = it, .slot = slot, .fd = fd};
	assert(pthread_create(&thread, NULL, serve, connection) == 0);
	pthread_detach(thread);
}

static void *
accept_all(void *context)
{
	struct http_recipient *it = context;

	pthread_mutex_lock(&it->lock);
	while (!it->stopping) {
		int listener = it->listener, fd;

		if (it->down) {
			pthread_cond_wait(&it->changed, &it->lock);
			continue;
		}
		pthread_mutex_unlock(&it->lock);
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pthread_mutex_lock(&it->lock);
		if (fd > 0 && !it->down && !it->stopping)
			connection_begin(it, fd);
		else if (fd > 0)
			close(fd);
	}
	pthread_mutex_unlock(&it->lock);
	return NULL;
}

struct http_recipient *
http_recipient_start(http_arrived_fn arrived, void *context)
{
	struct http_recipient *it = calloc(1, sizeof(*it));
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	assert(it != NULL);
	it->arrived = arrived;
	it->context = context;
	pthread_mutex_init(&it->lock, NULL);
	pthread_cond_init(&it->changed, NULL);
	it->listener = listener_open(0);
	assert(getsockname(it->listener, (struct sockaddr *)&address, &size) == 0);
	it->port = ntohs(address.sin_port);
	assert(pthread_create(&it->acceptor, NULL, accept_all, it) == 0);
	return it;
}

/* Under the lock. */
static void
end_connections(struct http_recipient *it)
{
	shutdown(it->listener, SHUT_RDWR);
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		if (it->fds[i] != 0)
			shutdown(it->fds[i], SHUT_RDWR);
	pthread_cond_broadcast(&it->changed);
	while (it->connections > 0)
		pthread_cond_wait(&it->changed, &it->lock);
}

void
http_recipient_down(struct http_recipient *it, bool down)
{
	pthread_mutex_lock(&it->lock);
	it->down = down;
	if (down) {
		end_connections(it);
		close(it->listener);
	} else {
		it->listener = listener_open(it->port);
	}
	pthread_cond_broadcast(&it->changed);
	pthread_mutex_unlock(&it->lock);
}

void
http_recipient_hang(struct http_recipient *it, bool hang)
{
	pthread_mutex_lock(&it->lock);
	it->hang = hang;
	pthread_cond_broadcast(&it->changed);
	pthread_mutex_unlock(&it->lock);
}

void
http_recipient_stop(struct http_recipient *it)
{
	pthread_mutex_lock(&it->lock);
	it->stopping = true;
	end_connections(it);
	pthread_mutex_unlock(&it->lock);
	pthread_join(it->acceptor, NULL);
	close(it->listener);
	pthread_cond_destroy(&it->changed);
	pthread_mutex_destroy(&it->lock);
	free(it);
}

int
http_recipient_port(const struct http_recipient *it)
{
	return it->port;
}
