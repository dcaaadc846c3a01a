"""A recipient that does what it is told, byte by byte, and a driver for the HTTP sink. Standard library alone."""
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

DEADLINE_S = 30
DIRECTORY = tempfile.TemporaryDirectory(prefix="outbox-http-")


class Request:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.headers = [(name, value.strip()) for name, value in (line.split(":", 1) for line in lines[1:])]
        self.body = body
        self.raw = head

    def get(self, name):
        found = [value for each, value in self.headers if each.lower() == name]
        return found[0] if found else None


def read_request(connection, kept=b""):
    """The next whole request, or None when the other side has gone; and what was read past it."""
    data = kept
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None, b""
        data += more
    head, data = data.split(b"\r\n\r\n", 1)
    request = Request(head, b"")
    size = int(request.get("content-length") or 0)
    while len(data) < size:
        more = connection.recv(65536)
        if not more:
            return None, b""
        data += more
    request.body = data[:size]
    return request, data[size:]


def answer(status, headers=(), body=b"", reason="Said"):
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}"] + [f"{n}: {v}" for n, v in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Server:
    """Calls `behave(connection, number)` in a thread of its own for each connection; `requests` has what arrived whole."""

    def __init__(self, behave=None, status=204, tls=None, backlog=64):
        self.requests, self.connections = [], 0
        self.behave, self.status, self.tls = behave, status, tls
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.ending = threading.Event()
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path="/hook", scheme="http", host="127.0.0.1"):
        return f"{scheme}://{host}:{self.port}{path}"

    def _accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection, number):
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self.open.append(connection)
            if self.behave is not None:
                self.behave(self, connection, number)
            else:
                self.plain(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def plain(self, connection, answers=None):
        """Answers each request: by the function `answers(request)`, or with the server's status."""
        kept = b""
        while True:
            request, kept = read_request(connection, kept)
            if request is None:
                return
            self.requests.append(request)
            connection.sendall(answers(request) if answers else answer(self.status))

    def close(self):
        self.ending.set()
        self.listener.close()
        for connection in self.open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Receipt:
    def __init__(self, line):
        self.id, self.fate, self.code, reached, after, self.text = line.split(" ", 5)
        self.reached, self.after_ms = reached == "1", int(after)

    def __repr__(self):
        return f"{self.id}: {self.fate} {self.code} reached={self.reached} after={self.after_ms} {self.text}"


def coded(value):
    if value is None:
        return "-"
    value = value.encode() if isinstance(value, str) else value
    return value.hex() or "."


class Driver:
    def __init__(self, program, url, *options, env=None):
        self.child = subprocess.Popen([program, url, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      env=env)
        self.sent, self.logs, self.refused = 0, [], None

    def say(self, line):
        try:
            self.child.stdin.write(line.encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass

    def send(self, id="m1", payload=b'{"n":1}', key=None, type=None, headers=None, lane=0, attempt=1):
        self.say(f"send {coded(id)} {coded(key)} {lane} {attempt} {coded(type)} {coded(headers)} {coded(payload)}")
        self.sent += 1

    def wait(self, count=None):
        """The receipts up to the `count`-th one in all (default: of all that was sent)."""
        self.say(f"wait {self.sent if count is None else count}")
        receipts = []
        for line in self.child.stdout:
            line = line.decode(errors="strict").rstrip("\n")
            if line.startswith("waited "):
                break
            if line.startswith("log "):
                self.logs.append(line)
            elif line.startswith("open "):
                self.refused = line
            else:
                receipts.append(Receipt(line))
        return receipts

    def one(self, **message):
        self.send(**message)
        receipts = self.wait()
        assert len(receipts) == 1, (receipts, self.refused, self.logs)
        return receipts[0]

    def close(self):
        try:
            self.child.stdin.close()
        except BrokenPipeError:  # it ended by itself, with a line of ours unread
            pass
        rest = self.child.stdout.read().decode()
        status = self.child.wait(DEADLINE_S)
        assert status == 0, f"the driver ended with {status}"
        return rest


def until(condition, what):
    """Waits for a condition, with a deadline."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.005)

CASES = []


def case(function):
    CASES.append(function)
    return function


def sends(server, *options, env=None, **message):
    """Sends one message; returns its receipt."""
    driver = Driver(program(), server if isinstance(server, str) else server.url(), *options, env=env)
    try:
        return driver.one(**message)
    finally:
        driver.close()


def answers(*chunks, then="close", wait=0.0):
    """A behaviour: reads one request, writes the chunks, and closes, hangs, or goes on."""
    def behave(server, connection, _):
        request, _ = read_request(connection)
        server.requests.append(request)
        for chunk in chunks:
            connection.sendall(chunk)
            time.sleep(wait)
        if then == "hang":
            server.ending.wait(20)
    return behave


def is_it(receipt, fate, code, **more):
    assert (receipt.fate, receipt.code) == (fate, code), receipt
    for name, value in more.items():
        assert getattr(receipt, name) == value, receipt


def program():
    return sys.argv[1]


def secret_file(text, mode=0o600):
    handle, path = tempfile.mkstemp(dir=DIRECTORY.name)
    os.write(handle, text.encode())
    os.close(handle)
    os.chmod(path, mode)
    return path


def run_cases():
    """Runs all cases and prints TAP; the process's exit status. A case that returns a text was skipped for that reason."""
    print(f"1..{len(CASES)}")
    failed = 0
    for number, function in enumerate(CASES, 1):
        name = function.__name__
        try:
            skipped = function()
            print(f"ok {number} - {name}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {number} - {name}", flush=True)
    DIRECTORY.cleanup()
    return 1 if failed else 0
