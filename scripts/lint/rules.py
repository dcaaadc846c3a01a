"""The rules that read our own text: each is a function from a file's name and text to what is wrong with it, and has a sample
that it must catch (and one that it must let pass). A line that has to break a rule says so and why, at its end or on the line
before: `lint-allow: RULE: the reason`.
"""
import pathlib
import re

# --- What may be included where: a folder under src/ and the folders whose headers it may name.

WALLS = {
    "base": ["base"],
    "contract": ["contract", "base"],
    "core": ["core", "contract", "base"],
    "stores": ["stores", "contract", "base"],
    "sinks": ["sinks", "contract", "base"],
    "producer": ["producer", "base"],
    "relay": ["relay", "core", "contract", "base"],
    "admin": ["admin", "relay", "contract", "base"],
    "cli": ["cli", "relay", "producer", "contract", "base"],
}
# The lists of what is built in: all that the relay may know of stores and sinks.
LISTS = {"relay": ["stores.h", "sinks.h"]}

BANNED = ("strcpy stpcpy strcat sprintf vsprintf gets strtok atoi atol atoll atof sscanf scanf fscanf alloca strdupa system popen "
          "mktemp tmpnam tempnam setjmp longjmp bcopy bzero rand srand random srandom drand48 gmtime localtime ctime asctime "
          "putenv setenv unsetenv getlogin").split()
# What is careless in the product but harmless in a test, a benchmark or an example.
BANNED_IN_PRODUCT = "system sscanf fscanf rand srand random setenv unsetenv putenv gmtime localtime".split()
# The clock, entropy and threads come from src/relay alone.
WORLD = ("time clock clock_gettime gettimeofday timespec_get ftime clock_nanosleep nanosleep sleep usleep getrandom getentropy "
         "arc4random RAND_bytes RAND_priv_bytes uuid_generate sqlite3_randomness pthread_create thrd_create fork vfork "
         "timer_create timerfd_create setitimer alarm").split()
WORLD_FOLDERS = {"base": WORLD, "contract": WORLD, "core": WORLD, "stores": WORLD,
                 "sinks": [name for name in WORLD if name not in ("fork", "vfork")],  # exec: is a process
                 "cli": ["clock_gettime", "gettimeofday", "time", "getrandom", "getentropy", "pthread_create", "thrd_create",
                         "arc4random"]}
# What the pure engine must not even touch.
IMPURE = ("printf fprintf puts fputs perror fopen open read write close malloc calloc realloc free getenv abort_handler "
          "pthread_mutex_lock").split()

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 80


def code_only(text):
    """The text with comments, strings and characters blanked, line by line."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.DOTALL)


def calls(text, names):
    """(line number, name) of each call of one of the names, or use of it as a value."""
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(names) + r")\s*\(")
    for number, line in enumerate(code_only(text).splitlines(), 1):
        for match in pattern.finditer(line):
            yield number, match[1]


def folder_of(name):
    parts = pathlib.PurePath(name).parts
    return parts[1] if len(parts) > 2 and parts[0] == "src" else None


def is_c(name):
    return name.endswith((".c", ".h"))


def banned(name, text, _):
    product = name.startswith(("src/", "include/"))
    if is_c(name):
        for number, call in calls(text, [call for call in BANNED if product or call not in BANNED_IN_PRODUCT]):
            yield number, f"{call} is banned"


def world(name, text, _):
    folder = folder_of(name)
    if is_c(name) and folder in WORLD_FOLDERS:
        for number, call in calls(text, WORLD_FOLDERS[folder]):
            yield number, f"{call}: clock, entropy and threads belong to src/relay; ask the host"


def purity(name, text, _):
    if is_c(name) and folder_of(name) == "core":
        # engine.h names the functions that allocate at open; they may.
        for number, call in calls(text, [word for word in IMPURE if word not in ("malloc", "calloc", "realloc", "free")]):
            yield number, f"{call}: the engine is pure"


def walls(name, text, headers):
    """`headers` maps the plain name of each header under src/ to its paths."""
    folder = folder_of(name)
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<(outbox/[^>]+)>)', line)
        if not match or not is_c(name):
            continue
        header = match[1]
        if header and ".." in header:
            yield number, f'"{header}": no ../ in an include'
        elif header and folder:
            yield from wall(number, name, folder, header, headers.get(pathlib.PurePath(header).name, []))


def wall(number, name, folder, header, paths):
    allowed = WALLS.get(folder)
    if allowed is None:
        yield number, f"src/{folder} is in no rule of scripts/lint/rules.py"
        return
    for path in paths:
        if header in LISTS.get(folder, []):
            continue
        if folder_of(path) not in allowed:
            yield number, f'"{header}" of src/{folder_of(path)} is behind a wall for src/{folder}'
        elif folder in ("stores", "sinks") and folder_of(path) == folder:
            mine, its = pathlib.PurePath(name).parts[2:-1], pathlib.PurePath(path).parts[2:-1]
            if its and its != ("common",) and its != mine:
                yield number, f'"{header}" belongs to {"/".join(its)}: one of src/{folder} must not know another'


def lengths(name, text, _):
    if not is_c(name):
        return
    lines = text.splitlines()
    if len(lines) > FILE_LINES_MAX:
        yield len(lines), f"a file of {len(lines)} lines; at most {FILE_LINES_MAX}"
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start + 1 > FUNCTION_LINES_MAX:
                yield start, f"a function of {number - start + 1} lines; at most {FUNCTION_LINES_MAX}"
            start = None


def style(name, text, _):
    if not is_c(name):
        return
    for number, line in enumerate(code_only(text).splitlines(), 1):
        if re.search(r"\btypedef\s+(struct|union|enum)\b", line):
            yield number, "no typedef for a struct, union or enum"
        if re.search(r"\bNDEBUG\b", line):
            yield number, "assertions stay on"


HOSTS = "|".join([r"pypi\.", r"pythonhosted\.", r"npm" + r"js\.", r"crates\." + "io", r"proxy\.golang\.", r"deb\.debian\." + "org",
                  r"artifact" + "ory", r"docker\." + "io", r"r-" + r"seed-"])
PATHS = r"(?<![\w.:/])/(?:work|home|root|Users|tmp/bash_jobs)/[\w.]"


def places(name, text, _):
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(PATHS, line):
            yield number, "the path of somebody's machine"
        if re.search(r"\b(?:" + HOSTS + r")", line):
            yield number, "the host name of a registry"


def blanks(name, text, _):
    for number, line in enumerate(text.splitlines(), 1):
        if line != line.rstrip() and not name.startswith("fuzz/corpus/"):
            yield number, "white space at the end of the line"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end"


# Rule, sample file, a text that it must catch, one that it must let pass.
RULES = [
    (banned, "src/cli/x.c", "\tstrcpy(a, b);\n", '\t/* strcpy(a, b) */ puts("strcpy(a, b)"); my_strcpy(a);\n'),
    (banned, "tests/x.c", "\tsprintf(a, b);\n", "\tsystem(a);\n"),
    (banned, "src/base/x.c", "\tsystem(a);\n", "\tsnprintf(a, n, b);\n"),
    (walls, "src/stores/x.c", '#include "engine.h"\n', '#include "buf.h"\n#include <outbox/store.h>\n'),
    (walls, "src/sinks/file.c", '#include "../base/buf.h"\n', '#include "common_thing.h"\n'),
    (walls, "src/stores/memory/x.c", '#include "sqlite_store.h"\n', '#include "check.h"\n'),
    (walls, "src/base/x.c", '#include "headers.h"\n', '#include <string.h>\n'),
    (world, "src/sinks/x.c", "\tnow = time(NULL);\n", "\tnow = host->wall_us(host->context); x.time(y); my_time();\n"),
    (world, "src/core/x.c", "\tpthread_create(&t, NULL, f, NULL);\n", "\tstep(engine, event->time_us);\n"),
    (purity, "src/core/x.c", '\tprintf("hello");\n', "\tassert(x);\n"),
    (lengths, "src/base/x.c", "int\nf(void)\n{\n" + "\tx();\n" * 79 + "}\n", "int\nf(void)\n{\n" + "\tx();\n" * 78 + "}\n"),
    (lengths, "src/base/x.c", "\n" * 601, "\n" * 600),
    (style, "src/base/x.h", "typedef struct a a;\n", "struct a;\ntypedef int (*call)(void);\n"),
    (places, "docs/x.md", "see /ho" + "me/somebody/x\n", "see /srv/shop.db and https://example.com/home/x\n"),
    (places, "docs/x.md", "from py" + "pi.org\n", "from example.com\n"),
    (blanks, "docs/x.md", "a \n", "a\n"),
]
SAMPLE_HEADERS = {
    "engine.h": ["src/core/engine.h"], "buf.h": ["src/base/buf.h"], "check.h": ["src/base/check.h"],
    "sqlite_store.h": ["src/stores/sqlite/sqlite_store.h"], "common_thing.h": ["src/sinks/common/common_thing.h"],
    "headers.h": ["src/contract/headers.h"],
}


def allowed(rule, lines, number):
    mark = re.compile(r"lint-allow:\s*" + rule + r":\s*\S")
    return any(mark.search(line) for line in lines[max(0, number - 2):number])


def check(rule, name, text, headers):
    """What is wrong by one rule: "NAME:LINE: WHAT"."""
    lines = text.splitlines()
    return [f"{name}:{number}: {what}" for number, what in rule(name, text, headers)
            if not allowed(rule.__name__, lines, number)]
