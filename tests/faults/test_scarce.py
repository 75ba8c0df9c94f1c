"""Too little of something: room on the disk, descriptors (P14, P15).
The exchange that wants more fails so that it shows, others go on, and when there is
enough again, all is as before. (P04)"""
import os
import resource
import subprocess
import time

import pytest

from cast import body_of, descriptors
from kit.client import wait_until
from kit.origin import Origin, challenge, response
from kit.program import Proxy

SMALL, LARGE = 100_000, 2_000_000   # bodies; of the room, the half or ten times as much
ROOM = 200 * 1024
OPTIONS = ("--body-memory", "4k", "--log-level", "error", "--connect-ports", "1-65535", "--pool-timeout", "1s")


def serving():
    origin = Origin()
    origin.on("/449", lambda call: call.send(response(200, call.request.body) if call.request.has("Ms-Echo-Reply")
                                             else challenge("v", body=b"again")))
    origin.on("/plain", lambda call: call.send(response(200, call.request.body)))
    yield origin
    origin.close()


origin = pytest.fixture(serving, name="origin")
other = pytest.fixture(serving, name="other")


class OnSmallDisk(Proxy):
    """Its spool directory is a file system of its own that has little room."""
    wrapper = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
               f'mount -t tmpfs -o size={ROOM} tmpfs "$SPOOL" && exec "$@"', "-")


class WithSmallFiles(Proxy):
    wrapper = ("sh", "-c", f'ulimit -f {ROOM // 512} && exec "$@"', "-")


def may_mount(tmp_path):
    done = subprocess.run([*OnSmallDisk.wrapper, "true"], env={**os.environ, "SPOOL": str(tmp_path)},
                          capture_output=True)
    return done.returncode == 0


@pytest.fixture(params=[OnSmallDisk, WithSmallFiles])
def tight(request, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    if request.param is OnSmallDisk and not may_mount(spool):
        pytest.skip("no mount namespaces for this user")
    proxy = request.param(tmp_path, [*OPTIONS, "--spool-dir", str(spool)], env={"SPOOL": str(spool)})
    yield proxy
    proxy.stop()


def ask(proxy, origin, path, size):
    with proxy.client() as client:
        return client.ask("POST", origin.url(path), [("Connection", "close")], body=body_of(size, size))


def test_no_room_for_the_spool(tight, origin):
    """The body goes on to the origin whole, its 449 comes back, and says why."""
    at_rest = descriptors(tight.pid)
    for _ in range(3):
        answer = ask(tight, origin, "/449", LARGE)
        assert (answer.status, answer.body) == (449, b"again")
        assert "unanswered=spool-failed" in answer.one("Proxy-Status")
        assert origin.requests[-1].body == body_of(LARGE, LARGE)
        assert not origin.requests[-1].has("Ms-Echo-Reply")
        assert ask(tight, origin, "/plain", LARGE).body == body_of(LARGE, LARGE)
        answer = ask(tight, origin, "/449", SMALL)      # the room was given back
        assert (answer.status, answer.body) == (200, body_of(SMALL, SMALL))
    assert len(origin.to("/449")) == 3 * (1 + 2)
    wait_until(lambda: descriptors(tight.pid) <= at_rest + 1, "files to be given back")     # one is pooled


def test_no_room_for_the_log(tmp_path, origin):
    """A log that can be written no more costs its lines only."""
    proxy = WithSmallFiles(tmp_path, OPTIONS)
    with proxy.client() as client:
        for _ in range(2 * ROOM // 300):                # a line is longer than that
            assert client.ask("GET", origin.url("/plain")).status == 200
        wait_until(lambda: proxy.access_log.stat().st_size > ROOM - 65536, "lines")
        assert proxy.access_log.stat().st_size <= ROOM
        assert client.ask("GET", origin.url("/plain")).status == 200
    proxy.stop()


def jiffies(pid):
    """CPU time in all: of the user and of the kernel."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def starve(proxy, left):
    """So many descriptors are left to it; the highest in use counts."""
    highest = max(int(fd) for fd in os.listdir(f"/proc/{proxy.pid}/fd"))
    _, hard = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (highest + 1 + left, hard))
    return hard


def share_of_cpu(pid):
    """Between 0 and 1, while something could spin."""
    begin, before = time.monotonic(), jiffies(pid)
    time.sleep(1)
    return (jiffies(pid) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begin)


def test_no_descriptors(start, origin, other):
    """R161: Accepting pauses instead of trying again and again; who is connected is served; the
    others are when there are descriptors again."""
    proxy = start("--pool-timeout", "1m", "--log-level", "warn")
    early = proxy.client()
    assert early.ask("POST", origin.url("/plain"), body=b"x").body == b"x"     # its connection is pooled
    hard = starve(proxy, 3)
    waiting = [proxy.client() for _ in range(20)]
    wait_until(lambda: descriptors(proxy.pid) >= resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)[0] - 10,
               "all to be taken")
    assert share_of_cpu(proxy.pid) < 0.2
    assert "accepting is paused" in proxy.said()
    assert early.ask("POST", origin.url("/plain"), body=b"y").body == b"y"
    answer = early.ask("GET", other.url("/plain"))
    assert (answer.status, "connection_limit_reached" in answer.one("Proxy-Status")) == (503, True)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (hard, hard))
    for client in waiting:
        assert client.ask("POST", origin.url("/plain"), body=b"z").body == b"z"
        client.close()
    early.close()


def test_no_memory_left_of_the_budget(start, origin):
    """Bodies go to their file, then requests are refused; whoever is under way is served,
    and what was held is given back (R161, P11)."""
    proxy = start("--memory-total", "1m", "--body-memory", "64k", "--body-timeout", "1m", "--spool-total", "64m",
                  "--max-replays", "1", "--log-level", "error")
    at_rest = descriptors(proxy.pid)
    size, under_way = 50_000, []
    for _ in range(200):
        client = proxy.client()
        client.send(client.head("PUT", origin.url("/449"), [("Content-Length", str(size + 1))]) + body_of(size, size))
        under_way.append(client)
    refused = [c for c in under_way if was_refused(c)]
    served = [c for c in under_way if c not in refused]
    assert 20 < len(served) < 180, len(served)
    assert proxy.memory() < proxy.memory_allowance(24 << 20)
    for client in served:
        client.send(b"!")
        answer = client.response()
        assert (answer.status, answer.body) == (200, body_of(size, size) + b"!")
        client.close()
    assert ask(proxy, origin, "/449", SMALL).status == 200
    wait_until(lambda: descriptors(proxy.pid) <= at_rest + 2, "files to be given back")


def was_refused(client):
    """With 503, and when to come again; the others wait for the rest of the body."""
    client.sock.settimeout(0.05)
    try:
        answer = client.response()
    except TimeoutError:
        client.sock.settimeout(20)
        return False
    assert answer.status == 503 and answer.one("Retry-After") == "1" and "memory-full" in answer.text, answer.head
    client.close()
    return True
