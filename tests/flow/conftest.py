"""Fixtures of the flow tests: the real binary between a scripted client and a
scripted origin, on free ports of loopback, in temporary directories."""
import pathlib
import subprocess

import pytest

from kit.front import Front
from kit.origin import Origin
from kit.peer import Peer
from kit.program import BINARY, Demo, Proxy
from kit.road import CHOSEN, PROXIES, Roads
from kit.tool import program


def pytest_report_header(config):
    return f"retrywith: {BINARY}"


def pytest_configure(config):
    config.addinivalue_line("markers", "by(ROAD, ...): the roads of a test, unless ROAD chooses one for all")
    config.addinivalue_line("markers", "not_by(ROAD, ..., why=TEXT): roads by which the test makes no sense")
    if CHOSEN and CHOSEN not in PROXIES:
        raise pytest.UsageError(f"ROAD={CHOSEN}: one of {', '.join(PROXIES)}")
    if not pathlib.Path(BINARY).exists():
        raise pytest.UsageError(f"no {BINARY}: build it, or set RETRYWITH")


def pytest_generate_tests(metafunc):
    if "road" not in metafunc.fixturenames:
        return
    marks = list(metafunc.definition.iter_markers("by"))
    roads = [CHOSEN] if CHOSEN else marks[0].args if marks else []
    if roads:
        metafunc.parametrize("road", roads, indirect=True)


def pytest_collection_modifyitems(items):
    """By another road, what takes none is left out: it would be the same again."""
    if CHOSEN not in (None, "plain"):
        items[:] = [item for item in items if "road" in item.fixturenames]


def pytest_runtest_setup(item):
    road = item.callspec.params.get("road", "plain") if hasattr(item, "callspec") else "plain"
    for mark in item.iter_markers("not_by"):
        if road in mark.args:
            pytest.skip(f"by {road}: {mark.kwargs['why']}")


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
    """A scripted origin. At the end it must have seen well-formed requests only, and
    what its responders asserted must have been so."""
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
def demo(tmp_path, road, request):
    demo = Demo(tmp_path)
    if road != "inside":
        yield demo
    else:
        front = Front(request.getfixturevalue("roads").server, demo)
        yield front
        front.close()
    demo.stop()


@pytest.fixture
def client(proxy):
    """A connection to the proxy."""
    with proxy.client() as client:
        yield client


@pytest.fixture
def environment(road, request):
    """What programs need to know to trust who is on their road."""
    return {} if road == "plain" else request.getfixturevalue("roads").environment


@pytest.fixture
def curl(environment):
    """curl(ARGUMENT, ...) runs curl without anybody's configuration: its result,
    with .status the last HTTP status."""
    path = program("curl")
    trust = ["--proxy-cacert", environment["CURL_CA_BUNDLE"]] if environment else []

    def run(*arguments, data=None, check=True):
        done = subprocess.run([path, "-q", "-sS", "--max-time", "60", *trust, *arguments, "-w", "\n%{http_code}"],
                              input=data, capture_output=True, timeout=90,
                              env={"PATH": "/usr/bin:/bin", **environment})
        done.stdout, _, status = done.stdout.rpartition(b"\n")
        done.status = int(status)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
