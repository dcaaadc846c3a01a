#include <fcntl.h>
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

int
main(int argc, char **argv)
{
	take_place(STDIN_FILENO, O_WRONLY);
	take_place(STDOUT_FILENO, O_RDONLY);
	take_place(STDERR_FILENO, O_RDONLY);
	return ob_cli_main(argc, argv);
}
