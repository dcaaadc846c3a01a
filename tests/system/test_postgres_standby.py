#!/usr/bin/env python3
"""PostgreSQL: the option standby-flushed, with a standby whose applications do not wait for it.

usage: test_postgres_standby.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import Running, arrived, outbox, refused, wait_until  # noqa: E402
from servers.postgres import Postgres  # noqa: E402
from tap import check, main  # noqa: E402

OPTION = ("--store-option", "standby-flushed=true")
WAITS = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'outbox'"


@contextlib.contextmanager
def a_pair():
    """A primary with an outbox, whose applications commit without waiting, and its standby."""
    with Postgres() as primary:
        primary.start()
        with primary.connect() as ask:
            ask("CREATE DATABASE shop")
            ask("ALTER DATABASE shop SET synchronous_commit = local")
        outbox("init", primary.url_of("shop"), "--quiet")
        with primary.standby() as standby:
            standby.start()
            yield primary, standby


def write(primary, payload):
    with primary.connect("shop") as app:
        app("INSERT INTO outbox.message (topic, payload) VALUES ('t', $1)", payload)


def payloads(path):
    return [it["payload"] for it in arrived(path)]


def a_server_without_one_is_refused():
    with a_pair() as (primary, standby):
        url = primary.url_of("shop")
        refused(3, "ALTER SYSTEM SET synchronous_standby_names", "relay", url, "--to", "null:", *OPTION)
        with primary.connect() as ask, tempfile.TemporaryDirectory() as directory:
            out = pathlib.Path(directory) / "out.jsonl"
            ask("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
            ask("SELECT pg_reload_conf()")
            wait_until(lambda: ask("SELECT FROM pg_stat_replication WHERE sync_state = 'quorum'"), "the standby to count")
            with Running("relay", url, "--to", f"file:{out}", *OPTION) as relay:
                write(primary, "first")
                wait_until(lambda: payloads(out) == ["first"], "the first message")
                # Nobody waits for a standby any more: nothing is delivered, and it says so.
                ask("ALTER SYSTEM RESET synchronous_standby_names")
                ask("SELECT pg_reload_conf()")
                wait_until(lambda: ask.value("SHOW synchronous_standby_names") == "", "the setting")
                write(primary, "second")
                wait_until(lambda: not ask("SELECT FROM pg_stat_activity WHERE application_name = 'outbox'"), "the relay to leave it")
                check("second" not in payloads(out), "it was delivered")
                ask("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
                ask("SELECT pg_reload_conf()")
                wait_until(lambda: "second" in payloads(out), "the second message")
            check("standby-flushed needs a standby" in relay.err, relay.err)


def nothing_is_sent_that_a_failover_loses():
    with a_pair() as (primary, standby), tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "out.jsonl"
        with primary.connect() as ask:
            ask("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
            ask("SELECT pg_reload_conf()")
            wait_until(lambda: ask("SELECT FROM pg_stat_replication WHERE sync_state = 'quorum'"), "the standby to count")
            url = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/shop"
            with Running("relay", url, "--to", f"file:{out}", *OPTION) as relay:
                write(primary, "both have it")
                wait_until(lambda: payloads(out) == ["both have it"], "the first message")
                standby.stop()
                wait_until(lambda: not ask("SELECT FROM pg_stat_replication"), "the standby to be gone")
                write(primary, "only the primary has it")  # and did not wait
                wait_until(lambda: ask(WAITS), "the relay to wait for the standby")
                check(payloads(out) == ["both have it"], "it was delivered before the standby had it")
                primary.kill()
                standby.configure(synchronous_standby_names="")
                standby.start()
                with standby.connect() as there:
                    there("SELECT pg_promote()")
                refused(3, "standby-flushed", "relay", standby.url_of("shop"), "--to", "null:", *OPTION)
                # The new primary has a standby of its own.
                with standby.standby("second") as second:
                    second.start()
                    with standby.connect() as there:
                        there("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
                        there("SELECT pg_reload_conf()")
                    write(standby, "after the failover")
                    wait_until(lambda: "after the failover" in payloads(out), "the message after the failover")
                    relay.process.terminate()
                    relay.process.wait(60)
    check(set(payloads(out) if out.exists() else []) <= {"both have it", "after the failover"}, "a phantom was sent")


CASES = [
    ("a server that waits for no standby is refused", a_server_without_one_is_refused),
    ("nothing is sent that a failover loses", nothing_is_sent_that_a_failover_loses),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
