#!/usr/bin/env python3
"""PostgreSQL that is not where a relay left it, in the ways in which nobody tells the relay: a copy of the data put back, a dump loaded
elsewhere, a proxy that leads to another server. P1 to P4 from the writers' and the recipient's own logs.

usage: test_postgres_moves.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import json
import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid

os.environ.setdefault("OUTBOX_TEST_DATABASE", "postgres")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from proxy import Proxy  # noqa: E402
from servers.pgbouncer import PgBouncer  # noqa: E402
from servers.postgres import Postgres, debian  # noqa: E402
from tap import check, main  # noqa: E402
from world import WINDOW, flowing, wait_for  # noqa: E402

LONG = os.environ.get("OB_TEST_LENGTH") == "full"
# What it would do by itself after a quarter of a minute.
IMPATIENT = {"server_login_retry": 1, "server_connect_timeout": 2}


# --- Behind a proxy.

def crash_behind_proxy(count):
    """The proxy keeps the relay's connection while the server dies and comes back: each call finds out by itself."""
    with flowing(server=Postgres().start()) as it, PgBouncer(it.database.server, IMPATIENT) as front:
        relay = it.relay("--settle-every", "20ms", "--store-option", "timeout=2s", url=front.start().url_of(it.database.name))
        it.arrives()
        for number in range(count):
            (it.database.server.crash if number % 2 else it.database.server.kill)()
            it.database.server.start()
            it.arrives()
        it.finish_with_losses(relay, count)
        return f"{len(it.writers.committed)} committed"


def failover_behind_proxy(seed):
    """The proxy leads to the standby from one moment to the next; that one lacks what the primary had last."""
    rng = random.Random(seed)
    primary = Postgres().start()
    with flowing(server=primary, flow=False) as it, Proxy(primary.port) as line, \
            primary.standby(port=line.port).start() as standby, PgBouncer(primary, IMPATIENT) as front:
        with primary.connect() as ask:
            wait_for(lambda: ask.value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"), 20, "the standby")
        it.database.way = front.start()
        it.write(pause_s=0.002, seed=seed)
        relay = it.relay("--settle-every", "20ms", "--store-option", "timeout=2s")
        it.arrives(100)
        line.hold()  # the standby falls behind
        before = len(it.recipient.receipts)
        it.arrives(60)
        time.sleep(rng.uniform(0, 0.2))
        line.down()
        with standby.connect() as ask:
            check(ask.value("SELECT pg_promote(true, 30)"), "the standby was not promoted")
        it.database.server = standby
        told = it.database.query("SELECT beat FROM outbox.checkpoint")
        # Both can be written now, as when nobody fences the old one; only the proxy decides.
        front.postgres = standby
        front.command()
        front.signal(signal.SIGHUP)
        wait_for(lambda: it.database.query("SELECT beat FROM outbox.checkpoint") != told, 20, "the relay to settle in the standby")
        late = len(it.recipient.receipts) - before
        it.arrives(100)
        primary.kill()
        # The standby has not heard that these arrived.
        gone, phantoms = it.finish_with_losses(relay, 2 + late // WINDOW)
        it.database.server = primary
        check(gone, "nothing was lost in the failover, so nothing was tried")
        return f"{len(gone)} committed ones are gone, {len(phantoms)} of them were sent"


# --- A copy of the data.

def data_put_back():
    """The files of yesterday under the running relay: the same server by all that it says of itself, on the same timeline, which gives
    out once more what it had given out. What it has is sent, with the same ids."""
    server = Postgres().start()
    with flowing(0.002, server=server) as it:
        relay = it.relay("--settle-every", "20ms")
        it.arrives(100)
        server.stop()
        backup = server.directory / "backup"
        shutil.copytree(server.data, backup, copy_function=shutil.copy2)
        server.start()
        it.arrives(200)
        server.kill()
        shutil.rmtree(server.data)
        backup.rename(server.data)
        own(server)
        server.start()
        it.arrives(200)
        gone, phantoms = it.finish_with_losses(relay, 3)
        check(phantoms, "nothing was sent between the copy and its return, so nothing was tried")
        return f"{len(gone)} committed ones are gone, {len(phantoms)} of them were sent"


def own(server):
    """What was copied belongs to who copied it."""
    for path in [server.data, *server.data.rglob("*")]:
        os.chown(path, server.user.pw_uid, server.user.pw_gid)


def dumped(it):
    """Into a server of its own, which is young: its transaction ids are below those of the dump."""
    other = Postgres().start()
    with other.connect() as ask:
        ask(f"CREATE DATABASE {it.database.name}")
    load(it.database.server.url_of(it.database.name), other.url_of(it.database.name))
    return other, it.database.name


def dumped_into_old(it):
    """The same into one that is old: its transaction ids are above."""
    other = Postgres().start()
    with other.connect() as ask:
        ask(f"CREATE DATABASE {it.database.name}")
        ask("DO $$ BEGIN FOR i IN 1..30000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
    load(it.database.server.url_of(it.database.name), other.url_of(it.database.name))
    return other, it.database.name


def load(source, target):
    programs = debian(None)
    text = subprocess.run([programs / "pg_dump", "--no-owner", "--no-privileges", "-d", source], check=True, capture_output=True, timeout=60).stdout
    subprocess.run([programs / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", target], input=text, check=True, stdout=subprocess.DEVNULL,
                   timeout=60)


def cloned(it):
    """Another database of the same server, made from this one."""
    with it.database.server.connect() as ask:
        ask(f"CREATE DATABASE staging TEMPLATE {it.database.name}")
    return it.database.server, "staging"


def insert(it, numbers):
    """Messages of an application that goes on with the copy."""
    for number in numbers:
        name = str(uuid.uuid4())
        it.database.query("INSERT INTO outbox.message (id, topic, partition_key, payload) VALUES ($1, 'orders', 'late', $2)", name,
                          json.dumps({"key": "late", "number": number}))
        it.writers.committed.append((name, "late", number))


def copied(copy, way):
    """A copy is refused with the command that goes on, and that command goes on where it says."""
    original = Postgres().start()
    with flowing(server=original) as it, contextlib.ExitStack() as stack:
        relay = it.relay("--settle-every", "20ms")
        it.arrives(200)
        relay.end()
        wait_for(lambda: len(it.writers.committed) > len({receipt.id for receipt in it.recipient.accepted()}) + 100, 20,
                 "messages that are not sent yet")
        it.writers.stop()
        server, name = copy(it)
        if server is not original:
            stack.callback(server.remove)
        it.database.server = it.database.way = server
        it.database.name = name
        stack.callback(setattr, it.database, "server", original)
        before = list(it.recipient.accepted())
        unsent = {message for message, _, _ in it.writers.committed} - {receipt.id for receipt in before}
        insert(it, [1, 2])
        relay = it.relay("--settle-every", "20ms")
        shown = refused(it, relay)
        check(len(it.recipient.accepted()) == len(before), "it sent messages")
        words = shlex.split(shown["mend"])[1:]
        check("--from-checkpoint" in words, f"{shown['mend']!r} is no command that goes on")
        it.run(*[way if word == "--from-checkpoint" else word for word in words], "--yes")
        insert(it, [3, 4])
        if way == "--from-now":
            it.writers.committed = [message for message in it.writers.committed if message[0] not in unsent and message[2] > 2]
            wait_for(it.all_arrived, 30, "what was written afterwards")
        else:
            wait_for(it.all_arrived, 30, "all that was committed to arrive")
        relay.end()
        after = [receipt.id for receipt in it.recipient.accepted()[len(before):]]
        again = len(after) - len(unsent) - 4
        if way == "--from-now":
            check(len(after) == 2, f"{len(after)} arrived of 2 that were written afterwards")
            return ""
        it.check_promises(crashes=len(before) // WINDOW + 1)
        check(again >= len(before) if way == "--from-beginning" else again < len(before) / 2, f"{again} of {len(before)} arrived again")
        return f"{len(unsent)} were not sent before, {again} of {len(before)} arrived again"


def refused(it, relay):
    """What must hold of a relay that waits for a person; returns the status."""
    def look():
        shown = it.status()
        return shown if shown["state"] == "store_failed" else None
    shown = wait_for(look, 20, "status to say that the relay refuses the database")
    check(shown["code"] == "foreign" and shown["text"], f"status: {shown}")
    check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
    wait_for(lambda: "outbox adopt" in relay.log(), 5, "the relay to say how to go on")
    return shown


COPIES = {"a dump": dumped, "a dump in an older server": dumped_into_old, "a database made from this one": cloned}
CASES = [
    ("crashes behind a proxy", crash_behind_proxy, 20 if LONG else 4),
    *((f"failover behind a proxy, seed {seed}", failover_behind_proxy, seed) for seed in range(10 if LONG else 1)),
    ("the data of yesterday", data_put_back),
    *((f"{name}, adopted {way}", copied, copy, way) for name, copy in COPIES.items()
      for way in ("--from-checkpoint", "--from-beginning", "--from-now") if LONG or way == "--from-checkpoint" or copy is dumped),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
