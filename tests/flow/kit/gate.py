"""A gate before a server: 449 to every request without the right Ms-Echo-Reply.

Each challenge is good for one request. What passes is relayed octet by octet,
without the Ms-Echo-Reply.
"""
import itertools
import socket
import threading

from kit.door import Door
from kit.http1 import Malformed, Reader

BLOCK = 1 << 18
PATIENCE = 120                      # seconds: large bodies, on a busy machine


class Gate:
    def __init__(self, behind):
        self.behind = behind                    # (host, port)
        self.numbers = itertools.count(1)
        self.open_challenges = set()
        self.challenged = self.passed = 0
        self.problems = []
        self.lost = []              # why connections ended in the middle
        self.lock = threading.Lock()
        self.door = Door(self.serve, patience=PATIENCE)
        self.port = self.door.port
        self.url = f"http://{self.door.authority}"

    def serve(self, sock):
        passage = Passage(self, sock)
        try:
            while passage.one():
                pass
        except Malformed as e:
            self.problems.append(e)
        except OSError as e:
            self.lost.append(e)
        finally:
            passage.close()

    def new_challenge(self):
        with self.lock:
            value = f'gate="{next(self.numbers)}", kept  as is; \xe9'
            self.open_challenges.add(value)
            self.challenged += 1
        return value

    def accepts(self, request):
        value = request.get("Ms-Echo-Reply")
        with self.lock:
            good = value in self.open_challenges
            self.open_challenges.discard(value)
            self.passed += good
        return good

    def close(self):
        self.door.close()


class Passage:
    """One connection through the gate, and the one behind it."""

    def __init__(self, gate, sock):
        self.gate, self.sock = gate, sock
        self.reader = Reader(lambda n: sock.recv(BLOCK))
        self.inner = None

    def close(self):
        self.sock.close()
        if self.inner:
            self.inner.close()

    def one(self):
        request = self.reader.request_head()
        if request is None:
            return False
        if "100-continue" in request.tokens("Expect"):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.gate.accepts(request):
            return self.relay(request)
        for _ in raw_body(self.reader, request):
            pass
        answer = (f"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: {self.gate.new_challenge()}\r\n"
                  "Content-Length: 6\r\n\r\n" + ("" if request.method == "HEAD" else "retry\n"))
        self.sock.sendall(answer.encode("latin-1"))
        return True

    def relay(self, request):
        if not self.inner:
            self.inner = socket.create_connection(self.gate.behind, PATIENCE)
            self.inner_reader = Reader(lambda n: self.inner.recv(BLOCK))
        lines = [f"{request.method} {request.target} HTTP/1.1"]
        lines += [f"{n}: {v}" for n, v in request.fields if n.lower() not in ("ms-echo-reply", "expect")]
        self.inner.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        for piece in raw_body(self.reader, request):
            self.inner.sendall(piece)
        answer = self.inner_reader.response_head(request.method)
        if answer is None:
            return False
        self.sock.sendall(answer.head)
        for piece in raw_body(self.inner_reader, answer):
            self.sock.sendall(piece)
        return answer.framing != "close" and "close" not in answer.tokens("Connection")


def raw_body(reader, message):
    """The octets of the body as they are on the wire, chunk lines included."""
    if message.framing == "length":
        yield from exactly(reader, message.announced)
    elif message.framing == "chunked":
        while True:
            line = reader.line()
            yield line + b"\r\n"
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            yield from exactly(reader, size + 2)
        while line := reader.line():
            yield line + b"\r\n"
        yield b"\r\n"
    elif message.framing == "close":
        while reader.have or reader.more():
            yield reader.take(len(reader.have))


def exactly(reader, n):
    while n > 0:
        if not reader.have and not reader.more():
            raise ConnectionError("ended in mid-message")
        piece = reader.take(n)
        n -= len(piece)
        yield piece
