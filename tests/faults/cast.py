"""An origin and clients that break off where a script says so; one event loop
plays hundreds of exchanges at once.

Every request has a number in its path, every answer carries it back, and bodies
are made from it: so each side can tell whether what looks whole is whole, and
whose it is.
"""
import asyncio
import os
import socket
import struct
from dataclasses import dataclass, field

from kit.http1 import Malformed, Reader

PATIENCE = 60                       # seconds after which an exchange counts as hung
AT_ONCE = 100                       # exchanges
FAULTS = ("reset", "fin", "stall")


def body_of(number, size):
    seed = b"<%d>" % number
    return (seed * (size // len(seed) + 1))[:size]


@dataclass
class Fault:
    kind: str                       # one of FAULTS
    at: int                         # so many octets are sent before
    times: int = 0                  # origin: which coming of the request is hit


@dataclass
class Script:
    """One request, and the answers to it, in the order in which it comes. After
    the last one the origin answers with that again."""
    number: int
    request: bytes
    answers: list = field(default_factory=list)
    method: str = "GET"
    body: bytes = b""               # of the request
    origin_fault: Fault = None
    client_fault: Fault = None
    early: bool = False             # answered as soon as the head is there
    leave: tuple = ()               # (moment, reset or fin): the client goes when the origin is so far
    waits_for_100: bool = False
    came: int = 0                   # heads at the origin
    seen: list = field(default_factory=list)    # whole requests there
    problem: str = ""
    heard: bytes = b""              # what the client heard ...
    end: str = ""                   # ... and how that ended: eof, reset, hung, left


def abort(writer):
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def read_some(reader):
    """The next octets; b"" at the end, None after a reset."""
    try:
        return await reader.read(1 << 16)
    except ConnectionError:
        return None


async def break_off(reader, writer, kind):
    """Then reads until the other side has ended."""
    if kind == "reset":
        abort(writer)
        return
    if kind == "fin":
        try:
            writer.write_eof()
        except OSError:
            return
    while await read_some(reader):
        pass


class Origin:
    """Answers requests for /NUMBER by its script."""

    def __init__(self):
        self.scripts = {}
        self.malformed = []
        self.tasks = set()

    async def open(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        return self

    async def close(self):
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        writer.transport.set_write_buffer_limits(0)
        connection = Stream(reader)
        try:
            while await self.one(connection, writer):
                pass
        except Malformed as e:
            self.malformed.append(e)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self.tasks.discard(asyncio.current_task())

    async def one(self, connection, writer):
        request = await connection.message(lambda r: r.request_head(), body=False)
        if request is None:
            return False
        script = self.scripts[int(request.path.rpartition("/")[2])]
        n = script.came
        script.came += 1
        if "100-continue" in request.tokens("Expect") and not script.early:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not script.early:
            request = await connection.message(lambda r: r.read_request())
            if request is None or not request.complete:
                return False
            script.seen.append(request)
        answer = script.answers[min(n, len(script.answers) - 1)]
        if script.leave:
            return await self.answer_a_leaver(script, n, answer, connection.reader, writer)
        fault = script.origin_fault
        if fault and fault.times == n:
            writer.write(answer[:fault.at])
            await writer.drain()
            await break_off(connection.reader, writer, fault.kind)
            return False
        writer.write(answer)
        await writer.drain()
        return not script.early and not closes(answer)


    async def answer_a_leaver(self, script, n, answer, reader, writer):
        """In two pieces; the client may go before, between or behind them."""
        half = len(answer) // 2
        for moment, piece in (("before", answer[:half]), ("half", answer[half:]), ("after", b"")):
            if script.leave[0] == f"{moment}-{n}":
                script.left.set()
                while await read_some(reader):
                    pass            # until the proxy has seen it
                return False
            writer.write(piece)
            await writer.drain()
        return True


def closes(answer):
    head = answer.lower().partition(b"\r\n\r\n")[0]
    return b"connection: close" in head or b"http/1.0" in head


class Echo:
    """Says again what it hears, for tunnels."""

    def __init__(self):
        self.open_now = self.most = 0

    async def open(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        try:
            while got := await read_some(reader):
                writer.write(got)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.open_now -= 1


class Stream:
    """Octets of one connection, from which messages are taken once they are there."""

    def __init__(self, reader):
        self.reader = reader
        self.have = b""
        self.wanted = 0             # octets that the message at hand needs at least
        self.ended = False

    async def message(self, read, body=True):
        """What read(Reader) gives, or None when the peer ends before. With body
        False the octets of the head stay."""
        while True:
            if self.ended or len(self.have) >= self.wanted:
                try:
                    return self.take(read, body)
                except Hungry as e:
                    self.wanted = e.wanted
            if self.ended and b"\r\n\r\n" not in self.have:
                return None         # broken off in the head, or before it
            got = await read_some(self.reader)
            self.ended = not got
            self.have += got or b""

    def take(self, read, body):
        need = Need(self)
        reader = Reader(need.recv)
        message = read(reader)
        if body and message is not None:
            self.have = reader.have
        self.wanted = 0
        return message


class Hungry(Exception):
    def __init__(self, wanted):
        self.wanted = wanted


class Need:
    """Gives what is there once, then says that there is not enough."""

    def __init__(self, stream):
        self.stream, self.given = stream, False

    def recv(self, n):
        if not self.given and self.stream.have:
            self.given = True
            return self.stream.have
        if self.stream.ended:
            return b""
        raise Hungry(len(self.stream.have) + 1)


async def say(script, reader, writer):
    """The client's part, as far as its fault lets it."""
    fault, octets = script.client_fault, script.request
    cut = fault.at if fault else len(octets)
    head = octets.index(b"\r\n\r\n") + 4
    if script.waits_for_100 and cut > head:
        writer.write(octets[:head])
        got = await read_some(reader)
        script.heard += got or b""
        if not (got or b"").startswith(b"HTTP/1.1 100"):
            return
        script.heard = script.heard.partition(b"\r\n\r\n")[2]
        writer.write(octets[head:cut])
    else:
        writer.write(octets[:cut])
    await writer.drain()
    if fault and fault.kind == "reset":
        await asyncio.sleep(0)      # let the octets go first
        abort(writer)
        script.end = "left"
    elif fault and fault.kind == "fin":
        writer.write_eof()


async def leave_when_told(script, writer):
    await script.left.wait()
    script.end = "left"
    if script.leave[1] == "reset":
        abort(writer)
    else:
        writer.write_eof()


async def play(address, script):
    """One client on a connection of its own."""
    reader, writer = await asyncio.open_connection(*address)
    writer.transport.set_write_buffer_limits(0)
    if script.leave:
        script.left = asyncio.Event()
        leaving = asyncio.create_task(leave_when_told(script, writer))
    try:
        await say(script, reader, writer)
    except ConnectionError:
        pass                        # what was said to us is still to be read
    while not script.end or script.leave:
        got = await read_some(reader)
        if script.leave and not got:
            await leaving
            break
        if got is None:
            script.end = "reset"
        elif not got:
            script.end = "eof"
        else:
            script.heard += got
    writer.transport.abort()


async def perform(address, scripts, at_once=AT_ONCE):
    """Plays all of them, so many at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(script):
        async with gate:
            try:
                await asyncio.wait_for(play(address, script), PATIENCE)
            except asyncio.TimeoutError:
                script.end = "hung"
    await asyncio.gather(*(one(s) for s in scripts))


def heard(script):
    """The final response as the client heard it; None: none. Its .complete says
    whether it looks whole."""
    chunks = [script.heard]

    def recv(n):
        if chunks and chunks[0]:
            return chunks.pop()
        if script.end != "eof":
            raise ConnectionResetError
        return b""
    try:
        return Reader(recv).read_response(script.method)
    except ConnectionError:
        return None


def links(pid):
    """What its descriptors are."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass                    # closed meanwhile
    return names


def descriptors(pid):
    """Sockets and files of a process; pipes are kept for the next one."""
    return sum(not name.startswith("pipe:") for name in links(pid))
