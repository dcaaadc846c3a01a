"""A database of its own with an outbox, on the server that OUTBOX_TEST_POSTGRES names."""
import os
import re
import secrets

import pq
from commands import outbox

SERVER = os.environ.get("OUTBOX_TEST_POSTGRES", "")


def url_of(database, user="postgres"):
    return re.sub(r"//[^@]*@([^/]*)/.*", rf"//{user}@\1/{database}", SERVER)


class PostgresShop:
    """`owner` makes the outbox: by default the superuser. Ended, the database and the logins that it made are gone."""

    def __init__(self, *init, owner="postgres"):
        self.name = f"shop_{secrets.token_hex(4)}"
        self.logins = []
        with pq.Connection(SERVER) as ask:
            ask(f'CREATE DATABASE {self.name} OWNER "{owner}"')
            ask(f"REVOKE ALL ON DATABASE {self.name} FROM PUBLIC")
        self.url = url_of(self.name, owner)
        if init != (None,):
            outbox("init", self.url, "--quiet", *init)

    def connect(self, user="postgres"):
        connection = pq.Connection(url_of(self.name, user))
        connection("SET client_min_messages = error")
        return connection

    def login(self, *roles):
        """A new user without any right but to connect and those of the roles; returns its name."""
        name = f"{self.name}_{len(self.logins)}"
        with pq.Connection(SERVER) as ask:
            ask(f"CREATE ROLE {name} LOGIN")
            ask(f"GRANT CONNECT ON DATABASE {self.name} TO {name}")
            for role in roles:
                ask(f"GRANT {role} TO {name}")
        self.logins.append(name)
        return name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with pq.Connection(SERVER) as ask:
            ask(f"DROP DATABASE {self.name} WITH (FORCE)")
            for name in self.logins:
                ask(f"DROP OWNED BY {name}")
                ask(f"DROP ROLE {name}")


def state_of(connection, sql, *values):
    """The SQLSTATE with which a statement fails, None when it works; its transaction is rolled back."""
    connection("BEGIN")
    try:
        connection(sql, *values)
        return None
    except pq.Error as error:
        return error.state
    finally:
        connection("ROLLBACK")
