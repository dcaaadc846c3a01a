#!/usr/bin/env python3
"""Writers that do their worst to a database, readers that are killed and moved meanwhile, if asked the server killed too; then the
writers' own table against what the recipient received, in order: P1 to P4.

usage: torture.py [--database postgres[-VERSION]|pgbouncer] [--reader relay|reference|WRONG] [--relays N] [--relay-option WORD]...
                  [--messages N] [--seconds S] [--kill-readers S] [--kill-server S] [--writers N] [--keys N] [--large PERMILLE]
                  [--lazy PERMILLE] [--no-stranger] [--turn S] [--set NAME=VALUE]... [--patience S] [--seed N]
environment: OUTBOX_BUILD

`--reader` is the product by default, N relays to one recipient over HTTP; `reference` is lib/reading.py, and WRONG one of the readers there
that must be caught. Readers are killed every S seconds or so, some only told to end or stopped for a while; the server by an immediate
shutdown or by SIGKILL. Writers always go to the server itself. Beside the relays somebody turns the ring every S seconds and empties what
has been read, so that it goes round while the torture lasts.
"""
import argparse
import json
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "lib"))

import pq  # noqa: E402
import reading  # noqa: E402
from oracle import Oracle  # noqa: E402
from servers.pgbouncer import PgBouncer  # noqa: E402
from servers.postgres import Postgres  # noqa: E402
from world import BUILD, wait_for  # noqa: E402

LOCK_NOT_AVAILABLE = "55P03"
UNREACHABLE = 4  # the exit status of a relay that finds no server when it starts
OUTBOX = BUILD / "outbox"
RECEIVER = BUILD / "bench" / "bench-receiver"
WRITERS = BUILD / "tests" / "system" / "torture" / "torture-writers"


class PostgresGround:
    """A server of one's own, the tables of the writers, and the transaction of a stranger that is open throughout."""

    def __init__(self, version, settings, behind_proxy=False):
        self.server = Postgres(version, settings).start()
        self.front = PgBouncer(self.server).start() if behind_proxy else self.server
        self.ending = threading.Event()

    def script(self, name):
        with self.server.connect() as ask:
            ask((HERE / "torture" / name).read_text(encoding="utf-8"))

    def prepare(self, keys, stranger):
        self.script("postgres.sql")
        with self.server.connect() as ask:
            ask("INSERT INTO torture.account (key) SELECT generate_series(0, $1::int - 1)", keys)
        if stranger:
            threading.Thread(target=self.stay_open, daemon=True).start()

    def prepare_reference(self):
        self.script("reference.sql")

    def stay_open(self):
        """A transaction that has written something and does not end; begun again when the server was away."""
        while not self.ending.is_set():
            try:
                with self.server.connect() as ask:
                    ask("BEGIN; INSERT INTO torture.scrap VALUES (0)")
                    while not self.ending.wait(0.2):
                        ask("SELECT 1")
            except pq.Error:
                self.ending.wait(0.05)

    @property
    def url(self):
        return self.server.url

    @property
    def readers_url(self):
        return self.front.url

    def truth(self):
        with self.server.connect() as ask:
            return ask("SELECT key, number, nonces FROM torture.account")

    def kill(self, rng):
        (self.server.kill if rng.random() < 0.7 else self.server.crash)()
        self.server.start()

    def end(self):
        self.ending.set()
        if self.front is not self.server:
            self.front.remove()
        self.server.remove()


def ground_of(options):
    kind, _, version = options.database.partition("-")
    settings = dict(it.split("=", 1) for it in options.set)
    return PostgresGround(version or None, settings, behind_proxy=kind == "pgbouncer")


class Keeper(threading.Thread):
    """Keeps house as one more relay would, but far more often: turns the ring, and empties each partition that it may."""

    def __init__(self, ground, every_s):
        super().__init__(daemon=True)
        self.ground, self.every_s = ground, every_s
        self.emptied = 0

    def run(self):
        while not self.ground.ending.is_set():
            try:
                with self.ground.server.connect() as ask:
                    while not self.ground.ending.wait(self.every_s):
                        self.keep(ask)
            except pq.Error:
                self.ground.ending.wait(0.05)

    def keep(self, ask):
        for sql in ["SELECT outbox.turn('0', 65536)::int", *(f"SELECT outbox.empty({i}, '0')" for i in range(16))]:
            try:
                self.emptied += ask(sql)[0][0] > 0 and "empty" in sql
            except pq.Error as error:
                if error.state != LOCK_NOT_AVAILABLE:
                    raise

    def done(self):
        with self.ground.server.connect() as ask:
            return {"turns": ask("SELECT turns FROM outbox.ring")[0][0], "emptied": self.emptied}


class RelayReaders:
    """The product: relays of one subscription, which send to one recipient."""
    window = 256

    def __init__(self, ground, directory, options):
        self.ground, self.directory, self.options = ground, directory, options
        self.log, self.relays, self.stopped, self.logs = directory / "receipts", [], None, {}
        subprocess.run([str(OUTBOX), "init", ground.url, "--quiet"], check=True, stdin=subprocess.DEVNULL)
        self.keeper = Keeper(ground, options.turn) if options.turn else None
        if self.keeper:
            self.keeper.start()
        port = directory / "port"
        self.recipient = subprocess.Popen([str(RECEIVER), "--port-file", port, "--lines", self.log], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL)
        self.sink = f"http://127.0.0.1:{wait_for(lambda: port.exists() and port.read_text().strip(), 10, 'the recipient')}/"
        for _ in range(options.relays):
            self.start()

    def start(self):
        path = self.directory / f"relay-{len(self.logs)}.log"
        with open(path, "wb") as log:
            self.relays.append(subprocess.Popen(
                [str(OUTBOX), "relay", self.ground.readers_url, "--to", self.sink, "--window", str(self.window), "--lease", "1s",
                 *self.options.relay_option], stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        self.logs[self.relays[-1].pid] = path

    def disturb(self, rng):
        self.check()
        if self.stopped is not None:
            self.stopped.send_signal(signal.SIGCONT)
            self.stopped = None
        relay, how = rng.choice(self.relays), rng.random()
        if how < 0.25:
            relay.send_signal(signal.SIGSTOP)  # until the next time, which is longer than a lease
            self.stopped = relay
            return 1
        self.relays.remove(relay)
        relay.send_signal(signal.SIGTERM if how < 0.4 else signal.SIGKILL)
        relay.wait(30)
        self.start()
        return 1

    def calm(self):
        if self.stopped is not None:
            self.stopped.send_signal(signal.SIGCONT)
            self.stopped = None

    def check(self):
        for relay in list(self.relays):
            # It was started while the server was away; whoever supervises it starts it again. One that has begun must wait by itself.
            if relay.poll() == UNREACHABLE and not re.search(": (running|standby)", self.logs[relay.pid].read_text()):
                self.relays.remove(relay)
                self.start()
            elif relay.poll() is not None:
                raise RuntimeError(f"a relay ended by itself with {relay.returncode}:\n{self.words()}")

    def done(self):
        return self.keeper.done() if self.keeper else {}

    def end(self):
        self.calm()
        for process in [*self.relays, self.recipient]:
            process.kill()
            process.wait()

    def words(self):
        return "\n".join(f"-- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in list(self.logs.values())[-6:])


class ReferenceReaders:
    """One process after the other of lib/reading.py. It writes the log itself, page by page."""
    window = reading.PAGE

    def __init__(self, ground, directory, wrong):
        self.ground, self.log, self.wrong, self.process = ground, directory / "receipts", wrong, None
        self.said = open(directory / "reader.log", "wb")
        ground.prepare_reference()
        self.move()

    def move(self):
        words = [sys.executable, HERE / "lib" / "reading.py", self.ground.url, self.log, *([self.wrong] if self.wrong else [])]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said)

    def disturb(self, rng):
        """Kills the reader, or lets another take over from it; returns how many may have left something unsettled."""
        old = self.process
        self.check()
        if rng.random() < 0.3:
            old.send_signal(signal.SIGSTOP)
            self.move()
            time.sleep(rng.uniform(0, 0.3))
            old.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        old.kill()
        old.wait()
        if self.process.poll() is not None:  # it was the old one, or lost to it after the server was away
            self.move()
        return 2

    def calm(self):
        """Disturbs no more."""

    def done(self):
        return {}

    def check(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the reader ended by itself:\n{self.words()}")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.said.close()

    def words(self):
        return pathlib.Path(self.said.name).read_text(errors="replace")[-2000:]


class Follower:
    """Feeds the oracle with what is added to the log."""

    def __init__(self, path):
        self.path, self.oracle, self.at, self.rest = path, Oracle(), 0, ""

    def look(self):
        if self.path.exists():
            with open(self.path, encoding="ascii") as log:
                log.seek(self.at)
                *lines, self.rest = (self.rest + log.read()).split("\n")
                self.at = log.tell()
            for line in lines:
                self.oracle.receipt(line)
        return self.oracle.arrived()


def disturb_until(ended, options, ground, readers, rng):
    """Kills readers and the server while the writers write. Returns how often."""
    kills = {"readers": 0, "server": 0}
    due = {"readers": options.kill_readers, "server": options.kill_server}
    at = {name: time.monotonic() + every for name, every in due.items() if every}
    while not ended():
        time.sleep(0.02)
        for name in [it for it, when in at.items() if time.monotonic() >= when]:
            if name == "server":
                ground.kill(rng)
                kills[name] += 1
            else:
                kills[name] += readers.disturb(rng)
            at[name] = time.monotonic() + rng.uniform(0.3, 1.7) * due[name]
    return kills


def wait_for_arrival(readers, follower, wanted, patience_s):
    """Until as many have arrived as are in the truth, or none has for long."""
    seen, since = follower.look(), time.monotonic()
    while seen < wanted and time.monotonic() < since + patience_s:
        readers.check()
        time.sleep(0.1)
        now = follower.look()
        if now != seen:
            seen, since = now, time.monotonic()
    time.sleep(0.5)  # for what should not come any more
    follower.look()


def torture(options, directory):
    """Returns (what is broken, what was done)."""
    rng, ground, readers, writers = random.Random(options.seed), ground_of(options), None, None
    try:
        if options.reader == "relay":
            readers = RelayReaders(ground, directory, options)
        else:
            readers = ReferenceReaders(ground, directory, None if options.reader == "reference" else options.reader)
        ground.prepare(options.keys, not options.no_stranger)
        began = time.monotonic()
        writers = subprocess.Popen(
            [str(it) for it in (WRITERS, ground.url, "--messages", options.messages, "--seconds", options.seconds, "--writers",
                                options.writers, "--keys", options.keys, "--large", options.large, "--lazy", options.lazy, "--seed",
                                options.seed)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        kills = disturb_until(lambda: writers.poll() is not None, options, ground, readers, rng)
        readers.calm()
        wrote = time.monotonic() - began
        if writers.returncode != 0:
            raise RuntimeError(f"the writers ended with {writers.returncode}")
        done = json.loads(writers.stdout.read())
        truth, follower = ground.truth(), Follower(readers.log)
        committed = sum(number for _, number, _ in truth)
        wait_for_arrival(readers, follower, committed, options.patience)
        done |= {"committed": committed, "killed_readers": kills["readers"], "killed_server": kills["server"],
                 "duplicates": follower.oracle.duplicates, "writing_s": round(wrote, 1), "all_s": round(time.monotonic() - began, 1),
                 **readers.done()}
        broken = follower.oracle.judge(truth, readers.window * sum(kills.values()))
        return broken + (f"\n{readers.words()}" if broken else ""), done
    finally:
        if writers is not None and writers.poll() is None:
            writers.kill()
            writers.wait()
        if readers is not None:
            readers.end()
        ground.end()


def options_of(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="postgres")
    parser.add_argument("--reader", default="relay", choices=["relay", "reference", *reading.WRONG])
    parser.add_argument("--relays", type=int, default=2)
    parser.add_argument("--relay-option", action="append", default=[])
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--kill-readers", type=float, default=2)
    parser.add_argument("--kill-server", type=float, default=0)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--large", type=int, default=1)
    parser.add_argument("--lazy", type=int, default=500)
    parser.add_argument("--no-stranger", action="store_true")
    parser.add_argument("--turn", type=float, default=0.5)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--patience", type=float, default=60, help="seconds without a receipt after which the rest is lost")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(words)


def main():
    with tempfile.TemporaryDirectory(prefix="outbox-torture-") as directory:
        broken, done = torture(options_of(sys.argv[1:]), pathlib.Path(directory))
    print(json.dumps(done))
    print(broken or "nothing lost, nothing that was not committed, every key in order")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
