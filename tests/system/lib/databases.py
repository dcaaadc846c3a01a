"""The kinds of databases that a world of the system tests may stand on, for those tests that hold for each of them. OUTBOX_TEST_DATABASE
chooses: sqlite (the default), postgres, postgres-VERSION, or pgbouncer, which is PostgreSQL behind a proxy that pools transactions.

A database gives a URL for the product, `query` for the tests, and applications' connections to writers. Names of the outbox's tables
differ: `table("dead")` is outbox_dead or outbox.dead."""
import contextlib
import copy
import itertools
import os
import sqlite3

import pq
from servers.pgbouncer import PgBouncer
from servers.postgres import Postgres

KIND, _, VERSION = os.environ.get("OUTBOX_TEST_DATABASE", "sqlite").partition("-")


class Gone(Exception):
    """The connection broke; whether what was asked last has been done is unknown."""


class SqliteWriter:
    def __init__(self, path):
        self.connection = sqlite3.connect(path, timeout=20, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")

    def begin(self):
        self.connection.execute("BEGIN IMMEDIATE")

    def order(self, what):
        self.connection.execute("INSERT INTO orders (what) VALUES (?)", (what,))

    def has_order(self, what):
        return self.connection.execute("SELECT 1 FROM orders WHERE what = ?", (what,)).fetchone() is not None

    def insert(self, message_id, key, payload):
        self.connection.execute("INSERT INTO outbox_message (id, topic, partition_key, payload) VALUES (?, 'orders', ?, ?)",
                                (message_id, key, payload))

    def commit(self):
        self.connection.execute("COMMIT")

    def rollback(self):
        self.connection.execute("ROLLBACK")

    def close(self):
        self.connection.close()


class Sqlite:
    kind = "sqlite"

    def __init__(self, directory, journal="wal", name="shop"):
        self.directory, self.path = directory, directory / f"{name}.db"
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")

    @property
    def url(self):
        return f"sqlite:{self.path}"

    @staticmethod
    def table(name):
        return f"outbox_{name}"

    def query(self, statement, *values):
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)) as connection:
            return connection.execute(statement, values).fetchall()

    def writer(self):
        return SqliteWriter(self.path)

    def another(self):
        """A second one like it."""
        return Sqlite(self.directory, name="another")

    def turn(self):
        """Makes sure that there is something to be trimmed soon."""

    @contextlib.contextmanager
    def held(self):
        """The relay can write nothing meanwhile."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
            holder.execute("ROLLBACK")

    def end(self):
        pass


class PostgresWriter:
    """Comes back by itself when the server was away."""

    def __init__(self, url):
        self.url, self.connection = url, None

    def ask(self, statement, *values):
        try:
            if self.connection is None:
                self.connection = pq.Connection(self.url)
            return self.connection(statement, *values)
        except pq.Error as error:
            if error.state is None or error.state.startswith(("57P", "08", "25006")):
                self.close()
                raise Gone(str(error)) from error
            raise

    def begin(self):
        self.ask("BEGIN")

    def order(self, what):
        self.ask("INSERT INTO orders (what) VALUES ($1)", what)

    def has_order(self, what):
        return bool(self.ask("SELECT 1 FROM orders WHERE what = $1", what))

    def insert(self, message_id, key, payload):
        self.ask("INSERT INTO outbox.message (id, topic, partition_key, payload) VALUES ($1, 'orders', $2, $3)", message_id, key, payload)

    def commit(self):
        self.ask("COMMIT")

    def rollback(self):
        self.ask("ROLLBACK")

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class PostgresDatabase:
    """A database of its own on a server that the process shares, or on one of its own (`server`)."""
    kind = "postgres"
    shared, front, number = None, None, itertools.count(1)

    def __init__(self, directory, server=None, behind_proxy=False):
        self.directory, self.own = directory, server is not None
        # The keeper ends the shared one with the process.
        if not self.own and PostgresDatabase.shared is None:
            PostgresDatabase.shared = Postgres(VERSION or None).start()
        self.server = server or PostgresDatabase.shared
        if behind_proxy and (PostgresDatabase.front is None or self.own):
            PostgresDatabase.front = PgBouncer(self.server).start()
        self.way, self.name = PostgresDatabase.front if behind_proxy else self.server, None
        self.create()

    def create(self):
        self.name = f"shop_{next(PostgresDatabase.number)}"
        with self.server.connect() as ask:
            ask(f"CREATE DATABASE {self.name}")
        with self.server.connect(self.name) as ask:
            ask("CREATE TABLE orders (id bigserial PRIMARY KEY, what text UNIQUE)")

    @property
    def url(self):
        return self.way.url_of(self.name)

    @staticmethod
    def table(name):
        return f"outbox.{name}"

    def query(self, statement, *values):
        with self.server.connect(self.name) as ask:
            return ask(statement, *values)

    def writer(self):
        return PostgresWriter(self.url)

    def another(self):
        it = copy.copy(self)
        it.create()
        return it

    def turn(self):
        # Burns the numbers that are left of the newest stretch, as the product does with a quiet outbox in time.
        self.query("SELECT count(nextval('outbox.message_seq_seq')) FROM generate_series(1, 100000)")

    @contextlib.contextmanager
    def held(self):
        with self.server.connect(self.name) as ask:
            ask("BEGIN; LOCK TABLE outbox.checkpoint, outbox.lease IN ACCESS EXCLUSIVE MODE")
            yield
            ask("ROLLBACK")

    def end(self):
        if self.own:
            self.server.remove()
            return
        with contextlib.suppress(pq.Error), self.server.connect() as ask:
            ask(f"DROP DATABASE {self.name} WITH (FORCE)")


def make(directory, kind=None, **options):
    """A database of the kind that this run is about."""
    kind = kind or KIND
    if kind == "sqlite":
        return Sqlite(directory, **options)
    return PostgresDatabase(directory, behind_proxy=kind == "pgbouncer", **options)


def on(kind, *cases):
    """These cases, where the run is about that kind."""
    wanted = {"sqlite": ("sqlite",), "postgres": ("postgres", "pgbouncer")}[kind]
    return list(cases) if KIND in wanted else []
