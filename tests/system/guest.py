#!/usr/bin/python3
"""Runs inside the booted system, as root: drives the installed service as an
administrator and its clients would, and writes what it saw to /root/result.json.
Each check is a function; an exception is a failure, with its text and with what
the journal says of the time it took."""
import contextlib
import ctypes
import gzip
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time
import traceback

ETC = pathlib.Path("/etc/retrywith")
CONF = ETC / "retrywith.conf"
PROXY = ("127.0.0.1", 3128)
ORIGIN = "http://127.0.0.1:8080"
PACKAGE = "/root/retrywith.deb"
RESULT = pathlib.Path("/root/result.json")
METRICS = pathlib.Path("/root/metrics.txt")
PATIENCE = 60


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}: {done.stdout} {done.stderr}")
    return done


def show(unit, what):
    return run("systemctl", "show", "-P", what, unit).stdout.strip()


def wait(condition, text, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {text}")


def curl(url, *more, proxy="http://127.0.0.1:3128"):
    """The status."""
    return run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "30", "-x", proxy,
               *more, url if "://" in url else ORIGIN + url).stdout


def journal(*more):
    run("journalctl", "--sync")
    return run("journalctl", "-u", "retrywith", "--no-pager", *more).stdout


def self_signed(key, certificate):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")


@contextlib.contextmanager
def configured(text):
    """The service with this configuration; afterwards it has its own again."""
    CONF.write_text(text)
    run("systemctl", "restart", "retrywith")
    yield
    CONF.write_text("")
    run("systemctl", "restart", "retrywith")


class Load:
    """Clients that keep their connection, and clients that open one for each
    request. A connection that the proxy closed with `Connection: close` is opened
    again; anything else that is not a whole 200 is a failure."""

    def __init__(self, kept=4, fresh=4):
        self.ended = threading.Event()
        self.done, self.failures, self.slowest = 0, [], 0.0
        self.threads = [threading.Thread(target=self.client, args=(i < kept,))
                        for i in range(kept + fresh)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        wait(lambda: self.done > 50 or self.failures, "the load")
        return self

    def __exit__(self, *error):
        much = self.done + 50                   # it goes on behind what was done
        wait(lambda: self.done > much or self.failures, "more load")
        self.ended.set()
        for t in self.threads:
            t.join(PATIENCE)

    def ask(self, connection):
        begun = time.monotonic()
        connection.request("GET", ORIGIN + "/echo")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            self.failures.append(f"status {answer.status}")
        self.done += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)
        return not answer.will_close

    def client(self, keeps):
        connection = None
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*PROXY, timeout=PATIENCE)
                if not self.ask(connection) or not keeps:
                    connection.close()
                    connection = None
            except Exception as e:              # whatever a client could see
                self.failures.append(repr(e))
                connection = None
            time.sleep(0.005)

    def told(self, what):
        assert self.done > 100 and not self.failures, (self.done, self.failures[:5])
        return f"{self.done} requests {what}, 0 failed, the slowest took {self.slowest:.1f} s"


class Recording(http.server.BaseHTTPRequestHandler):
    """An origin that remembers the fields of each request, and challenges those
    that carry no answer."""
    seen = []

    def do_GET(self):
        Recording.seen.append(dict(self.headers))
        answered = self.headers["Ms-Echo-Reply"] == "prove it"
        self.send_response(200 if answered else 449)
        if not answered:
            self.send_header("Ms-Echo-Request", "prove it")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


@contextlib.contextmanager
def recording(port, context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Recording)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Recording.seen.clear()
    threading.Thread(target=server.serve_forever).start()
    try:
        yield Recording.seen
    finally:
        server.shutdown()
        server.server_close()


def listening():
    """Local TCP ports with a listener."""
    lines = [line.split() for name in ("tcp", "tcp6")
             for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {int(fields[1].rpartition(":")[2], 16) for fields in lines if fields[3] == "0A"}


# -- the checks ------------------------------------------------------------------------


def first_request_starts_the_service():
    assert show("retrywith.socket", "ActiveState") == "active"
    assert show("retrywith.service", "ActiveState") == "inactive"
    assert curl("/echo") == "200"
    assert show("retrywith.service", "ActiveState") == "active"
    assert curl("/echo", proxy="") == "449"
    assert curl("/echo", proxy="http://[::1]:3128") == "200"
    status = show("retrywith.service", "StatusText")
    assert status.startswith("serving with "), status


def has_landlock():
    create_ruleset, version = 444, 1
    return ctypes.CDLL(None).syscall(create_ruleset, None, 0, version) > 0


def runs_in_its_sandbox():
    pid = show("retrywith.service", "MainPID")
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    uid = int(status.split("Uid:")[1].split()[0])
    assert uid != 0, uid
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status
    assert "CapEff:\t0000000000000000" in status, status
    # Landlock cannot be seen from outside, but the program says when it is missing.
    said = journal()
    assert "no seccomp filter" not in said, said
    if not has_landlock():
        return "user, seccomp; this system lends no Landlock"
    assert "no Landlock" not in said, said
    return "user, seccomp, Landlock"


def unit_is_tight_and_valid():
    for unit in ("retrywith.service", "retrywith.socket", "retrywith-admin.socket",
                 "retrywith@3129.service", "retrywith@3129.socket"):
        said = run("systemd-analyze", "verify", "--man=no", unit, check=False).stderr
        own = [line for line in said.splitlines() if "retrywith" in line]
        assert not own, own
    last = run("systemd-analyze", "security", "retrywith.service").stdout.splitlines()[-1]
    exposure = float(last.split("retrywith.service:")[1].split()[0])
    assert exposure <= 1.2, last
    return f"exposure {exposure}"


def reload_loses_nothing():
    before = show("retrywith.service", "MainPID")
    with Load() as load:
        for i in range(5):
            CONF.write_text(f'via = "number-{i}"\n')
            run("systemctl", "reload", "retrywith")
            wait(lambda i=i: f"number-{i}" in run(
                "curl", "-s", "-i", "-m", "30", "-x", "http://127.0.0.1:3128",
                ORIGIN + "/plain").stdout, "the new configuration")
    assert show("retrywith.service", "MainPID") == before
    CONF.write_text("")
    return load.told("over 5 reloads")


def restart_loses_nothing():
    before = show("retrywith.service", "MainPID")
    with Load() as load:
        for _ in range(3):
            run("systemctl", "restart", "retrywith")
            assert curl("/echo") == "200"
    assert show("retrywith.service", "MainPID") != before
    return load.told("over 3 restarts")


def upgrade_loses_nothing():
    """The same package again: what is waiting in the sockets is served afterwards."""
    (ETC / "3129.conf").write_text("")
    run("systemctl", "start", "retrywith@3129.socket")
    assert curl("/echo", proxy="http://127.0.0.1:3129") == "200"
    units = ("retrywith.service", "retrywith@3129.service")
    before = [show(unit, "MainPID") for unit in units]
    with Load() as load:
        run("dpkg", "-i", PACKAGE)
    after = [show(unit, "MainPID") for unit in units]
    assert "0" not in after and not set(before) & set(after), (before, after)
    run("systemctl", "stop", "retrywith@3129.socket", *units)
    run("dpkg", "-i", PACKAGE)
    assert [show(unit, "MainPID") for unit in units] == ["0", "0"], "started what was stopped"
    assert curl("/echo") == "200"
    return load.told("over an upgrade")


def bad_configuration_is_not_used():
    pid = show("retrywith.service", "MainPID")
    CONF.write_text("body-limit = lots\n")
    done = run("systemctl", "reload", "retrywith", check=False)
    assert done.returncode != 0
    assert show("retrywith.service", "MainPID") == pid and curl("/echo") == "200"
    # Also without the check that the unit makes first:
    run("kill", "-HUP", pid)
    wait(lambda: "bad" in show("retrywith.service", "StatusText"), "the status line")
    assert "retrywith.conf:1" in show("retrywith.service", "StatusText")
    assert curl("/echo") == "200"
    CONF.write_text("")
    run("systemctl", "reload", "retrywith")
    wait(lambda: "bad" not in show("retrywith.service", "StatusText"), "the status line")
    assert show("retrywith.service", "MainPID") == pid


def reload_says_what_waits_for_a_restart():
    CONF.write_text("spool-total = 1G\n")
    run("systemctl", "reload", "retrywith")
    wait(lambda: "before a restart: spool-total" in show("retrywith.service", "StatusText"),
         "the status line")
    CONF.write_text("")
    run("systemctl", "restart", "retrywith")


class Slow(http.server.BaseHTTPRequestHandler):
    """An origin that answers when it is told to."""
    begun, told = threading.Event(), threading.Event()

    def do_GET(self):
        Slow.begun.set()
        Slow.told.wait(PATIENCE)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *words):
        pass


def stop_drains():
    """An idle connection, a running exchange, a quiet tunnel, and a client that comes
    meanwhile, each at `systemctl stop`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 8082), Slow)
    threading.Thread(target=server.serve_forever).start()
    with configured('workers = 1\nconnect-ports = "8082"\n'):
        idle, slow, late = (http.client.HTTPConnection(*PROXY, timeout=PATIENCE)
                            for _ in range(3))
        idle.request("GET", ORIGIN + "/plain")
        idle.getresponse().read()
        tunnel = socket.create_connection(PROXY, PATIENCE)
        tunnel.sendall(b"CONNECT 127.0.0.1:8082 HTTP/1.1\r\nHost: 127.0.0.1:8082\r\n\r\n")
        assert b" 200 " in tunnel.recv(1000)
        slow.request("GET", "http://127.0.0.1:8082/slow")
        assert Slow.begun.wait(PATIENCE)
        pid = show("retrywith.service", "MainPID")
        stop = subprocess.Popen(["systemctl", "stop", "retrywith.service"])
        wait(lambda: "draining" in show("retrywith.service", "StatusText"), "the status line")
        late.request("GET", ORIGIN + "/echo")
        assert idle.sock.recv(1) == b"" and tunnel.recv(1) == b""
        assert show("retrywith.service", "MainPID") == pid, "it did not wait"
        Slow.told.set()
        answer = slow.getresponse()
        assert answer.status == 200 and answer.read() == b"done" and answer.will_close
        assert stop.wait(PATIENCE) == 0
        assert late.getresponse().status == 200, "the socket lost a client"
        assert show("retrywith.service", "MainPID") not in (pid, "0")
        assert "waits for 1 exchange and 1 tunnel" in journal(f"_PID={pid}")
    server.shutdown()
    server.server_close()


def secrets_come_as_credentials():
    secret = ETC / "secrets/token"
    secret.write_text("s3cret-token\n")
    secret.chmod(0o600)
    text = 'rule "t" {\n answer = {"echo", "supply"}\n supply "X-Token" { from = "file:token" }\n}\n'
    with recording(8081) as seen, configured(text):
        assert curl("http://127.0.0.1:8081/") == "200", seen
        tokens = [fields.get("X-Token") for fields in seen]
        assert tokens == [None, "s3cret-token"], seen
        shown = run("retrywith", "-c", str(CONF), "-T").stdout
        assert "file:token" in shown and "s3cret-token" not in shown, shown
    secret.unlink()
    assert "s3cret-token" not in journal()


def intercept_signs_with_a_credential():
    """The local authority's key is a credential too, and a process of its own signs
    with it, under the unit's filters."""
    key, cert = "/root/origin.key", "/root/origin.crt"
    self_signed(key, cert)
    run("retrywith", "ca", "init", "--ca-cert", str(ETC / "ca.crt"),
        "--ca-key", str(ETC / "secrets/ca.key"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    (ETC / "origin.crt").write_bytes(pathlib.Path(cert).read_bytes())
    text = ('intercept = "localhost"\nca-cert = "ca.crt"\nca-key = "ca.key"\n'
            'connect-ports = "8443"\nupstream-ca = "origin.crt"\n')
    with recording(8443, context) as seen, configured(text):
        got = curl("https://localhost:8443/", "--cacert", str(ETC / "ca.crt"))
        assert got == "200" and len(seen) == 2, (got, seen)
    (ETC / "secrets/ca.key").unlink()


def hanging_worker_is_restarted():
    """ptrace stops one thread and leaves the others running."""
    drop = pathlib.Path("/etc/systemd/system/retrywith.service.d/watchdog.conf")
    drop.parent.mkdir(parents=True, exist_ok=True)
    drop.write_text("[Service]\nWatchdogSec=5\nRestartSec=100ms\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "retrywith")
    assert curl("/echo") == "200"
    pid = show("retrywith.service", "MainPID")
    time.sleep(8)
    assert show("retrywith.service", "MainPID") == pid, "an idle service was restarted"
    worker = next(t for t in os.listdir(f"/proc/{pid}/task")
                  if pathlib.Path(f"/proc/{pid}/task/{t}/comm").read_text().startswith("worker-"))
    libc = ctypes.CDLL(None, use_errno=True)
    seize, interrupt, wall = 0x4206, 0x4207, 0x40000000
    assert libc.ptrace(seize, int(worker), None, None) == 0, os.strerror(ctypes.get_errno())
    assert libc.ptrace(interrupt, int(worker), None, None) == 0

    def is_replaced():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(worker), os.WNOHANG | wall)  # its tracer buries a thread
        return show("retrywith.service", "MainPID") not in (pid, "0")
    wait(is_replaced, "a new process")
    assert curl("/echo") == "200"
    assert "Watchdog timeout" in journal(f"_PID={1}", "+", f"_PID={pid}")
    assert "a worker does not answer" in journal(f"_PID={pid}")
    drop.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "retrywith")
    return "found and restarted"


def instances_have_a_port_each():
    (ETC / "3129.conf").write_text('via = "the-other"\n')
    run("systemctl", "start", "retrywith@3129.socket")
    said = run("curl", "-s", "-i", "-m", "30", "-x", "http://127.0.0.1:3129",
               ORIGIN + "/echo").stdout
    assert " 200 " in said.splitlines()[0] and "the-other" in said, said
    assert show("retrywith@3129.service", "ActiveState") == "active"
    assert curl("/echo") == "200"
    run("systemctl", "stop", "retrywith@3129.socket", "retrywith@3129.service")


def rotation_tears_no_line():
    log = pathlib.Path("/var/log/retrywith/access.log")
    marks = 0
    with configured(f'access-log = "{log}"\nlog-format = json\n'):
        with Load(kept=2, fresh=2) as load:
            for i in range(4):
                time.sleep(0.3)
                if i % 2:                       # by hand, and as the package does it
                    log.rename(f"{log}.by-hand-{i}")
                    run("systemctl", "kill", "-s", "USR1", "retrywith")
                else:
                    run("logrotate", "-f", "/etc/logrotate.d/retrywith")
                wait(log.exists, "the new log")
        run("systemctl", "stop", "retrywith.service")
        for path in log.parent.glob("access.log*"):
            text = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
            for line in text:
                assert json.loads(line)["status"] == 200, line
                marks += 1
        assert not load.failures and marks == load.done, (marks, load.done, load.failures[:3])
    return f"{marks} lines for {load.done} requests over 4 rotations"


def journal_has_every_line():
    """Also while journald rotates, and above its usual limit on the rate of lines."""
    with configured('access-log = "-"\nlog-format = json\n'):
        pid = show("retrywith.service", "MainPID")
        with Load(kept=2, fresh=2) as load:
            for _ in range(3):
                time.sleep(0.5)
                run("journalctl", "--rotate")
        run("systemctl", "stop", "retrywith.service")
        lines = journal("-o", "cat", f"_PID={pid}").splitlines()
        ours = [json.loads(line) for line in lines if line.startswith('{"ts"')]
        assert len(ours) == load.done and not load.failures, (len(ours), load.done)
    assert show("retrywith.service", "LogRateLimitIntervalUSec") == "0"
    return f"{len(ours)} lines for {load.done} requests over 3 rotations"


def ask_admin(path, socket):
    return run("curl", "-s", "-f", "-m", "30", "--unix-socket", socket,
               "http://localhost" + path).stdout


def admin_by_a_path_in_the_configuration():
    with configured('admin = "unix:/run/retrywith/admin.sock"\n'):
        assert curl("/echo") == "200"
        text = ask_admin("/metrics", "/run/retrywith/admin.sock")
        METRICS.write_text(text)                # for promtool, outside
        assert 'retrywith_replays_total{result="final"} 1' in text, text[:2000]
        ask_admin("/healthz", "/run/retrywith/admin.sock")


def admin_by_a_socket_unit():
    run("systemctl", "stop", "retrywith.service")
    run("systemctl", "start", "retrywith-admin.socket")
    path = show("retrywith-admin.socket", "Listen").split()[0]
    ask_admin("/readyz", path)                  # and that alone starts the service
    assert curl("/echo") == "200"
    with Load(kept=1, fresh=1) as load:
        run("systemctl", "restart", "retrywith.service")
        ask_admin("/readyz", path)
    assert "retrywith_requests_total" in ask_admin("/metrics", path)
    run("systemctl", "stop", "retrywith-admin.socket")
    return load.told("over a restart with the admin socket")


def tls_by_a_socket_unit():
    """docs/service.md shows this unit."""
    unit = pathlib.Path("/etc/systemd/system/retrywith-tls.socket")
    unit.write_text("[Socket]\nListenStream=127.0.0.1:3130\nFileDescriptorName=tls\n"
                    "Service=retrywith.service\n")
    self_signed(ETC / "secrets/listen.key", ETC / "listen.crt")
    run("systemctl", "daemon-reload")
    run("systemctl", "stop", "retrywith.service")
    run("systemctl", "start", "retrywith-tls.socket")
    with configured('listen-cert = "listen.crt"\nlisten-key = "listen.key"\n'):
        assert curl("/echo", "--proxy-cacert", str(ETC / "listen.crt"),
                    proxy="https://localhost:3130") == "200"
        assert curl("/echo") == "200"
    run("systemctl", "stop", "retrywith-tls.socket")
    unit.unlink()
    (ETC / "listen.crt").unlink()
    (ETC / "secrets/listen.key").unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "retrywith.service")


def what_the_document_says():
    """The commands of docs/service.md, as they are but for an address that is not here."""
    text = pathlib.Path("/root/service.md").read_text().replace("10.0.0.5", "127.0.0.5")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    with open("/etc/hosts", "a") as hosts:
        hosts.write("127.0.0.1 localhost server\n")
    run("systemctl", "stop", "retrywith.service", "retrywith.socket")
    log = pathlib.Path("/var/log/retrywith/access.log")
    CONF.write_text(f'access-log = "{log}"\n')
    server = subprocess.Popen(["/usr/bin/retrywith", "demo-origin", "--listen", "127.0.0.1:80"],
                              stdout=subprocess.DEVNULL)
    said = [run("bash", "-e", "-c", block).stdout for block in blocks]
    server.terminate()
    assert "demo" in said[0] and "Active: active" in said[0], said[0]
    assert "serving with" in said[1] and "bad" not in said[1], said[1]
    assert "demo" in said[3], said[3]
    assert curl("/echo", proxy="http://127.0.0.5:3128") == "200"
    assert 3130 in listening() and "retrywith_requests_total" in said[6], said[6]
    wait(log.exists, "the log after its rotation")
    for unit in ("retrywith-tls.socket", "retrywith-admin.socket", "retrywith@3129.socket",
                 "retrywith@3129.service", "retrywith.service", "retrywith.socket"):
        run("systemctl", "disable", "--now", unit)
    for name in ("retrywith-tls.socket", "retrywith.socket.d/address.conf"):
        pathlib.Path("/etc/systemd/system", name).unlink()
    (ETC / "secrets/token").unlink()
    CONF.write_text("")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "retrywith.socket")
    assert curl("/echo") == "200"
    return f"{len(blocks)} blocks of commands"


def packages_own_test():
    """What autopkgtest would run."""
    return run("sh", "/root/answers").stdout


def purge_leaves_nothing():
    run("systemctl", "stop", "retrywith.service")
    run("systemctl", "enable", "--now", "retrywith.socket", "retrywith-admin.socket",
        "retrywith@3129.socket")
    assert curl("/echo", proxy="http://127.0.0.1:3129") == "200" and curl("/echo") == "200"
    assert {3128, 3129} <= listening(), listening()
    (ETC / "secrets/own").write_text("")
    own = set(ETC.rglob("*")) - {CONF}          # what the administrator made stays
    run("dpkg", "--remove", "retrywith")
    active = run("systemctl", "list-units", "--plain", "--no-legend", "--state=active",
                 "retrywith*").stdout
    assert not active, active
    assert not {3128, 3129} & listening(), listening()
    assert not pathlib.Path("/usr/bin/retrywith").exists()
    assert CONF.exists() and pathlib.Path("/var/log/retrywith").exists()
    run("dpkg", "--purge", "retrywith")
    left = [p for top in ("/etc", "/var", "/usr", "/run", "/lib")
            for p in run("find", top, "-xdev", "-name", "*retrywith*").stdout.split()]
    left = [p for p in left if p != str(ETC) and not p.startswith("/var/log/journal")]
    assert not left, left
    assert set(ETC.rglob("*")) == own, own


CHECKS = [
    first_request_starts_the_service, runs_in_its_sandbox, unit_is_tight_and_valid,
    reload_loses_nothing, restart_loses_nothing, upgrade_loses_nothing,
    bad_configuration_is_not_used, reload_says_what_waits_for_a_restart, stop_drains,
    secrets_come_as_credentials, intercept_signs_with_a_credential,
    hanging_worker_is_restarted, instances_have_a_port_each, rotation_tears_no_line,
    journal_has_every_line, admin_by_a_path_in_the_configuration, admin_by_a_socket_unit,
    tls_by_a_socket_unit, what_the_document_says, packages_own_test, purge_leaves_nothing,
]


def main():
    results = {}
    demo = subprocess.Popen(["/usr/bin/retrywith", "demo-origin", "--listen", "127.0.0.1:8080"],
                            stdout=subprocess.DEVNULL)
    CONF.write_text("")
    run("systemctl", "start", "retrywith.socket")
    for check in CHECKS:
        begun = time.time()
        try:
            results[check.__name__] = {"ok": True, "said": check() or ""}
        except Exception:
            said = run("journalctl", "-u", "retrywith*", "--since", f"@{begun:.0f}", "--no-pager",
                       check=False).stdout
            results[check.__name__] = {"ok": False, "said": traceback.format_exc(),
                                       "journal": said[-20000:]}
        results[check.__name__]["seconds"] = round(time.time() - begun, 1)
        RESULT.write_text(json.dumps(results))
    demo.terminate()


main()
