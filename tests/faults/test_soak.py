"""Mixed traffic with one fault in a hundred exchanges, for as long as SOAK says
in seconds: nothing grows (P08, P11). Not part of the usual run.

    SOAK=3600 RETRYWITH=build/retrywith python3 -m pytest tests/faults/test_soak.py

SOAK_RATE is how many exchanges a second are begun at most; SOAK_LOG a file for
the samples, one line each: seconds, exchanges, faults, KiB resident, descriptors.
"""
import asyncio
import itertools
import os
import random
import time

import pytest

from cast import Echo, Fault, Origin, Script, Stream, body_of, descriptors, heard, play
from kit.ca import Authority
from kit.client import chunked

SECONDS = int(os.environ.get("SOAK", "0"))
RATE = float(os.environ.get("SOAK_RATE", "200"))
CLIENTS = 20
PATIENCE = 120
SAMPLES = 120
ECHO = "Ms-Echo-Request: some value\r\n"
OPTIONS = ("--response-timeout", "20s", "--read-timeout", "20s", "--body-timeout", "20s", "--head-timeout", "20s")

pytestmark = pytest.mark.skipif(not SECONDS, reason="takes as many seconds as SOAK says: not set")


def whole(number, status="200 OK", fields="", size=1000):
    body = body_of(number, size)
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {size}\r\n\r\n".encode() + body


def in_chunks(number):
    body = body_of(number, 1000)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body[:300], body[300:])


def until_close(number):
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body_of(number, 1000)


def asked(number):
    return whole(number, "449 Retry With", ECHO, size=20)


# weight, method, size of the request's body, whether that is chunked, answers, what is sent to whom
KINDS = [
    (40, "GET", 0, False, lambda n: [whole(n)], "plain"),
    (5, "HEAD", 0, False, lambda n: [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"], "plain"),
    (14, "POST", 1000, False, lambda n: [whole(n)], "plain"),
    (5, "POST", 1000, True, lambda n: [whole(n)], "plain"),
    (8, "GET", 0, False, lambda n: [in_chunks(n)], "plain"),
    (2, "GET", 0, False, lambda n: [until_close(n)], "plain"),
    (6, "GET", 0, False, lambda n: [asked(n), whole(n)], "plain"),
    (6, "POST", 1000, False, lambda n: [asked(n), whole(n)], "plain"),
    (2, "POST", 100_000, False, lambda n: [asked(n), whole(n)], "plain"),
    (2, "PUT", 100_000, True, lambda n: [asked(n), in_chunks(n)], "plain"),
    (1, "GET", 0, False, lambda n: [whole(n, size=200_000)], "plain"),
    (5, "GET", 0, False, lambda n: [whole(n)], "tls"),
    (2, "POST", 1000, False, lambda n: [asked(n), whole(n)], "tls"),
    (2, "CONNECT", 200, False, None, "tunnel"),
]


class Soak:
    def __init__(self, proxy, authority, seed):
        self.proxy, self.authority = proxy, authority
        self.chance = random.Random(seed)
        self.numbers = itertools.count(1)
        self.exchanges = self.faults = 0
        self.samples, self.wrong = [], []

    async def run(self):
        self.origin, self.secure, self.echo = await Origin().open(), Origin(), await Echo().open()
        self.secure.scripts = self.origin.scripts
        self.secure.server = await asyncio.start_server(self.secure.serve, "127.0.0.1", 0, ssl=self.authority)
        self.secure.port = self.secure.server.sockets[0].getsockname()[1]
        self.begin = time.monotonic()
        await asyncio.gather(self.sample(), *(self.client() for _ in range(CLIENTS)))
        for server in (self.origin, self.secure):
            await server.close()
            self.wrong += server.malformed
        self.echo.server.close()

    def over(self):
        return time.monotonic() - self.begin >= SECONDS

    async def sample(self):
        log = os.environ.get("SOAK_LOG")
        while not self.over():
            await asyncio.sleep(SECONDS / SAMPLES)
            row = (round(time.monotonic() - self.begin), self.exchanges, self.faults,
                   self.proxy.memory() // 1024, descriptors(self.proxy.pid))
            self.samples.append(row)
            if log:
                with open(log, "a") as file:
                    print(*row, sep="\t", file=file)

    async def client(self):
        """One exchange after the other, on a connection that is kept while it can be."""
        kept = None
        while not self.over():
            due = time.monotonic() + CLIENTS / RATE
            script, where = self.choose()
            self.exchanges += 1
            self.origin.scripts[script.number] = script
            if where == "tunnel":
                await asyncio.wait_for(self.tunnel(script), PATIENCE)
            elif script.origin_fault or script.client_fault:
                await asyncio.wait_for(play(self.proxy.address, script), PATIENCE)
                self.judge_broken(script)
            else:
                kept = await asyncio.wait_for(self.ask(kept, script), PATIENCE)
                del self.origin.scripts[script.number]      # of the others something may still come
            await asyncio.sleep(max(0, due - time.monotonic()))
        if kept:
            kept[1].close()

    def choose(self):
        weight, method, size, is_chunked, answers, where = self.chance.choices(KINDS, [k[0] for k in KINDS])[0]
        number = next(self.numbers)
        body = body_of(number, size)
        if where == "tunnel":
            to = f"127.0.0.1:{self.echo.port}"
            return Script(number, f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode(), [], method, body), where
        script = Script(number, b"", answers(number), method, body)
        faulty = where == "plain" and self.chance.random() < 0.013     # of all: one in a hundred
        script.request = self.request(script, where, is_chunked, faulty)
        if faulty:
            self.spoil(script)
        return script, where

    def request(self, script, where, is_chunked, last):
        scheme, server = ("https", self.secure) if where == "tls" else ("http", self.origin)
        to = f"127.0.0.1:{server.port}"
        head = f"{script.method} {scheme}://{to}/{script.number} HTTP/1.1\r\nHost: {to}\r\n"
        head += "Connection: close\r\n" if last else ""
        if is_chunked:
            return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked(script.body[:900], script.body[900:])
        length = f"Content-Length: {len(script.body)}\r\n" if script.body else ""
        return f"{head}{length}\r\n".encode() + script.body

    def spoil(self, script):
        self.faults += 1
        kind = self.chance.choice(("reset", "fin", "stall"))
        if self.chance.random() < 0.5:
            script.client_fault = Fault(kind, self.chance.randrange(len(script.request)))
        else:
            times = self.chance.randrange(len(script.answers))
            script.origin_fault = Fault(kind, self.chance.randrange(len(script.answers[times])), times)

    async def ask(self, kept, script):
        """Says it, and judges the answer; the connection, if it is kept."""
        reader, writer = kept or await asyncio.open_connection(*self.proxy.address)
        stream = Stream(reader)
        writer.write(script.request)
        response = await stream.message(lambda r: r.read_response(script.method))
        self.judge(script, response)
        if response is None or not response.complete or "close" in response.tokens("Connection"):
            writer.close()
            return None
        return reader, writer

    def judge(self, script, response):
        size = 0 if script.method == "HEAD" else 200_000 if len(script.answers[-1]) > 200_000 else 1000
        if response is None or not response.complete or response.status != 200 or \
                response.body != body_of(script.number, size):
            self.wrong.append((script.number, script.method, response, script.heard[:300]))
        elif script.seen and any(r.body != script.body for r in script.seen):
            self.wrong.append((script.number, script.method, "another body at the origin"))

    def judge_broken(self, script):
        """What looks whole is whole; but an answer that ends by close ends like a fault."""
        fault = script.origin_fault
        if fault and fault.kind == "fin" and b"Connection: close" in script.answers[-1]:
            return
        response = heard(script)
        if response and response.complete and response.status == 200:
            self.judge(script, response)

    async def tunnel(self, script):
        reader, writer = await asyncio.open_connection(*self.proxy.address)
        writer.write(script.request)
        said = await reader.readuntil(b"\r\n\r\n")
        writer.write(script.body)
        said += await reader.readexactly(len(script.body))
        if not said.startswith(b"HTTP/1.1 200") or not said.endswith(script.body):
            self.wrong.append((script.number, "tunnel", said[:300]))
        writer.close()


def test_soak(start, tmp_path):
    ca = Authority(tmp_path)
    proxy = start(*OPTIONS, "--upstream-ca", str(ca.cert), "--access-log", "off", "--pool-timeout", "30s")
    at_rest = descriptors(proxy.pid)
    seed = int(os.environ.get("SOAK_SEED", "1"))
    soak = Soak(proxy, ca.server("IP:127.0.0.1"), seed)
    asyncio.run(soak.run())
    print(*soak.samples, sep="\n")
    assert not soak.wrong, f"{len(soak.wrong)} of {soak.exchanges}: {soak.wrong[:3]}"
    assert soak.faults
    third = len(soak.samples) // 3
    early = max(s[3] for s in soak.samples[:third])
    late = max(s[3] for s in soak.samples[-third:])
    assert late <= early + 1024, f"{early} KiB, then {late} KiB"
    for _ in range(100):
        if descriptors(proxy.pid) <= at_rest:
            break
        time.sleep(1)
    assert descriptors(proxy.pid) <= at_rest
