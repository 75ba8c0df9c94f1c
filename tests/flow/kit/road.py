"""The same requests by other roads: inside an intercepted CONNECT, and to a proxy
that is itself spoken to in TLS. ROAD in the environment names one for the whole
suite; otherwise tests go by the plain one, or by those of their mark `by`."""
import os
import re
import subprocess

from kit.ca import Authority
from kit.client import Client, trusting
from kit.program import BINARY, Proxy


class Roads:
    """What all roads of a test run share: who vouches for whom."""

    def __init__(self, directory):
        self.servers = Authority(directory, "Servers")
        self.local = (directory / "local.pem", directory / "local.key")
        done = subprocess.run([BINARY, "ca", "init", "--ca-cert", self.local[0], "--ca-key", self.local[1]],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.server = self.servers.server()
        self.listener = self.servers.issue("IP:127.0.0.1")
        self.bundle = directory / "bundle.pem"
        self.bundle.write_text(self.local[0].read_text() + self.servers.cert.read_text())
        wgetrc = directory / "wgetrc"
        wgetrc.write_text(f"ca_certificate = {self.bundle}\n")
        # For programs: they may meet servers, what poses as servers, and the listener.
        self.environment = {name: str(self.bundle) for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")}
        self.environment["WGETRC"] = str(wgetrc)


class Inside(Client):
    """Says CONNECT and begins TLS before its first request head, which then has a path only."""

    tls = authority = None

    def enter(self, authority):
        super().send(super().head("CONNECT", authority))
        answer = self.response("CONNECT")
        assert answer.status == 200, (answer, answer.text)
        self.secure(self.tls, re.match(r"\[?([^\]]*?)\]?(:\d+)?$", authority)[1])
        self.authority = authority

    def head(self, method, url, fields=(), version="HTTP/1.1"):
        match = re.match(r"https://([^/?]*)(.*)", url)
        if not match:
            return super().head(method, url, fields, version)
        if self.authority is None:
            self.enter(match[1])
        if "host" not in [n.lower() for n, _ in fields]:
            fields = [("Host", match[1]), *fields]
        path = match[2] if match[2].startswith("/") else "/" + match[2]
        return super().head(method, path, fields, version)


class InsideProxy(Proxy):
    """Intercepts what the tests' origins serve; its log is read without the CONNECTs."""

    def __init__(self, tmp, options=(), roads=None, **more):
        self.roads = roads
        if "--intercept" not in options:
            options = ["--intercept", "127.0.0.1", *options]
        options = ["--connect-ports", "1-65535", "--ca-cert", str(roads.local[0]), "--ca-key",
                   str(roads.local[1]), "--upstream-ca", str(roads.servers.cert), *options]
        super().__init__(tmp, options, **more)

    def client(self, **more):
        client = Inside(self.address, **more)
        client.tls = trusting(self.roads.local[0])
        return client

    def lines(self):
        return [line for line in super().lines() if line["method"] != "CONNECT"]


class ListenerProxy(Proxy):
    """Its clients speak TLS to it."""

    listening = re.compile(r"^retrywith: listening on (\S+):(\d+) \(TLS\)\s*$", re.MULTILINE)

    def __init__(self, tmp, options=(), roads=None, **more):
        self.roads = roads
        cert, key = roads.listener
        options = ["--listen-tls", "127.0.0.1:0", "--listen-cert", str(cert), "--listen-key", str(key),
                   "--upstream-ca", str(roads.servers.cert), *options]
        super().__init__(tmp, options, **more)

    def wait_for_addresses(self, many=1):
        super().wait_for_addresses(1)
        self.url = self.url.replace("http://", "https://")

    def client(self, **more):
        return Client(self.address, tls=trusting(self.roads.servers.cert), name="127.0.0.1", **more)


PROXIES = {"plain": Proxy, "inside": InsideProxy, "listener": ListenerProxy}
CHOSEN = os.environ.get("ROAD") or None
