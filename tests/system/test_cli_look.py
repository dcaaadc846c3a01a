#!/usr/bin/env python3
"""Looking: what stands where, what is stuck and why, and what is wrong with the set-up.

usage: test_cli_look.py [NAME...]     environment: OUTBOX_BUILD
"""
import json
import pathlib
import re
import shlex
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import Running, arrived, case, free_port, main, outbox, refused, wait_until  # noqa: E402


@case
def status_says_what_is_stuck_and_what_frees_it(shop):
    assert "no subscription yet" in outbox("status", shop.url).out
    shop.drain("null:")
    shop.publish("--topic", "t", "--payload", "x")
    state = shop.subscription()
    assert state["state"] == "no relay" and "outbox relay" in state["mend"] and state["pending"], state
    shop.bury(2)
    state = shop.subscription()
    assert state["dead"] == 3 and "outbox dead list" in state["mend"], state
    text = outbox("status", shop.url).out
    assert "3 given up" in text and "outbox dead list" in text
    state = outbox("status", shop.url, "--store-option", "busy-timeout=7s", "--json").json()["subscriptions"][0]
    words = shlex.split(state["mend"])
    assert words[-2:] == ["--store-option", "busy-timeout=7s"], words
    assert outbox(*words[1:]).out.count("\n") == 3
    refused(1, "there is no subscription", "status", shop.url, "--subscription", "none")


@case
def status_says_of_a_running_relay_why_it_waits(shop):
    url = f"http://127.0.0.1:{free_port()}/it's"
    shop.publish("--topic", "t", "--payload", "x")
    with Running("relay", shop.url, "--to", url, "--lease", "1s"):
        state = wait_until(lambda: (it := shop.subscription()) and it["state"] == "down" and it, "the state")
    assert state["code"] == "connect_refused" and "refused" in state["why"], state
    assert shlex.split(state["mend"]) == ["outbox", "test-sink", url], state["mend"]


@case
def show_tells_where_a_message_stands(shop):
    waiting = shop.publish("--topic", "t", "--payload", "x")[0]
    assert "log" == outbox("show", shop.url, waiting, "--json").json()["found"][0]["place"]
    dead = shop.bury(1)[0]
    places = {it["place"] for it in outbox("show", shop.url, dead, "--json").json()["found"]}
    assert "dead" in places, places
    assert "no such customer" in outbox("show", shop.url, dead).out
    refused(1, "no message with this id", "show", shop.url, "none")


@case
def tail_shows_the_latest_and_follows(shop):
    assert outbox("tail", shop.url).out == ""
    ids = [shop.publish("--topic", f"t{i % 2}", "--payload", str(i))[0] for i in range(15)]
    assert [it["id"] for it in outbox("tail", shop.url, "--count", "3", "--json-lines").lines()] == ids[-3:]
    assert [it["id"] for it in outbox("tail", shop.url, "--count", "3", "--json").json()["messages"]] == ids[-3:]
    assert outbox("tail", shop.url, "--count", "0", "--json").json() == {"messages": []}
    refused(2, "--json-lines", "tail", shop.url, "--follow", "--json")
    assert len(outbox("tail", shop.url).out.splitlines()) == 10
    assert len(outbox("tail", shop.url, "--count", "100", "--topic", "t1").out.splitlines()) == 7
    with Running("tail", shop.url, "--count", "0", "--follow", "--json-lines") as tail:
        wait_until(lambda: tail.process.poll() is None, "the start")
        time.sleep(0.3)
        new = shop.publish("--topic", "t", "--payload", "new")[0]
        assert json.loads(tail.process.stdout.readline())["id"] == new
        tail.process.kill()


def many_die(shop):
    shop.drain("null:")
    shop.sql("INSERT INTO outbox_dead (subscription, position, lane, holds_key, attempts, dead_at, code, text, tries, id, topic,"
             " created_at, payload) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1700)"
             " SELECT 'default', i, 0, 0, 1, 0, 'x', '', '[]', 'id' || i, 't', '2030-01-01T00:00:00.000Z', 'p' FROM n")


@case
def a_long_list_is_read_page_by_page(shop):
    many_die(shop)
    assert len(outbox("dead", "list", shop.url, "--json-lines").lines()) == 1700
    assert len(outbox("dead", "list", shop.url, "--json", "--limit", "1200").json()["messages"]) == 1200
    assert len(outbox("dead", "list", shop.url).out.splitlines()) == 100
    assert outbox("dead", "discard", shop.url, "--all-matching", "--yes", "--json").json()["count"] == 1700


@case
def a_list_is_whole_though_a_row_goes_away_while_it_is_printed(shop):
    many_die(shop)
    # Nobody reads on, so that the pipe is full within the first page.
    with Running("dead", "list", shop.url, "--json-lines") as list_:
        first = list_.process.stdout.readline()
        shop.sql("DELETE FROM outbox_dead WHERE position = 499")
        lines = [first, *list_.process.stdout.readlines()]
    assert json.loads(lines[-1])["id"] == "id1700" and len(lines) == 1699, (len(lines), lines[-1])


def rows(*words, **more):
    return [line.split("\t") for line in outbox(*words, "--plain", **more).out.splitlines()]


@case
def plain_is_a_line_a_row_with_tabs_between(shop):
    assert rows("status", shop.url) == rows("tail", shop.url) == rows("dead", "list", shop.url) == []
    shop.bury(1)
    long = "x" * 1000
    shop.sql("INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES ('a' || char(9) || 'b', 't', NULL, '" + long + "')")
    created, *fields = rows("tail", shop.url)[-1]
    assert created.endswith("Z") and fields == ["a\\x09b", "t", "-", "-", long], fields
    since, *fields = rows("dead", "list", shop.url)[0]
    assert since.endswith("Z") and len(fields) == 9 and fields[:2] == ["default", "dead"], fields
    assert fields[3:7] == ["t", "k0", "-", "1"] and fields[8] == "no such customer", fields
    name, state, pending, age, parked, scheduled, dead, relay, why, mend = rows("status", shop.url)[0]
    assert (name, state, parked, scheduled, dead, relay) == ("default", "no relay", "0", "0", "1", "-")
    assert int(pending) >= 1 and int(age) >= 0 and "no relay runs" in why and mend.startswith("outbox relay "), (pending, why, mend)
    assert all(len(row) == 4 and row[0] in ("ok", "note", "warn") for row in rows("doctor", shop.url))
    for words in (["status"], ["tail"], ["dead", "list"], ["doctor"]):
        refused(2, "exclude each other", *words, shop.url, "--plain", "--json")
        assert "between tabs: " in outbox(*words, "--help").out


@case
def what_others_wrote_moves_no_cursor(shop):
    shop.sql("INSERT INTO outbox_message (id, topic, partition_key, type, payload) VALUES"
             " (char(27) || '[2J', 't' || char(27) || ']0;x' || char(7), 'k' || char(155), 'a' || char(10), char(27) || 'c')")
    tail = outbox("tail", shop.url).out
    assert tail and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", tail), repr(tail)
    shop.drain("exec:printf '\\033[31mred\\033[0m\\n' >&2; exit 65")
    assert "\x1b" not in outbox("dead", "list", shop.url, "--json").out
    for words in (["dead", "list"], ["status"]):
        out = outbox(words[0], *words[1:2 if words[0] == "dead" else 1], shop.url, *words[2:]).out
        assert out and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", out), repr(out)
    shown = outbox("dead", "show", shop.url, "\x1b[2J").out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown), repr(shown)
    refused(1, "\\x1b", "dead", "show", shop.url, "\x1b[none")


@case
def test_sink_says_in_words_what_happened(shop):
    assert "accepted" in outbox("test-sink", "null:").out
    out = shop.file("out.jsonl")
    outbox("test-sink", f"file:{out}")
    line = arrived(out)[0]
    assert line["topic"] == "outbox.test" and line["type"] == "outbox.test", line
    result = outbox("test-sink", "exec:echo wrong address >&2; exit 65", "--json", status=1).json()
    assert result["outcome"] == "reject" and "wrong address" in result["text"], result
    assert "down" in outbox("test-sink", "exec:exit 69", status=5).out
    assert "person" in outbox("test-sink", "exec:exit 77", status=5).out
    assert "down" in outbox("test-sink", f"http://127.0.0.1:{free_port()}/", status=5).out
    secret = outbox("test-sink", f"http://user:hunter2@127.0.0.1:{free_port()}/?token=hunter3", status=5)
    assert "hunter" not in secret.out + secret.err
    refused(3, "must be a URL", "test-sink", "what-is-this")


@case
def test_sink_says_what_to_look_at(shop):
    with Running("receive", "--listen", "127.0.0.1:0", "--port-file", shop.file("port"), "--fail-status", "401") as receiver:
        port = wait_until(lambda: shop.file("port").exists() and shop.file("port").read_text().strip(), "the port")
        for words, code, says in ((["exec:no-such-program"], "exit_127", "no such program"),
                                  ([f"http://127.0.0.1:{free_port()}/"], "connect_refused", "nothing listens there"),
                                  (["http://no-such-host.invalid/"], "dns", "is the name right"),
                                  ([f"https://127.0.0.1:{port}/"], "tls_handshake", "http://"),
                                  ([f"http://127.0.0.1:{port}/"], "http_401", "bearer-token-file")):
            found = outbox("test-sink", *words, "--json", status=5).json()
            assert found["code"] == code and says in found["mend"], found
            assert f"Mend:   {found['mend']}" in outbox("test-sink", *words, status=5).out
        assert receiver.process.poll() is None
    assert outbox("test-sink", "null:", "--json").json()["mend"] is None


@case
def doctor_finds_what_is_wrong(shop):
    result = outbox("doctor", shop.url)
    assert "well" in result.out or "warnings" in result.out, result.out
    found = outbox("doctor", shop.url, "--to", "null:", "--json").json()
    assert found["failures"] == 0 and any(it["code"] == "descriptor_limit" for it in found["findings"]), found
    shop.sql("DROP INDEX outbox_dead_position")
    broken = outbox("doctor", shop.url, "--json", status=1).json()
    assert any(it["code"] == "index_missing" and it["mend"] for it in broken["findings"]), broken
    missing = outbox("doctor", f"sqlite:{shop.file('none.db')}", status=4)
    assert "outbox init" in missing.out
    outbox("doctor", shop.url, "--to", "nul:", status=3)


@case
def bench_measures_and_cleans_up(shop):
    directory = shop.file("bench")
    directory.mkdir()
    result = outbox("bench", "--messages", "2000", "--directory", str(directory), "--json").json()
    assert result["written_per_second"] > 0 and result["delivered_per_second"] > 0, result
    assert list(directory.iterdir()) == []
    refused(3, "no-such", "bench", "--directory", "/no-such")


if __name__ == "__main__":
    sys.exit(main())
