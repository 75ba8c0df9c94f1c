"""Who may use the proxy, and where it may go. (P14, P18)"""
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import crypt
import socket
import subprocess

import pytest

from kit.client import wait_until

REASON = {403: "http_request_denied", 407: "http_request_denied"}


@pytest.fixture
def users(tmp_path):
    """An htpasswd file with one user for each kind of hash that crypt(3) makes."""
    path = tmp_path / "users"
    lines = ["# a comment", ""]
    for name, method in (("sha512", crypt.METHOD_SHA512), ("sha256", crypt.METHOD_SHA256),
                         ("blowfish", crypt.METHOD_BLOWFISH)):
        salt = crypt.mksalt(method, rounds=1 << 5 if name == "blowfish" else 1000)
        lines.append(f"{name}:{crypt.crypt('pass of ' + name, salt)}")
    yes = crypt.crypt("pass of yescrypt", "$y$j75$" + "abcdefghijklmnop")
    if yes and yes.startswith("$y$"):
        lines.append(f"yescrypt:{yes}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.not_by("inside", why="curl keeps to itself what a refused CONNECT says")
def test_who_gives_no_password_is_asked_for_one(start, users, demo, curl):
    """R137."""
    proxy = start("--htpasswd", str(users))
    done = curl("-i", "-x", proxy.url, demo.url + "/plain")
    assert done.status == 407
    assert b'Proxy-Authenticate: Basic realm="retrywith"' in done.stdout


@pytest.mark.not_by("inside", why="curl keeps to itself what a refused CONNECT says")
@pytest.mark.parametrize("name", ["sha512", "sha256", "blowfish", "yescrypt"])
def test_each_kind_of_hash(start, users, demo, curl, name):
    if f"{name}:" not in users.read_text():
        pytest.skip(f"this crypt(3) makes no {name}")
    proxy = start("--htpasswd", str(users))
    for _ in range(2):                  # checked, then remembered
        done = curl("-x", proxy.url, "-U", f"{name}:pass of {name}", demo.url + "/echo")
        assert done.status == 200
    for wrong in (f"{name}:Pass of {name}", f"{name}:", f"{name.upper()}:pass of {name}",
                  f"nobody:pass of {name}"):
        assert curl("-x", proxy.url, "-U", wrong, demo.url + "/echo").status == 407


def test_a_body_that_came_before_the_verdict_is_whole(start, users, demo, curl):
    proxy = start("--htpasswd", str(users))
    body = b"0123456789abcdef" * 20000
    done = curl("-x", proxy.url, "-U", "sha512:pass of sha512", "-H", "Expect:",
                "--data-binary", "@-", demo.url + "/echo", data=body)
    assert done.status == 200 and b'"length": 320000' in done.stdout


def test_the_password_never_leaves(start, users, origin, curl):
    proxy = start("--htpasswd", str(users))
    curl("-x", proxy.url, "-U", "sha512:pass of sha512", origin.url("/x"))
    assert not origin.requests[0].has("Proxy-Authorization")


def test_a_connect_needs_it_too(start, users, peer):
    proxy = start("--htpasswd", str(users), "--connect-ports", "1-65535")
    with proxy.client() as client:
        client.send(client.head("CONNECT", peer(lambda s: None).authority))
        assert client.response("CONNECT").status == 407


def test_a_bad_file_is_named_with_its_line(users, tmp_path):
    from kit.program import BINARY
    users.write_text("alice:plaintext\n")
    done = subprocess.run([BINARY, "-t", "--htpasswd", str(users)], capture_output=True, text=True)
    assert done.returncode == 78 and f"{users}:1" in done.stderr


@pytest.mark.not_by("inside", why="curl keeps to itself what a refused CONNECT says")
def test_a_denied_client_is_told_why(start, demo, curl):
    proxy = start("--allow", "127.0.0.1", "--deny", "127.0.0.9")
    ok = curl("-x", proxy.url, demo.url + "/plain")
    assert ok.status == 200
    done = curl("-i", "-x", proxy.url, "--interface", "127.0.0.9", demo.url + "/plain")
    assert done.status == 403
    assert b"Proxy-Status: retrywith; error=http_request_denied" in done.stdout
    assert b"allow" in done.stdout


@pytest.mark.parametrize("host", [
    "169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]",
    "0.0.0.0", "[::]", "224.0.0.1", "240.0.0.1", "[fe80::1]", "metadata.google.internal",
])
def test_a_forbidden_destination(proxy, curl, host):
    done = curl("-i", "-g", "-x", proxy.url, f"http://{host}/")
    assert done.status in (400, 403), done.stdout
    assert b"Proxy-Status: retrywith; error=" in done.stdout


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
def test_an_odd_spelling_of_an_address(proxy, client, host):
    client.send(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert client.response("GET").status == 400


@pytest.mark.not_by("inside", why="curl keeps to itself what a refused CONNECT says")
def test_deny_to_and_allow_to(start, origin, curl):
    closed = start("--deny-to", "127.0.0.0/8")
    assert curl("-x", closed.url, origin.url("/x")).status == 403
    opened = start("--allow-to", "127.0.0.0/8")
    assert curl("-x", opened.url, origin.url("/x")).status == 404


@pytest.mark.not_by("listener", why="the proxy's own URL is https, which is asked for by CONNECT")
def test_a_request_to_ourselves_is_a_loop(proxy, curl):
    done = curl("-i", "-x", proxy.url, proxy.url + "/x")
    assert done.status == 502 and b"proxy_loop_detected" in done.stdout


@pytest.mark.not_by("inside", "listener", why="its clients speak plain HTTP")
@pytest.mark.parametrize("limit", ["--max-clients", "--max-clients-per-address"])
def test_more_clients_than_allowed(start, demo, limit):
    """R161. However many workers there are, and whichever of them is asked."""
    proxy = start(limit, "3", "--workers", "4")
    kept = [socket.create_connection(proxy.address) for _ in range(3)]
    for s in kept:                      # accepted for sure: each gets an answer
        s.sendall(f"GET {demo.url}/plain HTTP/1.1\r\nHost: {demo.authority}\r\n\r\n".encode())
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
    with socket.create_connection(proxy.address) as more:
        more.settimeout(10)
        assert more.recv(65536).startswith(b"HTTP/1.1 503")
    kept.pop().close()

    def free():
        with socket.create_connection(proxy.address) as s:
            s.settimeout(10)
            s.sendall(f"GET {demo.url}/plain HTTP/1.1\r\nHost: {demo.authority}\r\n\r\n".encode())
            return s.recv(65536).startswith(b"HTTP/1.1 200")
    wait_until(free)
    for s in kept:
        s.close()


def test_an_open_proxy_does_not_start():
    from kit.program import BINARY
    done = subprocess.run([BINARY, "-t", "--listen", "0.0.0.0:0"], capture_output=True, text=True)
    assert done.returncode == 78 and "allow" in done.stderr
