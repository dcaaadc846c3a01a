#!/usr/bin/env python3
"""The demo in a PostgreSQL database: its figures, and that it leaves the database as it was.

usage: scripts/with-server postgres -- test_postgres_demo.py [NAME...]     environment: OUTBOX_BUILD
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import OUTBOX  # noqa: E402
from postgres_shop import PostgresShop, url_of  # noqa: E402
from tap import check, main  # noqa: E402

ALL = """SELECT 'schema ' || nspname FROM pg_namespace UNION SELECT 'role ' || rolname FROM pg_roles UNION
SELECT 'relation ' || oid::regclass FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace"""


def demo(url, *words):
    """A demo that runs; its directory is made in one that goes with it."""
    return subprocess.Popen([OUTBOX, "demo", "--database", url, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def figure(text, name):
    return int(re.search(rf"^  {name} +(\d+) ", text, re.MULTILINE)[1])


def plays_and_leaves_all_as_it_was():
    with PostgresShop() as shop, shop.connect() as ask:
        ask("INSERT INTO outbox.message (topic, payload) VALUES ('orders.placed', 'mine')")
        ask("CREATE TABLE orders (mine text)")
        before = set(ask(ALL))
        play = demo(shop.url)
        text = play.communicate(timeout=60)[0]
        check(play.returncode == 0, text)
        check(figure(text, "committed") > 100 and figure(text, "rolled back") > 10, text)
        check(figure(text, "delivered") == figure(text, "committed"), text)
        check(not any(figure(text, name) for name in ("lost", "out of order", "never committed")), text)
        check("stranger" in text, text)
        check(set(ask(ALL)) == before, f"it leaves {set(ask(ALL)) ^ before}")
        check(ask("SELECT payload FROM outbox.message") == [("mine",)], "a message of the user's")
        check(ask.value("SELECT count(*) FROM outbox.subscription") == 0, "a subscription in the user's outbox")


def a_schema_of_its_name_is_left_alone():
    with PostgresShop(None) as shop, shop.connect() as ask:
        ask("CREATE SCHEMA outbox_demo CREATE TABLE outbox_demo.orders (mine text)")
        refused = demo(shop.url)
        text = refused.communicate(timeout=30)[0]
        check(refused.returncode == 3 and "DROP SCHEMA outbox_demo" in text, f"{refused.returncode}: {text}")
        check(ask.value("SELECT count(*) FROM outbox_demo.orders") == 0, "gone")


def a_signal_ends_it_and_leaves_nothing():
    with PostgresShop(None) as shop, shop.connect() as ask:
        before = set(ask(ALL))
        play = demo(shop.url)
        told = iter(play.stdout.readline, "")
        check(any("shipping is down" in line for line in told), "it has not begun")
        play.send_signal(signal.SIGINT)
        text = play.communicate(timeout=30)[0]
        check(play.returncode == 1 and "ended by a signal" in text, f"{play.returncode}: {text}")
        check(set(ask(ALL)) == before, f"it leaves {set(ask(ALL)) ^ before}")


def says_what_it_needs():
    with PostgresShop(None) as shop:
        for url, status, says in ((url_of(shop.name, shop.login()), 4, "GRANT CREATE ON DATABASE"),
                                  ("sqlite:shop.db", 3, "without --database"), (shop.url + "_none", 4, "does not exist")):
            refused = demo(url)
            text = refused.communicate(timeout=30)[0]
            check(refused.returncode == status and says in text, f"{url}: {refused.returncode}: {text}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="outbox-demo-") as directory:
        os.environ["TMPDIR"] = directory
        # One after the other, since roles belong to the whole server; the first one finds none.
        CASES = (a_signal_ends_it_and_leaves_nothing, plays_and_leaves_all_as_it_was, a_schema_of_its_name_is_left_alone,
                 says_what_it_needs)
        status = main([(case.__name__.replace("_", " "), case) for case in CASES], at_once=1)
        left = os.listdir(directory)
        sys.exit(f"left behind: {left}" if left else status)
