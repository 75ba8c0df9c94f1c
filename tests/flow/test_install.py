"""`meson install` with DESTDIR, of the build that the tests run: all that a person or
a packager expects, with the paths of this installation in it."""
import os
import pathlib
import shutil
import subprocess

import pytest

from kit.program import BINARY

BUILD = pathlib.Path(BINARY).resolve().parent
FILES = (
    "bin/retrywith", "etc/retrywith/retrywith.conf", "share/man/man8/retrywith.8", "share/man/man5/retrywith.conf.5",
    "share/bash-completion/completions/retrywith", "share/zsh/site-functions/_retrywith",
    "share/retrywith/grafana/retrywith.json", "share/retrywith/prometheus/retrywith.rules.yml",
)
UNITS = ("retrywith.service", "retrywith.socket", "retrywith-admin.socket", "retrywith@.service", "retrywith@.socket")


def install(to):
    done = subprocess.run(["meson", "install", "--no-rebuild", "--quiet", "-C", str(BUILD)], capture_output=True,
                          text=True, env={**os.environ, "DESTDIR": str(to)})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Below DESTDIR; what the build was set up with, /usr/local where it was not."""
    if not (BUILD / "build.ninja").exists() or not shutil.which("meson"):
        pytest.skip("the program is not in a build directory, or there is no meson")
    to = tmp_path_factory.mktemp("dest")
    install(to)
    program, = to.rglob("bin/retrywith")
    return to, program.parents[1]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_there(prefix, name):
    assert (prefix[1] / name).is_file()


def test_secrets_are_for_root(prefix):
    assert (prefix[1] / "etc/retrywith/secrets").stat().st_mode & 0o777 == 0o700


def test_the_installed_program_runs(prefix):
    done = subprocess.run([prefix[1] / "bin/retrywith", "-c", prefix[1] / "etc/retrywith/retrywith.conf", "-t"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_units_name_what_was_installed(prefix):
    to, below = prefix
    found = {p.name: p.read_text() for p in to.rglob("systemd/system/*")}
    if b"libsystemd" not in pathlib.Path(BINARY).read_bytes():
        assert not found
        pytest.skip("this build has no libsystemd")
    assert set(found) == set(UNITS)
    for name in ("retrywith.service", "retrywith@.service"):
        paths = [word for line in found[name].splitlines() if line.startswith(("Exec", "LoadCredential"))
                 for word in line.replace("secrets:", " ").replace("=", " ").split() if "retrywith" in word]
        assert len(paths) == 5
        for path in paths:
            assert (to / path.lstrip("/").replace("%i.conf", "retrywith.conf")).exists(), (name, path)


def test_the_administrators_configuration_stays(prefix):
    to, below = prefix
    own = below / "etc/retrywith/retrywith.conf"
    own.write_text("mode = off\n")
    install(to)
    assert own.read_text() == "mode = off\n"
