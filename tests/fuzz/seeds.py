#!/usr/bin/env python3
"""Seeds and dictionary of the fuzz targets: seeds.py TARGET DIRECTORY [DICTIONARY].

They come from what the repository holds already: the wire cases, the sample
configuration; only the scripts of the exchange target are written here.
"""
import hashlib
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "wire"))

import row as wire                  # noqa: E402

ORIGIN = "127.0.0.1:8080"
MACROS = {"ORIGIN": ORIGIN, "ORIGIN2": "127.0.0.1:8081", "SELF": "127.0.0.1:3128",
          "DEAD": "127.0.0.1:1", "SELFVIA": "retrywith-fuzz"}
SEED_MOST = 4000
KINDS = {"GET": 0, "HEAD": 1, "CONNECT": 2, "POST": 3}

WORDS = """
HTTP/1.1 HTTP/1.0 HTTP/1. http:// https:// GET HEAD POST PUT CONNECT OPTIONS TRACE PROPFIND
Host: Content-Length: Transfer-Encoding: chunked identity gzip Connection: close keep-alive
Upgrade: websocket TE: Trailer: Expect: 100-continue Via: Max-Forwards: Proxy-Connection:
Ms-Echo-Request: Ms-Echo-Reply: Set-Cookie: Cookie: Retry-After: Date: Server:
Authorization: WWW-Authenticate: NTLM Negotiate x-ms-noretry-449: x-ms-substatus:
449 100 101 103 200 204 304 401 407 ;name=value ;q="a\\"b" [::1] 127.0.0.1 : @ # ? %41
9223372036854775807 9223372036854775808 18446744073709551615 7fffffffffffffff 0 00
""".split()
OCTETS = ["\\x0d\\x0a", "\\x0d\\x0a\\x0d\\x0a", "\\x0d\\x0a ", "\\x0d\\x0a\\x09", "0\\x0d\\x0a\\x0d\\x0a",
          "\\x0d", "\\x0a", "\\x00", "\\x09", "\\x20", "\\x7f", "\\x80", "\\xff", "5\\x0d\\x0ahello\\x0d\\x0a"]


def rows():
    for name in ("cases.tsv", "more.tsv"):
        path = TOP / "tests" / "wire" / name
        if path.exists():
            yield from wire.load(path)


def message_seeds():
    for r in rows():
        raw = r.octets(MACROS)
        flags = (0 if r.is_request else 1) | KINDS.get(r.method, 0) << 1 | (8 if r.option("end") != "hold" else 0)
        for more in (0, 16):
            yield bytes([flags | more, 2, len(raw) // 2 % 256, 7]) + raw


def url_seeds():
    for r in rows():
        if r.is_request:
            line = r.octets(MACROS).split(b"\r\n")[0].split(b" ")
            for part in line[1:2]:
                yield b"C" + part if line[0] == b"CONNECT" else b"T" + part
    for text in ("[::ffff:127.0.0.1]:80", "0x7f.1", "2130706433", "a_b.example.", "x" * 253, "%41.example"):
        yield b"A" + text.encode()


def config_seeds():
    sample = (TOP / "conf" / "retrywith.conf").read_text()
    live = re.sub(r"^# ?(?=[a-z-]+ = |rule |\}|supply |\s+[a-z-]+ = )", "", sample, flags=re.MULTILINE)
    yield sample.encode()
    for line in live.splitlines():
        if re.match(r"[a-z-]+ = ", line):
            yield line.encode() + b"\n"
    test = TOP / "tests" / "worker" / "test_config.c"
    if test.exists():
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', test.read_text()):
            text = text.encode().decode("unicode_escape")
            if "=" in text or "{" in text:
                yield text.encode("latin-1", "replace")
    yield b"""rule "orders" {
    host = {"orders.example", "*.b.example"}
    path = "/api/*"
    method = {"POST"}
    answer = {"echo", "supply", "backoff"}
    supply "X-Session" { from = "header:X-Session-Id" }
    supply "X-Form" { from = "body:/missing/token" }
    supply "X-Re" { from = "body~token=([a-z]+)" }
    supply "X-Fix" { from = "value" always = true }
    learn = true
}
"""


class Script:
    """What fuzz_exchange.c reads: see enum op there."""

    OPS = ("raw", "request", "answer", "send", "send_some", "fin", "reset", "turn", "clock",
           "deaf", "other", "door")

    def __init__(self):
        self.octets = bytearray()

    def __getattr__(self, name):
        number = self.OPS.index(name)

        def op(side=0, *arguments):
            self.octets.append(number | side << 4)
            self.octets.extend(arguments)
            return self
        return op

    def say(self, side, text):
        while text:
            piece, text = text[:255], text[255:]
            self.raw(side, len(piece))
            self.octets += piece
        return self.send(side)


CLIENT, SERVER = 0, 1
REQUESTS, ANSWERS = 16, 20


def exchange_seeds():
    for kind in range(REQUESTS):
        for size in (0, 3, 40, 200):
            for first in range(ANSWERS):
                s = Script().request(CLIENT, kind, size).send(CLIENT).turn(0, 4)
                s.answer(SERVER, first, size).send(SERVER).turn(0, 4)
                s.answer(SERVER, 0, 9).send(SERVER).turn(0, 4)
                yield bytes(s.octets)
    for end in ("fin", "reset"):                # broken off, for each framing and both versions
        for kind in (0, 2, 3, 6, 7):
            for first in (0, 1, 2, 3, 4, 5, 6, 10):
                for size, cut in ((60, 60), (200, 255)):
                    s = Script().request(CLIENT, kind, size).send(CLIENT).turn(0, 3)
                    s.answer(SERVER, first, size).send_some(SERVER, cut).turn(0, 3)
                    getattr(s, end)(SERVER).turn(0, 4)
                    yield bytes(s.octets)
        for kind in (0, 2):                     # ... when it was used before
            s = Script().request(CLIENT, 0, 0).send(CLIENT).turn(0, 4).answer(SERVER, 0, 9).send(SERVER).turn(0, 4)
            s.request(CLIENT, kind, 20).send(CLIENT).turn(0, 0)
            getattr(s, end)(SERVER).turn(0, 4).answer(SERVER, 0, 9).send(SERVER).turn(0, 4)
            yield bytes(s.octets)
    for size in (40, 180):                      # the replay is refused: the challenge comes back
        for first in (5, 6, 8, 10):
            s = Script().request(CLIENT, 2, 20).send(CLIENT).turn(0, 4)
            s.door().answer(SERVER, first, size).send(SERVER).turn(0, 4)
            s.fin(SERVER).turn(0, 4).clock(0, 3).turn(0, 4)
            yield bytes(s.octets)
    for end in ("fin", "reset"):
        for side in (CLIENT, SERVER):
            for cut in (1, 30, 90):
                s = Script().request(CLIENT, 2, 20).send(CLIENT).turn(0, 3)
                s.answer(SERVER, 5, 20).send(SERVER).turn(0, 2)
                (s.answer(SERVER, 0, 30) if side else s.request(CLIENT, 0, 0))
                s.send_some(side, cut).turn(0, 2)
                getattr(s, end)(side).turn(0, 3)
                yield bytes(s.octets)
    for r in rows():
        raw = r.octets(MACROS)
        s = Script()
        if r.is_request:
            s.say(CLIENT, raw.replace(f"http://{ORIGIN}".encode(), b"")).turn(0, 4)
            s.answer(SERVER, 0, 5).send(SERVER).turn(0, 4)
        else:
            s.request(CLIENT, 1 if r.method == "HEAD" else 0, 0).send(CLIENT).turn(0, 4)
            s.say(SERVER, raw).turn(0, 2)
            s.fin(SERVER).turn(0, 4)
        yield bytes(s.octets)


def dictionary(target):
    for word in WORDS:
        yield word.replace('"', '\\"') if '\\"' not in word else word
    yield from OCTETS
    if target == "config":
        for name in re.findall(r"^# ?([a-z-]+) = ", (TOP / "conf" / "retrywith.conf").read_text(), re.MULTILINE):
            yield name + " = "


SEEDS = {"message": message_seeds, "url": url_seeds, "config": config_seeds, "exchange": exchange_seeds}


def main(target, directory, words=None):
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[target]():
        if len(seed) <= SEED_MOST:
            (directory / hashlib.sha1(seed).hexdigest()[:16]).write_bytes(seed)
    if words:
        pathlib.Path(words).write_text("".join(f'"{w}"\n' for w in dict.fromkeys(dictionary(target))))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in SEEDS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
