#!/usr/bin/env python3
"""PostgreSQL: writing messages with plain INSERTs and with outbox.publish().

usage: scripts/with-server postgres -- test_postgres_publish.py [NAME...]     environment: OUTBOX_BUILD
"""
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import pq  # noqa: E402
from commands import outbox  # noqa: E402
from postgres_shop import PostgresShop  # noqa: E402
from tap import check, main  # noqa: E402

ID = "0190163d-8694-739b-aea5-966c26f8ad91"
FIELDS = "id, topic, partition_key, type, payload, payload_bytes, content_type, headers::text, deliver_after::text"
NONE = (None,) * 5
cases = {}


def case(function):
    cases[function.__name__] = function
    return function


def in_a_shop(name):
    with PostgresShop() as shop, shop.connect() as ask:
        ask("SET timezone = 'UTC'")
        cases[name](shop, ask)


def refused(ask, state, says, sql, *values):
    """The statement fails with this SQLSTATE and a text that tells an application's developer what to do."""
    try:
        ask(sql, *values)
    except pq.Error as error:
        check(error.state == state and says in str(error), f"{sql}: {error.state} {error}")
        return
    raise AssertionError(f"{sql} was taken")


def same(seen, wanted):
    check(seen == wanted, f"{seen} is not {wanted}")


@case
def all_that_is_not_given_has_a_default(shop, ask):
    made = ask.value("SELECT outbox.publish('t')")
    same(ask(f"SELECT {FIELDS} FROM outbox.message"), [(made, "t", None, None, None, *NONE[:4])])
    check(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made), made)
    check(ask.value("SELECT clock_timestamp() - created_at < interval '1 minute' FROM outbox.message"), "created_at")
    ask("BEGIN")
    ask("SELECT outbox.publish('u')")
    check(ask.value("SELECT xid = pg_current_xact_id() AND seq > 1 FROM outbox.message WHERE topic = 'u'"), "xid and seq")
    ask("COMMIT")


@case
def every_field_is_written_by_name(shop, ask):
    same(ask.value("SELECT outbox.publish('t', 'p', partition_key => 'k', type => 'y', headers => '{\"a\": \"b\"}', deliver_after =>"
                   f" '2030-01-31 12:00Z', content_type => 'text/plain', id => '{ID}')"), ID)
    ask("INSERT INTO outbox.message (id, topic, partition_key, type, payload, content_type, headers, deliver_after)"
        f" VALUES ('{ID}', 't', 'k', 'y', 'p', 'text/plain', '{{\"a\": \"b\"}}', '2030-01-31 12:00Z')")
    same(ask(f"SELECT {FIELDS} FROM outbox.message"),
         [(ID, "t", "k", "y", "p", None, "text/plain", '{"a": "b"}', "2030-01-31 12:00:00+00")] * 2)


@case
def a_payload_of_any_kind_arrives_as_its_bytes(shop, ask):
    for given, text, data in (("'{\"a\":  1}'", '{"a":  1}', None), ("'{\"a\":  1}'::json", '{"a":  1}', None),
                              ("jsonb_build_object('a', 1)", '{"a": 1}', None), ("'\\x00ff'::bytea", None, b"\0\xff"),
                              ("'caf\u00e9'::varchar", "caf\u00e9", None), ("'\\\\x'", "\\\\x", None), ("''", "", None),
                              ("NULL", None, None), ("(SELECT row_to_json(r) FROM (SELECT 1 AS a) AS r)", '{"a":1}', None)):
        made = ask.value(f"SELECT outbox.publish('t', {given})")
        same(ask("SELECT payload, payload_bytes FROM outbox.message WHERE id = $1", made), [(text, data)])


@case
def parameters_without_a_type_are_text(shop, ask):
    """As drivers send them that leave types to the server."""
    made = ask.value("SELECT outbox.publish($1, $2, partition_key => $3, headers => $4)", "t", '{"a": 1}', "k", '{"h": "v"}')
    same(ask("SELECT payload, partition_key, headers::text FROM outbox.message WHERE id = $1", made),
         [('{"a": 1}', "k", '{"h": "v"}')])


@case
def it_is_part_of_the_callers_transaction(shop, ask):
    ask("CREATE TABLE orders (n int)")
    ask("BEGIN")
    ask("INSERT INTO orders VALUES (1)")
    ask("SELECT outbox.publish('t')")
    ask("ROLLBACK")
    ask("BEGIN; INSERT INTO orders VALUES (2); SELECT outbox.publish('t', 'first'); SAVEPOINT s; SELECT outbox.publish('t', 'second');"
        " ROLLBACK TO s; COMMIT")
    same(ask("SELECT n FROM orders"), [(2,)])
    same(ask("SELECT payload FROM outbox.message"), [("first",)])


@case
def from_a_trigger_and_from_a_query(shop, ask):
    ask("CREATE TABLE orders (number int, customer text)")
    ask("CREATE FUNCTION placed() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM outbox.publish('orders.placed', to_jsonb(NEW),"
        " partition_key => NEW.customer); RETURN NULL; END$$")
    ask("CREATE TRIGGER placed AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION placed()")
    ask("INSERT INTO orders SELECT n, 'c' || n % 3 FROM generate_series(1, 100) AS n")
    rows = ask("SELECT payload, partition_key FROM outbox.message ORDER BY seq")
    same([json.loads(payload)["number"] for payload, _ in rows], list(range(1, 101)))
    ask("SELECT count(outbox.publish('again', payload)) FROM outbox.message")
    same(ask.value("SELECT count(*) FROM outbox.message WHERE topic = 'again'"), 100)


def by_insert(**columns):
    return f"INSERT INTO outbox.message ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"


def by_function(**columns):
    return f"SELECT outbox.publish({', '.join(f'{name} => {value}' for name, value in columns.items())})"


@case
def what_is_wrong_is_refused_in_words(shop, ask):
    for write in (by_insert, by_function):
        refused(ask, "23502", '"topic"', write(topic="NULL"))
        refused(ask, "23514", "outbox: topic must be of 1 to 255 bytes", write(topic="''"))
        refused(ask, "23514", "outbox: topic must be of 1 to 255 bytes", write(topic="repeat('\u00e9', 128)"))
        for column in ("partition_key", "type", "content_type"):
            refused(ask, "23514", f"outbox: {column} must be of at most 255 bytes",
                    write(topic="'t'", **{column: "repeat('x', 256)"}))
        for headers in ("'[1]'", "'\"a\"'", "'null'", "(SELECT jsonb_object_agg(n::text, md5(n::text)) FROM generate_series(1, 3000) AS n)"):
            refused(ask, "23514", "outbox: headers must be a JSON object of at most 64 KiB", write(topic="'t'", headers=headers))
        refused(ask, "22P02", "json", write(topic="'t'", headers="'no'"))
        refused(ask, "22P02", "uuid", write(topic="'t'", id="'order-1'"))
        refused(ask, "22007", "timestamp", write(topic="'t'", deliver_after="'later'"))
    refused(ask, "42883", "publish()", by_function())
    refused(ask, "23502", '"topic"', by_insert(payload="'x'"))
    refused(ask, "23502", '"id"', by_insert(topic="'t'", id="NULL"))
    refused(ask, "428C9", '"seq"', by_insert(topic="'t'", seq="7"))
    refused(ask, "23514", "outbox: at most one of payload and payload_bytes", by_insert(topic="'t'", payload="'a'", payload_bytes="'b'"))
    same(ask.value("SELECT count(*) FROM outbox.message"), 0)


@case
def the_same_id_twice_is_two_messages(shop, ask):
    for _ in range(2):
        ask(f"SELECT outbox.publish('t', id => '{ID}')")
    same(ask.value("SELECT count(*) FROM outbox.message"), 2)


@case
def nobody_slips_code_into_it(shop, ask):
    """Functions, types and tables of another user by the names that the function uses, in front of the server's own."""
    app, other = shop.login("outbox_app"), shop.login()
    ask("CREATE TABLE public.caught (what text)")
    ask(f"GRANT INSERT ON public.caught TO PUBLIC; GRANT TEMP ON DATABASE {shop.name} TO {app}")
    ask(f"CREATE SCHEMA evil AUTHORIZATION {other}; GRANT USAGE ON SCHEMA evil TO PUBLIC")
    with shop.connect(other) as attacker:
        for signature, returns in (("gen_random_uuid()", "uuid"), ("pg_current_xact_id()", "xid8"), ("clock_timestamp()", "timestamptz"),
                                   ("octet_length(text)", "int"),
                                   ("jsonb_typeof(jsonb)", "text"), ("text(jsonb)", "text"), ("textne(text, text)", "bool"),
                                   ("publish(text, text)", "uuid"), ("nextval(regclass)", "bigint")):
            attacker(f"CREATE FUNCTION evil.{signature} RETURNS {returns} LANGUAGE plpgsql AS"
                     f" $$BEGIN INSERT INTO public.caught VALUES ('{signature}'); RETURN NULL; END$$")
        attacker("CREATE TABLE evil.message (topic text, payload text); GRANT INSERT ON evil.message TO PUBLIC")
        attacker("CREATE DOMAIN evil.uuid AS pg_catalog.text; CREATE DOMAIN evil.text AS pg_catalog.int4")
    with shop.connect(app) as user:
        user("SET search_path = evil, pg_catalog, public")
        user("SELECT outbox.publish('t', 'p')")
        user("SELECT outbox.publish('t', '{}'::jsonb)")
        user("SELECT outbox.publish('t', '{}'::json)")
        user("SELECT outbox.publish('t', '\\x00'::bytea)")
        user("INSERT INTO outbox.message (topic) VALUES ('t')")
        # Names of this session's own come before all others.
        user("CREATE TEMP TABLE message (topic int); CREATE DOMAIN pg_temp.uuid AS pg_catalog.int4")
        user("SELECT outbox.publish('t', 'p')")
    same(ask("SELECT DISTINCT what FROM public.caught"), [])
    same(ask.value("SELECT count(*) FROM outbox.message"), 6)


@case
def any_name_of_a_schema(shop, ask):
    for name in ("orders_box", "select"):
        outbox("init", shop.url, "--quiet", "--schema", name)
        made = ask.value(f'SELECT "{name}".publish(\'t\', \'{{}}\'::jsonb)')
        same(ask(f'SELECT id, payload FROM "{name}".message'), [(made, "{}")])
    same(ask.value("SELECT count(*) FROM outbox.message"), 0)


if __name__ == "__main__":
    sys.exit(main([(name.replace("_", " "), in_a_shop, name) for name in cases]))
