"""CONNECT: blind tunnels."""
import hashlib
import os
import socket
import threading
import time

import pytest

from kit.client import abort, join, wait_until
from kit.origin import challenge

pytestmark = pytest.mark.not_by("inside", why="tunnels of what is not TLS; test_tls.py has those")

BIG = os.urandom(8 << 20)


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    return "ended"


@pytest.fixture
def open_proxy(start):
    """Any port may be connected to, since tests cannot have 443."""
    return start("--connect-ports", "1-65535")


def tunnel(client, authority, fields=()):
    client.send(client.head("CONNECT", authority, fields))
    answer = client.response("CONNECT")
    assert answer.status == 200, (answer, answer.body)
    return client


def read_exactly(client, n):
    got = client.reader.exactly(n)
    assert len(got) == n, "ended too early"
    return got


def test_octets_pass_both_ways(open_proxy, peer):
    with open_proxy.client() as client:
        tunnel(client, peer(echo).authority)
        for piece in (b"hello", b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            client.send(piece)
            assert read_exactly(client, len(piece)) == piece


def test_answer_has_no_framing_fields(open_proxy, peer):
    with open_proxy.client() as client:
        client.send(client.head("CONNECT", peer(echo).authority))
        answer = client.response("CONNECT")
        assert not answer.has("Content-Length") and not answer.has("Transfer-Encoding")


def test_octets_sent_with_the_request(open_proxy, peer):
    with open_proxy.client() as client:
        authority = peer(echo).authority
        client.send(client.head("CONNECT", authority) + b"early bird")
        assert client.response("CONNECT").status == 200
        assert read_exactly(client, 10) == b"early bird"


def test_server_that_speaks_first(open_proxy, peer):
    def greet(sock):
        sock.sendall(b"220 hello")
        return sock.recv(10)
    with open_proxy.client() as client:
        tunnel(client, peer(greet).authority)
        assert read_exactly(client, 9) == b"220 hello"


def test_half_close_by_the_client(open_proxy, peer):
    """R131."""
    def sum_up(sock):
        digest = hashlib.sha256()
        while data := sock.recv(65536):
            digest.update(data)
        sock.sendall(digest.digest())
        return "ended"
    with open_proxy.client() as client:
        tunnel(client, peer(sum_up).authority)
        client.send(BIG)
        client.fin()
        assert read_exactly(client, 32) == hashlib.sha256(BIG).digest()
        assert client.ended()


def test_half_close_by_the_server(open_proxy, peer):
    def pour(sock):
        sock.sendall(BIG)
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(100)
    server = peer(pour)
    with open_proxy.client() as client:
        tunnel(client, server.authority)
        assert read_exactly(client, len(BIG)) == BIG
        assert client.ended()
        client.send(b"still here")
        client.fin()
        wait_until(lambda: server.ended, "the server to hear the rest")
    assert server.ended == [b"still here"]


def test_large_amounts_both_ways_at_once(open_proxy, peer):
    with open_proxy.client() as client:
        tunnel(client, peer(echo).authority)
        sender = threading.Thread(target=client.send, args=(BIG,))
        sender.start()
        assert read_exactly(client, len(BIG)) == BIG
        join(sender)


def test_both_ends_close(open_proxy, peer):
    server = peer(echo)
    with open_proxy.client() as client:
        tunnel(client, server.authority)
        client.fin()
        assert client.ended()
    wait_until(lambda: server.ended, "the server side to end")
    assert server.ended == ["ended"]


def test_reset_by_the_client_is_not_a_clean_end(open_proxy, peer):
    def take(sock):
        try:
            while sock.recv(100):
                pass
        except ConnectionResetError:
            return "reset"
        return "ended"
    server = peer(take)
    with open_proxy.client() as client:
        tunnel(client, server.authority)
        client.send(b"x")
        client.reset()
    wait_until(lambda: server.ended, "the server side to end")
    assert server.ended == ["reset"]


def test_reset_by_the_server_is_not_a_clean_end(open_proxy, peer):
    def cut(sock):
        sock.sendall(b"abc")
        sock.recv(1)
        abort(sock)
    with open_proxy.client() as client:
        tunnel(client, peer(cut).authority)
        read_exactly(client, 3)
        client.send(b"x")
        assert client.ended()


def test_idle_timeout_counts_both_directions_together(start, peer):
    """Octets in one direction keep the other alive."""
    proxy = start("--connect-ports", "1-65535", "--tunnel-timeout", "2s")
    received = []

    def listen(sock):
        while data := sock.recv(100):
            received.append(data)
        return "ended"
    server = peer(listen)
    with proxy.client() as client:
        tunnel(client, server.authority)
        for _ in range(8):
            client.send(b"x")
            time.sleep(0.5)
        assert b"".join(received) == b"x" * 8
        assert client.ended()
    wait_until(lambda: server.ended, "the server side to end")


def test_default_ports(proxy, client, peer):
    server = peer(echo)
    client.send(client.head("CONNECT", server.authority))
    answer = client.response()
    assert answer.status == 403
    assert "connect-ports" in answer.text
    assert "http_request_denied" in answer.one("Proxy-Status")
    assert client.ended()                       # a refused CONNECT closes
    assert not server.ended


def test_port_ranges(start, peer):
    server = peer(echo)
    proxy = start("--connect-ports", f"{server.port}-{server.port}")
    with proxy.client() as client:
        tunnel(client, server.authority)
    with proxy.client() as client:
        client.send(client.head("CONNECT", f"127.0.0.1:{server.port ^ 1}"))
        assert client.response().status == 403


@pytest.mark.parametrize("target, status", [
    ("127.0.0.1", 400), ("127.0.0.1:", 400), ("127.0.0.1:0", 400), ("127.0.0.1:65536", 400), ("127.0.0.1:x", 400),
    ("http://127.0.0.1:443/", 400), ("/", 400), ("u@127.0.0.1:443", 400), (":443", 400), ("[::1:443", 400),
])
def test_bad_targets(proxy, client, target, status):
    client.send(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response().status == status
    assert client.ended()


def test_refused(open_proxy):
    with socket.socket() as taken, open_proxy.client() as client:
        taken.bind(("127.0.0.1", 0))
        authority = f"127.0.0.1:{taken.getsockname()[1]}"
        client.send(client.head("CONNECT", authority))
        answer = client.response()
        assert answer.status == 502
        assert "connection_refused" in answer.one("Proxy-Status")
        assert client.ended()


def test_http10_connect(open_proxy, peer):
    with open_proxy.client() as client:
        client.send(f"CONNECT {peer(echo).authority} HTTP/1.0\r\n\r\n")
        assert client.response("CONNECT").status == 200
        client.send(b"abc")
        assert read_exactly(client, 3) == b"abc"


def test_449_inside_a_tunnel_is_none_of_our_business(open_proxy, origin):
    origin.on("/x", challenge("v"))
    with open_proxy.client() as client:
        tunnel(client, origin.authority)
        assert client.ask("GET", "/x").status == 449
    assert len(origin.requests) == 1


def test_a_slow_end_does_not_cost_memory(open_proxy, peer):
    def pour(sock):
        sent = 0
        try:
            while sent < 64 << 20:
                sent += sock.send(b"z" * 65536)
        finally:
            pass
        return sent
    server = peer(pour)
    with open_proxy.client(rcvbuf=65536) as client:
        before = open_proxy.memory()
        tunnel(client, server.authority)
        time.sleep(1)
        assert not server.ended, "the proxy swallowed it all"
        assert open_proxy.memory() - before < open_proxy.memory_allowance(4 << 20)


def test_tunnel_is_logged_at_its_end(open_proxy, peer):
    with open_proxy.client() as client:
        authority = peer(echo).authority
        tunnel(client, authority)
        client.send(b"abc")
        read_exactly(client, 3)
    line = open_proxy.wait_lines()[0]
    assert line["method"] == "CONNECT"
    assert line["status"] == 200
