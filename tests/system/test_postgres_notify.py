#!/usr/bin/env python3
"""PostgreSQL: the option notify, by which outbox.publish wakes a relay that sleeps; and that it is missed behind a proxy without harm.

usage: scripts/with-server postgres pgbouncer -- test_postgres_notify.py [NAME...]     environment: OUTBOX_BUILD
"""
import os
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import pq  # noqa: E402
from commands import ErrorLines, Running, arrived, outbox, wait_until  # noqa: E402
from postgres_shop import PostgresShop  # noqa: E402
from tap import check, main  # noqa: E402

DIRECT = os.environ.get("OUTBOX_TEST_POSTGRES_DIRECT", "")
ASLEEP = ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted"
          f" AND classid = {0x6F626E74} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
QUIET = ("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'outbox' AND datname = current_database()"
         " AND state_change < clock_timestamp() - interval '3 s'")
# So that nothing but a notification can be in time: neither a look, nor a renewal, nor trimming.
LAZY = ("--lease", "1h", "--store-option", "poll-max=1m")
NOTIFY = ("--store-option", "notify=true")


def past_the_proxy(url):
    return re.sub(r"@[^/]*/", "@" + re.search(r"@([^/]*)/", DIRECT)[1] + "/", url)


def woken():
    """Two relays sleep; each is woken by the next message, and sleeps again."""
    with PostgresShop() as shop, shop.connect() as ask, tempfile.TemporaryDirectory() as directory:
        out, url = [pathlib.Path(directory) / name for name in "ab"], past_the_proxy(shop.url)
        with Running("relay", url, "--to", f"file:{out[0]}", "--subscription", "a", *LAZY, *NOTIFY), \
                Running("relay", url, "--to", f"file:{out[1]}", "--subscription", "b", *LAZY, *NOTIFY):
            wait_until(lambda: ask.value(ASLEEP) == 2, "both to sleep")
            # What follows a start, reports and trimming, must be over: each makes them look.
            wait_until(lambda: ask.value(QUIET) == 2, "both to be quiet")
            ask("BEGIN")
            ask("SET LOCAL outbox.notify = on")
            for made in ("outbox.publish('t', 'x')", "outbox.publish('t', '\\x00'::bytea)", "outbox.publish('t', '{}'::jsonb)"):
                ask("SELECT " + made)
            check(ask.value(ASLEEP) == 2, "the lock is theirs")
            ask("COMMIT")
            for path in out:
                wait_until(lambda path=path: len(arrived(path)) == 3, "the messages")


def nobody_is_notified_without_need():
    """Neither without the setting, nor while no relay sleeps: a commit that notifies waits for all others of the server."""
    with PostgresShop() as shop:
        url = past_the_proxy(shop.url)
        with pq.Connection(url) as ask, pq.Connection(url) as listener, pq.Connection(url) as sleeper:
            def published(setting):
                ask("BEGIN")
                ask(f"SET LOCAL outbox.notify = {setting}")
                ask("SELECT outbox.publish('t', 'x')")
                ask("COMMIT")
                ask("NOTIFY done")  # comes behind what was notified before
                wait_until(lambda: listener("SELECT 1") and came.extend(listener.notifications()) or "done" in came, "the end")
                return [came.pop(0) for _ in range(len(came))][:-1]
            came = []
            listener("LISTEN outbox")
            listener("LISTEN done")
            check(published("on") == [], "nobody sleeps")
            sleeper(f"SELECT pg_advisory_lock_shared({0x6F626E74}, hashtext('outbox'))")
            check(published("off") == [], "it was not asked for")
            check(published("on") == ["outbox"], "somebody sleeps")
            check(published("on") == ["outbox"], "the lock was left as it was")
            sleeper(f"SELECT pg_advisory_unlock_shared({0x6F626E74}, hashtext('outbox'))")
            check(published("on") == [], "nobody sleeps any more")


def behind_a_proxy():
    with PostgresShop() as shop, shop.connect() as ask, tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "out"
        with Running("relay", shop.url, "--to", f"file:{out}", *NOTIFY) as relay:
            errors = ErrorLines(relay.process)
            wait_until(lambda: "a proxy stands before the server" in errors.text(), "it to be said")
            for n in range(3):
                ask("SELECT outbox.publish('t', 'x')")
                wait_until(lambda n=n: len(arrived(out)) == n + 1, "a message")
            check(ask.value(ASLEEP) == 0, "it sleeps in a session that is not its own")
            check(errors.text().count("a proxy stands") == 1, errors.text())
        found = outbox("doctor", shop.url, *NOTIFY, "--json").json()["findings"]
        check([it for it in found if it["code"] == "notify_through_proxy" and it["mend"]], found)
        found = outbox("doctor", past_the_proxy(shop.url), *NOTIFY, "--json").json()["findings"]
        check(not [it for it in found if it["code"] == "notify_through_proxy"], found)


CASES = [
    ("a relay that sleeps is woken", woken),
    ("nobody is notified without need", nobody_is_notified_without_need),
    ("behind a proxy it is missed and said so", behind_a_proxy),
]

if __name__ == "__main__":
    sys.exit(main(CASES, at_once=1))
