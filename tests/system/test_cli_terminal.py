#!/usr/bin/env python3
"""What a person at a terminal sees that a script does not: colour, questions, progress.

usage: test_cli_terminal.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import json
import os
import pathlib
import pty
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import DEADLINE_S, OUTBOX, case, main, outbox, refused, wait_until  # noqa: E402


class Terminal:
    """A command on a terminal; `stdin` may be something else. What it shows gathers in `text`."""
    def __init__(self, *words, stdin=None, **env):
        self.fd, slave = pty.openpty()
        variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen([OUTBOX, *words], stdin=slave if stdin is None else stdin, stdout=slave, stderr=slave,
                                        env={**variables, **env}, start_new_session=True)
        os.close(slave)
        self.text = ""
        self.reading = threading.Thread(target=self.read, daemon=True)
        self.reading.start()

    def read(self):
        with contextlib.suppress(OSError):  # nobody has the terminal open any more
            while more := os.read(self.fd, 65536):
                self.text += more.decode()

    def shows(self, text):
        wait_until(lambda: text in self.text, f"{text!r} on the terminal")

    def answer(self, question, text):
        self.shows(question)
        os.write(self.fd, text.encode())

    def end(self):
        status = self.process.wait(DEADLINE_S)
        self.reading.join(DEADLINE_S)
        os.close(self.fd)
        return status, self.text


def many_dead(shop, count):
    """Dead messages of two subscriptions."""
    shop.drain("null:")
    outbox("relay", shop.url, "--to", "null:", "--subscription", "other", "--until-idle")
    for name in ("default", "other"):
        shop.sql("INSERT INTO outbox_dead (subscription, position, lane, holds_key, attempts, dead_at, code, text, tries, id, topic,"
                 f" created_at, payload) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count})"
                 f" SELECT '{name}', i, 0, 0, 1, 0, 'x', '', '[]', 'id' || i, 't', '2030-01-01T00:00:00.000Z', 'p' FROM n")


@case
def colour_is_for_terminals_that_want_it(shop):
    shop.drain("null:")
    assert "\x1b[" in Terminal("status", shop.url).end()[1]
    assert "\x1b[" not in Terminal("status", shop.url, NO_COLOR="1").end()[1]
    assert "\x1b[" not in outbox("status", shop.url).out


@case
def a_person_is_asked_before_many_are_changed(shop):
    many_dead(shop, 3)
    for answer, status, left in (("n\n", 1, 6), ("\n", 1, 6), ("y\n", 0, 0)):
        asking = Terminal("dead", "discard", shop.url, "--all-matching")
        asking.answer("discard 6 messages? [y/N]", answer)
        assert asking.end()[0] == status
        assert len(outbox("dead", "list", shop.url, "--json").json()["messages"]) == left
    adopting = Terminal("adopt", shop.url, "--from-now")
    adopting.answer("[y/N]", "y\n")
    assert adopting.end()[0] == 0


@case
def no_input_never_asks(shop):
    many_dead(shop, 1)
    status, text = Terminal("dead", "discard", shop.url, "--all-matching", "--no-input").end()
    assert status == 2 and "add --yes" in text and "[y/N]" not in text, text
    status, text = Terminal("adopt", shop.url, "--from-now", "--no-input").end()
    assert status == 2 and "add --yes" in text and "[y/N]" not in text, text
    refused(2, "add --yes", "dead", "retry", shop.url, "--all-matching", "--no-input")


@case
def published_lines_show_progress(shop):
    ours, theirs = os.pipe()
    publishing = Terminal("publish", shop.url, "--json-lines", "--quiet", "--batch", "1", stdin=ours)
    os.close(ours)
    ended = threading.Event()

    def feed():
        line = json.dumps({"topic": "t", "payload": "x"}).encode() + b"\n"
        with contextlib.suppress(OSError):
            while not ended.is_set():
                os.write(theirs, line)
                time.sleep(0.001)
        os.close(theirs)
    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        publishing.shows(" messages, ")
    finally:
        ended.set()
        feeding.join(DEADLINE_S)
    status, text = publishing.end()
    assert status == 0 and " a second" in text, text
    # What stood in the line is gone before the result.
    assert text.rstrip().endswith(f"\r\x1b[K{shop.count()} messages were published."), text[-200:]


@case
def a_long_change_shows_progress_and_what_is_left(shop):
    many_dead(shop, 12000)
    db = sqlite3.connect(shop.path, timeout=10, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")  # the change takes long since it waits
    changing = Terminal("dead", "discard", shop.url, "--all-matching", "--yes", "--store-option", "busy-timeout=30s")
    time.sleep(2.5)
    db.execute("COMMIT")
    db.close()
    status, text = changing.end()
    assert status == 0 and " of 24000 messages, " in text and " a second, " in text and " left" in text, text
    assert text.rstrip().endswith("\r\x1b[K24000 messages discarded"), text[-200:]


if __name__ == "__main__":
    sys.exit(main())
