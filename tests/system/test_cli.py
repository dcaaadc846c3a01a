#!/usr/bin/env python3
"""Runs every command of `outbox` as a user would, with good and with bad input. Prints TAP.

usage: test_cli.py BUILD_DIR [NAME...]      only the cases whose names hold one of the words
"""
import base64
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = pathlib.Path(sys.argv[1]).resolve()
OUTBOX = BUILD / "outbox"
MIB = 1024 * 1024
DEADLINE_S = 30
cases = []


def case(function):
    cases.append(function)
    return function


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def json(self):
        return json.loads(self.out)

    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def outbox(*words, stdin=b"", status=0, as_nobody=False):
    """Runs a command; fails unless it ends with `status`."""
    def drop():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    env = dict(os.environ, NO_COLOR="1")
    done = subprocess.run([OUTBOX, *words], input=stdin, capture_output=True, timeout=120, env=env,
                          preexec_fn=drop if as_nobody and os.getuid() == 0 else None)
    result = Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    shown = [str(word)[:80] for word in words]
    assert result.status == status, f"{shown} ended with {result.status}, not {status}:\n{result.out[-500:]}{result.err[-1500:]}"
    return result


def refused(status, says, *words, **more):
    """The command must end with `status` and one clear line on stderr that holds each of `says`."""
    result = outbox(*words, status=status, **more)
    lines = [line for line in result.err.splitlines() if not re.match(r"^\d{4}-\d\d-\d\dT\S+Z (info|warn)", line)]
    assert len(lines) == 1, f"not one line: {result.err!r}"
    assert lines[0].startswith("outbox: "), lines[0]
    for text in [says] if isinstance(says, str) else says:
        assert text in lines[0], f"{text!r} is not in {lines[0]!r}"
    return result


class Shop:
    """A directory with a database that has an outbox."""
    def __init__(self, directory):
        self.path = pathlib.Path(directory) / "shop.db"
        self.url = f"sqlite:{self.path}"
        outbox("init", self.url, "--quiet")

    def file(self, name):
        return self.path.parent / name

    def sql(self, *statements):
        db = sqlite3.connect(self.path, timeout=10)
        try:
            with db:
                return [db.execute(statement).fetchall() for statement in statements][-1]
        finally:
            db.close()

    def publish(self, *words, **more):
        return outbox("publish", self.url, *words, **more).out.split()

    def count(self):
        return self.sql("SELECT count(*) FROM outbox_message")[0][0]

    def drain(self, sink, *words, status=0):
        return outbox("relay", self.url, "--to", sink, "--until-idle", *words, status=status)

    def bury(self, count, *words):
        """Writes messages and has all of them rejected; returns their ids."""
        ids = [self.publish("--topic", "t", "--key", f"k{i}", "--payload", str(i), *words)[0] for i in range(count)]
        self.drain("exec:echo 'no such customer' >&2; exit 65")
        return ids

    def subscription(self, name="default"):
        found = [it for it in outbox("status", self.url, "--json").json()["subscriptions"] if it["name"] == name]
        return found[0] if found else None


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A relay (or another command) that runs while the block does; ended by SIGTERM."""
    def __init__(self, *words):
        self.words = words

    def __enter__(self):
        self.process = subprocess.Popen([OUTBOX, *self.words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=dict(os.environ, NO_COLOR="1"))
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.out, self.err = (text.decode(errors="replace") for text in self.process.communicate(timeout=DEADLINE_S))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


def arrived(path):
    try:
        return [json.loads(line) for line in path.read_text().split("\n") if line]
    except FileNotFoundError:
        return []


# ---- help and usage ----

@case
def every_command_has_help_with_examples_first(_):
    overview = outbox("help").out
    names = re.findall(r"^  ((?:dead )?[a-z-]+)  ", overview, re.MULTILINE)
    assert len(names) >= 20, names
    for name in ("init", "migrate", "publish", "relay", "demo", "status", "tail", "show", "dead list", "pause", "resume",
                 "replay", "adopt", "test-sink", "doctor", "bench", "version", "help"):
        assert name in names, f"{name} is not in the overview"
    for name in names:
        text = outbox(*name.split(), "--help").out
        headings = re.findall(r"^(Examples|Usage|Options)$", text, re.MULTILINE)
        assert headings[:2] == ["Examples", "Usage"], f"{name}: {headings}"
        assert f"outbox {name}" in text
        assert text == outbox("help", *name.split()).out


@case
def help_lists_the_options_of_stores_and_sinks(_):
    assert "retention" in outbox("help", "stores").out
    assert "null:" in outbox("help", "sinks").out


@case
def without_a_command_the_overview_comes_on_stderr(_):
    result = outbox(status=2)
    assert result.out == "" and "outbox relay" in result.err


@case
def what_is_mistyped_is_answered_with_the_nearest(shop):
    refused(2, 'did you mean "relay"?', "relya")
    refused(2, 'did you mean "dead list"?', "dead", "lst")
    refused(2, "one of list, show, retry, discard must follow", "dead")
    refused(2, 'did you mean "--topic"?', "publish", shop.url, "--tpic", "x")
    refused(2, "two hyphens", "publish", shop.url, "-t", "x")
    refused(2, "--topic needs a value", "publish", shop.url, "--topic")
    refused(2, "--to is missing", "relay", shop.url)
    refused(2, ["--lease", "duration"], "relay", shop.url, "--to", "null:", "--lease", "soon")
    refused(2, "something is missing", "status")
    refused(2, '"more" is too much', "status", shop.url, "more")
    refused(2, ["one of", "text"], "relay", shop.url, "--to", "null:", "--log-format", "xml")


@case
def version_tells_what_is_built_in(_):
    version = outbox("version", "--json").json()
    assert "sqlite" in version["stores"] and "null" in version["sinks"] and "sqlite" in version["libraries"]
    text = outbox("--version").out
    assert text.startswith(f"outbox {version['version']}\n")


@case
def output_that_cannot_be_written_is_a_failure(_):
    with open("/dev/full", "w") as full:
        done = subprocess.run([OUTBOX, "version"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"cannot be written" in done.stderr


# ---- bad databases ----

@case
def a_missing_database_says_how_to_make_one(shop):
    url = f"sqlite:{shop.file('none.db')}"
    for words in (["status", url], ["relay", url, "--to", "null:"], ["publish", url, "--topic", "t"], ["tail", url],
                  ["dead", "list", url], ["pause", url, "x"], ["migrate", url], ["show", url, "x"],
                  ["replay", url, "x", "--since", "1h"]):
        refused(4, ["there is no such database", "outbox init"], *words)
    assert not shop.file("none.db").exists(), "asking must not make a file"


@case
def a_directory_is_no_database(shop):
    refused(3, "directory", "status", f"sqlite:{shop.path.parent}")
    refused(3, "directory", "init", f"sqlite:{shop.path.parent}")


@case
def a_path_without_a_scheme_is_answered_with_the_url(shop):
    refused(3, f"write sqlite:{shop.path}", "status", str(shop.path))
    refused(3, f"write sqlite:{shop.path}", "relay", str(shop.path), "--to", "null:")


@case
def an_unknown_scheme_is_answered_with_the_nearest(shop):
    refused(3, "sqlite:", "status", f"sqlit:{shop.path}")
    refused(3, 'did you mean "null:"?', "relay", shop.url, "--to", "nul:")
    refused(3, 'did you mean "null:"?', "test-sink", "nul:")


@case
def an_unknown_option_of_a_store_or_sink_is_answered_with_the_nearest(shop):
    refused(3, '"retention"', "status", shop.url, "--store-option", "retension=1h")
    refused(3, ["retention", "duration"], "relay", shop.url, "--to", "null:", "--store-option", "retention=long")
    refused(3, '"concurrency"', "test-sink", "exec:true", "--sink-option", "concurrencies=1")


@case
def permissions_are_told_in_words(shop):
    program = shop.file("outbox")
    shutil.copy(OUTBOX, program)
    directory = shop.path.parent
    os.chmod(directory, 0o755)
    os.chmod(program, 0o755)
    os.chmod(shop.path, 0o000)
    with Program(program):
        refused(4, "may not be read", "status", shop.url, as_nobody=True)
        os.chmod(shop.path, 0o444)
        refused(4, "may not be written", "publish", shop.url, "--topic", "t", as_nobody=True)
        refused(4, "may not be written", "relay", shop.url, "--to", "null:", as_nobody=True)
        os.chmod(directory, 0o555)
        refused(4, "new.db", "init", f"sqlite:{directory}/new.db", as_nobody=True)
    os.chmod(directory, 0o755)


class Program:
    """Another copy of the program, where everybody may run it."""
    def __init__(self, path):
        self.path = path

    def __enter__(self):
        global OUTBOX
        self.saved, OUTBOX = OUTBOX, self.path

    def __exit__(self, *_):
        global OUTBOX
        OUTBOX = self.saved


@case
def a_database_without_our_tables_is_left_alone(shop):
    path = shop.file("other.db")
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE orders (n)")
    db.commit()
    db.close()
    before = path.read_bytes()
    for words in (["status"], ["tail"], ["dead", "list"]):
        refused(6, "outbox init", *words, f"sqlite:{path}")
    refused(6, "outbox init", "relay", f"sqlite:{path}", "--to", "null:")
    refused(6, "outbox init", "publish", f"sqlite:{path}", "--topic", "t", "--payload", "x")
    assert path.read_bytes() == before, "a refused command must write nothing"
    outbox("init", f"sqlite:{path}")
    outbox("status", f"sqlite:{path}")
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    db.close()


@case
def a_file_that_is_no_database_is_left_alone(shop):
    path = shop.file("text.db")
    path.write_text("this is no database, it is a letter to a friend\n" * 50)
    before = path.read_bytes()
    for words in (["status"], ["init"], ["migrate"]):
        refused(3, "not an SQLite database", *words, f"sqlite:{path}")
    assert path.read_bytes() == before


@case
def a_newer_schema_is_refused(shop):
    shop.sql("INSERT INTO outbox_schema (version, name) VALUES (1000, 'from the future')")
    for words in (["status"], ["migrate"], ["init"], ["tail"]):
        refused(6, "newer", *words, shop.url)
    refused(6, "newer", "relay", shop.url, "--to", "null:")
    refused(6, "newer", "publish", shop.url, "--topic", "t", "--payload", "x")


@case
def wrong_column_types_are_refused_with_what_mends_them(shop):
    shop.publish("--topic", "t", "--payload", "kept")
    shop.sql("ALTER TABLE outbox_message RENAME COLUMN topic TO subject")
    for words in (["status"], ["tail"]):
        refused(6, ["no column topic", "ALTER TABLE"], *words, shop.url)
    refused(6, "no column topic", "relay", shop.url, "--to", "null:")
    shop.sql("ALTER TABLE outbox_message RENAME COLUMN subject TO topic")
    assert shop.count() == 1
    outbox("status", shop.url)


# ---- init and migrate ----

@case
def the_password_of_a_recipient_is_not_kept_in_the_database(shop):
    # Nothing to send: the recipient need not be there.
    shop.drain("http://relay:hunter2@127.0.0.1:9/?token=hunter3")
    shown = outbox("status", shop.url, "--json")
    assert "127.0.0.1:9" in shown.out, shown.out
    for path in shop.path.parent.glob(shop.path.name + "*"):
        assert b"hunter" not in path.read_bytes(), f"the secret stands in {path}"
    assert "hunter" not in shown.out + outbox("status", shop.url).out


@case
def init_may_be_run_again_and_says_what_is_next(shop):
    url = f"sqlite:{shop.file('new.db')}"
    assert "INSERT INTO outbox_message" in outbox("init", url).out
    assert "already there" in outbox("init", url).out


@case
def two_inits_at_once_are_safe(shop):
    url = f"sqlite:{shop.file('both.db')}"
    running = [subprocess.Popen([OUTBOX, "init", url], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
    outbox("status", url)


@case
def migrate_tells_and_prints(shop):
    empty = shop.file("empty.db")
    db = sqlite3.connect(empty)
    db.execute("CREATE TABLE orders (n)")
    db.commit()
    url = f"sqlite:{empty}"
    assert "missing" in outbox("migrate", url, "--status", status=6).out
    assert "CREATE TABLE outbox_message" in outbox("migrate", url, "--dry-run").out
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'outbox%'").fetchone() == (0,)
    printed = outbox("migrate", url, "--print").out
    db.executescript(printed)
    db.close()
    state = outbox("migrate", url, "--status", "--json").json()
    assert all(it["applied"] for it in state["migrations"]), state
    outbox("migrate", url)


# ---- publish ----

@case
def publish_prints_the_id_and_writes_every_field(shop):
    wanted = {"id": "order-1", "topic": "orders.placed", "key": "alice", "type": "placed", "payload": '{"a": 1}',
              "content_type": "application/json", "headers": '{"trace": "x"}'}
    ids = shop.publish("--id", "order-1", "--topic", "orders.placed", "--key", "alice", "--type", "placed", "--payload",
                       '{"a": 1}', "--content-type", "application/json", "--headers", '{"trace": "x"}')
    assert ids == ["order-1"]
    found = outbox("tail", shop.url, "--json").lines()[0]
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


# ---- relay and what people do with it ----

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
def replay_sends_again_under_the_same_ids(shop):
    keep = ("--store-option", "retention=1h")
    ids = [shop.publish("--topic", "t", "--key", "k", "--payload", str(i))[0] for i in range(5)]
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}", *keep)
    assert "5 messages would be" in outbox("replay", shop.url, "default", "--from-beginning", "--dry-run").out
    outbox("replay", shop.url, "default", "--from", ids[3])
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
    outbox("adopt", shop.url, "--from-now", "--yes")
    new = shop.publish("--topic", "t", "--payload", "new")
    out = shop.file("out.jsonl")
    shop.drain(f"file:{out}")
    assert [line["id"] for line in arrived(out)] == new


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
    assert [it["id"] for it in outbox("tail", shop.url, "--count", "3", "--json").lines()] == ids[-3:]
    assert len(outbox("tail", shop.url).out.splitlines()) == 10
    assert len(outbox("tail", shop.url, "--count", "100", "--topic", "t1").out.splitlines()) == 7
    with Running("tail", shop.url, "--count", "0", "--follow", "--json") as tail:
        wait_until(lambda: tail.process.poll() is None, "the start")
        time.sleep(0.3)
        new = shop.publish("--topic", "t", "--payload", "new")[0]
        assert json.loads(tail.process.stdout.readline())["id"] == new
        tail.process.kill()


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


@case
def a_long_list_is_read_page_by_page(shop):
    shop.drain("null:")
    shop.sql("INSERT INTO outbox_dead (subscription, position, lane, holds_key, attempts, dead_at, code, text, tries, id, topic,"
             " created_at, payload) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1700)"
             " SELECT 'default', i, 0, 0, 1, 0, 'x', '', '[]', 'id' || i, 't', '2030-01-01T00:00:00.000Z', 'p' FROM n")
    assert len(outbox("dead", "list", shop.url, "--json-lines").lines()) == 1700
    assert len(outbox("dead", "list", shop.url, "--json", "--limit", "1200").json()["messages"]) == 1200
    assert len(outbox("dead", "list", shop.url).out.splitlines()) == 100
    assert outbox("dead", "discard", shop.url, "--all-matching", "--yes", "--json").json()["count"] == 1700


def main():
    words = sys.argv[2:]
    chosen = [it for it in cases if not words or any(word in it.__name__ for word in words)]
    failed = 0
    print(f"1..{len(chosen)}", flush=True)
    for number, it in enumerate(chosen, 1):
        name = it.__name__.replace("_", " ")
        with tempfile.TemporaryDirectory(prefix="outbox-cli-") as directory:
            try:
                it(Shop(directory))
                print(f"ok {number} - {name}", flush=True)
            except Exception:
                failed += 1
                print(f"not ok {number} - {name}")
                print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
