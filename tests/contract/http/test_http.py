#!/usr/bin/env python3
"""The HTTP sink against recipients that misbehave: what each answer, and the lack of one, comes to. Prints TAP.

usage: test_http.py SINK_DRIVER
"""
import email.utils
import gzip
import socket
import sys
import threading
import time

from misbehave import DEADLINE_S, Driver, Server, answer, answers, case, is_it, program, read_request, run_cases, secret_file, sends, until


# ---- what each status means

@case
def statuses_have_their_fates():
    fates = {"sent": [200, 201, 202, 204, 299],
             "blocked": [300, 301, 302, 304, 307, 308, 401, 402, 403, 404, 405, 407, 410, 426, 501, 505, 511],
             "retry": [408, 409, 421, 423, 424, 425, 500, 504, 507, 599],
             "down": [429, 502, 503],
             "reject": [400, 406, 411, 413, 414, 415, 418, 422, 431, 451, 499]}
    server = Server()
    server.behave = lambda it, connection, _: it.plain(connection, lambda r: answer(int(r.get("ce-type"))))
    driver = Driver(program(), server.url())
    for fate, statuses in fates.items():
        for status in statuses:
            receipt = driver.one(id=f"m{status}", type=str(status))
            is_it(receipt, fate, "-" if fate == "sent" else f"http_{status}")
    driver.close()
    server.close()


@case
def statuses_can_be_laid_elsewhere():
    server = Server()
    server.behave = lambda it, connection, _: it.plain(connection, lambda r: answer(int(r.get("ce-type"))))
    driver = Driver(program(), server.url(), "down-statuses=5xx", "retry-statuses=404,410-411", "reject-statuses=401",
                    "blocked-statuses=422")
    for status, fate in ((500, "down"), (599, "down"), (404, "retry"), (410, "retry"), (411, "retry"), (401, "reject"),
                         (422, "blocked"), (403, "blocked")):
        is_it(driver.one(type=str(status)), fate, f"http_{status}")
    driver.close()
    server.close()


@case
def wrong_status_options_are_refused():
    for value in ("200", "2xx", "600", "abc", "500-", "503-500", "99"):
        driver = Driver(program(), "http://127.0.0.1:1/", f"down-statuses={value}")
        driver.wait()
        driver.close()
        assert driver.refused is not None and "down-statuses" in driver.refused, (value, driver.refused)


@case
def retry_after_is_read_and_clamped():
    def dated(seconds):
        return email.utils.formatdate(time.time() + seconds, usegmt=True)

    values = [("7", 7000, 7000), ("0", 0, 0), ("-5", 0, 0), ("99999999999999999999", 60000, 60000), ("86400", 60000, 60000),
              (dated(45), 5000, 46000), (dated(-3600), 0, 0), (dated(999999), 60000, 60000), ("soon", 0, 0), ("", 0, 0),
              ("1e3", 0, 0), ("  12  ", 12000, 12000), ("7" * 200, 0, 60000)]
    for value, low, high in values:
        for status, fate in ((429, "down"), (503, "down"), (500, "retry")):
            server = Server(answers(answer(status, [("retry-AFTER", value)])))
            receipt = sends(server, "retry-after-max=60s")
            server.close()
            is_it(receipt, fate, f"http_{status}")
            assert low <= receipt.after_ms <= high, (value, receipt)


@case
def the_answer_is_shown_cleaned_and_cut():
    server = Server(answers(answer(422, body=b"bad \x1b[31mthing\x00\xff here\r\nsecond line" + b"x" * 5000)))
    receipt = sends(server)
    server.close()
    is_it(receipt, "reject", "http_422")
    assert "422" in receipt.text and "second" not in receipt.text and "\x1b" not in receipt.text, receipt
    assert len(receipt.text) < 100


@case
def an_echo_of_the_token_is_not_shown():
    token = "s3cr3t-t0ken-abc"
    server = Server(answers(answer(403, body=b"you sent Bearer " + token.encode())))
    receipt = sends(server, f"bearer-token-file={secret_file(token)}")
    server.close()
    is_it(receipt, "blocked", "http_403")
    assert token not in receipt.text
    assert server.requests[0].get("authorization") == f"Bearer {token}"


# ---- recipients that misbehave

@case
def nobody_listens():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    is_it(sends(f"http://127.0.0.1:{port}/"), "down", "connect_refused", reached=False)


@case
def a_name_that_is_none():
    is_it(sends("http://no-such-host.invalid/", "connect-timeout=10s"), "down", "dns", reached=False)


@case
def a_connection_that_does_not_come_about():
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    started = time.monotonic()
    receipt = sends(f"http://127.0.0.1:{listener.getsockname()[1]}/", "connect-timeout=300ms", "request-timeout=10s")
    assert time.monotonic() - started < 5
    is_it(receipt, "down", "connect_timeout", reached=False)
    for each in fillers + [listener]:
        each.close()


@case
def a_recipient_that_hangs():
    server = Server(answers(then="hang"))
    started = time.monotonic()
    receipt = sends(server, "request-timeout=300ms")
    assert 0.25 < time.monotonic() - started < 5
    server.close()
    is_it(receipt, "unknown", "timeout")


@case
def garbage_and_other_protocols():
    for garbage in (b"\x00\xff\x00 garbage\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"<html>no head</html>", b"HTTP/7 what\r\n\r\n",
                    b"HTTP/1.1 abc\r\n\r\n"):
        server = Server(answers(garbage))
        receipt = sends(server)
        server.close()
        assert receipt.fate in ("down", "unknown", "retry") and receipt.fate != "sent", (garbage, receipt)


@case
def closed_before_an_answer():
    server = Server(answers())
    receipt = sends(server)
    is_it(receipt, "down", "connection_lost", reached=True)
    server.close()


@case
def closed_at_once():
    server = Server(lambda *_: None)
    receipt = sends(server)
    server.close()
    assert receipt.fate == "down" and receipt.code == "connection_lost", receipt


@case
def closed_in_the_middle_of_a_large_request():
    def behave(_, connection, __):
        connection.recv(1000)
    server = Server(behave)
    receipt = sends(server, payload=b"x" * 8000000)
    server.close()
    is_it(receipt, "down", "connection_lost", reached=True)


@case
def an_answer_while_the_request_is_still_being_sent():
    def behave(server, connection, _):
        connection.recv(1000)
        connection.sendall(answer(413, [("Connection", "close")]))
        end = time.monotonic() + 5
        while time.monotonic() < end and connection.recv(1 << 20):
            pass
    server = Server(behave)
    receipt = sends(server, payload=b"x" * 4000000)
    server.close()
    is_it(receipt, "reject", "http_413")


@case
def a_success_that_breaks_off_is_not_believed():
    server = Server(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"))
    receipt = sends(server)
    is_it(receipt, "unknown", "answer_cut")
    server.close()
    server = Server(answers(b"HTTP/1.1 422 No\r\nContent-Length: 100\r\n\r\nonly this"))
    is_it(sends(server), "reject", "http_422")
    server.close()


@case
def an_answer_byte_by_byte_is_given_up():
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"
    server = Server(answers(*[bytes([b]) for b in text + b"x" * 10000], wait=0.01))
    started = time.monotonic()
    receipt = sends(server, "request-timeout=700ms")
    assert time.monotonic() - started < 5
    server.close()
    is_it(receipt, "unknown", "timeout")


@case
def a_slow_head_is_given_up():
    server = Server(answers(*[bytes([b]) for b in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000], wait=0.01))
    receipt = sends(server, "request-timeout=500ms")
    server.close()
    is_it(receipt, "unknown", "timeout")


@case
def the_low_speed_limit_ends_a_trickle():
    server = Server(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", *[b"x"] * 400, wait=0.05))
    started = time.monotonic()
    receipt = sends(server, "low-speed-limit=1000", "low-speed-time=1s", "request-timeout=20s")
    assert time.monotonic() - started < 10
    server.close()
    is_it(receipt, "unknown", "timeout")


@case
def an_endless_body_is_cut():
    for status, fate, code in ((200, "sent", "-"), (500, "retry", "http_500")):
        def behave(server, connection, _, status=status):
            read_request(connection)
            connection.sendall(f"HTTP/1.1 {status} OK\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            server.chunks = 0
            while True:
                connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                server.chunks += 1
        server = Server(behave)
        started = time.monotonic()
        receipt = sends(server)
        assert time.monotonic() - started < 5
        server.close()
        is_it(receipt, fate, code)


@case
def a_continue_and_early_hints_are_passed_over():
    server = Server(answers(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", answer(202)))
    is_it(sends(server), "sent", "-")
    server.close()
    assert server.requests[0].get("expect") is None


@case
def nothing_is_waited_for_before_a_large_body():
    server = Server()
    started = time.monotonic()
    is_it(sends(server, payload=b"x" * 3000000), "sent", "-")
    assert time.monotonic() - started < 5
    server.close()
    assert server.requests[0].get("expect") is None


@case
def a_flood_of_1xx_is_ended():
    def behave(_, connection, __):
        read_request(connection)
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100)
    server = Server(behave)
    receipt = sends(server, "request-timeout=20s")
    server.close()
    is_it(receipt, "down", "bad_answer", reached=True)


@case
def a_flood_of_headers_is_ended():
    def behave(_, connection, __):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Flood: " + b"y" * 1000 + b"\r\n")
    server = Server(behave)
    receipt = sends(server, "request-timeout=20s")
    server.close()
    is_it(receipt, "down", "bad_answer", reached=True)


@case
def compressed_answers_are_not_unpacked():
    bomb = gzip.compress(b"a" * 50000000)
    server = Server(answers(answer(422, [("Content-Encoding", "gzip")], bomb)))
    receipt = sends(server)
    server.close()
    is_it(receipt, "reject", "http_422")
    assert "aaaa" not in receipt.text, receipt
    assert server.requests[0].get("accept-encoding") is None


@case
def redirects_are_not_followed():
    other = Server()
    for status in (301, 302, 303, 307, 308):
        server = Server(answers(answer(status, [("Location", other.url())])))
        is_it(sends(server), "blocked", f"http_{status}")
        server.close()
    assert other.connections == 0
    other.close()


@case
def a_connection_that_was_closed_while_idle():
    def behave(server, connection, _):
        request, _ = read_request(connection)
        server.requests.append(request)
        connection.sendall(answer(204))
    server = Server(behave)
    driver = Driver(program(), server.url(), "connections=1")
    for i in range(5):
        is_it(driver.one(id=f"m{i}"), "sent", "-")
    driver.close()
    server.close()
    assert [r.get("webhook-id") for r in server.requests] == [f"m{i}" for i in range(5)]


@case
def what_a_kept_connection_loses_is_sent_once_more():
    # As many connections are kept as there are messages; then each one that gets a request closes.
    together, answering = threading.Barrier(4), threading.Event()
    answering.set()

    def behave(server, connection, _):
        kept = b""
        while True:
            request, kept = read_request(connection, kept)
            if request is None:
                return
            server.requests.append(request)
            if not answering.is_set():
                return
            together.wait(DEADLINE_S)
            connection.sendall(answer(204))
    server = Server(behave)
    driver = Driver(program(), server.url(), "connections=4")
    for i in range(4):
        driver.send(id=f"m{i}")
    assert [r.fate for r in driver.wait()] == ["sent"] * 4 and server.connections == 4
    answering.clear()
    receipt = driver.one(id="poison")
    is_it(receipt, "down", "connection_lost", reached=True)
    assert "without an answer" in receipt.text, receipt
    driver.close()
    server.close()
    assert [r.get("webhook-id") for r in server.requests[4:]] == ["poison"] * 2


@case
def a_connection_is_used_again():
    server = Server()
    driver = Driver(program(), server.url(), "connections=1")
    for i in range(20):
        is_it(driver.one(id=f"m{i}"), "sent", "-")
    driver.close()
    server.close()
    assert server.connections == 1


@case
def cancel_gives_back_what_is_under_way():
    server = Server(answers(then="hang"))
    driver = Driver(program(), server.url(), "connections=2", "request-timeout=60s")
    driver.send(id="sent")
    driver.say("poll")
    until(lambda: server.requests, "the request")
    driver.send(id="held")
    driver.say("cancel")
    receipts = {r.id: (r.fate, r.code) for r in driver.wait()}
    driver.close()
    server.close()
    assert receipts == {"sent": ("unknown", "cancelled"), "held": ("returned", "cancelled")}, receipts


sys.exit(run_cases())
