#!/usr/bin/env python3
"""Kills relays by SIGKILL at random times while writers write and a recipient receives over HTTP, and checks P1 to P4 from their
own logs. Some recipients fail and reject, some databases are in rollback mode. 20 kills by default; with OB_TEST_LENGTH=full 1,000, and 100 on
other versions.

usage: test_kills.py [--count N] [--seed N]     environment: OUTBOX_BUILD
"""
import argparse
import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))

import tap  # noqa: E402
from databases import KIND, VERSION  # noqa: E402
from tap import check  # noqa: E402
from world import BUILD, wait_for, world  # noqa: E402

KILLS_OF_WORLD = 10
COUNT = 20 if os.environ.get("OB_TEST_LENGTH") != "full" else 100 if VERSION else 1000


def moody(rng):
    """A recipient that takes most, fails some at first, and never takes a few."""
    failed = set()

    def decide(message_id, key, number):
        if key.endswith("k1") and number % 11 == 0:
            return 422
        if message_id not in failed and rng.random() < 0.03:
            failed.add(message_id)
            return 503
        return 200
    return decide


def kills(count, seed):
    rng = random.Random(seed)
    options = {"decide": moody(rng)} if seed % 2 else {}
    database = {"journal": "delete"} if KIND == "sqlite" and seed % 4 == 3 else {}
    with world(build=BUILD, **database) as it:
        it.receive(delay_s=rng.choice([0, 0.005, 0.03]), **options)
        it.write(pause_s=0.01, seed=seed)
        for _ in range(count):
            relay = it.relay("--settle-every", "30ms", "--retry-first", "50ms", lease="400ms")
            time.sleep(rng.choice([rng.uniform(0, 0.1), rng.uniform(0.3, 1.2)]))
            check(relay.process.poll() is None, f"the relay ended by itself:\n{relay.log()}")
            relay.kill()
        relay = it.relay("--retry-first", "50ms", "--probe-max", "1s", lease="400ms")
        it.writers.stop()
        wait_for(lambda: it.all_arrived(it.dead_ids()), 60, "all that was committed to arrive")
        relay.send(signal.SIGTERM)
        check(relay.wait(12) == 0, relay.log())
        again = it.check_promises(crashes=count)
        return f"{count} kills: {len(it.writers.committed)} committed, {again} twice, {len(it.dead_ids())} dead"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    sys.argv[1:] = []
    cases = []
    for first in range(0, chosen.count, KILLS_OF_WORLD):
        seed = chosen.seed + first // KILLS_OF_WORLD
        cases.append((f"kills at random times, seed {seed}", kills, min(KILLS_OF_WORLD, chosen.count - first), seed))
    return tap.main(cases, at_once=2)


if __name__ == "__main__":
    sys.exit(main())
