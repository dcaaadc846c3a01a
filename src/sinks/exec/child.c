#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A pipe whose ends are not 0, 1 or 2, even in a program that has closed these: they would be in each other's way in
   the child. `ours` is the index of our end, which does not wait. 0 or an errno. */
static int
make_pipe(int fds[2], int ours)
{
	int raw[2], number = 0;

	if (pipe2(raw, O_CLOEXEC) != 0)
		return errno;
	for (int i = 0; i < 2; i++) {
		fds[i] = fcntl(raw[i], F_DUPFD_CLOEXEC, 3);
		if (fds[i] < 0)
			number = errno;
		close(raw[i]);
	}
	if (number == 0 && fcntl(fds[ours], F_SETFL, O_NONBLOCK) != 0)
		number = errno;
	if (number != 0) {
		close_fd(&fds[0]);
		close_fd(&fds[1]);
	}
	return number;
}

/* The relay's threads block all signals; the program gets them as a program expects them. */
static int
set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	int number;

	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	number = posix_spawnattr_setflags(
	    attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (number == 0)
		number = posix_spawnattr_setpgroup(attributes, 0);
	if (number == 0)
		number = posix_spawnattr_setsigmask(attributes, &none);
	if (number == 0)
		number = posix_spawnattr_setsigdefault(attributes, &all);
	return number;
}

static int
spawn(pid_t *pid, const char *command, char *const *environment, int in, int out, int err)
{
	char shell[] = "sh", option[] = "-c";
	char *const arguments[] = {shell, option, (char *)(size_t)command, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int number;

	number = posix_spawn_file_actions_init(&actions);
	if (number != 0)
		return number;
	number = posix_spawnattr_init(&attributes);
	if (number != 0)
		goto actions_out;
	number = set_attributes(&attributes);
	if (number == 0)
		number = posix_spawn_file_actions_adddup2(&actions, in, 0);
	if (number == 0 && out >= 0)
		number = posix_spawn_file_actions_adddup2(&actions, out, 1);
	if (number == 0 && out < 0)
		number = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (number == 0)
		number = posix_spawn_file_actions_adddup2(&actions, err, 2);
	if (number == 0)
		number = posix_spawn(pid, "/bin/sh", &actions, &attributes, arguments, environment);
	posix_spawnattr_destroy(&attributes);
actions_out:
	posix_spawn_file_actions_destroy(&actions);
	return number;
}

int
ob_child_start(struct ob_child *child, const char *command, char *const *environment, bool with_out)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
	int number;

	number = make_pipe(in, 1);
	if (number == 0 && with_out)
		number = make_pipe(out, 0);
	if (number == 0)
		number = make_pipe(err, 0);
	*child = (struct ob_child){.exit_fd = -1, .in = in[1], .out = out[0], .err = err[0]};
	if (number == 0)
		number = spawn(&child->pid, command, environment, in[0], out[1], err[1]);
	close_fd(&in[0]);
	close_fd(&out[1]);
	close_fd(&err[1]);
	if (number != 0) {
		close_fd(&child->in);
		close_fd(&child->out);
		close_fd(&child->err);
		return number;
	}
	child->is_running = true;
	child->exit_fd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	if (child->exit_fd >= 0)
		fcntl(child->exit_fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static void
hear(struct ob_child *child, char c)
{
	if (c == '\n') {
		child->said_ended = true;
		return;
	}
	if (child->said_ended) {
		child->said_size = 0;
		child->said_ended = false;
	}
	if (child->said_size < sizeof(child->said))
		child->said[child->said_size++] = c;
}

void
ob_child_listen(struct ob_child *child)
{
	char bytes[1024];

	while (child->err >= 0) {
		ssize_t size = read(child->err, bytes, sizeof(bytes));

		if (size < 0)
			return;
		if (size == 0)
			close_fd(&child->err);
		for (ssize_t i = 0; i < size; i++)
			hear(child, bytes[i]);
		if (size < (ssize_t)sizeof(bytes))
			return;
	}
}

bool
ob_child_ended(struct ob_child *child, int *status)
{
	pid_t pid;

	if (!child->is_running)
		return false;
	do {
		pid = waitpid(child->pid, status, WNOHANG);
	} while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return false;
	/* The program that embeds us ignores SIGCHLD, or reaps what is not its own: the status is lost. */
	if (pid < 0)
		*status = -1;
	/* What a process of its own making holds open is not waited for. */
	ob_child_listen(child);
	child->is_running = false;
	close_fd(&child->in);
	close_fd(&child->err);
	close_fd(&child->exit_fd);
	return true;
}

void
ob_child_signal(const struct ob_child *child, int number)
{
	if (child->is_running)
		kill(-child->pid, number);
}

void
ob_child_close_in(struct ob_child *child)
{
	close_fd(&child->in);
}

void
ob_child_close_out(struct ob_child *child)
{
	close_fd(&child->out);
}

bool
ob_child_wait(struct ob_child *child, int pause_ms)
{
	struct pollfd fd = {.fd = child->exit_fd, .events = POLLIN};
	const int step_ms = child->exit_fd >= 0 ? pause_ms : 10;
	int status;

	for (int waited_ms = 0;; waited_ms += step_ms) {
		if (!child->is_running || ob_child_ended(child, &status))
			return true;
		if (waited_ms >= pause_ms)
			return false;
		poll(&fd, 1, step_ms);
	}
}

void
ob_child_stop(struct ob_child *child, int pause_ms)
{
	if (!child->is_running)
		return;
	close_fd(&child->in);
	if (!ob_child_wait(child, pause_ms)) {
		ob_child_signal(child, SIGTERM);
		if (!ob_child_wait(child, pause_ms)) {
			ob_child_signal(child, SIGKILL);
			ob_child_wait(child, pause_ms);
		}
	}
	close_fd(&child->out);
}
