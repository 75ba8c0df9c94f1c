"""The service in a real systemd: a system is made with debootstrap, the package
is installed in it, it is booted with systemd-nspawn in a network of its own, and
guest.py drives it from inside. One boot; each of its checks is a test here. Where a check fails, what
the journal said meanwhile is printed.

RETRYWITH_DEB names a package that is built already, DEBIAN_MIRROR where Debian is."""
import ast
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
SUITE = "bookworm"
INCLUDE = "systemd,systemd-sysv,dbus,curl,openssl,python3,procps,logrotate"
BOOT_SECONDS = 600
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"


def checks():
    """The names in guest.py's list, without running it."""
    tree = ast.parse((HERE / "guest.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "CHECKS":
            return [n.id for n in node.value.elts]
    raise AssertionError("guest.py has no CHECKS")


def call(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def need():
    if os.geteuid() != 0:
        pytest.skip("making and booting a system needs root")
    for tool in ("debootstrap", "systemd-nspawn", "dpkg-buildpackage", "dh"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    need()
    given = os.environ.get("RETRYWITH_DEB")
    if given:
        return pathlib.Path(given)
    out = tmp_path_factory.mktemp("package")
    call(str(TOP / "script/package"), str(out), cwd=TOP)
    return next(p for p in out.glob("retrywith_*.deb"))


def nspawn(root, *more, **options):
    """Runs in the system at root, in a network of its own: a command, or all of it.
    The name keeps two runs at once apart; Landlock is not lent unless asked for."""
    return subprocess.run(
        ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit",
         f"--machine=retrywith-{os.getpid()}", "--private-network",
         "--system-call-filter=" + LANDLOCK, *more],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", **options)


@pytest.fixture(scope="session")
def system(package, tmp_path_factory):
    """A root directory with the package installed."""
    root = tmp_path_factory.mktemp("system") / "root"
    depends = call("dpkg-deb", "-f", str(package), "Depends")
    names = [re.split(r"[ (|]", d.strip())[0] for d in depends.split(",")]
    mirror = os.environ.get("DEBIAN_MIRROR")
    fast = root / "etc/dpkg/dpkg.cfg.d/fast"
    fast.parent.mkdir(parents=True)
    fast.write_text("force-unsafe-io\n")        # nobody wants it back after a crash
    call("debootstrap", "--variant=minbase",
         "--include=" + ",".join([INCLUDE, *[n for n in names if n != "libc6"]]),
         SUITE, str(root), *([mirror] if mirror else []))
    shutil.copy(package, root / "root/retrywith.deb")
    done = nspawn(root, "--pipe", "dpkg", "-i", "/root/retrywith.deb")
    assert done.returncode == 0, done.stdout
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def results(system):
    enabled = [p.name for p in (system / "etc/systemd/system").rglob("retrywith*")]
    assert not enabled, "the package enabled something by itself"
    shutil.copy(HERE / "guest.py", system / "root/guest.py")
    for name in ("debian/tests/answers", "docs/service.md"):
        shutil.copy(TOP / name, system / "root")
    unit = system / "etc/systemd/system/check.service"
    unit.write_text("[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\n"
                    "ExecStart=/usr/bin/python3 /root/guest.py\n"
                    "ExecStopPost=/usr/bin/systemctl --no-block poweroff\n"
                    "StandardOutput=append:/root/guest.txt\nStandardError=inherit\n"
                    "[Install]\nWantedBy=default.target\n")
    wants = system / "etc/systemd/system/default.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "check.service").symlink_to("/etc/systemd/system/check.service")
    done = nspawn(system, "--boot", timeout=BOOT_SECONDS)
    path = system / "root/result.json"
    guest = system / "root/guest.txt"
    assert path.exists(), (done.stdout[-4000:],
                           guest.read_text() if guest.exists() else "the guest did not start")
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", checks())
def test_in_the_booted_system(results, name):
    assert name in results, "the guest ended before it came to this"
    seen = results[name]
    print(f"{seen['seconds']} s: {seen['said']}")
    print("the journal:", seen.get("journal", ""))
    assert seen["ok"], seen["said"]


def test_promtool_is_content(results, system):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", "metrics"], capture_output=True, text=True,
                          input=(system / "root/metrics.txt").read_text())
    assert done.returncode == 0 and not done.stdout + done.stderr, done


def test_lintian_is_content(package):
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    done = subprocess.run(["lintian", "--fail-on", "error,warning,info", str(package)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
