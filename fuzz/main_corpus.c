/* Runs a fuzz target over each file of a folder, and over all prefixes of it; prints TAP. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>

#define INPUT_SIZE_MAX 65536

static int
run_file(const char *folder, const char *name, unsigned number)
{
	static uint8_t input[INPUT_SIZE_MAX];
	char path[4096];
	size_t size;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (file == NULL) {
		printf("not ok %u - %s cannot be read\n", number, name);
		return 1;
	}
	size = fread(input, 1, sizeof(input), file);
	fclose(file);
	/* Said before, so that a crash shows which input it was. */
	printf("# %s\n", path);
	fflush(stdout);
	/* A copy of the exact size, so that a sanitizer sees a read past the end. */
	for (size_t cut = size > 512 ? size : 0; cut <= size; cut++) {
		uint8_t *copy = malloc(cut > 0 ? cut : 1);

		FUZZ_CHECK(copy != NULL);
		memcpy(copy, input, cut);
		ob_fuzz(copy, cut);
		free(copy);
	}
	printf("ok %u - %s\n", number, name);
	return 0;
}

int
main(int argc, char **argv)
{
	const struct dirent *entry;
	unsigned number = 0;
	int failed = 0;
	DIR *folder;

	if (argc != 2 || (folder = opendir(argv[1])) == NULL) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(folder)) != NULL)
		if (entry->d_name[0] != '.')
			failed |= run_file(argv[1], entry->d_name, ++number);
	closedir(folder);
	printf("1..%u\n", number);
	return failed;
}
