#!/usr/bin/env python3
"""What a hostile user found once, kept found: tiny quotas, programs that break, things done to the file at the wrong time.

usage: test_hostile.py [NAME...]     environment: OUTBOX_BUILD
"""
import json
import pathlib
import sqlite3
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from tap import check, main  # noqa: E402
from world import BUILD, wait_for, world  # noqa: E402


def fill(it, count, keys=7):
    """Messages m0, m1, ... that are committed before any relay runs."""
    connection = sqlite3.connect(it.database.path, timeout=20)
    for number in range(count):
        key = f"k{number % keys}"
        connection.execute("INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES (?, 'orders', ?, ?)",
                           (f"m{number}", key, json.dumps({"key": key, "number": number})))
    connection.commit()
    connection.close()


def until_idle_past_a_full_quota():
    """Reading stops while a quota is full; --until-idle reads on after it, and does not take the stop for the end."""
    with world(build=BUILD) as it:
        until, poison = time.monotonic() + 4, ("k1", "k2", "k9", "k11")
        it.receive(decide=lambda _, key, number: 500 if key in poison and time.monotonic() < until else 200)
        fill(it, 400, keys=16)
        relay = it.relay("--until-idle", "--retry-first", "100ms", "--retry-max", "400ms", "--park-after", "50ms",
                         "--parked-keys-max", "1")
        check(relay.wait(25) == 0, relay.log())
        arrived = {receipt.id for receipt in it.recipient.accepted()}
        check(len(arrived) + len(it.dead_ids()) == 400, f"it ended when {len(arrived)} of 400 had arrived")


def until_idle_with_all_parked():
    """A program that answers nonsense: its messages are parked all at once, and --until-idle waits for their next try."""
    with world(build=BUILD) as it:
        fill(it, 20)
        relays = [it.relay("--until-idle", "--retry-first", "100ms", "--sink-option", "mode=lines", "--subscription",
                           f"s{number}", sink="exec:yes") for number in range(5)]
        time.sleep(4)
        ended = [relay.log() for relay in relays if relay.process.poll() is not None]
        check(not ended, f"{len(ended)} of {len(relays)} ended with messages that wait:\n{''.join(ended)}")


def lock_beyond_the_lease():
    """Another program holds the write lock for longer than the lease: the relay says that it sends nothing, and why."""
    with world(build=BUILD) as it:
        it.receive()
        fill(it, 10)
        relay = it.relay()
        wait_for(lambda: len(it.recipient.accepted()) == 10, 10, "the first messages")
        holder = sqlite3.connect(it.database.path, timeout=20, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        wait_for(lambda: "lease_over" in relay.log() or "busy" in relay.log(), 6, "the relay to say that it is held up")
        check("lease_over" not in relay.log() or "nothing is sent" in relay.log(), "it does not say that nothing is sent")
        holder.execute("INSERT INTO outbox_message (id, topic, payload) VALUES ('late', 'orders', ?)",
                       (json.dumps({"key": "", "number": 99}),))
        holder.execute("COMMIT")
        holder.close()
        wait_for(lambda: any(receipt.id == "late" for receipt in it.recipient.accepted()), 10, "the message of that time")
        check(len(it.recipient.accepted()) == 11, "messages arrived twice")


def status_names_the_parked():
    """Whatever waits for a retry is told of by `status`, with the command that shows why (P8)."""
    with world(build=BUILD) as it:
        it.receive(decide=lambda _, key, number: 500 if key == "k1" else 200)
        fill(it, 14)
        it.relay("--park-after", "50ms")
        wait_for(lambda: it.database.query("SELECT 1 FROM outbox_parked"), 10, "a parked message")
        shown = json.loads(it.run("status", it.url, "--json"))["subscriptions"][0]
        check("next try" in shown["why"], f"why: {shown['why']}")
        check("--place parked" in shown["mend"], f"mend: {shown['mend']}")
        listed = it.run("dead", "list", it.url, "--place", "parked")
        check("http_500" in listed, f"dead list: {listed}")


def options_speak_of_options():
    """A wrong pair of options is told in the words of the options."""
    with world(build=BUILD) as it:
        done = it.relay("--retry-first", "10m", "--retry-max", "1s", sink="null:")
        check(done.wait(5) == 3, done.log())
        check("retry-max is shorter than retry-first" in done.log(), done.log())


def scheduled_full():
    """When no more may wait for their time, `status` names the list of those that do."""
    with world(build=BUILD) as it:
        it.receive()
        for number in range(3):
            it.run("publish", it.url, "--topic", "orders", "--payload", json.dumps({"key": "", "number": number}),
                   "--deliver-after", "1h")
        it.relay("--scheduled-max", "1")
        shown = wait_for(lambda: [one for one in json.loads(it.run("status", it.url, "--json"))["subscriptions"]
                                  if one["state"] == "full"], 10, "status to say that a quota is full")[0]
        check("--place scheduled" in shown["mend"], f"mend: {shown['mend']}")


def file_sink_spares_databases():
    """Lines are not written behind a database, where SQLite would overwrite what counts as delivered."""
    with world(build=BUILD) as it:
        fill(it, 3)
        relay = it.relay("--until-idle", sink=f"file:{it.database.path}")
        check(relay.wait(10) == 3, relay.log())
        check("SQLite database" in relay.log(), relay.log())


def without_descriptors():
    """A process that may open too few files says so, whatever SQLite makes of it."""
    with world(build=BUILD) as it:
        for limit in (6, 8):
            relay = it.relay("--until-idle", sink="null:", within=("prlimit", f"--nofile={limit}"))
            check(relay.wait(10) in (1, 4), relay.log())
            check("Too many open files" in relay.log(), f"{limit} descriptors: {relay.log()}")


def files_that_may_not_grow():
    """A limit on the size of files is told like any other failure, not by the end of the program."""
    with world(build=BUILD) as it:
        fill(it, 50)
        relay = it.relay("--until-idle", sink="null:", within=("prlimit", "--fsize=10240"))
        check(relay.wait(15) in (1, 4, 75), f"{relay.process.poll()}: {relay.log()}")
        check("File too large" in relay.log(), relay.log())
        check(it.relay("--until-idle", sink="null:").wait(10) == 0, "without the limit")


CASES = [
    ("until idle past a quota that was full", until_idle_past_a_full_quota),
    ("until idle with all that there is parked", until_idle_with_all_parked),
    ("a write lock that is held beyond the lease", lock_beyond_the_lease),
    ("status names what is parked", status_names_the_parked),
    ("status names the list that is full of scheduled ones", scheduled_full),
    ("wrong options in their own words", options_speak_of_options),
    ("a database is no file to print into", file_sink_spares_databases),
    ("too few descriptors", without_descriptors),
    ("files that may not grow", files_that_may_not_grow),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
