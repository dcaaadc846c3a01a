#!/usr/bin/env python3
"""PostgreSQL: bad input. What is refused, in which words, with which statement that mends it; and what `outbox doctor` finds.

usage: scripts/with-server postgres -- test_postgres_input.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import pq  # noqa: E402
from commands import ErrorLines, Running, arrived, outbox, refused, wait_until  # noqa: E402
from postgres_shop import PostgresShop, url_of  # noqa: E402
from proxy import TO_CLIENT, TO_SERVER, Proxy  # noqa: E402
from servers.postgres import Postgres  # noqa: E402
from tap import check, main  # noqa: E402

cases = {}


def case(function):
    cases[function.__name__] = function
    return function


def in_a_shop(name):
    with PostgresShop() as shop, shop.connect() as ask:
        cases[name](shop, ask)


def looks(url):
    """A command that looks, one that acts, and a relay: each is refused alike."""
    return [("status", url), ("pause", url, "default"), ("relay", url, "--to", "null:"), ("tail", url)]


def findings(url, status):
    """What `doctor` finds wrong: (code, mend) each."""
    found = outbox("doctor", url, "--json", status=status).json()["findings"]
    return [(it["code"], it.get("mend", ""), it["what"]) for it in found if it["level"] != "ok"]


def found(url, code, status=0):
    """The one finding of that code."""
    of_it = [it for it in findings(url, status) if it[0] == code]
    check(len(of_it) == 1, f"{code}: {findings(url, status)}")
    return of_it[0]


# ---- the way to the server ----

@case
def a_database_or_host_that_is_not_there(shop, _):
    for words in looks(url_of("no_such_database")):
        refused(4, ['"no_such_database" does not exist', "createdb no_such_database"], *words)
    found(url_of("no_such_database"), "not_found", 4)
    for words in looks("postgresql://postgres@no-such-host.invalid/shop"):
        refused(4, "no-such-host.invalid", *words)
    for words in looks("postgresql://postgres@127.0.0.1:1/shop"):
        refused(4, "refused", *words)
    refused(4, "no_such_user", "status", url_of(shop.name, "no_such_user"))


@case
def a_url_that_says_what_cannot_be(shop, _):
    for bad in ("sslmode=bogus", "no_such_parameter=1", "channel_binding=maybe"):
        for words in looks(f"{shop.url}?{bad}"):
            refused(3, "invalid", *words)
    refused(3, "invalid port", "status", "postgresql://postgres@127.0.0.1:0/shop")


def certificates(directory):
    """An authority, another one, and the certificate of a server with another name."""
    def openssl(*words, stdin=b""):
        subprocess.run(["openssl", *words], input=stdin, cwd=directory, check=True, capture_output=True)
    for name in ("authority", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2",
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=other.example")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2",
            "-out", "server.crt", "-extfile", "/dev/stdin", stdin=b"subjectAltName=DNS:other.example")


def a_server_that_asks_for_a_password_and_tls():
    hba = ["host all locked 127.0.0.1/32 scram-sha-256", "hostssl all tls 127.0.0.1/32 trust", "host all tls 127.0.0.1/32 reject"]
    with tempfile.TemporaryDirectory() as directory, Postgres(hba=hba) as server:
        server.start()
        with server.connect() as ask:
            ask("CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'right'")
            ask("CREATE ROLE tls LOGIN")
            ask("CREATE DATABASE shop")
        outbox("init", server.url_of("shop"), "--quiet")
        for words in looks(server.url_of("shop") + "?sslmode=require"):
            refused(3, ["does not support SSL", "sslmode"], *words)
        found(server.url_of("shop") + "?sslmode=require", "config", 3)

        wrong = server.url_of("shop", "locked:wrong")
        for words in looks(wrong):
            refused(4, ['authentication failed for user "locked"', "PGPASSWORD", "locked:***@"], *words)
        code, _, text = found(wrong, "denied", 4)
        check("wrong" not in text, text)
        refused(4, ["no password supplied", "PGPASSWORD"], "status", server.url_of("shop", "locked"))
        outbox("status", server.url_of("shop", "locked:right"))

        certificates(directory)
        for name in ("server.key", "server.crt"):
            shutil.copy(f"{directory}/{name}", server.data / name)
            os.chown(server.data / name, server.user.pw_uid, server.user.pw_gid)
            os.chmod(server.data / name, 0o600)
        server.configure(ssl="on")
        server.stop()
        server.start()
        url = server.url_of("shop")
        outbox("status", f"{url}?sslmode=verify-ca&sslrootcert={directory}/authority.crt")
        for mode, authority, says in (("verify-full", "authority", 'does not match host name "127.0.0.1"'),
                                      ("verify-ca", "stranger", "certificate verify failed"),
                                      ("verify-ca", "missing", "does not exist")):
            for words in looks(f"{url}?sslmode={mode}&sslrootcert={directory}/{authority}.crt"):
                refused(3, [says, "sslrootcert"], *words)
            found(f"{url}?sslmode={mode}&sslrootcert={directory}/{authority}.crt", "config", 3)
        refused(4, "no encryption", "status", server.url_of("shop", "tls") + "?sslmode=disable")


def serve(listener, version):
    """A server that lets everybody in, says which version it is, and no more."""
    def message(kind, body):
        return kind + struct.pack("!i", len(body) + 4) + body
    while True:
        with listener.accept()[0] as client, contextlib.suppress(OSError):
            while client.recv(65536)[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):  # asks for TLS, or GSSAPI
                client.sendall(b"N")
            client.sendall(message(b"R", b"\0\0\0\0") + message(b"S", b"server_version\0" + version + b"\0")
                           + message(b"K", b"\0\0\0\1\0\0\0\1") + message(b"Z", b"I"))
            while client.recv(65536):
                pass


@case
def a_server_that_is_too_old(*_):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, b"13.22 (Debian)"), daemon=True).start()
    url = f"postgresql://postgres@127.0.0.1:{listener.getsockname()[1]}/shop"
    for words in [*looks(url), ("init", url)]:
        refused(3, ["PostgreSQL 13", "14 or later"], *words)
    check("14 or later" in found(url, "config", 3)[2], "doctor")


@case
def a_server_of_another_name(shop, ask):
    """A copy of the disks says everything that the original says, but for what stands outside of them."""
    for words in (("pause", shop.url, "default"), ("relay", shop.url, "--to", "null:")):
        refused(3, ["'production'", "this one is ''", "outbox.instance_name = 'production'"], *words, "--store-option",
                "instance-name=production")
    ask(f"ALTER DATABASE {shop.name} SET outbox.instance_name = 'staging'")
    refused(3, "this one is 'staging'", "relay", shop.url, "--to", "null:", "--store-option", "instance-name=production")
    check("staging" in outbox("doctor", shop.url, "--store-option", "instance-name=production", status=3).out, "doctor")
    outbox("relay", shop.url, "--to", "null:", "--until-idle", "--store-option", "instance-name=staging")


# ---- the tables ----

@case
def tables_that_are_not_there_or_newer(shop, ask):
    with PostgresShop(None) as empty:
        for words in looks(empty.url):
            refused(6, f"outbox init {empty.url}", *words)
        check("outbox init" in found(empty.url, "schema", 1)[2], "doctor")
    ask("INSERT INTO outbox.migration (version, name) VALUES (1000, 'from the future')")
    for words in [*looks(shop.url), ("init", shop.url), ("migrate", shop.url)]:
        refused(6, ["version 1000", "use the newer program"], *words)
    check("newer program" in found(shop.url, "schema", 1)[2], "doctor")


ALTERED = [
    ("ALTER TABLE outbox.message DROP COLUMN created_at", "no column created_at"),
    ("ALTER TABLE outbox.message DROP COLUMN id", "no column id"),
    ("ALTER TABLE outbox.message ALTER COLUMN deliver_after TYPE timestamp", "has the type"),
    ("ALTER TABLE outbox.message ALTER COLUMN xid DROP DEFAULT", "pg_current_xact_id()"),
    ("ALTER TABLE outbox.message ALTER COLUMN seq SET GENERATED BY DEFAULT", "GENERATED ALWAYS"),
    ("ALTER TABLE outbox.parked DROP COLUMN tries", "outbox.parked has no column tries"),
    ("ALTER TABLE outbox.lease DROP COLUMN state_since", "outbox.lease has no column state_since"),
    ("ALTER TABLE outbox.subscription ALTER COLUMN order_by TYPE bigint", "has the type 'bigint'"),
    ("DROP INDEX outbox.message_seq", "index message_seq is missing"),
    ("DROP INDEX outbox.message_xid", "index message_xid is missing"),
    ("DROP INDEX outbox.parked_due", "index parked_due is missing"),
    ("DROP INDEX outbox.dead_held", "index dead_held is missing"),
    ("ALTER TABLE outbox.dead DROP CONSTRAINT dead_pkey", "index dead_pkey is missing"),
    ("ALTER SEQUENCE outbox.message_seq_seq CACHE 20", "CACHE 20"),
    ("ALTER SEQUENCE outbox.message_seq_seq INCREMENT 2", "INCREMENT 2"),
    ("ALTER TABLE outbox.message ALTER COLUMN seq DROP IDENTITY", "START WITH 1"),
]


@case
def tables_that_were_altered_by_hand(shop, ask):
    """The statement that the message names, run as it stands, mends it."""
    for alter, says in ALTERED:
        ask(alter)
        line = refused(6, says, "status", shop.url).err
        refused(6, says, "relay", shop.url, "--to", "null:", "--until-idle")
        check(says in found(shop.url, "schema", 1)[2], f"doctor after {alter}")
        ask(re.search(r": ((ALTER|CREATE) .*)$", line.strip())[1])
        ask("INSERT INTO outbox.message (topic) VALUES ('t')")
        sent = outbox("relay", shop.url, "--to", "null:", "--until-idle").err
        check("; 1 sent" in sent, f"after {alter}: {sent}")
    check(not ask("SELECT FROM outbox.message WHERE id IS NULL OR created_at IS NULL"), "a column was mended by half")
    ask("ALTER TABLE outbox.dead RENAME TO buried")
    refused(6, ["table outbox.dead is not there", "--print"], "status", shop.url)


@case
def a_partition_that_was_taken_out(shop, ask):
    ask("ALTER TABLE outbox.message DETACH PARTITION outbox.message_3")
    refused(6, "message_0 to message_15", "relay", shop.url, "--to", "null:")
    ask("ALTER TABLE outbox.message ATTACH PARTITION outbox.message_3 FOR VALUES IN (3)")
    outbox("relay", shop.url, "--to", "null:", "--until-idle")


@case
def rows_that_are_refused(shop, ask):
    """The database itself refuses them, whoever inserts: the constraint's name says why."""
    def says(sql):
        try:
            ask(sql)
        except pq.Error as error:
            return error.state, str(error)
        return None, "it was taken"
    for sql, wanted in (("(topic, payload, payload_bytes) VALUES ('t', 'x', 'x')", "at most one of payload and payload_bytes"),
                        ("(topic, headers) VALUES ('t', '[1]')", "headers must be a JSON object"),
                        ("(topic, headers) VALUES ('t', '3')", "headers must be a JSON object"),
                        ("(topic) VALUES ('')", "topic must be of 1 to 255 bytes"),
                        ("(topic) VALUES (NULL)", 'column "topic"')):
        state, text = says("INSERT INTO outbox.message " + sql)
        check(state in ("23514", "23502") and wanted in text, text)
    check("JSON object" in says("SELECT outbox.publish('t', 'x', headers => '[1]')")[1], "publish")
    refused(1, "object", "publish", shop.url, "--topic", "t", "--payload", "x", "--headers", "[1]")
    check(ask.value("SELECT count(*) FROM outbox.message") == 0, "something was written")


# ---- rights ----

@case
def too_few_rights_are_told_with_the_grant(shop, ask):
    stranger = shop.login()
    url = url_of(shop.name, stranger)
    for words in looks(url):
        refused(4, f"GRANT outbox_relay TO {stranger}", *words)
    refused(4, f"GRANT CREATE ON DATABASE {shop.name} TO {stranger}", "init", url, "--schema", "other")
    # What doctor says, run as it stands, is enough for a relay without any role.
    for code, mend, _ in findings(url, 1):
        if code == "right_missing":
            ask(mend)
    check(not [it for it in findings(url, 0) if it[0] == "right_missing"], "they are not all")
    ask("INSERT INTO outbox.message (topic) VALUES ('t')")
    check("1 sent" in outbox("relay", url, "--to", "null:", "--until-idle").err, "it does not deliver")


@case
def a_monitor_may_look(shop, ask):
    ask("INSERT INTO outbox.message (topic) VALUES ('t')")
    outbox("relay", shop.url, "--to", "null:", "--until-idle")
    ask("INSERT INTO outbox.message (topic) VALUES ('t')")
    monitor = shop.login("outbox_monitor")
    seen = outbox("status", url_of(shop.name, monitor), "--json").json()["subscriptions"]
    check([it["name"] for it in seen] == ["default"], seen)
    refused(4, "outbox_relay", "pause", url_of(shop.name, monitor), "default")


# ---- while a relay runs ----

@contextlib.contextmanager
def a_relay_that_runs(shop, ask, directory):
    out = pathlib.Path(directory) / "out.jsonl"
    with Running("relay", shop.url, "--to", f"file:{out}", "--lease", "2s") as relay:
        ask("INSERT INTO outbox.message (topic) VALUES ('t')")
        before = len(arrived(out)) + 1
        wait_until(lambda: len(arrived(out)) >= before, "the first message")
        yield relay, out
        check(relay.process.poll() is None, "the relay ended")


UNDER_A_RELAY = [
    ("TABLE outbox.message RENAME TO log", "TABLE outbox.log RENAME TO message", "outbox.message is not there"),
    ("TABLE outbox.message DETACH PARTITION outbox.message_5",
     "TABLE outbox.message ATTACH PARTITION outbox.message_5 FOR VALUES IN (5)", "message_0 to message_15"),
    ("TABLE outbox.checkpoint RENAME TO point", "TABLE outbox.point RENAME TO checkpoint", "outbox.checkpoint"),
    ("TABLE outbox.lease RENAME TO held", "TABLE outbox.held RENAME TO lease", "outbox.lease"),
    ("SCHEMA outbox RENAME TO away", "SCHEMA away RENAME TO outbox", "outbox"),
    ("SEQUENCE outbox.message_seq_seq CACHE 7", "SEQUENCE outbox.message_seq_seq CACHE 1", "CACHE 7"),
]


def renamed_under_a_relay(number):
    """It pauses, says so, does not spin, and goes on by itself."""
    do, undo, says = UNDER_A_RELAY[number]
    with tempfile.TemporaryDirectory() as directory, PostgresShop() as shop, shop.connect() as ask:
        with a_relay_that_runs(shop, ask, directory) as (relay, out):
            errors = ErrorLines(relay.process)
            ask("ALTER " + do)
            wait_until(lambda: "store_failed: schema" in errors.text() and says in errors.text(), f"{do}: {says}")
            refused(6, says if number != 4 else "outbox init", "status", shop.url)
            ask("ALTER " + undo)
            ask("INSERT INTO outbox.message (topic) VALUES ('after')")
            wait_until(lambda: [it for it in arrived(out) if it["topic"] == "after"], "the message after it")
            check(errors.text().count("\n") < 12, f"it spins: {errors.text()}")


# ---- doctor ----

@contextlib.contextmanager
def changed(shop, way, change):
    """The URL of a way to the shop on which somebody changes what passes."""
    host, port = re.search(r"@([^:/]+):(\d+)", shop.url).groups()
    with Proxy(int(port), host) as proxy:
        proxy.change[way] = change
        yield f"postgresql://postgres@127.0.0.1:{proxy.port}/{shop.name}"


def hurried(data):
    """Five minutes are long; for the test, no time at all is."""
    return data.replace(b"'300 s'", b"'000 s'")


@case
def doctor_finds_long_transactions(shop, ask):
    with changed(shop, TO_SERVER, hurried) as hurry, shop.connect() as other:
        other("BEGIN")
        other("INSERT INTO outbox.message (topic) VALUES ('t')")
        of_it = [it for it in findings(hurry, 0) if it[0] == "long_transaction" and f"process {other.pid} " in it[2]]
        check(len(of_it) == 1, findings(hurry, 0))
        ask("SELECT " + of_it[0][1].partition("SELECT ")[2])
        wait_until(lambda: not ask("SELECT FROM pg_stat_activity WHERE pid = $1", other.pid), "its end")
    # Who may not see them is told so.
    relay = shop.login("outbox_relay")
    ask(found(url_of(shop.name, relay), "transactions_hidden")[1])
    check(not [it for it in findings(url_of(shop.name, relay), 0) if it[0] == "transactions_hidden"], "the grant does not serve")


@case
def doctor_finds_prepared_transactions(shop, ask):
    name = f"mine_{shop.name}"
    ask("BEGIN")
    ask("INSERT INTO outbox.message (topic) VALUES ('t')")
    ask(f"PREPARE TRANSACTION '{name}'")
    try:
        with changed(shop, TO_SERVER, hurried) as hurry:
            check(name in found(hurry, "prepared_transaction")[2], "its name")
    finally:
        ask(f"ROLLBACK PREPARED '{name}'")


@case
def doctor_finds_commits_that_do_not_wait(shop, ask):
    writer = shop.login("outbox_app")
    check(not [it for it in findings(shop.url, 0) if it[0] == "asynchronous_commit"], "nothing is wrong yet")
    for set_ in (f"ALTER ROLE {writer}", f"ALTER ROLE {writer} IN DATABASE {shop.name}", f"ALTER DATABASE {shop.name}"):
        ask(f"{set_} SET synchronous_commit = off")
        mend = found(shop.url, "asynchronous_commit")[1]
        check(mend == f"{set_} SET synchronous_commit = on", mend)
        ask(mend)
    check(not [it for it in findings(shop.url, 0) if it[0] == "asynchronous_commit"], "it was mended")


@case
def doctor_finds_a_clock_that_is_off(shop, _):
    def an_hour_ahead(data):
        return re.sub(rb"(?<!\d)1\d{15}(?!\d)", lambda it: b"%016d" % (int(it[0]) + 3600 * 10**6), data)
    with changed(shop, TO_CLIENT, an_hour_ahead) as skewed:
        _, mend, text = found(skewed, "clock_skew")
    ahead = int(re.search(r"(-?\d+) ms ahead", text)[1])
    check(abs(ahead - 3600000) < 60000 and "time server" in mend, text)
    check(not [it for it in findings(shop.url, 0) if it[0] == "clock_skew"], "there is none")


@case
def doctor_knows_a_subscription_without_a_relay(shop, ask):
    outbox("relay", shop.url, "--to", "null:", "--until-idle")
    ask("INSERT INTO outbox.message (topic) VALUES ('t')")
    check("default" in found(shop.url, "no_relay")[2], "its name")


def doctor_knows_a_copy():
    """What it names, run as it stands, lets the relay go on."""
    with PostgresShop() as shop:
        outbox("relay", shop.url, "--to", "null:", "--until-idle")
        with pq.Connection(url_of("postgres")) as ask:
            ask(f"CREATE DATABASE {shop.name}_copy TEMPLATE {shop.name}")
            try:
                copy = url_of(shop.name + "_copy")
                refused(1, "outbox adopt", "relay", copy, "--to", "null:", "--until-idle")
                mend = found(copy, "foreign", 1)[1].split()
                outbox(*mend[1:], "--yes")
                outbox("relay", copy, "--to", "null:", "--until-idle")
                check(not [it for it in findings(copy, 0) if it[0] == "foreign"], "it was adopted")
            finally:
                ask(f"DROP DATABASE {shop.name}_copy WITH (FORCE)")


if __name__ == "__main__":
    sys.exit(main([(name.replace("_", " "), in_a_shop, name) for name in cases]
                  + [("doctor knows a copy", doctor_knows_a_copy)]
                  + [("a server that asks for a password and TLS", a_server_that_asks_for_a_password_and_tls)]
                  + [(f"under a relay: {do}", renamed_under_a_relay, number) for number, (do, _, _) in enumerate(UNDER_A_RELAY)]))
