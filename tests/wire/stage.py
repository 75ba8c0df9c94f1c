"""One row on stage: a client and an origin that say exactly the octets of the
row, cut as told, and write down all that comes back.

Each play has origins of its own: every address of 127.100.0.0/14 leads to one
door, so the address a connection was made to tells whose it is, and no pooled
connection of the proxy is ever shared by two plays."""
import itertools
import socket
import threading
import time

from kit.client import abort
from kit.http1 import Malformed, Reader

PATIENCE = 12                       # seconds until a play is said to hang
DEADLINE = 60                       # of the usual proxy, for origins that say nothing
PAUSE = 0.001                       # between two pieces: the proxy reads the first alone
BRIEF = 0.0001                      # ... of one octet
WIDE = 4096                         # rows beyond: not every octet alone
SENTINEL, FIRST, MAIN = "/sentinel", "/first", "/x"


# -- cuts ---------------------------------------------------------------------

def pieces(raw, cut):
    """cut: "whole", "octets", or the offset of a split. The middle of a huge
    row is a repetition, and goes in one piece."""
    if cut == "whole" or not raw:
        return [raw]
    if cut != "octets":
        return [raw[:cut], raw[cut:]]
    head, tail = (len(raw), 0) if len(raw) <= WIDE else (1024, 256)
    singles = [raw[i:i + 1] for i in range(len(raw))] if not tail else \
        [raw[i:i + 1] for i in range(head)]
    if not tail:
        return singles
    return [*singles, raw[head:-tail], *(raw[i:i + 1] for i in range(len(raw) - tail, len(raw)))]


def say(sock, raw, cut):
    """Sends it; False when the peer would not hear it all."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    parts = pieces(raw, cut)
    pause = BRIEF if cut == "octets" else PAUSE
    try:
        for i, piece in enumerate(parts):
            if i:
                time.sleep(pause)
            sock.sendall(piece)
    except (ConnectionError, TimeoutError):
        return False
    return True


# -- origins ------------------------------------------------------------------

class Origins:
    """The door of all origins of one process."""

    def __init__(self, tls, tls_addresses):
        self.tls = tls
        self.door = socket.socket()
        self.door.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        self.door.bind(("0.0.0.0", 0))
        self.door.listen(1024)
        self.port = self.door.getsockname()[1]
        self.plays = {}
        self.lock = threading.Lock()
        self.numbers = itertools.count()
        self.tls_addresses = itertools.cycle(tls_addresses)
        threading.Thread(target=self.accept, daemon=True).start()

    def address(self, secure=False):
        """One that nobody used before. All are of one length, so that offsets
        mean the same in every play."""
        with self.lock:
            if secure:
                return next(self.tls_addresses)
            n = next(self.numbers)
        return f"127.{100 + n // 22500 % 100}.{100 + n // 150 % 150}.{100 + n % 150}"

    def accept(self):
        while True:
            sock, _ = self.door.accept()
            play = self.plays.get(sock.getsockname()[0])
            if play is None:
                sock.close()
                continue
            sock.settimeout(PATIENCE)
            threading.Thread(target=play.serve, args=(sock,), daemon=True).start()


class Upstream:
    """One connection to an origin."""

    def __init__(self, sock, number, host):
        self.sock, self.number, self.host = sock, number, host
        self.raw = b""
        self.closed = threading.Event()     # the proxy ended it
        self.hello = False                  # it spoke TLS
        self.reader = Reader(self.recv)

    def recv(self, n):
        try:
            got = self.sock.recv(n)
        except ConnectionError:
            self.closed.set()
            raise
        if not got:
            self.closed.set()
        self.raw += got
        return got


def answer(request, tag):
    """What an origin says when the row does not say it."""
    body = b"" if request.method == "HEAD" else tag
    return (b"HTTP/1.1 200 OK\r\nX-Wire: %s\r\nContent-Length: %d\r\n\r\n" % (tag, len(tag))) + body


# -- a play -------------------------------------------------------------------

class Play:
    def __init__(self, origins, proxy, via, row, cut):
        self.origins, self.proxy, self.row, self.cut = origins, proxy, row, cut
        self.secure = row.option("tls") == "1"
        self.addresses = [origins.address(self.secure) for _ in range(2)]
        self.hosts = [f"{a}:{origins.port}" for a in self.addresses]
        self.macros = {"ORIGIN": self.hosts[0], "ORIGIN2": self.hosts[1], "SELF": "%s:%d" % proxy,
                       "DEAD": "127.0.0.1:1", "SELFVIA": via}
        self.raw = row.octets(self.macros)
        self.lock = threading.Lock()
        self.upstreams = []
        self.requests = []          # as the origins saw them
        self.responses = []         # as the client saw them, without the sentinel's
        self.faults = []            # what no correct sender sends
        self.client_raw = b""
        self.end = "open"           # how the client's connection ended: open, eof, reset, silent
        self.tunnelled = False
        self.sentinel = None        # the response to it
        self.said = threading.Event()   # the origin has said all of raw
        self.mains = 0
        self.seconds = None
        self.leftover = []          # interim responses that no final one followed

    def run(self):
        with self.origins.lock:
            for address in self.addresses:
                self.origins.plays[address] = self
        try:
            self.play_request() if self.row.is_request else self.play_response()
        finally:
            self.curtain()
        return self

    def curtain(self):
        """Nothing of this play is left to the next one."""
        with self.origins.lock:
            for address in self.addresses:
                if self.origins.plays.get(address) is self:
                    del self.origins.plays[address]
        abort(self.sock)
        for upstream in self.upstreams:
            try:
                upstream.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # -- the client

    def connect(self):
        self.sock = socket.create_connection(self.proxy, PATIENCE)
        self.reader = Reader(self.recv)
        self.end = "open"

    def recv(self, n):
        got = self.sock.recv(n)
        self.client_raw += got
        return got

    def next_response(self, to="GET"):
        """A final response, or None: then self.end says what came instead."""
        interim = []
        try:
            while True:
                response = self.reader.response_head(to)
                if response is None or response.status >= 200 or response.status == 101:
                    break
                interim.append(response)
            if response:
                response.interim = interim
                self.reader.read_body(response)
                if response.error:
                    self.end = "reset"
                elif not response.complete:
                    self.end = "eof"
            else:
                self.leftover += interim
                self.end = "eof"
        except ConnectionError:
            self.end, response = "reset", None
            self.leftover += interim
        except TimeoutError:
            self.end, response = "silent", None
        except Malformed as e:
            self.faults.append(f"to the client: {e}")
            self.end, response = "malformed", None
        if response:
            self.responses.append(response)
        return response

    def ask_sentinel(self):
        """Its answer comes behind all that the row brought about."""
        scheme = "https" if self.secure else "http"
        request = (f"GET {scheme}://{self.hosts[0]}{SENTINEL} HTTP/1.1\r\n"
                   f"Host: {self.hosts[0]}\r\n\r\n").encode()
        try:
            self.sock.sendall(request)
        except ConnectionError:
            pass
        while (response := self.next_response()) is not None:
            if response.get("X-Wire") == SENTINEL:
                self.sentinel = self.responses.pop()
                return
            if self.end != "open":
                return

    def read_on(self, response, asks=True):
        """Behind the first response."""
        if response is None or self.end != "open":
            return
        if "close" in response.tokens("Connection") or not asks:
            while self.next_response():
                pass
        else:
            self.ask_sentinel()

    def play_request(self):
        row = self.row
        started = time.monotonic()
        self.connect()
        say(self.sock, self.raw, self.cut)
        if row.option("end") == "rst":
            return
        if row.option("end") == "fin":
            self.shut()
        response = self.next_response(row.method)
        self.seconds = time.monotonic() - started
        if response and row.method == "CONNECT" and response.status < 300:
            self.tunnel()
            return
        self.read_on(response, not row.option("end") and not row.has("nodial"))

    def shut(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def tunnel(self):
        """What we send comes back from an origin that repeats it."""
        try:
            self.sock.sendall(b"knock")
            while not self.reader.have.endswith(b"knock") and self.reader.more():
                pass
        except OSError:
            pass
        self.tunnelled = self.reader.have.endswith(b"knock")

    def switched(self):
        """What stands behind the 101 in the row has come, and nothing else does."""
        rest = self.raw.partition(b"\r\n\r\n")[2]
        try:
            while len(self.reader.have) < len(rest) and self.reader.more():
                pass
        except OSError:
            pass
        self.tunnelled = self.reader.have == rest

    def request_head(self, path, extra=""):
        version = self.row.option("client", "1.1")
        method = self.row.method if path != FIRST else "GET"
        scheme = "https" if self.secure else "http"
        return (f"{method} {scheme}://{self.hosts[0]}{path} HTTP/{version}\r\n"
                f"Host: {self.hosts[0]}\r\n{extra}\r\n").encode()

    def play_response(self):
        row = self.row
        self.connect()
        if row.option("conn") == "reused" or row.option("when") == "idle":
            self.sock.sendall(self.request_head(FIRST))
            self.next_response()
            self.responses.clear()
            if row.option("when") == "idle":
                self.hear_out()
                time.sleep(PAUSE)
        request = self.request_head(MAIN)
        if row.option("upgrade"):
            request = self.request_head(MAIN, "Connection: Upgrade\r\nUpgrade: %s\r\n" % row.option("upgrade"))
        elif row.option("expect") == "1":
            request = self.request_head(MAIN, "Expect: 100-continue\r\nContent-Length: 5\r\n")
        elif row.option("when") == "early":     # the answer comes before the body is whole
            request = self.request_head(MAIN, "Content-Length: 5\r\n") + b"abc"
        elif row.method in ("POST", "PUT", "PATCH"):
            request = self.request_head(MAIN, "Content-Length: 5\r\n") + b"abcde"
        started = time.monotonic()
        self.sock.sendall(request)
        if any(kind == "replay" for kind, _ in row.expected) and row.option("when") == "early":
            self.hear_out()             # the replay wants the rest of the body
            time.sleep(2 * PAUSE)
            self.sock.sendall(b"de")
        response = self.next_response(row.method)
        self.seconds = time.monotonic() - started
        if response and response.status == 101:
            self.switched()
            return
        self.said.wait(1)
        if row.has("upstreamclosed") and self.upstreams:
            self.upstreams[0].closed.wait(PATIENCE)
        time.sleep(2 * PAUSE)
        self.read_on(response)
        if self.sentinel is None:
            self.ask_anew()

    def hear_out(self):
        assert self.said.wait(PATIENCE), "the origin never came to say its piece"

    def ask_anew(self):
        """The client's connection is gone: the next client's request to the same
        origin must not meet anything of what this one left."""
        old, end, responses = self.sock, self.end, self.responses
        self.responses = []
        self.connect()
        self.ask_sentinel()
        abort(self.sock)
        self.sock, self.end, self.responses = old, end, responses

    # -- the origins

    def serve(self, sock):
        host = f"{sock.getsockname()[0]}:{self.origins.port}"
        upstream = Upstream(sock, len(self.upstreams), host)
        with self.lock:
            self.upstreams.append(upstream)
        try:
            if self.secure:
                upstream.sock = self.origins.tls.wrap_socket(sock, server_side=True)
            if not self.secure and not upstream.reader.more():
                return
            if upstream.reader.have[:1] == b"\x16":
                upstream.hello = True
            elif self.row.method == "CONNECT" and not upstream.reader.have.startswith(b"GET "):
                self.repeat(upstream)
            else:
                while self.serve_one(upstream):
                    pass
        except Malformed as e:
            self.faults.append(f"to the origin: {e}")
        except (OSError, ValueError):
            pass
        finally:
            try:
                upstream.sock.close()
            except OSError:
                pass

    def repeat(self, upstream):
        upstream.sock.sendall(upstream.reader.have)
        while got := upstream.recv(65536):
            upstream.sock.sendall(got)

    def serve_one(self, upstream):
        """False: this connection is over."""
        request = upstream.reader.request_head()
        if request is None:
            return False
        request.upstream = upstream
        with self.lock:
            self.requests.append(request)
        early = self.row.option("when") == "early" or self.row.option("expect") == "1"
        is_main = not self.row.is_request and request.path == MAIN
        if not (early and is_main) or self.mains:
            upstream.reader.read_body(request)
            if not request.complete:
                return False
        with self.lock:
            self.mains += is_main
            acts = is_main and self.row.option("when") != "idle" and (
                self.mains == 1 or self.row.option("repeat") == "always")
        if acts:
            return self.act(upstream)
        upstream.sock.sendall(answer(request, request.path.encode()))
        if self.row.option("when") == "idle" and request.path == FIRST:
            time.sleep(PAUSE)
            return self.act(upstream)
        return True

    def act(self, upstream):
        """The row's response, and what comes behind it."""
        say(upstream.sock, self.raw, self.cut)
        self.said.set()
        end = self.row.option("end")
        if self.row.option("when") == "early":
            while upstream.recv(65536):     # the rest of the body, if it comes
                pass
            return False
        if end == "hold" or self.row.option("when") == "idle":
            return True
        if end == "rst":
            time.sleep(PAUSE)
            abort(upstream.sock)
            return False
        if self.secure and end != "noclosenotify":
            upstream.sock = upstream.sock.unwrap()
        upstream.sock.shutdown(socket.SHUT_WR)
        while upstream.recv(65536):
            pass
        return False


def is_smuggled(play):
    """A request for it, not the text of one in a body."""
    return any("/smuggled" in r.target for r in play.requests)
