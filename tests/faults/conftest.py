"""Fixtures of the fault tests; peers and the program are those of the flow tests."""
import asyncio
import itertools
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "flow")]

from cast import Echo, Origin, Script, body_of, descriptors, heard, perform     # noqa: E402
from kit.client import wait_until                                         # noqa: E402
from kit.program import Proxy                                             # noqa: E402

COMMON = ("--connect-ports", "1-65535", "--deny-ports", "7", "--pool-timeout", "1s", "--log-level", "error")
SHORT = ("--head-timeout", "1s", "--body-timeout", "1s", "--response-timeout", "1s", "--read-timeout", "1s",
         "--write-timeout", "1s", "--tunnel-timeout", "1s")


@pytest.fixture
def start(tmp_path):
    running = []

    def start_one(*options, **more):
        running.append(Proxy(tmp_path, [*COMMON, *options], number=len(running), **more))
        return running[-1]
    yield start_one
    for proxy in running:
        proxy.stop()


class House:
    """A proxy, an origin, and the scripts to be played between them."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.numbers = itertools.count(1)
        self.scripts = []
        self.at_rest = descriptors(proxy.pid)

    def script(self, make, **more):
        """make(number, base) -> (request, answers, method, body)"""
        number = next(self.numbers)
        request, answers, method, body = make(number, "http://{ORIGIN}")
        script = Script(number, request, answers, method, body, **more)
        self.scripts.append(script)
        return script

    def run(self, at_once=100):
        asyncio.run(self.act(at_once))

    async def act(self, at_once):
        self.origin, self.echo = await Origin().open(), await Echo().open()
        authority = f"127.0.0.1:{self.origin.port}".encode()
        tunnel = f"127.0.0.1:{self.echo.port}".encode()
        innocent = [self.innocent() for _ in range(20)]
        for script in self.scripts + innocent:
            script.request = script.request.replace(b"{ORIGIN}", authority).replace(b"{ECHO}", tunnel)
            self.origin.scripts[script.number] = script
        await asyncio.gather(perform(self.proxy.address, self.scripts, at_once),
                             self.be_innocent(innocent[:10]))
        await self.be_innocent(innocent[10:])
        await self.origin.close()
        self.echo.server.close()
        assert not self.origin.malformed, self.origin.malformed

    def innocent(self):
        number = next(self.numbers)
        body = body_of(number, 3000)
        request = (f"POST http://{{ORIGIN}}/{number} HTTP/1.1\r\nHost: {{ORIGIN}}\r\nConnection: close\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        answer = f"HTTP/1.1 200 OK\r\nX-Number: {number}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        return Script(number, request, [answer], "POST", body)

    async def be_innocent(self, scripts):
        """Others are not harmed."""
        for script in scripts:
            await perform(self.proxy.address, [script])
            response = heard(script)
            assert response is not None and response.complete, (script.end, script.heard[:300])
            assert (response.status, response.body) == (200, script.body), script.heard[:300]
            assert [r.body for r in script.seen] == [script.body]

    def nothing_stays(self):
        """Connections and files are given back."""
        wait_until(lambda: descriptors(self.proxy.pid) <= self.at_rest,
                   f"{descriptors(self.proxy.pid)} descriptors, {self.at_rest} at rest")


@pytest.fixture
def house(start):
    """house(OPTION, ...) starts a proxy and looks after its descriptors at the end."""
    houses = []

    def build(*options, **more):
        houses.append(House(start(*options, **more)))
        return houses[-1]
    yield build
    for one in houses:
        one.nothing_stays()
