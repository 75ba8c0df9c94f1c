"""More than one proxy on the way: chains replay once, loops end."""
import re

import pytest

from kit.client import wait_until
from kit.origin import challenge, response

pytestmark = pytest.mark.not_by("inside", why="what intercepts believes the servers' authority, not the other's own")

ECHO = "Ms-Echo-Reply"
OK = response(200, b"done")


def echoing(call):
    call.send(OK if call.request.has(ECHO) else challenge("v"))


@pytest.fixture
def chain(start):
    """chain(OUTER, INNER): two proxies in a row, the first one's client."""
    def make(outer=(), inner=()):
        make.inner = start(*inner)
        make.outer = start("--parent", make.inner.url, *outer)
        return make.outer.client()
    return make


def test_two_in_a_row_replay_once(chain, origin):
    """The inner one answers, the outer one never hears of it."""
    origin.on("/x", echoing)
    with chain() as client:
        answer = client.ask("PUT", origin.url("/x"), body=b"a body")
    assert (answer.status, answer.body) == (200, b"done")
    assert [r.get(ECHO) for r in origin.requests] == [None, "v"]
    assert {r.body for r in origin.requests} == {b"a body"}
    assert [len(r.get("Via").split(",")) for r in origin.requests] == [2, 2]
    assert [p.wait_lines()[0]["replays"] for p in (chain.outer, chain.inner)] == [0, 1]


@pytest.mark.parametrize("outer", [(), ("--max-replays", "3")])
def test_a_second_449_is_not_answered_by_the_other(chain, origin, outer):
    origin.on("/x", challenge("v", body=b"as it came"))
    with chain(outer) as client:
        answer = client.ask("POST", origin.url("/x"), body=b"b")
    assert (answer.status, answer.body) == (449, b"as it came")
    assert len(origin.requests) == 2
    assert [p.wait_lines()[0]["unanswered"] for p in (chain.outer, chain.inner)] == ["again", "again"]
    assert [p.wait_lines()[0]["replays"] for p in (chain.outer, chain.inner)] == [0, 1]


@pytest.mark.parametrize("inner", [("--mode", "off"), ("--body-limit", "1k", "--body-memory", "4k"), ("--max-replays", "0")])
def test_what_the_inner_one_cannot_answer_the_outer_one_may(chain, origin, inner):
    origin.on("/x", echoing)
    with chain((), inner) as client:
        assert client.ask("PUT", origin.url("/x"), body=b"b" * 200_000).status == 200
    assert [r.get(ECHO) for r in origin.requests] == [None, "v"]
    assert [p.wait_lines()[0]["replays"] for p in (chain.outer, chain.inner)] == [1, 0]


def test_on_unanswered_502_of_the_inner_one_is_final(chain, origin):
    origin.on("/x", challenge("v"))
    with chain((), ("--on-unanswered", "502")) as client:
        assert client.ask("GET", origin.url("/x")).status == 502
    assert len(origin.requests) == 2


def test_sticky_through_two(chain, origin):
    def responder(call):
        if not call.request.has(ECHO):
            call.send(challenge("v"))
        else:
            call.send(OK if call.request.has("Authorization") else response(401, b"", [("WWW-Authenticate", "Basic realm=x")]))
    origin.on("/x", responder)
    with chain() as client:
        assert client.ask("GET", origin.url("/x")).status == 401
        assert client.ask("GET", origin.url("/x"), [("Authorization", "Basic YTpi")]).status == 200
    assert len(origin.requests) <= 4


def test_a_login_through_two(chain, origin):
    """Both keep their connections for it."""
    from kit.login import Windows, log_in
    windows = Windows()
    url = origin.on("/x", windows)
    with chain() as client:
        assert log_in(client, url, "alice").one("X-User") == "alice"
        assert client.ask("GET", url).one("X-User") == "alice"
        with chain.outer.client() as other:
            assert other.ask("GET", url).status == 401
    wait_until(lambda: not origin.open_connections(), "the pinned connections to be closed")
    assert not windows.faults


# Loops.

def is_loop(answer):
    return answer.status == 502 and "proxy_loop_detected" in answer.get("Proxy-Status", "")


@pytest.mark.parametrize("via", ["1.1 {}", "HTTP/1.1 {}", "1.0 other, 1.1 {} (comment)", "1.1 a, 1.1 {}, 1.1 b"])
def test_our_own_name_in_via(start, origin, via):
    origin.on("/x", OK)
    with start("--via", "this-one").client() as client:
        assert is_loop(client.ask("GET", origin.url("/x"), [("Via", via.format("This-One"))]))
    assert not origin.requests


def test_the_default_name_in_via(client, origin):
    origin.on("/x", OK)
    name = client.ask("GET", origin.url("/x")).one("Via").split()[1]
    assert re.match(r"retrywith-[0-9a-f]{8}$", name)
    assert is_loop(client.ask("GET", origin.url("/x"), [("Via", f"1.1 {name}")]))


def test_others_names_in_via(start, origin):
    origin.on("/x", OK)
    with start("--via", "this-one").client() as client:
        for via in ("1.1 this-one-not", "1.1 not-this-one", "1.1 other (this-one)", "this-one"):
            assert client.ask("GET", origin.url("/x"), [("Via", via)]).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_our_own_address(start, host):
    proxy = start()
    with proxy.client() as client:
        answer = client.ask("GET", f"http://{host}:{proxy.address[1]}/")
    assert answer.status == 502 if host == "localhost" else answer.status in (400, 403, 502)
    if host == "127.0.0.1":
        assert is_loop(answer)
    assert len(proxy.wait_lines()) == 1         # it came to us once


def test_our_own_address_by_connect(start):
    proxy = start("--connect-ports", "1-65535")
    with proxy.client() as client:
        answer = client.ask("CONNECT", proxy.authority)
    assert is_loop(answer)


def test_a_circle_of_two(start):
    """Each sends to the other: the second visit ends it."""
    first = start("--via", "one")
    second = start("--via", "two", "--parent", first.url)
    target = f"http://{second.authority}/"
    with second.client() as client:
        answer = client.ask("GET", target)
    assert answer.status == 502
    assert "loop" in answer.get("Proxy-Status", "") + answer.text
    assert len(first.lines()) + len(second.lines()) <= 3


def test_a_sidecar_whose_origin_is_itself_by_another_name(start):
    """Its own origin is not vetted, but comes back with our Via."""
    first = start("--via", "one")
    proxy = start("--origin", first.url, "--via", "two")
    with proxy.client() as client:
        answer = client.ask("GET", "/", [("Host", first.authority), ("Via", "1.1 one")])
    assert answer.status >= 400
