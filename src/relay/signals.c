#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

int
ob_signals_open(struct ob_signals *signals, struct ob_error *error)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->fd < 0)
		return ob_error_set(error, OB_LIMIT, "cannot make a signal descriptor: %s",
				    strerror(errno));
	/* SIGPIPE is only blocked: a write to a closed pipe then fails, as the sinks expect. */
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return OB_OK;
}

void
ob_signals_close(struct ob_signals *signals)
{
	if (signals->fd >= 0)
		close(signals->fd);
	signals->fd = -1;
}

/* Heeds one signal. True when the relay is to be left as it is. */
static bool
heed_signal(struct ob_relay *relay, int signal_number, int64_t drain_ms, bool *draining)
{
	if (signal_number == SIGHUP) {
		ob_relay_reopen(relay);
		return false;
	}
	if (*draining)
		return true;
	*draining = true;
	ob_relay_drain(relay, drain_ms);
	return false;
}

int
ob_signals_run(struct ob_signals *signals, struct ob_relay *relay, int64_t drain_ms, int *killed_by,
	       void (*tick)(void *context), void *context, int tick_ms, struct ob_error *error)
{
	struct pollfd watched[] = {{.fd = signals->fd, .events = POLLIN},
				   {.fd = ob_relay_fd(relay), .events = POLLIN}};
	struct signalfd_siginfo info;
	bool draining = false;

	*killed_by = 0;
	while (watched[1].revents == 0) {
		int ready = poll(watched, 2, tick != NULL ? tick_ms : -1);

		if (ready < 0 && errno != EINTR)
			return ob_error_set(error, OB_FAILED, "poll: %s", strerror(errno));
		if (tick != NULL)
			tick(context);
		while (ready > 0 && read(signals->fd, &info, sizeof(info)) == sizeof(info)) {
			if (!heed_signal(relay, (int)info.ssi_signo, drain_ms, &draining))
				continue;
			*killed_by = (int)info.ssi_signo;
			return ob_error_set(error, OB_BUSY, "ended by a second signal");
		}
	}
	return ob_relay_wait(relay, -1, error);
}
