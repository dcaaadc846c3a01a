#!/usr/bin/env python3
"""PostgreSQL: what each role may and may not do, and that none of them is needed.

usage: scripts/with-server postgres -- test_postgres_roles.py [NAME...]     environment: OUTBOX_BUILD
"""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import pq  # noqa: E402
from postgres_shop import SERVER, PostgresShop, state_of, url_of  # noqa: E402
from tap import check, main  # noqa: E402
from commands import arrived, outbox, refused  # noqa: E402

DENIED = "42501"
ROLES = ("owner", "app", "relay", "monitor")
TABLES = ("subscription", "checkpoint", "opening", "lease", "member", "parked", "dead")

# A statement, and the roles that may run it: o(wner), a(pp), r(elay), m(onitor). All others must be told that they may not.
RULES = [
    # Writing messages: the columns of an application, and no other.
    ("INSERT INTO outbox.message (topic) VALUES ('t')", "oa"),
    ("INSERT INTO outbox.message (id, topic, partition_key, type, payload, content_type, headers, deliver_after)"
     " VALUES (gen_random_uuid(), 't', 'k', 'y', 'p', 'c', '{}', now())", "oa"),
    ("INSERT INTO outbox.message (topic, payload_bytes) VALUES ('t', '\\x00')", "oa"),
    ("INSERT INTO outbox.message (topic) VALUES ('t') RETURNING id", "oa"),
    ("INSERT INTO outbox.message (topic) VALUES ('t') RETURNING topic", "o"),
    ("INSERT INTO outbox.message (topic) VALUES ('t') RETURNING seq", "o"),
    ("INSERT INTO outbox.message (topic, xid) VALUES ('t', '1')", "o"),
    ("INSERT INTO outbox.message (topic, created_at) VALUES ('t', now())", "o"),
    ("INSERT INTO outbox.message_0 (topic) SELECT 't' WHERE false", "o"),
    ("INSERT INTO outbox.message (topic, seq) OVERRIDING SYSTEM VALUE VALUES ('t', 1)", "o"),
    ("COPY outbox.message (topic, payload) FROM stdin", "oa"),
    ("COPY outbox.message FROM stdin", "o"),
    ("SELECT outbox.publish('t', 'p')", "oa"),
    ("SELECT outbox.publish('t', '{}'::jsonb)", "oa"),
    ("SELECT outbox.publish('t', '{}'::json)", "oa"),
    ("SELECT outbox.publish('t', '\\x00'::bytea)", "oa"),
    ("SELECT nextval('outbox.message_seq_seq')", "o"),
    ("SELECT setval('outbox.message_seq_seq', 1)", "o"),
    # Reading them.
    ("SELECT id FROM outbox.message", "oarm"),
    ("SELECT topic, seq, xid, created_at FROM outbox.message", "orm"),
    ("SELECT payload FROM outbox.message", "or"),
    ("SELECT payload_bytes FROM outbox.message", "or"),
    ("SELECT headers FROM outbox.message", "or"),
    ("SELECT * FROM outbox.message", "or"),
    ("SELECT id FROM outbox.message_0", "or"),
    ("SELECT message FROM outbox.message", "or"),  # the whole row
    ("COPY outbox.message_0 TO stdout", "or"),
    ("COPY (SELECT payload FROM outbox.message) TO stdout", "or"),
    ("SELECT id FROM outbox.message FOR UPDATE", "o"),
    ("SELECT id FROM outbox.message FOR KEY SHARE", "o"),
    ("SELECT payload FROM outbox.parked", "or"),
    ("SELECT headers FROM outbox.dead", "or"),
    ("SELECT id, topic, code, tries FROM outbox.parked", "orm"),
    ("SELECT id, topic, code, tries FROM outbox.dead", "orm"),
    ("SELECT name, topics, sink FROM outbox.subscription", "orm"),
    ("SELECT * FROM outbox.checkpoint", "orm"),
    ("SELECT * FROM outbox.lease", "orm"),
    ("SELECT * FROM outbox.member", "orm"),
    ("SELECT outbox.shard_of('k', gen_random_uuid(), 4)", "orm"),
    ("SELECT * FROM outbox.migration", "orm"),
    ("SELECT last_value FROM outbox.message_seq_seq", "orm"),
    # Changing what was written.
    ("UPDATE outbox.message SET topic = 'x'", "o"),
    ("UPDATE outbox.message SET id = gen_random_uuid()", "o"),
    ("DELETE FROM outbox.message", "o"),
    ("DELETE FROM outbox.message_0", "o"),
    ("TRUNCATE outbox.message", "o"),
    ("TRUNCATE outbox.message_0", "o"),
    ("LOCK outbox.message IN ACCESS EXCLUSIVE MODE", "o"),
    ("LOCK outbox.message IN SHARE MODE", "o"),
    # The state.
    *((f"DELETE FROM outbox.{table}", "or") for table in TABLES),
    *((f"TRUNCATE outbox.{table}", "o") for table in TABLES),
    ("UPDATE outbox.subscription SET paused = true", "or"),
    ("UPDATE outbox.lease SET holder = ''", "or"),
    ("UPDATE outbox.checkpoint SET epoch = epoch + 1", "or"),
    ("INSERT INTO outbox.subscription (name, topics, order_by, sink, hold_key) VALUES ('s', '*', 0, '', false)", "or"),
    ("INSERT INTO outbox.migration (version, name) VALUES (1000, 'x')", "o"),
    ("DELETE FROM outbox.migration", "o"),
    # House-keeping, which runs with the owner's rights.
    ("SELECT outbox.is_needed(0)", "or"),
    ("SELECT outbox.empty(0, '0')", "or"),
    ("SELECT outbox.turn('1 hour', 1000000)", "or"),
    ("SELECT outbox.stamp_anew()", "or"),
    ("SELECT * FROM outbox.ring", "or"),
    ("UPDATE outbox.ring SET turns = 0", "o"),
    # What only the owner may do to the schema, and nobody to the cluster.
    ("ALTER TABLE outbox.message ADD COLUMN x int", "o"),
    ("DROP TABLE outbox.message", "o"),
    ("DROP SCHEMA outbox CASCADE", "o"),
    ("CREATE TABLE outbox.mine (n int)", "o"),
    ("CREATE FUNCTION outbox.publish(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", "o"),
    ("CREATE TRIGGER t BEFORE INSERT ON outbox.message FOR EACH ROW EXECUTE FUNCTION"
     " suppress_redundant_updates_trigger()", "o"),
    ("CREATE RULE r AS ON INSERT TO outbox.subscription DO INSTEAD NOTHING", "o"),
    ("CREATE ROLE ob_test_other", "-"),
    ("ALTER ROLE outbox_app LOGIN", "-"),
    ("GRANT outbox_owner TO outbox_app", "-"),
    ("SET ROLE postgres", "-"),
    ("SET ROLE outbox_owner", "o"),
]


def member(role):
    """Each statement as a login that is a member of one role."""
    wrong = []
    with PostgresShop() as shop:
        with shop.connect() as ask:
            ask("INSERT INTO outbox.message (topic, payload) VALUES ('t', 'secret')")
        with shop.connect(shop.login(f"outbox_{role}")) as user:
            for sql, who in RULES:
                state = state_of(user, sql)
                allowed = role[0] in who
                if (state is None) != allowed:
                    wrong.append(f"{sql}: {state or 'worked'}")
                elif not allowed and state not in (DENIED, "428C9", "0LP01", "2BP01"):
                    wrong.append(f"{sql}: refused with {state}")
    check(not wrong, f"{role}:\n" + "\n".join(wrong))


def stranger():
    """A login without a role cannot even look into the schema."""
    with PostgresShop() as shop, shop.connect(shop.login()) as user:
        for sql, _ in RULES:
            check(state_of(user, sql) is not None, f"a stranger may: {sql}")
        for sql in ("SELECT 1 FROM outbox.message", "SELECT outbox.publish('t')", "SELECT 'outbox.message'::regclass"):
            check(state_of(user, sql) == DENIED, f"a stranger may: {sql}")


def owner_is_no_login():
    """The owner of everything cannot log in, and is nobody special elsewhere."""
    with PostgresShop() as shop, shop.connect() as ask:
        check(ask("SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles"
                  " WHERE rolname LIKE 'outbox\\_%' ORDER BY 1")
              == [(f"outbox_{name}", False, False, False, False, False, False) for name in sorted(ROLES)], "roles")
        owners = ask("SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'outbox'::regnamespace UNION"
                     " SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace UNION"
                     " SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'outbox'")
        check(owners == [("outbox_owner",)], f"owned by {owners}")


def functions_are_safe():
    """What runs with its owner's rights has a search path of its own, pg_temp last, and is not for everybody."""
    with PostgresShop() as shop, shop.connect() as ask:
        for name, definer, config, acl in ask(
                "SELECT oid::regprocedure::text, prosecdef, array_to_string(proconfig, ';'), array_to_string(proacl, ' ')"
                " FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace"):
            check(acl and not acl.startswith("=") and " =" not in acl, f"{name} is for everybody: {acl}")
            if definer:
                path = (config or "").partition("search_path=")[2].split(";")[0]
                check(path.endswith("pg_temp") and "public" not in path, f"{name} has the search path {path!r}")


def deliver(url):
    """Runs a relay over what is there, and tells which payloads arrived."""
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "out.jsonl"
        outbox("relay", url, "--to", f"file:{out}", "--until-idle")
        return [line.get("payload") for line in arrived(out)]


def least_rights_are_enough():
    """An application, a relay and a monitor at their work, each with its own role alone."""
    with PostgresShop() as shop:
        app, relay, looker = (shop.login(f"outbox_{role}") for role in ("app", "relay", "monitor"))
        with shop.connect() as ask:
            ask("CREATE TABLE orders (number bigint GENERATED ALWAYS AS IDENTITY, customer text)")
            ask(f"GRANT INSERT ON orders TO {app}")
        with shop.connect(app) as user:
            user("BEGIN")
            user("INSERT INTO orders (customer) VALUES ('alice')")
            made = user.value("SELECT outbox.publish('orders.placed', 'p', partition_key => 'alice')")
            user("COMMIT")
            check(user.value("SELECT id FROM outbox.message") == made, "the id that came back is not the one in the table")
        with shop.connect(looker) as user:
            check(user("SELECT topic, partition_key FROM outbox.message") == [("orders.placed", "alice")], "the monitor sees no message")
        check(deliver(url_of(shop.name, relay)) == ["p"], "the relay did not deliver it")
        for user in (app, looker):
            refused(4, f"GRANT outbox_relay TO {user}", "relay", url_of(shop.name, user), "--to", "null:", "--until-idle")


def one_user():
    """A user without the right to make roles, who owns the database: everything is his, and nobody else gets in."""
    with PostgresShop(None) as shop:
        solo = shop.login()
        with shop.connect() as ask:
            ask(f"ALTER DATABASE {shop.name} OWNER TO {solo}")
        url = shop.url.replace("postgres@", f"{solo}@")
        outbox("init", url, "--quiet")
        outbox("migrate", url, "--status")
        with shop.connect(solo) as user:
            check(user.value("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'outbox.message'::regclass") == solo,
                  "the tables are not the user's")
            made = user.value("SELECT outbox.publish('t', 'p')")
            user("INSERT INTO outbox.message (topic) VALUES ('t')")
            check(user.value("SELECT count(*) FROM outbox.message") == 2, "both messages")
            check(user.value("SELECT payload FROM outbox.message WHERE id = $1", made) == "p", "the payload")
        check(deliver(url) == ["p", None], "both are delivered")
        outbox("status", url)
        with shop.connect(shop.login()) as other:
            check(state_of(other, "SELECT id FROM outbox.message") == DENIED, "another user reads")
            check(state_of(other, "SELECT outbox.publish('t')") == DENIED, "another user writes")


def second_administrator():
    """A user who may make roles, but not give away those that another has made (which is so since version 16)."""
    with PostgresShop() as _, PostgresShop(None) as shop:
        admin = shop.login()
        with shop.connect() as ask:
            ask(f"ALTER ROLE {admin} CREATEROLE")
            ask(f"ALTER DATABASE {shop.name} OWNER TO {admin}")
        outbox("init", shop.url.replace("postgres@", f"{admin}@"), "--quiet")
        with shop.connect(admin) as user:
            user("SELECT outbox.publish('t', 'p')")
            check(user.value("SELECT count(*) FROM outbox.message") == 1, "the message")


def first_administrator():
    """A user who may make roles and is no superuser makes them, and they serve."""
    with pq.Connection(SERVER) as ask:
        ask("DROP ROLE IF EXISTS outbox_owner, outbox_app, outbox_relay, outbox_monitor")
    with PostgresShop(None) as shop:
        admin = shop.login()
        with shop.connect() as ask:
            ask(f"ALTER ROLE {admin} CREATEROLE")
            ask(f"ALTER DATABASE {shop.name} OWNER TO {admin}")
        outbox("init", shop.url.replace("postgres@", f"{admin}@"), "--quiet")
        with shop.connect(shop.login("outbox_app")) as user:
            user("SELECT outbox.publish('t', 'p')")
            check(state_of(user, "SELECT payload FROM outbox.message") == DENIED, "the application reads")
        with shop.connect() as ask:
            check(ask.value("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'outbox.message'::regclass")
                  == "outbox_owner", "the owner")
    with pq.Connection(SERVER) as ask:
        ask("DROP ROLE IF EXISTS outbox_owner, outbox_app, outbox_relay, outbox_monitor")


def without_roles():
    """Roles that somebody else's database has made are left alone when they are not wanted."""
    with PostgresShop() as _, PostgresShop("--store-option", "roles=false") as shop, shop.connect() as ask:
        check(ask.value("SELECT count(*) FROM pg_class, aclexplode(relacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee"
                        " WHERE relnamespace = 'outbox'::regnamespace AND rolname LIKE 'outbox\\_%'") == 0, "rights were given")
        with shop.connect(shop.login("outbox_app")) as user:
            check(state_of(user, "SELECT outbox.publish('t')") == DENIED, "outbox_app may write")


CASES = [(f"outbox_{role}: what it can do and what not", member, role) for role in ROLES] + [
    ("a stranger cannot do anything", stranger),
    ("the owner cannot log in and owns everything", owner_is_no_login),
    ("functions are for those who were given them", functions_are_safe),
    ("least rights are enough for the work", least_rights_are_enough),
    ("one user who may make no roles is enough", one_user),
    ("an administrator to whom the roles do not belong", second_administrator),
    ("roles=false gives rights to nobody", without_roles),
]

if __name__ == "__main__":
    with pq.Connection(SERVER) as server:
        server("SELECT 1")
    # First, since all databases of a server share their roles.
    ROLE_MAKERS = [("an administrator who is no superuser makes the roles", first_administrator)]
    sys.exit(main(ROLE_MAKERS, at_once=1) + main(CASES))
