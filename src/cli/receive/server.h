/*
 * The recipient itself: an HTTP server in one thread, with a loop of its own (`receive_server_run`). It takes messages,
 * writes a line for each before it answers, and misbehaves as its plan says.
 */
#ifndef OB_CLI_SERVER_H
#define OB_CLI_SERVER_H

#include <outbox/error.h>
#include <outbox/host.h>
#include <sys/socket.h>

#include "arrival.h"
#include "list.h"
#include "plan.h"

#define RECEIVE_SECRETS_MAX 10

struct receive_config {
	const char *listen; /* ADDR:PORT */
	const char *port_file;
	const char *log;
	const char *secrets[RECEIVE_SECRETS_MAX];
	size_t secret_count;
	bool quiet;
	unsigned status;      /* of what is taken */
	unsigned fail_status; /* of what is not */
	enum receive_how fail_with;
	int64_t retry_after_s; /* sent with a failure; -1: not sent */
	int64_t delay_ms;      /* before each answer */
	int64_t count;         /* ends after so many were taken; 0: does not */
	int64_t idle_ms;       /* ends when nothing came for so long; 0: does not */
	int64_t down_after;    /* goes down after so many were taken; -1: does not */
	int64_t down_for_ms;
	int64_t body_max;
};

struct receive_counts {
	uint64_t requests, taken, duplicates, failed, unverified, unreadable;
	int64_t first_us, last_us; /* when the first and the last request came; 0: none */
};

struct MHD_Daemon;
struct MHD_Response;

struct receive_server {
	struct receive_config config;
	const struct ob_host *host;
	struct receive_plan plan;
	struct receive_counts counts;
	struct MHD_Daemon *daemon;
	struct MHD_Response *answer, *refusal;
	struct sockaddr_storage address; /* that it listens on, with its port */
	socklen_t address_size;
	int log;                /* -1: none */
	struct ob_list waiting; /* requests whose answer is due later, by when */
	struct ob_list spare;   /* requests that are not in use */
	struct ob_buf line;
	unsigned open;   /* requests that are not completed */
	bool broken;     /* stdout or the log cannot be written: nothing more is taken */
	bool going_down; /* nothing may wait any more */
	bool
	    resumed; /* a connection goes on at the next run, of which its time-out knows nothing */
	bool went_down;
	int64_t up_at_us;     /* 0: it is up */
	int64_t active_at_us; /* when something came last */
};

/* Listens. The struct is zeroed but for `config` and `host`; strings of config must outlive it. */
int receive_server_start(struct receive_server *server, struct ob_error *error);
/* Serves until the count is reached, nothing came for long enough, or `stop_fd` is readable. */
int receive_server_run(struct receive_server *server, int stop_fd, struct ob_error *error);
/* Safe on a zeroed struct whose `log` is -1. */
void receive_server_stop(struct receive_server *server);
/* "http://127.0.0.1:8181/" */
void receive_server_url(const struct receive_server *server, char *out, size_t size);

#endif
