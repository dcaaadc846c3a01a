#!/usr/bin/env python3
"""A consumer over HTTP that acts once on each message, however often it comes: the inbox with plain SQL.

Takes orders from `outbox relay ... --to http://HOST:PORT/` and writes an invoice for each. The id of the message and the invoice are
written in one transaction, and only after its COMMIT the answer is 200. Kill it whenever you like: no order is left without
an invoice, and none gets two.

usage: consumer.py HOST:PORT DATABASE
"""
import http.server
import json
import sqlite3
import sys
import threading

CONSUMER = "billing"
TABLES = """
CREATE TABLE IF NOT EXISTS outbox_inbox (
  consumer   TEXT NOT NULL,
  id         TEXT NOT NULL,
  handled_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  PRIMARY KEY (consumer, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_inbox_handled_at ON outbox_inbox (consumer, handled_at);
CREATE TABLE IF NOT EXISTS invoices (number INTEGER PRIMARY KEY, order_number INTEGER NOT NULL, total INTEGER NOT NULL);
"""
# Longer than the relay tries a message again, which is a day by default.
KEEP = "-7 days"


class Consumer:
    def __init__(self, path):
        # One connection, one message at a time: SQLite has one writer anyway.
        self.db = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(TABLES)
        self.lock = threading.Lock()
        self.handled = 0

    def handle(self, message_id, payload):
        """Returns whether the message was new. Whatever goes wrong leaves no trace, and the message comes again."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                claimed = self.db.execute("INSERT INTO outbox_inbox (consumer, id) VALUES (?, ?) ON CONFLICT DO NOTHING",
                                          (CONSUMER, message_id))
                is_new = claimed.rowcount == 1
                if is_new:
                    order = json.loads(payload)
                    self.db.execute("INSERT INTO invoices (order_number, total) VALUES (?, ?)", (order["order"], order["total"]))
                self.db.execute("COMMIT")
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.handled += 1
            if self.handled % 1000 == 0:
                self.trim()
            return is_new

    def trim(self):
        """Forgets a few of the ids that are too old to come again."""
        self.db.execute("DELETE FROM outbox_inbox WHERE consumer = ?1 AND id IN (SELECT id FROM outbox_inbox WHERE consumer = ?1"
                        " AND handled_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?2) LIMIT 1000)", (CONSUMER, KEEP))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        payload = self.rfile.read(int(self.headers.get("content-length", 0)))
        message_id = self.headers.get("webhook-id")
        if message_id is None:
            return self.answer(400)
        try:
            is_new = self.server.consumer.handle(message_id, payload)
        except (ValueError, KeyError, TypeError):
            return self.answer(422)  # This message will never be right: the relay puts it among the dead.
        except sqlite3.Error:
            return self.answer(503)
        print("new" if is_new else "again", message_id, flush=True)
        return self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


def main():
    host, _, port = sys.argv[1].rpartition(":")
    server = Server((host, int(port)), Handler)
    server.consumer = Consumer(sys.argv[2])
    print("ready", server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
