#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "cli_main.h"

/* The place of a standard descriptor that the caller has closed would go to the first file that is opened, which then gets
   what is meant for a person. So it is taken, the wrong way round: to read or write it fails as before. */
static void
take_place(int fd, int flags)
{
	if (fcntl(fd, F_GETFD) < 0)
		(void)!open("/dev/null", flags);
}

/*
 * SQLite maps the -shm beside a database. Where a mapped file is cut short, is made immutable, or its disk fails, the system ends who
 * uses it, whatever the program would do about it; then at least it is said why.
 */
static void
on_bus_error(int number)
{
	static const char text[] =
	    "outbox: ended by the system (SIGBUS): a file that is mapped into memory, such as the -shm beside an SQLite "
	    "database, was cut short or may not be read or written; nothing that was committed is lost: mend that and start again\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	/* The system's own action is back in its place. */
	(void)raise(number);
}

int
main(int argc, char **argv)
{
	const struct sigaction bus_error = {.sa_handler = on_bus_error,
					    .sa_flags = (int)SA_RESETHAND};

	take_place(STDIN_FILENO, O_WRONLY);
	take_place(STDOUT_FILENO, O_RDONLY);
	take_place(STDERR_FILENO, O_RDONLY);
	(void)sigaction(SIGBUS, &bus_error, NULL);
	/* A limit on the size of files (ulimit -f) is told by the write that fails. */
	(void)signal(SIGXFSZ, SIG_IGN);
	return ob_cli_main(argc, argv);
}
