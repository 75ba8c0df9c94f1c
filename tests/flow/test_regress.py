"""Defects that were found by reading: each a sequence that once went wrong."""
import socket
import threading
import time

import pytest

from kit.client import PATIENCE, wait_until
from kit.login import token
from kit.origin import challenge, response

from test_admin import run

OK = response(200, b"hello")


def padding(octets):
    return "".join(f"X-Pad-{i}: {'a' * 990}\r\n" for i in range(octets // 1000)).encode()


def hints(octets):
    return b"HTTP/1.1 103 Early Hints\r\n" + padding(octets) + b"\r\n"


def read_all(sock):
    got = b""
    try:
        while piece := sock.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return got


class OneConnection:
    """An origin that takes one connection, says its piece to the first request, and
    is gone."""

    def __init__(self, piece, then=None):
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/x"
        self.piece, self.then = piece, then or threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        sock, _ = self.door.accept()
        self.door.close()
        got = b""
        while b"\r\n\r\n" not in got:
            got += sock.recv(65536)
        try:
            sock.sendall(self.piece)
        except ConnectionError:
            pass
        self.then.wait(PATIENCE)        # who says when waits for this thread
        sock.close()


class SlowReader(socket.socket):
    """A client that has room for very little."""

    def __init__(self, proxy):
        super().__init__()
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.settimeout(PATIENCE)
        self.connect(proxy.address)

    def ask(self, url, fields="", version="1.1"):
        host = url.split("/")[2]
        self.sendall(f"GET {url} HTTP/{version}\r\nHost: {host}\r\n{fields}\r\n".encode())
        time.sleep(0.5)                 # until the proxy can send no more
        return self


def test_a_long_449_behind_a_large_head_keeps_its_octets(start, origin):
    """More than the drain may keep came in one piece: it was let go while it was
    still on its way to the client."""
    proxy = start("--drain-limit", "1K")
    body = bytes(range(256)) * 256
    origin.on("/x", b"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: x\r\nContent-Length: 65536\r\n"
              + padding(33000) + b"\r\n" + body)
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"), [("Authorization", "NTLM " + token("type3:alice:x"))])
    assert answer.status == 449
    assert answer.body == body


@pytest.mark.parametrize("interims, octets", [(3, 60000), (4, 48000), (3, 55000), (8, 60000)])
def test_a_449_whose_head_has_no_room_leaves_no_body_behind(start, interims, octets):
    """The body of one was sent without its head: it could be whole responses, to
    requests that the client had sent for others."""
    proxy = start()
    forged = b"HTTP/1.1 200 Forged\r\nContent-Length: 4\r\n\r\nevil"
    done = threading.Event()
    done.set()
    origin = OneConnection(hints(octets) * interims + b"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: x\r\n"
                           b"Connection: close\r\nContent-Length: %d\r\n" % (2 * len(forged)) + padding(octets)
                           + b"\r\n" + 2 * forged, done)
    with proxy.client() as client:
        client.send(client.head("GET", origin.url) + client.head("GET", "http://other.invalid/"))
        first = client.response()
        assert first.status in (449, 500, 502)
        assert first.status != 449 or first.body == 2 * forged
        second = read_all(client.sock)
    assert not second.startswith(b"HTTP/1.1 200") and b"Forged" not in second


@pytest.mark.not_by("listener", why="its client speaks plain HTTP")
@pytest.mark.parametrize("reads", [True, False])
def test_a_449_that_is_given_back_slowly_is_whole_or_visibly_cut(start, reads):
    """Without a replay the client gets the 449 that was kept. The wait for a response
    went on over its head and ended it like a whole one: HTTP/1.0 has only the close."""
    proxy = start("--response-timeout", "1s", "--write-timeout", "30s" if reads else "2s",
                  "--drain-limit", "8M")
    body = bytes(range(256)) * 16384
    done = threading.Event()
    done.set()
    origin = OneConnection(b"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: x\r\nConnection: close\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), done)
    with SlowReader(proxy).ask(origin.url, version="1.0") as sock:
        time.sleep(4)                   # neither is asserted to take any time
        got, cut = b"", False
        try:
            while piece := sock.recv(65536):
                got += piece
        except ConnectionResetError:
            cut = True
    assert got.startswith(b"HTTP/1.1 449 ")
    assert cut != (got.partition(b"\r\n\r\n")[2] == body)
    assert cut != reads


def test_a_retry_that_succeeds_forgets_why_it_was_needed(proxy, client, origin):
    """Its reason closed the client's connection without a word, and stood in the log."""
    seen = []

    def cut_the_second(call):
        seen.append(call.request)
        call.close() if len(seen) == 2 else call.send(OK)
    origin.on("/x", cut_the_second)
    for _ in range(3):
        assert client.ask("GET", origin.url("/x")).status == 200
    assert len(seen) == 4
    assert [line["why"] for line in proxy.wait_lines(3)] == ["", "", ""]


@pytest.mark.not_by("listener", why="its client speaks plain HTTP")
def test_our_words_go_behind_an_interim_head_that_is_half_sent(start):
    proxy = start()
    gone = threading.Event()
    origin = OneConnection(hints(58000) * 3, gone)
    with SlowReader(proxy).ask(origin.url) as sock:
        gone.set()
        wait_until(lambda: not origin.thread.is_alive(), "the origin to go")
        time.sleep(0.5)
        got = read_all(sock)
    heads = got.split(b"\r\n\r\n")
    assert heads[0].startswith(b"HTTP/1.1 103 ")
    for head in heads[:-1]:
        lines = head.split(b"\r\n")
        assert not any(b"HTTP/1.1" in line for line in lines[1:] if not line.startswith(b"Via:")), lines[-3:]


@pytest.mark.not_by("listener", why="its client speaks plain HTTP")
def test_a_101_goes_behind_an_interim_head_that_is_half_sent(start):
    """It stood in the middle of that head."""
    proxy = start()
    gone = threading.Event()
    origin = OneConnection(hints(58000) * 3 + b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                           b"Upgrade: foo\r\n\r\nfoo speaks", gone)
    with SlowReader(proxy).ask(origin.url, "Connection: Upgrade\r\nUpgrade: foo\r\n") as sock:
        gone.set()
        heads = read_all(sock).split(b"\r\n\r\n")
    assert [head[:12] for head in heads] == [b"HTTP/1.1 103"] * 3 + [b"HTTP/1.1 101", b"foo speaks"]
    assert not any(b"HTTP/1.1" in line for head in heads for line in head.split(b"\r\n")[1:]
                   if not line.startswith(b"Via:"))


@pytest.mark.not_by("listener", why="its client speaks plain HTTP")
@pytest.mark.parametrize("interims", [13, 15])
@pytest.mark.parametrize("status", [200, 449])
def test_a_response_behind_interim_heads_that_wait(start, interims, status):
    """With so many that no more had room, nobody looked again at what stood behind them."""
    proxy = start("--response-timeout", "15s", "--max-replays", "0")
    gone = threading.Event()
    origin = OneConnection(hints(12000) * interims + response(status, b"hello"), gone)
    with SlowReader(proxy).ask(origin.url, "Connection: close\r\n") as sock:
        got = read_all(sock)
        gone.set()
    assert got.count(b"HTTP/1.1 103 ") == interims
    assert got.rpartition(b"\r\n\r\n")[0].rpartition(b"\r\n\r\n")[2].startswith(b"HTTP/1.1 %d " % status)
    assert got.endswith(b"\r\n\r\nhello")


def test_two_max_forwards_are_refused(client, origin):
    """The first was counted down, the second passed on as it was."""
    origin.on("/x", OK)
    answer = client.ask("OPTIONS", origin.url("/x"), [("Max-Forwards", "5"), ("Max-Forwards", "0")])
    assert answer.status == 400
    assert not origin.requests


def test_top_survives_a_listener_that_hangs_up(tmp_path):
    path = tmp_path / "admin"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen(8)

        def hang_up():
            for _ in range(8):
                sock, _ = door.accept()
                sock.close()

        threading.Thread(target=hang_up, daemon=True).start()
        for _ in range(8):
            done = run("top", "--admin", f"unix:{path}")
            assert done.returncode == 69, done
            assert "no answer" in done.stderr
