"""A strict reader of HTTP/1 messages (RFC 9112), independent of the proxy's.

It accepts nothing that a sender must not send, so that whatever passes here is
well-formed, and it says of each message whether it came complete.
"""
import re

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
STATUS_LINE = re.compile(r"(HTTP/1\.[01]) ([1-9][0-9]{2}) ([^\x00-\x08\x0a-\x1f\x7f]*)\Z")
REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) (HTTP/1\.[01])\Z")
VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[^\r\n\x00]*)?)\Z")

HEAD_MOST = 1 << 20


class Malformed(Exception):
    """The peer sent what no correct sender sends."""


class Message:
    """A request or a response, as far as it came."""

    def __init__(self):
        self.version = ""
        self.fields = []            # (name, value) in the order received
        self.trailers = []
        self.framing = "none"       # none, length, chunked, close
        self.announced = None       # Content-Length
        self.chunks = []            # sizes
        self.body = b""
        self.complete = False
        self.error = None           # the exception that cut it off, if any
        self.head = b""             # raw

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name, default=None):
        """The one value of a field; several lines are joined as RFC 9110 5.2 says."""
        values = self.all(name)
        return ", ".join(values) if values else default

    def one(self, name):
        values = self.all(name)
        assert len(values) == 1, f"{len(values)} lines of {name}: {self.head!r}"
        return values[0]

    def has(self, name):
        return bool(self.all(name))

    def tokens(self, name):
        return [t.strip().lower() for v in self.all(name) for t in v.split(",") if t.strip()]


class Request(Message):
    def __init__(self):
        super().__init__()
        self.method = self.target = ""

    def __repr__(self):
        return f"<{self.method} {self.target} {self.framing} {len(self.body)}>"

    @property
    def path(self):
        """The path, for whichever form the target has."""
        match = re.match(r"https?://[^/?]*(.*)", self.target)
        return (match.group(1) or "/") if match else self.target


class Response(Message):
    def __init__(self):
        super().__init__()
        self.status = 0
        self.reason = ""
        self.interim = []           # 1xx responses that came before

    def __repr__(self):
        return f"<{self.status} {self.framing} {len(self.body)} complete={self.complete}>"

    @property
    def text(self):
        return self.body.decode("latin-1")


def parse_fields(lines):
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.match(name):
            raise Malformed(f"field line {line!r}")
        value = value.strip(" \t")
        if not VALUE.match(value):
            raise Malformed(f"field value {line!r}")
        fields.append((name, value))
    return fields


def frame(message, is_response, bodiless):
    """Decides the length of the body, RFC 9112 6.3, or refuses."""
    codings, lengths = message.tokens("Transfer-Encoding"), message.all("Content-Length")
    if codings and lengths:
        raise Malformed("Transfer-Encoding and Content-Length")
    if codings and message.version != "HTTP/1.1":
        raise Malformed("Transfer-Encoding in HTTP/1.0")
    if codings and codings != ["chunked"]:
        raise Malformed(f"Transfer-Encoding {codings}")
    if len(lengths) > 1 or (lengths and not re.match(r"[0-9]{1,19}\Z", lengths[0])):
        raise Malformed(f"Content-Length {lengths}")
    if lengths:
        message.announced = int(lengths[0])
    if bodiless:
        message.framing = "none"
    elif codings:
        message.framing = "chunked"
    elif lengths:
        message.framing = "length"
    else:
        message.framing = "close" if is_response else "none"


class Reader:
    """Reads messages off `recv(n) -> bytes` (b"" at the end of the stream)."""

    def __init__(self, recv):
        self.recv = recv
        self.have = b""
        self.ended = False

    def more(self):
        got = b"" if self.ended else self.recv(65536)
        self.ended = self.ended or not got
        self.have += got
        return bool(got)

    def take(self, n):
        taken, self.have = self.have[:n], self.have[n:]
        return taken

    def line(self, most=65536):
        """One line without its CRLF; None at the end of the stream."""
        while b"\n" not in self.have:
            if len(self.have) > most:
                raise Malformed("endless line")
            if not self.more():
                return None
        line = self.take(self.have.index(b"\n") + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Malformed(f"line end of {line!r}")
        return line[:-2]

    def raw_head(self):
        while b"\r\n\r\n" not in self.have:
            if len(self.have) > HEAD_MOST:
                raise Malformed("endless head")
            if not self.more():
                return None
        return self.take(self.have.index(b"\r\n\r\n") + 4)

    def head_lines(self, message):
        """Start line and field lines, or None at the end of the stream."""
        message.head = self.raw_head()
        if message.head is None:
            if self.have:
                raise Malformed(f"broken off in the head: {self.have[:200]!r}")
            return None
        lines = message.head[:-4].decode("latin-1").split("\r\n")
        if any("\n" in line or "\r" in line for line in lines):
            raise Malformed(f"bare CR or LF: {message.head!r}")
        message.fields = parse_fields(lines[1:])
        return lines[0]

    def request_head(self):
        """A Request without its body, or None when the peer has ended."""
        request = Request()
        line = self.head_lines(request)
        if line is None:
            return None
        match = REQUEST_LINE.match(line)
        if not match:
            raise Malformed(f"request line {line!r}")
        request.method, request.target, request.version = match.groups()
        frame(request, False, False)
        request.complete = request.framing == "none"
        return request

    def read_request(self):
        request = self.request_head()
        if request:
            self.read_body(request)
        return request

    def response_head(self, to="GET"):
        response = Response()
        line = self.head_lines(response)
        if line is None:
            return None
        match = STATUS_LINE.match(line)
        if not match:
            raise Malformed(f"status line {line!r}")
        response.version, response.status = match[1], int(match[2])
        response.reason = match[3]
        bodiless = (to == "HEAD" or response.status < 200 or response.status in (204, 304)
                    or (to == "CONNECT" and response.status < 300))
        frame(response, True, bodiless)
        if response.status < 200 or response.status == 204:
            if response.has("Content-Length") or response.has("Transfer-Encoding"):
                raise Malformed(f"framing fields in a {response.status}")
        response.complete = response.framing == "none"
        return response

    def read_response(self, to="GET"):
        """The final response (or 101), interim ones in .interim; None when the
        peer ended without a word."""
        interim = []
        while True:
            response = self.response_head(to)
            if response is None:
                assert not interim, f"ended after interim {interim}"
                return None
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
        response.interim = interim
        self.read_body(response)
        return response

    def read_body(self, message):
        """Reads what is left of the message. A stream that ends too early, and a
        reset, leave .complete False; malformed chunks raise."""
        if message.complete:
            return
        try:
            {"length": self.read_length, "chunked": self.read_chunks,
             "close": self.read_to_end}[message.framing](message)
        except ConnectionError as e:
            message.error = e
            self.ended = True

    def exactly(self, n):
        """n octets, or fewer if the stream ends before."""
        pieces = []
        while n > 0:
            if not self.have and not self.more():
                break
            pieces.append(self.take(n))
            n -= len(pieces[-1])
        return b"".join(pieces)

    def read_exactly(self, message, n):
        got = self.exactly(n)
        message.body += got
        return len(got) == n

    def read_length(self, message):
        left = message.announced - len(message.body)
        message.complete = self.read_exactly(message, left)

    def read_to_end(self, message):
        while self.more():
            pass
        message.body += self.take(len(self.have))
        message.complete = True

    def read_chunk(self, message):
        """The size of the next chunk, now in the body; None when cut off."""
        line = self.line()
        if line is None:
            return None
        match = CHUNK_LINE.match(line)
        if not match:
            raise Malformed(f"chunk line {line!r}")
        size = int(match[1], 16)
        message.chunks.append(size)
        if size == 0:
            return 0
        if not self.read_exactly(message, size):
            return None
        end = self.line()
        if end is None:
            return None
        if end != b"":
            raise Malformed(f"after a chunk: {end!r}")
        return size

    def read_chunks(self, message):
        while True:
            size = self.read_chunk(message)
            if size is None:
                return
            if size == 0:
                break
        lines = []
        while True:
            line = self.line()
            if line is None:
                return
            if line == b"":
                break
            lines.append(line.decode("latin-1"))
        message.trailers = parse_fields(lines)
        message.complete = True
