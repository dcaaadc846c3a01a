#!/usr/bin/env python3
"""Databases that go back in time under a relay, in each way that people put a copy back: the relay sends and settles nothing in them,
`status` says why and which command frees it, and after that command all that the database holds arrives.

usage: test_restore.py [NAME...]     environment: OUTBOX_BUILD; OB_TEST_LENGTH=full for each way in each state
"""
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from tap import check, main  # noqa: E402
from world import BUILD, wait_for, world  # noqa: E402

BEFORE, AFTER = 20, 20  # messages before and after the copy


def write(it, first, count):
    """Messages m<first>, m<first + 1> ... in one transaction."""
    with contextlib.closing(sqlite3.connect(it.database.path, timeout=20)) as connection, connection:
        connection.executemany(
            "INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES (?, 'orders', 'k', ?)",
            [(f"m{number}", json.dumps({"key": "k", "number": number})) for number in range(first, first + count)])


def arrived(it):
    return [receipt.id for receipt in it.recipient.accepted()]


def ids(first, count):
    return [f"m{number}" for number in range(first, first + count)]


def status(it, name="default"):
    """The subscription as another process sees it; with no name when there is none yet."""
    shown = json.loads(it.run("status", it.url, "--json"))["subscriptions"]
    none = {"name": None, "state": None, "code": None, "held": False, "pending": True}
    return next((one for one in shown if one["name"] == name), none)


def failed_status(it):
    """The same once it says that the relay cannot go on."""
    def look():
        shown = status(it)
        return shown if shown["state"] == "store_failed" else None
    return wait_for(look, 20, "status to say that the relay refuses the database")


def is_settled(it, name="default"):
    shown = status(it, name)
    return shown["held"] and not shown["pending"]


def side_files(path):
    return [pathlib.Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal")]


def shell(*words, **more):
    subprocess.run([str(word) for word in words], check=True, timeout=30, **more)


# ---- the ways to copy a database and to put the copy back ----

def copy_backup(it, copy):
    shell("sqlite3", it.database.path, f".backup {copy}")


def copy_vacuum(it, copy):
    it.database.query("VACUUM INTO ?", str(copy))


def copy_dump(it, copy):
    with open(copy, "wb") as out:
        shell("sqlite3", it.database.path, ".dump", stdout=out)


def put_cp(it, copy):
    """cp over the file, and what belonged to the old one is removed."""
    shell("cp", copy, it.database.path)
    for path in side_files(it.database.path):
        path.unlink(missing_ok=True)


def put_mv(it, copy):
    for path in side_files(it.database.path):
        path.unlink(missing_ok=True)
    shutil.move(copy, it.database.path)


def put_restore(it, copy):
    shell("sqlite3", it.database.path, ".timeout 10000", f".restore {copy}")


def put_load(it, copy):
    for path in [it.database.path, *side_files(it.database.path)]:
        path.unlink(missing_ok=True)
    with open(copy, "rb") as source:
        shell("sqlite3", it.database.path, stdin=source)


WAYS = {
    "cp": (copy_backup, put_cp),
    "mv of a VACUUM INTO": (copy_vacuum, put_mv),
    ".restore": (copy_backup, put_restore),
    ".dump and load": (copy_dump, put_load),
}


# ---- the cases ----

def begin(it, *options):
    """A relay that has delivered BEFORE messages, a copy of its database, and AFTER more. Returns the relay and the copy."""
    copy = it.directory / "copy.db"
    it.receive()
    write(it, 1, BEFORE)
    relay = it.relay("--store-option", "retention=1h", *options)
    wait_for(lambda: is_settled(it), 15, "the first messages to be settled")
    return relay, copy


def go_on(it, copy, how):
    how[0](it, copy)
    write(it, BEFORE + 1, AFTER)
    wait_for(lambda: len(arrived(it)) == BEFORE + AFTER, 15, "the second messages")
    wait_for(lambda: is_settled(it), 15, "the second messages to be settled")


def refused(it, relay):
    """What must hold of a relay that has to wait for a person."""
    shown = failed_status(it)
    check(shown["code"] == "foreign" and shown["text"] and not shown["held"], f"status: {shown}")
    check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
    wait_for(lambda: "outbox adopt" in relay.log(), 5, "the relay to say how to go on")
    check(shown["mend"] == f"outbox adopt {it.url} --subscription default --from-checkpoint", f"mend: {shown['mend']}")
    doctor = json.loads(it.run("doctor", it.url, "--json", status=1))
    check(any(one["code"] == "foreign" and "outbox adopt" in one["mend"] for one in doctor["findings"]), f"doctor: {doctor}")
    return shlex.split(shown["mend"])[1:]


def restored(way, state):
    with world(build=BUILD) as it:
        relay, copy = begin(it)
        go_on(it, copy, WAYS[way])
        if state == "paused":
            it.run("pause", it.url, "default")
            wait_for(lambda: status(it)["state"] == "paused", 10, "the pause")
        elif state == "asleep":
            relay.send(signal.SIGSTOP)
        WAYS[way][1](it, copy)
        new = 2 * (BEFORE + AFTER)
        if state != "idle":
            write(it, new, AFTER + 5)
        if state == "asleep":
            wait_for(lambda: not status(it)["held"], 10, "the lease to run out")
            relay.send(signal.SIGCONT)
        mend = refused(it, relay)
        check(len(arrived(it)) == BEFORE + AFTER, f"{len(arrived(it))} have arrived")
        it.run(*mend, "--yes")
        if state == "idle":
            write(it, new, AFTER + 5)
        # The numbers of those that arrived after the copy was made are given out again: these are others.
        wait_for(lambda: set(ids(new, AFTER + 5)) <= set(arrived(it)), 15, "what was written after the copy was put back")
        check(len(arrived(it)) == BEFORE + 2 * AFTER + 5, f"{len(arrived(it))} have arrived")
        wait_for(lambda: status(it)["state"] == "running", 10, "status to say that it runs again")


def adopted_one_by_one():
    """Two subscriptions of one file: the adoption of one does not let the other go on."""
    with world(build=BUILD) as it:
        _, copy = begin(it)
        other = it.relay("--store-option", "retention=1h", "--subscription", "other", sink=f"file:{it.directory / 'other.jsonl'}")

        def lines():
            path = it.directory / "other.jsonl"
            return path.read_text().splitlines() if path.exists() else []
        wait_for(lambda: len(lines()) == BEFORE and is_settled(it, "other"), 15, "the other's first messages")
        go_on(it, copy, WAYS[".restore"])
        wait_for(lambda: len(lines()) == BEFORE + AFTER, 15, "the other's second messages")
        put_restore(it, copy)
        write(it, 100, 5)
        wait_for(lambda: status(it)["code"] == "foreign" and status(it, "other")["code"] == "foreign", 20, "both to refuse it")
        said = it.run("adopt", it.url, "--subscription", "default", "--from-now", "--yes")
        check("for subscription default" in said, said)
        write(it, 110, 5)
        wait_for(lambda: len(arrived(it)) == BEFORE + AFTER + 5, 15, "what was written since the adoption")
        # One more look of the one that was not adopted.
        looks = other.log().count("outbox adopt")
        wait_for(lambda: status(it, "other")["state_since_ms"] > 10000 or other.log().count("outbox adopt") > looks, 20, "a look")
        check(status(it, "other")["code"] == "foreign", f"status of the other: {status(it, 'other')}")
        check(len(lines()) == BEFORE + AFTER, f"the other sent {len(lines())}")
        it.run("adopt", it.url, "--subscription", "other", "--from-checkpoint", "--yes")
        wait_for(lambda: len(lines()) == BEFORE + AFTER + 10, 15, "the other's messages")


def standby_knows():
    """The relay that stands by saw how far the other was: it does not take over a copy of the past."""
    with world(build=BUILD) as it:
        relay, copy = begin(it)
        standby = it.relay("--store-option", "retention=1h")
        wait_for(lambda: "standby" in standby.log(), 10, "the second relay to stand by")
        go_on(it, copy, WAYS[".restore"])
        wait_for(lambda: it.database.query("SELECT position FROM outbox_checkpoint") == [(BEFORE + AFTER,)], 10, "the settle")
        # It looks at least once in 1.2 s, in which the other renews its lease four times.
        looked = it.database.query("SELECT beat FROM outbox_lease")[0][0]
        wait_for(lambda: it.database.query("SELECT beat FROM outbox_lease")[0][0] > looked + 5, 10, "some renewals")
        relay.kill()
        put_restore(it, copy)
        mend = refused(it, standby)
        check(len(arrived(it)) == BEFORE + AFTER, f"{len(arrived(it))} have arrived")
        it.run(*mend, "--yes")
        write(it, 100, 1)
        wait_for(lambda: "m100" in arrived(it), 15, "what was written after the copy was put back")


def restarted():
    """A relay that was not running cannot notice: it goes on where the copy says that it was."""
    with world(build=BUILD) as it:
        relay, copy = begin(it)
        go_on(it, copy, WAYS["cp"])
        relay.send(signal.SIGTERM)
        check(relay.wait(10) == 0, relay.log())
        put_cp(it, copy)
        write(it, 100, 5)
        it.relay("--store-option", "retention=1h")
        wait_for(lambda: set(ids(100, 5)) <= set(arrived(it)), 15, "what was written after the copy was put back")
        check(len(arrived(it)) == BEFORE + AFTER + 5, f"{len(arrived(it))} have arrived")


def until_idle_ends():
    """With --until-idle nobody waits for a person: it ends with a failure that says how to go on."""
    with world(build=BUILD) as it:
        it.receive(delay_s=0.02)
        check(it.relay("--until-idle").wait(15) == 0, "an empty outbox")
        write(it, 1, 50)
        copy = it.directory / "copy.db"
        copy_backup(it, copy)
        relay = it.relay("--until-idle", "--in-flight", "1")
        wait_for(lambda: it.database.query("SELECT position FROM outbox_checkpoint WHERE position > 5"), 15, "the first settle")
        put_restore(it, copy)
        check(relay.wait(15) == 1, relay.log())
        check("outbox adopt" in relay.log(), relay.log())


def numbers_reset():
    """The log was emptied, and its numbers begin anew below the checkpoint: nothing is passed over."""
    with world(build=BUILD) as it:
        it.receive()
        write(it, 1, 10)
        relay = it.relay()
        wait_for(lambda: it.database.query("SELECT count(*) FROM outbox_message") == [(0,)], 15, "the log to be trimmed")
        with contextlib.closing(sqlite3.connect(it.database.path, timeout=20)) as connection, connection:
            connection.execute("DELETE FROM sqlite_sequence")
        write(it, 100, 3)
        shown = failed_status(it)
        check(shown["code"] == "log_reset", f"status: {shown}")
        it.run(*shlex.split(shown["mend"])[1:], "--yes")
        wait_for(lambda: set(ids(100, 3)) <= set(arrived(it)), 15, "the messages with the old numbers")
        check(relay.process.poll() is None, relay.log())


STATES = ("running", "idle", "paused", "asleep")
SAMPLE = [("cp", "running"), ("cp", "asleep"), ("mv of a VACUUM INTO", "idle"), (".restore", "paused"), (".restore", "asleep"),
          (".dump and load", "running")]
PAIRS = [(way, state) for way in WAYS for state in STATES] if os.environ.get("OB_TEST_LENGTH") == "full" else SAMPLE

CASES = [(f"{way}, relay {state}", restored, way, state) for way, state in PAIRS] + [
    ("adopted one by one", adopted_one_by_one),
    ("a relay that stands by", standby_knows),
    ("a relay that was not running", restarted),
    ("until idle", until_idle_ends),
    ("numbers that begin anew", numbers_reset),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
