"""What failed, as status and as token of Proxy-Status (RFC 9209 2.3; P17): R135 to R162.
The rows of tests/wire show the same for octets; here it takes a peer."""
import socket
import ssl
import struct
import threading

import pytest

from kit.ca import Authority
from kit.origin import Origin, response

IN_TIME = ("--response-timeout", "1s", "--read-timeout", "1s", "--write-timeout", "1s", "--connect-timeout", "1s",
           "--head-timeout", "1s", "--body-timeout", "1s")


def told(client, status, token):
    """Our own answer: status, token, one line of text, and the connection ends (R096, R097)."""
    answer = client.response()
    assert answer is not None, "closed without a word"
    assert (answer.status, f"error={token}" in answer.one("Proxy-Status")) == (status, True), answer.head
    assert answer.complete and answer.text.count("\n") == 1
    assert "close" in answer.tokens("Connection")
    assert client.ended()


def test_name_server_is_silent(start):
    """R146."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        proxy = start(*IN_TIME, "--dns-servers", "127.0.0.1:%d" % deaf.getsockname()[1])
        with proxy.client() as client:
            client.request("GET", "http://host.example/")
            told(client, 504, "dns_timeout")


def answer_all(server, code):
    """Every query with this code, until the socket is closed."""
    try:
        while True:
            query, who = server.recvfrom(512)
            server.sendto(query[:2] + struct.pack(">H", 0x8180 | code) + query[4:], who)
    except OSError:
        pass


@pytest.mark.parametrize("code", [3, 2])
def test_name_server_says_no(start, code):
    """R145: there is no such name; the server has failed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        proxy = start("--dns-servers", "127.0.0.1:%d" % server.getsockname()[1])
        with proxy.client() as client:
            client.request("GET", "http://host.example/")
            threading.Thread(target=answer_all, args=(server, code), daemon=True).start()
            told(client, 502, "dns_error")


def test_connection_is_not_accepted(start):
    """R149: a full queue."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        filling = [socket.socket() for _ in range(4)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(door.getsockname())
        with start(*IN_TIME).client() as client:
            client.request("GET", "http://127.0.0.1:%d/" % door.getsockname()[1])
            told(client, 504, "connection_timeout")
        for sock in filling:
            sock.close()


def test_answer_stops_in_its_head(start, origin):
    """R151."""
    def half(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-")
        call.stall()
    origin.on("/x", half)
    with start(*IN_TIME).client() as client:
        client.request("GET", origin.url("/x"))
        told(client, 504, "http_response_timeout")


def test_origin_takes_nothing(start, origin):
    """R152: a request that does not fit into what the kernel holds for it."""
    origin.on("/x", lambda call: call.stall(), early=True)
    with start(*IN_TIME).client() as client:
        client.sock.settimeout(5)
        client.send(client.head("POST", origin.url("/x"), [("Content-Length", str(1 << 28))]))
        try:
            for _ in range(1 << 12):
                client.send(bytes(65536))
        except OSError:
            pass                    # it is full everywhere, or refused by now
        client.sock.settimeout(20)
        told(client, 504, "connection_write_timeout")


@pytest.mark.not_by("inside", why="the CONNECT is told so: test_tls.py")
def test_handshakes(start, tmp_path):
    """R154: an alert; R155: a certificate of nobody's."""
    ca = Authority(tmp_path)
    wants = ca.server("IP:127.0.0.1")
    wants.verify_mode = ssl.CERT_REQUIRED
    wants.load_verify_locations(str(ca.cert))
    wants.maximum_version = ssl.TLSVersion.TLSv1_2      # with 1.3 the alert comes behind the handshake
    picky, usual = Origin(tls=wants), Origin(tls=ca.server("IP:127.0.0.1"))
    for to, options, token in ((picky, ("--upstream-ca", str(ca.cert)), "tls_alert_received"),
                               (usual, (), "tls_certificate_error")):
        with start(*options).client() as client:
            client.request("GET", to.url("/x"))
            told(client, 502, token)
        to.close()


@pytest.mark.not_by("inside", why="the CONNECT is told so: test_tls.py")
def test_no_tls_at_all(start):
    """R154."""
    with socket.create_server(("127.0.0.1", 0)) as door, start().client() as client:
        client.request("GET", "https://127.0.0.1:%d/" % door.getsockname()[1])
        sock, _ = door.accept()
        sock.sendall(b"220 mail.example ready\r\n")
        told(client, 502, "tls_protocol_error")
        sock.close()


@pytest.mark.parametrize("octets, token", [
    (b"", "connection_terminated"),                                                             # R150
    (b"HTTP/1.1 200 OK\r\nConte", "http_response_incomplete"),                                  # R157
    (b"GET / HTTP/1.1\r\n\r\n", "http_protocol_error"),                                         # R156
    (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", "http_response_header_section_size"),    # R158
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, gzip\r\n\r\n", "http_response_transfer_coding"),     # R159
])
def test_bad_answers(start, origin, octets, token):
    def bad(call):
        call.send(octets)
        call.close()
    origin.on("/x", bad)
    with start().client() as client:
        client.request("GET", origin.url("/x"))
        told(client, 502, token)


def test_request_stops(start, origin):
    """R138: in the head, and in the body."""
    origin.on("/x", response(200))
    proxy = start(*IN_TIME)
    with proxy.client() as client:
        client.send(b"GET http://h")
        told(client, 408, "http_request_error")
    with proxy.client() as client:
        client.send(client.head("POST", origin.url("/x"), [("Content-Length", "9")]) + b"abc")
        told(client, 408, "http_request_error")


@pytest.mark.parametrize("line, fields, status", [
    (b"HEAD http://169.254.169.254/ HTTP/1.1\r\n", b"Host: 169.254.169.254\r\n\r\n", 403),
    (b"HEAD http://h.invalid/ HTTP/1.1\r\n", b"Bad Name: 1\r\n\r\n", 400),
    (b"HEAD http://h.invalid/ HTTP/1.1\r\n", b"A: " + b"a" * 262144, 431),     # never seen whole
], ids=["refused", "malformed", "too large"])
def test_head_gets_no_content(start, line, fields, status):
    """Whatever is wrong with it (RFC 9110 9.3.2)."""
    got = b""
    with start().client() as client:
        try:
            client.send(line + fields)
        except ConnectionError:
            pass                    # refused while we were still talking
        try:
            while piece := client.recv(65536):
                got += piece
        except ConnectionError:
            pass
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nContent-Length: " in got and got.endswith(b"\r\n\r\n") and got.count(b"\r\n\r\n") == 1


def test_refusal_with_much_unread(start, origin):
    """R098, R136: the client is in the middle of its body, and hears why all the same."""
    with start().client() as client:
        client.send(client.head("POST", "http://169.254.169.254/", [("Content-Length", "900000")]))
        client.send(bytes(900_000))
        told(client, 403, "destination_ip_prohibited")
