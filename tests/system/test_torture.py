#!/usr/bin/env python3
"""The torture (torture.py) in the length that CI can afford: first that it catches what it is there for, by planted logs and by readers
that take a short cut.

usage: test_torture.py [NAME...]     environment: OUTBOX_BUILD
"""
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import reading  # noqa: E402
from oracle import Oracle  # noqa: E402
from tap import check, main  # noqa: E402
from torture import PostgresGround, options_of, torture  # noqa: E402

TRUTH = [(1, 3, 11 ^ 12 ^ 13), (2, 1, 21), (3, 0, 0)]


def planted(receipts, expected, duplicates_max=0):
    """Receipts such as "1.2" (key 1, number 2, its right nonce), "1.2=99" (another nonce), "1.2@b" (another id)."""
    oracle = Oracle()
    for word in receipts.split():
        word, _, name = word.partition("@")
        word, _, nonce = word.partition("=")
        key, number = word.split(".")
        oracle.receipt(f"{name or 'id' + word} {key} {number} {nonce or int(key) * 10 + int(number)}")
    said = oracle.judge(TRUTH, duplicates_max)
    seen = " ".join(line[:2] for line in said.splitlines() if line[2] == ":")
    check(seen == expected, f"{receipts}: {said or 'nothing'} instead of {expected}")


def tortured(*words):
    with tempfile.TemporaryDirectory(prefix="outbox-torture-") as directory:
        return torture(options_of([str(word) for word in words]), pathlib.Path(directory))


def holds(*words, ingredients=True):
    broken, done = tortured(*words)
    check(not broken, f"{broken}\n{done}")
    missing = [name for name in ("rolled_back", "to_savepoint", "prepared", "decided", "early", "lazy", "isolated", "vanished",
                                 "batches", "killed_readers", *(() if "reference" in words else ("turns", "emptied"))) if not done[name]]
    check(not ingredients or not missing, f"there were none of {missing}: {done}")
    return f"{done}"


def caught(reader, promises, *words):
    """The short cut breaks one of these promises. Which writers meet is chance, so it gets more than one run to do so."""
    for _ in range(4):
        broken, _ = tortured("--reader", reader, "--messages", 6000, "--seconds", 4, "--patience", 4, *words)
        seen = [line[:2] for line in broken.splitlines() if line[:1] == "P" and line[2:3] == ":"]
        if set(seen) & set(promises.split()):
            return " ".join(seen)
    return check(False, f"a reader that {reading.WRONG[reader]} was let pass:\n{broken or 'nothing broken'}")


def durable(wrong):
    """A commit that did not wait for the disk is seen by others at once, and gone after a crash. Returns whether it was delivered."""
    ground = PostgresGround(None, {"wal_writer_delay": "10000"})
    with tempfile.TemporaryFile() as out:
        try:
            ground.prepare_reference()
            reader = reading.Reader(ground.url, out.fileno(), wrong)
            with ground.server.connect() as ask:
                ask("SET synchronous_commit = off")
                for number in range(20):
                    ask("INSERT INTO outbox.message (topic, payload) VALUES ('t', $1)", f"1 {number} 1")
            reader.round()
            ground.server.kill()
            ground.server.start()
            with ground.server.connect() as ask:
                kept = {row[0] for row in ask("SELECT id FROM outbox.message")}
            out.seek(0)
            delivered = {line.decode().split()[0] for line in out}
            check(len(delivered) == 20, f"{len(delivered)} were delivered")
            return len(delivered - kept)
        finally:
            ground.end()


def only_durable_is_delivered():
    check(durable(None) == 0, "messages were delivered that a crash then took back")
    check(durable("not-durable") > 0, "the short cut was let pass")


LONG = os.environ.get("OB_TEST_LENGTH") == "full"
COUNT = 100_000 if LONG else 10_000
CASES = [
    ("planted: all in order", planted, "1.1 2.1 1.2 1.3", ""),
    ("planted: a lost one in the middle", planted, "1.1 2.1 1.3", "P2"),
    ("planted: the last one lost", planted, "1.1 2.1 1.2", "P2"),
    ("planted: a key of which nothing came", planted, "1.1 1.2 1.3", "P2"),
    ("planted: out of order", planted, "1.1 2.1 1.3 1.2", "P3"),
    ("planted: one too many", planted, "1.1 2.1 2.2 1.2 1.3", "P1"),
    ("planted: of a key that has none", planted, "1.1 2.1 3.1 1.2 1.3", "P1"),
    ("planted: rolled back, then the committed one", planted, "1.1 2.1 1.2=99 1.2 1.3", "P1"),
    ("planted: rolled back instead of the committed one", planted, "1.1 2.1 1.2=99 1.3", "P1"),
    ("planted: a duplicate that is allowed", planted, "1.1 2.1 1.2 1.2 1.3", "", 1),
    ("planted: a duplicate that is not", planted, "1.1 2.1 1.2 1.2 1.3", "P4", 0),
    ("planted: a duplicate under another id", planted, "1.1 2.1 1.2 1.2@b 1.3", "P4", 1),
    ("reference: snapshot intervals hold", holds, "--reader", "reference", "--messages", COUNT, "--seconds", 6),
    ("reference: and while the server is killed", holds, "--reader", "reference", "--messages", COUNT, "--seconds", 8,
     "--kill-server", 1.5),
    ("reference: only what is durable is delivered", only_durable_is_delivered),
    ("short cut: by number", caught, "by-number", "P2 P3"),
    ("short cut: by transaction waits for strangers", caught, "by-xid", "P2"),
    ("short cut: by transaction, without strangers", caught, "by-xid", "P3", "--no-stranger"),
    ("short cut: open transactions forgotten", caught, "no-open-ones", "P2"),
    ("short cut: no transaction of its own between", caught, "one-transaction", "P2"),
    ("short cut: trimmed without a look under the lock", caught, "trim-unlocked", "P2"),
    ("relays are killed, stopped and moved", holds, "--messages", 500_000 if LONG else 50_000, "--seconds", 400 if LONG else 30,
     "--kill-readers", 1.5),
    ("relays are killed, and the server as well", holds, "--messages", COUNT, "--seconds", 100 if LONG else 15, "--kill-server", 2),
    ("relays behind a proxy", holds, "--database", "pgbouncer", "--messages", COUNT, "--seconds", 100 if LONG else 10),
    ("relays behind a proxy, and the server is killed", holds, "--database", "pgbouncer", "--messages", COUNT, "--seconds",
     100 if LONG else 12, "--kill-server", 3),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
