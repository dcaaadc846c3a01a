#!/usr/bin/env python3
"""PostgreSQL: making the outbox, by several at once, by another tool, by a user with one role; and what is only shown.

usage: scripts/with-server postgres -- test_postgres_setup.py [NAME...]     environment: OUTBOX_BUILD
"""
import pathlib
import re
import shlex
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import DEADLINE_S, OUTBOX, Running, outbox, refused, wait_until  # noqa: E402
from postgres_shop import PostgresShop, state_of, url_of  # noqa: E402
from tap import check, main  # noqa: E402

# The advisory lock of a migration: "outb", and the schema's hash.
LOCK = f"{0x6F757462}, hashtext('outbox')"


def schemas(ask):
    return ask.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'outbox'")


def several_at_once():
    with PostgresShop(None) as shop, shop.connect() as ask:
        running = [subprocess.Popen([OUTBOX, command, shop.url], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                   for command in ("init", "migrate") * 4]
        for process in running:
            _, err = process.communicate(timeout=DEADLINE_S)
            check(process.returncode == 0, err)
        check(ask("SELECT version FROM outbox.migration") == [(1,)], "it was made twice")
        check("already there" in outbox("init", shop.url).out, "init again")


def nobody_queues_behind_it():
    """A migration that cannot go on gives up after two seconds and holds nothing; the command tries again for a while."""
    with PostgresShop(None) as shop, shop.connect() as other, shop.connect() as ask:
        other("BEGIN")
        other(f"SELECT pg_advisory_xact_lock({LOCK})")
        began = time.monotonic()
        check(state_of(ask, outbox("migrate", shop.url, "--print").out) == "55P03", "it did not give up")
        check(time.monotonic() - began < DEADLINE_S, "it waited for long")
        with Running("init", shop.url) as init:
            wait_until(lambda: ask("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"), "another that waits")
            other("ROLLBACK")
            init.process.wait(DEADLINE_S)
        check(init.process.returncode == 0, init.err)


def what_is_only_shown():
    """--status, --dry-run and --print change nothing; what is printed makes the same outbox by another tool."""
    with PostgresShop(None) as shop, shop.connect() as ask:
        check("missing" in outbox("migrate", shop.url, "--status", status=6).out, "status")
        check("CREATE TABLE outbox.message" in outbox("migrate", shop.url, "--dry-run").out, "dry run")
        printed = outbox("migrate", shop.url, "--print").out
        check(schemas(ask) == 0, "something was made")
        ask(printed)
        state = outbox("migrate", shop.url, "--status", "--json").json()["migrations"]
        check(state and all(it["applied"] for it in state), state)
        check("already there" in outbox("init", shop.url).out, "init finds it")
        made = ask.value("SELECT outbox.publish('t', 'p')")
        check("1 sent" in outbox("relay", shop.url, "--to", "null:", "--until-idle").err, "it is delivered")
        check(ask.value("SELECT id FROM outbox.message") == made, "the id that publish returned")
        with PostgresShop("--schema", "other") as another:
            check('"other".message' in outbox("migrate", another.url, "--schema", "other", "--print").out, "another schema")


def printed_for_a_database_that_is_not_there():
    """Who runs migrations by another tool need not reach the database to get the SQL."""
    printed = outbox("migrate", "postgresql://nobody@127.0.0.1:1/none", "--print").out
    check(printed.startswith("BEGIN") and printed.rstrip().endswith("COMMIT;"), printed[:200])


def one_role_is_enough():
    """A user without any right but on this schema, which an administrator made for him."""
    with PostgresShop(None) as shop, shop.connect() as ask:
        solo = shop.login()
        url = url_of(shop.name, solo)
        refused(4, f"GRANT CREATE ON DATABASE {shop.name} TO {solo}", "init", url)
        ask(f"CREATE SCHEMA outbox AUTHORIZATION {solo}")
        outbox("init", url, "--quiet")
        with shop.connect(solo) as user:
            user("SELECT outbox.publish('t', 'p', partition_key => 'k')")
        outbox("publish", url, "--topic", "t", "--payload", "x", "--quiet")
        check("2 sent" in outbox("relay", url, "--to", "null:", "--until-idle").err, "both are delivered")
        outbox("pause", url, "default")
        outbox("resume", url, "default")
        outbox("replay", url, "default", "--from-beginning")
        check("2 sent" in outbox("relay", url, "--to", "null:", "--until-idle").err, "the replay")
        found = outbox("doctor", url, "--json").json()
        check(found["failures"] == 0, found)


def what_it_says_to_do_next_is_of_its_schema():
    with PostgresShop(None) as shop:
        for words in (["--schema", "first"], ["--store-option", "schema=second"]):
            said = outbox("init", shop.url, *words).out
            schema = words[1].split("=")[-1]
            insert, relay = re.search(r"^  (INSERT .*?;)$.*^  outbox (relay .*?)$", said, re.DOTALL | re.MULTILINE).groups()
            with shop.connect() as ask:
                ask(insert)
            words = shlex.split(relay)
            words[words.index("--to") + 1] = "null:"
            check("1 sent" in outbox(*words, "--until-idle").err, (schema, relay))


def a_password_in_the_url_is_not_shown():
    with PostgresShop(None) as shop:
        url = url_of(shop.name, "postgres:hush")
        shown = [outbox("init", url), outbox("status", url)]
        outbox("relay", url, "--to", "null:", "--until-idle")
        outbox("publish", url, "--topic", "t", "--payload", "x", "--quiet")
        shown += [outbox("status", url), outbox("status", url, "--json"), outbox("status", url, "--plain"),
                  outbox("adopt", url, "--from-now", "--no-input", status=2), outbox("adopt", url, "--from-now", "--yes")]
        for it in shown:
            check("postgres:***@" in it.out + it.err and "hush" not in it.out + it.err, it.out + it.err)


def a_subscription_from_now_or_from_the_beginning():
    """A new one begins where it is told; of one that is there it changes nothing. What was rolled back costs no second of waiting."""
    with PostgresShop() as shop, shop.connect() as ask, shop.connect() as other:
        def sent(name, *words):
            said = outbox("relay", shop.url, "--to", "null:", "--until-idle", "--subscription", name, *words).err
            return int(re.search(r"(\d+) sent", said)[1])
        other("BEGIN")
        other("SELECT outbox.publish('t', 'in progress')")
        ask("SELECT outbox.publish('t', 'before')")
        check(sent("late", "--from-now") == 0, "what was there before")
        ask("SELECT outbox.publish('t', 'behind')")
        other("COMMIT")
        check(sent("late", "--from-now") == 2, "what is committed from now on")
        check(sent("early") == 3, "all of it")
        check(sent("early", "--from-now") == 0 and sent("late") == 0, "they are where they were")
        ask("SELECT nextval('outbox.message_seq_seq') FROM generate_series(1, 200000)")
        began = time.monotonic()
        check(sent("late") == 0, "there is nothing")
        check(time.monotonic() - began < 0.9, "it waited to tell what it has read past")


CASES = [
    ("several at once make one outbox", several_at_once),
    ("nobody queues behind a migration that waits", nobody_queues_behind_it),
    ("what is only shown", what_is_only_shown),
    ("printed without a database", printed_for_a_database_that_is_not_there),
    ("one role is enough", one_role_is_enough),
    ("what it says to do next is of its schema", what_it_says_to_do_next_is_of_its_schema),
    ("a password in the URL is not shown", a_password_in_the_url_is_not_shown),
    ("a subscription from now or from the beginning", a_subscription_from_now_or_from_the_beginning),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
