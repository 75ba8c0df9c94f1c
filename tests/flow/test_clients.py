"""Unmodified clients: they know nothing of 449."""
import hashlib
import json
import os
import subprocess
import sys

import pytest

from kit.apache import Apache, has, installed
from kit.gate import Gate
from kit.tool import program

BODY = os.urandom(3_000_000)
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def run(environment):
    """run(ARGUMENT, ...) runs a program with the proxy in its environment."""
    def run_one(*arguments, proxy, data=None, cwd=None, check=True, env=()):
        done = subprocess.run([*map(str, arguments)], input=data, capture_output=True, timeout=60, cwd=cwd,
                              env={"PATH": os.environ["PATH"], "HOME": str(cwd or "/nonexistent"), "no_proxy": "",
                                   "http_proxy": proxy.url, "https_proxy": proxy.url, **environment, **dict(env)})
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done
    return run_one


# curl

def test_curl_get(proxy, demo, curl):
    assert curl(demo.url + "/echo").status == 449
    done = curl("-x", proxy.url, demo.url + "/echo")
    assert done.status == 200
    assert json.loads(done.stdout)["echo_reply"] is True


@pytest.mark.not_by("listener", why="curl takes a proxy's authority by option only")
def test_curl_by_environment(run, proxy, demo):
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


@pytest.mark.not_by("inside", why="the demo's Secure cookie comes back as well, as it should")
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


@pytest.mark.not_by("inside", why="an intercepted tunnel is not blind")
def test_curl_tunnel(start, demo, curl):
    proxy = start("--connect-ports", "1-65535")
    assert curl("-x", proxy.url, "-p", demo.url + "/plain").status == 200
    assert curl("-x", proxy.url, "-p", demo.url + "/echo").status == 449    # inside, nobody sees it


def test_curl_many_on_one_connection(proxy, demo, curl):
    done = curl("-x", proxy.url, *[demo.url + f"/echo?{i}" for i in range(20)])
    assert done.stdout.count(b'"echo_reply": true') == 20


# wget

@pytest.mark.not_by("listener", why="wget speaks no TLS to a proxy")
def test_wget_get(run, proxy, demo, tmp_path):
    out = run(program("wget"), "-q", "-O", "-", demo.url + "/echo", proxy=proxy, cwd=tmp_path)
    assert json.loads(out.stdout)["echo_reply"] is True


@pytest.mark.not_by("inside", "listener", why="no proxy takes part")
def test_wget_alone_fails(demo, tmp_path):
    done = subprocess.run([program("wget"), "-q", "-O", "-", "-t", "1", demo.url + "/echo"], capture_output=True,
                          timeout=60, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert done.returncode != 0


@pytest.mark.not_by("listener", why="wget speaks no TLS to a proxy")
def test_wget_post_and_put(run, proxy, demo, tmp_path):
    (tmp_path / "upload").write_bytes(BODY)
    wget = program("wget")
    out = run(wget, "-q", "-O", "-", "--post-data=a=b", demo.url + "/echo", proxy=proxy, cwd=tmp_path)
    assert json.loads(out.stdout)["length"] == 3
    out = run(wget, "-q", "-O", "-", "--method=PUT", "--body-file=upload", demo.url + "/early-keep", proxy=proxy,
              cwd=tmp_path)
    assert json.loads(out.stdout)["sha256"] == SUM


@pytest.mark.not_by("listener", why="wget speaks no TLS to a proxy")
def test_wget_spider(run, proxy, demo, tmp_path):
    run(program("wget"), "-q", "--spider", demo.url + "/head", proxy=proxy, cwd=tmp_path)


# Python

URLLIB = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], data=sys.stdin.buffer.read() or None)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


@pytest.mark.not_by("listener", why="urllib speaks no TLS to a proxy")
def test_urllib_get(run, proxy, demo, tmp_path):
    out = run(sys.executable, "-c", URLLIB, demo.url + "/echo", proxy=proxy, data=b"")
    assert json.loads(out.stdout)["method"] == "GET"


@pytest.mark.not_by("listener", why="urllib speaks no TLS to a proxy")
@pytest.mark.parametrize("path", ["/echo", "/early-keep", "/huge-body"])
def test_urllib_post(run, proxy, demo, path):
    out = run(sys.executable, "-c", URLLIB, demo.url + path, proxy=proxy, data=BODY)
    assert json.loads(out.stdout)["sha256"] == SUM


# cadaver

@pytest.mark.not_by("inside", "listener", why="cadaver's server is the kit's gate, which speaks no TLS")
def test_cadaver(run, proxy, tmp_path):
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


# Subversion

@pytest.mark.not_by("inside", "listener", why="its server is the kit's gate, which speaks no TLS")
def test_subversion(run, proxy, tmp_path):
    """Checkout, commit and update, with a 449 to every one of their many requests."""
    svn = program("svn")
    if not installed() or not has("mod_dav_svn"):
        pytest.skip("apache2 with mod_dav_svn is not installed")
    host, port = proxy.address
    setting = [word for key, value in (("host", host), ("port", port))
               for word in ("--config-option", f"servers:global:http-proxy-{key}={value}")]
    httpd = Apache(subversion=True)
    gate = Gate(httpd.address)

    def call(*words):
        return run(svn, "--non-interactive", "--config-dir", tmp_path / "conf", *setting, *words, proxy=proxy,
                   cwd=tmp_path, env={"http_proxy": "", "LC_ALL": "C"}).stdout.decode()
    try:
        first, second = tmp_path / "first", tmp_path / "second"
        call("checkout", gate.url + "/svn", first)
        call("checkout", gate.url + "/svn", second)
        (first / "large").write_bytes(BODY)
        (first / "small").write_text("one\n")
        call("add", first / "large", first / "small")
        assert "Committed revision 1" in call("commit", "-m", "one", first)
        call("mkdir", "-m", "two", gate.url + "/svn/directory")
        call("update", second)
        assert (second / "large").read_bytes() == BODY and (second / "directory").is_dir()
        assert "two" in call("log", second)
        assert gate.passed == gate.challenged > 10 and not gate.problems
    finally:
        gate.close()
        httpd.close()


# Java

JAVA = """
import java.net.*; import java.net.http.*; import java.nio.file.*;
class Ask {
    public static void main(String[] words) throws Exception {
        byte[] body = Files.readAllBytes(Path.of(words[1]));
        HttpURLConnection old = (HttpURLConnection)new URL(words[0]).openConnection();
        old.setRequestMethod("PUT");
        old.setDoOutput(true);
        old.getOutputStream().write(body);
        System.out.println(old.getResponseCode());
        System.out.println(new String(old.getInputStream().readAllBytes()).replace("\\n", " "));
        HttpRequest put = HttpRequest.newBuilder(URI.create(words[0]))
            .PUT(HttpRequest.BodyPublishers.ofByteArray(body)).version(HttpClient.Version.HTTP_1_1).build();
        HttpResponse<String> got = HttpClient.newHttpClient().send(put, HttpResponse.BodyHandlers.ofString());
        System.out.println(got.statusCode());
        System.out.println(got.body().replace("\\n", " "));
    }
}
"""


@pytest.mark.not_by("inside", "listener", why="it is set up for http; test_tls.py has https")
def test_java(run, proxy, demo, tmp_path):
    """Both of its clients, set up by system properties."""
    java = program("java")
    (tmp_path / "Ask.java").write_text(JAVA)
    (tmp_path / "upload").write_bytes(BODY)
    host, port = proxy.address
    done = run(java, f"-Dhttp.proxyHost={host}", f"-Dhttp.proxyPort={port}", "-Dhttp.nonProxyHosts=",
               tmp_path / "Ask.java", demo.url + "/echo", tmp_path / "upload", proxy=proxy, cwd=tmp_path, check=False)
    if b"jdk.compiler" in done.stderr:
        pytest.skip("java is here without its compiler")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0] == lines[2] == "200"
    assert [json.loads(lines[i])["sha256"] for i in (1, 3)] == [SUM, SUM]


# requests, browsers

REQUESTS = """
import sys, requests
answer = requests.put(sys.argv[1], data=sys.stdin.buffer.read(), timeout=30)
assert answer.status_code == 200, answer.status_code
print(answer.text)
"""


@pytest.mark.not_by("listener", why="requests speaks no TLS to a proxy that is http_proxy")
def test_requests(run, proxy, demo):
    pytest.importorskip("requests")
    out = run(sys.executable, "-c", REQUESTS, demo.url + "/echo", proxy=proxy, data=BODY)
    assert json.loads(out.stdout)["sha256"] == SUM


def chromium(setting, url, tmp_path):
    """The text of a page."""
    done = subprocess.run(
        [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}/profile", setting,
         "--proxy-bypass-list=<-loopback>", "--dump-dom", url], capture_output=True, text=True, timeout=120)
    return done.stdout


@pytest.mark.not_by("inside", "listener", why="its store of certificates is its own")
def test_chromium(proxy, demo, tmp_path):
    assert '"echo_reply": true' in chromium(f"--proxy-server={proxy.url}", demo.url + "/echo", tmp_path)
