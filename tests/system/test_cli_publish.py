#!/usr/bin/env python3
"""Writing messages: by the command, from SQL, and from C.

usage: test_cli_publish.py [NAME...]     environment: OUTBOX_BUILD
"""
import base64
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import BUILD, MIB, arrived, case, main, outbox, refused  # noqa: E402


@case
def publish_prints_the_id_and_writes_every_field(shop):
    wanted = {"id": "order-1", "topic": "orders.placed", "key": "alice", "type": "placed", "payload": '{"a": 1}',
              "content_type": "application/json", "headers": '{"trace": "x"}'}
    ids = shop.publish("--id", "order-1", "--topic", "orders.placed", "--key", "alice", "--type", "placed", "--payload",
                       '{"a": 1}', "--content-type", "application/json", "--headers", '{"trace": "x"}')
    assert ids == ["order-1"]
    found = outbox("tail", shop.url, "--json").json()["messages"][0]
    assert {name: found[name] for name in wanted} == wanted, found
    made = outbox("publish", shop.url, "--topic", "t", "--payload", "", "--json").json()["id"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made), made


@case
def payloads_arrive_as_they_were_written(shop):
    corpus = {"empty": b"", "nul": b"a\0b", "not utf-8": b"\xff\xfe\x80", "utf-8": "é\u2028\U0001f600".encode(),
              "controls": bytes(range(32)) + b"\x7f\x1b[2J", "html": b"<script>alert('x')</script>", "sql": b"'; DROP TABLE x; --",
              "json": b'{"a":"\\ud800"}', "crlf": b"a\r\nb", "large": os.urandom(MIB)}
    for name, payload in corpus.items():
        shop.publish("--id", name, "--topic", "t", stdin=payload)
    shop.publish("--id", "tombstone", "--topic", "t", "--tombstone")
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}")
    got = {}
    for line in arrived(out):
        data = line.get("payload_base64")
        payload = base64.b64decode(data) if data is not None else line.get("payload")
        got[line["id"]] = payload.encode() if isinstance(payload, str) else payload
    for name, payload in corpus.items():
        assert got.get(name, "absent") == payload, f"{name}: {str(got.get(name, 'absent'))[:60]}"
    assert got["tombstone"] is None


@case
def bad_messages_are_refused_and_nothing_is_written(shop):
    def bad(status, says, *words, **more):
        refused(status, says, "publish", shop.url, *words, **more)
    bad(2, "--topic is missing", "--payload", "x")
    bad(1, "topic: empty", "--topic", "", "--payload", "x")
    bad(2, "UTF-8", "--topic", b"\xff", "--payload", "x")
    bad(1, "control character 0x0a", "--topic", "a\nb", "--payload", "x")
    bad(1, "topic: 256 bytes", "--topic", "t" * 256, "--payload", "x")
    bad(1, "headers: not a JSON object", "--topic", "t", "--payload", "x", "--headers", "[1]")
    bad(1, "headers: not a JSON object", "--topic", "t", "--payload", "x", "--headers", "no")
    bad(1, "must be a string", "--topic", "t", "--payload", "x", "--headers", '{"a": 1}')
    bad(2, "--deliver-after", "--topic", "t", "--payload", "x", "--deliver-after", "tomorrow")
    bad(2, "one of --payload", "--topic", "t", "--payload", "x", "--tombstone")
    bad(1, "nofile", "--topic", "t", "--payload-file", str(shop.file("nofile")))
    assert shop.count() == 0


@case
def sixteen_mib_fit_and_one_byte_more_does_not(shop):
    assert len(shop.publish("--topic", "t", stdin=b"x" * (16 * MIB))) == 1
    refused(1, "larger than 16777216 bytes", "publish", shop.url, "--topic", "t", stdin=b"x" * (16 * MIB + 1))
    assert shop.count() == 1


@case
def an_insert_of_the_application_is_checked_and_its_transaction_goes_on(shop):
    db = sqlite3.connect(shop.path, isolation_level=None)
    db.execute("BEGIN")
    db.execute("CREATE TABLE orders (n)")
    for columns, values in (("topic", "NULL"), ("topic", "''"), ("payload", "'x'"), ("topic, headers", "'t', '[]'"),
                            ("topic, headers", "'t', 'no'"), ("topic, deliver_after", "'t', 'tomorrow'"),
                            ("topic, id", "'t', ''"), ("topic, id", "'t', NULL")):
        try:
            db.execute(f"INSERT INTO outbox_message ({columns}) VALUES ({values})")
            raise AssertionError(f"{columns} = {values} was taken")
        except sqlite3.IntegrityError as error:
            assert "outbox" in str(error), error
    db.execute("INSERT INTO outbox_message (topic, payload) VALUES ('t', 'good')")
    db.execute("INSERT INTO orders VALUES (1)")
    db.execute("COMMIT")
    db.close()
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}")
    assert [line["payload"] for line in arrived(out)] == ["good"]


@case
def a_payload_past_the_limit_is_dead_and_the_rest_flows(shop):
    shop.sql("INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES ('huge', 't', 'a', zeroblob(16777217))",
             "INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES ('greatest', 't', 'b', zeroblob(16777216))",
             "INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES ('small', 't', 'a', 'x')")
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}")
    assert sorted(line["id"] for line in arrived(out)) == ["greatest", "small"]
    dead = outbox("dead", "list", shop.url, "--json").json()["messages"]
    assert [it["id"] for it in dead] == ["huge"], dead


@case
def json_lines_are_published_in_batches(shop):
    lines = [{"topic": "t", "key": "k", "payload": {"n": i}, "headers": {"a": "b"}} for i in range(25)]
    lines.append({"topic": "t", "payload_base64": base64.b64encode(b"\xff\0").decode()})
    lines.append({"topic": "t", "payload": None, "id": "tombstone"})
    text = "\n".join(map(json.dumps, lines)) + "\n\n"
    result = outbox("publish", shop.url, "--json-lines", "--batch", "10", stdin=text.encode())
    assert len(result.out.split()) == 27 and "27 messages were published" in result.err
    rows = shop.sql("SELECT id, payload, headers FROM outbox_message ORDER BY seq")
    assert rows[0][1:] == ('{"n":0}', '{"a":"b"}') and rows[25][1] == b"\xff\0" and rows[26][:2] == ("tombstone", None)
    assert [row[0] for row in rows] == result.out.split()
    assert outbox("publish", shop.url, "--json-lines", "--json", stdin=text.encode()).json()["published"] == 27


@case
def a_bad_line_keeps_its_batch_out_and_says_where(shop):
    good = '{"topic": "t", "payload": "x"}\n'
    for bad, says in (('{"topic": ""}', "topic: empty"), ("[]", "not a JSON object"), ("{", "not JSON"), ('{"tpic": "t"}', '"topic"'),
                      ('{"topic": "t", "headers": {"a": 1}}', "string"), ('{"topic": "a\\u0000b"}', "NUL"),
                      ('{"topic": "t", "payload_base64": "?"}', "Base64"), ('{"topic": "t", "topic": "u"}', "duplicate")):
        before = shop.count()
        text = (good * 4 + bad + "\n" + good).encode()
        refused(7, [says, "line 5", "4 messages were published"], "publish", shop.url, "--json-lines", "--batch", "4", stdin=text)
        assert shop.count() == before + 4
    before = shop.count()
    refused(1, ["line 1", "nothing was published"], "publish", shop.url, "--json-lines", stdin=b"no\n" + good.encode())
    refused(1, ["line 3", "nothing was published"], "publish", shop.url, "--json-lines", stdin=(good * 2).encode() + b"\xff\n")
    refused(2, "stand in the lines", "publish", shop.url, "--json-lines", "--topic", "t")
    assert shop.count() == before


@case
def the_extension_publishes_from_sql(shop):
    script = f""".load {BUILD}/outbox_sqlite
BEGIN;
SELECT outbox_publish('t', 'one', 'k', 'type', '{{"a":"b"}}', 'text/plain', datetime('now', '+1 hour'), 'own-id');
SELECT outbox_publish(NULL, 'x');
SELECT outbox_publish('', 'x');
SELECT outbox_publish('t', 'x', NULL, NULL, '[]');
SELECT outbox_publish('t', x'ff00');
SELECT length(outbox_uuid7());
COMMIT;
"""
    done = subprocess.run(["sqlite3", str(shop.path)], input=script, capture_output=True, text=True)
    out = done.stdout.split()
    assert out[0] == "own-id" and len(out[1]) == 36 and out[2] == "36", done
    assert done.stderr.count("outbox_publish: ") == 3, done.stderr
    rows = shop.sql("SELECT id, topic, partition_key, type, payload, content_type, headers FROM outbox_message ORDER BY seq")
    assert rows[0] == ("own-id", "t", "k", "type", "one", "text/plain", '{"a":"b"}') and rows[1][4] == b"\xff\0", rows
    loaded = subprocess.run(["sqlite3", str(shop.path), "SELECT load_extension('./outbox_sqlite')",
                             "SELECT outbox_publish('t', 'two')"], cwd=BUILD, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded


@case
def the_example_in_c_publishes_within_its_transaction(shop):
    publish = BUILD / "examples" / "publish"
    done = subprocess.run([publish, shop.path, "alice", "120"], capture_output=True, text=True)
    assert done.returncode == 0, done
    rows = shop.sql("SELECT id, partition_key, payload FROM outbox_message")
    assert rows == [(done.stdout.strip(), "alice", '{"order":1,"total":120}')], rows
    refused_one = subprocess.run([publish, shop.path, "", "5"], capture_output=True, text=True)
    assert refused_one.returncode == 1 and "key: empty" in refused_one.stderr, refused_one
    assert shop.sql("SELECT count(*) FROM orders") == [(1,)], "the order must go with its message"


if __name__ == "__main__":
    sys.exit(main())
