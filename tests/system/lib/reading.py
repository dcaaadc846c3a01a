"""The way PostgreSQL's log is read, in as few lines as it takes: snapshot intervals. And the short cuts that lose messages or change their
order, by name. The torture tries both: the right one must pass, or the argument is wrong; the wrong ones must fail, or the torture is weak.

The tables are those of torture/reference.sql. The product's reader is another program, in C; it shares nothing with this one."""
import os
import sys
import time

import pq

PAGE = 500
LAPS, STRETCH = 8, 500
COLUMNS = "seq, id, split_part(payload, E'\\n', 1)"
LAST = "(SELECT coalesce(pg_sequence_last_value('outbox.message_seq_seq'), 0))"

WRONG = {
    "by-number": "reads by number past the last one it has seen",
    "by-xid": "reads by transaction, below the oldest one that is still open",
    "no-open-ones": "forgets the transactions that were open at the last snapshot",
    "one-transaction": "reads the last number and takes the snapshot with no transaction of its own between",
    "not-durable": "believes a snapshot whose transaction may vanish in a crash",
    "trim-unlocked": "looks whether a stretch is all read before it waits for the lock to empty it",
}


class Reader:
    """One owner of the subscription, until it is killed or its connection breaks."""

    def __init__(self, url, out, wrong=None):
        self.wrong, self.out = wrong, out
        self.ask = pq.Connection(url)
        self.ask(f"SET synchronous_commit = {'off' if wrong == 'not-durable' else 'on'}")
        self.epoch = self.ask.value("UPDATE reference.checkpoint SET epoch = epoch + 1 RETURNING epoch")
        self.load()

    def load(self):
        """Whatever was held in memory is not believed after any doubt."""
        self.s1, self.q1, self.s2, self.q2, self.at = self.ask(
            "SELECT s1::text, q1, s2::text, q2, at FROM reference.checkpoint")[0]

    def branch(self, condition, until):
        return (f"(SELECT {COLUMNS} FROM outbox.message WHERE {condition} AND seq > {self.at}"
                f" AND pg_visible_in_snapshot(xid, {until}) ORDER BY seq LIMIT {PAGE})")

    def unseen(self, until="pg_current_snapshot()"):
        """What one snapshot sees and S1 did not, behind `at`, in the order of the numbers."""
        s1 = f"'{self.s1}'::pg_snapshot"
        branches = [self.branch(f"xid >= pg_snapshot_xmax({s1}) AND seq > {self.q1}", until)]
        if self.wrong != "no-open-ones":
            branches.append(self.branch(f"xid = ANY(ARRAY(SELECT pg_snapshot_xip({s1})))", until))
        return f"SELECT * FROM ({' UNION ALL '.join(branches)}) AS page ORDER BY 1 LIMIT {PAGE}"

    def open(self):
        """Opens an interval. S2 may be used once the transaction that wrote it is known to be durable."""
        if self.wrong == "one-transaction":
            self.ask("BEGIN")
            self.q2 = self.ask.value(f"SELECT {LAST}")
        else:
            # The number is read before our transaction is numbered: whoever drew a lower one was numbered before us, and
            # therefore is either finished or listed as open in the snapshot that follows our end.
            self.ask("BEGIN")
            self.q2 = self.ask.value(f"SELECT {LAST}")
            self.ask("UPDATE reference.checkpoint SET drawn = $1 WHERE epoch = $2", self.q2, self.epoch)
            self.ask("COMMIT")
            self.ask("BEGIN")
        self.s2 = self.ask.value("UPDATE reference.checkpoint SET s2 = pg_current_snapshot(), q2 = $1, at = 0 WHERE epoch = $2"
                                 " RETURNING s2::text", self.q2, self.epoch)
        self.at = 0
        if self.s2 is None:
            raise SystemExit("another one has taken over")
        self.ask("COMMIT")

    def settle(self, change):
        if not self.ask(f"UPDATE reference.checkpoint SET {change} WHERE epoch = $1 AND s2::text = $2 RETURNING 1",
                        self.epoch, self.s2):
            raise SystemExit("another one has taken over")

    def deliver(self, rows):
        os.write(self.out, "".join(f"{row[1]} {row[2]}\n" for row in rows).encode())

    def round(self):
        """One look. Returns whether there was anything."""
        if self.wrong in ("by-number", "by-xid"):
            return self.round_without_snapshots()
        if self.s2 is None:
            if not self.ask(f"SELECT 1 FROM ({self.unseen()}) AS found LIMIT 1"):
                return False
            self.open()
        while True:
            rows = self.ask(self.unseen(f"'{self.s2}'::pg_snapshot"))
            if not rows:
                break
            self.deliver(rows)
            self.at = rows[-1][0]
            self.settle(f"at = {self.at}")
        self.settle("s1 = s2, q1 = q2, s2 = NULL, at = 0")
        self.load()
        return True

    def round_without_snapshots(self):
        if self.wrong == "by-number":
            rows = self.ask(f"SELECT {COLUMNS} FROM outbox.message WHERE seq > {self.at} ORDER BY seq LIMIT {PAGE}")
            change = f"at = {rows[-1][0]}" if rows else None
        else:
            rows = self.ask(f"SELECT {COLUMNS}, xid::text FROM outbox.message WHERE (xid, seq) > ($1::text::xid8, {self.at})"
                            f" AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, seq LIMIT {PAGE}", self.q1)
            change = f"q1 = {rows[-1][3]}, at = {rows[-1][0]}" if rows else None
        if rows:
            self.deliver(rows)
            self.ask(f"UPDATE reference.checkpoint SET {change} WHERE epoch = $1", self.epoch)
            self.load()
        return bool(rows)

    def trim(self):
        """Empties one stretch that is behind S1. Under its lock nobody can add to it, and the look is newer than the lock."""
        newest = self.ask.value(f"SELECT {LAST}") // STRETCH
        if newest < 1 or self.wrong in ("by-number", "by-xid"):
            return
        partition = (newest - 1 - int(time.monotonic() * 10) % (LAPS - 2)) % LAPS
        unread = f"SELECT 1 FROM outbox.message_{partition} WHERE NOT pg_visible_in_snapshot(xid, '{self.s1}') LIMIT 1"
        self.ask("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '100ms'")
        early = self.wrong == "trim-unlocked"
        try:
            empty = early and not self.ask(unread)
            self.ask(f"LOCK TABLE outbox.message_{partition} IN ACCESS EXCLUSIVE MODE")
            if not early:
                empty = not self.ask(unread)
            # Numbers of a later lap may have come into it since `newest` was read.
            if empty and (self.ask.value(f"SELECT {LAST}") // STRETCH) % LAPS != partition:
                self.ask(f"TRUNCATE outbox.message_{partition}")
            self.ask("COMMIT")
        except pq.Error as error:
            if error.state != "55P03":
                raise
            self.ask("ROLLBACK")


def main():
    """reading.py URL FILE [WRONG]: reads until it is killed."""
    url, path, *wrong = sys.argv[1:]
    out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    while True:
        try:
            reader = Reader(url, out, *wrong)
            while True:
                if not reader.round():
                    time.sleep(0.005)
                reader.trim()
        except pq.Error as error:
            if error.state is not None and not error.state.startswith("57P"):
                raise
            time.sleep(0.05)  # the server is away; nothing that was known about it holds any more


if __name__ == "__main__":
    main()
