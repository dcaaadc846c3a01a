/*
 * A program for `exec:` with mode=lines: appends each line to DIRECTORY/log and answers it, in turn by a word and by JSON. The
 * files hang, down and fail (with an id in it) in DIRECTORY are its switches.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *
answer_of(const char *id, int id_size)
{
	static int count;
	static char answer[256];
	char fails[128];
	FILE *file = fopen("fail", "r");

	if (access("down", F_OK) == 0)
		return "down nothing works";
	if (file != NULL) {
		size_t size = fread(fails, 1, sizeof(fails) - 1, file);

		fclose(file);
		if ((int)size == id_size && memcmp(fails, id, size) == 0)
			return "retry it does not go \x1b[31m";
	}
	if (count++ % 2 == 0)
		return "ok";
	snprintf(answer, sizeof(answer), "{\"id\":\"%.*s\",\"fate\":\"sent\"}", id_size, id);
	return answer;
}

int
main(int argc, char **argv)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t size;
	int log;

	if (argc != 2 || chdir(argv[1]) != 0)
		return 78;
	log = open("log", O_WRONLY | O_APPEND | O_CREAT, 0600);
	while ((size = getline(&line, &room, stdin)) > 0) {
		const char *id = line + strlen("{\"id\":\"");
		int id_size = (int)strcspn(id, "\"");
		const char *answer = answer_of(id, id_size);

		if (access("hang", F_OK) == 0)
			sleep(60);
		if ((*answer == 'o' || *answer == '{') && write(log, line, (size_t)size) != size)
			return 74;
		printf("%s\n", answer);
		fflush(stdout);
	}
	free(line);
	return 0;
}
