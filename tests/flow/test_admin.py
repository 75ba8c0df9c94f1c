"""The admin listener: metrics, health, statistics, what browsers are set up with,
and the page to look at; `retrywith env` and `retrywith top`."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import termios
import threading
import time

import pytest

from kit.ca import Authority
from kit.client import Client, PATIENCE, wait_for, wait_until
from kit.exposition import Exposition
from kit.http1 import Reader
from kit.origin import challenge, response
from kit.program import BINARY, TOP

OK = response(200, b"hello")
ADMIN = re.compile(r"^retrywith: admin on http://(\S+):(\d+)$", re.MULTILINE)
pytestmark = [pytest.mark.skipif(b"this build has no admin listener" in open(BINARY, "rb").read(),
                                reason="this build has no admin listener")]


class UnixClient(Client):
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.reader = Reader(lambda n: self.sock.recv(n))


class Admin:
    """The admin listener of a proxy."""

    def __init__(self, proxy, path=None):
        self.proxy, self.path = proxy, path
        if not path:
            host, port = wait_until(lambda: ADMIN.search(proxy.said()), "the admin listener").groups()
            self.address = (host.strip("[]"), int(port))
            self.url = f"http://{host}:{port}"

    def connect(self):
        return UnixClient(self.path) if self.path else Client(self.address)

    def ask(self, path="/", fields=(("Host", "localhost"),), method="GET", body=None):
        with self.connect() as client:
            return client.ask(method, path, fields, body)

    def get(self, path, accept=None):
        answer = self.ask(path, [("Host", "localhost")] + ([("Accept", accept)] if accept else []))
        assert answer.status == 200, (path, answer.status, answer.text)
        return answer

    def metrics(self):
        return Exposition(self.get("/metrics").body.decode())

    def stats(self):
        return json.loads(self.get("/stats.json").body)


@pytest.fixture
def admin(start):
    return Admin(start("--admin", "127.0.0.1:0"))


def echoing(value="v"):
    def serve(call):
        call.send(OK if call.request.has("Ms-Echo-Reply") else challenge(value))
    return serve


def rows(header, table):
    """The rows of an X-macro: lists of their columns, unquoted."""
    text = (TOP / "include" / header).read_text()
    body = re.search(rf"#define {table}\(row\) \\\n((?:.*\\\n)*.*)", text)[1].replace("\\\n", " ")
    return [[quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^\s,"]+)', row)]
            for row in re.findall(r'row\(((?:[^()"]|"[^"]*")*)\)', body)]


def ask_all(proxy, origin):
    """Exchanges of every kind; the origin is told beforehand."""
    origin.on("/plain", OK)
    origin.on("/echo", echoing())
    origin.on("/always", lambda call: call.send(challenge("again")))
    origin.on("/bare", response(449, b"what?"))

    def lose(call):
        if call.request.has("Ms-Echo-Reply"):
            call.close()
        else:
            call.send(challenge("v"))
    origin.on("/lost", lose)
    got = {}
    for method, path, body in (("GET", "/plain", None), ("GET", "/echo", None), ("PUT", "/echo", b"x" * 1000),
                               ("GET", "/always", None), ("REPORT", "/bare", None), ("POST", "/lost", b"y"),
                               ("BREW", "/plain", None)):
        with proxy.client() as client:
            got[method, path] = client.ask(method, origin.url(path), body=body).status
    assert got == {("GET", "/plain"): 200, ("GET", "/echo"): 200, ("PUT", "/echo"): 200, ("GET", "/always"): 449,
                   ("REPORT", "/bare"): 449, ("POST", "/lost"): 502, ("BREW", "/plain"): 200}


# -- metrics ---------------------------------------------------------------------------

@pytest.mark.not_by("inside", why="what it counts has a CONNECT more")
def test_metrics_count(admin, origin):
    ask_all(admin.proxy, origin)
    got = wait_until(lambda: (m := admin.metrics()).get("retrywith_request_duration_seconds_count") == 7 and m)
    assert got.get("retrywith_requests_total", method="GET", code="200") == 2
    assert got.get("retrywith_requests_total", method="PUT", code="200") == 1
    assert got.get("retrywith_requests_total", method="REPORT", code="449") == 1
    assert got.get("retrywith_requests_total", method="POST", code="502") == 1
    assert got.get("retrywith_requests_total", method="other", code="200") == 1
    assert got.get("retrywith_requests_received_total") == 7
    assert got.get("retrywith_challenges_total", family="echo") == 5
    assert got.get("retrywith_challenges_total", family="other") == 1
    assert got.get("retrywith_replays_total", result="final") == 2
    assert got.get("retrywith_replays_total", result="again") == 1
    assert got.get("retrywith_replays_total", result="lost") == 1
    assert got.get("retrywith_unanswered_total", reason="again") == 1
    assert got.get("retrywith_unanswered_total", reason="no-header") == 1
    assert got.get("retrywith_replay_upload_bytes_total") == 1001
    assert got.get("retrywith_refused_total", reason="upstream-closed") == 1
    assert got.get("retrywith_replay_added_seconds_count") == 4
    assert got.get("retrywith_upstream_connect_duration_seconds_count") >= 1
    assert got.get("retrywith_config_last_reload_successful") == 1
    assert got.get("retrywith_workers") == got.get("retrywith_workers_answering") == 1
    assert got.get("process_open_fds") > 5
    assert got.get("process_resident_memory_bytes") > 1 << 20
    assert abs(got.get("process_start_time_seconds") - time.time()) < 600
    wait_until(lambda: admin.metrics().get("retrywith_client_connections") == 0, "all clients gone")


def test_metrics_never_go_down(admin, origin):
    before = admin.metrics().counters()
    ask_all(admin.proxy, origin)
    after = admin.metrics().counters()
    assert not [key for key, n in before.items() if after[key] < n]
    assert sum(after.values()) > sum(before.values())


@pytest.mark.not_by("inside", why="an intercepted tunnel is not blind")
def test_tunnels_are_counted(start, peer):
    inside = peer(lambda sock: sock.recv(100))
    admin = Admin(start("--admin", "127.0.0.1:0", "--connect-ports", "1-65535"))
    with admin.proxy.client() as client:
        client.send(client.head("CONNECT", inside.authority, [("Host", inside.authority)]))
        assert client.response("CONNECT").status == 200
        got = admin.metrics()
        assert got.get("retrywith_tunnels") == 1
        assert got.get("retrywith_client_connections") == 1
        assert got.get("retrywith_requests_in_progress") == 1
    wait_until(lambda: admin.metrics().get("retrywith_tunnels") == 0, "the tunnel's end")
    assert admin.metrics().get("retrywith_tunnels_opened_total") == 1


def test_the_words_are_those_of_the_closed_lists(admin):
    got = admin.metrics()
    assert got.words("retrywith_challenges_total", "family") == \
        {word for _, word, *_ in rows("policy/challenge.h", "FAMILY_TABLE") if word}
    assert got.words("retrywith_unanswered_total", "reason") == \
        {word for _, word, *_ in rows("policy/challenge.h", "UNANSWERED_TABLE") if word}
    assert got.words("retrywith_refused_total", "reason") == \
        {name.lower().replace("_", "-") for name, status, *_ in rows("ground/why.h", "WHY_TABLE") if int(status) >= 400}
    for name, metric, *_ in rows("worker/counters.h", "COUNTER_TABLE"):
        if not name.startswith(("REPLAYS_", "INTERCEPT_")):
            assert got.get(f"retrywith_{metric}_total") is not None, metric


LEAST = """retrywith_build_info retrywith_client_connections retrywith_requests_total retrywith_challenges_total
retrywith_replays_total retrywith_unanswered_total retrywith_replay_upload_bytes_total retrywith_spool_bytes
retrywith_spool_files retrywith_request_duration_seconds retrywith_upstream_connect_duration_seconds
retrywith_upstream_connections retrywith_tunnels retrywith_intercepts_total retrywith_dns_lookups_total
retrywith_refused_total retrywith_log_dropped_total retrywith_config_last_reload_success_timestamp_seconds
retrywith_config_last_reload_successful process_cpu_seconds_total process_resident_memory_bytes process_open_fds
process_max_fds process_start_time_seconds""".split()


def test_the_least_set_is_there(admin):
    assert not set(LEAST) - set(admin.metrics().families)


@pytest.mark.parametrize("accept, kind", [
    (None, "text/plain; version=0.0.4; charset=utf-8"),
    ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
    ("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5",
     "application/openmetrics-text; version=1.0.0; charset=utf-8"),
])
def test_formats(admin, origin, accept, kind):
    ask_all(admin.proxy, origin)
    answer = admin.get("/metrics", accept)
    assert answer.one("Content-Type") == kind
    got = Exposition(answer.body.decode(), "openmetrics" in kind)
    assert got.get("retrywith_replays_total", result="final") == 2
    assert got.get("retrywith_build_info", version=version()) == 1


def version():
    return subprocess.run([BINARY, "-V"], capture_output=True, text=True).stdout.split()[1]


def promtool():
    path = shutil.which("promtool")
    if not path:
        pytest.skip("promtool is not installed (package prometheus)")
    return path


def test_promtool_has_no_complaint(admin, origin):
    tool = promtool()
    ask_all(admin.proxy, origin)
    done = subprocess.run([tool, "check", "metrics"], input=admin.get("/metrics").body, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_alert_rules_are_good():
    tool, path = promtool(), TOP / "conf/prometheus/retrywith.rules.yml"
    done = subprocess.run([tool, "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([tool, "test", "rules", str(TOP / "tests/flow/kit/rules_test.yml")], cwd=TOP,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_dashboard_use_metrics_that_exist(admin, origin):
    """And labels with words that exist."""
    ask_all(admin.proxy, origin)
    got = admin.metrics()
    known = {sample for family in got.families.values() for sample, _ in family.samples} | \
        {"up"}
    dashboard = json.loads((TOP / "conf/grafana/retrywith.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    text = "\n".join(expressions) + (TOP / "conf/prometheus/retrywith.rules.yml").read_text()
    used = set(re.findall(r"\b(?:retrywith|process)_[a-z_]+\b", text))
    assert used and not used - known
    for name, label, word in re.findall(r'(retrywith_[a-z_]+)\{[^}]*\b(result|family|reason|state)="([^"$]+)"', text):
        assert word in got.words(name, label), (name, label, word)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


# -- health ------------------------------------------------------------------------------

def test_healthy_and_ready(admin):
    assert admin.get("/healthz").body == b"ok\n"
    assert admin.get("/readyz").body == b"ok\n"


def test_draining_is_not_ready(start, origin):
    go = threading.Event()

    def wait(call):
        wait_for(go, "leave to answer")
        call.send(OK)
    origin.on("/x", wait)
    admin = Admin(start("--admin", "127.0.0.1:0", "--drain-timeout", "60s"))
    with admin.proxy.client() as busy:
        busy.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        admin.proxy.signal(signal.SIGTERM)
        answer = wait_until(lambda: (a := admin.ask("/readyz")).status == 503 and a, "not being ready")
        assert answer.body == b"draining\n"
        assert admin.get("/healthz").body == b"ok\n"
        assert admin.metrics().get("retrywith_draining") == 1
        assert admin.stats()["draining"] is True
        go.set()
        assert busy.response().status == 200
    assert admin.proxy.wait() == 0


def test_a_worker_that_hangs_is_found(tmp_path, origin):
    """It hangs in writing to an error log that nobody reads: a pipe that is full."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    said, log = b"", b""
    process = subprocess.Popen([BINARY, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "1",
                                "--access-log", "off", "--spool-dir", str(tmp_path)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    try:
        while not ADMIN.search(said.decode()):
            said += os.read(reading, 4096)

        class Proxy:
            @staticmethod
            def said():
                return said.decode()
        admin = Admin(Proxy)
        assert admin.ask("/healthz").status == 200
        host, port = re.search(r"listening on (\S+):(\d+)", said.decode()).groups()
        for _ in range(100):                    # a line of the log each
            with Client((host, int(port))) as client:
                client.sock.settimeout(1)
                client.request("GET", f"http://{host}:{port}/")     # to itself: a loop
                try:
                    client.response()
                except TimeoutError:
                    break
        else:
            raise AssertionError("it does not hang")
        sick = admin.ask("/healthz")
        assert (sick.status, sick.body) == (503, b"1 of 1 workers do not answer\n")
        assert admin.ask("/readyz").status == 503
        got = admin.metrics()
        assert got.get("retrywith_workers_answering") == 0
        assert got.get("retrywith_requests_received_total") > 5
        assert got.get("retrywith_dns_lookups_total", result="found") is None   # not told, rather than less
        os.set_blocking(reading, False)

        def recovers():
            nonlocal log
            try:
                log += os.read(reading, 65536)
            except BlockingIOError:
                pass
            return admin.ask("/healthz").status == 200
        wait_until(recovers, "the worker's recovery")
        assert b"loop" in log
    finally:
        process.kill()
        process.wait()
        os.close(reading)


@pytest.mark.not_by("inside", why="what it counts has a CONNECT more")
def test_several_workers(start, origin):
    origin.on("/echo", echoing())
    admin = Admin(start("--admin", "127.0.0.1:0", "--workers", "3"))
    for _ in range(12):
        with admin.proxy.client() as client:
            assert client.ask("GET", origin.url("/echo")).status == 200
    got = wait_until(lambda: (m := admin.metrics()).get("retrywith_request_duration_seconds_count") == 12 and m)
    assert got.get("retrywith_workers") == got.get("retrywith_workers_answering") == 3
    assert got.get("retrywith_replays_total", result="final") == 12
    stats = admin.stats()
    assert [(o["origin"], o["challenged"]) for o in stats["origins"]] == [(origin.url("").rstrip("/"), 12)]
    assert len(stats["last"]) == 12


# -- reload --------------------------------------------------------------------------------

def test_reloads_are_told(start):
    admin = Admin(start(config='rule "a" { host = "a.example" }\nadmin = "127.0.0.1:0"\n'))
    first = admin.metrics().get("retrywith_config_last_reload_success_timestamp_seconds")
    admin.proxy.config.write_text("what is this")
    admin.proxy.signal(signal.SIGHUP)
    wait_until(lambda: admin.metrics().get("retrywith_config_last_reload_successful") == 0, "the bad one")
    assert admin.metrics().get("retrywith_config_last_reload_success_timestamp_seconds") == first
    assert "a\\\\x2eexample" in admin.get("/proxy.pac").text
    admin.proxy.config.write_text('rule "b" { host = "b.example" }\n')
    admin.proxy.signal(signal.SIGHUP)
    wait_until(lambda: admin.metrics().get("retrywith_config_last_reload_successful") == 1, "the good one")
    assert admin.metrics().get("retrywith_config_last_reload_success_timestamp_seconds") > first
    assert "b\\\\x2eexample" in admin.get("/proxy.pac").text


# -- who may ask ------------------------------------------------------------------------------

@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("LOCALHOST:9449", 200), ("127.0.0.1:9449", 200), ("[::1]:9449", 200), ("10.1.2.3", 200),
    ("admin.localhost:1", 200), ("evil.example", 421), ("evil.example:9449", 421), ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421), ("1", 421), ("", 421),
])
def test_a_rebound_name_gets_nothing(admin, host, status):
    answer = admin.ask("/stats.json", [("Host", host)])
    assert answer.status == status
    assert (b"version" in answer.body) == (status == 200)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_nothing_can_be_changed(admin, method):
    answer = admin.ask("/", method=method, body=b"x=1" if method in ("POST", "PUT") else None)
    assert answer.status == 405
    assert answer.one("Allow") == "GET, HEAD"


def test_head_has_no_body(admin):
    answer = admin.ask("/metrics", method="HEAD")
    assert answer.status == 200 and answer.body == b""


def test_no_such_page(admin):
    for path in ("/nope", "/metrics/", "/../etc/passwd", "/METRICS", "//"):
        assert admin.ask(path).status == 404, path


def test_headers_that_keep_it_in(admin):
    for path in ("/", "/metrics", "/stats.json", "/recorder", "/healthz", "/nope"):
        answer = admin.ask(path)
        assert answer.one("Cache-Control") == "no-store"
        assert answer.one("X-Content-Type-Options") == "nosniff"
        assert answer.one("Cross-Origin-Resource-Policy") == "same-origin"
        assert "default-src 'none'" in answer.one("Content-Security-Policy")
        assert "unsafe" not in answer.one("Content-Security-Policy")
        assert not answer.has("Access-Control-Allow-Origin")


def test_not_by_way_of_the_proxy(admin):
    with admin.proxy.client() as client:
        answer = client.ask("GET", f"{admin.url}/stats.json")
    assert answer.status in (403, 502)
    assert b"version" not in answer.body


def test_clients_that_are_not_allowed(start):
    admin = Admin(start("--admin", "127.0.0.1:0", "--allow", "10.0.0.0/8"))
    assert admin.ask("/metrics").status == 403


def test_kept_connections_and_rubbish(admin):
    with admin.connect() as client:
        for _ in range(3):
            assert client.ask("GET", "/healthz", [("Host", "localhost")]).status == 200
    for rubbish in (b"\x16\x03\x01\x02\x00\x01", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 100000):
        with admin.connect() as client:
            try:
                client.send(rubbish + b"\r\n\r\n")
                client.fin()
                client.sock.recv(100000)
            except OSError:
                pass
    assert admin.get("/healthz").body == b"ok\n"


def test_unix_socket(start, tmp_path):
    path = str(tmp_path / "admin.sock")
    admin = Admin(start("--admin", f"unix:{path}"), path)
    assert admin.ask("/healthz", [("Host", "whatever.example")]).status == 200
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert admin.metrics().get("retrywith_workers") == 1
    assert "PROXY 127.0.0.1:" in admin.get("/proxy.pac").text


def test_a_socket_of_systemd(tmp_path):
    if b"sd_listen_fds" not in open(BINARY, "rb").read():
        pytest.skip("this build has no libsystemd")
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_server(("127.0.0.1", 0)) as back:
        os.dup2(door.fileno(), 203)
        os.dup2(back.fileno(), 204)
        script = 'exec 3<&203 4<&204 203<&- 204<&-; LISTEN_PID=$$ exec "$@"'
        process = subprocess.Popen(["bash", "-c", script, "sh", BINARY, "--access-log", "off", "--workers", "1",
                                    "--spool-dir", str(tmp_path)],
                                   pass_fds=(203, 204), stderr=subprocess.DEVNULL,
                                   env={"PATH": os.environ["PATH"], "LISTEN_FDS": "2", "LISTEN_FDNAMES": "proxy:admin"})
        os.close(203)
        os.close(204)
        try:
            with Client(back.getsockname()) as client:
                assert client.ask("GET", "/healthz", [("Host", "localhost")]).body == b"ok\n"
            with Client(door.getsockname()) as client:
                assert client.ask("GET", "/healthz", [("Host", "localhost")]).status == 400
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run([BINARY, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:%u" % taken.getsockname()[1]],
                              capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 69
    assert "admin 127.0.0.1:" in done.stderr and "in use" in done.stderr


# -- what browsers are set up with ----------------------------------------------------------------

def pac(admin, questions):
    """What FindProxyForURL says, by a JavaScript engine."""
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    script = admin.get("/proxy.pac")
    assert script.one("Content-Type") == "application/x-ns-proxy-autoconfig"
    code = (f"const f = new Function({json.dumps(script.text)} + ';return FindProxyForURL')();"
            f"console.log(JSON.stringify({json.dumps(questions)}.map(q => f(q, new URL(q).hostname))))")
    done = subprocess.run([node, "-e", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.not_by("listener", why="it tells of the plain listener")
def test_pac_without_rules(admin):
    us = f"PROXY {admin.proxy.authority}; DIRECT"
    assert pac(admin, ["http://a.example/", "HTTP://A.example/", "https://a.example/", "ftp://a.example/"]) == \
        [us, us, "DIRECT", "DIRECT"]


@pytest.mark.not_by("listener", why="it tells of the plain listener")
def test_pac_with_rules(start, tmp_path):
    ca = Authority(tmp_path)
    admin = Admin(start("--admin", "127.0.0.1:0", "--intercept", "*.inside.example", "--ca-cert", str(ca.cert),
                        "--ca-key", str(ca.key), config='rule "a" { host = {"a.example", "*.corp.example"} }\n'
                        'rule "not" { host = "not.example" answer = {} }\n'))
    us = f"PROXY {admin.proxy.authority}; DIRECT"
    assert pac(admin, ["http://a.example/x", "http://A.Example/", "http://aXexample/", "http://x.corp.example/",
                       "http://corp.example/", "http://x.corp.example.evil.example/", "https://a.example/",
                       "http://not.example/", "https://y.inside.example/", "http://y.inside.example/",
                       "https://inside.example/"]) == \
        [us, us, "DIRECT", us, "DIRECT", "DIRECT", "DIRECT", "DIRECT", us, us, "DIRECT"]


def test_ca_certificate(start, tmp_path):
    ca = Authority(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(ca.key.read_text() + ca.cert.read_text())
    admin = Admin(start("--admin", "127.0.0.1:0", "--intercept", "x.example", "--ca-cert", str(both), "--ca-key", str(ca.key)))
    answer = admin.get("/ca.crt")
    assert answer.one("Content-Type") == "application/x-x509-ca-cert"
    assert b"PRIVATE KEY" not in answer.body
    (tmp_path / "got.pem").write_bytes(answer.body)
    prints = [subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-in", str(f)], capture_output=True,
                             check=True).stdout for f in (ca.cert, tmp_path / "got.pem")]
    assert prints[0] == prints[1]


@pytest.mark.not_by("inside", why="what intercepts has one")
def test_no_ca_certificate(admin):
    assert admin.ask("/ca.crt").status == 404


# -- statistics, flight recorder ----------------------------------------------------------------------

@pytest.mark.not_by("inside", why="what it counts has a CONNECT more")
def test_stats(admin, origin):
    ask_all(admin.proxy, origin)
    got = wait_until(lambda: (s := admin.stats()) and sum(s["answers"].values()) == 7 and s)
    here, = got["origins"]
    assert here["origin"] == origin.url("").rstrip("/")
    assert {key: here[key] for key in ("challenged", "replays", "final", "again", "lost", "unanswered", "octets")} == \
        {"challenged": 5, "replays": 4, "final": 2, "again": 1, "lost": 1, "unanswered": 2, "octets": 1001}
    assert abs(here["seen"] - time.time()) < 600
    assert {word: n for word, n, _ in got["replays"]} == {"final": 2, "again": 1, "lost": 1}
    assert {word: n for word, n, _ in got["refused"]} == {"upstream-closed": 1}
    assert got["answers"] == {"200": 4, "449": 2, "502": 1}
    assert [x["url"].rsplit("/", 1)[1] for x in got["last"]] == ["lost", "bare", "always", "echo", "echo"]
    assert got["last"][2]["unanswered"] == "again"
    wait_until(lambda: sum(m[0] for m in admin.stats()["history"]) == 7, "the history")


def test_flight_recorder(admin, origin):
    ask_all(admin.proxy, origin)
    answer = wait_until(lambda: (a := admin.get("/recorder")).body.count(b"\n") == 5 and a)
    assert answer.one("Content-Type") == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["method"] for line in lines] == ["GET", "PUT", "GET", "REPORT", "POST"]
    assert lines == sorted(lines, key=lambda line: line["time"])
    text = admin.get("/recorder", "text/html, */*")
    assert text.one("Content-Type").startswith("text/plain")
    assert f"PUT {origin.url('/echo')} -> 200" in text.text


# -- the page --------------------------------------------------------------------------------------------

@pytest.fixture
def browser():
    path = shutil.which("chromium")
    if not path:
        pytest.skip("chromium is not installed")
    from kit.browser import Browser
    browser = Browser(path)
    yield browser
    browser.close()


DRAWN = "document.body?.dataset.drawn === 'yes'"


def test_the_page_as_text(admin):
    """It asks nobody else for anything."""
    answer = admin.get("/")
    assert answer.one("Content-Type") == "text/html; charset=utf-8"
    page = answer.body.decode()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|metrics|recorder|stats\.json|proxy\.pac)""", page)
    assert not re.search(r"@import|url\(|innerHTML|document\.write|eval\(", page)
    assert page.count("<script>") == page.count("<style>") == 1


def test_the_page(admin, origin, browser, tmp_path):
    ask_all(admin.proxy, origin)
    origin.on("/<img src=x onerror=document.title='run'>".replace(" ", "%20"), echoing())
    with admin.proxy.client() as client:
        client.send(client.head("GET", origin.url("/<b>&'\"")))
        client.response()
    browser.open(admin.url, 1200, 1600)
    browser.wait(DRAWN)
    assert "serving with 1 worker" in browser.text("#state")
    assert browser.text("#t-met") != "–"
    assert "6 in all" in browser.text("#n-met")
    assert "2 passed on" in browser.text("#n-answered")
    assert "the server answered 449 to the replay as well" in browser.text("#unanswered")
    assert origin.url("").rstrip("/") in browser.text("#origins")
    assert "PUT " + origin.url("/echo") in browser.text("#last")
    assert "upstream-closed" in browser.text("#refused")
    # by itself, it takes note of what happens
    with admin.proxy.client() as client:
        client.ask("GET", origin.url("/echo"))
    browser.wait("document.querySelector('#n-met').textContent.includes('7 in all')")
    browser.wait("document.querySelectorAll('#chart path.line').length >= 1")
    assert browser.problems() == []
    assert browser.asked() == {admin.url + "/", admin.url + "/stats.json"}
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20000
    # and says when nobody is there any more
    admin.proxy.stop()
    browser.wait("document.querySelector('#state').textContent.includes('no answer')")


@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (700, False), (1010, False), (1200, True)])
def test_the_page_fits(start, origin, browser, tmp_path, width, dark):
    long = "/" + "x" * 300
    origin.on(long, echoing())
    admin = Admin(start("--admin", "127.0.0.1:0", config=f'rule "{"orders" * 20}" {{\n}}\n'))
    with admin.proxy.client() as client:
        client.ask("GET", origin.url(long))
    browser.open(admin.url, width, 900, dark)
    browser.wait(DRAWN)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", background)[:3])) > 384
    assert light != dark
    browser.screenshot(tmp_path / "page.png")
    assert browser.problems() == []


@pytest.mark.not_by("inside", why="the origin's certificate does not name them")
def test_many_origins_are_folded(start, origin, browser, tmp_path):
    """The dearest are shown, and all of them when asked for."""
    names = [f"app{i}.example" for i in range(30)]
    (tmp_path / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in names))
    origin.on("/x", echoing())
    admin = Admin(start("--admin", "127.0.0.1:0", "--hosts-file", tmp_path / "hosts"))
    for name in names:
        with admin.proxy.client() as client:
            client.ask("GET", f"http://{name}:{origin.port}/x")
    browser.open(admin.url)
    browser.wait(DRAWN)
    rows = "document.querySelectorAll('#origins tbody tr').length"
    assert browser.evaluate(rows) == 16
    assert browser.text("#origins button") == "all 30 origins"
    browser.evaluate("document.querySelector('#origins button').click()")
    assert browser.evaluate(rows) == 30
    browser.evaluate("document.querySelector('#origins button').click()")
    assert browser.evaluate(rows) == 16
    assert browser.problems() == []


def test_what_peers_say_is_text(admin, origin, browser):
    path = "/<img/src=x/onerror=document.title=1>"
    origin.on(path, echoing())
    with admin.proxy.client() as client:
        client.send(client.head("GET", origin.url(path)))
        status = client.response().status
    browser.open(admin.url)
    browser.wait(DRAWN)
    assert browser.evaluate("document.title") == "retrywith"
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert status != 200 or "<img/src=x" in browser.text("#last")
    assert browser.problems() == []


# -- env, top ----------------------------------------------------------------------------------------------

def run(*arguments, **more):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=PATIENCE, **more)


@pytest.mark.parametrize("arguments, out", [
    ([], "export http_proxy='http://127.0.0.1:3128'\nexport no_proxy='localhost,127.0.0.1,::1'\n"),
    (["--shell", "fish"], "set -gx http_proxy 'http://127.0.0.1:3128'\nset -gx no_proxy 'localhost,127.0.0.1,::1'\n"),
    (["--shell=powershell"],
     "$env:http_proxy = 'http://127.0.0.1:3128'\n$env:no_proxy = 'localhost,127.0.0.1,::1'\n"),
    (["--listen", "[::]:8080", "--allow", "10.0.0.0/8"],
     "export http_proxy='http://[::1]:8080'\nexport no_proxy='localhost,127.0.0.1,::1'\n"),
    (["--listen", "unix:/x", "--listen", "0.0.0.0:8080", "--allow", "10.0.0.0/8"],
     "export http_proxy='http://127.0.0.1:8080'\nexport no_proxy='localhost,127.0.0.1,::1'\n"),
])
def test_env(arguments, out):
    done = run("env", *arguments, env={"PATH": "/usr/bin"})
    assert (done.returncode, done.stdout) == (0, out)


def test_env_leaves_no_proxy_alone():
    assert run("env", env={"no_proxy": "x"}).stdout == "export http_proxy='http://127.0.0.1:3128'\n"


def test_env_with_intercept(tmp_path):
    ca = Authority(tmp_path)
    done = run("env", "--intercept", "x.example", "--ca-cert", str(ca.cert), "--ca-key", str(ca.key), env={})
    assert "export https_proxy='http://127.0.0.1:3128'\n" in done.stdout


@pytest.mark.parametrize("arguments, status", [
    (["--shell", "tcsh"], 64), (["--shell"], 64), (["more"], 64), (["--listen", "unix:/x"], 78),
    (["--listen", "127.0.0.1:0"], 78),
])
def test_env_refuses(arguments, status):
    done = run("env", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr


@pytest.mark.not_by("inside", why="the environment it prints names one authority, not that of the kit")
@pytest.mark.not_by("listener", why="it tells of the plain listener")
def test_env_works(admin, origin, curl):
    """A shell that evaluates it reaches the proxy."""
    origin.on("/echo", echoing())
    lines = run("env", "--listen", admin.proxy.authority, env={"no_proxy": "none"}).stdout
    done = subprocess.run(["sh", "-c", f'eval "$1"; curl -q -sS -w "%{{http_code}}" {origin.url("/echo")}', "sh", lines],
                          env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    assert done.stdout == "hello200", done.stderr


def test_top_once(admin, origin):
    ask_all(admin.proxy, origin)
    wait_until(lambda: len(admin.stats()["last"]) == 5, "all of them")
    done = run("top", "--admin", "%s:%u" % admin.address)
    assert done.returncode == 0, done.stderr
    assert "replays: final 2, again 1, lost 1, 1001 B sent again" in done.stdout
    assert "passed on unanswered: again 1, no-header 1" in done.stdout
    assert re.search(rf"^{re.escape(origin.url('').rstrip('/'))} +5 +2 +1 +1 +2 ", done.stdout, re.MULTILINE)
    assert f"GET {origin.url('/always')}" in done.stdout


def test_top_by_a_unix_socket(start, tmp_path):
    path = str(tmp_path / "admin.sock")
    start("--admin", f"unix:{path}")
    assert "1 workers" in run("top", "--admin", f"unix:{path}").stdout


def test_top_without_anybody(tmp_path):
    done = run("top", "--admin", f"unix:{tmp_path}/none")
    assert (done.returncode, done.stdout) == (69, "")
    done = run("top")
    assert done.returncode == 64 and "retrywith top: where? Say --admin" in done.stderr


def health(address, *words):
    done = run("health", *words, "--admin", address)
    return done.returncode, done.stdout, done.stderr


def test_health(start, origin, tmp_path):
    path = str(tmp_path / "admin.sock")
    proxy = start("--admin", f"unix:{path}", "--drain-timeout", "60s")
    assert health(f"unix:{path}") == (0, "ok\n", "")
    assert health(f"unix:{path}", "ready") == (0, "ok\n", "")
    assert health(f"unix:{path}", "happy")[0] == run("health").returncode == 64
    assert "there is no happy; say ready" in health(f"unix:{path}", "happy")[2]
    assert "retrywith health: where? Say --admin" in run("health").stderr
    assert health(f"unix:{path}", "ready", "now")[0] == 64
    held = threading.Event()

    def later(call):
        wait_for(held, "leave to answer")
        call.send(response(200))
    origin.on("/later", later)
    with proxy.client() as client:
        client.send(client.head("GET", origin.url("/later")))
        wait_until(lambda: origin.requests, "the request")
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: health(f"unix:{path}", "ready")[0] == 1, "the drain")
        assert "draining" in health(f"unix:{path}", "ready")[2]
        assert health(f"unix:{path}") == (0, "ok\n", "")
        held.set()
        assert client.response().status == 200
    proxy.wait()
    assert health(f"unix:{path}")[0] == 69


def test_health_of_a_process_that_hangs(admin):
    admin.proxy.signal(signal.SIGSTOP)
    try:
        assert health("%s:%u" % admin.address)[0] == 69     # nobody is left to say so
    finally:
        admin.proxy.signal(signal.SIGCONT)
    wait_until(lambda: health("%s:%u" % admin.address)[0] == 0, "the answer")


def test_top_on_a_terminal(admin, origin):
    """It fills the screen, goes on, and leaves the terminal as it was on q."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([BINARY, "top", "--admin", "%s:%u" % admin.address], stdin=theirs, stdout=theirs,
                               stderr=theirs)
    seen = b""

    def read():
        nonlocal seen
        while select.select([mine], [], [], 0)[0]:
            seen += os.read(mine, 65536)
        return seen
    try:
        wait_until(lambda: b"no origin has challenged yet" in read(), "the first look")
        assert seen.startswith(b"\x1b[?1049h")
        origin.on("/echo", echoing())
        with admin.proxy.client() as client:
            client.ask("GET", origin.url("/echo"))
        wait_until(lambda: b"replays: final 1" in read(), "a later look")
        os.write(mine, b"q")
        assert process.wait(PATIENCE) == 0
        assert read().endswith(b"\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(theirs) == before
        lines = re.sub(rb"\x1b\[[?0-9;]*[A-Za-z]", b"", seen).split(b"\r\n")
        assert max(map(len, lines)) <= 100
    finally:
        process.kill()
        process.wait()
        os.close(mine)
        os.close(theirs)
