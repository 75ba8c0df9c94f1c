"""What the proxy remembers of origins: who challenges (so that large bodies ask
first), values where a rule says so, and who refuses its own values (449.md 6, 7)."""
import hashlib
import time

import pytest

from kit.client import wait_until
from kit.login import Windows, log_in
from kit.origin import challenge, response

MIB = 1 << 20
ECHO = "Ms-Echo-Reply"
OK = response(200, b"done")
LEARN = 'rule "l" {\n    learn = yes\n}\n'


def echoing(call):
    call.send(OK if call.request.has(ECHO) else challenge("v"))


class Uploads:
    """Counts and hashes what it reads of bodies, and keeps nothing. A request without
    an echo is answered 449 as soon as its head is there if it expects 100."""

    def __init__(self, on_expect="449", final=OK):
        self.on_expect = on_expect
        self.final = final
        self.octets = 0
        self.requests = []              # (echo, expect, octets read, SHA-256)

    def read(self, call):
        reader, digest, left = call.connection.reader, hashlib.sha256(), call.request.announced
        digest.update(first := reader.take(left))
        left -= len(first)
        while left:
            got = call.sock.recv(min(left, 1 << 18))
            if not got:
                break
            digest.update(got)
            left -= len(got)
        call.request.complete = True
        self.octets += call.request.announced - left
        return call.request.announced - left, digest.hexdigest()

    def note(self, call, octets=0, digest=None):
        self.requests.append((call.request.get(ECHO), call.request.get("Expect"), octets, digest))

    def __call__(self, call):
        wants = not call.request.has(ECHO)
        if call.request.has("Expect") and self.on_expect != "silent":
            if self.on_expect == "100":
                call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            else:
                self.note(call)
                call.send({"449": challenge("v"), "417": response(417), "403": response(403, b"no")}[self.on_expect])
                call.close()
                call.fin()
                call.wait_for_end()
                return
        self.note(call, *self.read(call))
        call.send(challenge("v") if wants and self.on_expect == "449" else self.final)


def make_known(client, origin, prefix="/dav/store"):
    """The origin challenges a small request there."""
    url = origin.on(f"{prefix}/small", echoing)
    assert client.ask("PUT", url, body=b"small").status == 200


def put(client, url, size, fields=()):
    """A PUT of so many octets, made as they are sent: the response and the hash."""
    digest, piece = hashlib.sha256(), bytes(range(256)) * 4096
    client.send(client.head("PUT", url, [("Content-Length", str(size)), *fields]))
    while size:
        part = piece[:min(size, len(piece))]
        client.send(part)
        digest.update(part)
        size -= len(part)
    return client.response("PUT"), digest.hexdigest()


# Expect-first.

def test_a_challenged_put_of_100_mib_is_uploaded_once(start, origin):
    """By the origin's own count."""
    proxy = start("--body-limit", "128m")
    origin.recording = False
    uploads = Uploads()
    url = origin.on("/dav/store/big", uploads, early=True)
    with proxy.client() as client:
        make_known(client, origin)
        answer, digest = put(client, url, 100 * MIB)
    assert answer.status == 200 and answer.interim == []
    assert uploads.octets == 100 * MIB
    assert uploads.requests == [(None, "100-continue", 0, None), ("v", None, 100 * MIB, digest)]
    line = proxy.wait_lines(2)[1]
    assert line["bytes_in"] == 100 * MIB
    assert [a["bytes"] for a in line["attempts"]] == [0, 100 * MIB]


def test_even_where_the_body_is_past_body_limit(start, origin):
    """Nothing of it was sent, so all of it still can be."""
    proxy = start("--body-memory", "64k", "--body-limit", "256k")
    origin.recording = False
    uploads = Uploads()
    url = origin.on("/dav/store/big", uploads, early=True)
    with proxy.client() as client:
        make_known(client, origin)
        answer, digest = put(client, url, 5 * MIB)
    assert answer.status == 200
    assert uploads.requests[1] == ("v", None, 5 * MIB, digest)


def test_without_knowing_it_costs_two(client, origin):
    origin.recording = False
    uploads = Uploads()
    answer, digest = put(client, origin.on("/dav/store/big", uploads, early=True), 2 * MIB)
    assert answer.status == 200
    assert uploads.octets == 4 * MIB
    assert {r[3] for r in uploads.requests} == {digest}


@pytest.mark.parametrize("size, expects", [(64 << 10, True), ((64 << 10) - 1, False)])
def test_threshold(client, origin, size, expects):
    make_known(client, origin)
    uploads = Uploads()
    put(client, origin.on("/dav/store/big", uploads, early=True), size)
    assert uploads.requests[0][1] == ("100-continue" if expects else None)


@pytest.mark.parametrize("options, path", [
    (["--expect-threshold", "never"], "/dav/store/x"), (["--expect-threshold", "9m"], "/dav/store/x"),
    ([], "/dav/other/x"), ([], "/elsewhere"),
])
def test_no_expect(start, origin, options, path):
    with start(*options).client() as client:
        make_known(client, origin)
        uploads = Uploads()
        answer, _ = put(client, origin.on(path, uploads, early=True), MIB)
        assert answer.status == 200
    assert [r[1] for r in uploads.requests] == [None, None]


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_no_expect_after_answering_was_turned_off(start, origin, mode):
    """The memory outlives a reload; the wire is to be left alone."""
    import signal
    proxy = start(config='mode = answer\nvia = "a"\n')
    with proxy.client() as client:
        make_known(client, origin)
        proxy.config.write_text(f'mode = {mode}\nvia = "b"\n')
        proxy.signal(signal.SIGHUP)
        url = origin.on("/via", OK)
        wait_until(lambda: client.ask("GET", url).one("Via") == "1.1 b", "the reload")
        uploads = Uploads(final=challenge("v"))
        answer, _ = put(client, origin.on("/dav/store/x", uploads, early=True), MIB)
    assert answer.status == 449
    assert [r[1] for r in uploads.requests] == [None]


def test_a_chunked_body_is_not_asked_for(client, origin):
    make_known(client, origin)
    url = origin.on("/dav/store/x", echoing)
    assert client.ask("PUT", url, body=[b"x" * 100_000]).status == 200
    assert not any(r.has("Expect") for r in origin.requests)


def test_the_clients_own_expect_is_left_alone(client, origin):
    make_known(client, origin)
    uploads = Uploads("100")
    url = origin.on("/dav/store/x", uploads, early=True)
    client.send(client.head("PUT", url, [("Content-Length", str(MIB)), ("Expect", "100-continue")]))
    assert client.reader.response_head().status == 100
    client.send(b"x" * MIB)
    assert client.response().status == 200
    assert len(uploads.requests) == 1


def test_a_100_is_not_for_the_client(client, origin):
    """And an origin that does not challenge after all is no challenger any more."""
    make_known(client, origin)
    uploads = Uploads("100")
    url = origin.on("/dav/store/x", uploads, early=True)
    for _ in range(2):
        answer, digest = put(client, url, MIB)
        assert (answer.status, answer.interim) == (200, [])
    assert uploads.requests == [(None, "100-continue", MIB, digest), (None, None, MIB, digest)]


def test_417_is_sent_again_without(client, origin):
    make_known(client, origin)
    uploads = Uploads("417")
    url = origin.on("/dav/store/x", uploads, early=True)
    for _ in range(2):
        answer, digest = put(client, url, MIB)
        assert answer.status == 200
    assert uploads.requests == [(None, "100-continue", 0, None), (None, None, MIB, digest), (None, None, MIB, digest)]


def test_417_after_the_body_was_sent(client, origin):
    """Too late to be spared anything, but the client does not know of any Expect."""
    make_known(client, origin)
    sizes = []

    def late(call):
        call.read_body()
        sizes.append((call.request.get("Expect"), len(call.request.body)))
        call.send(response(417) if call.request.has("Expect") else OK)
    answer, _ = put(client, origin.on("/dav/store/x", late, early=True), MIB)
    assert answer.status == 200
    assert sizes == [("100-continue", MIB), (None, MIB)]


def test_417_to_a_clients_own_expect_is_the_clients(client, origin):
    make_known(client, origin)
    uploads = Uploads("417")
    url = origin.on("/dav/store/x", uploads, early=True)
    client.send(client.head("PUT", url, [("Content-Length", str(MIB)), ("Expect", "100-continue")]))
    assert client.response().status == 417


def test_a_silent_second_sends_the_body(client, origin):
    """And teaches the opposite: there is no second silence."""
    make_known(client, origin)
    uploads = Uploads("silent")
    url = origin.on("/dav/store/x", uploads, early=True)
    began = time.monotonic()
    answer, digest = put(client, url, MIB)
    assert answer.status == 200
    assert time.monotonic() - began >= 0.99
    assert put(client, url, MIB)[0].status == 200
    assert uploads.requests == [(None, "100-continue", MIB, digest), (None, None, MIB, digest)]


def test_another_answer_than_100(client, origin):
    make_known(client, origin)
    uploads = Uploads("403")
    url = origin.on("/dav/store/x", uploads, early=True)
    client.send(client.head("PUT", url, [("Content-Length", str(MIB))]) + b"x" * 1000)
    answer = client.response("PUT")
    assert (answer.status, answer.body) == (403, b"no")
    assert [r[2] for r in uploads.requests] == [0]


def test_the_wait_for_a_100_ends_with_it(client, origin):
    """The answer takes longer than that wait: no silence was heard."""
    make_known(client, origin)
    heads = []

    def slow(call):
        heads.append(call.request.get("Expect"))
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.read_body()
        time.sleep(1.2)
        call.send(response(404))
    url = origin.on("/dav/store/x", slow, early=True)
    for _ in range(2):
        assert put(client, url, MIB)[0].status == 404
    assert heads == ["100-continue"] * 2


@pytest.mark.parametrize("fields, pause", [([("Retry-After", "1")], 0.3), ([], 1.2)])
def test_the_wait_for_a_100_does_not_reach_into_the_replay(client, origin, fields, pause):
    """449 to the Expect, perhaps with a Retry-After as long as that wait; then a replay
    that is answered late."""
    make_known(client, origin)
    heads = []

    def responder(call):
        heads.append(call.request.get("Expect"))
        if not call.request.has(ECHO):
            call.send(challenge("v", [*fields, ("Connection", "close")]))
            call.fin()
            call.wait_for_end()
            return
        call.read_body()
        time.sleep(pause)
        call.send(OK)
    url = origin.on("/dav/store/x", responder, early=True)
    for _ in range(2):
        assert put(client, url, MIB)[0].status == 200
    assert heads == ["100-continue", None] * 2      # nothing was learned from a silence that was none


def test_not_on_a_connection_that_carries_a_login(client, origin):
    """There an early 449 could not be answered."""
    windows = Windows()
    url = origin.on("/dav/store/x", windows)
    assert log_in(client, url, "alice").status == 200
    answer, _ = put(client, url, MIB)
    assert (answer.status, answer.one("X-User")) == (200, "alice")
    assert not any(r.has("Expect") for r in origin.requests)
    assert not windows.faults


# learn = yes: values.

def echoes(origin, path):
    return [r.get(ECHO) for r in origin.to(path)]


def test_a_value_accepted_twice_is_attached(start, origin):
    origin.on("/a/b/c", echoing)
    with start(config=LEARN).client() as client:
        for _ in range(4):
            assert client.ask("GET", origin.url("/a/b/c")).status == 200
    assert echoes(origin, "/a/b/c") == [None, "v", None, "v", "v", "v"]


def test_nothing_is_learned_without_a_rule(client, origin):
    origin.on("/x", echoing)
    for _ in range(4):
        assert client.ask("GET", origin.url("/x")).status == 200
    assert echoes(origin, "/x") == [None, "v"] * 4


def test_values_that_change_are_not_learned(start, origin):
    count = iter(range(100))
    origin.on("/x", lambda call: call.send(OK if call.request.has(ECHO) else challenge(f"v{next(count)}")))
    with start(config=LEARN).client() as client:
        for _ in range(3):
            assert client.ask("GET", origin.url("/x")).status == 200
    assert echoes(origin, "/x") == [None, "v0", None, "v1", None, "v2"]


def learned(client, origin, path="/a/b/c", method="GET"):
    origin.on(path, echoing)
    for _ in range(3):
        assert client.ask(method, origin.url(path)).status == 200
    assert echoes(origin, path) == [None, "v", None, "v", "v"]


def test_it_belongs_to_one_client_address(start, origin):
    """R119: A canary of one address never goes out for another."""
    proxy = start(config=LEARN)
    with proxy.client() as client, proxy.client(source="127.0.0.2") as other:
        learned(client, origin)
        assert other.ask("GET", origin.url("/a/b/c")).status == 200
        assert echoes(origin, "/a/b/c")[5:] == [None, "v"]
    with proxy.client() as again:                   # another connection of the same address
        assert again.ask("GET", origin.url("/a/b/c")).status == 200
    assert echoes(origin, "/a/b/c")[7:] == ["v"]


@pytest.mark.parametrize("method, path, known", [("GET", "/a/b/other?q", True), ("POST", "/a/b/c", False),
                                                 ("GET", "/a/c/c", False)])
def test_it_belongs_to_method_and_prefix(start, origin, method, path, known):
    with start(config=LEARN).client() as client:
        learned(client, origin)
        origin.on(path.partition("?")[0], echoing)
        assert client.ask(method, origin.url(path)).status == 200
    assert (origin.requests[-1].has(ECHO), origin.requests[-2].get(ECHO)) == (True, "v" if known else None)


@pytest.mark.parametrize("status, forgotten", [(400, True), (403, True), (404, True), (500, False), (302, False)])
def test_it_is_dropped_at_the_first_4xx(start, origin, status, forgotten):
    with start(config=LEARN).client() as client:
        learned(client, origin)
        origin.on("/a/b/d", response(status))
        assert client.ask("GET", origin.url("/a/b/d")).status == status
        assert client.ask("GET", origin.url("/a/b/c")).status == 200
    assert echoes(origin, "/a/b/d") == ["v"]
    assert echoes(origin, "/a/b/c")[5:] == ([None, "v"] if forgotten else ["v"])


def test_it_is_dropped_at_another_challenge(start, origin):
    with start(config=LEARN).client() as client:
        learned(client, origin)
        origin.on("/a/b/c", lambda call: call.send(OK if call.request.get(ECHO) == "new" else challenge("new")))
        for _ in range(3):
            assert client.ask("GET", origin.url("/a/b/c")).status == 200
    assert echoes(origin, "/a/b/c")[5:] == ["v", "new", None, "new", "new"]


def test_it_is_dropped_when_the_server_asks_for_the_same_again(start, origin):
    with start(config=LEARN).client() as client:
        learned(client, origin)
        origin.on("/a/b/c", [challenge("v"), OK])
        origin.counts.pop("/a/b/c", None)
        assert client.ask("GET", origin.url("/a/b/c")).status == 200
        origin.on("/a/b/c", echoing)
        assert client.ask("GET", origin.url("/a/b/c")).status == 200
    assert echoes(origin, "/a/b/c")[5:] == ["v", "v", None, "v"]


def test_a_client_that_echoes_itself_gets_none(start, origin):
    with start(config=LEARN).client() as client:
        learned(client, origin)
        assert client.ask("GET", origin.url("/a/b/c"), [(ECHO, "mine")]).status == 200
    assert origin.requests[-1].all(ECHO) == ["mine"]


def test_learn_ttl(start, origin):
    with start(config='rule "l" {\n    learn = yes\n    learn-ttl = 1s\n}\n').client() as client:
        learned(client, origin)
        time.sleep(1.1)
        assert client.ask("GET", origin.url("/a/b/c")).status == 200
    assert echoes(origin, "/a/b/c")[5:] == [None, "v"]


# The circuit breaker.

def test_breaker(start, origin):
    """Trips, pauses, tries once more, opens again, tries once more, closes."""
    proxy = start("--breaker-trips", "3", "--breaker-pause", "1s")
    origin.on("/x", challenge("v", body=b"as it came"))
    origin.on("/good", echoing)
    url, asked = origin.url("/x"), []

    def ask(status=449):
        before = len(origin.requests)
        assert client.ask("POST", url, body=b"b").status == status
        asked.append(len(origin.requests) - before)
    with proxy.client() as client:
        for _ in range(5):
            ask()
        assert asked == [2, 2, 2, 1, 1]                 # it tripped
        line = proxy.wait_lines(5)[4]
        assert (line["unanswered"], line["replays"], line["status"]) == ("breaker", 0, 449)
        assert "unanswered=breaker" in client.ask("GET", url).get("Proxy-Status")
        time.sleep(1.1)
        ask()
        ask()
        assert asked[5:] == [2, 1]                      # half open, and open again
        time.sleep(1.1)
        url = origin.url("/good")
        ask(200)
        url = origin.url("/x")
        for _ in range(4):
            ask()
    assert asked[7:] == [2, 2, 2, 2, 1]                 # closed: it counts from the start


@pytest.mark.not_by("inside", why="a CONNECT is for one origin")
def test_breaker_is_for_one_origin(start, origin):
    from kit.origin import Origin
    other = Origin()
    try:
        proxy = start("--breaker-trips", "1")
        origin.on("/x", challenge("v"))
        other.on("/x", echoing)
        with proxy.client() as client:
            assert client.ask("GET", origin.url("/x")).status == 449
            assert client.ask("GET", origin.url("/x")).status == 449
            assert client.ask("GET", other.url("/x")).status == 200
        assert (len(origin.requests), len(other.requests)) == (3, 2)
    finally:
        other.close()


def test_breaker_counts_in_a_row(start, origin):
    origin.on("/bad", challenge("v"))
    origin.on("/good", echoing)
    with start("--breaker-trips", "2").client() as client:
        for _ in range(4):
            assert client.ask("GET", origin.url("/bad")).status == 449
            assert client.ask("GET", origin.url("/good")).status == 200
    assert len(origin.to("/bad")) == 8


def test_breaker_off(start, origin):
    origin.on("/bad", challenge("v"))
    with start("--breaker-trips", "0").client() as client:
        for _ in range(25):
            assert client.ask("GET", origin.url("/bad")).status == 449
    assert len(origin.requests) == 50
