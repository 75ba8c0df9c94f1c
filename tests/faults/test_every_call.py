"""Every fallible call of an exchange fails in turn (P01, P15): the exchange ends
as it should or visibly not, the process lives, and the next one is served. A build
with the library fail_nth is needed: any but those for sanitizers.

Where an exchange makes more calls than MOST, that many of them are taken, evenly;
EVERY_CALL=1 takes all.
"""
import itertools
import os
import struct
import time
from pathlib import Path

import pytest

from kit.ca import Authority
from kit.client import wait_until
from kit.origin import Origin, challenge, response
from kit.program import BINARY
from cast import body_of, descriptors

LIBRARY = Path(BINARY).resolve().parent / "libfail_nth.so"
FAMILIES = ["memory", "reading", "writing", "opening", "polling", "securing"]
MOST = 10 ** 9 if os.environ.get("EVERY_CALL") else 20
OPTIONS = ("--body-memory", "4k", "--head-timeout", "1s", "--body-timeout", "1s", "--response-timeout", "1s",
           "--read-timeout", "1s", "--write-timeout", "1s", "--tunnel-timeout", "1s", "--breaker-trips", "0",
           "--connect-timeout", "1s")
ANSWER = body_of(7, 3000)
NUMBERS = itertools.count()         # no two exchanges are taken for each other

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY.name}: not glibc, or a build for a sanitizer")


class Plan:
    """What the proxy's library shares with us: see fail_nth.c."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(40))

    def write(self, families, nth, for_ever):
        with open(self.path, "r+b") as file:        # the families last: they arm it
            file.seek(8)
            file.write(struct.pack("4Q", nth, for_ever, 0, 0))
            file.flush()
            file.seek(0)
            file.write(struct.pack("Q", families))

    def arm(self, family, nth=0, for_ever=False):
        self.write(1 << FAMILIES.index(family), nth, for_ever)

    def disarm(self):
        """(calls, failed) since it was armed."""
        calls, failed = struct.unpack("2Q", self.path.read_bytes()[24:])
        self.write(0, 0, 0)
        return calls, failed


@pytest.fixture
def plan(tmp_path):
    return Plan(tmp_path / "plan")


@pytest.fixture(scope="module")
def origins(tmp_path_factory):
    ca = Authority(tmp_path_factory.mktemp("ca"))
    made = {"http": Origin(), "https": Origin(tls=ca.server("IP:127.0.0.1"))}
    for origin in made.values():
        origin.on("/plain", response(200, ANSWER, [("Connection", "close")]))
        origin.on("/449", lambda call: call.send(
            response(200, ANSWER, [("Connection", "close")]) if call.request.has("Ms-Echo-Reply") else
            challenge("v", [("Connection", "close")], body=b"again")))
    yield made, ca
    for origin in made.values():
        origin.close()


# name: (method, scheme, path, body)
JOBS = {
    "get": ("GET", "http", "/plain", None),
    "post-file": ("POST", "http", "/plain", body_of(1, 300_000)),
    "449": ("POST", "http", "/449", body_of(2, 50)),
    "449-file": ("PUT", "http", "/449", body_of(3, 300_000)),
    "tls": ("GET", "https", "/plain", None),
    "449-tls": ("POST", "https", "/449", body_of(4, 50)),
    "connect": ("CONNECT", "http", None, body_of(5, 50)),
}


def exchange(proxy, origin, job):
    """The final response or None, and what came to the origin of it."""
    method, scheme, path, body = JOBS[job]
    mark = f"{path or '/plain'}?{next(NUMBERS)}"
    answer = None
    try:
        with proxy.client() as client:
            if method == "CONNECT":
                answer = tunnel(client, origin, mark, body)
            else:
                client.request(method, origin.url(mark), [("Connection", "close")], body=body)
                answer = client.response(method)
    except (ConnectionError, AssertionError):
        pass                        # broken off: visible
    return answer, [r for r in origin.requests if r.path == mark]


def tunnel(client, origin, mark, body):
    """A request through it."""
    client.send(client.head("CONNECT", origin.authority, [("Host", origin.authority)]))
    answer = client.reader.response_head("CONNECT")
    if answer is None or answer.status != 200:
        if answer:
            client.reader.read_body(answer)
        return answer
    client.request("POST", mark, [("Host", origin.authority)], body=body)
    return client.response("POST")


def is_well(answer, seen, job):
    body = JOBS[job][3] or b""
    return answer is not None and answer.status == 200 and answer.complete and answer.body == ANSWER and \
        seen and \
        all(r.body == body for r in seen if r.complete)


def judge(answer, seen, job):
    """What is wrong with how it ended, or None."""
    body = JOBS[job][3] or b""
    if any(r.complete and r.body != body for r in seen):
        return f"another body at the origin: {seen}"
    if len(seen) > (1 + ("449" in job) if body else 3):
        return f"sent {len(seen)} times"
    if answer is None or not answer.complete or is_well(answer, seen, job):
        return None
    if answer.status == 449 and "449" in job and answer.body == b"again":
        return None
    if answer.status in (500, 502, 503, 504) and "error=" in answer.get("Proxy-Status", ""):
        return None
    return f"{answer} {answer.head!r}"


def chosen(calls):
    """Which of so many; the first ones all the same, as they begin things."""
    if calls <= MOST:
        return range(1, calls + 1)
    step = calls / MOST
    return sorted({*range(1, 11), *(int(i * step) + 1 for i in range(MOST))})


@pytest.fixture
def scene(start, plan, origins):
    made, ca = origins

    def begin():
        return start(*OPTIONS, "--upstream-ca", str(ca.cert),
                     env={"LD_PRELOAD": str(LIBRARY), "FAIL_NTH": str(plan.path)})
    return begin, plan, made


def succeed(proxy, origin, job, when=""):
    """An exchange with which nothing is wrong. The deadlines are short, so that what fails
    ends soon: on a machine that is busy an honest exchange may meet one, and is tried again."""
    assert proxy.process.poll() is None, f"status {proxy.process.poll()}: {proxy.said()}"
    for _ in range(5):
        answer, seen = exchange(proxy, origin, job)
        if answer is None or answer.status not in (408, 504):
            break
    assert is_well(answer, seen, job), (when, answer, answer and answer.body, seen, proxy.said()[-2000:])


def count(proxy, plan, origin, job, family):
    """How many calls it makes."""
    plan.arm(family)
    succeed(proxy, origin, job)
    calls, failed = plan.disarm()
    assert not failed
    return calls


def fail(proxy, plan, origin, job, family, nth, for_ever=False):
    """How it went wrong, or None; whether the call was made at all."""
    plan.arm(family, nth, for_ever)
    answer, seen = exchange(proxy, origin, job)
    _, failed = plan.disarm()
    succeed(proxy, origin, job, f"after {family} {nth}")
    wrong = judge(answer, seen, job)
    return wrong and f"{family} {nth}: {wrong}", failed > 0


CASES = [(job, family) for job in JOBS for family in FAMILIES[1:]
         if family != "securing" or "tls" in job]


@pytest.mark.parametrize("job, family", CASES, ids=lambda v: v)
def test_every_call(scene, job, family):
    begin, plan, origins = scene
    proxy, origin = begin(), origins[JOBS[job][1]]
    succeed(proxy, origin, job)
    at_rest = descriptors(proxy.pid)
    calls = count(proxy, plan, origin, job, family)
    assert calls, "none is counted"
    went = [fail(proxy, plan, origin, job, family, n) for n in chosen(calls)]
    print(job, family, calls, [f for _, f in went].count(True))
    assert not [w for w, _ in went if w]
    assert [f for _, f in went].count(True) * 2 >= len(went)
    wait_until(lambda: descriptors(proxy.pid) <= at_rest, f"{descriptors(proxy.pid)} descriptors, {at_rest} at rest")
    assert not origin.malformed


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("job", ["get", "post-file", "449"])
def test_memory_in_a_new_process(scene, job, for_ever):
    """R143: The first exchange asks for most."""
    begin, plan, origins = scene
    origin = origins[JOBS[job][1]]
    calls = count(begin(), plan, origin, job, "memory")
    assert calls > 3, "it does not count"
    went = []
    for n in chosen(calls):
        proxy = begin()
        went.append(fail(proxy, plan, origin, job, "memory", n, for_ever))
        proxy.stop()
    print(job, calls, [f for _, f in went].count(True))
    assert not [w for w, _ in went if w]
    assert [f for _, f in went].count(True) * 2 >= len(went)


@pytest.mark.parametrize("job", ["tls", "449-tls"])
def test_memory_of_tls(scene, job):
    """Later ones ask as well. OpenSSL never recovers when its very first handshake
    finds no memory; so that one is let be."""
    begin, plan, origins = scene
    proxy, origin = begin(), origins[JOBS[job][1]]
    succeed(proxy, origin, job)
    calls = count(proxy, plan, origin, job, "memory")
    went = [fail(proxy, plan, origin, job, "memory", n) for n in chosen(calls)]
    print(job, calls, [f for _, f in went].count(True))
    assert not [w for w, _ in went if w]
    assert [f for _, f in went].count(True) * 2 >= len(went)


def test_no_block_for_a_body(start, plan):
    """Nobody is going to free one, so the client is told now: not when the upstream
    server, which waits for the body as well, has had its time."""
    proxy = start("--response-timeout", "10m", "--body-timeout", "10m",
                  env={"LD_PRELOAD": str(LIBRARY), "FAIL_NTH": str(plan.path)})
    origin = Origin()
    origin.on("/x", lambda call: call.read_body(), early=True)
    holders, last, ping = [proxy.client() for _ in range(8)], proxy.client(), proxy.client()
    with proxy.client() as client:
        client.send(client.head("POST", origin.url("/x"), [("Content-Length", "10")]))
        wait_until(lambda: origin.requests, "the head")
        for holder in holders:          # each keeps a block: the spare ones, then new ones
            holder.send(b"GET ")
        assert ping.ask("OPTIONS", "*", [("Host", "h")]).status == 200
        plan.arm("memory", 1, for_ever=True)
        last.send(b"GET ")              # takes what that left
        time.sleep(0.2)
        client.send(b"0123456789")
        answer = client.response("POST")
        plan.disarm()
        assert (answer.status, answer.one("Retry-After")) == (503, "1")
    for other in (*holders, last, ping):
        other.close()
    origin.close()
