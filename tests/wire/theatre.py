"""Runs rows: three proxies, a usual one, one with short deadlines, one that is
watched for every connect(2); and the processes that play the rows. (P09)"""
import multiprocessing
import re
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from judge import allowed, problems, verdict
from kit.ca import Authority
from kit.client import PATIENCE, Client, join, wait_until
from kit.program import Proxy
from stage import DEADLINE, Origins, Play

VIA = "retrywith-wire"
OPTIONS = {"--via": VIA, "--access-log": "off", "--log-level": "error",
           "--response-timeout": f"{DEADLINE}s", "--read-timeout": f"{DEADLINE}s"}
HASTE = {f"--{what}-timeout": "1s" for what in ("head", "body", "response", "read", "idle")}
PORTS = {"--connect-ports": "443, 1024-65535"}  # so that an origin here can be had by CONNECT
HOSTS = """
169.254.169.254 metadata.test
::ffff:a9fe:a9fe mapped.test
fd00:ec2::254 metadata6.test
64:ff9b::a9fe:a9fe nat64.test
0.0.0.0 unspecified.test
224.0.0.1 multicast.test
"""
SECURE = [f"127.200.200.{n}" for n in range(100, 250)]
FIRST_OFFSETS = 200
WIDTH, WIDE = 12, 200               # plays at once; and of rows that wait for a deadline
TOLD = 6                            # problems shown of a row


def flat(*options):
    return [word for o in options for pair in o.items() for word in pair]


class Watched(Proxy):
    """A proxy with the default policy, under strace: what it dials is known."""

    def __init__(self, tmp, options):
        super().__init__(tmp, options, number=2)
        self.trace, self.strace = tmp / "connects", None
        if shutil.which("strace"):
            self.strace = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=connect", "-o", str(self.trace),
                                            "-p", str(self.pid)], stderr=subprocess.DEVNULL)
            wait_until(lambda: self.strace.poll() is not None or self.is_traced(), "strace to attach")
        self.check_watch()

    def check_watch(self):
        """A dial is seen at once, or this watch is worth nothing."""
        with socket.create_server(("127.0.0.1", 0)) as door, self.client() as client:
            client.request("GET", "http://127.0.0.1:%d/" % door.getsockname()[1])
            door.accept()[0].close()
            client.response()
            assert not self.strace or len(self.dials()) == 1, self.dials()

    def is_traced(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return not re.search(r"^TracerPid:\s*0$", status, re.MULTILINE)

    def dials(self):
        """The connects to internet addresses so far, but for those to name servers."""
        if not self.trace.exists():
            return []
        return [line for line in self.trace.read_text("latin-1").splitlines()
                if "AF_INET" in line and "htons(53)" not in line]

    def stop(self):
        if self.strace:             # it lets go, and leaks can be looked for
            self.strace.terminate()
            self.strace.wait(PATIENCE)
        super().stop()


def cuts_of(row, raw, macros):
    """whole, octet by octet, split at each of the first 200 offsets; huge rows,
    which repeat themselves, at some of them. Our own rows are split where it can
    matter: not within the lines that they share with the given ones, and not
    between a letter and a letter. cuts=whole is for those about what comes in
    one piece."""
    if row.option("cuts") == "whole" or not raw:
        return ["whole"]
    step = 1 if len(raw) <= 65536 else 16
    offsets = range(1, min(len(raw), FIRST_OFFSETS + 1), step)
    if not row.given:
        offsets = [k for k in offsets if k >= row.beginning(raw, macros) and not raw[k - 1:k + 1].isalnum()]
    return ["whole", "octets", *offsets]


class Troupe:
    """The player of one process: its own origins, an innocent client."""

    def __init__(self, addresses, authority, dials):
        self.addresses = addresses      # of the proxies: usual, hasty, watched
        self.dials = dials
        self.origins = Origins(authority, SECURE)
        self.innocent = None

    def play(self, row, cut):
        proxy = self.addresses[2 if row.quiet else 1 if row.waits else 0]
        return Play(self.origins, proxy, VIA, row, cut).run()

    def perform(self, row):
        """(verdicts, problems) of all cuts, and the innocent exchange behind each kind."""
        sample = Play(self.origins, self.addresses[0], VIA, row, "whole")
        cuts = cuts_of(row, sample.raw, sample.macros)
        verdicts, wrong, before = {}, [], len(self.dials()) if row.quiet else 0
        with ThreadPoolExecutor(WIDE if row.waits else WIDTH) as pool:
            for group in (cuts[:1], cuts[1:2], cuts[2:]):
                for cut, play in zip(group, pool.map(lambda c: self.play(row, c), group)):
                    self.judge(row, cut, play, verdicts, wrong)
                wrong += self.probe(row)
        if row.quiet:
            wrong += self.dials()[before:]
        return verdicts, wrong

    def judge(self, row, cut, play, verdicts, wrong):
        got = verdict(play)
        met = allowed(play, got)
        vague = met and met[0] in ("truncate", "incomplete")
        verdicts.setdefault(met if vague else got, []).append(cut)
        wrong += [f"{cut}: {p}" for p in problems(play)]

    def probe(self, row):
        """An exchange of another client, on a connection that outlives the rows."""
        try:
            if self.innocent is None:
                self.address = self.origins.address()
                self.origins.plays[self.address] = Innocent(self.origins)
                self.innocent = Client(self.addresses[0])
            host = f"{self.address}:{self.origins.port}"
            response = self.innocent.ask("POST", f"http://{host}/probe", body=row.id.encode())
            if response.body != b"probe " + row.id.encode():
                return [f"the innocent client got {response.body!r}"]
        except (AssertionError, OSError) as e:
            self.innocent = None
            return [f"the innocent exchange failed: {e!r}"]
        return []


class Innocent:
    """Its origin: repeats the body."""

    def __init__(self, origins):
        self.origins = origins

    def serve(self, sock):
        from kit.http1 import Malformed, Reader
        reader = Reader(sock.recv)
        sock.settimeout(None)
        try:
            while request := reader.read_request():
                body = b"probe " + request.body
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except (OSError, Malformed):
            pass
        sock.close()


def work(rows, done, *about):
    """One process: plays what it takes from the queues, in their order."""
    troupe = Troupe(*about)
    for todo in rows:
        while (row := todo.get()) is not None:
            try:
                done.put((row.id, *troupe.perform(row)))
            except Exception as e:          # the driver's own fault
                done.put((row.id, {}, [f"driver: {e!r}"]))


class Theatre:
    def __init__(self, tmp):
        ca = Authority(tmp)
        self.authority = ca.server(",".join(f"IP:{a}" for a in SECURE))
        trust = {"--upstream-ca": str(ca.cert)}
        self.proxy = Proxy(tmp, flat(OPTIONS, PORTS, trust))
        self.hasty = Proxy(tmp, flat(OPTIONS, PORTS, trust, HASTE), number=1)
        hosts = tmp / "hosts"
        hosts.write_text(HOSTS)
        self.watched = Watched(tmp, flat(OPTIONS, trust, {"--hosts-file": str(hosts)}))
        self.proxies = [self.proxy, self.hasty, self.watched]

    def perform(self, rows):
        """{id: (verdicts, problems)}. One process alone plays the rows during which
        nobody may be dialled, so that it is known which row dialled."""
        context = multiprocessing.get_context("fork")
        quiet, others, done = context.Queue(), context.Queue(), context.Queue()
        for row in sorted(rows, key=lambda r: not r.waits):
            (quiet if row.quiet else others).put(row)
        quiet.put(None)
        about = ([p.address for p in self.proxies], self.authority, self.watched.dials)
        players = []
        for queues in ([others], [quiet, others]):
            others.put(None)
            players.append(context.Process(target=work, args=(queues, done, *about), daemon=True))
            players[-1].start()
        results = {}
        for _ in rows:
            id, verdicts, wrong = done.get(timeout=300)
            results[id] = (verdicts, wrong)
        join(*players)
        return results

    def close(self):
        for proxy in self.proxies:
            proxy.stop()
