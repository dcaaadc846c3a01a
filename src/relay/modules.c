#include "modules.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef OB_MODULE_DIRECTORY
#define OB_MODULE_DIRECTORY "/usr/lib/outbox/modules"
#endif

#define PATH_SIZE       4096
#define BUILD_DIRECTORY "/src/relay"
#define MODULES_MAX     64

/* The file of `scheme` in the directory that takes the first `size` bytes of `directory`. */
static bool
module_path(char *path, const char *directory, size_t size, const char *scheme)
{
	int length;

	if (size == 0)
		return false;
	length = snprintf(path, PATH_SIZE, "%.*s/outbox_%s.so", (int)size, directory, scheme);
	return length > 0 && length < PATH_SIZE && access(path, F_OK) == 0;
}

/* Where the build leaves modules, seen from its program. "" if the program's own place is not known. */
static void
build_directory(char path[PATH_SIZE])
{
	char self[PATH_SIZE];
	ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - sizeof(BUILD_DIRECTORY));
	const char *slash = size > 0 ? memrchr(self, '/', (size_t)size) : NULL;
	size_t length = slash != NULL ? (size_t)(slash - self) : 0;

	*path = '\0';
	if (slash == NULL)
		return;
	memcpy(path, self, length);
	memcpy(path + length, BUILD_DIRECTORY, sizeof(BUILD_DIRECTORY));
}

static bool
module_find(char *path, const char *at, const char *scheme)
{
	char build[PATH_SIZE];

	build_directory(build);
	while (at != NULL && *at != '\0') {
		size_t size = strcspn(at, ":");

		if (module_path(path, at, size, scheme))
			return true;
		at += size + (at[size] == ':');
	}
	return module_path(path, build, strlen(build), scheme) ||
	       module_path(path, OB_MODULE_DIRECTORY, strlen(OB_MODULE_DIRECTORY), scheme);
}

/* Only names that can be schemes become file names: nothing with a slash or a dot. */
static bool
scheme_is_plain(const char *scheme)
{
	size_t size = strspn(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-");

	return size > 0 && size <= 32 && scheme[size] == '\0';
}

int
ob_module_check(const struct ob_module *module, const char *path, struct ob_error *error)
{
	if (module->contract != OB_MODULE_CONTRACT)
		return ob_error_set(
		    error, OB_CONFIG,
		    "%s: made for version %u of the module contract, this program has version %u: "
		    "install the module of this program's version",
		    path, module->contract, OB_MODULE_CONTRACT);
	for (size_t i = 0; module->stores != NULL && module->stores[i] != NULL; i++)
		if (module->stores[i]->contract != OB_STORE_CONTRACT)
			return ob_error_set(
			    error, OB_CONFIG,
			    "%s: its store %s is made for version %u of the store contract, this program has "
			    "version %u",
			    path, module->stores[i]->name, module->stores[i]->contract,
			    OB_STORE_CONTRACT);
	for (size_t i = 0; module->sinks != NULL && module->sinks[i] != NULL; i++)
		if (module->sinks[i]->contract != OB_SINK_CONTRACT)
			return ob_error_set(
			    error, OB_CONFIG,
			    "%s: its sink %s is made for version %u of the sink contract, this program has "
			    "version %u",
			    path, module->sinks[i]->name, module->sinks[i]->contract,
			    OB_SINK_CONTRACT);
	return OB_OK;
}

int
ob_module_load_from(const char *directories, const char *scheme, const struct ob_module **module,
		    struct ob_error *error)
{
	char path[PATH_SIZE];
	void *library;

	*module = NULL;
	if (!scheme_is_plain(scheme) || !module_find(path, directories, scheme))
		return OB_OK;
	/* A second load of the same file gives the same library, so nothing need be remembered; it is never closed. */
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return ob_error_set(error, OB_CONFIG, "module cannot be loaded: %s", dlerror());
	*module = dlsym(library, "ob_module");
	if (*module == NULL)
		return ob_error_set(error, OB_CONFIG,
				    "%s: is no module of outbox, it has no symbol ob_module", path);
	return ob_module_check(*module, path, error);
}

int
ob_module_load(const char *scheme, const struct ob_module **module, struct ob_error *error)
{
	/* Not heeded in a process that runs with more rights than its caller. */
	return ob_module_load_from(secure_getenv("OUTBOX_MODULE_PATH"), scheme, module, error);
}

/* ---- all there are ---- */

struct walk {
	void (*each)(void *context, const struct ob_module *module);
	void *context;
	const char *names[MODULES_MAX];
	size_t count;
};

/* A module that serves several schemes stands in several files. */
static void
walk_visit(struct walk *walk, const struct ob_module *module)
{
	for (size_t i = 0; i < walk->count; i++)
		if (strcmp(walk->names[i], module->name) == 0)
			return;
	if (walk->count == MODULES_MAX)
		return;
	walk->names[walk->count++] = module->name;
	walk->each(walk->context, module);
}

static void
walk_directory(struct walk *walk, const char *directory, size_t size)
{
	static const char prefix[] = "outbox_", suffix[] = ".so";
	char path[PATH_SIZE];
	const struct ob_module *module;
	const struct dirent *entry;
	DIR *dir;

	if (size == 0 || size >= sizeof(path))
		return;
	memcpy(path, directory, size);
	path[size] = '\0';
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		size_t length = strlen(entry->d_name);
		char scheme[64];

		if (length < sizeof(prefix) + sizeof(suffix) ||
		    length - sizeof(prefix) - sizeof(suffix) + 3 > sizeof(scheme) ||
		    strncmp(entry->d_name, prefix, sizeof(prefix) - 1) != 0 ||
		    strcmp(entry->d_name + length - (sizeof(suffix) - 1), suffix) != 0)
			continue;
		length -= sizeof(prefix) + sizeof(suffix) - 2;
		memcpy(scheme, entry->d_name + sizeof(prefix) - 1, length);
		scheme[length] = '\0';
		if (ob_module_load_from(path, scheme, &module, NULL) == OB_OK && module != NULL)
			walk_visit(walk, module);
	}
	if (dir != NULL)
		closedir(dir);
}

void
ob_modules_each(void (*each)(void *context, const struct ob_module *module), void *context)
{
	struct walk walk = {.each = each, .context = context};
	const char *at = secure_getenv("OUTBOX_MODULE_PATH");
	char build[PATH_SIZE];

	build_directory(build);
	while (at != NULL && *at != '\0') {
		size_t size = strcspn(at, ":");

		walk_directory(&walk, at, size);
		at += size + (at[size] == ':');
	}
	walk_directory(&walk, build, strlen(build));
	walk_directory(&walk, OB_MODULE_DIRECTORY, strlen(OB_MODULE_DIRECTORY));
}
