"""A recipient over HTTP with a log of its own. It knows nothing of the relay: what it logs is what arrived whole."""
import dataclasses
import json
import socket
import threading
import time


@dataclasses.dataclass
class Receipt:
    """One request as it arrived."""
    id: str
    key: str
    number: int
    status: int
    at: float
    source: str


class Recipient:
    """Answers on a free port. `decide(id, key, number)` gives the status; 0 closes the connection without an answer."""

    def __init__(self, delay_s=0.0, decide=lambda message_id, key, number: 200, host="127.0.0.1"):
        self.delay_s, self.decide, self.host = delay_s, decide, host
        self.lock, self.receipts, self.halves = threading.Lock(), [], 0
        self.connections, self.listener, self.port = set(), None, 0
        self.arrived = 0  # requests whose answer may still be due
        self.up()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def up(self):
        """Listens; after `down` on the same port as before."""
        self.listener = socket.create_server((self.host, self.port), backlog=1024, reuse_port=False)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def down(self):
        """Refuses, and cuts what is connected."""
        # A thread that is in accept keeps the socket open; shutdown ends the accept.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            connections, self.connections = self.connections, set()
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = b""
        try:
            while True:
                whole, buffer = self._read(connection, buffer)
                if whole is None:
                    break
                status = self._take(*whole)
                if status == 0:
                    break
                connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
        except OSError:
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()

    def _read(self, connection, buffer):
        """((headers, body), rest) of one request, or (None, b"") at the end."""
        while b"\r\n\r\n" not in buffer:
            more = connection.recv(65536)
            if not more:
                self.halves += bool(buffer)
                return None, b""
            buffer += more
        head, body = buffer.split(b"\r\n\r\n", 1)
        headers = {}
        for line in head.decode("latin-1").split("\r\n")[1:]:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        size = int(headers.get("content-length", "0"))
        if headers.get("expect", "").lower() == "100-continue" and len(body) < size:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(body) < size:
            more = connection.recv(65536)
            if not more:
                self.halves += 1
                return None, b""
            body += more
        return (headers, body[:size]), body[size:]

    def _take(self, headers, body):
        content = json.loads(body)
        message_id, key, number = headers["webhook-id"], content["key"], content["number"]
        self.arrived += 1
        status = self.decide(message_id, key, number)
        if self.delay_s:
            time.sleep(self.delay_s)
        with self.lock:
            self.receipts.append(Receipt(message_id, key, number, status, time.monotonic(),
                                         headers.get("ce-source", "")))
        return status

    def accepted(self):
        """Receipts that were answered with 2xx, in their order."""
        with self.lock:
            return [receipt for receipt in self.receipts if 200 <= receipt.status < 300]
