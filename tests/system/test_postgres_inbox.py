#!/usr/bin/env python3
"""Effectively once on PostgreSQL: several consumers with the plain SQL of docs/inbox.md handle the same messages at once, and are killed.

usage: scripts/with-server postgres -- test_postgres_inbox.py
"""
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import pq  # noqa: E402
from postgres_shop import PostgresShop, url_of  # noqa: E402
from tap import check, main  # noqa: E402

MESSAGES, CONSUMERS, KILLS, KILLS_MIN = 1000, 3, 20, 5
DEADLINE_S = 60
TABLES = """
CREATE TABLE outbox_inbox (consumer text NOT NULL, id text NOT NULL, handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                           PRIMARY KEY (consumer, id));
CREATE TABLE invoices (order_id text NOT NULL)"""


def consume(url):
    """Takes every message twice, in an order of its own; says so when it is through."""
    ids = [str(n) for n in range(MESSAGES)] * 2
    random.shuffle(ids)
    with pq.Connection(url) as connection:
        for message in ids:
            connection("BEGIN")
            if connection("INSERT INTO outbox_inbox (consumer, id) VALUES ('billing', $1) ON CONFLICT DO NOTHING RETURNING id", message):
                connection("INSERT INTO invoices (order_id) VALUES ($1)", message)
            connection("COMMIT")
    print("through")


def start(shop):
    return subprocess.Popen([sys.executable, __file__, "--consume", url_of(shop.name)], stdout=subprocess.PIPE, text=True)


def each_has_its_effect_once():
    rng = random.Random(int(os.environ.get("OB_TEST_SEED", "1")))
    kills, until = 0, time.monotonic() + DEADLINE_S
    with PostgresShop(None) as shop, shop.connect() as ask:
        ask(TABLES)
        running = [start(shop) for _ in range(CONSUMERS)]
        while running:
            check(time.monotonic() < until, f"not done in time, after {kills} kills")
            victim = rng.choice(running)
            before = ask.value("SELECT count(*) FROM invoices")
            # A kill in the middle of work: some was done since the last one.
            while kills < KILLS and victim.poll() is None and time.monotonic() < until \
                    and ask.value("SELECT count(*) FROM invoices") < before + MESSAGES // (4 * KILLS):
                time.sleep(0.001)
            if kills < KILLS and victim.poll() is None:
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                kills += 1
                running.remove(victim)
                running.append(start(shop))
            elif victim.wait(DEADLINE_S) == 0:
                running.remove(victim)
                check(victim.stdout.read() == "through\n", "a consumer ended early")
            else:
                raise AssertionError("a consumer failed")
        check(kills >= KILLS_MIN, f"only {kills} kills")
        rows = ask("SELECT count(*), count(DISTINCT order_id) FROM invoices")
        check(rows == [(MESSAGES, MESSAGES)], f"invoices and orders: {rows}")
    return f"{kills} kills"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--consume"]:
        consume(sys.argv[2])
    else:
        sys.exit(main([("each message has its effect once", each_has_its_effect_once)]))
