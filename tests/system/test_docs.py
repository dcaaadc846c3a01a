#!/usr/bin/env python3
"""Runs every command that README, the other pages at the top and docs/ show, as a reader would: in order, in a directory
that is empty but for the build.

A page that names a PostgreSQL database finds a server of its own by PGHOST and so on. A block that begins with ```psql DATABASE is a
conversation of several sessions with it, see lib/sessions.py: each is replayed, in order, after the page's other commands.

A fenced block that begins with ```sh is run with `sh -eu`; the blocks of one page share one shell. One that must not be
run says why: ```sh norun: the reason. Commands and options within the text must be those that the program's help knows.
Prints TAP: for each page whether its commands work, its conversations go as they are shown, its text names what there is, and
its links lead somewhere, and a skip for each block that was not run.

usage: test_docs.py BUILD_DIR [PAGE...]
"""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from servers.postgres import Postgres  # noqa: E402
from sessions import replay  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE_DEADLINE_S = 120
FENCE = re.compile(r"^```(\S*)[ \t]*(.*)$")


def blocks(page):
    """Yields (line number, language, info after it, text) of each block that is run."""
    language, info, start, lines = None, "", 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if fence and language is None:
            language, info, start, lines = fence[1] or "text", fence[2], number, []
        elif line.startswith("```") and language is not None:
            if language in ("sh", "psql"):
                yield start, language, info, "\n".join(lines)
            language = None
        elif language is not None:
            lines.append(line)
    if language is not None:
        raise ValueError(f"{page}:{start}: this block is never closed")


@contextlib.contextmanager
def server_of(script, conversations):
    """What a page's commands need to find a server of its own."""
    if not conversations and not re.search(r"\bpostgresql://|\bpsql ", script):
        yield {}
        return
    with Postgres().start() as server:
        yield {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres"}


def run(script, build, cwd, more):
    """Runs one page's commands; returns (exit status, output). Ends all that the page has started."""
    env = dict(os.environ, PATH=f"{build}:{os.environ['PATH']}", NO_COLOR="1", OUTBOX_BUILD=str(build),
               OUTBOX_SOURCE=str(ROOT), **more)
    os.symlink(build, os.path.join(cwd, "build"))  # as it is found at the top of the source
    child = subprocess.Popen(["sh", "-eu", "-c", script], cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output = child.communicate(timeout=PAGE_DEADLINE_S)[0]
        status = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output, status = child.communicate()[0], f"none within {PAGE_DEADLINE_S} s"
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return status, output.decode(errors="replace")


def broken_links(page):
    """The relative links of a page that lead nowhere."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [to for to in targets if "://" not in to and not (page.parent / to).exists()]


def known_commands(build):
    """{name of a command: the options that its help shows}."""
    def said(*words):
        return subprocess.run([build / "outbox", "help", *words], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^  ((?:dead )?[a-z-]+)  ", said(), re.MULTILINE)
    return {name: {"--help"} | set(re.findall(r"^  (--[a-z0-9-]+)", said(*name.split()), re.MULTILINE)) for name in names}


def unknown_words(page, commands):
    """The commands and options within the text of a page that the program does not know."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    every = set().union(*commands.values())
    for code in re.findall(r"`([^`\n]+)`", text):
        options = set(re.findall(r"(?<!\S)--[a-z0-9-]+", code))
        if code.startswith("outbox ") and code[7].islower():
            name = next((name for name in commands if re.match(rf"{name}\b", code[7:])), None)
            if name is None or options - commands[name]:
                yield code
        elif code.startswith("--") and options - every:
            yield code


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    named = [pathlib.Path(name).resolve() for name in sys.argv[2:]]
    pages = named or sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "tests").rglob("*.md"))
    commands = known_commands(build)
    number = failed = 0
    for page in pages:
        name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
        script, conversations = [], []
        number += 1
        broken = broken_links(page)
        failed += bool(broken)
        print(f"{'not ok' if broken else 'ok'} {number} - every link of {name} leads somewhere")
        print("".join(f"# {to}\n" for to in broken), end="")
        number += 1
        unknown = list(unknown_words(page, commands))
        failed += bool(unknown)
        print(f"{'not ok' if unknown else 'ok'} {number} - {name} names commands and options that there are")
        print("".join(f"# {code}\n" for code in unknown), end="")
        for line, language, info, text in blocks(page):
            if language == "psql":
                conversations.append((line, info, text))
            elif info.startswith("norun:"):
                number += 1
                print(f"ok {number} - {name}:{line} # SKIP {info[len('norun:'):].strip()}")
            elif info:
                raise ValueError(f"{name}:{line}: '{info}': only 'norun: reason' may stand behind sh")
            else:
                script.append(f"echo '--- {name}:{line}'\n{text}")
        if not script and not conversations:
            continue
        number += 1
        with tempfile.TemporaryDirectory(prefix="outbox-docs-") as cwd:
            with server_of("\n".join(script), conversations) as more:
                status, output = run("\n".join(script), build, cwd, more)
                replayed = [(line, replay(text, database, {**os.environ, **more})) for line, database, text in conversations]
        if status == 0:
            print(f"ok {number} - every command of {name} works")
        else:
            failed += 1
            print(f"not ok {number} - every command of {name} works")
            print("".join(f"# {line}\n" for line in [f"exit status {status}", *output.splitlines()[-40:]]), end="")
        for line, otherwise in replayed:
            number += 1
            failed += bool(otherwise)
            print(f"{'not ok' if otherwise else 'ok'} {number} - the conversation of {name}:{line} goes as it is shown")
            print("".join(f"# {line}\n" for line in otherwise.splitlines()), end="")
    print(f"1..{number}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
