"""`outbox` as a user runs it, with good and with bad input. A case is a function that gets a Shop and says `@case`."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import tempfile

import tap
from world import BUILD, wait_for

OUTBOX = BUILD / "outbox"
MIB = 1024 * 1024
DEADLINE_S = 30
cases = []


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def json(self):
        return json.loads(self.out)

    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def as_nobody():
    """For a process about to start: a user without rights, where we are root."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def outbox(*words, stdin=b"", status=0, nobody=False, program=OUTBOX):
    """Runs a command; fails unless it ends with `status`."""
    done = subprocess.run([program, *words], input=stdin, capture_output=True, timeout=120,
                          env=dict(os.environ, NO_COLOR="1"),
                          preexec_fn=as_nobody if nobody and os.getuid() == 0 else None)
    result = Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    shown = [str(word)[:80] for word in words]
    assert result.status == status, f"{shown} ended with {result.status}, not {status}:\n{result.out[-500:]}{result.err[-1500:]}"
    return result


def failure_line(text):
    """The one line of a failure among what a command said on stderr."""
    lines = [line for line in text.splitlines() if not re.match(r"^\d{4}-\d\d-\d\dT\S+Z (info|warn)", line)]
    assert len(lines) == 1, f"not one line: {text!r}"
    assert lines[0].startswith("outbox: "), lines[0]
    return lines[0]


def refused(status, says, *words, **more):
    """The command must end with `status` and one clear line on stderr that holds each of `says`."""
    result = outbox(*words, status=status, **more)
    line = failure_line(result.err)
    for text in [says] if isinstance(says, str) else says:
        assert text in line, f"{text!r} is not in {line!r}"
    return result


class Shop:
    """A directory with a database that has an outbox."""
    def __init__(self, directory):
        self.path = pathlib.Path(directory) / "shop.db"
        self.url = f"sqlite:{self.path}"
        outbox("init", self.url, "--quiet")

    def file(self, name):
        return self.path.parent / name

    def sql(self, *statements):
        db = sqlite3.connect(self.path, timeout=10)
        try:
            with db:
                return [db.execute(statement).fetchall() for statement in statements][-1]
        finally:
            db.close()

    def publish(self, *words, **more):
        return outbox("publish", self.url, *words, **more).out.split()

    def count(self):
        return self.sql("SELECT count(*) FROM outbox_message")[0][0]

    def drain(self, sink, *words, status=0):
        return outbox("relay", self.url, "--to", sink, "--until-idle", *words, status=status)

    def bury(self, count, *words):
        """Writes messages and has all of them rejected; returns their ids."""
        ids = [self.publish("--topic", "t", "--key", f"k{i}", "--payload", str(i), *words)[0] for i in range(count)]
        self.drain("exec:echo 'no such customer' >&2; exit 65")
        return ids

    def subscription(self, name="default"):
        found = [it for it in outbox("status", self.url, "--json").json()["subscriptions"] if it["name"] == name]
        return found[0] if found else None


def wait_until(condition, what):
    return wait_for(condition, DEADLINE_S, what)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A relay (or another command) that runs while the block does; ended by SIGTERM."""
    def __init__(self, *words):
        self.words = words

    def __enter__(self):
        self.process = subprocess.Popen([OUTBOX, *self.words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=dict(os.environ, NO_COLOR="1"))
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.out, self.err = (text.decode(errors="replace") for text in self.process.communicate(timeout=DEADLINE_S))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


class ErrorLines:
    """Takes what a process says on stderr as it says it."""
    def __init__(self, process):
        self.pipe, self.taken = process.stderr, b""
        os.set_blocking(self.pipe.fileno(), False)

    def text(self):
        with contextlib.suppress(BlockingIOError):
            self.taken += os.read(self.pipe.fileno(), 65536)
        return self.taken.decode(errors="replace")


def arrived(path):
    try:
        return [json.loads(line) for line in path.read_text().split("\n") if line]
    except FileNotFoundError:
        return []


def in_a_shop(function):
    with tempfile.TemporaryDirectory(prefix="outbox-cli-") as directory:
        function(Shop(directory))


def case(function):
    cases.append((function.__name__.replace("_", " "), in_a_shop, function))
    return function


def main():
    return tap.main(cases)
