#!/usr/bin/env python3
"""The HTTP sink and TLS: whom it trusts, and that it sends nothing to anybody else; HTTP/2. Prints TAP.

usage: test_http_tls.py SINK_DRIVER
"""
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

from misbehave import DIRECTORY, Driver, Server, case, is_it, program, run_cases, sends, until


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=DIRECTORY.name)


def path(name):
    return os.path.join(DIRECTORY.name, name)


def authority(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")


def certificate(name, signer, subject, days="2"):
    with open(path(f"{name}.ext"), "w", encoding="ascii") as out:
        out.write(f"subjectAltName={subject}\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout",
            f"{name}.key", "-out", f"{name}.csr")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial",
            "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def tls_server(name, **more):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path(f"{name}.pem"), path(f"{name}.key"))
    for key, value in more.items():
        setattr(context, key, value)
    return Server(tls=context)


def send(server, *options):
    return sends(server.url(scheme="https"), *options)


OURS = "ca-file=" + path("ca.pem")


def refused(server, *options, codes=("tls_verify",)):
    receipt = send(server, *options)
    assert receipt.fate == "down" and receipt.code in codes and not receipt.reached, receipt
    assert server.requests == []
    server.close()


@case
def who_is_trusted_gets_it():
    server = tls_server("good")
    is_it(send(server, OURS), "sent", "-")
    assert len(server.requests) == 1
    server.close()


@case
def an_unknown_authority_is_not_trusted():
    refused(tls_server("good"))
    refused(tls_server("foreign"), OURS)


@case
def another_host_is_not_trusted():
    refused(tls_server("other"), OURS)


@case
def an_expired_certificate_is_not_trusted():
    refused(tls_server("expired"), OURS)


@case
def an_old_version_is_not_spoken():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path("good.pem"), path("good.key"))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    refused(Server(tls=context), OURS, codes=("tls_handshake",))


@case
def plain_http_where_tls_is_expected():
    server = Server(lambda _, connection, __: connection.sendall(b"HTTP/1.1 204 No\r\n\r\n"))
    refused(server, OURS, codes=("tls_handshake", "connection_lost"))


@case
def a_handshake_that_breaks_off():
    refused(Server(lambda _, connection, __: connection.recv(100)), OURS, codes=("tls_handshake", "connection_lost"))


@case
def a_handshake_that_hangs():
    server = Server(lambda it, connection, __: it.ending.wait(20))
    started = time.monotonic()
    refused(server, OURS, "connect-timeout=300ms", codes=("connect_timeout",))
    assert time.monotonic() - started < 5


@case
def a_certificate_of_our_own():
    def server():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path("good.pem"), path("good.key"))
        context.load_verify_locations(path("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        return Server(tls=context)
    it = server()
    is_it(send(it, OURS, f"cert-file={path('client.pem')}", f"key-file={path('client.key')}"), "sent", "-")
    it.close()
    it = server()
    receipt = send(it, OURS)
    assert receipt.fate in ("down", "unknown") and it.requests == [], receipt
    it.close()
    it = server()
    is_it(send(it, OURS, f"cert-file={path('client.pem')}", f"key-file={path('good.key')}"), "blocked", "tls_config")
    it.close()


@case
def insecure_must_be_asked_for_and_is_told():
    server = tls_server("expired")
    driver = Driver(program(), server.url(scheme="https"), "insecure-tls=true")
    is_it(driver.one(), "sent", "-")
    assert any("not verified" in line for line in driver.logs), driver.logs
    driver.close()
    server.close()


@case
def a_new_authority_is_read_without_a_restart():
    shutil.copy(path("foreign-ca.pem"), path("changing.pem"))
    server = tls_server("good")
    driver = Driver(program(), server.url(scheme="https"), f"ca-file={path('changing.pem')}")
    is_it(driver.one(id="m0"), "down", "tls_verify")
    shutil.copy(path("ca.pem"), path("changing.pem.new"))
    os.rename(path("changing.pem.new"), path("changing.pem"))
    driver.say("reopen")
    is_it(driver.one(id="m1"), "sent", "-")
    # And back: a connection that stands is not used any more.
    shutil.copy(path("foreign-ca.pem"), path("changing.pem.new"))
    os.rename(path("changing.pem.new"), path("changing.pem"))
    driver.say("reopen")
    is_it(driver.one(id="m2"), "down", "tls_verify")
    driver.close()
    server.close()


def http2_server(*options):
    """nghttpd, over TLS or plain, on a free port, which answers for /hook; None if it is not there."""
    program_path = shutil.which("nghttpd") or shutil.which("nghttpd", path="/usr/sbin")
    if program_path is None:
        return None, 0
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with open(path("hook"), "w", encoding="ascii") as out:
        out.write("ok")
    child = subprocess.Popen([program_path, *options, "-a", "127.0.0.1", "-d", DIRECTORY.name, str(port), path("good.key"),
                              path("good.pem")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_up():
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        except OSError:
            return False
    until(is_up, "nghttpd")
    return child, port


@case
def http2_is_used_where_it_is_offered():
    child, port = http2_server()
    if child is None:
        return "nghttpd (package nghttp2-server) is not installed"
    try:
        url = f"https://127.0.0.1:{port}/hook"
        driver = Driver(program(), url, OURS)
        for i in range(200):
            driver.send(id=f"m{i}", key=f"k{i}")
        receipts = driver.wait()
        driver.close()
        assert [r.fate for r in receipts] == ["sent"] * 200, [r for r in receipts if r.fate != "sent"][:3]
        # It speaks HTTP/2 alone: with that switched off nothing goes through.
        receipt = sends(url, OURS, "http2=off", "request-timeout=2s")
        assert receipt.fate != "sent", receipt
        # A child that is killed: everything under way comes back.
        driver = Driver(program(), url, OURS)
        is_it(driver.one(), "sent", "-")
        child.kill()
        child.wait()
        assert driver.one(id="m2").fate in ("down", "unknown")
        driver.close()
    finally:
        child.kill()
        child.wait()
    return None


class Line:
    """Passes connections on to a port; `cut()` lets what is connected come to nothing, without a word to either end."""

    def __init__(self, port):
        self.to, self.age = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.to))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(source, sink, self.age), daemon=True).start()

    def copy(self, source, sink, age):
        try:
            while data := source.recv(65536):
                if age == self.age:
                    sink.sendall(data)
            if age == self.age:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        self.age += 1


@case
def a_shared_connection_that_went_dead_is_left():
    child, port = http2_server()
    if child is None:
        return "nghttpd (package nghttp2-server) is not installed"
    try:
        line = Line(port)
        driver = Driver(program(), f"https://127.0.0.1:{line.port}/hook", OURS, "request-timeout=500ms", "connections=4")
        is_it(driver.one(), "sent", "-")
        line.cut()
        assert driver.one(id="m2").fate in ("down", "unknown")
        is_it(driver.one(id="m3"), "sent", "-")
        # Where others are always under way: as many failures as there can be at once.
        line.cut()
        for i in range(16):
            driver.send(id=f"n{i}", key=f"k{i}")
        fates = [r.fate for r in driver.wait()]
        assert fates.count("sent") >= 8, fates
        driver.close()
    finally:
        child.kill()
        child.wait()
    return None


@case
def http2_over_plain_http_where_it_is_asked_for():
    child, port = http2_server("--no-tls")
    if child is None:
        return "nghttpd (package nghttp2-server) is not installed"
    try:
        driver = Driver(program(), f"http://127.0.0.1:{port}/hook", "http2=always")
        is_it(driver.one(), "sent", "-")
        for i in range(50):
            driver.send(id=f"m{i}", key=f"k{i}")
        receipts = driver.wait()
        driver.close()
        assert [r.fate for r in receipts[-50:]] == ["sent"] * 50, [r for r in receipts if r.fate != "sent"][:3]
    finally:
        child.kill()
        child.wait()
    return None


authority("ca")
authority("foreign-ca")
certificate("good", "ca", "IP:127.0.0.1")
certificate("client", "ca", "DNS:client")
certificate("foreign", "foreign-ca", "IP:127.0.0.1")
certificate("other", "ca", "DNS:elsewhere.example")
certificate("expired", "ca", "IP:127.0.0.1", days="-1")
sys.exit(run_cases())
