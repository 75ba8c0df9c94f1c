"""Sidecar: `origin = URL`, and https origins verified in full."""
import socket
import ssl
import warnings

import pytest

from kit.ca import Authority
from kit.client import wait_until
from kit.origin import Origin, challenge, response
from test_449 import BIG, echoing

pytestmark = pytest.mark.not_by("inside", why="who asks a sidecar says no CONNECT; its servers have an authority of their own")


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure(ca):
    """secure(names) is an https origin."""
    origins = []

    def make(names="IP:127.0.0.1,DNS:localhost", context=None, **more):
        origins.append(Origin(tls=context or ca.server(names, **more)))
        origins[-1].on("*", response(200, b"over tls"))
        return origins[-1]
    yield make
    for origin in origins:
        origin.close()
        assert not origin.malformed


def test_origin_form_goes_to_the_origin(start, origin):
    origin.on("*", response(200, b"hello"))
    with start("--origin", origin.base).client() as client:
        assert client.ask("GET", "/x?y", [("Host", "application.example")]).body == b"hello"
    assert origin.requests[0].target == "/x?y"


def test_449_behind_a_sidecar(start, origin):
    origin.on("/x", echoing())
    with start("--origin", origin.base).client() as client:
        assert client.ask("POST", "/x", [("Host", "localhost")], BIG).status == 200
    assert [r.body == BIG for r in origin.requests] == [True, True]


def test_absolute_form_still_works(start, origin):
    other = Origin()
    other.on("/x", response(200, b"other"))
    with start("--origin", origin.base).client() as client:
        assert client.ask("GET", other.url("/x")).body == b"other"
    other.close()


def test_absolute_form_can_be_turned_off(start, origin):
    origin.on("*", response(200, b"hello"))
    with start("--origin", origin.base, "--forward", "false").client() as client:
        assert client.ask("GET", "http://127.0.0.2:9/x").status == 403
        assert not origin.requests
    with start("--origin", origin.base, "--forward", "false").client() as client:
        assert client.ask("GET", "/x", [("Host", "h")]).status == 200


def test_without_origin_a_request_for_a_path_is_refused(client):
    answer = client.ask("GET", "/x", [("Host", "h")])
    assert answer.status == 400
    assert "origin" in answer.text


# https

def test_https_origin(start, secure, ca):
    origin = secure()
    with start("--origin", origin.base, "--upstream-ca", str(ca.cert)).client() as client:
        assert client.ask("GET", "/x", [("Host", "h")]).body == b"over tls"
        assert client.ask("GET", "/y", [("Host", "h")]).body == b"over tls"
    assert len(origin.connections) == 1


def test_absolute_https(start, secure, ca):
    origin = secure()
    with start("--upstream-ca", str(ca.cert)).client() as client:
        assert client.ask("GET", origin.url("/x")).body == b"over tls"
    assert origin.requests[0].target == "/x"
    assert origin.requests[0].one("Host") == origin.authority


def test_449_over_https(start, secure, ca):
    origin = secure()
    origin.on("/x", echoing(fields=[("Set-Cookie", "s=1; Secure")]))
    with start("--origin", origin.base, "--upstream-ca", str(ca.cert)).client() as client:
        assert client.ask("PUT", "/x", [("Host", "h")], BIG).status == 200
    assert origin.requests[1].body == BIG
    assert origin.requests[1].one("Cookie") == "s=1"    # Secure cookies go over TLS
    assert len(origin.connections) == 1


def test_early_449_over_https(start, secure, ca):
    origin = secure()

    def early(call):
        if call.request.has("Ms-Echo-Reply"):
            call.read_body()
            call.send(response(200, b"done"))
        else:
            call.send(challenge("v", [("Connection", "close")]))
            call.wait_for_end()
    origin.on("/x", early, early=True)
    with start("--origin", origin.base, "--upstream-ca", str(ca.cert)).client() as client:
        assert client.ask("PUT", "/x", [("Host", "h")], BIG).status == 200
    assert origin.requests[1].body == BIG


def test_large_answer_over_https(start, secure, ca):
    origin = secure()
    origin.on("/big", response(200, BIG * 10))
    with start("--origin", origin.base, "--upstream-ca", str(ca.cert)).client() as client:
        assert client.ask("GET", "/big", [("Host", "h")]).body == BIG * 10


def test_server_name_is_sent(start, ca):
    context = ca.server("DNS:localhost")
    names = []
    context.sni_callback = lambda sock, name, ctx: names.append(name)
    origin = Origin(tls=context)
    origin.on("*", response(200))
    with start("--upstream-ca", str(ca.cert)).client() as client:
        assert client.ask("GET", f"https://localhost:{origin.port}/x").status == 200
    assert names == ["localhost"]
    origin.close()


def refused(start, origin, url, *options, token="tls_certificate_error"):
    """502 that says why; nothing was asked of the origin; the value of the words."""
    proxy = start(*options)
    with proxy.client() as client:
        answer = client.ask("GET", url)
    assert answer.status == 502
    assert token in answer.one("Proxy-Status")
    assert not origin.requests
    assert proxy.wait_lines()[0]["status"] == 502
    return answer.text.lower()


def test_unknown_issuer(start, secure):
    origin = secure()
    text = refused(start, origin, origin.url("/x"))
    assert "issuer" in text or "self" in text or "verify" in text


def test_wrong_name(start, secure, ca):
    origin = secure("DNS:other.example")
    text = refused(start, origin, origin.url("/x"), "--upstream-ca", str(ca.cert))
    assert "mismatch" in text or "name" in text


def test_wrong_ca(start, secure, tmp_path):
    origin = secure()
    refused(start, origin, origin.url("/x"), "--upstream-ca", str(Authority(tmp_path, "Other CA").cert))


def test_old_tls_is_refused(start, secure, ca):
    context = ca.server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # that is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    origin = secure(context=context)
    refused(start, origin, origin.url("/x"), "--upstream-ca", str(ca.cert), token="tls_")


def test_plain_http_where_tls_was_expected(start, origin, peer):
    server = peer(lambda sock: (sock.recv(10), sock.sendall(response(400))))
    refused(start, origin, f"https://{server.authority}/x", token="tls_")


def test_cut_off_without_close_notify_is_visible(start, secure, ca):
    """An answer that ends by close, over TLS, is whole only with close_notify."""
    origin = secure()

    def cut(call):
        call.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        call.over = True
        call.sock.shutdown(socket.SHUT_RDWR)    # the TCP connection ends, the TLS one does not
    origin.on("/x", cut)
    with start("--origin", origin.base, "--upstream-ca", str(ca.cert)).client() as client:
        client.request("GET", "/x", [("Host", "h")])
        try:
            answer = client.response()
            assert answer.status == 502 or not answer.complete
        except ConnectionResetError:
            pass


def test_idle_tls_connection_that_the_origin_closed(start, secure, ca):
    origin = secure()
    with start("--origin", origin.base, "--upstream-ca", str(ca.cert)).client() as client:
        assert client.ask("GET", "/x", [("Host", "h")]).status == 200
        origin.close_connections()
        wait_until(lambda: not origin.open_connections(), "the connection to end")
        assert client.ask("GET", "/x", [("Host", "h")]).status == 200
