#!/usr/bin/env python3
"""What the HTTP sink sends: fields and bodies of each format, signatures, batches, and what it refuses to send. Prints TAP.

usage: test_http_sent.py SINK_DRIVER
"""
import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time

from misbehave import Driver, Server, answer, case, is_it, program, run_cases, secret_file, sends, until


# ---- what is sent

@case
def cloudevents_in_binary_mode():
    server = Server()
    receipt = sends(server, "source=/shop/ä", id="o-1", key="Kunde \"7\" 100%\r\nX-Evil: 1", type="placed",
                    headers='{"traceparent":"00-abc","X-Empty":""}', payload=b"\x00\xffbytes\r\n")
    is_it(receipt, "sent", "-")
    server.close()
    request = server.requests[0]
    assert request.line == "POST /hook HTTP/1.1"
    expected = {"ce-specversion": "1.0", "ce-id": "o-1", "ce-source": "/shop/%C3%A4", "ce-type": "placed",
                "ce-time": "2026-01-01T00:00:00.000Z", "ce-topic": "orders",
                "ce-subject": "Kunde%20%227%22%20100%25%0D%0AX-Evil:%201",
                "ce-partitionkey": "Kunde%20%227%22%20100%25%0D%0AX-Evil:%201", "webhook-id": "o-1", "traceparent": "00-abc",
                "x-empty": "", "content-type": "application/json", "x-evil": None, "webhook-signature": None}
    for name, value in expected.items():
        assert request.get(name) == value, (name, request.headers)
    assert abs(int(request.get("webhook-timestamp")) - time.time()) < 60
    assert request.body == b"\x00\xffbytes\r\n"


@case
def a_tombstone_and_an_empty_payload():
    server = Server()
    driver = Driver(program(), server.url())
    is_it(driver.one(id="tombstone", payload=None), "sent", "-")
    is_it(driver.one(id="empty", payload=b""), "sent", "-")
    driver.close()
    server.close()
    tombstone, empty = server.requests
    assert tombstone.body == b"" and tombstone.get("content-type") is None
    assert empty.body == b"" and empty.get("content-type") == "application/json"


@case
def structured_mode():
    server = Server()
    driver = Driver(program(), server.url(), "format=cloudevents-structured")
    payloads = [b'{"n": 12345678901234567890.10, "a":[ ]}', b"not json", b"\xff\x00", None, b'"x"']
    for i, payload in enumerate(payloads):
        is_it(driver.one(id=f"m{i}", payload=payload, key="k\n1", headers='{"X-A":"b"}'), "sent", "-")
    is_it(driver.one(id="bad", key=b"\xff"), "reject", "bad_utf8")
    driver.close()
    server.close()
    for request, payload in zip(server.requests, payloads):
        event = json.loads(request.body)
        assert request.get("content-type") == "application/cloudevents+json" and request.get("x-a") == "b"
        assert event["specversion"] == "1.0" and event["subject"] == event["partitionkey"] == "k\n1"
        if payload is None:
            assert "data" not in event and "data_base64" not in event and "datacontenttype" not in event
        elif "data" in event:
            assert b'"data":' + payload + b"}" in request.body
        else:
            assert base64.b64decode(event["data_base64"]) == payload
    assert len(server.requests) == len(payloads)


@case
def raw():
    server = Server()
    is_it(sends(server, "format=raw", "content-type=text/plain", key="a b", type="t", payload=b"hello"), "sent", "-")
    server.close()
    request = server.requests[0]
    assert request.body == b"hello" and request.get("content-type") == "text/plain" and request.get("ce-id") is None
    assert (request.get("x-outbox-topic"), request.get("x-outbox-key"), request.get("x-outbox-type")) == ("orders", "a%20b", "t")
    assert request.get("webhook-id") == "m1"


@case
def one_user_agent_is_told():
    """The operator's word counts for more than ours, and that of the message for most: a second one would make it malformed."""
    server = Server()
    for option, headers, want in (([], None, "outbox"), (["header=user-agent: shop/1.0"], None, "shop/1.0"),
                                  ([], '{"User-Agent":"theirs"}', "theirs"),
                                  (["header=User-Agent: shop/1.0"], '{"USER-AGENT":"theirs"}', "theirs")):
        is_it(sends(server, *option, **({"headers": headers} if headers else {})), "sent", "-")
        assert [value for name, value in server.requests[-1].headers if name.lower() == "user-agent"] == [want]
    server.close()


@case
def what_cannot_be_a_header_is_rejected_and_never_sent():
    bad = [dict(id="a.b"), dict(id="a b"), dict(id="a\r\nX: y"), dict(id=""), dict(id="ä"), dict(id="x" * 256),
           dict(headers='{"a":"b\\r\\nEvil: 1"}'), dict(headers='{"a\\r\\nEvil":"b"}'), dict(headers='{"a":"b\\u0000c"}'),
           dict(headers='{"a b":"c"}'), dict(headers='{"":"c"}'), dict(headers='{"a:":"c"}'), dict(headers='{"Content-Length":"9"}'),
           dict(headers='{"transfer-encoding":"chunked"}'), dict(headers='{"HOST":"x"}'), dict(headers='{"connection":"close"}'),
           dict(headers='{"ce-id":"other"}'), dict(headers='{"Webhook-Signature":"v1,x"}'), dict(headers='{"X-Outbox-Key":"k"}'), dict(headers='{"authorization":"x"}'),
           dict(headers='{"proxy-authorization":"x"}'), dict(headers="[]"), dict(headers="nonsense"), dict(headers='{"a":1}'),
           dict(headers=json.dumps({f"h{i}": "v" for i in range(200)}))]
    server = Server()
    driver = Driver(program(), server.url())
    for each in bad:
        driver.send(**each)
        driver.say("poll")
    receipts = driver.wait()
    assert [r.fate for r in receipts] == ["reject"] * len(bad), receipts
    assert server.requests == []
    is_it(driver.one(id="good"), "sent", "-")
    driver.close()
    server.close()
    assert len(server.requests) == 1


@case
def a_message_that_is_too_large_is_rejected():
    server = Server()
    driver = Driver(program(), server.url(), "message-bytes-max=10")
    is_it(driver.one(payload=b"x" * 10), "sent", "-")
    is_it(driver.one(payload=b"x" * 11), "reject", "too_large")
    driver.close()
    server.close()


@case
def configured_headers_and_basic_authorization():
    server = Server()
    path = secret_file("X-Api-Key: k1, k2\n\nAccept: text/plain\n")
    url = f"http://us%40er:p%3Aw@127.0.0.1:{server.port}/hook?a=b#frag"
    is_it(sends(url, "header=X-One: 1", f"header-file={path}"), "sent", "-")
    server.close()
    request = server.requests[0]
    assert request.line == "POST /hook?a=b HTTP/1.1", request.line
    assert request.get("authorization") == "Basic " + base64.b64encode(b"us@er:p:w").decode()
    assert request.get("x-one") == "1" and request.get("x-api-key") == "k1, k2"
    assert [v for n, v in request.headers if n.lower() == "accept"] == ["text/plain"]


@case
def what_is_configured_wrong_is_refused_at_open():
    good = secret_file("whsec_" + base64.b64encode(b"k" * 24).decode())
    wrong = [("ftp://127.0.0.1/",), ("http:///x",), ("http://127.0.0.1:99999/",), ("http://127.0.0.1/a b",),
             ("http://127.0.0.1/", "header=nonsense"), ("http://127.0.0.1/", "header=Content-Length: 5"),
             ("http://127.0.0.1/", "header=ce-id: 5"), ("http://127.0.0.1/", "secret-file=/nonexistent"),
             ("http://127.0.0.1/", f"secret-file={secret_file('whsec_AAAA')}"),
             ("http://127.0.0.1/", f"secret-file={secret_file('hunter2')}"),
             ("http://127.0.0.1/", f"secret-file={secret_file(open(good).read(), 0o644)}"),
             ("http://127.0.0.1/", "batch=10", "format=raw"), ("http://127.0.0.1/", "ca-file=/nonexistent")]
    for each in wrong:
        driver = Driver(program(), *each)
        driver.wait()
        driver.close()
        assert driver.refused is not None, each
        assert "hunter2" not in driver.refused
    lines = secret_file("X-One: 1\n\nhunter2\n")
    for option, says in ((f"header-file={lines}", f"{lines}: line 3: "),
                         (f"key-file={secret_file('key', 0o644)}", "others may read")):
        driver = Driver(program(), "https://127.0.0.1/", option)
        driver.wait()
        driver.close()
        assert driver.refused is not None and says in driver.refused and "hunter2" not in driver.refused, driver.refused
    driver = Driver(program(), "http://127.0.0.1/", f"secret-file={good}")
    driver.wait()
    driver.close()
    assert driver.refused is None, driver.refused


@case
def the_environment_chooses_no_proxy():
    proxy = Server()
    env = dict(os.environ, http_proxy=proxy.url(), HTTP_PROXY=proxy.url(), ALL_PROXY=proxy.url(), all_proxy=proxy.url())
    server = Server()
    is_it(sends(server, env=env), "sent", "-")
    assert proxy.connections == 0
    is_it(sends(server, f"proxy={proxy.url('')}"), "sent", "-")
    assert proxy.requests[0].line.startswith("POST http://127.0.0.1")
    # Nor does it take one away.
    env = dict(os.environ, no_proxy="*", NO_PROXY="*")
    is_it(sends("http://127.0.0.1:1/", f"proxy={proxy.url('')}", env=env), "sent", "-")
    assert len(proxy.requests) == 2
    proxy.close()
    server.close()


# ---- secrets

def signature_of(key, request):
    content = f"{request.get('webhook-id')}.{request.get('webhook-timestamp')}.".encode() + request.body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


@case
def requests_are_signed_with_each_secret():
    keys = [bytes(range(i, i + 32)) for i in (1, 50)]
    paths = [secret_file("whsec_" + base64.b64encode(key).decode() + "\n") for key in keys]
    server = Server()
    driver = Driver(program(), server.url(), *[f"secret-file={path}" for path in paths])
    is_it(driver.one(payload=b'{"a":1}'), "sent", "-")
    is_it(driver.one(id="m2", payload=None), "sent", "-")
    driver.close()
    server.close()
    for request in server.requests:
        assert request.get("webhook-signature") == " ".join(signature_of(key, request) for key in keys)


@case
def files_that_change_are_read_again():
    path = secret_file("first-token")
    server = Server()
    driver = Driver(program(), server.url(), f"bearer-token-file={path}")
    is_it(driver.one(id="m0"), "sent", "-")
    other = secret_file("second-token")
    os.rename(other, path)
    driver.say("reopen")
    is_it(driver.one(id="m1"), "sent", "-")
    assert [r.get("authorization") for r in server.requests] == ["Bearer first-token", "Bearer second-token"]
    # Without a reopen it is noticed too, after a second at most.
    other = secret_file("third-token")
    os.rename(other, path)
    sent = [2]

    def has_changed():
        driver.one(id=f"m{sent[0]}")
        sent[0] += 1
        time.sleep(0.1)
        return server.requests[-1].get("authorization") == "Bearer third-token"
    until(has_changed, "the third token")
    # What cannot be read leaves the last one in force, and is told.
    os.chmod(path, 0o644)
    os.utime(path, (1, 1))
    driver.say("reopen")
    driver.one(id="last")
    assert server.requests[-1].get("authorization") == "Bearer third-token"
    assert any("goes on" in line for line in driver.logs), driver.logs
    driver.close()
    server.close()


# ---- batches

def ids_of(request):
    return [event["id"] for event in json.loads(request.body)]


@case
def a_batch_holds_several():
    server = Server()
    driver = Driver(program(), server.url(), "batch=10", "connections=2", "batch-linger=60s")
    for i in range(25):
        driver.send(id=f"m{i}", key=f"k{i % 3}", lane=1 + i % 3, headers='{"traceparent":"00-a"}')
    driver.say("flush")
    receipts = driver.wait()
    driver.close()
    server.close()
    assert [r.fate for r in receipts] == ["sent"] * 25
    assert sorted(sum((ids_of(r) for r in server.requests), [])) == sorted(f"m{i}" for i in range(25))
    for request in server.requests:
        assert request.get("content-type") == "application/cloudevents-batch+json"
        assert request.get("webhook-id").startswith("batch_")
        assert all(event["traceparent"] == "00-a" for event in json.loads(request.body))
    assert len({r.get("webhook-id") for r in server.requests}) == len(server.requests)
    for lane in range(3):
        order = [int(i[1:]) for r in server.requests for i in ids_of(r) if int(i[1:]) % 3 == lane]
        assert order == sorted(order), order


@case
def a_batch_goes_after_its_linger():
    server = Server()
    driver = Driver(program(), server.url(), "batch=10", "batch-linger=200ms")
    started = time.monotonic()
    is_it(driver.one(), "sent", "-")
    assert 0.15 < time.monotonic() - started < 5
    driver.close()
    server.close()


@case
def one_that_is_refused_is_found_and_its_neighbours_arrive():
    server = Server()

    def say(request):
        return answer(422, body=b"m3 is bad") if "m3" in ids_of(request) else answer(204)
    server.behave = lambda it, connection, _: it.plain(connection, say)
    driver = Driver(program(), server.url(), "batch=10", "connections=1", "batch-linger=60s")
    for i in range(6):
        driver.send(id=f"m{i}", lane=0)
    driver.say("flush")
    receipts = driver.wait()
    assert {r.fate for r in receipts} == {"retry"} and {r.code for r in receipts} == {"http_422"}, receipts
    for i in range(6):
        driver.send(id=f"m{i}", lane=0, attempt=2)
    driver.say("flush")
    receipts = {r.id: r.fate for r in driver.wait()}
    driver.close()
    server.close()
    assert receipts == {f"m{i}": "reject" if i == 3 else "sent" for i in range(6)}, receipts


@case
def those_behind_a_failure_are_returned():
    server = Server()
    gate = threading.Event()

    def say(request):
        gate.wait(20)
        return answer(500) if "m0" in ids_of(request) else answer(204)
    server.behave = lambda it, connection, _: it.plain(connection, say)
    driver = Driver(program(), server.url(), "batch=3", "connections=4", "batch-linger=0ms")
    for i in range(3):
        driver.send(id=f"m{i}", key="k", lane=7)
    driver.say("poll")
    until(lambda: server.connections > 0, "the first batch")
    for i in range(3, 8):
        driver.send(id=f"m{i}", key="k", lane=7)
    driver.send(id="other", key="o", lane=8)
    driver.say("flush")
    driver.wait(0)
    gate.set()
    receipts = {r.id: r.fate for r in driver.wait()}
    assert receipts == {**{f"m{i}": "retry" for i in range(3)}, **{f"m{i}": "returned" for i in range(3, 8)},
                        "other": "sent"}, receipts
    # The caller knows now: the key may be tried again.
    driver.send(id="m9", key="k", lane=7)
    is_it(driver.wait()[0], "sent", "-")
    driver.close()
    server.close()


@case
def what_a_batch_cannot_carry_is_rejected():
    server = Server()
    driver = Driver(program(), server.url(), "batch=10", "batch-linger=60s")
    driver.send(id="good")
    driver.send(id="bad", headers='{"X-Name":"v"}')
    driver.send(id="taken", headers='{"source":"v"}')
    driver.send(id="utf8", key=b"\xff", lane=3)
    driver.say("flush")
    receipts = {r.id: (r.fate, r.code) for r in driver.wait()}
    driver.close()
    server.close()
    assert receipts == {"good": ("sent", "-"), "bad": ("reject", "bad_header"), "taken": ("reject", "bad_header"),
                        "utf8": ("reject", "bad_utf8")}, receipts
    assert ids_of(server.requests[0]) == ["good"]


@case
def a_batch_has_a_greatest_size():
    server = Server()
    driver = Driver(program(), server.url(), "batch=100", "batch-bytes=3000", "batch-linger=60s", "connections=1")
    for i in range(12):
        driver.send(id=f"m{i}", key="k", lane=1, payload=b'"' + b"x" * 1000 + b'"')
    driver.say("flush")
    receipts = driver.wait()
    driver.close()
    server.close()
    assert {r.fate for r in receipts} == {"sent"}
    assert all(len(r.body) <= 3001 for r in server.requests), [len(r.body) for r in server.requests]
    assert sum((ids_of(r) for r in server.requests), []) == [f"m{i}" for i in range(12)]


sys.exit(run_cases())
