"""One world for a case: a directory, a database, writers, a recipient, and relays that are started and killed."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import databases
from checker import check_promises
from recipient import Recipient
from tap import check
from writers import Writers

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("OUTBOX_BUILD", ROOT / "build")).resolve()
CRASH_BUILD = pathlib.Path(os.environ.get("OUTBOX_CRASH_BUILD", ROOT / "build-crash")).resolve()
WINDOW = 256


def wait_for(condition, deadline_s, what):
    """Returns the first true value of `condition`."""
    until = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"waited {deadline_s} s for {what}")
        time.sleep(0.005)


class Relay:
    """A relay process."""

    def __init__(self, world, command, environment):
        self.log_path = world.directory / f"relay-{len(world.relays)}.log"
        self.crash_path = world.directory / f"crash-{len(world.relays)}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "OB_CRASH_LOG": str(self.crash_path), **environment})

    def wait(self, deadline_s, what="the relay to end"):
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"waited {deadline_s} s for {what}; its log:\n{self.log()}") from None

    def send(self, number):
        self.process.send_signal(number)

    def end(self, deadline_s=15):
        check(self.process.poll() is None, f"the relay ended by itself:\n{self.log()}")
        self.send(signal.SIGTERM)
        check(self.wait(deadline_s) == 0, f"after SIGTERM the relay did not end with 0:\n{self.log()}")

    def kill(self):
        self.process.kill()
        return self.wait(10)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def crash(self):
        """(point, messages in flight) of the crash log, or None."""
        if not self.crash_path.exists():
            return None
        point, in_flight = self.crash_path.read_text().split()
        return point, int(in_flight)

    @property
    def pid(self):
        return self.process.pid


class World:
    """`database` are options of the kind that this run is about; see databases.py."""

    def __init__(self, directory, build=CRASH_BUILD, **database):
        self.directory, self.program = directory, build / "outbox"
        self.relays, self.recipient, self.writers, self.database = [], None, None, None
        check(self.program.exists(), f"{self.program} is not built")
        self.database = databases.make(directory, **database)
        self.run("init", self.url)

    @property
    def url(self):
        return self.database.url

    def run(self, *command, status=0):
        done = subprocess.run([str(self.program), *map(str, command)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60, check=False)
        check(done.returncode == status, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def receive(self, **options):
        self.recipient = Recipient(**options)
        return self.recipient

    def write(self, **options):
        self.writers = Writers(self.database, **options).start()
        return self.writers

    def relay(self, *options, crash_at=None, lease="1s", sink=None, url=None, environment=None, within=()):
        """`within` is the start of a command line that runs the relay elsewhere, such as in another network."""
        environment = {**({"OB_CRASH_AT": crash_at} if crash_at else {}), **(environment or {})}
        relay = Relay(self, [*within, self.program, "relay", url or self.url, "--to", sink or self.recipient.url, "--lease", lease,
                             "--window", WINDOW, *options], environment)
        self.relays.append(relay)
        return relay

    def dead_ids(self):
        return {row[0] for row in self.database.query(f"SELECT id FROM {self.database.table('dead')}")}

    def status(self):
        """The subscription as another process sees it."""
        return json.loads(self.run("status", self.url, "--json"))["subscriptions"][0]

    def all_arrived(self, but=frozenset()):
        wanted = {message_id for message_id, _, _ in self.writers.committed} - set(but)
        return wanted <= {receipt.id for receipt in self.recipient.accepted()}

    def arrives(self, count=20, deadline_s=20, what="messages to arrive again"):
        before = len(self.recipient.accepted())
        wait_for(lambda: len(self.recipient.accepted()) >= before + count, deadline_s, what)

    def finish(self, relay, crashes, deadline_s=40):
        """The writers end, all arrives, the relay ends well, and the promises are kept."""
        self.writers.stop()
        wait_for(lambda: self.all_arrived(self.dead_ids()), deadline_s, "all that was committed to arrive")
        relay.end()
        again = self.check_promises(crashes=crashes)
        return f"{len(self.writers.committed)} committed, {again} twice"

    def finish_with_losses(self, relay, crashes):
        """The same where the database has lost what it had committed, which is no longer wanted. Returns the ids of what is gone, and of
        what of it was sent."""
        self.writers.stop()
        gone = self.writers.forget_but({row[0] for row in self.database.query("SELECT what FROM orders")})
        wait_for(lambda: self.all_arrived(self.dead_ids()), 40, "all that the database has to arrive")
        relay.end()
        phantoms = {receipt.id for receipt in self.recipient.receipts} & gone
        self.recipient.receipts = [receipt for receipt in self.recipient.receipts if receipt.id not in gone]
        self.check_promises(crashes=crashes)
        return gone, phantoms

    def check_promises(self, crashes=0):
        """P1 to P4 from the writers' and the recipient's own logs. Returns the number of duplicates."""
        return check_promises(self.writers.committed, self.writers.rolled_back, self.recipient.receipts, self.dead_ids(),
                              WINDOW * crashes)

    def end(self):
        for relay in self.relays:
            if relay.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(relay.pid, signal.SIGCONT)
                relay.process.kill()
                relay.process.wait()
        if self.writers is not None:
            self.writers.stopping.set()
        if self.recipient is not None:
            self.recipient.down()
        if self.database is not None:
            self.database.end()


@contextlib.contextmanager
def world(**options):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="outbox-system-"))
    it = None
    try:
        it = World(directory, **options)
        yield it
    except AssertionError as failure:
        logs = "\n".join(f"-- {relay.log_path.name}\n{relay.log()[-1500:]}" for relay in (it.relays if it else []))
        raise AssertionError(f"{failure}\n{logs}") from failure
    finally:
        if it is not None:
            it.end()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def flowing(pause_s=0.004, flow=True, **options):
    """A world in which messages flow, if not told otherwise."""
    with world(build=BUILD, **options) as it:
        it.receive()
        if flow:
            it.write(pause_s=pause_s)
        yield it
