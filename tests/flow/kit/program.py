"""The real binary, as a child of the test: started on free ports, stopped by
its own process id, looked after for the reports of sanitizers."""
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from kit.client import Client, PATIENCE, wait_until

TOP = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("RETRYWITH") or str(TOP / "build" / "retrywith")
REPORTS = re.compile(r"ERROR: (Address|Leak|Thread|Memory)Sanitizer|WARNING: ThreadSanitizer|runtime error:"
                     r"|assertion .* failed", re.IGNORECASE)


class Program:
    """A child that tells on stdout or stderr where it listens."""

    listening = None                # a pattern: group 1 host, group 2 port
    wrapper = ()                    # a command that becomes the program by exec

    def __init__(self, tmp, arguments, name, env=None):
        self.out, self.err = tmp / f"{name}.out", tmp / f"{name}.err"
        self.arguments = [*self.wrapper, BINARY, *arguments]
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=err, env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        return self.out.read_text("latin-1") + self.err.read_text("latin-1")

    def find_addresses(self, many):
        found = [(host.strip("[]"), int(port)) for host, port in self.listening.findall(self.said())]
        assert self.process.poll() is None, \
            f"{self.arguments} ended with {self.process.returncode}: {self.said()}"
        return found if len(found) >= many else None

    def wait_for_addresses(self, many=1):
        try:
            self.addresses = wait_until(lambda: self.find_addresses(many), "the program to listen")
        except AssertionError:
            self.kill()
            raise
        self.address = self.addresses[0]
        host, port = self.address
        self.authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.url = f"http://{self.authority}"

    def client(self, **more):
        return Client(self.address, **more)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=PATIENCE):
        """The exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds} s: {self.said()}") from None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, status=0):
        """Ends it with TERM, unless it has ended, and looks at what it left."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        got = self.wait()
        report = REPORTS.search(self.said())
        assert not report, self.said()[-8000:]
        assert got == status, f"exit status {got}: {self.said()[-2000:]}"

    def memory(self, what="VmRSS"):
        """In octets; VmHWM is the most there ever was."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{what}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def memory_allowance(self, octets):
        """A bound on memory; sanitizers keep what was freed, so theirs is wider."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return octets * 16 if re.search(r"lib(asan|tsan|msan)", maps) else octets


class Proxy(Program):
    listening = re.compile(r"^retrywith: listening on (\S+):(\d+)\s*$", re.MULTILINE)

    def __init__(self, tmp, options=(), config=None, env=None, listen=("127.0.0.1:0",), number=0):
        self.access_log = tmp / f"access-{number}.log"
        arguments = ["run"]
        if config is not None:
            self.config = tmp / f"retrywith-{number}.conf"
            self.config.write_text(config)
            arguments += ["-c", str(self.config)]
        options = list(options)
        for name, value in (("--workers", "1"), ("--drain-timeout", "1s"), ("--access-log", str(self.access_log)),
                            ("--log-format", "json"), ("--spool-dir", str(tmp))):
            if name not in options and (config is None or name[2:] + " =" not in config):
                options += [name, value]
        for address in listen:
            options += ["--listen", address]
        super().__init__(tmp, arguments + options, f"proxy-{number}", env)
        self.wait_for_addresses(len(listen))

    def lines(self):
        """The access log as far as written: dictionaries."""
        if not self.access_log.exists():
            return []
        return [json.loads(line) for line in self.access_log.read_text("latin-1").splitlines() if line]

    def wait_lines(self, many=1):
        return wait_until(lambda: len(self.lines()) >= many and self.lines(),
                          f"{many} lines in the access log")


class Demo(Program):
    listening = re.compile(r"^demo-origin: listening on http://(\S+):(\d+)\s*$", re.MULTILINE)

    def __init__(self, tmp, options=("--listen", "127.0.0.1:0")):
        super().__init__(tmp, ["demo-origin", *options], "demo")
        self.wait_for_addresses()
