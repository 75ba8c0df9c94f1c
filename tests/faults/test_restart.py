"""Killed without a word, and begun again: nothing stays behind."""
import os
import signal

from cast import body_of, links
from kit.client import Client, wait_until
from kit.origin import Origin, challenge, response
from kit.program import Proxy

OPTIONS = ("--body-memory", "4k", "--body-timeout", "1m", "--connect-ports", "1-65535")


def test_killed_and_begun_again(tmp_path):
    """While clients wait and a body is in the file: the port can be had again at once,
    the file is gone, and so is every connection."""
    spool = tmp_path / "spool"
    spool.mkdir()
    origin = Origin()
    origin.on("/held", lambda call: call.stall())
    origin.on("/449", lambda call: call.send(response(200, call.request.body) if call.request.has("Ms-Echo-Reply")
                                             else challenge("v")))
    proxy = Proxy(tmp_path, [*OPTIONS, "--spool-dir", str(spool)])
    waiting = [proxy.client().request("GET", origin.url("/held")) for _ in range(10)]
    sending = proxy.client()
    sending.send(sending.head("POST", origin.url("/449"), [("Content-Length", "2000000")]) + body_of(1, 1_000_000))
    wait_until(lambda: len(origin.to("/held")) == 10 and spooled(proxy, spool), "all to be under way")
    proxy.signal(signal.SIGKILL)
    proxy.wait()
    assert os.listdir(spool) == []
    for client in [*waiting, sending]:
        assert client.ended()

    again = Proxy(tmp_path, [*OPTIONS, "--spool-dir", str(spool)], listen=[proxy.authority], number=1)
    assert again.address == proxy.address
    with Client(proxy.address) as client:
        for size in (10, 300_000):
            answer = client.ask("POST", origin.url("/449"), body=body_of(size, size))
            assert (answer.status, answer.body) == (200, body_of(size, size))
    again.stop()
    origin.close()


def spooled(proxy, spool):
    """Has it a file there?"""
    return any(link.startswith(str(spool)) for link in links(proxy.pid))
