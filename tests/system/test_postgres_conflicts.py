#!/usr/bin/env python3
"""Statements of a relay that PostgreSQL refuses though nothing is wrong with them: deadlocks, conflicts, locks, limits. Each transaction is
tried again as a whole, for as long as it takes. P1 to P4 from the writers' and the recipient's own logs.

usage: test_postgres_conflicts.py [NAME...]     environment: OUTBOX_BUILD
"""
import os
import pathlib
import sys

os.environ.setdefault("OUTBOX_TEST_DATABASE", "postgres")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from tap import check, main  # noqa: E402
from world import flowing, wait_for  # noqa: E402


def deadlock():
    """A stranger takes our rows in another order than we do, and is more patient: we are the one that is told of the deadlock."""
    with flowing() as it:
        server, name = it.database.server, it.database.name
        first = it.relay()
        it.arrives(50)
        with server.connect(name) as stranger, server.connect(name) as look:
            stranger("SET deadlock_timeout = '1min'")
            stranger("BEGIN; SELECT FROM outbox.lease FOR UPDATE")
            first.kill()
            second = it.relay()  # takes the checkpoint's row and waits for that of the lease
            wait_for(lambda: look.value("SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
                                        " AND application_name LIKE 'outbox%' AND query LIKE '%FOR NO KEY UPDATE%'", name), 20,
                     "the relay to wait for the stranger")
            stranger("SELECT FROM outbox.checkpoint FOR UPDATE")
            stranger("ROLLBACK")
        check("deadlock detected" in server.log(), "there was no deadlock, so nothing was tried")
        it.arrives(50)
        return it.finish(second, 1)


def refused(table, states):
    """The server refuses every third write of that table, each time with another reason."""
    with flowing() as it:
        relay = it.relay("--settle-every", "20ms")
        it.arrives(50)
        with it.database.server.connect(it.database.name) as ask:
            ask("CREATE SEQUENCE public.refusals; GRANT ALL ON SEQUENCE public.refusals TO PUBLIC")
            ask("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE n bigint := nextval('public.refusals');"
                f" states text[] := '{{{','.join(states)}}}'; BEGIN IF n % 3 = 0 THEN"
                " RAISE EXCEPTION 'refused for once' USING ERRCODE = states[n / 3 % array_length(states, 1) + 1]; END IF;"
                " RETURN NEW; END $$")
            ask(f"CREATE TRIGGER refuse BEFORE UPDATE ON outbox.{table} FOR EACH ROW EXECUTE FUNCTION public.refuse()")
            before = len(it.recipient.accepted())
            wait_for(lambda: ask.value("SELECT last_value FROM public.refusals") >= 3 * len(states), 40, "every reason to be told")
            check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
            check(len(it.recipient.accepted()) > before, f"nothing arrived meanwhile:\n{relay.log()}")
            ask(f"DROP TRIGGER refuse ON outbox.{table}")
        it.arrives(50)
        return f"{it.finish(relay, 3 * len(states))}, {len(relay.log().splitlines())} lines of log"


def isolated(level):
    """The server's default isolation is another one for the relay's role: its transactions name theirs."""
    with flowing() as it:
        relay = it.relay("--settle-every", "20ms", url=f"{it.url}?options=-c%20default_transaction_isolation%3D{level}")
        it.arrives(300)
        check("40001" not in relay.log() and "could not serialize" not in it.database.server.log(), "a transaction was refused")
        return it.finish(relay, 0)


PASSING = ("40001", "40P01", "55P03")  # serialization_failure, deadlock_detected, lock_not_available
FAILING = ("57014", "53200", "53100", "53300", "57P03", "XX000")  # canceled, out of memory, disk full, connections, cannot connect, internal
CASES = [
    ("a deadlock", deadlock),
    *((f"{table}: {name}", refused, table, states) for table in ("checkpoint", "opening", "lease")
      for name, states in (("conflicts", PASSING), ("failures", FAILING))),
    ("by default serializable", isolated, "serializable"),
    ("by default repeatable read", isolated, "repeatable%5C%20read"),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
