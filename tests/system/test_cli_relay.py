#!/usr/bin/env python3
"""A relay, and what a person does to its subscription from another terminal.

usage: test_cli_relay.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import json
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import (DEADLINE_S, OUTBOX, ErrorLines, Running, arrived, case, failure_line, main, outbox,  # noqa: E402
                      refused, wait_until)


@case
def relay_chooses_by_topic_and_subscription(shop):
    for topic in ("orders.placed", "orders.paid", "invoices"):
        shop.publish("--topic", topic, "--payload", topic)
    orders, rest = shop.file("orders.jsonl"), shop.file("rest.jsonl")
    shop.drain(f"file:{orders}", "--subscription", "orders", "--topic", "orders.*", "--store-option", "retention=1h")
    shop.drain(f"file:{rest}", "--subscription", "rest", "--topic", "invoices,none", "--store-option", "retention=1h")
    assert [line["topic"] for line in arrived(orders)] == ["orders.placed", "orders.paid"]
    assert [line["topic"] for line in arrived(rest)] == ["invoices"]


@case
def sigterm_drains_and_ends_well(shop):
    out = shop.file("out.jsonl")
    with Running("relay", shop.url, "--to", f"file:{out}") as relay:
        shop.publish("--topic", "t", "--payload", "x")
        wait_until(lambda: arrived(out), "the message")
        assert shop.subscription()["held"]
    assert relay.process.returncode == 0, relay.err
    assert not shop.subscription()["held"], "the lease must be given up"


@contextlib.contextmanager
def written_by_somebody(shop):
    """Somebody holds the write lock while the block runs."""
    with contextlib.closing(sqlite3.connect(shop.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def started_too_early(shop, out):
    """A relay that finds the write lock held, once it has said so, and what it says."""
    with Running("relay", shop.url, "--to", f"file:{out}", "--store-option", "busy-timeout=50ms") as relay:
        said = ErrorLines(relay.process)
        wait_until(lambda: "another connection holds the write lock" in said.text(), "the relay to say why it waits")
        yield relay.process, said


@case
def a_start_waits_for_the_write_lock(shop):
    out = shop.file("out.jsonl")
    with contextlib.ExitStack() as stack:
        with written_by_somebody(shop):
            relay, said = stack.enter_context(started_too_early(shop, out))
            # Past what a command has of patience.
            time.sleep(5.5)
            assert relay.poll() is None, said.text()
        shop.publish("--topic", "t", "--payload", "x")
        wait_until(lambda: arrived(out), "the message")
        assert said.text().count("write lock") == 1, said.text()
    assert relay.returncode == 0


@case
def sigterm_ends_a_relay_that_waits_for_the_write_lock(shop):
    with written_by_somebody(shop):
        with started_too_early(shop, shop.file("out.jsonl")) as (relay, _):
            began = time.monotonic()
        assert relay.returncode == 0
        assert time.monotonic() - began < 5, "the drain deadline was waited for"


@contextlib.contextmanager
def a_reader_that_goes_away(shop):
    """A relay whose output is read as far as the block does; then the reader is gone."""
    relay = subprocess.Popen([OUTBOX, "relay", shop.url, "--to", "stdout:"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield relay.stdout
        relay.stdout.close()
        assert relay.wait(DEADLINE_S) == 5
        line = failure_line(relay.stderr.read().decode())
        assert "stdout" in line and "nobody reads the output any more" in line, line
    finally:
        relay.kill()


@case
def a_reader_that_goes_away_ends_the_relay(shop):
    ids = [shop.publish("--topic", "t", "--key", "k", "--payload", "x" * 20000)[0] for _ in range(30)]
    with a_reader_that_goes_away(shop) as lines:
        assert json.loads(lines.readline())["id"] == ids[0]
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}")
    rest = [line["id"] for line in arrived(out)]
    assert 0 < len(rest) < 30 and rest == ids[-len(rest):], f"{len(rest)} came with the next relay"


@case
def a_reader_that_goes_away_while_all_is_quiet_ends_the_relay(shop):
    shop.publish("--topic", "t", "--payload", "x")
    with a_reader_that_goes_away(shop) as lines:
        lines.readline()
    shop.drain("null:")
    assert not shop.subscription()["held"]


@case
def an_output_that_is_closed_is_not_taken_for_another_file(shop):
    shop.publish("--topic", "t", "--payload", "x")
    done = subprocess.run(["sh", "-c", f"exec '{OUTBOX}' relay '{shop.url}' --to stdout: >&-"], stderr=subprocess.PIPE,
                          timeout=DEADLINE_S)
    assert done.returncode == 3 and "is closed" in failure_line(done.stderr.decode()), done


@case
def a_second_relay_waits_and_takes_over(shop):
    first, second = shop.file("first.jsonl"), shop.file("second.jsonl")
    with Running("relay", shop.url, "--to", f"file:{first}") as one:
        wait_until(lambda: (shop.subscription() or {}).get("held"), "the first relay's lease")
        owner = shop.subscription()["owner"]
        with Running("relay", shop.url, "--to", f"file:{second}"):
            shop.publish("--topic", "t", "--payload", "a")
            wait_until(lambda: arrived(first), "the first message")
            one.process.send_signal(signal.SIGTERM)
            one.process.wait(DEADLINE_S)
            shop.publish("--topic", "t", "--payload", "b")
            wait_until(lambda: arrived(second), "the second message")
            assert shop.subscription()["owner"] != owner
    assert [line["payload"] for line in arrived(first) + arrived(second)] == ["a", "b"]


@case
def pause_and_resume_take_effect_on_a_running_relay(shop):
    out = shop.file("out.jsonl")
    with Running("relay", shop.url, "--to", f"file:{out}"):
        shop.publish("--topic", "t", "--payload", "a")
        wait_until(lambda: arrived(out), "the first message")
        assert "paused" in outbox("pause", shop.url, "default").out
        assert "already paused" in outbox("pause", shop.url, "default").out
        # The relay says by itself that it has heard of it.
        wait_until(lambda: shop.sql("SELECT state FROM outbox_lease") == [("paused",)], "the relay's word that it is paused")
        shop.publish("--topic", "t", "--payload", "b")
        time.sleep(0.5)
        assert len(arrived(out)) == 1
        state = shop.subscription()
        assert state["state"] == "paused" and "outbox resume" in state["mend"], state
        outbox("resume", shop.url, "default")
        wait_until(lambda: len(arrived(out)) == 2, "the second message")
    refused(1, "there is no subscription", "pause", shop.url, "none")


@case
def a_change_is_heard_at_once_however_long_the_lease(shop):
    # The lease would be renewed after 180 s, which is when it was heard before.
    out = shop.file("out.jsonl")
    dead = shop.bury(3)
    with Running("relay", shop.url, "--to", f"file:{out}", "--lease", "10m"):
        def state():
            return shop.sql("SELECT state FROM outbox_lease")[0][0]

        wait_until(lambda: state() == "running", "the relay")
        outbox("pause", shop.url, "default")
        wait_until(lambda: state() == "paused", "the pause of an idle one")
        outbox("dead", "discard", shop.url, dead[0])
        outbox("dead", "retry", shop.url, dead[1])
        outbox("resume", shop.url, "default")
        wait_until(lambda: [line["id"] for line in arrived(out)] == [dead[1]], "the resume of a paused one")
        outbox("dead", "retry", shop.url, dead[2])
        wait_until(lambda: [line["id"] for line in arrived(out)] == dead[1:], "the retry on an idle one")


@case
def dead_messages_are_listed_shown_retried_and_discarded(shop):
    ids = shop.bury(4)
    text = outbox("dead", "list", shop.url).out
    assert all(it in text for it in ids) and "no such customer" in text, text
    dead = outbox("dead", "list", shop.url, "--json-lines").lines()
    assert [it["id"] for it in dead] == ids and {it["code"] for it in dead} == {"exit_65"}, dead
    assert [it["id"] for it in outbox("dead", "list", shop.url, "--json", "--key", "k2").json()["messages"]] == [ids[2]]
    assert outbox("dead", "list", shop.url, "--json", "--code", "other").json()["messages"] == []
    shown = outbox("dead", "show", shop.url, ids[0]).out
    assert "no such customer" in shown and "tries" in shown, shown
    refused(1, "no dead message", "dead", "show", shop.url, "none")
    refused(2, "which ones?", "dead", "retry", shop.url)
    refused(2, "--yes", "dead", "discard", shop.url, "--all-matching")
    refused(1, "there is no such message", "dead", "retry", shop.url, "none")
    assert outbox("dead", "discard", shop.url, "--all-matching", "--dry-run", "--json").json()["count"] == 4
    outbox("dead", "discard", shop.url, ids[0])
    assert outbox("dead", "discard", shop.url, "--all-matching", "--key", "k1", "--yes", "--json").json()["count"] == 1
    out = shop.file("out.jsonl")
    with Running("relay", shop.url, "--to", f"file:{out}"):
        outbox("dead", "retry", shop.url, ids[2])
        wait_until(lambda: [line["id"] for line in arrived(out)] == [ids[2]], "the one that is tried again")
        outbox("dead", "retry", shop.url, "--all-matching", "--yes")
        wait_until(lambda: len(arrived(out)) == 2, "the others")
    assert outbox("dead", "list", shop.url, "--json").json()["messages"] == []


@case
def a_limit_holds_for_all_subscriptions_together(shop):
    def dead():
        return outbox("dead", "list", shop.url, "--json").json()["messages"]
    for name in ("one", "two"):
        for _ in range(2):
            shop.publish("--topic", "t", "--payload", "x")
        shop.drain("exec:exit 65", "--subscription", name)
    before = len(dead())
    assert before >= 4 and {it["subscription"] for it in dead()} == {"one", "two"}
    for words in (["--dry-run"], ["--yes"]):
        assert outbox("dead", "discard", shop.url, "--all-matching", "--limit", "3", "--json", *words).json()["count"] == 3
    assert len(dead()) == before - 3


@case
def replay_sends_again_under_the_same_ids(shop):
    keep = ("--store-option", "retention=1h")
    ids = [shop.publish("--topic", "t", "--key", "k", "--payload", str(i))[0] for i in range(5)]
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}", *keep)
    assert "5 messages would be" in outbox("replay", shop.url, "default", "--from-beginning", "--dry-run").out
    assert outbox("replay", shop.url, "default", "--from", ids[3], "--json").json() == {"count": 2, "dry_run": False}
    shop.drain(f"file:{out}", *keep)
    assert [line["id"] for line in arrived(out)] == ids + ids[3:]
    with Running("relay", shop.url, "--to", f"file:{out}", *keep):
        outbox("replay", shop.url, "default", "--since", "1h")
        wait_until(lambda: len(arrived(out)) == 12, "the replay")
    assert "nothing to replay" in outbox("replay", shop.url, "default", "--since", "0").out
    refused(2, "one of --since", "replay", shop.url, "default")
    refused(2, "neither a time", "replay", shop.url, "default", "--since", "yesterday")
    refused(2, "still to come", "replay", shop.url, "default", "--since", "2999-01-01T00:00:00Z")
    refused(1, "no message in the log", "replay", shop.url, "default", "--from", "none")
    refused(1, "there is no subscription", "replay", shop.url, "none", "--from-beginning")


@case
def adopt_goes_on_where_it_is_told_to(shop):
    shop.drain("null:")
    shop.publish("--topic", "t", "--payload", "old")
    refused(2, "where to go on?", "adopt", shop.url, "--yes")
    refused(2, "--yes", "adopt", shop.url, "--from-now")
    refused(2, "where to go on?", "adopt", shop.url, "--from-now", "--from-checkpoint", "--yes")
    refused(1, "no subscription 'none'", "adopt", shop.url, "--from-now", "--subscription", "none", "--yes")
    said = outbox("adopt", shop.url, "--from-now", "--yes").out
    assert "for 1 subscription;" in said, said
    new = shop.publish("--topic", "t", "--payload", "new")
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}")
    assert [line["id"] for line in arrived(out)] == new
    outbox("adopt", shop.url, "--from-checkpoint", "--subscription", "default", "--yes")
    shop.drain(f"file:{out}")
    assert [line["id"] for line in arrived(out)] == new


if __name__ == "__main__":
    sys.exit(main())
