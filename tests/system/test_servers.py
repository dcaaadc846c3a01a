#!/usr/bin/env python3
"""The ground that tests of servers stand on: every version starts, and nothing is left behind, however a test ends.

usage: test_servers.py [NAME...]
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "lib"))

import pq  # noqa: E402
from servers.pgbouncer import PgBouncer  # noqa: E402
from servers.postgres import VERSIONS, Postgres  # noqa: E402
from tap import check, main  # noqa: E402
from world import wait_for  # noqa: E402

WITH_SERVER = HERE.parents[1] / "scripts" / "with-server"


def version(number):
    with Postgres(number).start() as server, server.connect() as ask:
        seen = ask.value("SHOW server_version_num")
        check(seen.startswith(number), f"{seen} is not {number}")
        check(ask.value("SHOW listen_addresses") == "127.0.0.1", "it listens elsewhere than on loopback")


def bouncer():
    """Two clients share one connection to the server, transaction by transaction."""
    with Postgres().start() as server, PgBouncer(server, {"default_pool_size": 1}).start() as front:
        with front.connect() as one, front.connect() as two:
            check(one.value("SELECT pg_backend_pid()") == two.value("SELECT pg_backend_pid()"), "each has its own")
            server.connect().close()


def crashes():
    """It comes back on its port with what was committed, after every way to go."""
    with Postgres().start() as server:
        with server.connect() as ask:
            ask("CREATE TABLE t (n int)")
        for number, end in enumerate((server.stop, server.kill, server.crash), 1):
            with server.connect() as ask:
                ask("INSERT INTO t VALUES ($1)", number)
            port = server.port
            end()
            check(server.start().port == port, "it came back on another port")
        with server.connect() as ask:
            check(ask("SELECT n FROM t ORDER BY n") == [(1,), (2,), (3,)], "rows are missing")


def standby():
    with Postgres().start() as primary, primary.standby().start() as other:
        with primary.connect() as ask:
            ask("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        with other.connect() as ask:
            wait_for(lambda: ask.value("SELECT to_regclass('t')"), 10, "the table on the standby")
            check(ask.value("SELECT pg_is_in_recovery()"), "the standby is none")
            check(ask.value("SELECT pg_promote()"), "it was not promoted")
            ask("INSERT INTO t VALUES (2)")


def gone(pid):
    """Ended, even if nobody has asked for its status."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def killed(number):
    """The command, the servers and their directories go with `with-server`, even when that is killed."""
    with tempfile.TemporaryDirectory() as directory:
        said = pathlib.Path(directory) / "said"
        script = f"""psql -AtX "$OUTBOX_TEST_POSTGRES" -c "SHOW data_directory" >{said}.new
            head -n 1 "$(cat {said}.new)/postmaster.pid" >>{said}.new; echo $$ >>{said}.new; mv {said}.new {said}; exec sleep 600"""
        runner = subprocess.Popen([WITH_SERVER, "postgres", "--", "sh", "-c", script])
        data, postmaster, command = wait_for(lambda: said.exists() and said.read_text().split(), 30, "the command to run")
        if number:
            runner.send_signal(number)
        check(os.path.isdir(data), f"{data} is no directory")
        runner.wait(30)
        for pid in (postmaster, command):
            wait_for(lambda pid=pid: gone(pid), 15, f"process {pid} to end")
        wait_for(lambda: not os.path.exists(os.path.dirname(data)), 15, f"{data} to be removed")


def status():
    for command, expected in ((["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)):
        done = subprocess.run([WITH_SERVER, "postgres", "--", *command], check=False)
        check(done.returncode == expected, f"{command}: {done.returncode}")
    done = subprocess.run([WITH_SERVER, "oracle", "--", "true"], capture_output=True, check=False)
    check(done.returncode == 1 and b"no such kind" in done.stderr, f"{done}")


def values():
    """What the binding makes of values, and of failures."""
    with Postgres().start() as server, server.connect() as ask:
        check(ask("SELECT 1, true, NULL, 'x', '\\x00ff'::bytea, 1.5::float8, $1::text", "é") ==
              [(1, True, None, "x", b"\0\xff", 1.5, "é")], "values are read wrongly")
        try:
            ask("SELECT 1/0")
            check(False, "no error")
        except pq.Error as error:
            check(error.state == "22012", f"{error.state}: {error}")
        server.kill()
        try:
            ask("SELECT 1")
            check(False, "no error without a server")
        except pq.Error as error:
            check(error.state in (None, "57P01", "57P02"), f"{error.state}: {error}")


CASES = [
    *((f"PostgreSQL {number}", version, number) for number in VERSIONS),
    ("pgbouncer", bouncer),
    ("a server that ends and comes back", crashes),
    ("a standby, promoted", standby),
    ("with-server is ended by SIGTERM", killed, signal.SIGTERM),
    ("with-server is killed", killed, signal.SIGKILL),
    ("with-server's status is the command's", status),
    ("values and errors", values),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
