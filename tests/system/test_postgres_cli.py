#!/usr/bin/env python3
"""PostgreSQL: writing messages with `outbox publish`.

usage: scripts/with-server postgres pgbouncer -- test_postgres_cli.py [NAME...]     environment: OUTBOX_BUILD
"""
import base64
import json
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import pq  # noqa: E402
from commands import MIB, OUTBOX, outbox, refused, wait_until  # noqa: E402
from postgres_shop import SERVER, PostgresShop, url_of  # noqa: E402
from tap import check, main  # noqa: E402

ID = "0190163d-8694-739b-aea5-966c26f8ad91"
cases = {}


def case(function):
    cases[function.__name__] = function
    return function


def in_a_shop(name):
    with PostgresShop() as shop, shop.connect() as ask:
        ask("SET timezone = 'UTC'")
        cases[name](shop, ask)


def publish(shop, *words, **more):
    return outbox("publish", shop.url, *words, **more).out.split()


def count(ask):
    return ask.value("SELECT count(*) FROM outbox.message")


@case
def it_prints_the_id_and_writes_every_field(shop, ask):
    ids = publish(shop, "--id", ID.upper(), "--topic", "orders.placed", "--key", "alice", "--type", "placed", "--payload", '{"a":  1}',
                  "--content-type", "application/json", "--headers", '{"trace":"x"}', "--deliver-after", "2030-01-31T12:00:00.123456Z")
    check(ids == [ID], ids)
    rows = ask("SELECT id, topic, partition_key, type, payload, payload_bytes, content_type, headers::text, deliver_after::text"
               " FROM outbox.message")
    check(rows == [(ID, "orders.placed", "alice", "placed", '{"a":  1}', None, "application/json", '{"trace": "x"}',
                    "2030-01-31 12:00:00.123456+00")], rows)
    made = outbox("publish", shop.url, "--topic", "t", "--payload", "", "--json").json()["id"]
    check(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made), made)


@case
def help_shows_the_options_of_a_store_that_is_a_module(shop, ask):
    text = outbox("help", "stores").out
    check(text.count("postgresql:, postgres:") == 1 and "turn-age TIME" in text, text)


@case
def payloads_are_kept_as_their_bytes(shop, ask):
    corpus = [b"", b"a\0b", b"\xff\xfe\x80", "\u00e9\u2028\U0001f600".encode(), bytes(range(1, 32)) + b"\x7f\x1b[2J", b"'; DROP TABLE x; --",
              b"\\x00\\", b'{"a":"\\ud800"}', os.urandom(MIB), b"x" * (16 * MIB)]
    for payload in corpus:
        publish(shop, "--topic", "t", "--quiet", stdin=payload)
    publish(shop, "--topic", "t", "--tombstone", "--quiet")
    hashes = ask("SELECT coalesce(md5(payload), md5(payload_bytes)) FROM outbox.message ORDER BY seq")
    wanted = [subprocess.run(["md5sum"], input=payload, capture_output=True).stdout.decode().split()[0] for payload in corpus]
    check([row[0] for row in hashes] == [*wanted, None], hashes)
    refused(1, "larger than 16777216 bytes", "publish", shop.url, "--topic", "t", stdin=b"x" * (16 * MIB + 1))


@case
def what_is_wrong_is_refused(shop, ask):
    def bad(status, says, *words, url=shop.url):
        refused(status, says, "publish", url, *words)
    bad(1, "topic: empty", "--topic", "", "--payload", "x")
    bad(1, "id: not a UUID", "--topic", "t", "--payload", "x", "--id", "order-1")
    bad(1, "headers: \\u0000", "--topic", "t", "--payload", "x", "--headers", '{"a": "\\u0000"}')
    bad(6, ["nowhere.message", "outbox init"], "--topic", "t", "--payload", "x", "--schema", "nowhere")
    bad(3, "schema 'A'", "--topic", "t", "--payload", "x", "--schema", "A")
    bad(4, "no_such_database", "--topic", "t", "--payload", "x", url=url_of("no_such_database"))
    bad(4, "no_such_user", "--topic", "t", "--payload", "x", url=url_of(shop.name, "no_such_user"))
    bad(4, "refused", "--topic", "t", "--payload", "x", url="postgresql://postgres@127.0.0.1:1/shop")
    stranger = shop.login()
    bad(4, f"GRANT outbox_app TO {stranger}", "--topic", "t", "--payload", "x", url=url_of(shop.name, stranger))
    ask(f"ALTER ROLE postgres IN DATABASE {shop.name} SET default_transaction_read_only = on")
    bad(4, "read-only", "--topic", "t", "--payload", "x")
    check(count(ask) == 0, "something was written")


@case
def the_role_of_an_application_is_enough(shop, ask):
    app = url_of(shop.name, shop.login("outbox_app"))
    outbox("publish", app, "--topic", "t", "--payload", "x", "--quiet")
    outbox("publish", app, "--json-lines", "--quiet", stdin=b'{"topic": "t"}\n' * 3)
    check(count(ask) == 4, count(ask))


@case
def another_schema(shop, ask):
    outbox("init", shop.url, "--quiet", "--schema", "other")
    outbox("publish", shop.url, "--schema", "other", "--topic", "t", "--payload", "x", "--quiet")
    outbox("publish", shop.url, "--store-option", "schema=other", "--json-lines", "--quiet", stdin=b'{"topic": "t"}\n')
    check(ask.value("SELECT count(*) FROM other.message") == 2 and count(ask) == 0, "it went elsewhere")


@case
def json_lines_are_published_in_batches(shop, ask):
    lines = [{"topic": "t", "key": "k", "payload": {"n": i}, "headers": {"a": "b"}} for i in range(1234)]
    lines.append({"topic": "t", "payload_base64": base64.b64encode(b"\xff\0").decode()})
    lines.append({"topic": "t", "payload": None, "id": ID, "deliver_after": "2030-01-31T12:00:00Z"})
    text = "\n".join(map(json.dumps, lines)) + "\n\n"
    result = outbox("publish", shop.url, "--json-lines", "--batch", "1000", stdin=text.encode())
    check("1236 messages were published" in result.err, result.err)
    rows = ask("SELECT id, payload, payload_bytes, headers::text FROM outbox.message ORDER BY seq")
    check([row[0] for row in rows] == result.out.split(), "the ids are not those of the rows")
    check([row[1] for row in rows[:1234]] == [f'{{"n":{i}}}' for i in range(1234)], "they are not in the order of the lines")
    check(rows[0][3] == '{"a": "b"}' and rows[1234][2] == b"\xff\0" and rows[1235][:3] == (ID, None, None), rows[1234:])
    check(ask("SELECT count(*) FROM outbox.message GROUP BY xid ORDER BY 1") == [(236,), (1000,)], "the transactions")
    # Chunks are cut by bytes, too.
    large = "".join(json.dumps({"topic": "large", "payload": "x" * 700000}) + "\n" for _ in range(5))
    check(outbox("publish", shop.url, "--json-lines", "--json", stdin=large.encode()).json()["published"] == 5, "large lines")
    check(ask("SELECT count(DISTINCT xid), count(*) FROM outbox.message WHERE topic = 'large'") == [(1, 5)], "their transaction")


@case
def a_bad_line_keeps_its_batch_out_and_says_where(shop, ask):
    good = '{"topic": "t", "payload": "x"}\n'
    for bad, says in (('{"topic": ""}', "topic: empty"), ("[]", "not a JSON object"), ("{", "not JSON"),
                      ('{"topic": "t", "id": "x"}', "not a UUID"), ('{"topic": "t", "headers": {"a": "\\u0000"}}', "\\u0000")):
        before = count(ask)
        text = (good * 4 + bad + "\n" + good).encode()
        refused(7, [says, "line 5", "4 messages were published"], "publish", shop.url, "--json-lines", "--batch", "4", stdin=text)
        check(count(ask) == before + 4, "the batch before it")
    before = count(ask)
    refused(1, ["line 601", "nothing was published"], "publish", shop.url, "--json-lines", "--batch", "1000", stdin=(good * 600).encode() + b"no\n")
    # What only the server finds: a constraint of the application's.
    ask("ALTER TABLE outbox.message ADD CONSTRAINT mine CHECK (topic <> 'refused')")
    refused(1, ["lines 1 to 3", "mine", "nothing was published"], "publish", shop.url, "--json-lines",
            stdin=(good * 2).encode() + b'{"topic": "refused"}\n')
    check(count(ask) == before, "a batch with a bad line was written")


@case
def a_batch_whose_program_is_killed_is_not_written(shop, ask):
    child = subprocess.Popen([OUTBOX, "publish", shop.url, "--json-lines", "--quiet"], stdin=subprocess.PIPE)
    child.stdin.write(json.dumps({"topic": "t", "payload": "x" * 2 * MIB}).encode() + b"\n")
    child.stdin.flush()
    sessions = "SELECT state FROM pg_stat_activity WHERE datname = $1 AND application_name = 'outbox'"
    wait_until(lambda: ask.value(sessions, shop.name) == "idle in transaction", "the first chunk to be written")
    child.kill()
    child.wait()
    wait_until(lambda: not ask(sessions, shop.name), "the server to see that the program is gone")
    check(count(ask) == 0, "half a batch was written")


def libpq_is_loaded_when_it_is_needed():
    needed = subprocess.run(["readelf", "-d", OUTBOX], capture_output=True, text=True, check=True).stdout
    check("libpq" not in needed, "the program cannot start without libpq")


def loaded_elsewhere(shop, name):
    """A copy of the database as a dump would make it on a server that has used few transaction ids yet."""
    with pq.Connection(SERVER) as ask:
        wait_until(lambda: not ask("SELECT FROM pg_stat_activity WHERE datname = $1", shop.name), "nobody to use it")
        ask(f"CREATE DATABASE {name} TEMPLATE {shop.name}")
    with pq.Connection(url_of(name)) as ask:
        later = "(pg_snapshot_xmin({0})::text::bigint + 1000000) || ':' || (pg_snapshot_xmax({0})::text::bigint + 1000000) || ':'"
        ask("UPDATE outbox.message SET xid = (xid::text::bigint + 1000000)::text::xid8")
        ask(f"UPDATE outbox.checkpoint SET s1 = ({later.format('s1')})::pg_snapshot, s2 = ({later.format('s2')})::pg_snapshot")
    return url_of(name)


@case
def a_copied_database_goes_on_at_its_checkpoints(shop, ask):
    def drained(url, subscription):
        lines = outbox("relay", url, "--to", "stdout:", "--subscription", subscription, "--until-idle", "--store-option",
                       "retention=1h").out.splitlines()
        return [json.loads(line)["payload"] for line in lines]

    def write(*payloads):
        for payload in payloads:
            ask("INSERT INTO outbox.message (topic, payload) VALUES ('t', $1)", payload)

    write("one", "two")
    check(drained(shop.url, "ahead") == drained(shop.url, "behind") == ["one", "two"], "both have two")
    write("three")
    check(drained(shop.url, "ahead") == ["three"], "one is ahead")
    write("four")
    ask.close()
    copy = f"{shop.name}_copy"
    try:
        url = loaded_elsewhere(shop, copy)
        with pq.Connection(url) as there:
            refused(1, "outbox adopt", "relay", url, "--to", "null:", "--subscription", "ahead", "--until-idle")
            there("INSERT INTO outbox.message (topic, payload) VALUES ('t', 'five')")
            outbox("adopt", url, "--from-checkpoint", "--subscription", "ahead", "--yes")
            check(drained(url, "ahead") == ["four", "five"], "the one that is ahead")
            refused(1, "outbox adopt", "relay", url, "--to", "null:", "--subscription", "behind", "--until-idle")
            outbox("adopt", url, "--from-checkpoint", "--subscription", "behind", "--yes")
            check(drained(url, "behind") == ["three", "four", "five"], "the one that is behind")
            check(drained(url, "ahead") == drained(url, "behind") == [], "more than once")
    finally:
        with pq.Connection(SERVER) as ask:
            ask(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")


if __name__ == "__main__":
    sys.exit(main([(name.replace("_", " "), in_a_shop, name) for name in cases]
                  + [("libpq is loaded when it is needed", libpq_is_loaded_when_it_is_needed)]))
