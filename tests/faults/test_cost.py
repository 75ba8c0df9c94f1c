"""What a request costs in CPU time, whatever it is made of (P12): not ten times what
another one of its size does. Time of the processor, as the kernel counts it for the
process, not time that passes."""
from pathlib import Path

import pytest

from kit.client import chunked
from kit.origin import Origin, response

SIZE = 32_000
TIMES, ROUNDS = 20, 3
MOST = 10


def filled(unit, before=b"", behind=b""):
    """So many units that it is SIZE octets long."""
    return before + unit * ((SIZE - len(before) - len(behind)) // len(unit)) + behind


# What is in a head.
FIELDS = {
    "one long value": filled(b"a", b"A: ", b"\r\n"),
    "many lines": b"".join(b"X-%d: %s\r\n" % (i, b"a" * 210) for i in range(SIZE // 220)),
    "many names in Connection": filled(b"a,", b"Connection: ", b"x\r\n"),
    "different names in Connection": b"Connection: " + b",".join(b"n%d" % i for i in range(SIZE // 6)) + b"\r\n",
    "members in Via": filled(b"1.1 a, ", b"Via: ", b"1.1 b\r\n"),
    "empty members": filled(b",", b"TE: ", b"trailers\r\n"),
    "Expect": filled(b"a,", b"Expect: ", b"b\r\n"),
    "cookies": filled(b"a=b; ", b"Cookie: ", b"c=d\r\n"),
    "blanks": filled(b" ", b"A: b", b"c\r\n"),
    "Cache-Control": filled(b'a="', b"Cache-Control: ", b'"\r\n'),
}
BODIES = {
    "one chunk": chunked(b"a" * SIZE),
    "chunks of an octet": filled(b"1\r\na\r\n", b"", b"0\r\n\r\n"),
    "sizes with zeros": filled(b"0000000000000001\r\na\r\n", b"", b"0\r\n\r\n"),
    "extensions": filled(b"1;a=b\r\na\r\n", b"", b"0\r\n\r\n")[:15_000].rpartition(b"1;")[0] + b"0\r\n\r\n",
    "trailers": chunked(b"a")[:-2] + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 90) for i in range(150)) + b"\r\n",
}


def cpu(pid):
    """Nanoseconds on a processor, of all threads."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


@pytest.fixture
def cost(start):
    proxy = start("--access-log", "off", "--pool-timeout", "1m")
    origin = Origin(recording=False)
    origin.on("*", response(200, b"x" * 100))

    def measure(octets):
        """What one of them takes."""
        client, before = proxy.client(), cpu(proxy.pid)
        for _ in range(TIMES):
            client.send(octets)
            answer = client.response()
            assert answer is not None
            if "close" in answer.tokens("Connection"):
                client.close()
                client = proxy.client()
        client.close()
        return (cpu(proxy.pid) - before) / TIMES

    yield measure, origin
    origin.close()


def head(origin, fields):
    return f"POST http://{origin.authority}/x HTTP/1.1\r\nHost: {origin.authority}\r\n".encode() + fields


def test_cost(cost):
    measure, origin = cost
    requests, usual = {}, head(origin, f"Content-Length: {SIZE}\r\n\r\n".encode()) + bytes(SIZE)
    for name, fields in FIELDS.items():
        requests[name] = head(origin, fields + b"Content-Length: 0\r\n\r\n")
    for name, body in BODIES.items():
        requests[name] = head(origin, b"Transfer-Encoding: chunked\r\n\r\n") + body
    measure(usual)                      # what is only done once
    ratios = {name: compare(measure, octets, usual) for name, octets in requests.items()}
    print(*(f"{ratio:6.1f} {name}" for name, ratio in ratios.items()), sep="\n")
    assert not {name: ratio for name, ratio in ratios.items() if ratio > MOST}


def compare(measure, octets, usual):
    """How much more the one takes: the least of several rounds by turns, and of many more
    where the machine is so busy that a few do not tell."""
    costs, least = [], 0
    for i in range(8 * ROUNDS):
        costs.append((measure(octets), measure(usual)))
        least = min(c for c, _ in costs) / min(u for _, u in costs)
        if i + 1 >= ROUNDS and least <= MOST:
            break
    return least
