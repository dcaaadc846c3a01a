"""Application processes, as threads with connections of their own, that keep a log of what they committed and rolled back."""
import json
import random
import threading
import time
import uuid

from databases import Gone

BACK_S = 60  # for a server that was away


class Writers:
    """Each writer has keys of its own, so the order in which it commits a key's messages is the key's order."""

    def __init__(self, database, count=2, pause_s=0.004, keys=8, seed=1, padding=0):
        self.database, self.pause_s, self.keys, self.padding = database, pause_s, keys, padding
        self.lock = threading.Lock()
        self.committed, self.rolled_back, self.failures = [], set(), []
        self.orders, self.slowest_s = [], 0.0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(number, random.Random(seed * 1000 + number)), daemon=True)
                        for number in range(count)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise AssertionError(f"a writer failed: {self.failures[0]}")

    def forget_but(self, orders):
        """Takes what a failover has lost out of what counts as committed; returns the ids. `orders` are those that are still there."""
        gone = {message_id for order, ids in self.orders if order not in orders for message_id in ids}
        self.committed = [message for message in self.committed if message[0] not in gone]
        return gone

    def _write(self, writer, rng):
        try:
            connection = self.database.writer()
            numbers = [0] * self.keys
            while not self.stopping.is_set():
                self._transaction(connection, writer, rng, numbers)
                time.sleep(self.pause_s)
            connection.close()
        except Exception as failure:  # told by stop()
            self.failures.append(repr(failure))

    def _commits(self, connection, rng, messages):
        """Whether the messages and their order are committed, or rolled back; found out if the connection broke."""
        order, committing = messages[0][0], False
        try:
            connection.begin()
            connection.order(order)
            for message_id, key, number in messages:
                connection.insert(message_id, key, json.dumps({"key": key, "number": number, "padding": "x" * self.padding}))
            if rng.random() < 0.2:
                connection.rollback()
                return False
            committing = True
            connection.commit()
            return True
        except Gone:
            return committing and self._has_order(connection, order)

    @staticmethod
    def _has_order(connection, order):
        until = time.monotonic() + BACK_S
        while True:
            try:
                return connection.has_order(order)
            except Gone:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _transaction(self, connection, writer, rng, numbers):
        after, messages = list(numbers), []
        for _ in range(rng.randint(1, 3)):
            key = rng.randrange(self.keys)
            after[key] += 1
            messages.append((str(uuid.UUID(int=rng.getrandbits(128), version=4)), f"w{writer}-k{key}", after[key]))
        began = time.monotonic()
        if not self._commits(connection, rng, messages):
            with self.lock:
                self.rolled_back.update(message_id for message_id, _, _ in messages)
            return
        numbers[:] = after
        with self.lock:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.committed.extend(messages)
            self.orders.append((messages[0][0], [message_id for message_id, _, _ in messages]))
