#!/usr/bin/env python3
"""What a relay process does when it is told to end, is stopped and woken, has a rival, or has a recipient or database that is away for
a while: real processes, SQLite and HTTP, P1 to P4 checked from the writers' and the recipient's own logs.

usage: test_lifecycle.py [NAME...]     environment: OUTBOX_BUILD
"""
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

from databases import on  # noqa: E402
from tap import check, main  # noqa: E402
from world import BUILD, wait_for, world  # noqa: E402


def end(it, relay, deadline_s=12):
    relay.send(signal.SIGTERM)
    check(relay.wait(deadline_s) == 0, f"after SIGTERM the relay did not end with 0:\n{relay.log()}")


def drain():
    """SIGTERM: what is in flight is finished and settled, the lease given up, and the next relay starts at once."""
    with world(build=BUILD) as it:
        it.receive(delay_s=0.05)
        it.write()
        relay = it.relay(lease="30s")
        wait_for(lambda: len(it.recipient.accepted()) > 100, 20, "the first messages")
        began = time.monotonic()
        end(it, relay, 5)
        took = time.monotonic() - began
        before = len(it.recipient.accepted())
        began = time.monotonic()
        relay = it.relay(lease="30s")
        wait_for(lambda: len(it.recipient.accepted()) > before, 5, "the next relay's first delivery")
        gap = time.monotonic() - began
        check(gap < 1, f"the next relay needed {gap:.2f} s for its first delivery")
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        end(it, relay)
        again = it.check_promises(crashes=1)
        check(again == 0, f"after a drain {again} arrived twice")
        return f"drained in {took:.2f} s, the next relay delivered after {gap:.2f} s"


def drain_by_deadline():
    """A recipient that does not answer holds a drain up only until the deadline."""
    with world(build=BUILD) as it:
        it.receive(delay_s=30)
        it.write()
        relay = it.relay("--drain-deadline", "2s", lease="30s")
        wait_for(lambda: it.recipient.arrived > 5, 20, "requests in flight")
        began = time.monotonic()
        relay.send(signal.SIGTERM)
        relay.wait(5)
        took = time.monotonic() - began
        check(took < 3, f"a drain by 2 s took {took:.2f} s")
        it.recipient.delay_s = 0
        relay = it.relay(lease="30s")
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        end(it, relay)
        return f"ended after {took:.2f} s"


def drain_of_the_idle():
    """SIGTERM to a relay that stands by, and to one whose recipient is down: both end at once."""
    with world(build=BUILD) as it:
        it.receive()
        it.write()
        first = it.relay(lease="10s")
        wait_for(lambda: len(it.recipient.accepted()) > 50, 20, "the first messages")
        second = it.relay(lease="10s")
        wait_for(lambda: "standby" in second.log(), 10, "the second relay to stand by")
        end(it, second, 2)
        it.recipient.down()
        wait_for(lambda: "down" in first.log(), 10, "the first relay to see that the recipient is down")
        time.sleep(0.5)
        end(it, first, 2)
        it.recipient.up()
        it.writers.stop()
        relay = it.relay("--until-idle", lease="10s")
        check(relay.wait(20) == 0, relay.log())
        check(it.all_arrived(), "not all has arrived")
        return f"{it.check_promises(crashes=1)} twice"


def second_signal():
    """A second SIGTERM ends at once."""
    with world(build=BUILD) as it:
        it.receive(delay_s=30)
        it.write()
        relay = it.relay()
        wait_for(lambda: it.recipient.arrived > 0, 20, "requests in flight")
        relay.send(signal.SIGTERM)
        time.sleep(0.3)
        check(relay.process.poll() is None, "it did not wait for what is in flight")
        began = time.monotonic()
        relay.send(signal.SIGTERM)
        code = relay.wait(5)
        took = time.monotonic() - began
        check(took < 0.5, f"the second SIGTERM took {took:.2f} s")
        check(code != 0, "it ended as if all were well")


def stopped_and_woken():
    """Stopped for longer than its lease, then woken: it sends no more and settles nothing, and the new owner goes on."""
    with world(build=BUILD) as it:
        it.receive(delay_s=0.01)
        it.write()
        first = it.relay("--sink-option", "source=/first")
        wait_for(lambda: len(it.recipient.accepted()) > 100, 20, "the first messages")
        first.send(signal.SIGSTOP)
        second = it.relay("--sink-option", "source=/second")

        def sent_by(source, since=0.0):
            return [r for r in it.recipient.accepted() if r.source == source and r.at > since]
        wait_for(lambda: len(sent_by("/second")) > 100, 20, "the second relay to take over")
        woken = time.monotonic()
        first.send(signal.SIGCONT)
        time.sleep(1.5)
        late = sent_by("/first", woken)
        check(len(late) <= 16, f"the one that lost its lease sent {len(late)} messages after it was woken")
        check(not sent_by("/first", woken + 0.5), "the one that lost its lease goes on sending")
        check(sent_by("/second", woken + 0.5), "the owner stopped sending")
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        end(it, first)
        end(it, second)
        return f"{it.check_promises(crashes=1)} twice, {len(late)} of them late"


def two_relays():
    """Two relays on one file: one works, the other waits, and takes over when the first ends or dies."""
    with world(build=BUILD) as it:
        it.receive()
        it.write()
        relays = {"/first": it.relay("--sink-option", "source=/first")}
        wait_for(lambda: len(it.recipient.accepted()) > 50, 20, "the first messages")
        relays["/second"] = it.relay("--sink-option", "source=/second")
        time.sleep(1.5)
        sources = {receipt.source for receipt in it.recipient.accepted()}
        check(sources == {"/first"}, f"{sources} sent")

        def taken_over():
            return any(receipt.source == "/second" for receipt in it.recipient.accepted())
        began = time.monotonic()
        relays["/first"].kill()
        wait_for(taken_over, 10, "the second relay to take over")
        took = time.monotonic() - began
        check(took < 3, f"with a lease of 1 s it took over only after {took:.2f} s")
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        end(it, relays["/second"])
        it.check_promises(crashes=1)
        return f"took over after {took:.2f} s"


def recipient_down():
    """The recipient is down for a while: nothing is given up, the state says so, and all arrives once it is up."""
    with world(build=BUILD) as it:
        it.receive()
        it.write()
        relay = it.relay("--probe-max", "1s")
        wait_for(lambda: len(it.recipient.accepted()) > 50, 20, "the first messages")
        it.recipient.down()
        wait_for(lambda: it.status()["state"] == "down", 10, "status to say that the recipient is down")
        time.sleep(2)
        it.recipient.up()
        it.writers.stop()
        wait_for(it.all_arrived, 30, "all that was committed to arrive")
        wait_for(lambda: it.status()["state"] == "running", 10, "status to say that it runs again")
        end(it, relay)
        check(not it.dead_ids(), "messages died of an outage")
        return f"{it.check_promises(crashes=1)} twice"


def database_busy():
    """Another program holds the write lock for three seconds: sending goes on, nothing is lost or sent twice."""
    with world(build=BUILD) as it:
        it.receive()
        it.write()
        relay = it.relay(lease="10s")
        wait_for(lambda: len(it.recipient.accepted()) > 50, 20, "the first messages")
        with it.database.held():
            time.sleep(3)
            check(relay.process.poll() is None, f"the relay ended:\n{relay.log()}")
        time.sleep(0.3)
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        end(it, relay)
        check(it.check_promises(crashes=1) == 0, "messages arrived twice")


def of_no_interest():
    """Messages that this subscription does not want are read past without spinning until that is settled."""
    with world(build=BUILD) as it:
        it.receive()
        relay = it.relay("--topic", "wanted.*")
        wait_for(lambda: "running" in relay.log(), 10, "the lease")

        def used():
            with open(f"/proc/{relay.pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before = used()
        for _ in range(3):
            it.run("publish", it.url, "--topic", "other", "--payload", "x")
            time.sleep(1)
        took = used() - before
        check(took < 0.5, f"three messages of no interest took {took:.2f} s of the processor")
        wait_for(lambda: not it.status()["pending"], 5, "them to be passed")
        end(it, relay)
        return f"{took:.2f} s of the processor"


def until_idle():
    """--until-idle ends with 0 once all is settled, retries included."""
    with world(build=BUILD) as it:
        until = time.monotonic() + 2
        it.receive(decide=lambda message_id, key, number: 503 if key == "w0-k0" and time.monotonic() < until else 200)
        it.write()
        time.sleep(1)
        it.writers.stop()
        relay = it.relay("--until-idle", "--retry-first", "700ms", "--park-after", "100ms")
        check(relay.wait(30) == 0, relay.log())
        check(it.all_arrived(), "it ended before all had arrived")
        it.check_promises()
        relay = it.relay("--until-idle")
        check(relay.wait(5) == 0, relay.log())


def rollback_mode():
    """The same in a database that is not in WAL mode, with a kill."""
    with world(build=BUILD, journal="delete") as it:
        it.receive()
        it.write(pause_s=0.02)
        relay = it.relay()
        wait_for(lambda: len(it.recipient.accepted()) > 50, 20, "the first messages")
        relay.kill()
        relay = it.relay()
        time.sleep(0.5)
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        end(it, relay)
        it.check_promises(crashes=1)


def changes():
    """pause, resume and replay take effect on a running relay."""
    with world(build=BUILD) as it:
        it.receive()
        it.write()
        relay = it.relay("--store-option", "retention=1h", lease="10s")
        wait_for(lambda: len(it.recipient.accepted()) > 50, 20, "the first messages")
        it.run("pause", it.url, "default")
        wait_for(lambda: it.status()["state"] == "paused", 10, "status to say that it is paused")
        time.sleep(0.5)
        before = len(it.recipient.accepted())
        time.sleep(1)
        check(len(it.recipient.accepted()) == before, "messages went out of a paused subscription")
        it.run("resume", it.url, "default")
        wait_for(lambda: len(it.recipient.accepted()) > before, 10, "messages after the resume")
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        check(it.check_promises(crashes=1) == 0, "a pause must not cause duplicates")
        # What is not settled yet is behind the checkpoint, at which a replay ends.
        wait_for(lambda: not it.status()["pending"], 10, "everything to be settled")
        wanted = 2 * len(it.writers.committed)
        it.run("replay", it.url, "default", "--from-beginning")
        wait_for(lambda: len(it.recipient.accepted()) >= wanted, 20, "everything to come once more")
        time.sleep(0.3)
        check(len(it.recipient.accepted()) == wanted, f"{len(it.recipient.accepted())} instead of {wanted}")
        end(it, relay)


def reopened_file():
    """SIGHUP: the file is opened again, so that it can be rotated."""
    with world(build=BUILD) as it:
        kept, rotated = it.directory / "kept.jsonl", it.directory / "kept.1.jsonl"
        it.write()
        relay = it.relay(sink=f"file:{kept}")
        wait_for(lambda: kept.exists() and len(kept.read_text().splitlines()) > 50, 20, "the first lines")
        kept.rename(rotated)
        relay.send(signal.SIGHUP)
        wait_for(lambda: kept.exists() and len(kept.read_text().splitlines()) > 50, 20, "lines in a new file")
        it.writers.stop()

        def ids():
            return [json.loads(line)["id"] for path in (rotated, kept) for line in path.read_text().splitlines()]
        wait_for(lambda: len(ids()) >= len(it.writers.committed), 20, "all that was committed to arrive")
        end(it, relay)
        check(sorted(ids()) == sorted(message_id for message_id, _, _ in it.writers.committed), "lines are missing or double")


def restored_file():
    """A database that is put back from a backup stops the relay until a person adopts it, however often it looks."""
    with world(build=BUILD) as it:
        backup = it.directory / "backup.db"
        it.receive()
        it.write()
        relay = it.relay("--store-option", "retention=1h")
        wait_for(lambda: len(it.recipient.accepted()) > 50, 20, "the first messages")
        it.writers.stop()
        wait_for(it.all_arrived, 20, "all that was committed to arrive")
        it.database.query("VACUUM INTO ?", str(backup))
        for side in ("-wal", "-shm"):
            pathlib.Path(f"{it.database.path}{side}").unlink(missing_ok=True)
        backup.rename(it.database.path)
        wait_for(lambda: "not what it was" in relay.log(), 15, "the relay to look again")
        wait_for(lambda: it.status()["code"] == "foreign", 15, "status to say so")
        before = len(it.recipient.accepted())
        time.sleep(2)
        check(not it.database.query("SELECT owner FROM outbox_lease WHERE expires_at > (julianday('now') - 2440587.5) * 86400000"),
              f"the relay took the lease of a strange database:\n{relay.log()}")
        it.run("adopt", it.url, "--from-beginning", "--yes")
        wait_for(lambda: len(it.recipient.accepted()) >= 2 * before, 15, "everything to come once more")
        end(it, relay)


CASES = [
    ("SIGTERM drains and gives up the lease", drain),
    ("a drain ends by its deadline", drain_by_deadline),
    ("SIGTERM when there is nothing to finish", drain_of_the_idle),
    ("a second SIGTERM ends at once", second_signal),
    ("SIGSTOP beyond the lease, then SIGCONT", stopped_and_woken),
    ("two relays on one file", two_relays),
    ("a recipient that is down for a while", recipient_down),
    ("a database that is busy for a while", database_busy),
    ("messages of no interest", of_no_interest),
    ("until idle, with retries", until_idle),
    ("a person's changes", changes),
    ("SIGHUP opens files again", reopened_file),
    *on("sqlite", ("a database in rollback mode", rollback_mode), ("a file that was restored under the relay", restored_file)),
]

if __name__ == "__main__":
    sys.exit(main(CASES))
