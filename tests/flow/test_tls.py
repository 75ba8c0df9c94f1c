"""TLS: which servers are believed, interception, the TLS listener. (P10)"""
import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from kit.ca import Authority, self_signed, serving
from kit.client import Client, join, trusting, wait_until
from kit.origin import Origin, challenge, response
from kit.peer import Peer
from kit.program import BINARY
from kit.road import Inside, InsideProxy, ListenerProxy
from kit.tool import program

BODY = os.urandom(300_000)


@pytest.fixture
def secure(roads):
    """An origin whose certificate is good."""
    origin = Origin(tls=roads.server)
    yield origin
    origin.close()
    assert not origin.malformed, origin.malformed


@pytest.fixture
def inside(start, roads):
    """inside(OPTION, VALUE ...): a proxy that intercepts 127.0.0.1."""
    return lambda *options, **more: start(*options, kind=InsideProxy, roads=roads, **more)


def echoing(call):
    call.send(response(200, b"done") if call.request.all("Ms-Echo-Reply") == ["v"] else challenge("v"))


def connect(client, authority):
    """The answer to CONNECT, and nothing further."""
    client.send(Client.head(client, "CONNECT", authority))
    return client.response("CONNECT")


# Which servers are believed.

IP = "IP:127.0.0.1"
BAD = {
    "expired": (lambda ca, tmp: ca.issue(IP, days=-1, begin=-3), "certificate has expired"),
    "not yet valid": (lambda ca, tmp: ca.issue(IP, days=3, begin=1), "certificate is not yet valid"),
    "wrong name": (lambda ca, tmp: ca.issue("DNS:other.example"), "IP address mismatch"),
    "wrong address": (lambda ca, tmp: ca.issue("IP:127.0.0.2"), "IP address mismatch"),
    "address as a name": (lambda ca, tmp: ca.issue("DNS:127.0.0.1"), "IP address mismatch"),
    "common name only": (lambda ca, tmp: ca.issue(None, cn="127.0.0.1"), "IP address mismatch"),
    "unknown authority": (lambda ca, tmp: Authority(tmp, "Nobody").issue(IP), "unable to get local issuer certificate"),
    "self-signed": (lambda ca, tmp: self_signed(tmp, IP), "self-signed certificate"),
    "weak key": (lambda ca, tmp: ca.issue(IP, key=("rsa", "rsa_keygen_bits:1024")), "EE certificate key too weak"),
    "weak digest": (lambda ca, tmp: ca.issue(IP, digest="sha1"), "CA signature digest algorithm too weak"),
    "for clients": (lambda ca, tmp: ca.issue(IP, usage="clientAuth"), "unsuitable certificate purpose"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("how", ["connect", "sidecar"])
def test_bad_certificates_are_refused_in_words(start, inside, roads, tmp_path, what, how):
    make, words = BAD[what]
    origin = Origin(tls=serving(make(roads.servers, tmp_path)))
    origin.on("/x", response(200, b"secret"))
    if how == "connect":
        with inside().client() as client:
            answer = connect(client, origin.authority)
    else:
        proxy = start("--origin", origin.base, "--upstream-ca", str(roads.servers.cert))
        with proxy.client() as client:
            answer = client.ask("GET", "/x")
    origin.close()
    assert answer.status == 502
    assert "error=tls_certificate_error" in answer.get("Proxy-Status")
    assert words in answer.get("Proxy-Status") and words in answer.text
    assert not origin.requests


@pytest.mark.parametrize("name", ["orders.test", "Orders.Test"])
def test_names_are_verified(inside, roads, tmp_path, name):
    (tmp_path / "hosts").write_text("127.0.0.1 orders.test other.test\n")
    origin = Origin(tls=roads.servers.server("DNS:orders.test"))
    origin.on("/x", echoing)
    proxy = inside("--hosts-file", str(tmp_path / "hosts"), "--intercept", "*.test")
    with proxy.client() as client:
        assert client.ask("GET", f"https://{name}:{origin.port}/x").status == 200
    with proxy.client() as client:
        answer = connect(client, f"other.test:{origin.port}")
    assert answer.status == 502
    assert "hostname mismatch: the certificate is for orders.test" in answer.text
    origin.close()


def test_revoked(inside, tmp_path):
    ca = Authority(tmp_path, "Careful")
    good, bad = ca.issue(IP), ca.issue(IP)
    ca.revoke(bad[0])
    proxy = inside("--upstream-ca", str(ca.cert), "--upstream-crl", str(ca.revocations()))
    for pair, status in ((good, 200), (bad, 502)):
        origin = Origin(tls=serving(pair))
        origin.on("/x", response(200, b"fine"))
        with proxy.client() as client:
            answer = connect(client, origin.authority)
            assert answer.status == status
            if status == 502:
                assert "certificate revoked" in answer.text
        origin.close()


def test_not_tls_at_all(inside, peer):
    server = peer(lambda sock: (sock.recv(10), sock.sendall(response(400))))
    with inside().client() as client:
        answer = connect(client, server.authority)
    assert answer.status == 502
    assert "error=tls_protocol_error" in answer.get("Proxy-Status")


def cut(call):
    """Ends the connection under a body that only its end would end, without close_notify."""
    call.send(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
    raw = socket.socket(fileno=os.dup(call.sock.fileno()))
    raw.shutdown(socket.SHUT_RDWR)
    raw.close()
    call.over = True


def whole(call):
    call.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    try:
        call.sock.unwrap()
    except OSError:
        pass
    call.over = True


@pytest.mark.parametrize("how", [cut, whole])
def test_truncation_is_told_from_an_end(start, secure, roads, how):
    secure.on("/x", how)
    proxy = start("--origin", secure.base, "--upstream-ca", str(roads.servers.cert))
    with proxy.client() as client:
        answer = client.ask("GET", "/x")
    assert answer.complete == (how is whole)
    line = proxy.wait_lines()[-1]
    assert line["why"] == ("" if how is whole else "response-incomplete")


def fingerprint(cert):
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    return __import__("hashlib").sha256(der).hexdigest()


@pytest.mark.parametrize("right", [True, False])
def test_pinned(inside, roads, tmp_path, right):
    """A rule's fingerprint is the one way to use a server that verification refuses."""
    pair = self_signed(tmp_path, "DNS:whoever")
    other = roads.servers.issue(IP)
    origin = Origin(tls=serving(pair if right else other))
    origin.on("/x", echoing)
    config = f'rule "old" {{\n    host = "127.0.0.1"\n    pinned-sha256 = "{fingerprint(pair[0])}"\n}}\n'
    with inside(config=config).client() as client:
        if right:
            assert client.ask("GET", origin.url("/x")).status == 200
        else:
            answer = connect(client, origin.authority)
            assert (answer.status, "not the pinned one" in answer.text) == (502, True)
    origin.close()


def test_client_certificate_of_a_rule(inside, roads, tmp_path):
    cert, key = roads.servers.issue("DNS:client", usage="clientAuth")
    context = roads.servers.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(roads.servers.cert)
    origin = Origin(tls=context)
    origin.on("/x", lambda call: call.send(response(200, str(call.sock.getpeercert()["serialNumber"]).encode())))
    config = f'rule "login" {{\n    host = "127.0.0.1"\n    path = "/x*"\n    client-cert = "{cert}"\n' \
             f'    client-key = "{key}"\n}}\n'
    with inside(config=config).client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
    origin.close()


def test_unusable_files_are_told_at_the_start(tmp_path, roads):
    cases = [["--listen-tls", "127.0.0.1:0", "--listen-cert", "none.pem", "--listen-key", "none.key"],
             ["--upstream-ca", "none.pem"],
             ["--intercept", "*", "--ca-cert", "none.pem", "--ca-key", "none.key"],
             ["--intercept", "*", "--ca-cert", str(roads.local[0]), "--ca-key", str(roads.listener[1])]]
    for case in cases:
        done = subprocess.run([BINARY, "run", "--listen", "127.0.0.1:0", *case], capture_output=True, timeout=20,
                              text=True, cwd=tmp_path)
        assert done.returncode == 78, done.stderr
        assert "none.pem" in done.stderr or "of another certificate" in done.stderr
        tested = subprocess.run([BINARY, "-t", *case], capture_output=True, timeout=20, text=True, cwd=tmp_path)
        assert tested.returncode == 78 and tested.stderr


# Interception.

def test_449_inside(inside, secure):
    secure.on("/x", echoing)
    proxy = inside()
    with proxy.client() as client:
        for _ in range(3):
            answer = client.ask("POST", secure.url("/x?q=1"), body=BODY)
            assert (answer.status, answer.body) == (200, b"done")
    assert [r.target for r in secure.requests] == ["/x?q=1"] * 6
    assert len(secure.connections) == 1         # the one that was verified
    assert {r.one("Host") for r in secure.requests} == {secure.authority}
    lines = proxy.wait_lines(3)
    assert lines[0]["url"] == secure.url("/x")
    assert [(line["status"], line["replays"]) for line in lines] == [(200, 1)] * 3


def test_one_leaf_for_many(inside, secure):
    secure.on("/x", response(200, b"fine"))
    proxy, serials = inside(), set()
    for _ in range(3):
        with proxy.client() as client:
            assert client.ask("GET", secure.url("/x")).status == 200
            leaf = client.sock.getpeercert()
            serials.add(leaf["serialNumber"])
            assert leaf["subjectAltName"] == (("IP Address", "127.0.0.1"),)
            assert client.sock.version() == "TLSv1.3"
    assert len(serials) == 1


@pytest.mark.parametrize("offers, chosen", [(["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"),
                                            (["http/1.0", "http/1.1"], "http/1.1")])
def test_alpn(inside, secure, offers, chosen):
    secure.on("/x", response(200, b"fine"))
    with inside().client() as client:
        client.tls.set_alpn_protocols(offers)
        assert client.ask("GET", secure.url("/x")).status == 200
        assert client.sock.selected_alpn_protocol() == chosen


def test_not_listed_stays_blind(inside, secure, roads):
    secure.on("/x", challenge("v"))
    proxy = inside("--intercept", "other.example")
    client = Inside(proxy.address)
    client.tls = trusting(roads.servers.cert)   # the server's own certificate
    with client:
        assert client.ask("GET", secure.url("/x")).status == 449
    assert len(secure.requests) == 1


def test_a_client_that_does_not_trust_us(inside, secure, roads):
    with inside().client() as client:
        client.tls = trusting(roads.servers.cert)
        with pytest.raises(ssl.SSLCertVerificationError):
            client.ask("GET", secure.url("/x"))
    assert not secure.requests


def speaking_both(roads, talk):
    """A server that speaks TLS to who speaks TLS, and `talk` to others."""
    def serve(sock):
        first = sock.recv(6, socket.MSG_PEEK)
        if first[:2] == b"\x16\x03" and first[5:] == b"\x01":
            sock = roads.server.wrap_socket(sock, server_side=True)
            while sock.recv(65536):
                pass
            return "tls"
        return talk(sock)
    return Peer(serve)


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    return "ended"


def intercepts(proxy):
    """What /metrics counts of them, by result."""
    port = int(re.search(r"admin on http://127\.0\.0\.1:(\d+)", proxy.said())[1])
    with Client(("127.0.0.1", port)) as client:
        text = client.ask("GET", "/metrics", [("Host", "localhost")]).text
    return {result: int(n) for result, n in
            re.findall(r'^retrywith_intercepts_total\{result="(\w+)"\} (\d+)$', text, re.MULTILINE)}


def test_intercepts_are_counted(inside, secure, roads):
    secure.on("/x", echoing)
    proxy = inside("--admin", "127.0.0.1:0")
    for _ in range(2):
        with proxy.client() as client:
            assert client.ask("GET", secure.url("/x")).status == 200
    with proxy.client() as client:
        client.tls = trusting(roads.servers.cert)
        with pytest.raises(ssl.SSLCertVerificationError):
            client.ask("GET", secure.url("/x"))
    peer = speaking_both(roads, echo)
    with proxy.client() as client:
        assert connect(client, peer.authority).status == 200
        client.send(b"SSH-2.0-client\r\n")
        assert client.reader.more()
    wanted = {"opened": 2, "refused": 1, "blind": 1}
    wait_until(lambda: intercepts(proxy) == wanted, "the counts")
    peer.close()


@pytest.mark.parametrize("first", [b"SSH-2.0-client\r\n", b"G", b"\x16\x03\x01\x00\x05\x02hello", b"\x16\x04", b"\x80\x2e\x02"])
def test_other_octets_are_tunnelled_and_none_is_lost(inside, roads, first):
    peer = speaking_both(roads, echo)
    with inside().client() as client:
        assert connect(client, peer.authority).status == 200
        client.send(first)
        while len(client.reader.have) < len(first):
            assert client.reader.more()
        assert client.reader.take(len(first)) == first
        client.send(BODY)
        while len(client.reader.have) < len(BODY):
            assert client.reader.more()
        assert client.reader.have == BODY
    peer.close()


def test_octets_in_one_piece_with_connect(inside, roads):
    peer = speaking_both(roads, echo)
    with inside().client() as client:
        client.send(Client.head(client, "CONNECT", peer.authority) + b"early and plain")
        assert client.response("CONNECT").status == 200
        while len(client.reader.have) < 15:
            assert client.reader.more()
        assert client.reader.have == b"early and plain"
    peer.close()


def memory_tls(client, roads, name):
    """The octets of a ClientHello, and what goes on with them."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(roads.local[0]).wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()

    def go_on(step):
        while True:
            try:
                value = step()
                client.send(outgoing.read())
                return value
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                data = client.reader.take(len(client.reader.have)) or client.sock.recv(65536)
                assert data
                incoming.write(data)
    return tls, outgoing.read(), go_on


@pytest.mark.parametrize("pieces", ["with connect", "octet by octet", "after"])
def test_the_hello_may_come_in_any_way(inside, secure, roads, pieces):
    secure.on("/x", echoing)
    with inside().client() as client:
        tls, hello, go_on = memory_tls(client, roads, "127.0.0.1")
        head = Client.head(client, "CONNECT", secure.authority)
        client.send(head + hello if pieces == "with connect" else head)
        assert client.response("CONNECT").status == 200
        if pieces == "octet by octet":
            client.send_in_pieces(hello)
        elif pieces == "after":
            client.send(hello)
        go_on(tls.do_handshake)
        tls.write(b"GET /x HTTP/1.1\r\nHost: " + secure.authority.encode() + b"\r\nConnection: close\r\n\r\n")
        assert go_on(lambda: tls.read(65536)).startswith(b"HTTP/1.1 200")


def test_a_server_that_speaks_first(inside, roads):
    def greet(sock):
        sock.sendall(b"220 ready\r\n")
        return echo(sock)

    def serve(sock):                            # who says nothing for long gets a greeting
        sock.settimeout(0.5)
        try:
            if sock.recv(1, socket.MSG_PEEK) == b"\x16":
                roads.server.wrap_socket(sock, server_side=True).recv(1)
                return "tls"
        except TimeoutError:
            pass
        sock.settimeout(20)
        return greet(sock)
    peer = Peer(serve)
    with inside().client() as client:
        assert connect(client, peer.authority).status == 200
        assert client.reader.line() == b"220 ready"
        client.send(b"QUIT")
        while len(client.reader.have) < 4:
            assert client.reader.more()
    peer.close()


def test_a_client_that_takes_its_time(inside, secure):
    """It is silent for more than a second, and then it is TLS after all."""
    secure.on("/x", echoing)
    with inside().client() as client:
        assert connect(client, secure.authority).status == 200
        wait_until(lambda: len(secure.connections) == 2, "the connection in case the server speaks first")
        client.authority = secure.authority
        client.secure(client.tls, "127.0.0.1")
        assert client.ask("GET", secure.url("/x")).status == 200


def test_a_blind_connection_that_fails(inside, secure):
    with inside().client() as client:
        assert connect(client, secure.authority).status == 200
        secure.door.close()
        client.send(b"not TLS")
        assert client.ended()


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1", "127.0.0.1:1", "user@127.0.0.1", "127.0.0.1:{port}0"])
def test_a_host_that_connect_did_not_name(inside, secure, host):
    secure.on("/x", response(200, b"fine"))
    with inside().client() as client:
        answer = client.ask("GET", secure.url("/x"), [("Host", host.format(port=secure.port))])
    assert answer.status == 400
    assert not secure.requests


@pytest.mark.parametrize("target", ["https://other.example/x", "http://{authority}/x", "https://127.0.0.1/x"])
def test_an_absolute_target_that_connect_did_not_name(inside, secure, target):
    with inside().client() as client:
        client.enter(secure.authority)
        client.send(f"GET {target.format(authority=secure.authority)} HTTP/1.1\r\nHost: {secure.authority}\r\n\r\n")
        assert client.response().status == 400
    assert not secure.requests


def test_an_absolute_target_that_connect_named(inside, secure):
    secure.on("/x", echoing)
    with inside().client() as client:
        client.enter(secure.authority)
        client.send(f"GET {secure.url('/x')} HTTP/1.1\r\nHost: {secure.authority}\r\n\r\n")
        assert client.response().status == 200
    assert [r.target for r in secure.requests] == ["/x"] * 2


@pytest.mark.parametrize("method,path,target", [("GET", "", "/"), ("GET", "?q", "/?q"), ("OPTIONS", "", "*"),
                                                ("OPTIONS", "?q", "/?q"), ("OPTIONS", "/", "/")])
def test_an_absolute_target_without_a_path(inside, secure, method, path, target):
    """RFC 9112 3.2.1, 3.2.4: as outside of CONNECT. (R023, R024)"""
    secure.on(target.partition("?")[0], response(200, b"fine"))
    with inside().client() as client:
        client.enter(secure.authority)
        client.send(f"{method} https://{secure.authority}{path} HTTP/1.1\r\nHost: {secure.authority}\r\n\r\n")
        assert client.response().status == 200
    assert [r.target for r in secure.requests] == [target]


def test_connect_inside(inside, secure):
    with inside().client() as client:
        client.enter(secure.authority)
        answer = connect(client, secure.authority)
        assert answer.status == 400


def test_http10_without_host(inside, secure):
    secure.on("/x", response(200, b"fine"))
    with inside().client() as client:
        client.enter(secure.authority)
        client.send("GET /x HTTP/1.0\r\n\r\n")
        assert client.response().status == 200
    assert secure.requests[0].one("Host") == secure.authority


@pytest.mark.parametrize("name", ["other.example", None])
def test_the_leaf_is_for_the_name_in_connect(inside, secure, roads, name):
    """Whatever SNI says: only that server was verified."""
    with inside().client() as client:
        assert connect(client, secure.authority).status == 200
        context = trusting(roads.local[0])
        context.check_hostname = False
        client.secure(context, name)
        assert client.sock.getpeercert()["subjectAltName"] == (("IP Address", "127.0.0.1"),)


def test_an_upgrade_inside(inside, secure):
    def upgraded(call):
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nwelcome")
        while data := call.connection.recv(65536):
            call.send(data.upper())
        call.over = True
    secure.on("/chat", upgraded)
    with inside().client() as client:
        answer = client.ask("GET", secure.url("/chat"), [("Connection", "Upgrade"), ("Upgrade", "chat")])
        assert answer.status == 101
        for said, heard in ((b"hello", b"welcomeHELLO"), (b"x" * 100_000, b"X" * 100_000)):
            client.send(said)
            while len(client.reader.have) < len(heard):
                assert client.reader.more()
            assert client.reader.take(len(heard)) == heard


def test_a_slow_handshake_stalls_nobody(inside, secure, roads):
    secure.on("/x", response(200, b"fine"))
    proxy = inside("--head-timeout", "3s")
    slow = [proxy.client() for _ in range(20)]
    for client in slow:
        _, hello, _ = memory_tls(client, roads, "127.0.0.1")
        assert connect(client, secure.authority).status == 200
        client.send(hello[:100])                # and no more
    for _ in range(5):
        with proxy.client() as client:
            assert client.ask("GET", secure.url("/x")).status == 200
    for client in slow:                         # the deadline ends them
        assert client.ended()
        client.close()


def test_bad_records_from_the_client(inside, secure):
    secure.on("/x", response(200, b"fine"))
    proxy = inside()
    with proxy.client() as client:
        assert connect(client, secure.authority).status == 200
        client.send(b"\x16\x03\x01\x00\x10\x01" + b"\xff" * 100)
        assert client.reader.more() in (True, False)    # an alert, perhaps
    with proxy.client() as client:
        client.ask("GET", secure.url("/x"))
        raw = client.sock.detach()
        raw = socket.socket(fileno=raw)
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
        raw.settimeout(20)
        while raw.recv(65536):
            pass
        raw.close()
    with proxy.client() as client:
        assert client.ask("GET", secure.url("/x")).status == 200


def test_the_client_leaves_at_every_stage(inside, secure, roads):
    secure.on("/x", response(200, b"fine"))
    proxy = inside()
    client = proxy.client()
    _, hello, _ = memory_tls(client, roads, "127.0.0.1")
    head = Client.head(client, "CONNECT", secure.authority)
    for octets in (head, head + hello[:3], head + hello[:50], head + hello):
        with proxy.client() as one:
            one.send(octets)
            one.reset()
        with proxy.client() as one:
            one.send(octets)
            one.fin()                           # half-closing is leaving, too
            with contextlib.suppress(ConnectionResetError):     # what it said may be unread
                while one.reader.more():
                    pass
    client.close()
    with proxy.client() as client:
        assert client.ask("GET", secure.url("/x")).status == 200


def test_many_hosts(inside, roads, tmp_path):
    names = [f"h{i}.many.test" for i in range(40)]
    (tmp_path / "hosts").write_text("127.0.0.1 " + " ".join(names) + "\n")
    origin = Origin(tls=roads.servers.server("DNS:*.many.test"))
    origin.on("/x", echoing)
    proxy = inside("--hosts-file", str(tmp_path / "hosts"), "--intercept", "*.test")
    answers = []

    def ask(name):
        with proxy.client() as client:
            answers.append(client.ask("GET", f"https://{name}:{origin.port}/x").status)
    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    join(*threads)
    assert answers == [200] * 40
    origin.close()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


def test_the_key_is_in_another_process(inside, secure, roads):
    secure.on("/x", response(200, b"fine"))
    proxy = inside()
    (signer,) = children(proxy.pid)
    with open(f"/proc/{signer}/cmdline", "rb") as f:
        assert f.read() == b"retrywith\0ca\0signer\0"
    with proxy.client() as client:
        assert client.ask("GET", secure.url("/x")).status == 200
    proxy.stop()
    assert not os.path.exists(f"/proc/{signer}")


def test_the_signing_process_dies(inside, roads, tmp_path):
    """Hosts that have a leaf go on; others are refused in words; nothing hangs."""
    (tmp_path / "hosts").write_text("127.0.0.1 a.one.test b.one.test\n")
    origin = Origin(tls=roads.servers.server("DNS:*.one.test"))
    origin.on("/x", echoing)
    proxy = inside("--hosts-file", str(tmp_path / "hosts"), "--intercept", "*.test")
    with proxy.client() as client:
        assert client.ask("GET", f"https://a.one.test:{origin.port}/x").status == 200
    (signer,) = children(proxy.pid)
    os.kill(signer, 9)
    wait_until(lambda: "has ended" in proxy.said(), "a line in the log")
    if "read again" not in proxy.said():        # no new one: the sandbox starts no programs
        with proxy.client() as client:
            answer = connect(client, f"b.one.test:{origin.port}")
        assert answer.status == 502 and "mint-failed" in answer.text
    with proxy.client() as client:
        assert client.ask("GET", f"https://a.one.test:{origin.port}/x").status == 200
    origin.close()


def test_the_login_is_shown_once(inside, secure, tmp_path):
    """With CONNECT; the requests inside are the server's, and carry none."""
    (tmp_path / "users").write_text("ann:" + subprocess.run(["openssl", "passwd", "-6", "secret"], capture_output=True,
                                                            text=True, check=True).stdout)
    secure.on("/x", echoing)
    proxy = inside("--htpasswd", str(tmp_path / "users"))
    with proxy.client() as client:
        assert connect(client, secure.authority).status == 407
        client.send(Client.head(client, "CONNECT", secure.authority, [("Proxy-Authorization", "Basic YW5uOnNlY3JldA==")]))
        assert client.response("CONNECT").status == 200
        client.secure(client.tls, "127.0.0.1")
        client.authority = secure.authority
        assert client.ask("GET", secure.url("/x")).status == 200
    assert not any(r.has("Proxy-Authorization") for r in secure.requests)


def test_a_reload_keeps_leaves_and_sessions(inside, secure):
    secure.on("/x", echoing)
    proxy = inside()
    before = children(proxy.pid)
    with proxy.client() as client:
        assert client.ask("GET", secure.url("/x")).status == 200
        serial = client.sock.getpeercert()["serialNumber"]
        proxy.signal(1)
        wait_until(lambda: "read again" in proxy.said(), "the reload")
        assert client.ask("GET", secure.url("/x")).status == 200
        with proxy.client() as other:
            assert other.ask("GET", secure.url("/x")).status == 200
            assert other.sock.getpeercert()["serialNumber"] == serial
    assert children(proxy.pid) == before


@pytest.mark.parametrize("credentials", [False, True])
def test_an_encrypted_key_with_a_passphrase(inside, secure, roads, tmp_path, credentials):
    """Named by their paths, or below systemd as credentials."""
    keys = tmp_path / "keys"
    keys.mkdir()
    key = keys / "encrypted.key"
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", roads.local[1], "-out", key, "-passout", "pass:open sesame"],
                   check=True)
    (keys / "pass").write_text("open sesame\n")
    secure.on("/x", echoing)
    where = "" if credentials else f"{keys}/"
    proxy = inside("--ca-key", where + "encrypted.key", "--ca-passphrase-file", where + "pass",
                   env={"CREDENTIALS_DIRECTORY": str(keys)} if credentials else None)
    with proxy.client() as client:
        assert client.ask("GET", secure.url("/x")).status == 200


def test_an_operators_intermediate(inside, secure, tmp_path):
    """An authority that is no root is shown along with the leaf."""
    root = Authority(tmp_path, "Root")
    key, request, cert = (tmp_path / f"sub.{e}" for e in ("key", "csr", "pem"))
    subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Sub", "-keyout", key, "-out", request],
                   check=True, capture_output=True)
    (tmp_path / "ext").write_text("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n"
                                  "subjectKeyIdentifier=hash\n")
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", root.cert, "-CAkey", root.key, "-days", "2", "-out",
                    cert, "-extfile", tmp_path / "ext"], check=True, capture_output=True)
    secure.on("/x", echoing)
    with inside("--ca-cert", str(cert), "--ca-key", str(key)).client() as client:
        client.tls = trusting(root.cert)
        assert client.ask("GET", secure.url("/x")).status == 200


# Real clients, and old ones.

URLLIB = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode())
"""


@pytest.fixture
def world(inside, roads, tmp_path):
    """A proxy, a name, and the environment of a program that uses both."""
    (tmp_path / "hosts").write_text("127.0.0.1 orders.test\n")
    origin = Origin(tls=roads.servers.server("DNS:orders.test"))
    origin.on("*", echoing)
    proxy = inside("--hosts-file", str(tmp_path / "hosts"), "--intercept", "*.test")
    proxy.base = f"https://orders.test:{origin.port}"
    proxy.origin = origin
    proxy.env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "http_proxy": proxy.url, "https_proxy": proxy.url,
                 "SSL_CERT_FILE": str(roads.local[0])}
    yield proxy
    origin.close()


def run(world, *arguments, data=None, check=True):
    done = subprocess.run([*map(str, arguments)], input=data, capture_output=True, timeout=60, env=world.env)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def test_curl(world, roads, tmp_path):
    (tmp_path / "upload").write_bytes(BODY)
    curl = [program("curl"), "-qsS", "--cacert", roads.local[0], "-w", "%{http_code} "]
    assert run(world, *curl, world.base + "/x").stdout == b"done200 "
    assert run(world, *curl, "-T", tmp_path / "upload", world.base + "/x").stdout == b"done200 "
    assert [r.body == BODY for r in world.origin.requests[2:]] == [True, True]
    assert run(world, *curl, "--tls-max", "1.2", world.base + "/x").stdout == b"done200 "


def test_curl_is_told_why(world, roads):
    curl = [program("curl"), "-qsSv", "--cacert", roads.local[0]]
    done = run(world, *curl, world.base.replace("orders", "none"), check=False)
    assert done.returncode == 56
    assert b"Proxy-Status: retrywith; error=dns_error" in done.stderr


@pytest.mark.parametrize("cipher", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-SHA"])
def test_a_client_that_knows_rsa_only(world, roads, cipher):
    done = run(world, program("curl"), "-qsS", "--cacert", roads.local[0], "--tls-max", "1.2", "--ciphers", cipher,
               "-w", "%{http_code} ", world.base + "/x", check=cipher[:3] != "DHE")
    if cipher[:3] != "DHE":                     # no finite-field Diffie-Hellman from us
        assert done.stdout == b"done200 "


def test_an_old_client(inside, roads, secure):
    """TLS 1.0 where client-tls-min says so, and only there."""
    secure.on("/x", echoing)
    for options, fine in (([], False), (["--client-tls-min", "1.0"], True)):
        with inside(*options).client() as client:
            client.tls.set_ciphers("ALL:@SECLEVEL=0")
            client.tls.minimum_version = client.tls.maximum_version = ssl.TLSVersion.TLSv1
            if fine:
                assert client.ask("GET", secure.url("/x")).status == 200
                assert client.sock.version() == "TLSv1"
            else:
                with pytest.raises(ssl.SSLError):
                    client.ask("GET", secure.url("/x"))


def test_wget(world, roads):
    out = run(world, program("wget"), "-q", "-O", "-", "--ca-certificate", roads.local[0], world.base + "/x").stdout
    assert out == b"done"


def test_python(world):
    assert run(world, sys.executable, "-c", URLLIB, world.base + "/x").stdout == b"done\n"


def test_requests(world, roads):
    """It asks the environment for both; certifi's store is its own."""
    pytest.importorskip("requests")
    world.env.update(REQUESTS_CA_BUNDLE=str(roads.local[0]))
    code = "import requests, sys; r = requests.post(sys.argv[1], data=b'x' * 100000); print(r.status_code, r.text)"
    assert run(world, sys.executable, "-c", code, world.base + "/x").stdout == b"200 done\n"


NODE = """
const http = require('http'), https = require('https');
const at = new URL(process.argv[2]), proxy = new URL(process.env.https_proxy);
http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: at.host})
    .on('connect', (answer, socket) => https.get(at, {socket, agent: false}, r => {
        r.on('data', d => console.log(r.statusCode + ' ' + d));
        r.on('end', () => socket.destroy());
    })).end();
"""


def test_node(world, roads):
    """Its own store of certificates takes one more; the CONNECT is what proxy agents do."""
    world.env.update(NODE_EXTRA_CA_CERTS=str(roads.local[0]))
    assert run(world, program("node"), "-e", NODE, "-", world.base + "/x").stdout == b"200 done\n"


JAVA = """
import java.net.*;
public class Get {
    public static void main(String[] a) throws Exception {
        HttpURLConnection c = (HttpURLConnection) new URL(a[0]).openConnection();
        System.out.println(c.getResponseCode() + " " + new String(c.getInputStream().readAllBytes()));
    }
}
"""


def test_java(world, roads, tmp_path):
    java, keytool = program("java"), program("keytool")
    (tmp_path / "Get.java").write_text(JAVA)
    run(world, keytool, "-importcert", "-noprompt", "-alias", "retrywith", "-file", roads.local[0], "-keystore",
        tmp_path / "store", "-storepass", "changeit")
    host, port = world.address
    done = run(world, java, f"-Dhttps.proxyHost={host}", f"-Dhttps.proxyPort={port}",
               f"-Djavax.net.ssl.trustStore={tmp_path / 'store'}", "-Djavax.net.ssl.trustStorePassword=changeit", tmp_path / "Get.java", world.base + "/x")
    assert done.stdout == b"200 done\n"


def git_server(root):
    """git http-backend, behind a 449 for every request."""
    def responder(call):
        request = call.request
        if request.all("Ms-Echo-Reply") != ["v"]:
            call.send(challenge("v"))
            return
        path, _, query = request.path.partition("?")
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
               "QUERY_STRING": query, "REQUEST_METHOD": request.method, "REMOTE_USER": "somebody",
               "CONTENT_TYPE": request.get("Content-Type", ""), "CONTENT_LENGTH": str(len(request.body)),
               "HTTP_CONTENT_ENCODING": request.get("Content-Encoding", ""),
               "GIT_PROTOCOL": request.get("Git-Protocol", "")}
        done = subprocess.run(["git", "http-backend"], input=bytes(request.body), env=env, capture_output=True, check=True)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")]
        status = next((int(v.split()[0]) for n, v in fields if n == "Status"), 200)
        call.send(response(status, body, [f for f in fields if f[0] != "Status"]))
    return responder


def test_git_clone_and_push(world, roads, tmp_path):
    program("git")
    server, work, again = tmp_path / "srv" / "r.git", tmp_path / "work", tmp_path / "again"
    world.origin.on("*", git_server(tmp_path / "srv"))
    world.env.update(GIT_SSL_CAINFO=str(roads.local[0]), GIT_TERMINAL_PROMPT="0", GIT_CONFIG_NOSYSTEM="1",
                     GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b", GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@b")
    run(world, "git", "init", "-q", "--bare", "-b", "main", server)
    run(world, "git", "clone", "-q", world.base + "/r.git", work)
    (work / "large").write_bytes(os.urandom(3 << 20))       # past http.postBuffer: git sends chunks
    run(world, "git", "-C", work, "add", ".")
    run(world, "git", "-C", work, "commit", "-qm", "one")
    run(world, "git", "-C", work, "push", "-q", "origin", "HEAD:main")
    run(world, "git", "clone", "-q", world.base + "/r.git", again)
    assert (again / "large").read_bytes() == (work / "large").read_bytes()
    assert any(r.framing == "chunked" for r in world.origin.requests)
    challenged = [r for r in world.origin.requests if not r.has("Ms-Echo-Reply")]
    assert len(challenged) * 2 == len(world.origin.requests)


# The listener that speaks TLS.

@pytest.mark.not_by("inside", why="what goes to a TLS listener here is plain")
def test_curl_to_a_tls_listener(start, roads, origin, secure, curl):
    origin.on("/x", echoing)
    secure.on("/x", response(200, b"blind"))
    proxy = start("--connect-ports", "1-65535", kind=ListenerProxy, roads=roads)
    done = curl("-x", proxy.url, "--proxy-cacert", str(roads.servers.cert), origin.url("/x"))
    assert (done.status, done.stdout) == (200, b"done")
    done = curl("-x", proxy.url, "--proxy-cacert", str(roads.servers.cert), "--cacert", str(roads.servers.cert),
                secure.url("/x"))
    assert (done.status, done.stdout) == (200, b"blind")


def test_interception_inside_a_tls_listener(start, roads, secure, curl):
    """TLS in TLS."""
    secure.on("/x", echoing)
    proxy = start("--connect-ports", "1-65535", "--intercept", "127.0.0.1", "--ca-cert", str(roads.local[0]), "--ca-key",
                  str(roads.local[1]), "--upstream-ca", str(roads.servers.cert), kind=ListenerProxy, roads=roads)
    done = curl("-x", proxy.url, "--proxy-cacert", str(roads.servers.cert), "--cacert", str(roads.local[0]),
                "-T", "-", secure.url("/x"), data=BODY)
    assert (done.status, done.stdout) == (200, b"done")
    assert [r.body == BODY for r in secure.requests] == [True, True]


def test_plain_http_to_a_tls_listener(start, roads, origin):
    origin.on("/x", response(200, b"fine"))
    proxy = start(kind=ListenerProxy, roads=roads)
    with Client(proxy.address) as client:
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while client.reader.more():
            pass
        assert b"HTTP" not in client.reader.have
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_known_to_all_workers_and_outlive_a_reload(start, roads, origin, version):
    origin.on("/x", response(200, b"fine"))
    proxy = start("--workers", "2", kind=ListenerProxy, roads=roads)
    context = trusting(roads.servers.cert)
    context.minimum_version = context.maximum_version = version
    session, reused = None, []
    for i in range(16):
        if i == 8:
            proxy.signal(1)
            wait_until(lambda: "read again" in proxy.said(), "the reload")
        bare = socket.create_connection(proxy.address, 20)
        with context.wrap_socket(bare, server_hostname="127.0.0.1", session=session) as sock:
            reused.append(sock.session_reused)
            sock.sendall(Client.head(None, "GET", origin.url("/x"), [("Host", origin.authority)]))
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            session = sock.session
    assert reused == [False] + [True] * 15


def test_a_session_is_for_the_host_it_was_made_for(inside, roads, tmp_path):
    """Resuming it as another host would show no certificate of that one."""
    (tmp_path / "hosts").write_text("127.0.0.1 a.one.test b.one.test\n")
    origin = Origin(tls=roads.servers.server("DNS:*.one.test"))
    origin.on("/x", response(200, b"fine"))
    proxy = inside("--hosts-file", str(tmp_path / "hosts"), "--intercept", "*.test")
    session, reused = None, []
    context = trusting(roads.local[0])
    for name in ("a", "a", "b"):
        with proxy.client() as client:
            assert connect(client, f"{name}.one.test:{origin.port}").status == 200
            client.sock = context.wrap_socket(client.sock, server_hostname=f"{name}.one.test", session=session)
            client.send(f"GET /x HTTP/1.1\r\nHost: {name}.one.test:{origin.port}\r\n\r\n")
            assert client.response().status == 200
            reused.append(client.sock.session_reused)
            session = client.sock.session
    assert reused == [False, True, False]
    origin.close()


# ca init and ca show.

def ca(*arguments, cwd=None, env=None):
    return subprocess.run([BINARY, "ca", *map(str, arguments)], capture_output=True, text=True, timeout=30, cwd=cwd,
                          env={"PATH": os.environ["PATH"], **(env or {})})


def test_ca_init_and_show(tmp_path):
    files = ("--ca-cert", tmp_path / "ca.pem", "--ca-key", tmp_path / "ca.key")
    made = ca("init", *files, "--permit", "corp.example")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "ca.key").stat().st_mode & 0o7777 == 0o600
    assert f'ca-cert = "{tmp_path}/ca.pem"' in made.stdout
    shown = ca("show", *files)
    assert shown.returncode == 0
    assert "DNS:corp.example" in shown.stdout
    assert "PRIVATE" not in shown.stdout
    printed = subprocess.run(["openssl", "x509", "-in", tmp_path / "ca.pem", "-noout", "-fingerprint", "-sha256"],
                             capture_output=True, text=True).stdout
    assert printed.strip().partition("=")[2] in shown.stdout
    for who in ("Debian", "Fedora", "Windows", "macOS", "Firefox", "Java", "curl", ".NET", "Node", "Python"):
        assert who in shown.stdout
    again = ca("init", *files)
    assert again.returncode == 73 and "not overwritten" in again.stderr


def test_ca_without_paths(tmp_path):
    for env, place in (({"STATE_DIRECTORY": str(tmp_path / "state")}, tmp_path / "state"),):
        assert ca("init", env=env).returncode == 0
        assert (place / "ca.key").exists()
        assert ca("show", env=env).returncode == 0
    assert ca("show", env={"STATE_DIRECTORY": str(tmp_path / "none")}).returncode == 66


@pytest.mark.parametrize("arguments", [[], ["sho"], ["init", "--permit"], ["init", "x"], ["show", "x"]])
def test_ca_usage(arguments):
    done = ca(*arguments)
    assert done.returncode == 64 and "usage:" in done.stderr


def test_a_permitted_name_only(inside, roads, tmp_path):
    """What the authority may not sign for, clients refuse."""
    files = (tmp_path / "ca.pem", tmp_path / "ca.key")
    assert ca("init", "--ca-cert", files[0], "--ca-key", files[1], "--permit", "corp.test").returncode == 0
    (tmp_path / "hosts").write_text("127.0.0.1 a.corp.test bank.test\n")
    origin = Origin(tls=roads.servers.server("DNS:*.corp.test,DNS:bank.test"))
    origin.on("/x", response(200, b"fine"))
    proxy = inside("--hosts-file", str(tmp_path / "hosts"), "--intercept", "*.test", "--ca-cert", str(files[0]),
                   "--ca-key", str(files[1]))
    for name, fine in (("a.corp.test", True), ("bank.test", False)):
        with proxy.client() as client:
            client.tls = trusting(files[0])
            if fine:
                assert client.ask("GET", f"https://{name}:{origin.port}/x").status == 200
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    client.ask("GET", f"https://{name}:{origin.port}/x")
    origin.close()
