#!/usr/bin/env python3
"""Runs the programs of examples/postgres, each made with the ordinary tools of its language, as a login with no more rights than
examples/postgres/shop.sql gives. What a program needs is fetched once and kept beside what is built.

usage: scripts/with-server postgres [pgbouncer] -- test_postgres_examples.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from commands import arrived, outbox  # noqa: E402
from postgres_shop import SERVER, PostgresShop, url_of  # noqa: E402
from tap import Skip, check, main  # noqa: E402
from world import BUILD, ROOT  # noqa: E402

EXAMPLES = ROOT / "examples" / "postgres"
KEPT = BUILD / "examples" / "postgres"
DEADLINE_S = 240


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=DEADLINE_S, check=False, **more)
    check(done.returncode == 0, f"{command[0]} ... ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def tools(purpose, *names):
    """Installs the tools of a language where they are missing."""
    if all(shutil.which(name) for name in names):
        return
    done = subprocess.run([ROOT / "scripts" / "need", purpose], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    missing = [name for name in names if not shutil.which(name)]
    if missing:
        raise Skip(f"{', '.join(missing)} cannot be had here: {' '.join(done.stderr.split()[-12:])}")


@contextlib.contextmanager
def kept(name, *sources):
    """A directory of this program's, and whether it was made of these very sources before. Two may want the same at once."""
    path = KEPT / name
    path.mkdir(parents=True, exist_ok=True)
    mark, stamp = "\n".join((EXAMPLES / source).read_text() for source in sources), path / ".made-of"
    with open(path / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_made = stamp.exists() and stamp.read_text() == mark
        yield path, is_made
        stamp.write_text(mark)


def c():
    return [BUILD / "examples" / "orders"]


def python(program):
    with kept("python", "python/requirements.txt") as (path, is_made):
        if not is_made:
            if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL, check=False).returncode:
                tools("example-python", "pip3")
            shutil.rmtree(path / "venv", ignore_errors=True)
            run(sys.executable, "-m", "venv", path / "venv")
            run(path / "venv/bin/pip", "install", "-q", "--disable-pip-version-check", "-r", EXAMPLES / "python/requirements.txt")
    return [path / "venv/bin/python", EXAMPLES / "python" / program]


def go():
    tools("example-go", "go")
    version = re.search(r"go(\d+)\.(\d+)", run("go", "version"))
    if (int(version[1]), int(version[2])) < (1, 21):
        raise Skip(f"pgx needs Go 1.21, here is {version[0]}")
    with kept("go", "go/go.mod", "go/go.sum", "go/orders.go") as (path, is_made):
        if not is_made:
            run("go", "build", "-buildvcs=false", "-o", path / "orders", ".", cwd=EXAMPLES / "go", env={**os.environ, "CGO_ENABLED": "0"})
    return [path / "orders"]


def node():
    tools("example-node", "node", "npm")
    sources = ("package.json", "package-lock.json", "orders.js")
    with kept("node", *(f"node/{name}" for name in sources)) as (path, is_made):
        if not is_made:
            for name in sources:
                shutil.copy(EXAMPLES / "node" / name, path)
            run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=path)
    return ["node", path / "orders.js"]


def java():
    tools("example-java", "java", "javac", "mvn")
    with kept("java", "java/pom.xml", "java/src/main/java/Orders.java") as (path, is_made):
        if not is_made:
            run("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={path}", cwd=EXAMPLES / "java")
            run("javac", "-d", path, EXAMPLES / "java/src/main/java/Orders.java")
    return ["java", "-cp", f"{path}:{path}/*", "-XX:TieredStopAtLevel=1", "Orders"]


def shop_sql(ask, login):
    sql = (EXAMPLES / "shop.sql").read_text()
    ask(sql.replace("CREATE ROLE shop LOGIN;", "").replace("TO shop;", f"TO {login};"))


def messages(ask):
    rows = ask("SELECT topic, partition_key, content_type, payload FROM outbox.message ORDER BY seq")
    for topic, key, content_type, payload in rows:
        check((topic, content_type) == ("orders.placed", "application/json"), (topic, content_type))
        check(json.loads(payload)["customer"] == key, payload)
    return [tuple(json.loads(row[3])[name] for name in ("customer", "number", "total")) for row in rows]


# How these drivers are told not to keep prepared statements, as docs/postgresql.md says.
BEHIND_A_PROXY = {go: "default_query_exec_mode=exec", java: "prepareThreshold=0"}


def orders(make, *arguments):
    """Some orders are placed and some declined; then several programs take orders of one customer at once."""
    command = make(*arguments)
    with PostgresShop() as shop, shop.connect() as ask, tempfile.TemporaryDirectory() as directory:
        login = shop.login()
        shop_sql(ask, login)
        url = url_of(shop.name, login) + "?"
        if make is java:
            url = re.sub(r"^postgresql://(.*)@(.*)$", r"jdbc:postgresql://\2user=\1&", url)
        if SERVER != os.environ.get("OUTBOX_TEST_POSTGRES_DIRECT", SERVER):
            url += BEHIND_A_PROXY.get(make, "")
        said = run(*command, url, "alice:30", "bob:500", "alice:20", "bob:40", "alice:60")
        check(said.splitlines() == ["placed alice", "declined bob", "placed alice", "placed bob", "declined alice"], said)
        rows = ask("SELECT customer, number, total FROM orders ORDER BY customer, number")
        check(rows == [("alice", 1, 30), ("alice", 2, 20), ("bob", 1, 40)], rows)
        check(messages(ask) == rows, f"the messages are {messages(ask)}")

        out = pathlib.Path(directory) / "placed.jsonl"
        outbox("relay", shop.url, "--to", f"file:{out}", "--until-idle")
        sent = [tuple(json.loads(it["payload"])[name] for name in ("customer", "number", "total")) for it in arrived(out)]
        # Keys have no order among each other.
        check(sorted(sent) == rows, f"the relay delivers {sent}")

        ask("UPDATE customers SET credit = 1000000")
        running = [subprocess.Popen([*map(str, command), url, *["alice:1"] * 25, "bob:1"], stdout=subprocess.DEVNULL) for _ in range(3)]
        check([process.wait(60) for process in running] == [0, 0, 0], "one of three at once failed")
        published = messages(ask)
        check(sorted(published) == ask("SELECT customer, number, total FROM orders ORDER BY customer, number"), "not every order has its message")
        for customer in ("alice", "bob"):
            numbers = [number for name, number, _ in published if name == customer]
            check(numbers == list(range(1, len(numbers) + 1)), f"{customer}'s orders are published in the order {numbers}")


CASES = [("C with liboutbox-postgres", orders, c), ("Go with pgx", orders, go), ("Java with JDBC", orders, java),
         ("Node with pg", orders, node), ("Python with psycopg", orders, python, "orders_psycopg.py"),
         ("Python with SQLAlchemy", orders, python, "orders_sqlalchemy.py")]

if __name__ == "__main__":
    sys.exit(main(CASES))
