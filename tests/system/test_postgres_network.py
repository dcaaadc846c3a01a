#!/usr/bin/env python3
"""Silence in the network: packets vanish, and nobody is told. Between relay and database, relay and recipient, and both, for a second and for
longer than every time-out; and a connection of which only one side knows that it is gone. P1 to P4 from the writers' and the recipient's logs.

The tests run in a network of their own, in which the relay alone goes by addresses of which a rule drops the packets. That needs root.

usage: test_postgres_network.py [NAME...]     environment: OUTBOX_BUILD
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

os.environ.setdefault("OUTBOX_TEST_DATABASE", "postgres")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from servers.postgres import Postgres  # noqa: E402
from tap import Skip, check, main  # noqa: E402
from world import BUILD, wait_for, world  # noqa: E402

INSIDE = "OUTBOX_TEST_NETWORK"
LONG = os.environ.get("OB_TEST_LENGTH") == "full"
DATABASE, RECIPIENT = "127.0.0.2", "127.0.0.3"  # as the relay calls them


def nft(rules):
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


@contextlib.contextmanager
def silence(*addresses):
    """What comes from there or goes there vanishes on arrival: whoever sends it hears nothing."""
    table = f"outbox_{os.getpid()}"
    both = ", ".join(addresses)
    nft(f"table ip {table} {{ chain arriving {{ type filter hook input priority 0; ip daddr {{ {both} }} drop;"
        f" ip saddr {{ {both} }} drop; }}; }};\n")
    try:
        yield
    finally:
        nft(f"delete table ip {table}")


@contextlib.contextmanager
def flowing():
    """A world in which messages flow, and its relay."""
    if os.getuid() != 0:
        raise Skip("a network of one's own needs root")
    server = Postgres(settings={"listen_addresses": "*"}, hba=["host all all 127.0.0.0/8 trust"]).start()
    with world(build=BUILD, server=server) as it:
        it.receive(host="0.0.0.0")
        it.write(pause_s=0.01)
        relay = it.relay("--store-option", "timeout=2s", "--store-option", "connect-timeout=1s", "--sink-option", "request-timeout=2s",
                         "--retry-first", "100ms", "--probe-max", "1s",
                         url=f"postgresql://postgres@{DATABASE}:{server.port}/{it.database.name}",
                         sink=f"http://{RECIPIENT}:{it.recipient.port}/")
        it.arrives()
        yield it, relay


def used_s(relay):
    """The time that the relay has had of a processor."""
    with open(f"/proc/{relay.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def finish(it, relay, crashes):
    said = it.finish(relay, crashes)
    check(not it.dead_ids(), "messages died of the silence")
    return said


def parted(seconds, *addresses):
    """Silence for so long, then all goes on; meanwhile the relay neither spins nor fills its log."""
    with flowing() as (it, relay):
        before, lines = used_s(relay), len(relay.log().splitlines())
        with silence(*addresses):
            time.sleep(seconds)
            check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
            used, lines = used_s(relay) - before, len(relay.log().splitlines()) - lines
        check(used < 0.2 + seconds * 0.1, f"it used {used:.2f} s of a processor in {seconds} s of silence")
        check(lines < 10 + 4 * seconds, f"{lines} lines of log:\n{relay.log()[-2000:]}")
        it.arrives()
        return f"{finish(it, relay, 2)}, {used:.2f} s of a processor, {lines} lines of log"


def half_open():
    """The relay's machine falls silent while it holds the lease, and its connections stay open on the server's side: another
    relay takes over when the lease is over. The first one hears of it when it is back, and stands by."""
    with flowing() as (it, first):
        with silence(DATABASE, RECIPIENT):
            began = time.monotonic()
            before = len(it.recipient.accepted())
            second = it.relay("--sink-option", "source=/second")
            wait_for(lambda: it.recipient.accepted()[-1].source == "/second", 10, "the second relay to take over")
            took = time.monotonic() - began
            wait_for(lambda: len(it.recipient.accepted()) > before + 50, 10, "messages of the second relay")
            with it.database.server.connect(it.database.name) as ask:
                wait_for(lambda: not ask.value("SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE"
                                               " 'outbox%' AND state LIKE 'idle in transaction%'", it.database.name), 10,
                         "transactions of the silent one to end")
        wait_for(lambda: "lease_held" in first.log() or "standby" in first.log(), 20, "the first relay to stand by")
        first.end()
        return f"{finish(it, second, 2)}, taken over after {took:.1f} s"


CASES = [
    *((f"{seconds} s of silence between relay and {name}", parted, seconds, *addresses) for seconds in ((1, 6, 60) if LONG else (1, 6))
      for name, addresses in (("database", (DATABASE,)), ("recipient", (RECIPIENT,)), ("both", (DATABASE, RECIPIENT)))
      if seconds > 1 or LONG or name == "database"),
    ("a relay that only the server thinks is there", half_open),
]


def inside():
    """Runs this program again in a network of its own, which is gone with it. Cases share it, so they go one after the other."""
    if os.environ.get(INSIDE) or os.getuid() != 0:
        if os.environ.get(INSIDE):
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return main(CASES, at_once=1)
    missing = [name for name in ("unshare", "ip", "nft") if shutil.which(name) is None]
    if missing:
        print(f"1..1\nnot ok 1 - {', '.join(missing)} not installed: scripts/need postgres", flush=True)
        return 1
    return subprocess.run(["unshare", "--net", sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(inside())
