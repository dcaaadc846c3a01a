#!/usr/bin/env python3
"""What happens to PostgreSQL, and to the way there, while messages are relayed: restarts, crashes, cuts at any byte, silence, failovers,
clocks, strangers' transactions, tables that are moved away. P1 to P4 from the writers' and the recipient's own logs.

usage: test_postgres.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import os
import pathlib
import random
import signal
import sys
import time

os.environ.setdefault("OUTBOX_TEST_DATABASE", "postgres")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import faketime  # noqa: E402
from proxy import COMMITTED, TO_CLIENT, TO_SERVER, Proxy  # noqa: E402
from servers.postgres import Postgres  # noqa: E402
from tap import check, main  # noqa: E402
from world import flowing, wait_for  # noqa: E402

LONG = os.environ.get("OB_TEST_LENGTH") == "full"


# --- The server goes and comes back.

def restarts(count):
    with flowing(server=Postgres().start()) as it:
        relay = it.relay()
        it.arrives()
        server = it.database.server
        ways = [server.stop, server.kill, server.crash]
        for number in range(count):
            ways[number % 3]()
            time.sleep(0.2 * (number % 2))
            server.start()
            it.arrives()
            check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
        return it.finish(relay, count)


def away_at_the_start():
    """A relay that finds no server says so and ends, with the status that tells a supervisor to start it again."""
    with flowing(server=Postgres().start()) as it:
        it.writers.stop()
        it.database.server.stop()
        relay = it.relay()
        check(relay.wait(15) == 4, relay.log())
        check("refused" in relay.log(), relay.log())
        it.database.server.start()
        return it.finish(it.relay(), 0)


# --- The connection breaks.

def through(proxy, it):
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/{it.database.name}"


def commit_unknown(how):
    """The answer to the relay's nth COMMIT is lost with its connection, for one n after the other: what it wrote may stand or not."""
    with flowing(pause_s=0.002) as it, Proxy(it.database.server.port) as proxy:
        relay = it.relay("--settle-every", "20ms", "--store-option", "timeout=1s", url=through(proxy, it))
        it.arrives()
        rounds = range(1, 41 if LONG else 9)
        for number in rounds:
            fault = proxy.fault(TO_CLIENT, how, match=COMMITTED, nth=number)
            fault.wait(20)
            it.arrives()
        return it.finish(relay, len(rounds))


def cut_anywhere(way, seed):
    """After any number of bytes, in the middle of a message of the protocol or between two."""
    rng = random.Random(seed)
    with flowing(pause_s=0.002) as it, Proxy(it.database.server.port) as proxy:
        relay = it.relay("--settle-every", "20ms", "--store-option", "timeout=1s", url=through(proxy, it))
        it.arrives()
        count = 100 if LONG else 12
        for _ in range(count):
            proxy.reset() if rng.random() < 0.3 else None
            fault = proxy.fault(way, rng.choice(["reset", "close"]), after=int(rng.choice([10, 100, 1000, 20000]) * rng.uniform(0.5, 1.5)))
            fault.wait(20)
            it.arrives(5)
        return it.finish(relay, 2 * count)


def silence():
    """The server says nothing any more, and nobody closes anything: found by the time-out, and by the lease's own end before that."""
    with flowing() as it, Proxy(it.database.server.port) as proxy:
        relay = it.relay("--store-option", "timeout=2s", url=through(proxy, it))
        it.arrives()
        fault = proxy.fault(TO_CLIENT, "hole", after=0)
        fault.wait(10)
        it.arrives(deadline_s=15)
        proxy.hold()
        time.sleep(4)  # longer than the lease and the time-out: nothing may be sent meanwhile that was not fetched
        before = len(it.recipient.accepted())
        time.sleep(1)
        check(len(it.recipient.accepted()) - before == 0, "it sends without a lease")
        proxy.heal()
        return it.finish(relay, 3)


def vanished_within():
    """A relay's machine goes away between two messages of a transaction, and nobody closes anything: what it has locked is free again soon."""
    with flowing() as it, Proxy(it.database.server.port) as proxy:
        first = it.relay("--sink-option", "source=/first", url=through(proxy, it))
        it.arrives()
        it.recipient.decide = lambda message_id, key, number: 422 if number % 5 == 0 else 200
        proxy.fault(TO_SERVER, "hole", match=b"SET LOCAL enable_hashjoin").wait(20)  # how the second message of a settle begins
        first.send(signal.SIGSTOP)
        began = time.monotonic()
        second = it.relay("--sink-option", "source=/second")
        wait_for(lambda: it.recipient.accepted()[-1].source == "/second", 12, "the second relay to take over")
        took = time.monotonic() - began
        first.kill()
        return f"{it.finish(second, 1)}, taken over after {took:.1f} s"


def slow_line():
    """A long way to the server: slower, and nothing else."""
    with flowing(pause_s=0.02) as it, Proxy(it.database.server.port) as proxy:
        proxy.delay_s = 0.03
        relay = it.relay("--lease", "3s", url=through(proxy, it))
        it.arrives(100, 30)
        proxy.delay_s, proxy.bytes_per_s = 0.0, 100_000
        it.arrives(100, 30)
        proxy.heal()
        return it.finish(relay, 0)


# --- Failover.

def hosts(it, *servers):
    return (f"postgresql://postgres@{','.join(f'127.0.0.1:{server.port}' for server in servers)}/{it.database.name}"
            "?target_session_attrs=read-write&connect_timeout=2")


def caught_up(primary, number=1):
    with primary.connect() as ask:
        wait_for(lambda: ask.value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") >= number, 20,
                 "the standby to follow")


def promote(standby):
    with standby.connect() as ask:
        check(ask.value("SELECT pg_promote(true, 30)"), "the standby was not promoted")


def synchronous_failover():
    """Nothing that was committed is lost, and nothing is sent that the new primary does not have."""
    primary = Postgres(settings={"synchronous_standby_names": ""}).start()
    with flowing(server=primary, flow=False) as it, primary.standby("other").start() as standby:
        caught_up(primary)
        with primary.connect() as ask:
            ask("ALTER SYSTEM SET synchronous_standby_names = 'other'")
            ask("SELECT pg_reload_conf()")
        it.database.way = Hosts(hosts(it, primary, standby))
        it.write()
        relay = it.relay(url=hosts(it, primary, standby))
        it.arrives(100)
        primary.kill()
        promote(standby)
        with standby.connect() as ask:
            ask("ALTER SYSTEM SET synchronous_standby_names = ''")
            ask("SELECT pg_reload_conf()")
        it.database.server = standby
        it.arrives(100, 30)
        said = it.finish(relay, 1)
        it.database.server = primary
        return said


class Hosts:
    """Stands where a server or proxy does: its URL names several."""

    def __init__(self, url):
        self.url = url

    def url_of(self, _):
        return self.url


def asynchronous_failover(seed):
    """What the standby had not got is gone, though it may have been sent. All that the new primary has arrives, in order; the numbers and
    transactions that are given out once more bring new messages, and none of them is taken for an old one."""
    rng = random.Random(seed)
    primary = Postgres().start()
    with flowing(server=primary, flow=False) as it, Proxy(primary.port) as line, primary.standby(port=line.port).start() as standby:
        caught_up(primary)
        it.database.way = Hosts(hosts(it, primary, standby))
        it.write(pause_s=0.002, seed=seed)
        relay = it.relay("--settle-every", "20ms", url=hosts(it, primary, standby))
        it.arrives(100)
        line.hold()  # the standby falls behind
        it.arrives(60)
        time.sleep(rng.uniform(0, 0.2))
        primary.kill()
        line.down()
        promote(standby)
        it.database.server = standby
        it.arrives(200, 30)
        gone, phantoms = it.finish_with_losses(relay, 1)
        it.database.server = primary
        check(gone, "nothing was lost in the failover, so nothing was tried")
        return f"{len(gone)} committed ones are gone, {len(phantoms)} of them were sent"


def read_only(make):
    """A standby, or a server that takes no writes, is refused with the reason."""
    with flowing(server=Postgres().start()) as it, contextlib.ExitStack() as stack:
        it.writers.stop()
        url = make(it, stack)
        relay = it.relay("--until-idle", url=url)
        wait_for(lambda: relay.process.poll() is not None or "read-only" in relay.log() or "standby" in relay.log(), 15,
                 "the relay to say so")
        check("read-only" in relay.log() or "standby" in relay.log(), relay.log())
        check(not it.recipient.accepted(), "it sent messages")
        return relay.log().splitlines()[-1]


def on_standby(it, stack):
    caught = stack.enter_context(it.database.server.standby().start())
    return caught.url_of(it.database.name)


def without_writes(it, _):
    with it.database.server.connect() as ask:
        ask(f"ALTER DATABASE {it.database.name} SET default_transaction_read_only = on")
    return it.url


# --- Strangers.

def long_transaction():
    """A stranger's transaction, numbered and open, holds nothing up; and the relay itself has none open while it sends."""
    with flowing() as it:
        it.recipient.delay_s = 0.2
        with it.database.server.connect(it.database.name) as stranger, it.database.server.connect(it.database.name) as look:
            stranger("BEGIN; INSERT INTO orders (what) VALUES ('stranger')")
            relay, oldest = it.relay(), 0.0
            until = time.monotonic() + 4
            while time.monotonic() < until:
                age = look.value("SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8"
                                 " FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'outbox%'", it.database.name)
                oldest = max(oldest, age)
                time.sleep(0.01)
            seen = look.value("SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'outbox%'",
                              it.database.name)
            check(seen, "the relay's connections do not name themselves")
            check(oldest < 0.2, f"the relay had a transaction open for {oldest:.2f} s while it was sending")
            it.recipient.delay_s = 0
            return it.finish(relay, 0)


def locked(statement):
    """Somebody locks what the relay needs, for longer than its lease: it waits, says so, and goes on."""
    with flowing() as it:
        relay = it.relay("--store-option", "timeout=1s")
        it.arrives()
        with it.database.server.connect(it.database.name) as stranger:
            stranger("BEGIN")
            stranger(statement)
            time.sleep(3.5)
            check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
            check("nothing is sent" in relay.log(), relay.log())
            stranger("ROLLBACK")
        it.arrives()
        return it.finish(relay, 2)


def killed_backends():
    """An administrator ends the relay's connections, or cancels its statements, again and again."""
    with flowing() as it:
        relay = it.relay("--settle-every", "20ms")
        it.arrives()
        with it.database.server.connect(it.database.name) as ask:
            for number in range(20):
                what = "pg_terminate_backend" if number % 2 else "pg_cancel_backend"
                ask(f"SELECT {what}(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'outbox%'", it.database.name)
                time.sleep(0.1)
        it.arrives()
        return it.finish(relay, 20)


def broken_connection():
    """Nobody else can have the lease's name, so the relay need not wait until its own lease runs out."""
    with flowing() as it:
        relay = it.relay("--lease", "60s")
        it.arrives()
        with it.database.server.connect(it.database.name) as ask:
            for _ in range(5):
                wait_for(lambda: ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND"
                                     " application_name LIKE 'outbox%'", it.database.name), 20, "the relay's connection")
                it.arrives()
        return it.finish(relay, 5)


def drift(away, write, back):
    """What the relay reads is altered under it: it says so and looks again, without haste, until that is undone. `write` is how an
    application that knows of it writes meanwhile: where there is nothing new, there is nothing to be read."""
    with flowing() as it:
        relay = it.relay()
        it.arrives()
        it.database.query(away)
        it.database.query(write, "00000000-0000-4000-8000-000000000000", '{"key": "late", "number": 1}')
        it.writers.committed.append(("00000000-0000-4000-8000-000000000000", "late", 1))
        wait_for(lambda: "does not exist" in relay.log() or "missing" in relay.log(), 15, "the relay to say what is missing")
        it.writers.stopping.set()  # their inserts fail, too
        time.sleep(2)
        check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
        lines = len(relay.log().splitlines())
        check(lines < 30, f"{lines} lines of log:\n{relay.log()[-2000:]}")
        it.database.query(back)
        wait_for(lambda: it.all_arrived(it.dead_ids()), 40, "all that was committed to arrive")
        relay.end()
        return f"{it.check_promises(crashes=1)} twice"


# --- Clocks.

def clocks():
    """Relays whose clocks are days apart: one works, one waits, and takes over when the first dies, not before."""
    with flowing() as it:
        first = it.relay("--sink-option", "source=/first", environment=faketime.environment(FAKETIME="-3d", FAKETIME_DONT_RESET="1"))
        it.arrives(50)
        second = it.relay("--sink-option", "source=/second", environment=faketime.environment(FAKETIME="+5h", FAKETIME_DONT_RESET="1"))
        time.sleep(2.5)
        sources = {receipt.source for receipt in it.recipient.accepted()}
        check(sources == {"/first"}, f"{sources} sent")
        first.kill()
        wait_for(lambda: it.recipient.accepted()[-1].source == "/second", 5, "the second relay to take over")
        return it.finish(second, 1)


def jumping_clock():
    """The relay's clock and the server's jump by hours, forth and back: nothing is taken over, nothing stands still."""
    server = Postgres()
    clock = server.directory / "clock"
    clock.write_text("+0")
    clock.chmod(0o644)
    jumping = faketime.environment(FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1")
    server.environment = jumping
    with flowing(server=server.start()) as it:
        relay = it.relay(environment=jumping)
        for offset in ("+1h", "-1h", "+0", "+400d", "-2h"):
            clock.write_text(offset)
            it.arrives(40, 15, f"messages with the clock at {offset}")
        return it.finish(relay, 1)


CASES = [
    ("the server restarts, crashes and is killed", restarts, 30 if LONG else 6),
    ("no server at the start", away_at_the_start),
    *((f"COMMIT's answer is lost, {how}", commit_unknown, how) for how in ("reset", "close", "hole")),
    *((f"cut after any byte {way}", cut_anywhere, way, seed) for seed, way in enumerate((TO_SERVER, TO_CLIENT))),
    ("silence", silence),
    ("a machine that vanishes within a transaction", vanished_within),
    ("a slow line", slow_line),
    ("failover, synchronous", synchronous_failover),
    *((f"failover, asynchronous, seed {seed}", asynchronous_failover, seed) for seed in range(10 if LONG else 1)),
    ("a standby is refused", read_only, on_standby),
    ("a database without writes is refused", read_only, without_writes),
    ("a stranger's long transaction", long_transaction),
    ("a locked checkpoint", locked, "LOCK TABLE outbox.checkpoint IN ACCESS EXCLUSIVE MODE"),
    ("a locked lease", locked, "SELECT * FROM outbox.lease FOR UPDATE"),
    ("a locked log", locked, "LOCK TABLE outbox.message IN ACCESS EXCLUSIVE MODE"),
    ("an administrator ends connections", killed_backends),
    ("a broken connection costs no lease", broken_connection),
    ("a schema that is moved away", drift, "ALTER SCHEMA outbox RENAME TO elsewhere",
     "INSERT INTO elsewhere.message (id, topic, partition_key, payload) VALUES ($1, 'orders', 'late', $2)", "ALTER SCHEMA elsewhere RENAME TO outbox"),
    ("a column that is renamed", drift, "ALTER TABLE outbox.message RENAME payload TO body",
     "INSERT INTO outbox.message (id, topic, partition_key, body) VALUES ($1, 'orders', 'late', $2)",
     "ALTER TABLE outbox.message RENAME body TO payload"),
    ("clocks that are days apart", clocks),
    ("clocks that jump", jumping_clock),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
