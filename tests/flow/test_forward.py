"""An explicit forward proxy for http:// - without any 449. (P05, P19)"""
import os
import pathlib
import re
import signal
import socket
import threading
import time

import pytest

from kit.client import Client, PATIENCE, chunked, join, wait_for, wait_until
from kit.origin import Origin, challenge, response

OK = response(200, b"hello")


def raw_error(client, status, token=None):
    """Our own answer: one line of text, Proxy-Status with the RFC 9209 token."""
    answer = client.response()
    assert answer is not None, "closed without a word"
    assert answer.status == status, (answer.head, answer.body)
    assert answer.complete
    assert answer.get("Content-Type", "").startswith("text/plain")
    assert answer.text.strip() and answer.text.count("\n") <= 1
    if token:
        assert f"error={token}" in answer.one("Proxy-Status")
    return answer


# Targets and fields.

@pytest.mark.parametrize("path, sent", [
    ("/x", "/x"), ("/x?a=b", "/x?a=b"), ("", "/"), ("?q=1", "/?q=1"), ("/%7E/%2f//./../x", "/%7E/%2f//./../x"),
    ("/a;b=c,d'e", "/a;b=c,d'e"),
])
def test_absolute_form_in_origin_form_out(client, origin, path, sent):
    origin.on("*", OK)
    assert client.ask("GET", origin.base + path).body == b"hello"
    request = origin.requests[0]
    assert request.target == sent
    assert request.version == "HTTP/1.1"
    assert request.all("Host") == [origin.authority]


@pytest.mark.not_by("inside", why="a Host that CONNECT did not name is refused (test_tls.py)")
def test_host_is_the_targets(client, origin):
    """RFC 9112 3.2.2: the Host received is ignored, and replaced."""
    origin.on("/x", OK)
    client.ask("GET", origin.url("/x"), [("Host", "other.example")])
    assert origin.requests[0].all("Host") == [origin.authority]


@pytest.mark.not_by("inside", why="only an absolute target has no path")
def test_options_asterisk_of_an_origin(client, origin):
    """RFC 9110 7.7: an empty path of OPTIONS becomes *."""
    origin.on("*", OK)
    assert client.ask("OPTIONS", origin.base).status == 200
    assert origin.requests[0].target == "*"


def test_end_to_end_fields_keep_order_spelling_and_octets(client, origin):
    fields = [("X-One", "1"), ("x-oNE", "caf\xe9  \"a, b\""), ("Cookie", "a=b"), ("Accept", "*/*"), ("X-Empty", "")]
    origin.on("/x", response(200, b"", [*fields, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
    answer = client.ask("GET", origin.url("/x"), fields)
    assert [f for f in origin.requests[0].fields if f[0] not in ("Host", "Via")] == fields
    assert [f for f in answer.fields if f in fields] == fields
    assert answer.all("Set-Cookie") == ["a=1", "b=2"]


def test_hop_by_hop_fields_are_removed(client, origin):
    hop = [("Connection", "X-Named, keep-alive, Other-Named"), ("X-Named", "1"), ("Other-named", "2"),
           ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"), ("TE", "gzip"),
           ("Proxy-Authorization", "Basic YTpi"), ("X-Stays", "3")]
    origin.on("/x", response(200, b"", [("Connection", "X-Back"), ("X-Back", "1"), ("Keep-Alive", "timeout=9"),
                                        ("X-Stays", "2"), ("Proxy-Connection", "keep-alive")]))
    answer = client.ask("GET", origin.url("/x"), hop)
    seen = origin.requests[0]
    for name in ("X-Named", "Other-Named", "Keep-Alive", "Proxy-Connection", "TE", "Proxy-Authorization"):
        assert not seen.has(name), name
    assert seen.one("X-Stays") == "3"
    assert not answer.has("X-Back") and not answer.has("Keep-Alive") and not answer.has("Proxy-Connection")
    assert answer.one("X-Stays") == "2"


def test_connection_cannot_name_essential_fields(client, origin):
    origin.on("/x", OK)
    client.ask("POST", origin.url("/x"), [("Connection", "Host, Content-Length, Via, Cookie"), ("Cookie", "a=b")], b"body")
    seen = origin.requests[0]
    assert seen.one("Host") == origin.authority
    assert seen.body == b"body"
    assert seen.has("Via")


def test_via_both_ways(client, origin):
    origin.on("/x", response(200, b"", [("Via", "1.0 inner")]))
    answer = client.ask("GET", origin.url("/x"), [("Via", "1.0 outer (comment)")])
    sent, back = origin.requests[0].get("Via").split(", "), answer.get("Via").split(", ")
    assert sent[0] == "1.0 outer (comment)" and re.match(r"1\.1 \S+$", sent[1]) and len(sent) == 2
    assert back[0] == "1.0 inner" and re.match(r"1\.1 \S+$", back[1]) and len(back) == 2


def test_via_tells_the_version_received(client, origin):
    origin.on("/x", OK)
    client.ask("GET", origin.url("/x"), version="HTTP/1.0")
    assert origin.requests[0].one("Via").startswith("1.0 ")


def test_via_name_is_an_option(start, origin):
    """R104."""
    origin.on("/x", OK)
    with start("--via", "my-proxy").client() as client:
        assert client.ask("GET", origin.url("/x")).one("Via") == "1.1 my-proxy"


def test_a_request_that_comes_back_is_a_loop(proxy, client, origin):
    """R160."""
    origin.on("/x", OK)
    client.ask("GET", origin.url("/x"))
    mine = origin.requests[0].one("Via").split()[1]
    client.request("GET", origin.url("/x"), [("Via", f"1.1 {mine}")])
    raw_error(client, 502, "proxy_loop_detected")
    assert len(origin.requests) == 1


def test_a_request_for_the_proxy_itself_is_not_forwarded(proxy, client):
    client.request("GET", proxy.url + "/x")
    assert client.response().status in (400, 403, 404, 502)


def test_max_forwards_zero_is_answered_here(client, origin):
    origin.on("/x", OK)
    answer = client.ask("OPTIONS", origin.url("/x"), [("Max-Forwards", "0")])
    assert answer.status in (200, 204)
    assert not origin.requests


def test_max_forwards_of_get_is_untouched(client, origin):
    origin.on("/x", OK)
    client.ask("GET", origin.url("/x"), [("Max-Forwards", "0")])
    assert origin.requests[0].one("Max-Forwards") == "0"


@pytest.mark.parametrize("method", ["BCOPY", "BPROPFIND", "POLL", "GETLIB", "BASELINE-CONTROL", "RPC_IN_DATA",
                                    "VERSION-CONTROL", "QUERY", "get", "X!#$%&'*+-.^_`|~9"])
def test_extension_methods_are_forwarded(client, origin, method):
    origin.on("/x", OK)
    assert client.ask(method, origin.url("/x"), body=b"abc").body == b"hello"
    assert (origin.requests[0].method, origin.requests[0].body) == (method, b"abc")


# Connections.

def test_keep_alive_on_both_sides(client, origin):
    origin.on("*", OK)
    for i in range(20):
        assert client.ask("GET", origin.url(f"/{i}")).body == b"hello"
    assert len(origin.used()) == 1


def test_idle_upstream_connections_serve_other_clients(proxy, origin):
    origin.on("*", OK)
    for _ in range(5):
        with proxy.client() as client:
            assert client.ask("GET", origin.url("/x")).status == 200
    assert len(origin.used()) == 1


def test_two_at_once_need_two_connections(proxy, origin):
    barrier = threading.Barrier(2)

    def together(call):
        barrier.wait(PATIENCE)
        call.send(OK)
    origin.on("/x", together)
    with proxy.client() as one, proxy.client() as two:
        one.request("GET", origin.url("/x"))
        two.request("GET", origin.url("/x"))
        assert one.response().status == two.response().status == 200
    assert len(origin.used()) == 2


def test_client_that_closes(client, origin):
    origin.on("/x", OK)
    answer = client.ask("GET", origin.url("/x"), [("Connection", "close")])
    assert "close" in answer.tokens("Connection")
    assert client.ended()
    # the upstream connection is kept all the same
    assert "close" not in origin.requests[0].tokens("Connection")


def test_upstream_that_closes(client, origin):
    origin.on("/x", [response(200, b"a", [("Connection", "close")]), response(200, b"b")])
    first = client.ask("GET", origin.url("/x"))
    assert first.body == b"a"
    assert "close" not in first.tokens("Connection")
    assert client.ask("GET", origin.url("/x")).body == b"b"
    assert len(origin.used()) == 2


def test_surplus_octets_end_the_upstream_connection(client, origin):
    origin.on("/x", OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    origin.on("/y", response(200, b"good"))
    assert client.ask("GET", origin.url("/x")).body == b"hello"
    assert client.ask("GET", origin.url("/y")).body == b"good"
    assert len(origin.used()) == 2


def test_stale_idle_connection_is_retried_for_idempotent_methods(client, origin):
    """The upstream closes an idle connection as the next request is on its way."""
    seen = []

    def cut_the_second(call):
        seen.append(call.request)
        if len(seen) == 2:
            call.close()            # the connection, without an answer
        else:
            call.send(OK)
    origin.on("/x", cut_the_second)
    assert client.ask("GET", origin.url("/x")).status == 200
    assert client.ask("GET", origin.url("/x")).status == 200
    assert len(seen) == 3 and len(origin.used()) == 2


def test_stale_idle_connection_put_with_body_is_replayed_whole(client, origin):
    seen = []

    def cut_the_second(call):
        seen.append(call.request.body)
        call.close() if len(seen) == 2 else call.send(OK)
    origin.on("/x", cut_the_second)
    assert client.ask("PUT", origin.url("/x"), body=b"one").status == 200
    assert client.ask("PUT", origin.url("/x"), body=b"two").status == 200
    assert seen == [b"one", b"two", b"two"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "BCOPY"])
def test_stale_idle_connection_is_not_retried_for_others(client, origin, method):
    seen = []

    def cut_the_second(call):
        seen.append(call.request)
        call.close() if len(seen) == 2 else call.send(OK)
    origin.on("/x", cut_the_second)
    assert client.ask(method, origin.url("/x"), body=b"b").status == 200
    client.request(method, origin.url("/x"), body=b"b")
    raw_error(client, 502, "connection_terminated")
    assert len(seen) == 2


def test_an_answer_that_had_begun_is_not_asked_for_again(client, origin):
    """On a reused connection too: the request has arrived."""
    def cut_the_second(call):
        if len(origin.requests) == 1:
            call.send(OK)
        else:
            call.send(b"HTTP/1.1 2")
            call.close()
    origin.on("/x", cut_the_second)
    assert client.ask("GET", origin.url("/x")).status == 200
    client.request("GET", origin.url("/x"))
    raw_error(client, 502, "http_response_incomplete")
    assert len(origin.requests) == 2


@pytest.mark.not_by("inside", why="the connection of CONNECT was used before")
def test_fresh_connection_is_not_retried(client, origin):
    origin.on("/x", lambda call: call.close())
    client.request("GET", origin.url("/x"))
    raw_error(client, 502, "connection_terminated")
    assert len(origin.requests) == 1


def test_idle_connection_closed_by_the_upstream_is_not_used(client, origin):
    origin.on("/x", OK)
    assert client.ask("POST", origin.url("/x"), body=b"1").status == 200
    origin.close_connections()
    wait_until(lambda: not origin.open_connections(), "the connection to end")
    time.sleep(0.1)                 # for the proxy to hear of it; POST is never retried blindly
    assert client.ask("POST", origin.url("/x"), body=b"2").status == 200


def test_pipelined_requests_are_answered_in_order(client, origin):
    def responder(call):
        time.sleep(0.05 if call.request.target.endswith("0") else 0)
        call.send(response(200, call.request.target.encode() + call.request.body))
    origin.on("*", responder)
    many = b"".join(client.head("POST", origin.url(f"/{i}"), [("Content-Length", "2")]) + b"%02d" % i for i in range(20))
    client.send(many)
    for i in range(20):
        assert client.response().body == b"/%d%02d" % (i, i)
    assert len(origin.used()) == 1


@pytest.mark.not_by("inside", why="a CONNECT is for one origin")
def test_pipelined_requests_to_different_origins(client, origin):
    other = Origin()
    origin.on("/x", response(200, b"one"))
    other.on("/x", response(200, b"two"))
    client.send(b"".join(client.head("GET", o.url("/x")) for o in (origin, other, origin)))
    assert [client.response().body for _ in range(3)] == [b"one", b"two", b"one"]
    other.close()


def test_client_that_half_closes(client, origin):
    """It may be taken for gone, or be answered; never half answered."""
    origin.on("/x", OK)
    client.request("GET", origin.url("/x"))
    client.fin()
    answer = client.response()
    assert answer is None or answer.body == b"hello"
    assert client.ended()


# HTTP/1.0 clients.

def test_http10_client(client, origin):
    origin.on("/x", OK)
    answer = client.ask("GET", origin.url("/x"), version="HTTP/1.0")
    assert (answer.status, answer.body) == (200, b"hello")
    assert client.ended()
    assert origin.requests[0].version == "HTTP/1.1"


@pytest.mark.parametrize("name", ["Connection", "Proxy-Connection"])
def test_http10_is_never_kept(client, origin, name):
    """RFC 9112 9.3: a proxy must not keep a connection with an HTTP/1.0 client."""
    origin.on("/x", OK)
    answer = client.ask("GET", origin.url("/x"), [(name, "keep-alive")], version="HTTP/1.0")
    assert answer.body == b"hello"
    assert client.ended()


def test_chunked_origin_to_http10_client(client, origin):
    origin.on("/x", response(200, chunked(b"abc", b"defg", trailers=[("X-T", "t")]),
                             [("Transfer-Encoding", "chunked")], length=False))
    answer = client.ask("GET", origin.url("/x"), [("Connection", "keep-alive")], version="HTTP/1.0")
    assert not answer.has("Transfer-Encoding")
    assert answer.body == b"abcdefg"
    assert client.ended()


def test_chunked_cut_off_towards_http10_is_visibly_broken(client, origin):
    """Only a reset tells a 1.0 client that an answer ended by close is not whole
    (or an end without close_notify)."""
    def cut(call):
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        call.close()
    origin.on("/x", cut)
    client.request("GET", origin.url("/x"), version="HTTP/1.0")
    with pytest.raises(ConnectionResetError):
        while client.recv(65536):
            pass


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_client_that_half_closes_is_not_told_that_a_part_is_all(client, origin, version):
    """The end of its stream ends the exchange; what it has of an answer that ends by
    close must not look whole."""
    def begin(call):
        call.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
        call.wait_for_end()
    origin.on("/x", begin)
    client.request("GET", origin.url("/x"), version=version)
    got = b""
    while b"abc" not in got:
        got += client.sock.recv(65536)
    assert (b"chunked" in got) == (version == "HTTP/1.1")
    client.fin()
    with pytest.raises(ConnectionResetError):
        while client.recv(65536):
            pass


def test_http10_client_without_host(client, origin):
    origin.on("/x", OK)
    client.send(f"GET {origin.url('/x')} HTTP/1.0\r\n\r\n")
    assert client.response().status == 200
    assert origin.requests[0].one("Host") == origin.authority


def test_http10_client_sees_no_interim_responses(client, origin):
    origin.on("/x", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    answer = client.ask("GET", origin.url("/x"), version="HTTP/1.0")
    assert (answer.status, answer.interim) == (200, [])


# Responses.

def test_head(client, origin):
    origin.on("/x", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
    origin.on("/c", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    origin.on("/y", OK)
    answer = client.ask("HEAD", origin.url("/x"))
    assert (answer.announced, answer.body) == (12345, b"")
    assert client.ask("HEAD", origin.url("/c")).body == b""
    assert client.ask("GET", origin.url("/y")).body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_statuses(client, origin, status):
    origin.on("/x", f"HTTP/1.1 {status} Nothing\r\nETag: \"1\"\r\n\r\n".encode())
    origin.on("/y", OK)
    assert client.ask("GET", origin.url("/x")).status == status
    assert client.ask("GET", origin.url("/y")).body == b"hello"
    assert len(origin.used()) == 1


def test_304_keeps_its_content_length(client, origin):
    origin.on("/x", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")
    origin.on("/y", OK)
    assert client.ask("GET", origin.url("/x")).status == 304
    assert client.ask("GET", origin.url("/y")).body == b"hello"


def test_until_close(client, origin):
    def until_close(call):
        call.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        call.close()
    origin.on("/x", until_close)
    answer = client.ask("GET", origin.url("/x"))
    assert answer.body == b"all of it"
    assert answer.complete
    assert answer.framing in ("chunked", "close")


def test_until_close_from_http10(client, origin):
    def until_close(call):
        call.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"z" * 200_000)
        call.close()
    origin.on("/x", until_close)
    answer = client.ask("GET", origin.url("/x"))
    assert answer.body == b"z" * 200_000
    assert answer.version == "HTTP/1.1"


@pytest.mark.parametrize("asked", ["close", "keep-alive"])
def test_octets_behind_the_last_request_cost_no_answer(start, origin, asked):
    """A close while they lie unread, or before they come, is a reset, and that takes
    what the client has yet to receive."""
    go, sent, body = threading.Event(), threading.Event(), b"y" * 12_000

    def held(call):
        wait_for(go, "leave to answer")
        call.send(response(200, body))
        sent.set()
    origin.on("/x", held)
    proxy = start("--drain-timeout", "60s")
    with proxy.client(rcvbuf=2048) as client:
        client.request("GET", origin.url("/x"), [("Connection", asked)])
        wait_until(lambda: origin.requests, "the request")
        if asked == "close":
            proxy.signal(signal.SIGSTOP)            # so that it finds both at once
        else:
            proxy.signal(signal.SIGTERM)            # so that the answer is the last one
            wait_until(lambda: "draining" in proxy.said(), "the drain")
        go.set()
        wait_for(sent, "the answer to be sent")
        if asked != "close":
            proxy.wait_lines(1)
        client.request("GET", origin.url("/x"))
        proxy.signal(signal.SIGCONT)
        time.sleep(0.5)
        answer = client.response()
        assert (answer.status, answer.body == body) == (200, True)
        assert client.ended()
    assert len(origin.requests) == 1


def test_chunked_and_trailers(client, origin):
    pieces = [b"a", b"bc", b"d" * 70_000, b"e"]
    origin.on("/x", response(200, chunked(*pieces, trailers=[("X-Sum", "1"), ("X-More", "2")]),
                             [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")], length=False))
    answer = client.ask("GET", origin.url("/x"), [("TE", "trailers"), ("Connection", "TE")])
    assert answer.framing == "chunked"
    assert answer.body == b"".join(pieces)
    assert answer.trailers == [("X-Sum", "1"), ("X-More", "2")]


def test_interim_responses_are_forwarded(client, origin):
    origin.on("/x", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    answer = client.ask("GET", origin.url("/x"))
    assert [i.status for i in answer.interim] == [102, 103]
    assert answer.interim[1].one("Link") == "</a>"
    assert answer.body == b"hello"


def test_expect_100_continue_is_forwarded(client, origin):
    def responder(call):
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.send(response(200, call.read_body()))
    origin.on("/x", responder, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "3"), ("Expect", "100-continue")]))
    assert client.reader.response_head().status == 100
    client.send(b"abc")
    answer = client.response()
    assert (answer.body, answer.interim) == (b"abc", [])
    assert origin.requests[0].one("Expect") == "100-continue"


def test_expect_refused(client, origin):
    def refuse(call):
        call.send(response(417, b"no", [("Connection", "close")]))
        call.fin()
        call.wait_for_end()
    origin.on("/x", refuse, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "3"), ("Expect", "100-continue")]))
    assert client.response().status == 417


def test_final_answer_before_the_body_was_sent(client, origin):
    def refuse(call):
        call.send(response(413, b"too large", [("Connection", "close")]))
        call.fin()
        call.wait_for_end()
    origin.on("/x", refuse, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "1000000")]) + b"z" * 1000)
    answer = client.response()
    assert (answer.status, answer.body) == (413, b"too large")


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 1_000_000, 5_000_000])
def test_bodies_of_all_sizes_both_ways(client, origin, size):
    """R118."""
    body = os.urandom(size)
    origin.on("/x", lambda call: call.send(response(200, call.request.body)))
    origin.on("/c", lambda call: call.send(response(200, chunked(*[p for p in [call.request.body] if p]),
                                                    [("Transfer-Encoding", "chunked")], length=False)))
    answer = client.ask("PUT", origin.url("/x"), body=body)
    assert answer.body == body
    answer = client.ask("PUT", origin.url("/c"), body=[body] if body else [])
    assert answer.body == body


def test_upgrade_becomes_a_tunnel(client, origin):
    def switch(call):
        assert call.request.one("Upgrade") == "websocket"
        assert "upgrade" in call.request.tokens("Connection")
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        reader = call.connection.reader
        while len(reader.have) < 4:
            reader.more()
        call.send(reader.take(4).upper())
        call.wait_for_end()
    origin.on("/ws", switch)
    client.request("GET", origin.url("/ws"), [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                              ("Sec-WebSocket-Key", "abc")])
    answer = client.response()
    assert answer.status == 101
    assert answer.one("Upgrade") == "websocket"
    assert "upgrade" in answer.tokens("Connection")
    client.send(b"ping")
    while len(client.reader.have) < 9:
        assert client.reader.more()
    assert client.reader.take(9) == b"firstPING"


def test_upgrade_behind_a_challenge(client, origin, road):
    """449.md 3, 8: its cookies reach the client with the 101, and so does what was done."""
    def switch(call):
        if not call.request.all("Ms-Echo-Reply"):
            call.send(challenge("v", [("Set-Cookie", "s=1"), ("Set-Cookie", "t=2; Secure")]))
            return
        assert call.request.one("Upgrade") == "websocket"
        assert call.request.one("Cookie") == ("s=1; t=2" if road == "inside" else "s=1")
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  b"Set-Cookie: u=3\r\n\r\nfirst")
        call.wait_for_end()
    origin.on("/ws", switch)
    client.request("GET", origin.url("/ws"), [("Connection", "Upgrade"), ("Upgrade", "websocket")])
    answer = client.response()
    assert answer.status == 101
    assert answer.all("Set-Cookie") == ["s=1", "t=2; Secure", "u=3"]
    assert "replayed" in answer.one("Proxy-Status")
    assert answer.tokens("Upgrade") == ["websocket"] and answer.tokens("Connection") == ["upgrade"]


def test_upgrade_behind_100_continue(client, origin):
    """R092."""
    def switch(call):
        assert "100-continue" in call.request.tokens("Expect")
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert call.read_body() == b"hello"
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        call.wait_for_end()
    origin.on("/ws", switch, early=True)
    client.send(client.head("POST", origin.url("/ws"), [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                                        ("Expect", "100-continue"), ("Content-Length", "5")]))
    assert client.reader.response_head("POST").status == 100
    client.send(b"hello")
    assert client.reader.response_head("POST").status == 101
    while len(client.reader.have) < 5:
        assert client.reader.more()
    assert client.reader.take(5) == b"first"


def test_upgrade_ahead_of_the_end_of_the_request(client, origin):
    """What comes behind would be half HTTP, half not: nobody switches."""
    def switch(call):
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        call.wait_for_end()
    origin.on("/ws", switch, early=True)
    client.send(client.head("POST", origin.url("/ws"), [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                                        ("Content-Length", "10")]) + b"hello")
    raw_error(client, 502, "http_upgrade_failed")
    assert client.ended()


def test_refused_upgrade_is_a_plain_answer(client, origin):
    origin.on("/ws", OK)
    for _ in range(2):
        assert client.ask("GET", origin.url("/ws"), [("Connection", "Upgrade"), ("Upgrade", "websocket")]).body == b"hello"


def test_unasked_101_is_refused(client, origin):
    origin.on("/x", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\nevil")
    client.request("GET", origin.url("/x"))
    raw_error(client, 502)


# Back-pressure.

def test_a_slow_reader_does_not_cost_memory(proxy, origin):
    total, sent = 64 << 20, []

    def pour(call):
        call.send(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n")
        piece = b"z" * 65536
        for _ in range(total // len(piece)):
            call.send(piece)
            sent.append(len(piece))
    origin.on("/x", pour)
    with proxy.client() as warm:
        origin.on("/y", OK)
        warm.ask("GET", origin.url("/y"))
    before = proxy.memory()
    with proxy.client(rcvbuf=65536) as client:
        client.request("GET", origin.url("/x"))
        client.sock.recv(1)
        quiet = wait_until(lambda: settled(sent), "the flow to stop")
        assert quiet * 65536 < total // 2, "the proxy swallowed the answer"
        assert proxy.memory() - before < proxy.memory_allowance(4 << 20)
        got = 1
        while got < total:
            got += len(client.sock.recv(1 << 20))
    assert proxy.memory() - before < proxy.memory_allowance(4 << 20)


def settled(sent):
    """How many pieces, once that does not change any more."""
    before = len(sent)
    time.sleep(0.3)
    return before if before and before == len(sent) else 0


def test_a_slow_origin_does_not_cost_memory(start, origin):
    """Past body-limit the recorder is a window: the client has to wait."""
    proxy = start("--body-limit", "1m", "--body-memory", "64k")
    go = threading.Event()
    total = 64 << 20

    def slow(call):
        wait_for(go, "the flow to stop")
        call.connection.origin.recording = False
        left = total - len(call.connection.reader.have)
        while left:
            left -= len(call.connection.recv(min(left, 1 << 20)))
        call.send(OK)
        call.close()
    origin.recording = False
    origin.on("/x", slow, early=True)
    before = proxy.memory()
    with proxy.client() as client:
        client.send(client.head("PUT", origin.url("/x"), [("Content-Length", str(total))]))
        sent = []

        def push():
            for _ in range(total // 65536):
                client.send(b"z" * 65536)
                sent.append(1)
        pusher = threading.Thread(target=push)
        pusher.start()
        quiet = wait_until(lambda: settled(sent), "the flow to stop")
        assert quiet * 65536 < total // 2, "the proxy swallowed the request"
        assert proxy.memory() - before < proxy.memory_allowance(6 << 20)
        go.set()
        join(pusher)
        answer = client.reader.raw_head()
        assert answer.startswith(b"HTTP/1.1 200")


def without_last_chunk(call):
    call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    call.fin()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_response_without_its_last_chunk_is_cut(proxy, origin, version):
    """To HTTP/1.0 the end of the stream would be the end of the body."""
    origin.on("/x", without_last_chunk)
    with proxy.client() as client:
        client.send(client.head("GET", origin.url("/x"), version=version))
        got = b""
        with pytest.raises(ConnectionResetError):
            while piece := client.recv(65536):
                got += piece
    assert not got.endswith(b"0\r\n\r\n")
    assert proxy.wait_lines()[0]["why"] == "response-incomplete"


def test_a_reset_that_a_write_hears_of_is_no_end(proxy, client, origin):
    """The kernel tells of it once: what is read behind it looks like the end of a
    response that nothing but an end delimits."""
    cut, was_cut = threading.Event(), threading.Event()

    def begin(call):
        call.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        wait_for(cut, "the proxy to sleep")
        call.reset()
        was_cut.set()
    origin.on("/x", begin, early=True)
    client.send(client.head("POST", origin.url("/x"), [("Content-Length", "1000")]) + b"a")
    got = b""
    while b"part" not in got:
        got += client.recv(65536)
    proxy.signal(signal.SIGSTOP)        # it hears of more body first, and then of the reset
    stat = pathlib.Path(f"/proc/{proxy.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the proxy to sleep")
    client.send(b"b")
    cut.set()
    wait_for(was_cut, "the reset")
    proxy.signal(signal.SIGCONT)
    with pytest.raises(ConnectionError):
        while piece := client.recv(65536):
            got += piece
    assert not got.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("answer", [b"HTTP/1.0 411 Length Required\r\n\r\nno chunks", b""])
def test_an_origin_that_knows_no_chunks_says_so(client, origin, answer):
    """R068: servers are taken to know them. One that refuses is heard, and asked once."""
    def refuse(call):
        call.send(answer)
        call.close()
    origin.on("/x", refuse, early=True)
    got = client.ask("POST", origin.url("/x"), body=[b"abc", b"def"])
    assert got.status == (411 if answer else 502)
    assert not answer or got.body == b"no chunks"
    assert len(origin.connections) == 1


# Bad input.

BAD_REQUESTS = {
    "bad name": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nBad Name: 1\r\n\r\n", 400),
    "no colon": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nNoColon\r\n\r\n", 400),
    "nul": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nA: b\x00c\r\n\r\n", 400),
    "fold": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nA: b\r\n folded\r\n\r\n", 400),
    "no host": (b"GET http://{O}/x HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nHost: {O}\r\n\r\n", 400),
    "blank in target": (b"GET http://{O}/a b HTTP/1.1\r\nHost: {O}\r\n\r\n", 400),
    "fragment": (b"GET http://{O}/x#f HTTP/1.1\r\nHost: {O}\r\n\r\n", 400),
    "userinfo": (b"GET http://u:p@{O}/x HTTP/1.1\r\nHost: {O}\r\n\r\n", 400),
    "origin form": (b"GET /x HTTP/1.1\r\nHost: {O}\r\n\r\n", 400),
    "ftp": (b"GET ftp://{O}/x HTTP/1.1\r\nHost: {O}\r\n\r\n", 400),
    "two lengths": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
    "negative length": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nContent-Length: -1\r\n\r\n", 400),
    "length and chunked": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked in 1.0": (b"GET http://{O}/x HTTP/1.0\r\nHost: {O}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "gzip": (b"POST http://{O}/x HTTP/1.1\r\nHost: {O}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "tls hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "2.0": (b"GET http://{O}/x HTTP/2.0\r\nHost: {O}\r\n\r\n", 505),
    "3.1": (b"GET http://{O}/x HTTP/3.1\r\nHost: {O}\r\n\r\n", 505),
    "long method": (b"%s http://{O}/x HTTP/1.1\r\nHost: {O}\r\n\r\n" % (b"M" * 2000), 501),
    "long target": (b"GET http://{O}/%s HTTP/1.1\r\nHost: {O}\r\n\r\n" % (b"a" * 262144), 414),
    "long field": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\nA: %s\r\n\r\n" % (b"a" * 262144), 431),
    "many fields": (b"GET http://{O}/x HTTP/1.1\r\nHost: {O}\r\n%s\r\n" % (b"A: b\r\n" * 5000), 431),
    "port 0": (b"GET http://{O}:0/x HTTP/1.1\r\nHost: {O}\r\n\r\n", 400),
    "hex address": (b"GET http://0x7f000001/x HTTP/1.1\r\nHost: 0x7f000001\r\n\r\n", 400),
}


@pytest.mark.parametrize("data, status", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_bad_requests(client, origin, data, status):
    """R027, R054."""
    try:
        client.send(data.replace(b"{O}:0", b"127.0.0.1:0").replace(b"{O}", origin.authority.encode()))
    except ConnectionError:
        pass                        # refused while we were still talking
    raw_error(client, status, "http_request_error")
    assert client.ended()
    assert not origin.requests


def test_chunk_extensions_without_end(client, origin):
    """R139."""
    origin.on("/x", OK)
    client.send(client.head("POST", origin.url("/x"), [("Transfer-Encoding", "chunked")]))
    client.send(b"3;" + b"e" * 20000)
    raw_error(client, 413, "http_request_error")
    assert client.ended()
    assert not any(r.complete for r in origin.requests)


def test_proxy_connection_decides_nothing(client, origin):
    """R093: neither the client's nor the origin's."""
    origin.on("/x", response(200, b"hello", [("Proxy-Connection", "close")]))
    for _ in range(3):
        assert client.ask("GET", origin.url("/x"), [("Proxy-Connection", "close")]).status == 200
    assert len(origin.used()) == 1


def test_bad_chunk_after_a_good_head(proxy, origin):
    origin.on("/x", OK)
    with proxy.client() as client:
        client.send(client.head("POST", origin.url("/x"), [("Transfer-Encoding", "chunked")]))
        client.send(b"3\r\nabc\r\n0x3\r\nabc\r\n0\r\n\r\n")
        raw_error(client, 400, "http_request_error")
        assert client.ended()
    assert not [r for r in origin.requests if r.complete]


def test_request_body_cut_off_is_not_complete_upstream(proxy, origin):
    origin.on("/x", OK)
    with proxy.client() as client:
        client.send(client.head("POST", origin.url("/x"), [("Content-Length", "10")]) + b"abc")
        wait_until(lambda: origin.connections, "the connection")
        client.fin()
        client.response()
    wait_until(lambda: not origin.open_connections(), "the upstream to be let go")
    assert not [r for r in origin.requests if r.complete]


def test_an_unfinished_head_times_out(start):
    proxy = start("--head-timeout", "1s")
    with proxy.client() as client:
        client.send("GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0")
        answer = client.response()
        assert answer is None or answer.status == 408
        assert client.ended()


def test_clients_that_say_nothing_are_let_go(start):
    with start("--head-timeout", "1s", "--idle-timeout", "1s").client() as client:
        assert client.ended()


def test_idle_clients_are_let_go(start, origin):
    origin.on("/x", OK)
    with start("--idle-timeout", "1s").client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
        assert client.ended()


# Faults of the upstream, before and after its answer began.

def test_unknown_host(client):
    client.request("GET", "http://no-such-host.invalid/x")
    answer = client.response()
    assert answer.status in (502, 504)          # 504: no name server answers here
    assert "dns_" in answer.one("Proxy-Status")
    assert answer.text.strip().count("\n") == 0


@pytest.mark.not_by("inside", why="names inside have tests in test_tls.py")
def test_name_from_the_hosts_file(start, origin, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 origin.test\n")
    origin.on("/x", OK)
    with start("--hosts-file", str(hosts)).client() as client:
        assert client.ask("GET", f"http://origin.test:{origin.port}/x").body == b"hello"
    assert origin.requests[0].one("Host") == f"origin.test:{origin.port}"


@pytest.mark.not_by("inside", why="names inside have tests in test_tls.py")
def test_localhost(client, origin):
    origin.on("/x", OK)
    assert client.ask("GET", f"http://localhost:{origin.port}/x").body == b"hello"


def test_ipv6_literal(proxy):
    try:
        origin = Origin(address="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    origin.on("/x", OK)
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).body == b"hello"
    assert origin.requests[0].one("Host") == origin.authority
    origin.close()


def test_refused(client):
    """R148."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))            # bound, not listening
        client.request("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/x")
        raw_error(client, 502, "connection_refused")


def test_own_answers_keep_the_connection_where_they_can(client, origin):
    origin.on("/x", OK)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = client.ask("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/x")
    assert answer.status == 502
    if "close" not in answer.tokens("Connection"):
        assert client.ask("GET", origin.url("/x")).body == b"hello"


def test_silence(start, origin):
    """R151."""
    origin.on("/x", lambda call: call.stall())
    with start("--response-timeout", "1s").client() as client:
        client.request("GET", origin.url("/x"))
        raw_error(client, 504, "http_response_timeout")


BAD_RESPONSES = {
    "garbage": b"garbage\r\n\r\n",
    "bad name": b"HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n",
    "bad status": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "long field": b"HTTP/1.1 200 OK\r\nA: %s\r\n\r\n" % (b"a" * 400_000),
    "cut in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "nothing": b"",
}


@pytest.mark.parametrize("data", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_bad_responses(client, origin, data):
    def bad(call):
        call.send(data)
        call.close()
    origin.on("/x", bad)
    client.request("GET", origin.url("/x"))
    raw_error(client, 502)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("start_of_it", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
], ids=["length", "in a chunk", "between chunks", "before the trailer", "bad chunk"])
def test_death_in_mid_response_is_visible(proxy, origin, start_of_it, how):
    """R082."""
    def die(call):
        call.send(start_of_it)
        time.sleep(0.05)
        getattr(call, how)()
    origin.on("/x", die)
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        try:
            answer = client.response()
        except ConnectionResetError:
            return
        assert answer.status == 502 or not answer.complete
        assert client.ended()


def test_reset_of_an_answer_that_ends_by_close_is_visible(proxy, origin):
    def die(call):
        call.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        time.sleep(0.05)
        call.reset()
    origin.on("/x", die)
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        answer = client.response()
        assert not answer.complete


def test_silence_in_mid_response_is_visible(start, origin):
    def stop(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        call.stall()
    origin.on("/x", stop)
    with start("--read-timeout", "1s").client() as client:
        client.request("GET", origin.url("/x"))
        assert not client.response().complete


def test_client_gone_lets_the_upstream_go(proxy, origin):
    ended = []
    origin.on("/x", lambda call: ended.append(call.wait_for_end(15)))
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        client.reset()
    wait_until(lambda: ended, "the upstream connection to end")
    assert ended == [True]


def test_client_gone_in_mid_response_lets_the_upstream_go(proxy, origin):
    def pour(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            call.send(b"z" * 65536)
    origin.on("/x", pour)
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        client.sock.recv(1000)
        client.reset()
    wait_until(lambda: origin.connections and not origin.open_connections(), "the upstream connection to end")


def test_upstream_ended_connection_is_not_given_to_the_next(client, origin):
    """Half of a response must never become the start of the next."""
    def half(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        call.stall()
    origin.on("/x", half)
    origin.on("/y", OK)
    client.request("GET", origin.url("/x"))
    client.sock.recv(10)
    client.reset()


# The address book and the odd corner.

@pytest.mark.not_by("listener", why="the kit has one address of listen-tls")
def test_listens_on_several_addresses(start, origin):
    origin.on("/x", OK)
    proxy = start(listen=("127.0.0.1:0", "127.0.0.1:0"))
    assert len(set(proxy.addresses)) == 2
    for address in proxy.addresses:
        with Client(address) as client:
            assert client.ask("GET", origin.url("/x")).status == 200


def test_several_workers(start, origin):
    origin.on("*", OK)
    proxy = start("--workers", "3")
    clients = [proxy.client() for _ in range(30)]
    for client in clients:
        client.request("GET", origin.url("/x"))
    assert [c.response().status for c in clients] == [200] * 30
    for client in clients:
        client.close()


def test_json_log_escapes_what_peers_send(proxy, origin):
    origin.on("*", OK)
    with proxy.client() as client:
        client.ask("GET", origin.url('/x?"\\'), [("User-Agent", 'a"b\\c\xe9'), ("Referer", "\t tab")])
    line = proxy.wait_lines()[0]                # it parses: that is the test
    assert '"' in line["user_agent"]


def test_bad_requests_are_logged_in_one_line(proxy):
    with proxy.client() as client:
        client.send(b"GET http://x/\x01 HTTP/1.1\r\nHost: x\r\nA: \x1b[2J\r\n\r\n")
        client.response()
    assert proxy.wait_lines()[0]["status"] == 400
    assert "\x1b" not in proxy.said()
