"""The kit itself: the strict parser, and client against origin without a proxy
between them. A test suite whose tools lie proves nothing."""
import pytest

from kit.client import Client, chunked
from kit.http1 import Malformed, Reader
from kit.origin import Origin, challenge, response


def reader_of(data, piece=None):
    """A reader of these octets, given in pieces, then the end."""
    pieces = [data[i:i + piece] for i in range(0, len(data), piece)] if piece else [data]
    return Reader(lambda n: pieces.pop(0) if pieces else b"")


@pytest.mark.parametrize("piece", [None, 1, 3])
@pytest.mark.parametrize("data, framing, body", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "length", b"abc"),
    (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "length", b""),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
     "chunked", b"abc0123456789"),
    (b"HTTP/1.0 200 OK\r\n\r\nabc", "close", b"abc"),
    (b"HTTP/1.1 204 No\r\n\r\n", "none", b""),
    (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n", "none", b""),
])
def test_responses(piece, data, framing, body):
    r = reader_of(data, piece)
    answer = r.read_response()
    assert (answer.framing, answer.body, answer.complete) == (framing, body, True)
    assert r.read_response() is None


def test_response_to_head():
    answer = reader_of(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").read_response("HEAD")
    assert (answer.announced, answer.body, answer.complete) == (3, b"", True)


def test_trailers():
    answer = reader_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                       chunked(b"ab", trailers=[("X-Sum", "1")])).read_response()
    assert answer.trailers == [("X-Sum", "1")]


WHOLE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("cut", range(WHOLE.index(b"\r\n\r\n") + 4, len(WHOLE)))
def test_chunked_cut_anywhere_is_incomplete(cut):
    assert not reader_of(WHOLE[:cut]).read_response().complete


def test_length_cut_is_incomplete():
    assert not reader_of(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").read_response().complete


@pytest.mark.parametrize("data", [
    b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Le",
])
def test_malformed_responses(data):
    with pytest.raises(Malformed):
        reader_of(data).read_response()


@pytest.mark.parametrize("data", [
    b"GET  / HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1 \r\n\r\n", b"G@T / HTTP/1.1\r\n\r\n",
    b"GET /a b HTTP/1.1\r\n\r\n",
])
def test_malformed_requests(data):
    with pytest.raises(Malformed):
        reader_of(data).read_request()


def address(origin):
    return ("127.0.0.1", origin.port)


@pytest.mark.not_by("inside", why="no proxy takes part")
def test_origin_records_and_answers(origin):
    origin.on("/x", [challenge("v"), response(200, b"ok")])
    with Client(address(origin)) as c:
        assert c.ask("PUT", origin.url("/x?q"), body=b"abc").status == 449
        assert c.ask("PUT", origin.url("/x?q"), body=[b"a", b"bc"]).body == b"ok"
        assert c.ask("GET", origin.url("/nowhere")).status == 404
    assert [r.body for r in origin.requests] == [b"abc", b"abc", b""]
    assert [r.framing for r in origin.requests] == ["length", "chunked", "none"]
    assert len(origin.connections) == 1
    assert origin.connections[0].raw.startswith(b"PUT http://127.0.0.1:")


def test_origin_resets(origin):
    def cut(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        call.reset()
    origin.on("/x", cut)
    with Client(address(origin)) as c:
        c.request("GET", origin.url("/x"))
        try:
            assert not c.response().complete
        except ConnectionResetError:
            pass                    # the reset overtook the octets


def test_origin_notices_malformed_requests():
    origin = Origin()
    with Client(address(origin)) as c:
        c.send(b"GET / HTTP/1.1\nHost: x\r\n\r\n")
        assert c.ended()
    origin.close()
    assert origin.malformed


def test_closed_origin_refuses():
    origin = Origin()
    origin.close()
    with pytest.raises(ConnectionRefusedError):
        Client(address(origin))


@pytest.mark.not_by("inside", why="no proxy takes part")
def test_ended_tells_silence_from_the_end(origin):
    origin.on("/x", lambda call: call.stall())
    with Client(address(origin)) as c:
        c.request("GET", origin.url("/x"))
        assert not c.ended(0.05)
