#!/usr/bin/env python3
"""Kills the relay by SIGKILL at each crash point (src/base/crash.h), starts it again, and checks P1 to P4 from what the writers
committed and the recipient received. Each case proves that its point fired, and where messages can be in flight, that they were.

usage: test_crash.py [NAME...]     environment: OUTBOX_CRASH_BUILD, a build with -Dcrash_points=true
"""
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from tap import check, main  # noqa: E402
from world import wait_for, world  # noqa: E402


def well(message_id, key, number):
    return 200


def fails_for_a_while(message_id, key, number):
    """One key is locked at first, so its messages are parked."""
    return 503 if key == "w0-k0" and time.monotonic() < fails_for_a_while.until else 200


def rejects_some(message_id, key, number):
    """These messages are never taken, so they die."""
    return 422 if number % 5 == 0 and key.endswith("k1") else 200


def crash(point, at, decide=well, options=(), duplicates=False, while_running=None, in_flight=True):
    """The story of every case: write, crash, start again, let all arrive, compare the logs."""
    fails_for_a_while.until = time.monotonic() + 4
    with world() as it:
        it.receive(delay_s=0.05, decide=decide)
        it.write(count=4)
        relay = it.relay("--settle-every", "50ms", *options, crash_at=f"{point}:{at}")
        if while_running:
            while_running(it)
        check(relay.wait(20, f"the relay to die at {point}:{at}") == -signal.SIGKILL, f"it ended otherwise:\n{relay.log()}")
        seen = relay.crash()
        check(seen is not None and seen[0] == point, f"it died, but not at {point}")
        if in_flight:
            check(seen[1] > 0, "it died with nothing in flight")
        relay = it.relay("--settle-every", "50ms", *options)
        time.sleep(0.3)
        it.writers.stop()
        wait_for(lambda: it.all_arrived(it.dead_ids()), 40, "all that was committed to arrive")
        relay.send(signal.SIGTERM)
        check(relay.wait(12) == 0, f"after SIGTERM the relay did not end with 0:\n{relay.log()}")
        again = it.check_promises(crashes=1)
        check(point != "C4" or it.recipient.halves > 0, "no half of a request arrived")
        if duplicates:
            check(again > 0, "nothing arrived twice, so the point is not where it should be")
        return f"{len(it.writers.committed)} committed, {again} twice, {seen[1]} in flight at the crash"


def pause_and_resume(it):
    """A person's change makes the relay take its lease again, with messages in flight."""
    wait_for(lambda: len(it.recipient.accepted()) > 20, 20, "the first messages")
    it.run("pause", it.url, "default")
    it.run("resume", it.url, "default")


def turn(it):
    """Once some messages have passed, there is a stretch of the log that can be given back."""
    wait_for(lambda: len(it.recipient.accepted()) > 20, 20, "the first messages")
    it.database.turn()


def migration():
    """Killed in the middle of a migration: the next one finds the database as it was, and does it."""
    with world() as it:
        it.database = it.database.another()
        log = it.directory / "crash.log"
        killed = subprocess.run([str(it.program), "init", it.url], capture_output=True, check=False, timeout=30,
                                env={"OB_CRASH_AT": "C12", "OB_CRASH_LOG": str(log), "PATH": "/usr/bin:/bin"})
        check(killed.returncode == -signal.SIGKILL, f"it ended by {killed.returncode}")
        check(log.read_text().split()[0] == "C12", "it died elsewhere")
        it.run("init", it.url)
        it.receive()
        it.write()
        relay = it.relay()
        time.sleep(0.3)
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        relay.send(signal.SIGTERM)
        check(relay.wait(12) == 0, relay.log())
        it.check_promises()


CASES = [
    ("C1 before a fetch", crash, "C1", 5),
    ("C2 lease taken, commit unknown", crash, "C2", 2, well, (), False, pause_and_resume),
    ("C3 fetched, unsent", crash, "C3", 4),
    ("C4 half of the request written", crash, "C4", 40),
    ("C5 sent, no receipt", crash, "C5", 10, well, (), True),
    ("C6 receipt, not settled", crash, "C6", 4, well, (), True),
    ("C7 settle sent, commit unknown", crash, "C7", 4, well, (), True),
    ("C8 settled, before the next fetch", crash, "C8", 4),
    ("C9 while parking", crash, "C9", 3, fails_for_a_while, ("--retry-first", "1500ms", "--park-after", "500ms")),
    ("C10 while moving to dead", crash, "C10", 2, rejects_some),
    ("C11 while trimming the log", crash, "C11", 1, well, (), False, turn),
    ("C12 during a migration", migration),
    ("C14 while renewing the lease", crash, "C14", 3),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
