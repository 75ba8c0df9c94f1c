"""WebDAV in earnest: litmus and a large upload against Apache's mod_dav behind
a gate that answers 449 to everything, and many clients at once."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading

import pytest

from kit import apache
from kit.gate import Gate
from kit.tool import program

pytestmark = pytest.mark.not_by("inside", "listener", why="the gate and litmus speak no TLS")

MIB = 1 << 20


@pytest.fixture(scope="module")
def httpd():
    if not apache.installed():
        pytest.skip("apache2 with mod_dav is not installed")
    server = apache.Apache()
    yield server
    server.close()


@pytest.fixture
def gate(httpd):
    gate = Gate(httpd.address)
    yield gate
    gate.close()
    assert not gate.problems, gate.problems


def litmus(directory, url, proxy=None):
    """The results of all groups: {"basic 3 put_get": "pass", ...}."""
    directory.mkdir()
    options = [f"--proxy={proxy}"] if proxy else []     # litmus 0.13 takes no value after -p
    done = subprocess.run([program("litmus"), "-k", *options, url + "/"], cwd=directory, capture_output=True,
                          text=True, timeout=120, stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})
    results, group = {}, ""
    for line in re.split(r"[\n\r]+", done.stdout):
        if match := re.match(r"-> running `(\w+)'", line):
            group = match[1]
        elif match := re.match(r" *(\d+)\. (\w+)\.* +(pass|FAIL|SKIPPED|WARNING.*|XFAIL)", line):
            results[f"{group} {match[1]} {match[2]}"] = match[3]
    return results, done.stdout + done.stderr


def test_litmus_through_gate_and_proxy_equals_mod_dav_alone(httpd, gate, proxy, tmp_path):
    alone, said_alone = litmus(tmp_path / "alone", httpd.url)
    through, said = litmus(tmp_path / "through", gate.url, proxy.url)
    assert len(alone) > 70, said_alone
    assert {name.split()[0] for name in alone} == {"basic", "copymove", "props", "locks", "http"}
    assert through == alone, said
    assert list(through.values()).count("pass") > 60
    assert gate.passed > 100                    # all of it went through the gate
    assert gate.challenged >= gate.passed
    assert not [line for line in proxy.lines() if line["status"] in (449, 502, 504)]


def test_litmus_without_the_proxy_fails_at_the_gate(gate, tmp_path):
    """The gate is real: the same client alone does not get in."""
    results, said = litmus(tmp_path / "direct", gate.url)
    assert "449" in said or "FAIL" in said
    assert gate.passed == 0


def test_256_mib_put_arrives_byte_exact_in_little_memory(httpd, gate, start, tmp_path):
    if shutil.disk_usage(tmp_path).free < 1200 * MIB:
        pytest.skip("not enough room on the disk")
    proxy = start("--body-limit", "512m", "--spool-total", "1g", "--response-timeout", "120s", "--body-timeout", "60s")
    block, digest = os.urandom(MIB), hashlib.sha256()
    with proxy.client() as client:
        assert client.ask("PUT", gate.url + "/small", body=b"warm").status in (201, 204)
        before = proxy.memory("VmHWM")
        client.sock.settimeout(120)
        client.send(client.head("PUT", gate.url + "/large", [("Content-Length", str(256 * MIB))]))
        for i in range(256):
            piece = i.to_bytes(8, "big") + block[8:]
            digest.update(piece)
            client.send(piece)
        answer = client.response()
        grown = proxy.memory("VmHWM") - before
    assert answer.status == 201, (answer.body, gate.lost)
    with open(httpd.path("large"), "rb") as file:
        arrived = hashlib.file_digest(file, "sha256").hexdigest()
    os.unlink(httpd.path("large"))
    assert arrived == digest.hexdigest()
    assert grown < proxy.memory_allowance(8 * MIB), f"{grown / MIB} MiB"
    assert proxy.wait_lines(2)[1]["replays"] == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_64_clients_10000_challenged_requests(start, demo, workers):
    proxy = start("--workers", workers, "--access-log", "off")
    turns, problems = iter(range(10_000)), []
    lock = threading.Lock()
    body = b"0123456789" * 30
    bodies = {"GET": None, "PUT": body, "POST": [body[:100], body[100:]]}
    sums = {m: hashlib.sha256(b if isinstance(b, bytes) else b"".join(b or [])).hexdigest() for m, b in bodies.items()}

    def one_client():
        try:
            with proxy.client() as client:
                while True:
                    with lock:
                        turn = next(turns, None)
                    if turn is None:
                        return
                    method = ("GET", "PUT", "POST")[turn % 3]
                    answer = client.ask(method, f"{demo.url}/echo?{turn}", body=bodies[method])
                    assert answer.status == 200, answer.head
                    report = json.loads(answer.body)
                    assert report["target"] == f"/echo?{turn}"
                    assert report["sha256"] == sums[method]
        except BaseException as e:
            problems.append(e)

    threads = [threading.Thread(target=one_client) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:3]
