"""Sockets that were passed by the one who started us (systemd's socket
activation): they stay open when we end, so a restart loses nobody."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from kit.client import Client, wait_until
from kit.program import BINARY, Program
from kit.origin import response

pytestmark = pytest.mark.not_by("inside", why="its proxies have sockets and options of their own")

OK = response(200, b"hello")


# LISTEN_PID is the process itself, known only from inside.
BECOME = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Activated(Program):
    listening = re.compile(r"^retrywith: listening on (\S+):(\d+)\s*$", re.MULTILINE)

    def __init__(self, tmp, door, number, *options):
        self.out, self.err = tmp / f"activated-{number}.out", tmp / f"activated-{number}.err"
        self.arguments = [sys.executable, "-c", BECOME, str(door.fileno()), BINARY,
                          "--access-log", "off", "--spool-dir", str(tmp), *options]
        env = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "proxy"}
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=err, env=env, pass_fds=[door.fileno()])
        self.wait_for_addresses()


@pytest.fixture
def door():
    """Blocking, as systemd passes it."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as s:
        yield s


@pytest.fixture
def activate(tmp_path, door):
    running = []

    def start(*options):
        running.append(Activated(tmp_path, door, len(running), *options))
        return running[-1]
    if "libsystemd" not in subprocess.run(["ldd", BINARY], capture_output=True, text=True).stdout:
        pytest.skip("this build does not know of systemd")
    yield start
    for program in running:
        program.stop()


def watched_by_each_poll(pid):
    """How many descriptors each epoll instance of the process watches."""
    fds = pathlib.Path(f"/proc/{pid}/fd")
    polls = [fd.name for fd in fds.iterdir() if os.readlink(fd) == "anon_inode:[eventpoll]"]
    return [pathlib.Path(f"/proc/{pid}/fdinfo/{n}").read_text().count("tfd:") for n in polls]


def test_workers_that_share_a_socket_share_the_clients(activate):
    """The kernel does not spread them: without a rule one worker of eight has half."""
    program = activate("--workers", "8")
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(Client(program.address))
        wait_until(lambda: sum(watched_by_each_poll(program.process.pid)) >= 400, "all clients to be taken")
        assert max(watched_by_each_poll(program.process.pid)) < 100, "twice a fair part"


def test_workers_share_a_socket_and_none_of_them_waits_in_accept(activate, door, origin):
    origin.on("/x", OK)
    program = activate("--workers", "4")
    assert program.address == door.getsockname()
    for _ in range(20):
        clients = [Client(program.address) for _ in range(8)]
        for client in clients:          # each in turn: a worker that waits is silent
            client.request("GET", origin.url("/x"))
            assert client.response().status == 200
        for client in clients:
            client.close()


def test_the_socket_outlives_the_process(activate, door, origin):
    origin.on("/x", OK)
    first = activate("--workers", "2")
    with Client(first.address) as kept:
        kept.request("GET", origin.url("/x"))
        assert kept.response().status == 200
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        with Client(door.getsockname()) as waiting:
            waiting.request("GET", origin.url("/x"))
            activate("--workers", "2")
            assert waiting.response().status == 200
