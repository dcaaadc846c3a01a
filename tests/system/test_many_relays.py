#!/usr/bin/env python3
"""Many relays of one subscription on PostgreSQL: they join, end, are killed and stopped while writers write, the number of shards changes,
their clocks are hours apart. Then the writers' own table against what the recipient received; and who held which shard meanwhile, and for
how long nobody did, by the lease's rows.

usage: test_many_relays.py [NAME...]     environment: OUTBOX_BUILD, OB_TEST_LENGTH
"""
import json
import os
import pathlib
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import faketime  # noqa: E402
import pq  # noqa: E402
from checker import check_promises  # noqa: E402
from proxy import TO_CLIENT, Proxy  # noqa: E402
from recipient import Receipt  # noqa: E402
from tap import check, main  # noqa: E402
from torture import OUTBOX, RECEIVER, WRITERS, Follower, PostgresGround  # noqa: E402
from world import BUILD, Relay, wait_for, world  # noqa: E402

LONG = os.environ.get("OB_TEST_LENGTH") == "full"
LEASE_S = 2
WINDOW = 64
RATE = 300
# What is promised is a lease, or a second; the rest is for a machine that does other things, too.
MARGIN_S = 2
DEADLINE_S = 40
CONNECTIONS = 2 * 16  # of two shards


class Watch:
    """Looks at the leases again and again: who holds what, and for how long a shard was nobody's. By the server's clock."""

    def __init__(self, ground):
        self.ground, self.lock, self.ending = ground, threading.Lock(), threading.Event()
        self.owners, self.shards, self.gaps, self.since, self.failure = {}, 0, {}, {}, None
        self.thread = threading.Thread(target=self.look_again, daemon=True)

    def look_again(self):
        try:
            with self.ground.server.connect() as ask:
                while not self.ending.wait(0.01):
                    self.look(ask)
        except pq.Error as error:
            self.failure = error

    def look(self, ask):
        rows = ask("SELECT l.shard, l.owner, l.holder <> '' AND l.expires_at > clock_timestamp(), s.shards,"
                   " extract(epoch FROM clock_timestamp())::float8 FROM outbox.subscription AS s JOIN outbox.lease AS l"
                   " ON l.subscription = s.name")
        with self.lock:
            if rows and rows[0][3] != self.shards:  # others, which begin without an owner
                self.shards, self.since, self.gaps = rows[0][3], {}, {}
            self.owners = {shard: owner.rsplit(":", 1)[1] for shard, owner, held, _, _ in rows if held}
            for shard, _, held, _, now in rows:
                since = self.since.pop(shard, None)
                if since is not None:
                    self.gaps[shard] = max(self.gaps.get(shard, 0), now - since)
                if not held:
                    self.since[shard] = now if since is None else since

    def counts(self):
        """How many shards each process holds; none while one is nobody's."""
        with self.lock:
            check(self.failure is None, f"{self.failure}")
            owners = list(self.owners.values())
            return {int(pid): owners.count(pid) for pid in owners} if len(owners) == self.shards else {}

    def worst_gap(self):
        """The longest time since the last call for which a shard was nobody's."""
        with self.lock:
            worst = max(self.gaps.values(), default=0)
            self.gaps = {}
        return worst

    def end(self):
        self.ending.set()
        self.thread.join()


class Crew:
    """A server, writers, one recipient, and the relays of one subscription."""

    def __init__(self, directory, shards, seed, rate=RATE):
        self.directory, self.window_lost = directory, 0
        self.ground, self.log, self.relays, self.logs, self.writers = PostgresGround(None, {}), directory / "receipts", [], {}, None
        subprocess.run([str(OUTBOX), "init", self.ground.url, "--quiet"], check=True, stdin=subprocess.DEVNULL)
        port = directory / "port"
        self.receiver = subprocess.Popen([str(RECEIVER), "--port-file", port, "--lines", self.log], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL)
        self.sink = f"http://127.0.0.1:{wait_for(lambda: port.exists() and port.read_text().strip(), 10, 'the recipient')}/"
        self.ground.prepare(100, stranger=True)
        self.follower, self.watch = Follower(self.log), Watch(self.ground)
        self.seed, self.rate, self.shards = seed, rate, shards

    def begin(self):
        """The first relay makes the subscription."""
        self.join("--shards", self.shards)
        wait_for(lambda: self.status(), DEADLINE_S, "the subscription")
        self.watch.thread.start()
        self.writers = subprocess.Popen(
            [str(it) for it in (WRITERS, self.ground.url, "--messages", self.rate * 600, "--seconds", 600, "--writers", 6, "--keys", 100,
                                "--large", 0, "--seed", self.seed)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def status(self):
        with self.ground.server.connect() as ask:
            return ask("SELECT shards, shards_next FROM outbox.subscription")

    def join(self, *options, clock=None, url=None):
        """A relay more. `clock`: how far its clock is off, as libfaketime writes it."""
        path = self.directory / f"relay-{len(self.logs)}.log"
        off = faketime.environment(FAKETIME=clock) if clock else {}
        with open(path, "wb") as log:
            self.relays.append(subprocess.Popen(
                [str(OUTBOX), "relay", url or self.ground.url, "--to", self.sink, "--window", str(WINDOW), "--lease", f"{LEASE_S}s",
                 "--settle-every", "50ms", *map(str, options)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **off}))
        self.logs[self.relays[-1].pid] = path
        return self.relays[-1]

    def wait_even(self, relays, what):
        """Until each of the relays holds its share, to one. Returns how long that took."""
        began, pids, (each, more) = time.monotonic(), {it.pid for it in relays}, divmod(self.watch.shards, len(relays))
        wanted = sorted([each + 1] * more + [each] * (len(relays) - more))

        def is_even():
            counts = self.watch.counts()
            held = [counts.get(pid, 0) for pid in pids]
            return sorted(held) == wanted and sum(held) == self.watch.shards
        try:
            wait_for(is_even, DEADLINE_S, f"the shards to be even: {what}")
        except AssertionError as failure:
            raise AssertionError(f"{failure}: {self.watch.counts()} of {pids}") from None
        return time.monotonic() - began

    def lose(self, relay):
        """What it has in its windows may come twice."""
        self.window_lost += WINDOW * self.watch.counts().get(relay.pid, self.watch.shards)

    def stop(self, relays):
        for it in relays:
            wait_for(lambda it=it: self.logs[it.pid].read_text(), DEADLINE_S, "a relay to begin")
            it.send_signal(signal.SIGTERM)
        for it in relays:
            check(it.wait(30) == 0, f"a relay ended with {it.returncode}")
            self.relays.remove(it)

    def kill(self, relay):
        self.lose(relay)
        relay.kill()
        relay.wait()
        self.relays.remove(relay)

    def go_on(self):
        """Until what is committed now has arrived; what has come twice so far is what a recipient would have seen by then."""
        wanted = sum(number for _, number, _ in self.ground.truth())
        wait_for(lambda: self.follower.look() >= wanted, DEADLINE_S, "what was committed to arrive")
        self.check()

    def check(self):
        for it in self.relays:
            check(it.poll() is None, f"a relay ended by itself with {it.returncode}")
        twice = self.follower.oracle.duplicates
        check(twice <= self.window_lost, f"{twice} came twice; {self.window_lost} may have after what happened so far")

    def judge(self):
        """P1 to P4. Returns a line about it."""
        self.writers.send_signal(signal.SIGTERM)
        check(self.writers.wait(30) == 0, f"the writers ended with {self.writers.returncode}")
        truth, seen, since = self.ground.truth(), -1, time.monotonic()
        committed = sum(number for _, number, _ in truth)
        while seen < committed and time.monotonic() < since + DEADLINE_S:
            now = self.follower.look()
            seen, since = (now, time.monotonic()) if now != seen else (seen, since)
            time.sleep(0.02)
        self.stop(list(self.relays))
        self.follower.look()
        broken = self.follower.oracle.judge(truth, self.window_lost)
        check(not broken, broken)
        return f"{committed} messages, {self.follower.oracle.duplicates} twice of {self.window_lost} that may"

    def end(self):
        self.watch.end() if self.watch.thread.is_alive() else None
        for process in [*self.relays, self.writers, self.receiver]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self.ground.end()

    def words(self):
        return "\n".join(f"-- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in self.logs.values())


def in_a_crew(shards, seed, story):
    with tempfile.TemporaryDirectory(prefix="outbox-relays-") as directory:
        crew = Crew(pathlib.Path(directory), shards, seed)
        try:
            crew.begin()
            began, said = time.monotonic(), story(crew)
            return f"{'; '.join(said)}; {crew.judge()}; {time.monotonic() - began:.0f} s"
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{crew.words()}") from failure
        finally:
            crew.end()


def taken_over(crew, what, promised_s):
    gap = crew.watch.worst_gap()
    check(gap <= promised_s + MARGIN_S, f"{what}: a shard was nobody's for {gap:.2f} s, of {promised_s} s promised")
    return f"{what}: nobody's for {gap:.2f} s at most"


def finish(crew, relays, count):
    """SIGTERM for the last ones: others have what they held within a second."""
    began, ending = time.monotonic(), relays[-count:]
    crew.stop(ending)
    del relays[-count:]
    crew.wait_even(relays, f"{count} ended")
    took = time.monotonic() - began
    check(took <= 1 + MARGIN_S, f"{took:.1f} s until others had what those held that ended properly, of 1 s promised")
    return taken_over(crew, f"{count} ended, all held again after {took:.1f} s", 1)


def die(crew, relays):
    """SIGKILL: what it held stays its own until its lease has run out, then it is another's."""
    victim = relays.pop()
    crew.kill(victim)
    took = crew.wait_even(relays, "one was killed")
    check(took <= LEASE_S + MARGIN_S + 1, f"{took:.1f} s until others had what a killed one held, with a lease of {LEASE_S} s")
    crew.go_on()
    return [taken_over(crew, f"killed, all held again after {took:.1f} s", 1)]


def freeze(crew, relays):
    """SIGSTOP for longer than a lease, then SIGCONT: others have its shards meanwhile, and it gets its share again."""
    victim, others = relays[0], relays[1:]
    crew.lose(victim)
    victim.send_signal(signal.SIGSTOP)
    crew.wait_even(others, "one is stopped")
    crew.go_on()
    said = [taken_over(crew, "stopped", 1)]
    victim.send_signal(signal.SIGCONT)
    crew.wait_even(relays, "one goes on again")
    crew.go_on()
    return [*said, taken_over(crew, "goes on", 1)]


def come_and_go(crew):
    relays, said = list(crew.relays), []
    crew.wait_even(relays, "one relay")
    relays += [crew.join() for _ in range(7)]
    said.append(f"1 to 8 in {crew.wait_even(relays, 'eight relays'):.1f} s")
    crew.go_on()
    said.append(taken_over(crew, "joined", 1))
    said.append(finish(crew, relays, 5))
    crew.go_on()
    check(crew.follower.oracle.duplicates == 0, f"{crew.follower.oracle.duplicates} came twice, and nobody was killed")
    said += die(crew, relays)
    relays.append(crew.join())
    crew.wait_even(relays, "a third one again")
    said += freeze(crew, relays)
    return said


def wait_changed(crew, shards):
    """Until there are so many shards, and no change is under way. Returns how long that took."""
    began = time.monotonic()
    wait_for(lambda: crew.status() == [(shards, 0)] and crew.watch.shards == shards, DEADLINE_S, f"{shards} shards")
    return time.monotonic() - began


def change_of_number(crew):
    """Who starts with another number changes it for all. Once one is killed while the change is under way."""
    relays, said = [*crew.relays, crew.join(), crew.join()], []
    crew.wait_even(relays, "three relays of four shards")
    relays.append(crew.join("--shards", 7))
    said.append(f"4 to 7 in {wait_changed(crew, 7):.1f} s")
    crew.wait_even(relays, "seven shards")
    crew.go_on()
    check(crew.follower.oracle.duplicates == 0, f"{crew.follower.oracle.duplicates} came twice, and nobody was killed")
    relays.append(crew.join("--shards", 2))
    wait_for(lambda: crew.status() != [(7, 0)], DEADLINE_S, "the change to begin")
    crew.kill(relays.pop(0))
    said.append(f"7 to 2, one killed meanwhile, in {wait_changed(crew, 2):.1f} s")
    crew.wait_even(relays, "two shards")
    crew.go_on()
    return said


def hours_apart(crew):
    """Only the database's clock counts."""
    relays, said = list(crew.relays), []
    relays += [crew.join(clock="+5h"), crew.join(clock="-7h"), crew.join(clock="+400d")]
    crew.wait_even(relays, "four relays")
    said.append(taken_over(crew, "joined", 1))
    crew.go_on()
    relays.append(relays.pop(0))
    said.append(finish(crew, relays, 1))
    crew.go_on()
    check(crew.follower.oracle.duplicates == 0, f"{crew.follower.oracle.duplicates} came twice, and nobody was killed")
    return said + die(crew, relays)


def anything(crew):
    """Relays join, end, are killed, freeze and go on, and change the number of shards, in any order."""
    rng, frozen, done = random.Random(crew.seed), [], []
    for _ in range(200 if LONG else 16):
        awake = [it for it in crew.relays if it not in frozen]
        what = rng.choice(["join", "join", "join", "end", "kill", "freeze", "freeze", "go on", "change"])
        if what in ("join", "change") and len(crew.relays) < 8:
            crew.join(*(["--shards", rng.randint(1, 9)] if what == "change" else []), clock=rng.choice([None, "+3h", "-30d"]))
        elif what == "end" and len(awake) > 1:
            crew.stop([rng.choice(awake)])
        elif what == "kill" and len(crew.relays) > 1:
            victim = rng.choice(crew.relays)
            frozen = [it for it in frozen if it is not victim]
            crew.kill(victim)
        elif what == "freeze" and len(awake) > 1:
            frozen.append(rng.choice(awake))
            crew.lose(frozen[-1])
            frozen[-1].send_signal(signal.SIGSTOP)
        elif what == "go on" and frozen:
            frozen.pop(0).send_signal(signal.SIGCONT)
        else:
            continue
        done.append(what)
        crew.check()
        time.sleep(rng.choice([0, 0.2, rng.uniform(0, 1.5 * LEASE_S)]))
    for it in frozen:
        it.send_signal(signal.SIGCONT)
    wait_for(lambda: crew.status()[0][1] == 0 and crew.watch.shards == crew.status()[0][0], DEADLINE_S, "the last change of the number")
    crew.wait_even(crew.relays, "nothing happens any more")
    return [", ".join(f"{done.count(what)} {what}" for what in sorted(set(done))), f"{len(crew.relays)} relays, {crew.watch.shards} shards"]


def slow_relay(it, name, *options, url=None, sink=None):
    """One that has much to send, to a recipient that takes its time; what it sends bears its name."""
    named = () if sink else ("--sink-option", f"source=/{name}")
    return it.relay("--settle-every", "50ms", *named, *options, url=url, sink=sink)


def receipts_of(it, name):
    with it.recipient.lock:
        return [receipt for receipt in it.recipient.receipts if receipt.source == f"/{name}"]


def holders(it):
    """The shards that each process holds."""
    held = {}
    for owner, shard in it.database.query("SELECT owner, shard FROM outbox.lease WHERE holder <> '' AND expires_at > clock_timestamp()"):
        held.setdefault(int(owner.rsplit(":", 1)[1]), []).append(shard)
    return held


def backlog(it, keys):
    it.receive(delay_s=0.04)
    it.write(pause_s=0, count=4, keys=keys)
    wait_for(lambda: len(it.writers.committed) > 1500, DEADLINE_S, "a backlog")
    it.writers.stop()


def end_of_story(it, lost):
    wait_for(it.all_arrived, DEADLINE_S, "all that was committed to arrive")
    twice = it.check_promises(crashes=lost)
    return f"{len(it.writers.committed)} messages, {twice} twice"


def stopped_beyond_its_lease():
    """There are as many others as shards, so it gets none when it goes on; nor does it send what it still holds."""
    with world(build=BUILD, kind="postgres") as it:
        backlog(it, 16)
        victim = slow_relay(it, "victim", "--shards", "2")
        wait_for(lambda: len(holders(it).get(victim.pid, [])) == 2, DEADLINE_S, "the victim to hold both shards")
        others = [slow_relay(it, name) for name in ("one", "two")]
        wait_for(lambda: len(receipts_of(it, "victim")) > 50, DEADLINE_S, "the victim to send")
        victim.send(signal.SIGSTOP)
        wait_for(lambda: all(holders(it).get(other.pid) for other in others), DEADLINE_S, "the others to take over")
        seen = len(receipts_of(it, "victim"))
        victim.send(signal.SIGCONT)
        wait_for(lambda: "lease_over" in victim.log() or "stale" in victim.log(), DEADLINE_S, "the victim to notice")
        said = end_of_story(it, 2)
        late = len(receipts_of(it, "victim")) - seen
        # It may have been stopped between a request's hand-over and its first byte; nothing new is begun.
        check(late <= CONNECTIONS, f"{late} were sent by a relay whose lease had run out")
        return f"{said}; {late} under way when it was stopped"


def silent_beyond_its_lease():
    """Its database is silent: it sends until its own clock says that the lease is over, and what it settles then is refused."""
    with world(build=BUILD, kind="postgres") as it, Proxy(it.database.server.port) as proxy:
        backlog(it, 16)
        url = it.url.replace(f":{it.database.server.port}/", f":{proxy.port}/")
        victim = slow_relay(it, "victim", "--shards", "2", url=url)
        wait_for(lambda: len(holders(it).get(victim.pid, [])) == 2, DEADLINE_S, "the victim to hold both shards")
        wait_for(lambda: len(receipts_of(it, "victim")) > 50, DEADLINE_S, "the victim to send")
        other = slow_relay(it, "other")
        proxy.hold()
        since = time.monotonic()
        wait_for(lambda: len(holders(it).get(other.pid, [])) == 2, DEADLINE_S, "the other one to take over")
        wait_for(lambda: len(receipts_of(it, "other")) > 50, DEADLINE_S, "the other one to send")
        last, first = receipts_of(it, "victim")[-1].at - since, receipts_of(it, "other")[0].at - since
        check(0.3 < last < 1 + MARGIN_S, f"it sent for {last:.2f} s after the silence began, with a lease of 1 s")
        check(last < first + 0.2, f"it sent {last - first:.2f} s longer than until another one had its shards")
        check("stale" not in victim.log(), f"it was refused before it could ask:\n{victim.log()}")
        proxy.hold(False)
        wait_for(lambda: "stale" in victim.log(), DEADLINE_S, "the victim's settle to be refused")
        said = end_of_story(it, 2)
        return f"{said}; sent for {last:.2f} s after the silence began, the other one's first after {first:.2f} s"


def lost_within_a_transaction():
    """A relay whose machine is gone for good, just when it has asked for the lease: what it has locked does not stay so."""
    with world(build=BUILD, kind="postgres") as it, Proxy(it.database.server.port) as proxy:
        def settles():
            return it.database.query("SELECT sum(beat)::bigint FROM outbox.checkpoint")[0][0]
        it.receive()
        it.write()
        owner = slow_relay(it, "owner")
        wait_for(lambda: owner.pid in holders(it) and settles() > 3, DEADLINE_S, "the owner to settle")
        gone = proxy.fault(TO_CLIENT, "hole", match=b"replay_high")
        slow_relay(it, "lost", url=it.url.replace(f":{it.database.server.port}/", f":{proxy.port}/"))
        gone.wait(DEADLINE_S)
        began, seen = time.monotonic(), settles()
        wait_for(lambda: settles() > seen, DEADLINE_S, "the owner to settle again")
        took = time.monotonic() - began
        check(took < 5 + MARGIN_S, f"the owner could settle nothing for {took:.1f} s")
        it.writers.stop()
        return f"{end_of_story(it, 1)}; settled again after {took:.1f} s"


def one_file():
    """Two relays, each with two shards, write to one file: whole lines, each once, every key in order."""
    with world(build=BUILD, kind="postgres") as it:
        it.write(pause_s=0, count=4, keys=16, padding=9000)
        file = it.directory / "out.jsonl"
        relays = [slow_relay(it, "one", "--shards", "4", sink=f"file:{file}")]
        wait_for(lambda: len(holders(it).get(relays[0].pid, [])) == 4, DEADLINE_S, "all shards")
        relays.append(slow_relay(it, "two", sink=f"file:{file}"))
        wait_for(lambda: [len(holders(it).get(relay.pid, [])) for relay in relays] == [2, 2], DEADLINE_S, "two shards each")
        wait_for(lambda: len(it.writers.committed) > 2000, DEADLINE_S, "messages")
        it.writers.stop()
        wait_for(lambda: file.read_bytes().count(b"\n") >= len(it.writers.committed), DEADLINE_S, "as many lines as messages")
        for relay in relays:
            relay.send(signal.SIGTERM)
            check(relay.wait(15) == 0, relay.log())
            check("down" not in relay.log(), f"one kept the other from writing:\n{relay.log()}")
        receipts = []
        for line in file.read_text(encoding="utf-8").splitlines():
            message = json.loads(line)
            content = json.loads(message["payload"])
            receipts.append(Receipt(message["id"], content["key"], content["number"], 200, 0.0, ""))
        check_promises(it.writers.committed, it.writers.rolled_back, receipts, set(), 0)
        return f"{len(receipts)} lines, {file.stat().st_size >> 20} MiB"


def who_runs_what():
    """`status` and `doctor` say it, and the command that they give mends it."""
    def shards():
        return it.status()["shards"]

    def findings(code):
        found = json.loads(it.run("doctor", it.url, "--json"))["findings"]
        return [one for one in found if one["code"] == code]

    with world(build=BUILD, kind="postgres") as it:
        it.receive()
        relay = slow_relay(it, "one", "--shards", "4")
        wait_for(lambda: relay.pid in holders(it) and all(one["held"] for one in shards()) and len(shards()) == 4, DEADLINE_S, "four shards")
        for number, one in enumerate(shards()):
            check((one["shard"], one["owner"].rsplit(":", 1)[1]) == (number, str(relay.pid)), f"{one}")
            check(0 < one["lease_left_ms"] <= 1000 and one["epoch"] > 0, f"{one}")
        text = it.run("status", it.url)
        check("4; 1 relays have joined" in text and text.count(f":{relay.pid}, its lease holds for") == 4 and "epoch" in text, text)
        check(not findings("no_relay") and not findings("shard_without_relay"), it.run("doctor", it.url))
        # One that has joined and takes nothing.
        it.database.query("INSERT INTO outbox.member (subscription, member, owner, live_ms, expires_at)"
                          " VALUES ('default', 1, 'idle:1', 60000, clock_timestamp() + interval '1 minute')")
        wait_for(lambda: sum(one["held"] for one in shards()) == 2, DEADLINE_S, "two shards to be given up")
        check(it.run("status", it.url).count("no relay") >= 2, it.run("status", it.url))
        found = findings("shard_without_relay")
        check(len(found) == 1 and "2 relays" in found[0]["what"], f"{found}")
        it.database.query("DELETE FROM outbox.member WHERE member = 1")
        wait_for(lambda: all(one["held"] for one in shards()), DEADLINE_S, "all shards to be taken again")
        relay.kill()
        it.write(count=1)
        wait_for(lambda: not any(one["held"] for one in shards()) and it.status()["relays_joined"] == 0, DEADLINE_S, "the lease to run out")
        wait_for(lambda: it.writers.committed, DEADLINE_S, "a message")
        it.writers.stop()
        mend = findings("no_relay")[0]["mend"]
        check(mend == it.status()["mend"], f"doctor says {mend}, status says {it.status()['mend']}")
        it.relays.append(Relay(it, [it.program, *shlex.split(mend)[1:]], {}))
        wait_for(it.all_arrived, DEADLINE_S, "what waited to arrive")
        check(not findings("no_relay") and not findings("shard_without_relay"), it.run("doctor", it.url))


CASES = [
    ("1, 8 and 3 relays: joined, ended, killed, stopped", in_a_crew, 8, 1, come_and_go),
    ("4, 7 and 2 shards", in_a_crew, 4, 2, change_of_number),
    ("clocks are hours apart", in_a_crew, 6, 3, hours_apart),
    ("anything in any order", in_a_crew, 5, int(os.environ.get("OB_TEST_SEED", "4")), anything),
    ("stopped beyond its lease", stopped_beyond_its_lease),
    ("its database is silent beyond its lease", silent_beyond_its_lease),
    ("a machine is gone within a transaction", lost_within_a_transaction),
    ("shards of two relays write to one file", one_file),
    ("status and doctor say who runs what", who_runs_what),
]

if __name__ == "__main__":
    sys.exit(main(CASES, at_once=2))
