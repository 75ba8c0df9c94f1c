"""An origin that resets, ends or falls silent behind every octet of its answers:
a client never takes a part for the whole (P01, P04, P05, P08, P13)."""
import pytest

from cast import FAULTS, Fault, Script, body_of, heard
from kit.client import chunked

ECHO = "Ms-Echo-Request: some value\r\n"
LARGE = 200_000


def head(line, number, fields=""):
    return f"{line}\r\nX-Number: {number}\r\n{fields}\r\n".encode()


def with_length(number, status="200 OK", fields="", size=40):
    body = body_of(number, size)
    return head(f"HTTP/1.1 {status}", number, f"{fields}Content-Length: {len(body)}\r\n") + body


def in_chunks(number, status="200 OK", fields="", trailers=()):
    body = body_of(number, 40)
    return head(f"HTTP/1.1 {status}", number, f"{fields}Transfer-Encoding: chunked\r\n") + \
        chunked(body[:7], body[7:], trailers=trailers)


# name: (method, the answers to one number)
ANSWERS = {
    "length": ("GET", lambda n: [with_length(n)]),
    "chunked": ("GET", lambda n: [in_chunks(n)]),
    "trailers": ("GET", lambda n: [in_chunks(n, trailers=[("X-Trailer", str(n))])]),
    "until-close": ("GET", lambda n: [head("HTTP/1.1 200 OK", n, "Connection: close\r\n") + body_of(n, 40)]),
    "old": ("GET", lambda n: [head("HTTP/1.0 200 OK", n) + body_of(n, 40)]),
    "head": ("HEAD", lambda n: [head("HTTP/1.1 200 OK", n, "Content-Length: 40\r\n")]),
    "204": ("GET", lambda n: [head("HTTP/1.1 204 No Content", n)]),
    "304": ("GET", lambda n: [head("HTTP/1.1 304 Not Modified", n, "Content-Length: 40\r\n")]),
    "interim": ("GET", lambda n: [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + with_length(n)]),
    "449": ("POST", lambda n: [with_length(n, "449 Retry With", ECHO, size=0), with_length(n)]),
    "449-body": ("POST", lambda n: [with_length(n, "449 Retry With", ECHO), in_chunks(n)]),
    "449-chunked": ("POST", lambda n: [in_chunks(n, "449 Retry With", ECHO), with_length(n)]),
    "449-old": ("GET", lambda n: [head("HTTP/1.0 449 Retry With", n, ECHO) + body_of(n, 40), with_length(n)]),
    "large": ("GET", lambda n: [with_length(n, size=LARGE)]),
}


def maker(name, version):
    """make(number, base) for House.script()."""
    method, answers = ANSWERS[name]

    def make(number, base):
        body = body_of(number, 50) if method == "POST" else b""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        request = (f"{method} {base}/{number} HTTP/{version}\r\nHost: {{ORIGIN}}\r\nConnection: close\r\n"
                   f"{length}\r\n").encode() + body
        return request, answers(number), method, body
    return make


def offsets(answer):
    """Every octet; in a large body the first ones, those around blocks, the last ones."""
    if len(answer) < 1000:
        return range(len(answer) + 1)
    blocks = [k * 16384 + d for k in range(1, len(answer) // 16384 + 1) for d in (-1, 0, 1)]
    return [*range(0, 150, 7), *blocks, 65536, 65537, len(answer) - 1, len(answer)]


def plan(house, name, kind):
    method, answers = ANSWERS[name]
    for version in ("1.1", "1.0"):
        for times, answer in enumerate(answers(1)):
            for at in offsets(answer):
                house.script(maker(name, version), origin_fault=Fault(kind, at, times))


def whole(answer, method):
    """(status, body) of an answer, read by the reader of the tests."""
    script = Script(0, b"", method=method, heard=answer, end="eof")
    return heard(script)


def ends_by_close(answer):
    fields = answer.lower().partition(b"\r\n\r\n")[0]
    return b"content-length" not in fields and b"chunked" not in fields


def sent(script):
    """What the origin sent of the answer that was hit, and whether that is whole."""
    fault = script.origin_fault
    answer = script.answers[fault.times]
    final = answer[answer.rindex(b"HTTP/1."):]
    at = fault.at - (len(answer) - len(final))
    if ends_by_close(final) and b" 204 " not in final:
        return final[:at], fault.kind == "fin" and at >= final.index(b"\r\n\r\n") + 4
    return final[:at], at >= len(final) if script.method != "HEAD" else at >= final.index(b"\r\n\r\n") + 4


def judge(script):
    """What is wrong with what the client heard, or None."""
    if script.end == "hung":
        return "the client waits for ever"
    if script.came > (2 if script.method == "POST" else 3):
        return f"sent {script.came} times"
    if any(r.body != script.body for r in script.seen):
        return "another body at the origin"
    response = heard(script)
    if response is None or not response.complete:
        return None                 # a visible break
    if response.status in (502, 503, 504) and "error=" in response.get("Proxy-Status", ""):
        return None
    if response.get("X-Number") != str(script.number):
        return f"another's answer: {script.heard[:200]!r}"
    part, is_whole = sent(script)
    number = next(i for i, a in enumerate(script.answers)
                  if f" {response.status} ".encode() in a.rpartition(b"HTTP/1.")[2][:20])
    expected = whole(script.answers[number], script.method)
    if number == script.origin_fault.times and script.came == number + 1:
        if not is_whole:
            return f"looks whole: {script.heard[-200:]!r}"
        expected = whole(part, script.method)
    if response.body != expected.body or response.trailers != expected.trailers:
        return f"another body: {script.heard[-200:]!r}"
    return None


def check(house):
    wrong = [(s.origin_fault, w) for s in house.scripts if (w := judge(s))]
    assert not wrong, f"{len(wrong)} of {len(house.scripts)}: {wrong[:3]}"


@pytest.mark.parametrize("kind", [k for k in FAULTS if k != "stall"])
@pytest.mark.parametrize("name", ANSWERS)
def test_broken_off(house, name, kind):
    """R082."""
    stage = house()
    plan(stage, name, kind)
    stage.run()
    check(stage)


@pytest.mark.parametrize("names", [list(ANSWERS)[i::3] for i in range(3)], ids=lambda n: "+".join(n))
def test_silent(house, names):
    """All of them wait at once for the proxy's patience to end."""
    stage = house("--response-timeout", "2s", "--read-timeout", "2s")
    for name in names:
        plan(stage, name, "stall")
    stage.run(at_once=400)
    check(stage)


@pytest.mark.parametrize("size", [100, 70_000, 400_000])
def test_early_answer_and_reset(house, size):
    """Found by fuzz_exchange: the write was told of the reset, the read of an end."""
    stage = house()
    for kind in ("1.1", "1.0"):
        for at in range(60, 120, 3):
            def make(number, base):
                body = body_of(number, size)
                request = (f"POST {base}/{number} HTTP/{kind}\r\nHost: {{ORIGIN}}\r\nConnection: close\r\n"
                           f"Content-Length: {size}\r\n\r\n").encode() + body
                answer = head("HTTP/1.1 200 OK", number, "Connection: close\r\n") + body_of(number, 100)
                return request, [answer], "POST", body
            stage.script(make, early=True, origin_fault=Fault("reset", at))
    stage.run()
    check(stage)
