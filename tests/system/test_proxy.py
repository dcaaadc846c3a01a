#!/usr/bin/env python3
"""The proxy that causes trouble in other tests does what it says, to plain sockets and to PostgreSQL.

usage: test_proxy.py [NAME...]
"""
import contextlib
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import pq  # noqa: E402
from proxy import COMMITTED, TO_CLIENT, TO_SERVER, Proxy  # noqa: E402
from servers.postgres import Postgres  # noqa: E402
from tap import check, main  # noqa: E402


class Echo:
    """A server that sends back what it gets, and closes when it is told so."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.ends = self.listener.getsockname()[1], []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, connection):
        end = "close"
        try:
            while True:
                data = connection.recv(65536)
                if not data:
                    break
                connection.sendall(data)
        except OSError:
            end = "reset"
        self.ends.append(end)
        connection.close()


@contextlib.contextmanager
def pair():
    """A proxy before an echo, and a client."""
    with Proxy(Echo().port) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port))
        client.settimeout(5)
        yield proxy, client
        client.close()


def echoed(client, data):
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        more = client.recv(65536)
        if not more:
            break
        got += more
    return got


def is_reset(client):
    try:
        return client.recv(1) == b"?"
    except ConnectionResetError:
        return True


def passes():
    with pair() as (proxy, client):
        data = bytes(range(256)) * 8000
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        got = b""
        while len(got) < len(data):
            got += client.recv(65536)
        sender.join()
        check(got == data, "the bytes are other ones")
        client.shutdown(socket.SHUT_WR)
        check(client.recv(1) == b"", "the end did not arrive")
        check(proxy.bytes == {TO_SERVER: len(data), TO_CLIENT: len(data)}, f"{proxy.bytes}")


def delays():
    with pair() as (proxy, client):
        proxy.delay_s = 0.1
        began = time.monotonic()
        check(echoed(client, b"x") == b"x", "")
        check(0.2 <= time.monotonic() - began < 2, f"{time.monotonic() - began:.2f} s")
        proxy.delay_s, proxy.bytes_per_s = 0, 100_000
        began = time.monotonic()
        check(len(echoed(client, b"x" * 30_000)) == 30_000, "")
        check(0.24 <= time.monotonic() - began < 4, f"{time.monotonic() - began:.2f} s")


def cuts(way, how):
    with pair() as (proxy, client):
        fault = proxy.fault(way, how, after=1000)
        check(echoed(client, b"x" * 999) == b"x" * 999, "it struck too early")
        got = b""
        try:
            got = echoed(client, b"yz")
            got += client.recv(1)
        except ConnectionResetError:
            check(how == "reset", "it was reset")
        except TimeoutError:
            check(False, "it was not cut")
        check(b"z" not in got, f"{got} passed")
        fault.wait(5)
        other = socket.create_connection(("127.0.0.1", proxy.port))
        other.settimeout(5)
        check(echoed(other, b"x" * 2000) == b"x" * 2000, "it struck twice")


def half():
    """The server sees the end; what it still has to say arrives."""
    with pair() as (proxy, client):
        proxy.fault(TO_SERVER, "half", match=b"end")
        check(echoed(client, b"the end") == b"the ", "the way back is shut, too")


def hole():
    with pair() as (proxy, client):
        proxy.hold()
        client.sendall(b"x")
        client.settimeout(0.3)
        try:
            check(client.recv(1) == b"?", "it passed")
        except TimeoutError:
            pass
        proxy.hold(False)
        client.settimeout(5)
        check(client.recv(1) == b"x", "it did not flow on")
        proxy.fault(TO_CLIENT, "hole", match=b"b")
        check(echoed(client, b"a") == b"a", "it struck too early")
        client.settimeout(0.3)
        try:
            check(echoed(client, b"b") == b"?", "it passed")
        except TimeoutError:
            return
        check(False, "an end was seen")


def refuses():
    with pair() as (proxy, client):
        check(echoed(client, b"x") == b"x", "")
        proxy.down()
        check(is_reset(client), "the connection lives")
        try:
            socket.create_connection(("127.0.0.1", proxy.port)).close()
            check(False, "it was let in")
        except ConnectionRefusedError:
            pass
        proxy.up()
        other = socket.create_connection(("127.0.0.1", proxy.port))
        check(echoed(other, b"x") == b"x", "it is not up again")


def spans():
    """What is looked for may come in pieces, and the nth time may be meant."""
    with pair() as (proxy, client):
        fault = proxy.fault(TO_SERVER, "close", match=b"stop", nth=2)
        check(echoed(client, b"stop st") == b"stop st", "it struck too early")
        check(echoed(client, b"o") == b"o", "it struck too early")
        check(echoed(client, b"p") == b"", "it did not strike")
        fault.wait(1)


def commit_unknown():
    """The server has committed, and the client cannot know it."""
    with Postgres().start() as server, Proxy(server.port) as proxy, server.connect() as ask:
        ask("CREATE TABLE t (n int)")
        for how in ("reset", "close"):
            client = pq.Connection(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres")
            client("BEGIN")
            client("INSERT INTO t VALUES (1)")
            fault = proxy.fault(TO_CLIENT, how, match=COMMITTED)
            try:
                client("COMMIT")
                check(False, "the answer arrived")
            except pq.Error as error:
                check(error.state is None, f"{error.state}: {error}")
            check(fault.struck == 1, "another fault struck")
        check(ask.value("SELECT count(*) FROM t") == 2, "it was not committed")


CASES = [
    ("bytes pass as they are", passes),
    ("delay and throttle", delays),
    *((f"{how} after some bytes {way}", cuts, way, how) for how in ("reset", "close") for way in (TO_SERVER, TO_CLIENT)),
    ("half-close", half),
    ("black hole", hole),
    ("refuses while it is down", refuses),
    ("a pattern in pieces", spans),
    ("COMMIT's answer is lost", commit_unknown),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
