#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 62 };

/* In the child: the streams, and death with the parent. */
static void
child_prepare(const char *stdout_path, const char *stderr_path)
{
	const char *const paths[2] = {stdout_path, stderr_path};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 2; i++) {
		int fd = open(paths[i] == NULL ? "/dev/null" : paths[i],
			      O_WRONLY | O_CREAT | O_APPEND, 0600);

		if (fd < 0 || dup2(fd, i + 1) < 0)
			_exit(126);
		if (fd > 2)
			(void)close(fd);
	}
}

int
ob_process_start(struct ob_process *process, const char *const *arguments, const char *stdout_path,
		 const char *stderr_path, struct ob_error *error)
{
	char name[] = "outbox";
	char *words[ARGUMENTS_MAX + 2] = {name};
	int count = 0;

	while (arguments[count] != NULL && count < ARGUMENTS_MAX) {
		words[count + 1] = (char *)(uintptr_t)arguments[count];
		count++;
	}
	(void)fflush(NULL);
	process->pid = fork();
	if (process->pid == 0) {
		child_prepare(stdout_path, stderr_path);
		(void)execv("/proc/self/exe", words);
		_exit(127);
	}
	if (process->pid < 0) {
		process->pid = 0;
		return ob_error_set(error, OB_FAILED, "a process cannot be started: %s",
				    strerror(errno));
	}
	return OB_OK;
}

int
ob_process_fork(struct ob_process *process, int (*run)(void *context), void *context,
		struct ob_error *error)
{
	(void)fflush(NULL);
	process->pid = fork();
	if (process->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run(context));
	}
	if (process->pid < 0) {
		process->pid = 0;
		return ob_error_set(error, OB_FAILED, "a process cannot be started: %s",
				    strerror(errno));
	}
	return OB_OK;
}

void
ob_process_end(struct ob_process *process, int signal)
{
	int status;

	if (process->pid <= 0)
		return;
	(void)kill(process->pid, signal);
	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	process->pid = 0;
}
