"""One row of a table of wire cases: octets in, verdict out.

    id  category  side  raw  expected  level  assert  reason

separated by tabs; lines that begin with # are comments. raw has the escapes
\\r \\n \\t \\\\ \\xHH and the macros {ORIGIN} {ORIGIN2} {SELF} {DEAD} (host:port),
{SELFVIA}, {REP:text:N} (text N times) and {CL} (the number of octets behind the
first empty line). side is request or response, then ;key=value.
"""
import re
from dataclasses import dataclass, field

ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")
SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
LENGTH = b"{CL}"
BEGINNINGS = [r"GET http://{ORIGIN}/x HTTP/1.1\r\nHost: {ORIGIN}\r\n",
              r"POST http://{ORIGIN}/p HTTP/1.1\r\nHost: {ORIGIN}\r\n",
              r"HTTP/1.1 200 OK\r\n"]

OPTIONS = {"method", "end", "client", "tls", "conn", "policy", "repeat", "second", "when", "expect",
           "upgrade", "cuts"}
KINDS = {"reject", "answer", "forward", "forward-normalised", "close", "incomplete", "truncate",
         "tunnel", "retry", "replay", "forward-449", "switch", "none"}


def unescape(text):
    """The octets of text without macros."""
    out, at = b"", 0
    for match in ESCAPE.finditer(text):
        out += text[at:match.start()].encode()
        out += bytes([int(match[1], 16)]) if match[1] else SIMPLE[match[2]]
        at = match.end()
    return out + text[at:].encode()


def expand(text, macros):
    """The octets of raw. Braces stand for macros only; in {REP:text:N} the text
    may have colons and the macros of one name."""
    out, at = b"", 0
    for match in re.finditer(r"\{(?:REP:(.*?):(\d+)|([A-Z0-9]+))\}", text):
        out += unescape(text[at:match.start()])
        at = match.end()
        if match[2]:
            out += unescape(match[1]) * int(match[2])
        elif match[3] == "CL":
            out += LENGTH
        else:
            out += macros[match[3]].encode()
    out += unescape(text[at:])
    if LENGTH in out:
        out = out.replace(LENGTH, b"%d" % len(out.partition(b"\r\n\r\n")[2]))
    return out


@dataclass
class Row:
    id: str
    category: str
    side: str
    raw: str
    expected: list                  # [(kind, status or None)], the preferred one first
    level: str
    asserts: list                   # [(name, value)]; value "" when there is none
    reason: str
    options: dict = field(default_factory=dict)
    given: bool = True              # of cases.tsv

    @property
    def is_request(self):
        return self.side == "request"

    def option(self, name, default=None):
        return self.options.get(name, default)

    def has(self, name):
        return any(n == name for n, _ in self.asserts)

    def octets(self, macros):
        return expand(self.raw, macros)

    def beginning(self, raw, macros):
        """How many octets of it are those that most rows begin with, and not 0."""
        beginnings = [expand(b, macros) for b in BEGINNINGS]
        return max([len(b) for b in beginnings if raw.startswith(b)], default=1)

    @property
    def method(self):
        """That of the (first) request."""
        if not self.is_request:
            return self.option("method", "GET")
        match = re.match(r"(?:\\r|\\n)*([^ ]*)", self.raw)
        return match[1]

    @property
    def quiet(self):
        """Nobody may be dialled."""
        return self.category == "policy" or self.has("nodial")

    @property
    def waits(self):
        """Does a deadline of the proxy decide it?"""
        return self.option("end") == "hold" and any(
            kind == "truncate" or status in (408, 504) for kind, status in self.expected)


def parse_expected(text):
    out = []
    for word in text.removeprefix("either:").split("|"):
        kind, _, status = word.partition(":")
        if kind not in KINDS:
            raise ValueError(f"unknown verdict {word!r}")
        out.append((kind, int(status) if status else None))
    return out


def parse_asserts(text):
    """name, name=value, name<=value."""
    out = []
    for word in filter(None, (w.strip() for w in text.split(";;"))):
        match = re.match(r"([a-zA-Z0-9]+)(?:(<?=)(.*))?\Z", word)
        if not match:
            raise ValueError(f"unreadable assert {word!r}")
        name = match[1] + ("<" if match[2] == "<=" else "")
        out.append((name, match[3] or ""))
    return out


def parse_options(words):
    options = dict(w.partition("=")[::2] for w in words)
    if options.keys() - OPTIONS:
        raise ValueError(f"unknown option in {words}")
    return options


def load(path, given=True):
    rows = []
    for line in path.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 8:
            raise ValueError(f"{path}: {len(columns)} columns: {line[:80]!r}")
        id, category, side, raw, expected, level, asserts, reason = columns
        side, *options = side.split(";")
        if side not in ("request", "response"):
            raise ValueError(f"{path}: {id}: side {side!r}")
        rows.append(Row(id, category, side, raw, parse_expected(expected), level,
                        parse_asserts(asserts), reason, parse_options(options), given))
    return rows
