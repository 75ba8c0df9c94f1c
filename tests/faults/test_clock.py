"""The wall clock jumps (P13): only dates follow it. Who waits goes on waiting, and who
is idle stays connected."""
import email.utils
import struct
import threading
import time
from pathlib import Path

import pytest

from kit.client import wait_for, wait_until
from kit.origin import Origin, response
from kit.program import BINARY

LIBRARY = Path(BINARY).resolve().parent / "libshift_clock.so"
HOUR = 3600
YEARS = 20 * 365 * 24 * HOUR        # beyond 2038
NEAR = 60                           # seconds between a Date and the clock, at most

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY.name}: not glibc, or a build for a sanitizer")


@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEARS, -YEARS])
def test_jump(start, tmp_path, jump):
    shift = tmp_path / "shift"
    shift.write_bytes(bytes(8))
    go_on = threading.Event()

    def slow(call):
        wait_for(go_on, "the clock to jump")
        call.send(response(200, b"late"))
    origin = Origin()
    origin.on("/now", response(200, b"at once"))
    origin.on("/slow", slow)
    proxy = start("--pool-timeout", "1m", env={"LD_PRELOAD": str(LIBRARY), "SHIFT_CLOCK": str(shift)})
    idle, silent = proxy.client(), proxy.client()
    assert is_dated(idle.ask("GET", origin.url("/now")), 0)
    waiting = proxy.client().request("GET", origin.url("/slow"))
    wait_until(lambda: origin.to("/slow"), "the request to be there")

    with open(shift, "r+b") as file:
        file.write(struct.pack("q", jump))
    with proxy.client() as other:                       # deadlines are looked at in these turns
        for _ in range(3):
            assert is_dated(other.ask("GET", origin.url("/now")), jump)
            time.sleep(0.3)
    go_on.set()
    answer = waiting.response()
    assert answer.body == b"late" and is_dated(answer, jump)
    for client in (idle, silent):
        answer = client.ask("GET", origin.url("/now"))
        assert answer.body == b"at once" and is_dated(answer, jump)
        client.close()
    waiting.close()
    origin.close()


def is_dated(answer, jump):
    """The origin gives no Date: the proxy does (RFC 9110 6.6.1)."""
    date = email.utils.parsedate_to_datetime(answer.one("Date")).timestamp()
    return abs(date - time.time() - jump) < NEAR
