"""Signals, start and end of the program, and its logs."""
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from kit.client import PATIENCE, Client, wait_for, wait_until
from kit.origin import challenge, response
from kit.program import BINARY

OK = response(200, b"hello")


def refuses(address):
    try:
        socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:        # in that very moment: ask again
        return False
    return False


def test_term_when_idle_ends_at_once(start):
    proxy = start("--drain-timeout", "60s")
    with proxy.client() as idle:
        proxy.signal(signal.SIGTERM)
        assert idle.ended()
        assert proxy.wait() == 0


def test_term_drains(start, origin):
    go = threading.Event()

    def wait(call):
        wait_for(go, "leave to answer")
        call.send(OK)
    origin.on("/x", wait)
    proxy = start("--drain-timeout", "60s")
    with proxy.client() as busy, proxy.client() as idle:
        busy.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        proxy.signal(signal.SIGTERM)
        assert idle.ended()
        wait_until(lambda: refuses(proxy.address), "the door to be closed")
        go.set()
        answer = busy.response()
        assert (answer.status, answer.body) == (200, b"hello")
        assert busy.ended()
        assert proxy.wait() == 0


def test_term_lets_a_449_come_to_its_end(start, origin):
    go = threading.Event()

    def slow(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(OK)
        else:
            wait_for(go, "leave to answer")
            call.send(challenge("v", [("Connection", "close")]))
            call.close()
    origin.on("/x", slow)
    proxy = start("--drain-timeout", "60s")
    with proxy.client() as busy:
        busy.request("PUT", origin.url("/x"), body=b"abc")
        wait_until(lambda: origin.requests, "the request")
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: refuses(proxy.address), "the door to be closed")
        go.set()
        assert busy.response().status == 200
        assert proxy.wait() == 0


def test_drain_timeout_is_an_end(start, origin):
    origin.on("/x", lambda call: call.stall())
    proxy = start("--drain-timeout", "1s")
    with proxy.client() as busy:
        busy.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0


@pytest.mark.not_by("listener", why="its client speaks plain HTTP")
def test_what_the_drain_timeout_cuts_does_not_look_whole(start, origin):
    """An answer to HTTP/1.0 ends with the connection: the end must be no clean one."""
    def begin(call):
        call.send(b"HTTP/1.0 200 OK\r\n\r\nthe first half")
        call.stall()
    origin.on("/x", begin)
    proxy = start("--drain-timeout", "1s")
    with socket.create_connection(proxy.address, PATIENCE) as old:
        old.sendall(f"GET {origin.url('/x')} HTTP/1.0\r\n\r\n".encode())
        got = b""
        while not got.endswith(b"half"):
            got += old.recv(65536)
        proxy.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            old.recv(65536)
        assert proxy.wait() == 0


def open_tunnel(client, peer):
    def echo(sock):
        while data := sock.recv(65536):
            sock.sendall(data)
    client.send(client.head("CONNECT", peer(echo).authority))
    assert client.response("CONNECT").status == 200


@pytest.mark.not_by("inside", why="what it tunnels is not TLS")
def test_a_quiet_tunnel_does_not_hold_up_the_end(start, peer):
    proxy = start("--connect-ports", "1-65535", "--drain-timeout", "60s")
    with proxy.client() as quiet:
        open_tunnel(quiet, peer)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0        # sooner than the 60 s
        assert "waits for 0 exchanges and 1 tunnel" in proxy.said()
        assert "cuts off" not in proxy.said()


@pytest.mark.not_by("inside", why="what it tunnels is not TLS")
def test_a_tunnel_in_which_octets_move_is_waited_for(start, peer):
    proxy = start("--connect-ports", "1-65535", "--drain-timeout", "60s")
    with proxy.client() as moving:
        open_tunnel(moving, peer)
        proxy.signal(signal.SIGTERM)
        for _ in range(28):             # longer than a quiet one may stay
            time.sleep(0.25)
            moving.send(b"still here")
            assert moving.reader.exactly(10) == b"still here"
        moving.close()
        assert proxy.wait() == 0


@pytest.mark.not_by("inside", why="what it tunnels is not TLS")
def test_what_the_drain_timeout_cuts_is_told(start, origin, peer):
    origin.on("/x", lambda call: call.stall())
    proxy = start("--connect-ports", "1-65535", "--drain-timeout", "1s")
    with proxy.client() as busy, proxy.client() as quiet:
        open_tunnel(quiet, peer)
        busy.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert "cuts off 1 exchange and 1 tunnel" in proxy.said()


def end_of(recv):
    try:
        while recv(65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


@pytest.mark.not_by("inside", why="what it tunnels is not TLS")
def test_a_tunnel_that_is_cut_off_does_not_look_whole(start, peer):
    """P01: Nor does it at its other end."""
    ends = []

    def half(sock):
        sock.sendall(b"the first half")
        ends.append(end_of(sock.recv))
    proxy = start("--connect-ports", "1-65535", "--drain-timeout", "60s")
    with proxy.client() as moving:
        moving.send(moving.head("CONNECT", peer(half).authority))
        assert moving.response("CONNECT").status == 200
        assert moving.reader.exactly(14) == b"the first half"
        proxy.signal(signal.SIGINT)
        assert end_of(moving.recv) == "reset"
        assert proxy.wait() == 0
    wait_until(lambda: ends == ["reset"], "the reset at the other end")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(start, origin, second):
    origin.on("/x", lambda call: call.stall())
    proxy = start("--drain-timeout", "60s")
    with proxy.client() as busy:
        busy.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: refuses(proxy.address), "the door to be closed")
        proxy.signal(second)
        assert proxy.wait() == 0


def test_int_ends_at_once(start, origin):
    origin.on("/x", lambda call: call.stall())
    proxy = start("--drain-timeout", "60s")
    with proxy.client() as busy:
        busy.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        proxy.signal(signal.SIGINT)
        assert proxy.wait() == 0


def test_hup_reloads(start, origin):
    origin.on("/x", OK)
    proxy = start(config='via = "before"\n')
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).one("Via") == "1.1 before"
        proxy.config.write_text('via = "after"\n')
        proxy.signal(signal.SIGHUP)

        def after():
            return client.ask("GET", origin.url("/x")).one("Via") == "1.1 after"
        wait_until(after, "the new configuration")      # on the same client connection
    assert not refuses(proxy.address)


def test_hup_with_a_bad_file_keeps_the_old_configuration(start, origin):
    origin.on("/x", OK)
    proxy = start(config='via = "before"\n')
    proxy.config.write_text('via = "after"\nbody-limt = 5\n')
    proxy.signal(signal.SIGHUP)
    wait_until(lambda: "body-limt" in proxy.said(), "the complaint")
    assert "body-limit" in proxy.said()                 # did you mean
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).one("Via") == "1.1 before"


def test_hup_says_what_waits_for_a_restart(start, origin):
    origin.on("/x", OK)
    proxy = start(config='via = "before"\n')
    proxy.config.write_text('via = "after"\nspool-total = 1G\n')
    proxy.signal(signal.SIGHUP)
    wait_until(lambda: "restart" in proxy.said(), "the warning")
    assert "changed, but not used before a restart: spool-total\n" in proxy.said()


def test_hup_changes_rules_for_new_requests(start, origin):
    origin.on("/x", challenge("v"))
    proxy = start(config="")
    with proxy.client() as client:
        client.ask("GET", origin.url("/x"))
        assert len(origin.requests) == 2
        proxy.config.write_text('rule "quiet" {\n    path = "/x"\n    answer = {}\n}\n')
        proxy.signal(signal.SIGHUP)

        def quiet():
            before = len(origin.requests)
            client.ask("GET", origin.url("/x"))
            return len(origin.requests) == before + 1
        wait_until(quiet, "the rule")


def test_hup_under_way_does_not_hurt(start, origin):
    """An exchange keeps the configuration it began with."""
    go = threading.Event()

    def wait(call):
        wait_for(go, "leave to answer")
        call.send(OK)
    origin.on("/x", wait)
    proxy = start(config='via = "before"\n')
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        for i in range(5):
            proxy.config.write_text(f'via = "after-{i}"\n')
            proxy.signal(signal.SIGHUP)
            time.sleep(0.05)
        go.set()
        assert client.response().status == 200


@pytest.mark.not_by("inside", why="it counts lines of the log, and CONNECT has one")
def test_usr1_reopens_the_log(start, origin):
    origin.on("/x", OK)
    proxy = start()
    with proxy.client() as client:
        client.ask("GET", origin.url("/x"))
        proxy.wait_lines(1)
        moved = proxy.access_log.with_suffix(".1")
        os.rename(proxy.access_log, moved)
        proxy.signal(signal.SIGUSR1)
        wait_until(proxy.access_log.exists, "the new log")
        client.ask("GET", origin.url("/x"))
        proxy.wait_lines(1)
    assert len(moved.read_text().splitlines()) == 1


def test_usr2_hurts_nobody(start, origin):
    origin.on("/x", OK)
    proxy = start()
    with proxy.client() as client:
        client.ask("GET", origin.url("/x"))
        proxy.signal(signal.SIGUSR2)
        assert client.ask("GET", origin.url("/x")).status == 200


def test_sigpipe_hurts_nobody(start, origin):
    """Clients that leave while we write to them."""
    origin.on("/x", response(200, b"z" * 1_000_000))
    proxy = start()
    for _ in range(10):
        with proxy.client() as client:
            client.request("GET", origin.url("/x"))
            client.sock.recv(1)
            client.reset()
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200


# Start

def run(*arguments, seconds=20):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL)


def test_version():
    done = run("-V")
    assert done.returncode == 0
    assert done.stdout.startswith("retrywith ")
    for library in ("OpenSSL", "libevent", "llhttp", "c-ares"):
        assert library.lower() in done.stdout.lower()


def test_help():
    done = run("--help")
    assert done.returncode == 0
    assert "--listen" in done.stdout and "--body-limit" in done.stdout


@pytest.mark.parametrize("command", ["check", "match", "ca", "env", "health", "top", "demo-origin"])
def test_help_of_a_command(command):
    done = run(command, "--help")
    assert done.returncode == 0 and not done.stderr
    assert f" {command} " in done.stdout.splitlines()[0] and "Commands:" not in done.stdout


def test_unknown_option_is_a_configuration_error():
    done = run("--body-limt", "5")
    assert done.returncode in (64, 78)
    assert "body-limit" in done.stderr


def test_bad_value_names_file_and_line(tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text("\n\nbody-limit = 12parsecs\n")
    done = run("-t", "-c", str(config))
    assert done.returncode == 78
    assert f"{config}:3:" in done.stderr


def test_unknown_word_suggests(tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text("max-replay = 2\n")
    done = run("-t", "-c", str(config))
    assert done.returncode == 78
    assert f"{config}:1:" in done.stderr and "max-replays" in done.stderr


def test_good_configuration(tmp_path):
    config = tmp_path / "good.conf"
    config.write_text('listen = {"127.0.0.1:0"}\nmax-replays = 2\n')
    assert run("-t", "-c", str(config)).returncode == 0
    printed = run("-T", "-c", str(config))
    assert printed.returncode == 0
    assert "max-replays = 2" in printed.stdout
    again = tmp_path / "again.conf"
    again.write_text(printed.stdout)
    assert run("-T", "-c", str(again)).stdout == printed.stdout


def test_missing_file(tmp_path):
    done = run("-c", str(tmp_path / "nowhere.conf"))
    assert done.returncode in (66, 78)
    assert "nowhere.conf" in done.stderr


def test_taken_address_is_an_error(start):
    proxy = start()
    done = run("--listen", f"127.0.0.1:{proxy.address[1]}")
    assert done.returncode in (69, 73, 71)
    assert str(proxy.address[1]) in done.stderr


def test_default_ports_are_the_documented_ones():
    done = run("-T")
    assert "127.0.0.1:3128" in done.stdout and "[::1]:3128" in done.stdout


@pytest.mark.not_by("inside", "listener", why="no proxy takes part")
def test_demo_origin_lists_itself(demo):
    with Client(demo.address) as client:
        page = client.ask("GET", "/", [("Host", "h")])
        assert page.status == 200
        assert "/early-keep" in page.text
        assert client.ask("GET", "/nowhere", [("Host", "h")]).status == 404


@pytest.mark.not_by("inside", "listener", why="no client takes part")
def test_check_tells_final(demo):
    done = run("check", demo.url + "/echo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "449" in done.stdout and "200" in done.stdout


@pytest.mark.not_by("inside", "listener", why="no client takes part")
@pytest.mark.parametrize("path, status", [("/plain", 0), ("/no-header", 10), ("/always", 11)])
def test_check_exit_status(demo, path, status):
    assert run("check", demo.url + path).returncode == status


def test_check_transport_failure():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert run("check", f"http://127.0.0.1:{taken.getsockname()[1]}/").returncode == 12


def test_match_names_the_rule(tmp_path):
    config = tmp_path / "rules.conf"
    config.write_text('rule "orders" {\n    host = "orders.example"\n    path = "/api/*"\n    answer = {"echo"}\n}\n')
    done = run("match", "-c", str(config), "http://orders.example/api/x")
    assert done.returncode == 0, done.stderr
    assert "orders" in done.stdout


@pytest.mark.parametrize("option", ["--access-log", "--error-log"])
def test_a_log_that_cannot_be_written(tmp_path, option):
    """Said with its name and the reason, and no reason to start again and again."""
    path = str(tmp_path / "none" / "log")
    done = subprocess.run([BINARY, "--listen", "127.0.0.1:0", option, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 73
    assert f"{option[2:]} {path}: No such file or directory" in done.stderr
