#!/usr/bin/env python3
"""Disks that fill and files that may not be written, under a real relay: each is told in one clear line, nothing is lost, and the relay goes
on by itself once it is mended, without a duplicate where the outcome of each call was known.

usage: test_disk.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from disk import empty, fill, small_disk  # noqa: E402
from tap import Skip, check, main  # noqa: E402
from world import BUILD, wait_for, world  # noqa: E402

def move(it, disk, journal):
    """The world's database, on that disk."""
    it.database.path = disk / "shop.db"
    with contextlib.closing(sqlite3.connect(it.database.path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
    it.run("init", it.url)


def write(it, first, count):
    with contextlib.closing(sqlite3.connect(it.database.path, timeout=20)) as connection, connection:
        connection.executemany(
            "INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES (?, 'orders', ?, ?)",
            [(f"m{number}", f"k{number % 5}", json.dumps({"key": f"k{number % 5}", "number": number}))
             for number in range(first, first + count)])


def arrived(it):
    return [receipt.id for receipt in it.recipient.accepted()]


def ids(first, count):
    return {f"m{number}" for number in range(first, first + count)}


def lines(relay, word):
    return [line for line in relay.log().splitlines() if word in line]


def full_while_settling(journal):
    with world(build=BUILD) as it, small_disk() as disk:
        move(it, disk, journal)
        open_gate = []
        it.receive(decide=lambda _, key, number: 200 if number <= 20 or open_gate else 500)
        write(it, 1, 200)
        relay = it.relay("--park-after", "50ms", lease="2s")
        wait_for(lambda: ids(1, 20) <= set(arrived(it)), 15, "the first messages")
        fill(disk)
        wait_for(lambda: lines(relay, "is full"), 15, "the relay to say that the disk is full")
        # Beyond the lease, and beyond some tries.
        wait_for(lambda: not it.status()["held"], 15, "the lease to run out")
        check("cannot write into this database" in it.status()["why"], f"why: {it.status()['why']}")
        check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
        check(len(lines(relay, "is full")) <= 6, f"it says so again and again:\n{relay.log()}")
        open_gate.append(True)
        empty(disk)
        wait_for(lambda: ids(1, 200) <= set(arrived(it)), 30, "all to arrive once there is room")
        check(len(arrived(it)) == 200, f"{len(arrived(it))} arrived, of 200")


def full_at_the_start():
    with world(build=BUILD) as it, small_disk() as disk:
        move(it, disk, "wal")
        it.receive()
        check(it.relay("--until-idle").wait(10) == 0, "an empty outbox")
        write(it, 1, 20)
        fill(disk)
        relay = it.relay("--until-idle")
        check(relay.wait(20) in (1, 75), relay.log())
        check(len(lines(relay, "is full: free some space")) == 1, f"not one line:\n{relay.log()}")
        check(not arrived(it), "sent without a lease")
        relay = it.relay()
        empty(disk)
        wait_for(lambda: ids(1, 20) <= set(arrived(it)), 20, "all to arrive once there is room")
        check(len(arrived(it)) == 20, f"{len(arrived(it))} arrived, of 20")


def full_while_migrating():
    """However much room there is: the tables are there or not, and the second try makes them."""
    with world(build=BUILD) as it:
        it.receive()
        for kib in (0, 8, 24, 40, 64, 100, 140):
            with small_disk() as disk:
                it.database.path = disk / "shop.db"
                fill(disk, leave=kib * 1024)
                done = subprocess.run([str(it.program), "init", it.url], capture_output=True, text=True, timeout=30, check=False)
                told = done.stderr.splitlines()
                check(done.returncode == 0 or (len(told) == 1 and "is full: free some space" in told[0]), f"{kib} KiB: {told}")
                empty(disk)
                it.run("init", it.url)
                it.run("publish", it.url, "--topic", "t", "--payload", "{}")
                check(it.relay("--until-idle", sink="null:").wait(10) == 0, f"after {kib} KiB: {it.relays[-1].log()}")


def may_not_be_written(journal, *suffixes):
    """chattr +i: no user may write it, not even by a descriptor that is open."""
    with world(build=BUILD, journal=journal) as it:
        it.receive()
        write(it, 1, 5)
        relay = it.relay()
        wait_for(lambda: ids(1, 5) <= set(arrived(it)), 15, "the first messages")
        wait_for(lambda: not it.status()["pending"], 15, "their settle")
        write(it, 6, 5)
        paths = [f"{it.database.path}{suffix}" for suffix in suffixes]
        if not shutil.which("chattr") or subprocess.run(["chattr", "+i", *paths], capture_output=True, check=False).returncode != 0:
            raise Skip("this file system has no immutable files")
        try:
            wait_for(lambda: lines(relay, "store_failed: denied") or lines(relay, "store_failed: unreachable"), 15,
                     "the relay to say that it cannot write")
            check(len(lines(relay, "warn")) <= 6, f"it says so again and again:\n{relay.log()}")
        finally:
            subprocess.run(["chattr", "-i", *paths], check=True)
        wait_for(lambda: it.status()["held"], 20, "the relay to go on")
        write(it, 11, 5)
        wait_for(lambda: ids(1, 15) <= set(arrived(it)), 20, "all to arrive once it may be written")
        check(relay.process.poll() is None, relay.log())
        check(len(arrived(it)) <= 15 + 5, f"{len(arrived(it))} arrived, where one settle of 5 has an unknown outcome")


def shared_memory_is_cut():
    """SQLite maps the -shm: who uses what is not there, or may not be written, is killed by the system. That must not be silent."""
    with world(build=BUILD, journal="wal") as it:
        it.receive()
        write(it, 1, 5)
        relay = it.relay()
        wait_for(lambda: ids(1, 5) <= set(arrived(it)), 15, "the first messages")
        os.truncate(f"{it.database.path}-shm", 0)
        check(relay.wait(15) == -signal.SIGBUS, relay.log())
        check(len(lines(relay, "the -shm beside an SQLite database")) == 1, f"not one line:\n{relay.log()}")
        write(it, 6, 5)
        it.relay()
        wait_for(lambda: ids(1, 10) <= set(arrived(it)), 15, "all to arrive")
        check(len(arrived(it)) <= 10 + 5, f"{len(arrived(it))} arrived, where one settle of 5 may not have been written")


CASES = [
    ("a disk that is full while the relay settles, WAL mode", full_while_settling, "wal"),
    ("a disk that is full while the relay settles, rollback mode", full_while_settling, "delete"),
    ("a disk that is full when the relay starts", full_at_the_start),
    ("a disk that is full while the tables are made", full_while_migrating),
    ("a database that may not be written for a while, WAL mode", may_not_be_written, "wal", "", "-wal"),
    ("a database that may not be written for a while, rollback mode", may_not_be_written, "delete", ""),
    ("a write-ahead log that may not be written for a while", may_not_be_written, "wal", "-wal"),
    ("shared memory that is cut short", shared_memory_is_cut),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
