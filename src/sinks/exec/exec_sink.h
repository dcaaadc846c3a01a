/* What the two ways of `exec:` share: see exec.c. Belongs to the sink's thread. */
#ifndef OB_SINKS_EXEC_SINK_H
#define OB_SINKS_EXEC_SINK_H

#include <outbox/sink.h>

#include "buf.h"
#include "child.h"
#include "reason.h"
#include "tickets.h"
#include "wake.h"

/* How long a process may take after SIGTERM before it gets SIGKILL. */
#define OB_EXEC_GRACE_US 1000000

struct exec_sink;

/* One way: `work` does all that can be done without waiting, `watch` says what to wait for. */
struct exec_way {
	bool (*open)(struct exec_sink *exec, uint32_t in_flight);
	void (*close)(struct exec_sink *exec);
	void (*limits)(const struct exec_sink *exec, struct ob_sink_limits *limits);
	size_t (*submit)(struct exec_sink *exec, const struct ob_delivery *deliveries,
			 size_t count);
	void (*work)(struct exec_sink *exec);
	/* Writes receipts and forgets their tickets. */
	size_t (*take)(struct exec_sink *exec, struct ob_receipt *receipts, size_t capacity);
	bool (*has_receipt)(const struct exec_sink *exec);
	/* Fills `fds` and says how many; lowers `*until_us` to when something is due. */
	size_t (*watch)(const struct exec_sink *exec, struct pollfd *fds, int64_t *until_us);
	size_t watched_max; /* descriptors for each in flight, and one more set */
	void (*cancel)(struct exec_sink *exec);
};

extern const struct exec_way exec_each;
extern const struct exec_way exec_lines;

struct exec_run;

/* A program for each message. */
struct exec_runs {
	struct exec_run *items;
	uint32_t count;
	struct ob_buf environment; /* of the one that is being started */
	char **pointers;
};

/* One program for all messages. */
struct exec_stream {
	struct ob_child child;
	struct ob_tickets tickets;
	struct ob_reason *reasons; /* as many as tickets.slots */
	struct ob_buf lines, scratch, answers;
	size_t lines_at;    /* how much of `lines` is written */
	uint64_t written;   /* bytes since the program was started; a ticket's mark counts these */
	uint64_t formatted; /* the same, with what is in `lines` */
	uint64_t to_format; /* how many of the waiting tickets are in `lines` */
	int64_t progress_at_us; /* when it answered last, or began to have something to answer */
	int64_t kill_at_us;     /* it was asked to end; 0: it was not */
	bool killed;
	bool has_answered; /* the program that runs has */
};

struct exec_sink {
	struct ob_sink base;
	const struct exec_way *way;
	char *command;
	char *subscription;
	char **environment; /* ours, without what we set; NULL at the end */
	size_t environment_count;
	int64_t timeout_us;
	struct ob_wake wake;
	struct pollfd *fds;
	struct exec_runs runs;
	struct exec_stream stream;
};

static inline int64_t
exec_now_us(const struct exec_sink *exec)
{
	return exec->base.host->monotonic_us(exec->base.host->context);
}

/* The names of the variables that we set, without the "=". */
extern const char *const exec_variables[];

#endif
