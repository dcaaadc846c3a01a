/* Child processes of this very program, for the demo. They die with the one that started them. */
#ifndef OB_CLI_PROCESS_H
#define OB_CLI_PROCESS_H

#include <outbox/error.h>
#include <sys/types.h>

struct ob_process {
	pid_t pid; /* 0: does not run */
};

/*
 * Starts `outbox ARGUMENTS...` (NULL at the end, without the program's name). stdout and stderr are appended to files; NULL:
 * nowhere.
 */
int ob_process_start(struct ob_process *process, const char *const *arguments,
		     const char *stdout_path, const char *stderr_path, struct ob_error *error);

/* Forks; the child runs the function and ends with what it returns. */
int ob_process_fork(struct ob_process *process, int (*run)(void *context), void *context,
		    struct ob_error *error);

/* Sends the signal, and waits until the process has ended. Safe when it does not run. */
void ob_process_end(struct ob_process *process, int signal);

#endif
