"""An origin that records every octet and answers by script.

    origin = Origin()
    origin.on("/x", response(200, b"hello"))             # always this
    origin.on("/y", [challenge("v"), response(200)])     # in this order, the last for ever
    def slow(call):                                      # or do anything
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        call.reset()
    origin.on("/z", slow)

A responder is called when the whole request is there; with early=True when its
head is, and then it reads the body itself (call.read_body()) or not at all.
"""
import os
import socket
import threading

from kit.client import PATIENCE, abort, say_goodbye, wait_for
from kit.door import Door
from kit.http1 import Malformed, Reader


def response(status=200, body=b"", fields=(), reason="Whatever", version="HTTP/1.1", length=True):
    """A response as octets. length=False leaves Content-Length away."""
    lines = [f"{version} {status} {reason}", *(f"{n}: {v}" for n, v in fields)]
    if length and status >= 200 and status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def challenge(value="some value", fields=(), body=b"", **more):
    """A 449 with Ms-Echo-Request (None: without)."""
    asked = [] if value is None else [("Ms-Echo-Request", value)]
    return response(449, body, [*asked, *fields], reason="Retry With", **more)


class Call:
    """One request on its way through a responder."""

    def __init__(self, connection, request):
        self.connection = connection
        self.request = request
        self.origin = connection.origin
        self.over = False           # the connection is not to be used again

    @property
    def sock(self):
        return self.connection.sock

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def send_in_pieces(self, data, size=1):
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(data), size):
            self.send(data[i:i + size])

    def read_body(self):
        self.connection.reader.read_body(self.request)
        return self.request.body

    def reset(self):
        self.over = True
        self.connection.is_open = False
        abort(self.sock)

    def close(self):
        self.over = True

    def fin(self):
        """The TCP stream ends; TLS is not asked, and goes on reading."""
        self.over = True
        with socket.socket(fileno=os.dup(self.sock.fileno())) as bare:
            bare.shutdown(socket.SHUT_WR)

    def wait_for_end(self, seconds=PATIENCE):
        """Reads until the peer ends its stream: True, or until time is up: False."""
        self.over = True
        self.sock.settimeout(seconds)
        try:
            while self.connection.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    def stall(self):
        """Says nothing more until the peer leaves or the test is over."""
        self.over = True
        wait_for(self.origin.stopping, "the end of the test")


class Connection:
    def __init__(self, origin, sock, number):
        self.origin = origin
        self.sock = sock
        self.number = number
        self.raw = bytearray()      # all octets received
        self.requests = []
        self.is_open = True
        self.error = None
        self.reader = Reader(self.recv)

    def recv(self, n):
        got = self.sock.recv(n)
        if self.origin.recording:
            self.raw += got
        return got

    def serve(self):
        try:
            if self.origin.tls:
                self.sock = self.origin.tls.wrap_socket(self.sock, server_side=True)
            while self.one():
                pass
            if self.origin.tls and self.is_open:
                say_goodbye(self.sock)
        except Malformed as e:
            self.origin.malformed.append(e)
        except AssertionError as e:
            self.origin.failed.append(e)
        except (OSError, ValueError) as e:      # ValueError: closed while in use
            self.error = e
        finally:
            self.is_open = False
            self.sock.close()

    def one(self):
        request = self.reader.request_head()
        if request is None:
            return False
        responder, early = self.origin.find(request)
        if not early:
            self.reader.read_body(request)
        self.requests.append(request)
        with self.origin.lock:
            self.origin.requests.append(request)
        call = Call(self, request)
        if callable(responder):
            responder(call)
        else:
            call.send(responder)
            if early:
                call.read_body()
        if not early or not call.over:
            self.reader.read_body(request)
        return not call.over and "close" not in request.tokens("Connection")


class Origin:
    def __init__(self, tls=None, address="127.0.0.1", recording=True):
        self.tls = tls
        self.recording = recording
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.responders = {}
        self.counts = {}
        self.requests = []          # in the order of their heads
        self.connections = []
        self.malformed = []         # what the proxy should never have sent
        self.failed = []            # what responders asserted in vain
        self.door = Door(Connection.serve, address, taken=self.take)
        self.port, self.authority = self.door.port, self.door.authority
        self.base = ("https://" if tls else "http://") + self.authority

    def url(self, path):
        return self.base + path

    def on(self, path, responder, early=False):
        """path: exactly, without the query; "*" for all others."""
        self.responders[path] = (responder, early)
        return self.url(path)

    def find(self, request):
        path = request.path.partition("?")[0]
        key = path if path in self.responders else "*"
        responder, early = self.responders.get(key, (response(404, b"no such script"), False))
        if isinstance(responder, list):
            with self.lock:
                n = self.counts.get(key, 0)
                self.counts[key] = n + 1
            responder = responder[min(n, len(responder) - 1)]
        return responder, early

    def to(self, path):
        """The requests for a path, so far."""
        return [r for r in self.requests if r.path.partition("?")[0] == path]

    def used(self):
        """Connections with requests: a client that is slow to begin TLS costs one without."""
        return [c for c in self.connections if c.requests]

    def open_connections(self):
        return [c for c in self.connections if c.is_open]

    def take(self, sock):
        connection = Connection(self, sock, len(self.connections))
        self.connections.append(connection)
        return connection

    def close(self):
        """Closes the door and all connections; new ones are refused from now on."""
        self.stopping.set()
        self.door.close()
        self.close_connections()
        assert not self.failed, self.failed

    def close_connections(self):
        for connection in self.open_connections():
            try:
                # Not that of TLS: it would leave raw octets to whoever reads.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
            except OSError:
                pass
