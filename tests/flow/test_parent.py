"""The parent proxy: who goes through it, and what it may answer."""
import base64
import threading

import pytest

from kit.client import Client, join, trusting
from kit.origin import Origin, challenge, response
from kit.peer import Peer
from kit.road import Inside, InsideProxy, ListenerProxy

LOGIN = base64.b64encode(b"aladdin:open sesame").decode()


def echoing(call):
    call.send(response(200, b"done") if call.request.all("Ms-Echo-Reply") == ["v"] else challenge("v"))


class Picky(Origin):
    """A proxy that wants a login: it answers absolute-form itself, and makes blind tunnels."""

    def __init__(self, wanted=LOGIN, refusal=None, tls=None):
        super().__init__(tls=tls)
        self.wanted, self.refusal = wanted, refusal
        self.on("*", self.serve)

    def find(self, request):
        if request.method == "CONNECT":
            return self.tunnel, False
        return super().find(request)

    def admits(self, call):
        if self.wanted and call.request.get("Proxy-Authorization") != f"Basic {self.wanted}":
            call.send(response(407, b"who are you", [("Proxy-Authenticate", "Basic realm=x")]))
            return False
        if self.refusal:
            call.send(self.refusal)
            return False
        return True

    def serve(self, call):
        if self.admits(call):
            echoing(call)

    def tunnel(self, call):
        import socket
        call.over = True
        if not self.admits(call):
            return
        host, port = call.request.target.rsplit(":", 1)
        there = socket.create_connection((host.strip("[]"), int(port)), 20)
        call.send(b"HTTP/1.1 200 Go ahead\r\nVia: 1.1 picky\r\n\r\n")

        def pump(recv, send, end):
            try:
                while data := recv(65536):
                    send(data)
                end(socket.SHUT_WR)
            except OSError:
                pass
        back = threading.Thread(target=pump, args=(there.recv, call.sock.sendall, call.sock.shutdown), daemon=True)
        back.start()
        pump(call.connection.recv, there.sendall, there.shutdown)
        join(back)


@pytest.fixture
def picky():
    proxies = []

    def make(**more):
        proxies.append(Picky(**more))
        return proxies[-1]
    yield make
    for proxy in proxies:
        proxy.close()
        assert not proxy.malformed


def parent(proxy, login="aladdin:open%20sesame@", scheme="http"):
    return ["--parent", f"{scheme}://{login}{proxy.authority}"]


def test_http_goes_in_absolute_form_with_the_login(start, picky):
    above = picky()
    proxy = start(*parent(above))
    with proxy.client() as client:
        answer = client.ask("GET", "http://far.example/x?y", [("Proxy-Authorization", "Basic bWluZQ==")])
    assert (answer.status, answer.body) == (200, b"done")
    first, replay = above.requests
    for request in (first, replay):
        assert request.target == "http://far.example/x?y"
        assert request.one("Host") == "far.example"
        assert request.all("Proxy-Authorization") == [f"Basic {LOGIN}"]
    assert replay.one("Ms-Echo-Reply") == "v"
    assert len(above.connections) == 1
    assert LOGIN not in proxy.said() and "sesame" not in proxy.said()
    assert LOGIN not in proxy.access_log.read_text()


def test_options_star_has_no_path(start, picky):
    above = picky()
    with start(*parent(above)).client() as client:
        client.send("OPTIONS http://far.example HTTP/1.1\r\nHost: far.example\r\n\r\n")
        assert client.response().status == 200
    assert above.requests[0].target == "http://far.example"


def test_the_password_may_be_in_a_file(start, picky, tmp_path):
    (tmp_path / "secret").write_text("open sesame\n")
    with start(*parent(picky(), "aladdin@"), "--parent-password-file", str(tmp_path / "secret")).client() as client:
        assert client.ask("GET", "http://far.example/").status == 200


@pytest.mark.not_by("inside", why="its log has a CONNECT")
def test_a_407_of_the_parent_is_a_502(start, picky):
    above = picky(wanted="other")
    proxy = start("--connect-ports", "1-65535", *parent(above))
    with proxy.client() as client:
        answer = client.ask("GET", "http://far.example/")
    assert answer.status == 502
    assert not answer.has("Proxy-Authenticate")
    assert "wants other credentials" in answer.text
    with proxy.client() as client:
        client.send(client.head("CONNECT", "far.example:443"))
        answer = client.response("CONNECT")
    assert answer.status == 502
    assert "wants other credentials" in answer.text and "it answered 407" in answer.text
    assert [line["why"] for line in proxy.wait_lines(2)] == ["parent-auth"] * 2
    assert len(above.requests) == 2


def test_a_length_in_the_parents_200_means_nothing(start, peer):
    """R049: nor does a coding: a tunnel begins behind the head."""
    def serve(sock):
        got = b""
        while b"\r\n\r\n" not in got:
            got += sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 Go ahead\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nfirst octets")
        while sock.recv(65536):
            pass
    with start("--connect-ports", "1-65535", *parent(peer(serve), login="")).client() as client:
        client.send(client.head("CONNECT", "far.example:443"))
        head = client.reader.response_head("CONNECT")
        assert head.status == 200
        assert not head.has("Content-Length") and not head.has("Transfer-Encoding")
        while len(client.reader.have) < 12:
            assert client.reader.more()
        assert client.reader.have == b"first octets"


def test_a_refusal_of_the_parent(start, picky):
    above = picky(refusal=response(403, b"no", reason="Not For You"))
    with start("--connect-ports", "1-65535", *parent(above)).client() as client:
        client.send(client.head("CONNECT", "far.example:443"))
        answer = client.response("CONNECT")
    assert answer.status == 502
    assert "it answered 403 Not For You" in answer.get("Proxy-Status")
    with start(*parent(above)).client() as client:
        assert client.ask("GET", "http://far.example/").status == 403      # an answer like any other


@pytest.mark.parametrize("says", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200", b"", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000])
def test_a_parent_that_speaks_no_http(start, says):
    def serve(sock):
        sock.recv(65536)
        sock.sendall(says)
    above = Peer(serve)
    with start("--connect-ports", "1-65535", *parent(above, "")).client() as client:
        client.send(client.head("CONNECT", "far.example:443"))
        answer = client.response("CONNECT")
    assert answer.status == 502
    assert "proxy_configuration_error" in answer.get("Proxy-Status")
    above.close()


def test_a_parent_that_is_not_there(start, picky):
    above = picky()
    above.close()
    proxy = start("--connect-ports", "1-65535", *parent(above))
    with proxy.client() as client:
        answer = client.ask("GET", "http://far.example/")
    assert answer.status == 502
    assert "this is about the parent proxy" in answer.text


@pytest.mark.not_by("inside", "listener", why="a client of its own, blind and plain to the proxy")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_blind_tunnel(start, picky, roads, scheme):
    above = picky(tls=roads.server if scheme == "https" else None)
    origin = Origin(tls=roads.server)
    origin.on("/x", challenge("v"))
    client = Inside(start("--connect-ports", "1-65535", "--upstream-ca", str(roads.servers.cert),
                          *parent(above, scheme=scheme)).address)
    client.tls = trusting(roads.servers.cert)
    with client:
        assert client.ask("GET", origin.url("/x")).status == 449
    assert [r.target for r in above.requests] == [origin.authority]
    origin.close()


@pytest.mark.not_by("inside", why="a CONNECT is for one origin")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_https_is_verified_through_a_parent(start, picky, roads, scheme):
    """With an https:// parent it is TLS in TLS."""
    above = picky(tls=roads.server if scheme == "https" else None)
    good, bad = Origin(tls=roads.server), Origin(tls=roads.servers.server("DNS:other.example"))
    good.on("/x", echoing)
    proxy = start(*parent(above, scheme=scheme), "--upstream-ca", str(roads.servers.cert))
    with proxy.client() as client:
        for _ in range(2):
            assert client.ask("PUT", good.url("/x"), body=b"z" * 300_000).status == 200
        answer = client.ask("GET", bad.url("/x"))
    assert (answer.status, "IP address mismatch" in answer.text) == (502, True)
    assert [r.target for r in above.requests] == [good.authority, bad.authority]
    assert [len(r.body) for r in good.requests] == [300_000] * 4
    good.close()
    bad.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_interception_through_a_parent(start, picky, roads, scheme):
    above = picky(tls=roads.server if scheme == "https" else None)
    origin = Origin(tls=roads.server)
    origin.on("/x", echoing)
    proxy = start(*parent(above, scheme=scheme), kind=InsideProxy, roads=roads)
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
    assert len(above.requests) == 1
    origin.close()


def test_a_bad_certificate_of_the_parent(start, picky, roads):
    above = picky(tls=roads.servers.server("DNS:other.example"))
    with start(*parent(above, scheme="https"), "--upstream-ca", str(roads.servers.cert)).client() as client:
        answer = client.ask("GET", "http://far.example/")
    assert answer.status == 502
    assert "the parent proxy: IP address mismatch" in answer.text
    assert not above.requests


@pytest.mark.not_by("inside", why="what intercepts believes the servers' authority, not the other's own")
def test_two_of_us_in_a_row(start, origin):
    """One replay, not two."""
    origin.on("/x", echoing)
    outer = start()
    inner = start("--parent", outer.url)
    with inner.client() as client:
        answer = client.ask("POST", origin.url("/x"), body=b"once")
    assert answer.status == 200
    assert len(origin.requests) == 2
    assert [line["replays"] for line in inner.wait_lines()] == [0]
    assert [line["replays"] for line in outer.wait_lines()] == [1]
    vias = [v.split()[1] for v in origin.requests[0].get("Via").split(", ")]
    assert len(set(vias)) == 2


@pytest.mark.not_by("inside", why="the CONNECT is told so, as in the next test")
def test_three_of_us_in_a_ring(start, origin, tmp_path):
    """A request that comes back is refused, not sent round for ever."""
    from kit.apache import free_port
    port = free_port()
    first = start("--parent", f"http://127.0.0.1:{port}", "--via", "ring-a")
    second = start("--parent", first.url, "--via", "ring-b", listen=(f"127.0.0.1:{port}",))
    with first.client() as client:
        answer = client.ask("GET", origin.url("/x"))
    assert answer.status == 502
    assert "proxy_loop_detected" in answer.get("Proxy-Status")
    assert second.wait_lines()
    assert not origin.requests


@pytest.mark.not_by("inside", why="its log has a CONNECT")
def test_a_connect_in_a_ring(start):
    from kit.apache import free_port
    port = free_port()
    first = start("--parent", f"http://127.0.0.1:{port}", "--via", "ring-a")
    second = start("--parent", first.url, "--via", "ring-b", listen=(f"127.0.0.1:{port}",))
    with first.client() as client:
        client.send(client.head("CONNECT", "far.example:443"))
        assert client.response("CONNECT").status == 502
    assert [line["why"] for line in first.wait_lines(2)] == ["loop", "parent-refused"]
    assert [line["why"] for line in second.wait_lines()] == ["parent-refused"]


@pytest.mark.parametrize("minor", [0, 1])
def test_a_tunnel_says_who_had_the_request(start, picky, origin, minor):
    above = picky()
    with start("--connect-ports", "1-65535", "--via", "us", *parent(above)).client() as client:
        client.send(f"CONNECT {origin.authority} HTTP/1.{minor}\r\nHost: {origin.authority}\r\n"
                    "Via: 1.1 a\r\nVia: 1.0 b, 1.1 c\r\n\r\n")
        assert client.response("CONNECT").status == 200
    assert [r.get("Via") for r in above.requests] == [f"1.1 a, 1.0 b, 1.1 c, 1.{minor} us"]


NO_PROXY = [
    ("*", "far.example", False),
    ("far.example", "far.example", False),
    ("far.example", "FAR.Example", False),
    ("far.example", "far.example.", False),
    (".far.example", "far.example", False),
    ("far.example.", "far.example", False),
    ("far.example", "a.b.far.example", False),
    ("far.example", "notfar.example", True),
    ("far.example", "example", True),
    ("example", "far.example", False),
    ("127.0.0.1", "127.0.0.1", False),
    ("127.0.0.0/8", "127.0.0.1", False),
    ("10.0.0.0/8", "127.0.0.1", True),
    ("0.0.1", "127.0.0.1", True),
    ("::1", "[::1]", False),
    ("other.example,far.example", "far.example", False),
    ("other.example", "far.example", True),
]


@pytest.mark.not_by("inside", why="it asks for plain http")
@pytest.mark.parametrize("entry, host, by_parent", NO_PROXY)
def test_no_proxy(start, picky, origin, entry, host, by_parent, tmp_path):
    """By curl's rules; the direct way leads nowhere, or to the origin."""
    (tmp_path / "hosts").write_text("127.0.0.1 far.example a.b.far.example notfar.example example\n")
    origin.on("/x", response(200, b"direct"))
    above = picky()
    entries = [part for one in entry.split(",") for part in ("--no-proxy", one)]
    with start(*parent(above), *entries, "--hosts-file", str(tmp_path / "hosts")).client() as client:
        answer = client.ask("GET", f"http://{host}:{origin.port}/x")
    assert bool(above.requests) == by_parent
    if by_parent:
        assert answer.body == b"done"
    elif host != "[::1]":
        assert answer.body == b"direct"


def test_denied_addresses_stay_denied(start, picky):
    above = picky()
    with start(*parent(above)).client() as client:
        answer = client.ask("GET", "http://169.254.169.254/latest/meta-data/")
    assert answer.status == 403
    assert not above.requests


@pytest.mark.not_by("inside", why="it asks for plain http")
def test_direct_and_through_are_kept_apart(start, picky, origin):
    """Connections of one kind are not used for the other."""
    above = picky()
    origin.on("/x", response(200, b"direct"))
    proxy = start(config=f'parent = "http://aladdin:open%20sesame@{above.authority}"\nno-proxy = {{"127.0.0.1"}}\n')
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).body == b"direct"
        assert client.ask("GET", f"http://localhost:{origin.port}/x").body == b"done"
        assert client.ask("GET", origin.url("/x")).body == b"direct"
        assert client.ask("GET", f"http://localhost:{origin.port}/y").body == b"done"
    assert len(origin.connections) == 1
    assert len(above.connections) == 1
