#!/usr/bin/env python3
"""Effectively once: kills the example consumer again and again while the relay delivers to it. Prints TAP.

usage: test_inbox.py BUILD_DIR
"""
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

BUILD = pathlib.Path(sys.argv[1]).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
MESSAGES = 400
KILLS_MIN, KILLS_MAX = 6, 40
DEADLINE_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Consumer:
    """The example as a process, whose output says how each message was met."""
    def __init__(self, port, database, log):
        self.log = open(log, "a+")
        self.process = subprocess.Popen([sys.executable, ROOT / "examples/consumer.py", f"127.0.0.1:{port}", database],
                                        stdout=self.log, stderr=subprocess.DEVNULL)

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait()
        self.log.close()


def words(log):
    return [line.split()[0] for line in open(log).read().splitlines() if line]


def invoices(database):
    try:
        db = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
        try:
            return [row[0] for row in db.execute("SELECT order_number FROM invoices ORDER BY order_number")]
        finally:
            db.close()
    except sqlite3.OperationalError:
        return []


def main():
    rng = random.Random(int(os.environ.get("OB_TEST_SEED", "1")))
    print("1..4")
    with tempfile.TemporaryDirectory(prefix="outbox-inbox-") as directory:
        shop, database, log = (os.path.join(directory, name) for name in ("shop.db", "billing.db", "log"))
        outbox = BUILD / "outbox"
        subprocess.run([outbox, "init", f"sqlite:{shop}", "--quiet"], check=True)
        # Every tenth message is written twice under its id: that the log takes, and the inbox tells apart.
        lines = "".join((json.dumps({"topic": "orders.placed", "id": f"order-{i}", "key": f"c{i % 40}",
                                     "payload": {"order": i, "total": 10}}) + "\n") * (2 if i % 10 == 0 else 1)
                        for i in range(MESSAGES))
        subprocess.run([outbox, "publish", f"sqlite:{shop}", "--json-lines", "--quiet"], input=lines.encode(), check=True,
                       stderr=subprocess.DEVNULL)
        port, kills, end = free_port(), 0, time.monotonic() + DEADLINE_S
        relay = subprocess.Popen([outbox, "relay", f"sqlite:{shop}", "--to", f"http://127.0.0.1:{port}/", "--probe-first", "20ms",
                                  "--probe-max", "100ms", "--retry-first", "20ms", "--retry-max", "100ms", "--in-flight", "8"],
                                 stderr=subprocess.DEVNULL)
        try:
            consumer = Consumer(port, database, log)
            while len(invoices(database)) < MESSAGES and time.monotonic() < end:
                # By arrivals and not by time, since a kill before anything arrived would show nothing.
                until = len(words(log)) + rng.randint(3, 15)
                while len(words(log)) < until and len(invoices(database)) < MESSAGES and time.monotonic() < end:
                    time.sleep(0.002)
                if kills < KILLS_MAX and len(words(log)) >= until:
                    consumer.end(signal.SIGKILL)
                    kills += 1
                    consumer = Consumer(port, database, log)
            while words(log).count("again") < MESSAGES // 10 and time.monotonic() < end:
                time.sleep(0.02)
            relay.send_signal(signal.SIGTERM)
            relay.wait(DEADLINE_S)
            consumer.end(signal.SIGTERM)
        finally:
            relay.kill()
        seen = words(log)
        done = invoices(database)
        cases = ((f"the consumer was killed at least {KILLS_MIN} times", kills >= KILLS_MIN, kills),
                 ("every order has an invoice", sorted(set(done)) == list(range(MESSAGES)), f"{len(set(done))} of {MESSAGES}"),
                 ("no order has two", len(done) == len(set(done)), f"{len(done) - len(set(done))} too many"),
                 ("what came again was recognised", seen.count("again") >= MESSAGES // 10,
                  f"{seen.count('again')} of {len(seen)} arrivals"))
        for number, (name, good, found) in enumerate(cases, 1):
            print(f"{'ok' if good else 'not ok'} {number} - {name}\n# {found}")
    return 0 if all(good for _, good, _ in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
