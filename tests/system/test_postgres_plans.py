#!/usr/bin/env python3
"""PostgreSQL: how the server runs what a relay asks, with a long log, as the server itself says (auto_explain). A page may not cost more
because much stands behind it, because nobody has analysed the log, or because a stranger holds a transaction open.

usage: test_postgres_plans.py [NAME...]     environment: OUTBOX_BUILD, OB_TEST_LENGTH=full for ten million messages
"""
import json
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import outbox  # noqa: E402
from servers.postgres import Postgres  # noqa: E402
from tap import check, main  # noqa: E402

MESSAGES = 10_000_000 if os.environ.get("OB_TEST_LENGTH") == "full" else 200_000
EXPLAINED = {
    "session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off", "auto_explain.log_nested_statements": "on", "auto_explain.log_format": "json",
    "shared_buffers": "256MB",
}
# Rows of the log that one statement may look at in vain.
IN_VAIN = 2000


def fill(server, stranger):
    """Several transactions; of the stranger's messages the first ones stand below all of these."""
    stranger("BEGIN; INSERT INTO outbox.message (topic, partition_key, payload) VALUES ('t', 'late', 'late')")
    with server.connect("shop") as ask:
        ask("SET auto_explain.log_min_duration = -1; SET synchronous_commit = off")
        for _ in range(MESSAGES // 10_000):
            ask("INSERT INTO outbox.message (topic, partition_key, payload)"
                " SELECT 't', 'key-' || i % 1000, repeat('x', 100) FROM generate_series(1, 10000) AS i")


def nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def plans(log):
    """The statement and the plan of all that was run, from the server's log in JSON over several lines."""
    for text in re.findall(r"plan:\n(\t\{.*?\n\t\})", log, re.DOTALL):
        said = json.loads(text)
        yield said["Query Text"], said["Plan"]


def checked(log):
    """Of the plans that touch the log of messages: how many, and how many rows they gave."""
    count, given, emptied = 0, 0, set()
    for query, plan in plans(log):
        if re.fullmatch(r"SELECT count\(\*\) FROM outbox\.message_\d+", query):
            # Each partition is counted once, before it is emptied; nobody waits for that.
            check(query not in emptied, f"done twice: {query}")
            emptied.add(query)
            continue
        of_log = [node for node in nodes(plan) if re.fullmatch(r"message(_\d+)?", node.get("Relation Name", ""))]
        for node in of_log:
            rows, loops = node["Actual Rows"], node["Actual Loops"]
            vain = node.get("Rows Removed by Filter", 0) * loops
            if node["Node Type"] == "Seq Scan":
                vain += rows * loops
            check(vain <= IN_VAIN, f"{node['Node Type']} of {node['Relation Name']} looked at {vain} rows in vain for\n{query}")
            check(rows * loops <= 20_000, f"{node['Node Type']} of {node['Relation Name']} gave {rows * loops} rows for\n{query}\n{node}")
            given += rows * loops
        for node in nodes(plan):
            check(node["Node Type"] != "Sort" or node["Actual Rows"] <= 20_000, f"{node['Actual Rows']} rows were sorted for\n{query}")
        count += bool(of_log)
    return count, given


def a_drain(*preparations):
    with Postgres(settings=EXPLAINED) as server:
        server.start()
        with server.connect() as ask:
            ask("CREATE DATABASE shop")
        url = server.url_of("shop")
        outbox("init", url, "--quiet")
        with server.connect("shop") as stranger:
            fill(server, stranger)
            with server.connect("shop") as ask:
                ask("SET auto_explain.log_min_duration = -1")
                for statement in preparations:
                    ask(statement)
            before = len(server.log())
            outbox("relay", url, "--to", "null:", "--until-idle", "--subscription", "first")
            stranger("COMMIT")
            outbox("relay", url, "--to", "null:", "--until-idle", "--subscription", "first")
            for command in (("status",), ("doctor",), ("dead", "list")):
                outbox(*command, url)
            count, given = checked(server.log()[before:])
        check(count > MESSAGES / 20_000, f"only {count} plans were found: nothing was tried")
        check(MESSAGES < given < 1.2 * MESSAGES + 20_000, f"{given} rows were given for {MESSAGES} messages")
        return f"{count} plans, {given} rows"


def nobody_has_analysed_it():
    return a_drain("ALTER TABLE outbox.subscription SET (autovacuum_enabled = off)")


def it_was_analysed():
    return a_drain("ANALYZE")


def it_was_analysed_while_it_was_empty():
    """What the planner believes when a mass of messages comes at once."""
    return a_drain("UPDATE pg_class SET reltuples = 0, relpages = 0 WHERE relname ~ '^message_'")


if __name__ == "__main__":
    sys.exit(main([(it.__name__.replace("_", " "), it)
                   for it in (nobody_has_analysed_it, it_was_analysed, it_was_analysed_while_it_was_empty)]))
