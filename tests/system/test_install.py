#!/usr/bin/env python3
"""What `meson install` puts there, used as a packager and a programmer would: installed into an empty directory, compiled against by
pkg-config alone, run. The commands that docs/embedding.md shows are run here. Prints TAP.

usage: test_install.py BUILD_DIR
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from test_docs import blocks  # noqa: E402

BUILD = pathlib.Path(sys.argv[1]).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
CONSUMER = r"""
#include <outbox/inbox.h>
#include <sqlite3.h>
#include <stdio.h>
int main(void)
{
	struct ob_error error = {0};
	sqlite3 *db;
	bool first = false, again = true;
	if (sqlite3_open(":memory:", &db) != SQLITE_OK || ob_inbox_sqlite_create(db, &error) != OB_OK)
		return 1;
	sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
	if (ob_inbox_sqlite_claim(db, "billing", "m1", &first, &error) != OB_OK ||
	    ob_inbox_sqlite_claim(db, "billing", "m1", &again, &error) != OB_OK)
		return 1;
	sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	printf("%d %d\n", first, again);
	return sqlite3_close(db);
}
"""
cases = []


def case(function):
    cases.append(function)
    return function


class Installed:
    def __init__(self, directory):
        self.work = pathlib.Path(directory)
        self.root = self.work / "root"
        done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", self.root], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        self.outbox = self.one("bin/outbox")
        self.libraries = self.one("liboutbox.so").parent
        self.env = dict(os.environ, LD_LIBRARY_PATH=str(self.libraries), PKG_CONFIG_PATH=str(self.one("liboutbox.pc").parent),
                        PKG_CONFIG_SYSROOT_DIR=str(self.root))
        (self.work / "shop.c").write_text((ROOT / "examples/embed.c").read_text())
        (self.work / "publish.c").write_text((ROOT / "examples/publish.c").read_text())
        (self.work / "consumer.c").write_text(CONSUMER)

    def one(self, name):
        found = [path for path in self.root.rglob(name.split("/")[-1]) if str(path).endswith(name)]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def sh(self, script):
        done = subprocess.run(["sh", "-eu", "-c", script], cwd=self.work, env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@case
def all_public_headers_are_there(it):
    there = {path.name for path in it.one("outbox/relay.h").parent.glob("*")}
    assert there == {path.name for path in (ROOT / "include/outbox").glob("*.h")}, there


@case
def what_the_headers_declare_is_exported_and_no_more(it):
    declared = set()
    for header in (ROOT / "include/outbox").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        declared |= set(re.findall(r"^OB_API [^;]*?\b(ob_\w+)(?:\(|\[)", text, re.MULTILINE))
    assert "ob_relay_new" in declared and len(declared) > 25, declared
    both = set()
    for library in sorted(it.libraries.glob("lib*.so")):
        symbols = {line.split()[-1] for line in it.sh(f"nm -D --defined-only '{library}'").splitlines()}
        strange = {symbol for symbol in symbols if not symbol.startswith("ob_")}
        assert not strange, f"{library.name} exports {strange}"
        both |= symbols
    assert both == declared, f"declared alone: {declared - both}; exported alone: {both - declared}"


@case
def the_installed_program_delivers_with_the_commands_of_the_docs(it):
    shown = [text for _, _, info, text in blocks(ROOT / "docs/embedding.md") if info.startswith("norun")]
    assert len(shown) == 1 and "pkg-config" in shown[0], shown
    it.sh(shown[0])
    it.sh(f"'{it.outbox}' init --quiet sqlite:embed.db")
    it.sh(f"'{it.outbox}' publish --quiet sqlite:embed.db --topic orders --key k --payload x")
    assert it.sh("./shop sqlite:embed.db") == "orders k: x\n"


@case
def a_writer_compiles_by_the_line_in_its_head(it):
    line = re.search(r"^ \* +(cc publish\.c .*)$", (ROOT / "examples/publish.c").read_text(), re.MULTILINE)[1]
    it.sh(f"{line} -o publish && '{it.outbox}' init --quiet sqlite:publish.db && ./publish publish.db alice 120")


@case
def a_consumer_compiles_against_the_inbox(it):
    assert it.sh("cc -o consumer consumer.c $(pkg-config --cflags --libs liboutbox-sqlite) && ./consumer") == "1 0\n"


@case
def the_extension_loads_from_its_place(it):
    it.sh(f"'{it.outbox}' init --quiet sqlite:extension.db")
    it.sh(f"sqlite3 extension.db \".load '{it.one('outbox_sqlite.so').with_suffix('')}'\" \"SELECT outbox_publish('t', 'x')\"")


def main():
    failed = 0
    print(f"1..{len(cases)}")
    with tempfile.TemporaryDirectory(prefix="outbox-install-") as directory:
        it = Installed(directory)
        for number, function in enumerate(cases, 1):
            try:
                function(it)
                print(f"ok {number} - {function.__name__.replace('_', ' ')}", flush=True)
            except AssertionError as failure:
                failed += 1
                print("".join(f"# {line}\n" for line in str(failure).splitlines()), end="")
                print(f"not ok {number} - {function.__name__.replace('_', ' ')}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
