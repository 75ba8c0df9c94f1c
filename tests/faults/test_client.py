"""A client that resets, ends or falls silent behind every octet of its requests,
or leaves at some moment of a challenge: an origin never takes a part for the
whole, and nobody is asked again for a client that is gone (P01, P04, P06)."""
import pytest

from cast import Fault, body_of, heard
from kit.client import chunked

ECHO = "Ms-Echo-Request: some value\r\n"


def answer(number, status="200 OK", fields=""):
    body = body_of(number, 40)
    return (f"HTTP/1.1 {status}\r\nX-Number: {number}\r\n{fields}Content-Length: {len(body)}\r\n\r\n").encode() + body


def request(method, base, number, fields, body):
    return (f"{method} {base}/{number} HTTP/1.1\r\nHost: {{ORIGIN}}\r\nConnection: close\r\n"
            f"{fields}\r\n").encode() + body


def get(number, base):
    return request("GET", base, number, "", b""), [answer(number)], "GET", b""


def with_length(number, base, size=50, fields="", answers=None):
    body = body_of(number, size)
    return (request("POST", base, number, f"{fields}Content-Length: {size}\r\n", body),
            answers or [answer(number)], "POST", body)


def in_chunks(number, base, size=50, answers=None):
    body = body_of(number, size)
    coded = chunked(body[:9], body[9:], trailers=[("X-Trailer", "t")])
    return (request("POST", base, number, "Transfer-Encoding: chunked\r\n", coded),
            answers or [answer(number)], "POST", body)


def expecting(number, base):
    return with_length(number, base, fields="Expect: 100-continue\r\n")


def challenged(number, base):
    return with_length(number, base, answers=[answer(number, "449 Retry With", ECHO), answer(number)])


def tunnel(number, base):
    return b"CONNECT {ECHO} HTTP/1.1\r\nHost: {ECHO}\r\n\r\n" + body_of(number, 30), [], "CONNECT", b""


REQUESTS = {"get": get, "length": with_length, "chunked": in_chunks, "expect": expecting,
            "449": challenged, "connect": tunnel}


def plan(house, name, kind):
    """Offsets are those of the request as sent: a port has five digits at most."""
    octets, *_ = REQUESTS[name](1, "http://127.0.0.1:00000")
    for at in range(len(octets) + 20):
        house.script(REQUESTS[name], client_fault=Fault(kind, at), waits_for_100=name == "expect")


def judge(script):
    if script.end == "hung":
        return "the client waits for ever"
    whole = script.client_fault.at >= len(script.request)
    if script.method == "CONNECT":
        return judge_tunnel(script, whole)
    if script.seen and not whole:
        return f"looks whole at the origin: {script.seen}"
    if any(r.body != script.body for r in script.seen):
        return "another body at the origin"
    if script.came > len(script.answers):
        return f"sent {script.came} times"
    response = heard(script)
    if response and response.complete and response.status == 200 and \
            (response.body != body_of(script.number, 40) or not whole):
        return f"another answer: {script.heard!r}"
    if whole and script.client_fault.kind == "stall" and not (response and response.status == 200):
        return f"no answer to a whole request: {script.heard!r}"
    return None


def judge_tunnel(script, whole):
    head, _, said = script.heard.partition(b"\r\n\r\n")
    octets = script.request.partition(b"\r\n\r\n")[2]
    if not head.startswith(b"HTTP/1.1 200"):
        return None                 # who ends before the tunnel is there wants none
    if not octets.startswith(said):
        return f"another's octets: {said!r}"
    if whole and script.client_fault.kind == "fin" and said != octets:
        return f"not all came back: {said!r}"
    return None


def check(house):
    wrong = [(s.client_fault, w) for s in house.scripts if (w := judge(s))]
    assert not wrong, f"{len(wrong)} of {len(house.scripts)}: {wrong[:3]}"
    assert house.echo.open_now == 0


@pytest.mark.parametrize("kind", ["reset", "fin"])
@pytest.mark.parametrize("name", REQUESTS)
def test_broken_off(house, name, kind):
    stage = house()
    plan(stage, name, kind)
    stage.run()
    check(stage)


def test_silent(house):
    stage = house("--head-timeout", "2s", "--body-timeout", "2s", "--tunnel-timeout", "2s")
    for name in REQUESTS:
        plan(stage, name, "stall")
    stage.run(at_once=400)
    check(stage)


def leaver(number, base, make, size):
    answers = [answer(number, "449 Retry With", ECHO + "Retry-After: 1\r\n"), answer(number)]
    return make(number, base, size, answers=answers)


@pytest.mark.parametrize("kind", ["reset", "fin"])
@pytest.mark.parametrize("moment", ["before-0", "half-0", "after-0", "before-1", "half-1"])
def test_leaving_during_a_challenge(house, moment, kind):
    """At most the attempt that was under way; a body in the file as well."""
    stage = house("--body-memory", "64K")
    for make in (with_length, in_chunks):
        for size in (50, 70_000, 300_000):
            for _ in range(8):
                stage.script(lambda n, base: leaver(n, base, make, size), leave=(moment, kind))
    stage.run()
    stage.nothing_stays()
    for script in stage.scripts:
        assert script.end == "left"
        assert script.came == 1 + int(moment[-1])
        assert all(r.body == script.body for r in script.seen)
        assert [r.has("Ms-Echo-Reply") for r in script.seen] == [False, True][:script.came]
        response = heard(script)
        assert not response or not response.complete, script.heard
