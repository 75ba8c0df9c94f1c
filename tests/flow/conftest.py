"""Fixtures of the flow tests: the real binary between a scripted client and a
scripted origin, on free ports of loopback, in temporary directories."""
import pathlib
import subprocess

import pytest

from kit.origin import Origin
from kit.peer import Peer
from kit.program import BINARY, Demo, Proxy
from kit.road import PROXIES, Roads
from kit.tool import program


def pytest_report_header(config):
    return f"retrywith: {BINARY}"


def pytest_configure(config):
    if not pathlib.Path(BINARY).exists():
        raise pytest.UsageError(f"no {BINARY}: build it, or set RETRYWITH")


@pytest.fixture
def road(request):
    """By which road the requests of a test go: see kit/road.py."""
    return getattr(request, "param", "plain")


@pytest.fixture
def start(tmp_path, road, request):
    """start(OPTION, VALUE, ..., config=TEXT) runs a proxy; all are stopped, and
    must end well, when the test is over."""
    running = []
    usual = PROXIES[road]
    shared = {} if road == "plain" else {"roads": request.getfixturevalue("roads")}

    def start_one(*options, kind=usual, **more):
        proxy = kind(tmp_path, options, number=len(running), **{**shared, **more})
        running.append(proxy)
        return proxy

    yield start_one
    problems = []
    for proxy in running:
        try:
            proxy.stop()
        except AssertionError as e:
            problems.append(e)
    assert not problems, problems


@pytest.fixture(scope="session")
def roads(tmp_path_factory):
    """The authorities of the tests that speak TLS."""
    return Roads(tmp_path_factory.mktemp("roads"))


@pytest.fixture
def proxy(start):
    """A proxy with all defaults, one worker."""
    return start()


@pytest.fixture
def origin(road, request):
    """A scripted origin. At the end it must have seen well-formed requests only."""
    origin = Origin(tls=request.getfixturevalue("roads").server if road == "inside" else None)
    yield origin
    origin.close()
    assert not origin.malformed, origin.malformed


@pytest.fixture
def peer():
    """peer(serve) starts a server that runs serve(sock) for each connection."""
    peers = []

    def start_one(serve):
        peers.append(Peer(serve))
        return peers[-1]
    yield start_one
    for one in peers:
        one.close()


@pytest.fixture
def demo(tmp_path):
    demo = Demo(tmp_path)
    yield demo
    demo.stop()


@pytest.fixture
def client(proxy):
    """A connection to the proxy."""
    with proxy.client() as client:
        yield client


@pytest.fixture
def curl():
    """curl(ARGUMENT, ...) runs curl without anybody's configuration: its result,
    with .status the last HTTP status."""
    path = program("curl")

    def run(*arguments, data=None, check=True):
        done = subprocess.run([path, "-q", "-sS", "--max-time", "60", *arguments, "-w", "\n%{http_code}"],
                              input=data, capture_output=True, timeout=90,
                              env={"PATH": "/usr/bin:/bin"})
        done.stdout, _, status = done.stdout.rpartition(b"\n")
        done.status = int(status)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
