"""449 and logins: NTLM and Negotiate belong to a connection, Digest counts its
nonces, and a sticky echo lets login and challenge come to an end (449.md 3). (P08)"""
import signal
import threading

import pytest

from kit.client import join, wait_until
from kit.login import Digest, Windows, digest_of, log_in, token
from kit.origin import challenge, response

pytestmark = pytest.mark.by("plain", "inside")

CLOSE = [("Connection", "close")]
BASIC = ("Authorization", "Basic YTpi")
ECHO = "Ms-Echo-Reply"


@pytest.fixture(params=["NTLM", "Negotiate"])
def scheme(request):
    return request.param


@pytest.fixture
def windows(origin):
    """windows(...): an origin with a login per connection at /x. No rule of it may
    have been broken when the test is over."""
    made = []

    def make(*arguments, **more):
        made.append(Windows(*arguments, **more))
        origin.on("/x", made[-1])
        return made[-1]
    yield make
    for one in made:
        assert not one.faults, one.faults


def on_one_connection(origin):
    return len(origin.used()) == 1


# NTLM and Negotiate.

def test_449_in_answer_to_the_last_leg(proxy, client, origin, windows, scheme):
    windows(scheme)
    answer = log_in(client, origin.url("/x"), "alice", scheme, "PUT", body=b"a body")
    assert (answer.status, answer.body) == (200, b"for alice: a body")
    assert on_one_connection(origin)
    last, replay = origin.requests[-2:]
    assert last.has("Authorization") and not last.has(ECHO)
    assert not replay.has("Authorization")
    assert replay.one(ECHO) == "echo-of-alice"
    assert replay.body == last.body == b"a body"
    assert len(origin.requests) == 4
    assert [line["replays"] for line in proxy.wait_lines(3)] == [0, 0, 1]


def test_requests_after_the_login_need_none(client, origin, windows, scheme):
    windows(scheme)
    assert log_in(client, origin.url("/x"), "alice", scheme).status == 200
    for n in range(3):
        answer = client.ask("POST", origin.url("/x"), body=b"more %d" % n)
        assert (answer.status, answer.body) == (200, b"for alice: more %d" % n)
    assert on_one_connection(origin)
    assert len(origin.requests) == 4 + 3 * 2


def test_proxy_support_is_said(client, origin):
    """RFC 4559 6; named by Connection, so that nobody else promises it for us."""
    origin.on("/ntlm", response(401, b"", [("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM")]))
    origin.on("/list", response(401, b"", [("WWW-Authenticate", "Basic realm=x, Negotiate")]))
    origin.on("/basic", response(401, b"", [("WWW-Authenticate", "Basic realm=x")]))
    origin.on("/200", response(200, b"", [("WWW-Authenticate", "Negotiate oRQw")]))
    for path, wanted in (("/ntlm", True), ("/list", True), ("/basic", False), ("/200", False)):
        answer = client.ask("GET", origin.url(path))
        assert (answer.all("Proxy-Support") == ["Session-Based-Authentication"]) == wanted, path
        assert ("proxy-support" in answer.tokens("Connection")) == wanted, path


def test_pinned_from_the_first_401(proxy, origin, windows):
    """Another client never travels on that connection, though it lies idle."""
    windows()
    origin.on("/plain", response(200, b"plain"))
    with proxy.client() as one, proxy.client() as two:
        assert one.ask("GET", origin.url("/x")).status == 401
        assert two.ask("GET", origin.url("/plain")).status == 200
        assert one.ask("GET", origin.url("/plain")).status == 200
    assert [[r.path for r in c.requests] for c in origin.connections] == [["/x", "/plain"], ["/plain"]]


def test_a_token_is_never_sent_on_a_pooled_connection(proxy, origin, windows):
    windows()
    origin.on("/plain", response(200, b"plain"))
    with proxy.client() as one:
        assert one.ask("GET", origin.url("/plain")).status == 200
    with proxy.client() as two:
        answer = two.ask("GET", origin.url("/x"), [("Authorization", "NTLM " + token("type1:bob"))])
        assert answer.status == 401
    assert [len(c.requests) for c in origin.connections] == [1, 1]


def test_both_connections_end_together_client_first(proxy, origin, windows):
    windows()
    with proxy.client() as client:
        assert log_in(client, origin.url("/x"), "alice").status == 200
        assert origin.open_connections()
    wait_until(lambda: not origin.open_connections(), "the pinned connection to be closed")
    with proxy.client() as other:                   # nothing of alice is left
        assert other.ask("GET", origin.url("/x")).status == 401


def test_both_connections_end_together_origin_first(proxy, origin, windows):
    windows()
    with proxy.client() as client:
        assert log_in(client, origin.url("/x"), "alice").status == 200
        origin.close_connections()
        assert client.ended()


def test_two_clients_at_once(proxy, origin, windows, scheme):
    """Canaries: nothing of one reaches the other, however their requests mix."""
    windows(scheme)
    problems, rounds = [], 15

    def run(user):
        try:
            with proxy.client() as client:
                assert log_in(client, origin.url("/x"), user, scheme).one("X-User") == user
                for n in range(rounds):
                    answer = client.ask("POST", origin.url("/x"), [("X-Client", user)], b"%d" % n)
                    assert (answer.status, answer.body) == (200, f"for {user}: {n}".encode())
        except AssertionError as e:
            problems.append(e)
    threads = [threading.Thread(target=run, args=(u,)) for u in ("canary-one", "canary-two", "canary-three")]
    for t in threads:
        t.start()
    join(*threads)
    assert not problems, problems
    assert len(origin.used()) == 3
    for c in origin.connections:
        users = {r.one("X-Client") for r in c.requests}
        assert len(users) == 1
        user = users.pop()
        assert all(r.get(ECHO) in (None, f"echo-of-{user}") for r in c.requests)
        assert len(c.requests) == 4 + 2 * rounds


@pytest.mark.parametrize("fields", [CLOSE, [("Persistent-Auth", "false")], [("Persistent-Auth", "False")]])
def test_a_login_that_ends_is_passed_on(proxy, client, origin, windows, fields):
    windows(fields=fields, body=b"as it came")
    answer = log_in(client, origin.url("/x"), "alice")
    assert (answer.status, answer.body) == (449, b"as it came")
    assert answer.one("Ms-Echo-Request") == "echo-of-alice"
    assert len(origin.requests) == 3
    assert proxy.wait_lines(3)[-1]["unanswered"] == "auth-bound"
    if fields == CLOSE:
        assert client.ended()


def test_persistent_auth_true_is_answered(client, origin, windows):
    windows(fields=[("Persistent-Auth", "true")])
    assert log_in(client, origin.url("/x"), "alice").status == 200


def test_connection_lost_after_the_449_is_passed_on(proxy, client, origin, windows):
    """It was to be answered after a wait, and the connection did not wait."""
    windows(fields=[("Retry-After", "1")], body=b"as it came", after=lambda call: call.close())
    answer = log_in(client, origin.url("/x"), "alice")
    assert (answer.status, answer.body) == (449, b"as it came")
    assert len(origin.requests) == 3
    assert proxy.wait_lines(3)[-1]["unanswered"] == "auth-bound"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_long_449_on_that_connection_is_passed_on_whole(proxy, client, origin, windows, framing, road):
    """It cannot be swallowed past drain-limit, and no other connection will do."""
    if framing == "close" and road == "inside":
        pytest.skip("the origin of the tests ends TLS without a word, which is no end")
    long = bytes(range(256)) * 1000
    one = windows()

    def long_449(call, user):
        head = "HTTP/1.1 449 Retry With\r\nMs-Echo-Request: v\r\n"
        if framing == "chunked":
            call.send(head + "Transfer-Encoding: chunked\r\n\r\n")
            for i in range(0, len(long), 5000):
                call.send(b"%x\r\n%s\r\n" % (len(long[i:i + 5000]), long[i:i + 5000]))
            call.send(b"0\r\nX-Trailer: t\r\n\r\n")
        elif framing == "length":
            call.send((head + f"Content-Length: {len(long)}\r\n\r\n").encode() + long)
        else:
            call.send(head.encode() + b"\r\n" + long)
            call.close()
    one.challenge = long_449
    answer = log_in(client, origin.url("/x"), "alice")
    assert (answer.status, answer.complete) == (449, True)
    assert answer.body == long
    assert len(origin.requests) == 3
    assert proxy.wait_lines(3)[-1]["unanswered"] == "auth-bound"
    if framing != "close":
        assert client.ask("GET", origin.on("/y", response(200, b"next"))).body == b"next"


def test_trailers_of_a_449_that_is_passed_on_after_all(proxy, client, origin, windows):
    """It is read to its end, and only then the connection turns out to be of no use."""
    def with_surplus(call, user):
        call.send(b"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: v\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n" b"surplus")
    windows().challenge = with_surplus
    answer = log_in(client, origin.url("/x"), "alice")
    assert (answer.status, answer.body, answer.trailers) == (449, b"abc", [("X-Trailer", "t")])
    assert proxy.wait_lines(3)[-1]["unanswered"] == "auth-bound"


def test_early_449_on_that_connection_is_passed_on(proxy, client, origin, windows):
    windows()
    assert log_in(client, origin.url("/x"), "alice").status == 200

    def early(call):
        call.send(challenge("v", CLOSE))
        call.fin()
        call.wait_for_end()
    origin.on("/early", early, early=True)
    client.send(client.head("PUT", origin.url("/early"), [("Content-Length", "100000")]) + b"z" * 1000)
    assert client.response().status == 449
    wait_until(lambda: len(proxy.lines()) >= 4, "the line")
    assert proxy.lines()[-1]["unanswered"] == "auth-bound"
    assert len(origin.to("/early")) == 1


def test_the_last_leg_is_not_sent_again(client, origin, windows):
    """The connection is lost while the token is under way: on another one it would
    be worth nothing, so both connections end and the client begins anew."""
    one = windows()
    one.third = lambda call, text: call.reset()
    assert client.ask("GET", origin.url("/x")).status == 401
    fields = [("Authorization", "NTLM " + token("type1:alice"))]
    assert client.ask("GET", origin.url("/x"), fields).status == 401
    client.request("GET", origin.url("/x"), [("Authorization", "NTLM " + token("type3:alice:x"))])
    assert client.ended()
    assert len(origin.requests) == 3
    assert len(origin.used()) == 1


def test_a_pinned_connection_that_was_closed_meanwhile(proxy, client, origin, windows):
    """Closed in the very moment of the next request: nothing goes elsewhere."""
    windows()
    assert log_in(client, origin.url("/x"), "alice").status == 200
    origin.on("/gone", lambda call: call.reset())
    client.request("GET", origin.url("/gone"))
    assert client.ended()
    assert len(origin.to("/gone")) == 1
    assert len(origin.used()) == 1
    assert proxy.wait_lines(4)[-1]["why"] == "login-lost"


def test_upstream_that_closes_takes_the_client_along(client, origin, windows):
    windows()
    assert log_in(client, origin.url("/x"), "alice").status == 200

    def closing(call):
        call.send(response(200, b"bye", CLOSE))
        call.close()
    origin.on("/bye", closing)
    answer = client.ask("GET", origin.url("/bye"))
    assert (answer.status, answer.body) == (200, b"bye")
    assert "close" in answer.tokens("Connection")
    assert client.ended()


def test_basic_on_a_pinned_connection_is_not_tied_to_it(client, origin):
    """The server offers NTLM too, the client takes Basic: that goes with each request."""
    def responder(call):
        if not call.request.has("Authorization"):
            call.send(response(401, b"", [("WWW-Authenticate", "NTLM"), ("WWW-Authenticate", "Basic realm=x")]))
        elif not call.request.has(ECHO):
            call.send(challenge("v", CLOSE))
            call.close()
        else:
            call.send(response(200, b"basic"))
    origin.on("/x", responder)
    assert client.ask("GET", origin.url("/x")).status == 401
    assert client.ask("GET", origin.url("/x"), [BASIC]).body == b"basic"
    assert [r.get("Authorization") for r in origin.requests[1:]] == [BASIC[1]] * 2
    assert len(origin.used()) == 2


def test_a_server_that_wants_the_echo_first(proxy, client, origin, windows):
    """449 to the first request, to type 1 or to type 3: it comes to its end."""
    windows(echo_first=True)
    url = origin.url("/x")
    first = client.ask("GET", url)
    assert first.status == 401                          # to the replay
    answer = client.ask("GET", url, [("Authorization", "NTLM " + token("type1:alice"))])
    assert answer.status == 401                         # the sticky echo was with it
    assert origin.requests[-1].has(ECHO)
    nonce = origin.connections[-1].nonce
    answer = client.ask("GET", url, [("Authorization", "NTLM " + token(f"type3:alice:{nonce}"))])
    assert (answer.status, answer.body) == (200, b"for alice: ")
    assert on_one_connection(origin)


def test_the_servers_own_proof_reaches_the_client(client, origin, windows):
    """The last token of the server comes with the 449, and the client waits for it
    (RFC 4559 4.2)."""
    windows("Negotiate", fields=[("WWW-Authenticate", "Negotiate " + token("proof"))])
    answer = log_in(client, origin.url("/x"), "alice", "Negotiate")
    assert answer.status == 200
    assert answer.one("WWW-Authenticate") == "Negotiate " + token("proof")


def test_pinned_and_on_unanswered_502(start, origin, windows):
    windows(fields=[("Retry-After", "1")], body=b"no 449 may be seen", after=lambda call: call.close())
    with start("--on-unanswered", "502").client() as client:
        answer = log_in(client, origin.url("/x"), "alice")
    assert answer.status == 502
    assert b"auth-bound" in answer.body and b"no 449" not in answer.body


def test_reload_keeps_the_login(start, origin, windows, road):
    if road == "inside":
        pytest.skip("new TLS settings want new connections")
    windows()
    proxy = start(config='via = "before"\n')
    with proxy.client() as client:
        assert log_in(client, origin.url("/x"), "alice").status == 200
        proxy.config.write_text('via = "after"\n')
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: client.ask("GET", origin.url("/x")).one("Via") == "1.1 after", "the reload")
        assert on_one_connection(origin)


def test_reload_vets_the_login_again(start, origin, windows):
    windows()
    proxy = start(config='via = "before"\n')
    with proxy.client() as client:
        assert log_in(client, origin.url("/x"), "alice").status == 200
        proxy.config.write_text('deny-to = "127.0.0.0/8"\n')
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: client.ask("GET", origin.url("/x")).status == 403, "the reload")


# Credentials that go with each request.

@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer a.b.c", "AWS4-HMAC-SHA256 Credential=x, Signature=y",
                                   "NTLMish x", "SharedKey account:abc="])
def test_same_octets(client, origin, value):
    origin.on("/x", lambda call: call.send(response(200, b"done") if call.request.has(ECHO) else
                                           challenge("v", CLOSE)) or (call.request.has(ECHO) or call.close()))
    assert client.ask("GET", origin.url("/x"), [("Authorization", value)]).status == 200
    assert [r.all("Authorization") for r in origin.requests] == [[value]] * 2


# Digest, and the sticky echo.

@pytest.mark.parametrize("echo_first", [True, False])
def test_digest_that_counts_comes_to_its_end(client, origin, echo_first):
    """One client round more than without the 449, at the most; never a loop."""
    digest = Digest(echo_first)
    url = origin.on("/x", digest)
    answer, asked = client.ask("POST", url, body=b"b"), 1
    while answer.status == 401 and asked < 6:
        answer = client.ask("POST", url, [digest_of(answer)], b"b")
        asked += 1
    assert (answer.status, answer.body) == (200, b"digested")
    assert asked == (2 if echo_first else 3)
    assert digest.replays == (0 if echo_first else 1)
    assert len(origin.requests) <= 2 * asked


def sticky(call):
    """The echo first, then the login."""
    if not call.request.has(ECHO):
        call.send(challenge("sticky value"))
    elif not call.request.has("Authorization"):
        call.send(response(401, b"", [("WWW-Authenticate", "Basic realm=x")]))
    else:
        call.send(response(200, b"both"))


def echoes(origin):
    return [r.get(ECHO) for r in origin.requests]


def test_sticky_for_a_client_that_closes(proxy, origin):
    origin.on("/x", sticky)
    agent = ("User-Agent", "closer/1")
    with proxy.client() as one:
        assert one.ask("PUT", origin.url("/x?q=1"), [agent], b"b").status == 401
    wait_until(lambda: proxy.lines(), "the end of it")
    with proxy.client() as two:
        assert two.ask("PUT", origin.url("/x?q=1"), [agent, BASIC], b"b").status == 200
        assert echoes(origin) == [None, "sticky value", "sticky value"]
        assert two.ask("PUT", origin.url("/x?q=1"), [agent, BASIC], b"b").status == 200
    assert echoes(origin)[3:] == [None, "sticky value"]         # it had one use


@pytest.mark.parametrize("other", ["method", "target", "agent", "host"])
def test_sticky_is_for_the_same_request_only(proxy, origin, other, road):
    if other == "host" and road == "inside":
        pytest.skip("only 127.0.0.1 is intercepted")
    origin.on("/x", sticky)
    url, fields, method = origin.url("/x?q=1"), [("User-Agent", "closer/1")], "GET"
    with proxy.client() as one:
        assert one.ask(method, url, fields).status == 401
    wait_until(lambda: proxy.lines(), "the end of it")
    if other == "method":
        method = "POST"
    elif other == "target":
        url = origin.url("/x?q=2")
    elif other == "agent":
        fields = [("User-Agent", "closer/2")]
    else:
        url = url.replace("127.0.0.1", "localhost")
    with proxy.client() as two:
        assert two.ask(method, url, [*fields, BASIC]).status == 200
    assert echoes(origin) == [None, "sticky value", None, "sticky value"]


def test_sticky_is_not_for_another_client_while_the_first_is_there(proxy, origin):
    """Same address, same User-Agent: a canary for the first alone."""
    origin.on("/x", sticky)
    agent = ("User-Agent", "browser/1")
    with proxy.client() as one, proxy.client() as two:
        assert one.ask("GET", origin.url("/x"), [agent]).status == 401
        assert two.ask("GET", origin.url("/x"), [agent, BASIC]).status == 200
        assert echoes(origin)[2:] == [None, "sticky value"]
        assert one.ask("GET", origin.url("/x"), [agent, BASIC]).status == 200
    assert echoes(origin)[4:] == ["sticky value"]


def test_sticky_of_an_empty_value(client, origin):
    def responder(call):
        if not call.request.has(ECHO):
            call.send(challenge(""))
        else:
            call.send(response(200 if call.request.has("Authorization") else 401, b"",
                               [("WWW-Authenticate", "Basic realm=x")]))
    origin.on("/x", responder)
    assert client.ask("GET", origin.url("/x")).status == 401
    assert client.ask("GET", origin.url("/x"), [BASIC]).status == 200
    assert echoes(origin) == [None, "", ""]


def test_a_client_that_echoes_itself_gets_no_sticky_one(client, origin):
    origin.on("/x", sticky)
    assert client.ask("GET", origin.url("/x")).status == 401
    assert client.ask("GET", origin.url("/x"), [BASIC, (ECHO, "mine")]).status == 200
    assert origin.requests[-1].all(ECHO) == ["mine"]
