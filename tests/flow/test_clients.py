"""Unmodified clients: they know nothing of 449."""
import hashlib
import json
import os
import subprocess
import sys

import pytest

from kit.apache import Apache, installed
from kit.gate import Gate
from kit.tool import program

BODY = os.urandom(3_000_000)
SUM = hashlib.sha256(BODY).hexdigest()


def run(*arguments, proxy, data=None, cwd=None, check=True, env=()):
    """Runs a program with the proxy in its environment."""
    done = subprocess.run([*map(str, arguments)], input=data, capture_output=True, timeout=60, cwd=cwd,
                          env={"PATH": os.environ["PATH"], "HOME": str(cwd or "/nonexistent"), "http_proxy": proxy.url,
                               "https_proxy": proxy.url, "no_proxy": "", **dict(env)})
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


# curl

def test_curl_get(proxy, demo, curl):
    assert curl(demo.url + "/echo").status == 449
    done = curl("-x", proxy.url, demo.url + "/echo")
    assert done.status == 200
    assert json.loads(done.stdout)["echo_reply"] is True


def test_curl_by_environment(proxy, demo):
    done = run(program("curl"), "-qsS", demo.url + "/echo", proxy=proxy)
    assert json.loads(done.stdout)["echo_reply"] is True


@pytest.mark.parametrize("path", ["/echo", "/early", "/early-keep", "/continue", "/late", "/close", "/http10", "/chunked"])
def test_curl_put(proxy, demo, curl, tmp_path, path):
    file = tmp_path / "upload"
    file.write_bytes(BODY)
    done = curl("-x", proxy.url, "-T", str(file), demo.url + path)
    assert done.status == 200
    report = json.loads(done.stdout)
    assert (report["framing"], report["length"], report["sha256"]) == ("length", len(BODY), SUM)


@pytest.mark.parametrize("path", ["/echo", "/early", "/continue"])
def test_curl_chunked_upload_from_standard_input(proxy, demo, curl, path):
    done = curl("-x", proxy.url, "-T", "-", demo.url + path, data=BODY)
    assert done.status == 200
    report = json.loads(done.stdout)
    assert (report["framing"], report["length"], report["sha256"]) == ("chunked", len(BODY), SUM)


def test_curl_post_and_head(proxy, demo, curl):
    assert json.loads(curl("-x", proxy.url, "-d", "a=b", demo.url + "/echo").stdout)["length"] == 3
    assert curl("-x", proxy.url, "-I", demo.url + "/head").status == 200


def test_curl_cookies(proxy, demo, curl, tmp_path):
    jar = tmp_path / "jar"
    assert curl("-x", proxy.url, "-c", str(jar), demo.url + "/cookies").status == 200
    assert "demo-session" in jar.read_text()


def test_curl_login_and_449(proxy, demo, curl):
    assert curl("-x", proxy.url, "-u", "a:b", demo.url + "/401").status == 200
    assert curl("-x", proxy.url, "--anyauth", "-u", "a:b", demo.url + "/401").status == 200
    assert curl("-x", proxy.url, demo.url + "/401").status == 401


def test_curl_redirect(proxy, demo, curl):
    done = curl("-x", proxy.url, "-L", demo.url + "/redirect")
    assert done.status == 200
    assert json.loads(done.stdout)["target"] == "/plain"


def test_curl_sees_a_truncated_answer(proxy, demo, curl):
    assert curl("-x", proxy.url, demo.url + "/truncate", check=False).returncode in (18, 56)     # partial, or reset


def test_curl_http10(proxy, demo, curl):
    assert curl("-x", proxy.url, "--http1.0", demo.url + "/chunked").status == 200


def test_curl_tunnel(start, demo, curl):
    proxy = start("--connect-ports", "1-65535")
    assert curl("-x", proxy.url, "-p", demo.url + "/plain").status == 200
    assert curl("-x", proxy.url, "-p", demo.url + "/echo").status == 449    # inside, nobody sees it


def test_curl_many_on_one_connection(proxy, demo, curl):
    done = curl("-x", proxy.url, *[demo.url + f"/echo?{i}" for i in range(20)])
    assert done.stdout.count(b'"echo_reply": true') == 20


# wget

def test_wget_get(proxy, demo, tmp_path):
    out = run(program("wget"), "-q", "-O", "-", demo.url + "/echo", proxy=proxy, cwd=tmp_path)
    assert json.loads(out.stdout)["echo_reply"] is True


def test_wget_alone_fails(demo, tmp_path):
    done = subprocess.run([program("wget"), "-q", "-O", "-", "-t", "1", demo.url + "/echo"], capture_output=True,
                          timeout=60, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert done.returncode != 0


def test_wget_post_and_put(proxy, demo, tmp_path):
    (tmp_path / "upload").write_bytes(BODY)
    wget = program("wget")
    out = run(wget, "-q", "-O", "-", "--post-data=a=b", demo.url + "/echo", proxy=proxy, cwd=tmp_path)
    assert json.loads(out.stdout)["length"] == 3
    out = run(wget, "-q", "-O", "-", "--method=PUT", "--body-file=upload", demo.url + "/early-keep", proxy=proxy,
              cwd=tmp_path)
    assert json.loads(out.stdout)["sha256"] == SUM


def test_wget_spider(proxy, demo, tmp_path):
    run(program("wget"), "-q", "--spider", demo.url + "/head", proxy=proxy, cwd=tmp_path)


# Python

URLLIB = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], data=sys.stdin.buffer.read() or None)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


def test_urllib_get(proxy, demo, tmp_path):
    out = run(sys.executable, "-c", URLLIB, demo.url + "/echo", proxy=proxy, data=b"")
    assert json.loads(out.stdout)["method"] == "GET"


@pytest.mark.parametrize("path", ["/echo", "/early-keep", "/huge-body"])
def test_urllib_post(proxy, demo, path):
    out = run(sys.executable, "-c", URLLIB, demo.url + path, proxy=proxy, data=BODY)
    assert json.loads(out.stdout)["sha256"] == SUM


# cadaver

def test_cadaver(proxy, tmp_path):
    cadaver = program("cadaver")
    if not installed():
        pytest.skip("apache2 with mod_dav is not installed")
    httpd = Apache()
    gate = Gate(httpd.address)
    (tmp_path / "upload").write_bytes(BODY)
    script = "mkcol box\ncd box\nput upload first\ncopy first second\nmove second third\nls\nget third back\nrm first\n" \
             "propset third colour blue\npropget third colour\nlock third\nunlock third\nquit\n"
    host, port = proxy.address
    try:
        done = run(cadaver, "-t", "-p", f"{host}:{port}", gate.url + "/", proxy=proxy, data=script.encode(), cwd=tmp_path)
        said = done.stdout.decode()
        assert (tmp_path / "back").read_bytes() == BODY, said
        assert sorted(os.listdir(httpd.path("box"))) == [".DAV", "third"] or "third" in os.listdir(httpd.path("box"))
        assert "first" not in os.listdir(httpd.path("box"))
        assert "blue" in said and "449" not in said
        assert gate.passed > 8
        assert not gate.problems
    finally:
        gate.close()
        httpd.close()
