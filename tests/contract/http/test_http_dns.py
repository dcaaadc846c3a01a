#!/usr/bin/env python3
"""The HTTP sink and name servers that misbehave: in a network namespace of its own, with a resolver that does what it is told, so that
nothing leaves the machine. Prints TAP.

usage: test_http_dns.py SINK_DRIVER
"""
import fcntl
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

from misbehave import DEADLINE_S, DIRECTORY, Driver, case, is_it, program, read_request, answer, run_cases, sends

INSIDE = "OB_TEST_INSIDE"
NAME = "shop.test"
A, AAAA = 1, 28


class Resolver:
    """A name server on 127.0.0.1. `says(type)` gives the addresses, or "silence", "servfail" or "garbage"."""

    def __init__(self):
        self.says, self.asked = lambda kind: [], 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            query, client = self.socket.recvfrom(4096)
            kind = struct.unpack("!H", query[query.index(b"\0", 12) + 1:][:2])[0]
            self.asked += 1
            said = self.says(kind)
            if said != "silence":
                self.socket.sendto(self._answer(query, kind, said), client)

    @staticmethod
    def _answer(query, kind, said):
        if said == "garbage":
            return query[:2] + b"\xff" * 30
        question = query[12:query.index(b"\0", 12) + 5]
        addresses = [] if said == "servfail" or kind != A else said
        head = query[:2] + struct.pack("!HHHHH", 0x8182 if said == "servfail" else 0x8180, 1, len(addresses), 0, 0)
        return head + question + b"".join(b"\xc0\x0c" + struct.pack("!HHIH", A, 1, 0, 4) + socket.inet_aton(it) for it in addresses)


class Recipient:
    """Answers 204 on one address of this machine."""

    def __init__(self, address, port=0):
        self.bodies, self.open = [], []
        self.listener = socket.create_server((address, port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        kept = b""
        try:
            while True:
                request, kept = read_request(connection, kept)
                if request is None:
                    return
                self.bodies.append(request.body)
                connection.sendall(answer(204))
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            connection.close()


def url(port=80):
    return f"http://{NAME}:{port}/"


@case
def a_name_server_that_does_not_answer():
    resolver.says = lambda kind: "silence"
    began = time.monotonic()
    driver = Driver(program(), url(), "connect-timeout=300ms", "request-timeout=20s")
    is_it(driver.one(), "down", "connect_timeout", reached=False)
    assert time.monotonic() - began < 3, "the connection's time does not count for the name"
    # The end does not wait for a name server.
    began = time.monotonic()
    driver.close()
    assert time.monotonic() - began < 3, "close waits for the name server"


@case
def a_name_server_that_gives_up():
    resolver.says = lambda kind: "silence"
    is_it(sends(url(), "connect-timeout=20s", "request-timeout=20s"), "down", "dns", reached=False)
    resolver.says = lambda kind: "servfail"
    is_it(sends(url()), "down", "dns", reached=False)


@case
def a_name_without_an_address():
    resolver.says = lambda kind: []
    is_it(sends(url()), "down", "dns", reached=False)


@case
def an_answer_that_is_none():
    resolver.says = lambda kind: "garbage"
    is_it(sends(url(), "connect-timeout=20s", "request-timeout=20s"), "down", "dns", reached=False)


@case
def the_second_address_is_tried_when_the_first_refuses():
    recipient = Recipient("127.0.0.3")
    resolver.says = lambda kind: ["127.0.0.2", "127.0.0.3"]
    is_it(sends(url(recipient.port)), "sent", "-")
    recipient.close()


@case
def a_recipient_that_moves_is_followed():
    first = Recipient("127.0.0.2")
    port = first.port
    resolver.says = lambda kind: ["127.0.0.2"]
    driver = Driver(program(), url(port))
    is_it(driver.one(id="m1"), "sent", "-")
    # It moves: the old place is closed first, so there is a moment in which nobody answers.
    first.close()
    is_it(driver.one(id="m2"), "down", "connect_refused", reached=False)
    second = Recipient("127.0.0.3", port)
    resolver.says = lambda kind: ["127.0.0.3"]
    end, tries = time.monotonic() + DEADLINE_S, 2
    while True:
        tries += 1
        receipt = driver.one(id=f"m{tries}")
        if receipt.fate == "sent":
            break
        is_it(receipt, "down", "connect_refused", reached=False)
        assert time.monotonic() < end, f"the old address is still asked after {tries} tries"
        time.sleep(0.05)
    assert len(second.bodies) == 1
    driver.close()
    second.close()


@case
def addresses_that_change_with_each_answer():
    here, there = Recipient("127.0.0.2"), None
    there = Recipient("127.0.0.3", here.port)
    flips = iter(range(10 ** 6))
    resolver.says = lambda kind: [f"127.0.0.{2 + next(flips) % 2}"]
    for _ in range(6):
        is_it(sends(url(here.port)), "sent", "-")
    assert len(here.bodies) + len(there.bodies) == 6
    here.close()
    there.close()


# ---- the world of this test

def bind_over(path, text):
    """Another content for a file of the system, for this namespace alone."""
    made = pathlib.Path(DIRECTORY.name) / path.strip("/").replace("/", "-")
    made.write_text(text)
    subprocess.run(["mount", "--bind", made, os.path.realpath(path)], check=True)


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, 0x8913, request))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


def inside():
    """The command that runs this very script in namespaces of its own, or why there is none."""
    unshare = ["unshare", "--net", "--mount"] + ([] if os.getuid() == 0 else ["--user", "--map-root-user"])
    if shutil.which("unshare") is None:
        return None, "unshare is not installed"
    done = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    return (unshare, None) if done.returncode == 0 else (None, f"no network namespace: {done.stderr.strip()}")


def main():
    if INSIDE not in os.environ:
        unshare, reason = inside()
        if unshare is None:
            print(f"1..0 # SKIP {reason}")
            return 0
        return subprocess.run([*unshare, sys.executable, *sys.argv], env=dict(os.environ, **{INSIDE: "1"}), check=False).returncode
    loopback_up()
    bind_over("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    bind_over("/etc/nsswitch.conf", "hosts: files dns\n")
    global resolver  # made once there is a network to make it in
    resolver = Resolver()
    return run_cases()


if __name__ == "__main__":
    sys.exit(main())
