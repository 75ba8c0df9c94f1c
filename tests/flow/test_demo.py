"""The demo origin's variations, directly and through the proxy."""
import hashlib
import json
import re
import signal

import pytest

from kit.client import Client

COOKIES = pytest.param("cookies", marks=pytest.mark.not_by(
    "inside", why="the demo's Secure cookie comes back as well, as it should"))
ANSWERED = ["echo", "early", "early-keep", "late", "empty", "long", "body", "huge-body", "chunked", "close", "http10",
            COOKIES, "joined", "continue", "slow", "head"]
PASSED_ON = {"always": 1, "twice": 1, "no-header": 0, "supply": 0, "backoff": 0, "activesync": 0, "long?n=8193": 0}
BODY = b"0123456789" * 20_000


alone = pytest.mark.not_by("inside", "listener", why="no proxy takes part")


def direct(demo):
    return Client(demo.address)


@alone
@pytest.mark.parametrize("name", [*ANSWERED, "401", "redirect", "truncate", *PASSED_ON])
def test_direct_is_449(demo, name):
    with direct(demo) as client:
        answer = client.ask("GET", f"/{name}", [("Host", "h")])
        assert answer.status == 449
        assert answer.complete


@alone
def test_plain_direct(demo):
    with direct(demo) as client:
        for n in (1, 2, 3):
            report = json.loads(client.ask("POST", "/plain", [("Host", "h")], [b"abc", b"d"]).body)
            assert (report["length"], report["framing"]) == (4, "chunked")
            assert report["sha256"] == hashlib.sha256(b"abcd").hexdigest()
            assert report["requests_on_connection"] == n
            assert report["echo_reply"] is False


@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_through_the_proxy_is_200(demo, proxy, name, method):
    body = BODY if method == "PUT" else None
    with proxy.client() as client:
        answer = client.ask(method, f"{demo.url}/{name}", body=body)
    assert answer.status == 200
    report = json.loads(answer.body)
    assert report["echo_reply"] is True
    assert report["sha256"] == hashlib.sha256(body or b"").hexdigest()
    line = proxy.wait_lines()[0]
    assert (line["replays"], line["answer"]) == (1, "echo")
    assert line["echo_length"] == report["echo_reply_length"]


@pytest.mark.parametrize("name", ANSWERED)
def test_chunked_through_the_proxy(demo, client, name):
    answer = client.ask("PUT", f"{demo.url}/{name}", body=[BODY[:777], BODY[777:]])
    report = json.loads(answer.body)
    assert report["framing"] == "chunked"
    assert report["sha256"] == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("name", ANSWERED)
def test_head_through_the_proxy(demo, client, name):
    assert client.ask("HEAD", f"{demo.url}/{name}").status == 200


@pytest.mark.parametrize("name, replays", PASSED_ON.items())
def test_passed_on_through_the_proxy(demo, proxy, name, replays):
    with proxy.client() as client:
        answer = client.ask("PUT", f"{demo.url}/{name}", body=b"abc")
    assert answer.status == 449
    assert answer.complete
    assert proxy.wait_lines()[0]["replays"] == replays


def test_bad_header_through_the_proxy(demo, proxy):
    with proxy.client() as client:
        client.request("GET", f"{demo.url}/bad-header")
        assert client.reader.raw_head()[9:12] in (b"449", b"502")


def test_continue_sends_its_100_to_the_replay(demo, client):
    client.send(client.head("PUT", f"{demo.url}/continue", [("Content-Length", "3"), ("Expect", "100-continue")]))
    assert client.reader.response_head().status == 100
    client.send(b"abc")
    assert json.loads(client.response().body)["expect"] is True


def test_twice_with_two_replays(start, demo):
    with start("--max-replays", "2").client() as client:
        assert client.ask("GET", f"{demo.url}/twice").status == 200


def test_401_then_200(demo, client):
    assert client.ask("GET", f"{demo.url}/401").status == 401
    assert client.ask("GET", f"{demo.url}/401", [("Authorization", "Basic YTpi")]).status == 200


def test_redirect(demo, client):
    answer = client.ask("GET", f"{demo.url}/redirect")
    assert (answer.status, answer.one("Location")) == (302, "/plain")


def test_truncated_is_visibly_broken(demo, client):
    client.request("GET", f"{demo.url}/truncate")
    answer = client.response()
    assert answer.status == 200 and not answer.complete


def test_via_and_max_forwards_in_the_report(demo, client):
    report = json.loads(client.ask("OPTIONS", f"{demo.url}/echo", [("Max-Forwards", "5")]).body)
    assert report["max_forwards"] == "4"
    assert re.match(r"1\.1 \S+$", report["via"])


@alone
def test_pipelined(demo):
    with direct(demo) as client:
        client.send(b"".join(client.head("GET", "/plain", [("Host", "h")]) for _ in range(50)))
        assert [client.response().status for _ in range(50)] == [200] * 50


@alone
def test_bad_request(demo):
    with direct(demo) as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.response().status == 400
        assert client.ended()


@alone
def test_octet_by_octet(demo):
    with direct(demo) as client:
        client.send_in_pieces(client.head("POST", "/plain", [("Host", "h"), ("Transfer-Encoding", "chunked")]) +
                              b"3\r\nabc\r\n0\r\nX-T: t\r\n\r\n")
        assert json.loads(client.response().body)["trailers"] == [["X-T", "t"]]


@alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_with_guests_inside(demo, number):
    with direct(demo) as client:
        client.ask("GET", "/plain", [("Host", "h")])
        demo.signal(number)
        assert demo.wait() == 0
