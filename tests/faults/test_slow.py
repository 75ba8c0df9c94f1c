"""slowhttptest in its four modes, with a thousand connections, while an honest client looks
at the time (P14). Timed, so only when asked for, on a machine that does nothing else:

    SLOW=30 RETRYWITH=build/retrywith python3 -m pytest -s tests/faults/test_slow.py

SLOW is how many seconds each mode lasts.
"""
import asyncio
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import time

import pytest

from kit.client import wait_until

SECONDS = int(os.environ.get("SLOW", "0"))
CONNECTIONS = 1000
MOST = 0.5                          # seconds, 99 of 100 times
MODES = {
    "headers": ["-H", "-i", "5", "-x", "24"],
    "body": ["-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST"],
    "range": ["-R", "-a", "1", "-b", "3000"],
    "read": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"],
}

pytestmark = [pytest.mark.skipif(not SECONDS, reason="timed: only with SLOW=SECONDS"),
              pytest.mark.skipif(not shutil.which("slowhttptest"), reason="no slowhttptest")]


def be_origin(port):
    """A process of its own, so that it does not delay the honest client."""
    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(8192 if b"Content-Length: 8192" in head else 0)
                size = 1_000_000 if b" /big" in head else 100
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()
    asyncio.run(run())


@pytest.fixture
def origins():
    """One for slowhttptest, one for the honest client: it is the proxy that is measured."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = multiprocessing.get_context("fork")
    ports = [context.Value("i", 0) for _ in range(2)]
    processes = [context.Process(target=be_origin, args=(port,), daemon=True) for port in ports]
    for process in processes:
        process.start()
    wait_until(lambda: all(port.value for port in ports), "the origins")
    yield [f"http://127.0.0.1:{port.value}" for port in ports]
    for process in processes:
        process.kill()
        process.join()


def measure(proxy, origin, while_true):
    """Seconds of each request: on a connection of its own, and on one that is kept."""
    times = []
    with proxy.client() as kept:
        while while_true():
            for client in (kept, None):
                begin = time.monotonic()
                if client:
                    answer = client.ask("GET", f"{origin}/small")
                else:
                    with proxy.client() as own:
                        answer = own.ask("GET", f"{origin}/small")
                times.append(time.monotonic() - begin)
                assert answer.status == 200 and len(answer.body) == 100
            time.sleep(0.02)
    return sorted(times)


@pytest.mark.parametrize("mode", MODES)
def test_slow(start, origins, tmp_path, mode):
    proxy = start("--access-log", "off", "--pool-timeout", "30s")
    path = "big" if mode == "read" else "small"
    command = ["slowhttptest", "-c", str(CONNECTIONS), "-r", "200", "-l", str(SECONDS), "-u", f"{origins[0]}/{path}",
               "-d", proxy.authority, "-p", "3", *MODES[mode]]
    with open(tmp_path / "slow.out", "wb") as out:
        attack = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    times = measure(proxy, origins[1], lambda: attack.poll() is None)
    p99 = times[len(times) * 99 // 100]
    print(f"{mode}: {len(times)} requests, p50 {times[len(times) // 2] * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
          f"longest {times[-1] * 1000:.0f} ms; {proxy.memory('VmHWM') >> 20} MiB at most")
    said = (tmp_path / "slow.out").read_text("latin-1")
    assert sum(int(re.findall(rf"{w}:\s*\x1b\[[\d;]*m\s*(\d+)", said)[-1]) for w in ("connected", "closed")) > \
        CONNECTIONS / 2, said[-3000:]
    assert p99 < MOST
