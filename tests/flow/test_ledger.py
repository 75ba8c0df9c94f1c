"""What a request costs, to the unit: calls for memory and system calls in the
steady state of one client, one worker and a pooled upstream connection. Not how
long anything takes."""
import collections
import platform
import re
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from kit.client import PATIENCE, wait_until
from kit.origin import challenge, response
from kit.program import BINARY, Proxy

pytestmark = pytest.mark.not_by("inside", "listener", why="it counts what plain octets cost")

WARM_UP, MANY = 80, 200         # more than the flight recorder writes down at once
COUNTER = Path(BINARY).resolve().parent / "libcount_malloc.so"
QUIET = ("--access-log", "off")

ANSWER = response(200, b"x" * 100)
ASKED = challenge("value", body=b"please say it again")


def serve(call):
    """The final answer for who brings the echo, or wherever none is wanted."""
    wanted = call.request.path.startswith("/449")
    call.send(ASKED if wanted and not call.request.all("Ms-Echo-Reply") else ANSWER)


def job(client, origin, path, body=None):
    """One request over and over: a function of how often."""
    origin.on(path, serve)
    url = origin.url(path)
    fields = [] if body is None else [("Content-Length", str(len(body)))]
    request = client.head("GET" if body is None else "POST", url, fields) + (body or b"")

    def run(times):
        for _ in range(times):
            client.send(request)
            answer = client.response()
            assert answer.status == 200 and len(answer.body) == 100

    return run


JOBS = pytest.mark.parametrize("path, body, attempts", [
    ("/plain", None, 1), ("/plain", b"b" * 1024, 1), ("/449", None, 2), ("/449", b"b" * 1024, 2),
], ids=["GET", "POST 1K", "449 GET", "449 POST 1K"])


@JOBS
def test_memory(start, origin, tmp_path, path, body, attempts):
    """No request asks malloc for anything. Nor does an answered 449, unless the
    flight recorder writes it down, which it does 50 times a second at most: it
    hashes with OpenSSL's HMAC, and that allocates."""
    if not COUNTER.exists():
        pytest.skip(f"no {COUNTER.name}: not glibc, or a build for a sanitizer")
    count = tmp_path / "count"
    count.write_bytes(bytes(8))
    proxy = start(*QUIET, env={"LD_PRELOAD": str(COUNTER), "COUNT_MALLOC": str(count)})

    def calls():
        return struct.unpack("Q", count.read_bytes())[0]

    with proxy.client() as client:
        run = job(client, origin, path, body)
        run(WARM_UP)
        before = calls()
        assert before > 100, "it does not count"
        if attempts == 1:
            run(MANY)
            assert calls() - before == 0
        else:
            plain = job(client, origin, "/plain", None)
            costs = [one(run, plain, calls) for _ in range(MANY)]
            assert costs.count(0) > MANY / 20, costs
            assert max(costs) <= 40, costs
    assert len(origin.to(path)) == (WARM_UP + MANY) * attempts
    assert len(origin.connections) == 1


def one(run, plain, calls):
    """What is written down is so behind the answer, but before the next request is
    read; and that one, a plain one, costs nothing."""
    before = calls()
    run(1)
    plain(1)
    return calls() - before


class Trace:
    """The system calls of a process while this is open, by strace."""

    def __init__(self, tmp, pid):
        self.file, self.pid = tmp / "strace.out", pid
        self.err = tmp / "strace.err"

    def __enter__(self):
        strace = shutil.which("strace")
        if not strace:
            pytest.skip("strace is not installed")
        with open(self.err, "wb") as err:
            self.process = subprocess.Popen([strace, "-f", "-o", str(self.file), "-p", str(self.pid)],
                                            stdin=subprocess.DEVNULL, stderr=err)
        wait_until(lambda: "attached" in self.err.read_text() or self.process.poll() is not None,
                   "strace to attach")
        if self.process.poll() is not None:
            pytest.skip(f"strace may not trace: {self.err.read_text().strip()}")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)

    def calls(self):
        """Name and arguments of each, in order. Those that strace found under way,
        or cut in two, are counted once."""
        lines = self.file.read_text("latin-1").splitlines()
        found = [re.match(r"\d+ +(\w+)\((.*)", line) for line in lines]
        return [(m[1], m[2]) for m in found if m]


@JOBS
def test_system_calls(start, origin, tmp_path, path, body, attempts):
    """Six for a request: wait, receive and send, on either side. Three more for a
    replay. One look whether the upstream connection is still quiet before a replay,
    and before what must not be sent twice goes out on an idle one. No clock, no
    timer, no other watcher."""
    if not COUNTER.exists():
        pytest.skip("a sanitizer has threads and clocks of its own")
    proxy = start(*QUIET)
    with proxy.client() as client:
        run = job(client, origin, path, body)
        run(WARM_UP)
        with Trace(tmp_path, proxy.pid) as trace:
            run(MANY)
        calls = trace.calls()
    each = collections.Counter(name for name, _ in calls)
    # Four times a second a tick is set and read; mostly in a turn with nothing else.
    names = [name for name, _ in calls]
    ticks = sum(names[i:i + 3] == ["epoll_wait", "read", "timerfd_settime"] for i in range(len(names)))
    messages = MANY * (1 + attempts)
    looks = sum(name == "recvfrom" and "MSG_PEEK" in rest for name, rest in calls)
    used = {"wait": (each["epoll_wait"] - ticks, messages),
            "receive": (each["recvfrom"] - looks, messages),
            "send": (each["sendto"] + each["sendmsg"], messages),
            "look": (looks, MANY * ((attempts - 1) + (body is not None)))}
    for name, (n, usual) in used.items():
        assert usual - 3 <= n <= usual + 3, (name, n, each)
    others = sum(each.values()) - ticks - 2 * each["timerfd_settime"] - sum(n for n, _ in used.values())
    assert others < MANY / 10, each     # other threads may live a little


# Instructions in user space of the usual build (GCC 12, -O2, x86-64), but for what
# the flight recorder writes down. Change a figure with the reason in the commit.
INSTRUCTIONS = {"GET": 11200, "449 GET": 21040, "449 POST 1K": 24490}
FEW, MORE = 100, 500


def cost_of(profile, function):
    """Instructions in calls of function, by the file of callgrind: a line that
    names who is called, one that counts the calls, one with what they cost."""
    names, total = {}, 0
    lines = iter(profile.read_text().splitlines())
    for line in lines:
        named = re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line)
        if not named:
            continue
        if named[3]:
            names[named[2]] = named[3]
        if named[1] and names[named[2]] == function and next(lines).startswith("calls="):
            total += int(next(lines).split()[1])
    return total


def instructions(start, origin, profile, path, body, times):
    class Counted(Proxy):
        wrapper = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}")

    proxy = start(*QUIET, "--no-sandbox", kind=Counted)
    with proxy.client() as client:
        job(client, origin, path, body)(times)
    proxy.stop()
    every = int(re.search(r"^(?:summary|totals): (\d+)", profile.read_text(), re.MULTILINE)[1])
    return every - cost_of(profile, "answer_record")


@pytest.mark.parametrize("name, path, body", [("GET", "/plain", None), ("449 GET", "/449", None),
                                              ("449 POST 1K", "/449", b"b" * 1024)])
def test_instructions(start, origin, tmp_path, name, path, body):
    if not COUNTER.exists() or platform.machine() != "x86_64":
        pytest.skip("the figures are those of x86-64, without a sanitizer")
    if b"GCC: (Debian 12" not in Path(BINARY).read_bytes():
        pytest.skip("the figures are those of GCC 12")
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    few, more = (instructions(start, origin, tmp_path / f"callgrind.{n}", path, body, n) for n in (FEW, MORE))
    each = (more - few) / (MORE - FEW)
    usual = INSTRUCTIONS[name]
    assert abs(each - usual) < usual * 0.03, f"{each:.0f} a request, and it was {usual}"
