/* The program: what main() calls, so that tests can call it too. */
#ifndef OB_CLI_MAIN_H
#define OB_CLI_MAIN_H

/* Runs the command that argv means and returns the exit status. */
int ob_cli_main(int argc, char **argv);

#endif
