"""Ten thousand clients, or as many as descriptors allow, that say nothing: what each costs in memory, and that
others are served as before (P11)."""
import resource
import socket

import pytest

from kit.origin import Origin, response

SOFT, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
MANY = min(10_000, (HARD - 100) // 2)   # the proxy wants two descriptors for each
MOST = 1152                         # octets of resident memory for each


@pytest.fixture(autouse=True)
def room_for_descriptors():
    """The proxy inherits it."""
    assert MANY >= 1000, f"{HARD} descriptors at most"
    resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))


@pytest.fixture
def origin():
    origin = Origin()
    origin.on("*", response(200, b"x" * 100))
    yield origin
    origin.close()


def connect(proxy):
    sock = socket.socket()
    sock.connect(proxy.address)
    return sock


def served(proxy, origin, times):
    with proxy.client() as client:
        for _ in range(times):
            assert client.ask("POST", origin.url("/x"), body=b"b" * 1000).body == b"x" * 100


@pytest.mark.parametrize("after", [0, 1])
def test_ten_thousand_idle(start, origin, after):
    """Idle from the start, and idle after an exchange."""
    proxy = start("--idle-timeout", "10m", "--head-timeout", "10m")
    served(proxy, origin, 10)
    before = proxy.memory()
    idle = []
    try:
        for i in range(MANY):
            idle.append(connect(proxy))
            if after:
                idle[-1].sendall(f"GET {origin.url('/x')} HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n".encode())
                assert idle[-1].recv(4096).startswith(b"HTTP/1.1 200")
        served(proxy, origin, 10)   # so the others have been accepted
        each = (proxy.memory() - before) / MANY
        print(f"{each:.0f} octets each")
        assert each < proxy.memory_allowance(MOST)
    finally:
        for sock in idle:
            sock.close()
    served(proxy, origin, 10)
