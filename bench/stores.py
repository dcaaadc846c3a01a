"""The kinds of databases that a benchmark may be about, each with an outbox and with messages of 300 bytes in it."""
import contextlib
import itertools
import pathlib
import re
import sqlite3

import common

KINDS = ("sqlite", "postgres")


def add_option(parser):
    parser.add_argument("--database", choices=KINDS, default="sqlite")


class Sqlite:
    name = "SQLite"
    bare_name = "bare SELECT loop"
    kept = []  # the relay's options by which another round finds the same messages

    def __init__(self, directory, name, messages=0, batch=1000):
        self.path = pathlib.Path(directory) / f"{name}.db"
        self.url = f"sqlite:{self.path}"
        common.run(common.OUTBOX, "init", self.url)
        if messages:
            self.fill(messages, batch)

    def fill(self, messages, batch=1000):
        batch = min(batch, messages)
        common.run(common.WRITER, self.url, "--count", messages // batch, "--batch", batch, "--synchronous", "off")
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def bare(self):
        """The rows a second of a program that does nothing but read them."""
        rows, took, _ = common.run(common.BUILD / "bench" / "bench-select", self.path).split()
        return int(rows) / float(took)

    def checkpoint(self, subscription="default"):
        """How far the subscription has come, read as anyone may."""
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT position FROM outbox_checkpoint WHERE subscription = ?", (subscription,)).fetchone()
            return row[0] if row else 0

    def work(self, _, seconds):
        """The transactions a second of an application that does what it can, and the longest one in ms."""
        count, took, longest = common.run(common.WRITER, self.url, "--seconds", seconds).split()
        return int(count) / float(took), float(longest)

    def idle_processes(self):
        """Those whose time counts beside the relay's."""
        return []

    def transactions(self):
        return 0

    def connections(self):
        return 0

    def remove(self):
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()


class Postgres:
    """A database on a server of the benchmark's own, with the settings of a small production server: commits wait for the disk."""
    name = "PostgreSQL"
    bare_name = "COPY in binary"
    kept = ["--store-option", "retention=24h"]
    # pgbench's own TPC-B-like script, with room for a message before its end.
    SCRIPT = """\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
MESSAGE
END;
"""
    MESSAGE = ("INSERT INTO outbox.message (topic, partition_key, payload)"
               " VALUES ('bench', 'key-' || :aid % 1000, repeat('x', 300));")
    SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min"}
    shared, number = None, itertools.count(1)

    def __init__(self, _, name, messages=0, batch=0, server=None):
        self.server = server or self.server_of_all()
        self.database = f"{name.replace('-', '_')}_{next(self.number)}"
        with self.server.connect() as ask:
            ask(f"CREATE DATABASE {self.database}")
        self.url, self.asking = self.server.url_of(self.database), None
        common.run(common.OUTBOX, "init", self.url, "--quiet")
        if messages:
            self.fill(messages)

    @classmethod
    def server_of_all(cls):
        if cls.shared is None:
            cls.shared = cls.new_server()
        return cls.shared

    @classmethod
    def new_server(cls):
        from servers.postgres import Postgres as Server
        return Server(settings=cls.SETTINGS, durable=True).start()

    def ask(self, sql, *values):
        """By one connection that is kept, so that looking on costs the server little."""
        if self.asking is None:
            self.asking = self.server.connect(self.database)
        return self.asking(sql, *values)

    def fill(self, messages):
        # More than one transaction, or the log would be one interval of one transaction, which no application writes.
        step = min(messages, 50_000)
        with self.server.connect(self.database) as ask:
            ask("SET synchronous_commit = off")
            for _ in range(messages // step):
                ask("INSERT INTO outbox.message (topic, partition_key, payload)"
                    f" SELECT 'bench', 'key-' || i % 1000, repeat('x', 300) FROM generate_series(1, {step}) i")
            ask("VACUUM (ANALYZE) outbox.message")
            ask("CHECKPOINT")

    def bare(self):
        rows, took, _ = common.run(common.BUILD / "bench" / "bench-copy", self.url).split()
        return int(rows) / float(took)

    def checkpoint(self, subscription="default"):
        # Between intervals all up to q1 is settled; in one, all of it up to `at`.
        rows = self.ask("SELECT CASE WHEN s2 IS NULL THEN q1 ELSE at END FROM outbox.checkpoint WHERE subscription = $1", subscription)
        return rows[0][0] if rows else 0

    def pgbench(self, *options):
        return common.run(self.server.bin / "pgbench", "-n", "-h", "127.0.0.1", "-p", self.server.port, "-U", "postgres", *options,
                          self.database)

    def prepare_work(self):
        if not self.ask("SELECT to_regclass('pgbench_accounts')")[0][0]:
            self.pgbench("-i", "-q", "-s", 10)
            self.ask("CHECKPOINT")

    def work(self, directory, seconds, message=MESSAGE, clients=4, fast=False):
        self.prepare_work()
        script = pathlib.Path(directory) / "script.sql"
        script.write_text(("SET synchronous_commit = off;\n" if fast else "") + self.SCRIPT.replace("MESSAGE", message))
        prefix = pathlib.Path(directory) / f"pgbench-{next(self.number)}"
        said = self.pgbench("-T", max(1, round(seconds)), "-s", 10, "-c", clients, "-j", 2, "-M", "prepared", "-f", script, "-l",
                            f"--log-prefix={prefix}")
        longest = 0
        for log in prefix.parent.glob(f"{prefix.name}*"):
            with open(log, encoding="ascii") as lines:
                longest = max(longest, max((int(line.split()[2]) for line in lines), default=0))
            log.unlink()
        return float(re.search(r"tps = ([\d.]+)", said)[1]), longest / 1000

    def idle_processes(self):
        mine = self.ask("SELECT pg_backend_pid()")[0][0]
        return [pid for pid in common.children(self.server.process.pid) if pid != mine]

    def transactions(self):
        """So far in this database, those of one's own looks left out."""
        self.looks = getattr(self, "looks", 0) + 1
        return self.ask("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1", self.database)[0][0] - self.looks

    def connections(self):
        return self.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", self.database)[0][0]

    def remove(self):
        if self.asking is not None:
            self.asking.close()
        with self.server.connect() as ask:
            ask(f"DROP DATABASE {self.database} WITH (FORCE)")


def make(kind, directory, name, messages=0, batch=1000):
    return {"sqlite": Sqlite, "postgres": Postgres}[kind](directory, name, messages, batch)


_pairs = {}


def pair(kind, directory, name, messages):
    """One to write to, and another that a relay may drain instead, each with so many messages. Files are made anew; servers are kept, and
    the other database is on a second one."""
    if kind == "sqlite":
        return Sqlite(directory, f"{name}-this", messages), Sqlite(directory, f"{name}-other", messages)
    if not _pairs:
        _pairs["this"] = Postgres(directory, "this", messages)
        _pairs["other"] = Postgres(directory, "other", messages, server=Postgres.new_server())
        _pairs["this"].prepare_work()
    return _pairs["this"], _pairs["other"]


def remove_pair(*two):
    for database in two:
        if database not in _pairs.values():
            database.remove()
