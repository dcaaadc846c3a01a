/* A request that is being received, or waits for its answer. */
#ifndef OB_CLI_REQUEST_H
#define OB_CLI_REQUEST_H

#include <microhttpd.h>

#include "server.h"

enum receive_state {
	RECEIVE_READING = 0,
	/* Suspended, and in the server's `waiting`: */
	RECEIVE_DELAYED,  /* until its answer is due */
	RECEIVE_DRIPPING, /* until the next byte of a slow answer is due */
	RECEIVE_HANGING,  /* for ever */
	/* Resumed. */
	RECEIVE_ENDING,
};

struct receive_request {
	struct ob_list link; /* in `waiting` or `spare` */
	struct MHD_Connection *connection;
	enum receive_state state;
	enum receive_how how;
	unsigned status;
	int64_t due_us;
	struct ob_buf body;
	struct receive_arrival arrival;
};

/* MHD's callback for requests; `closure` is the server. */
enum MHD_Result receive_request_handle(void *closure, struct MHD_Connection *connection,
				       const char *url, const char *method, const char *version,
				       const char *upload, size_t *upload_size, void **context);
/* MHD's callback for the end of one. */
void receive_request_completed(void *closure, struct MHD_Connection *connection, void **context,
			       enum MHD_RequestTerminationCode why);
/* Goes on with those whose time has come; with `all`, with all of them. When the next one is due, INT64_MAX: none. */
int64_t receive_requests_due(struct receive_server *server, bool all);
/* Frees those that are spare. */
void receive_requests_free(struct receive_server *server);

#endif
