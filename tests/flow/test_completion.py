"""Shell completion: the committed scripts are what the program prints, and the
shells make of them what a person expects."""
import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from kit.program import BINARY, TOP

COMMITTED = {"bash": TOP / "conf/completion/retrywith.bash",
             "zsh": TOP / "conf/completion/_retrywith"}


def need(shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")


@pytest.mark.parametrize("shell", COMMITTED)
def test_committed_is_printed(shell):
    printed = subprocess.run([BINARY, "--completion", shell], capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == COMMITTED[shell].read_text(), \
        f"write it anew: retrywith --completion {shell} > {COMMITTED[shell]}"


@pytest.mark.parametrize("words", [(), ("fish",)])
def test_other_shells(words):
    done = subprocess.run([BINARY, "--completion", *words], capture_output=True, text=True)
    assert done.returncode == 64 and "bash or zsh" in done.stderr


def bash(*words):
    """What bash offers for the last of these words."""
    need("bash")
    script = ('. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }\n'
              '_retrywith; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-c", script, str(COMMITTED["bash"]), "retrywith",
                           *words], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.split()


@pytest.mark.parametrize("words, offered", [
    (("d",), ["demo-origin"]),
    (("--mod",), ["--mode"]),
    (("--mode", ""), ["answer", "observe", "off"]),
    (("--mode", "=", "o"), ["observe", "off"]),
    (("--mode", "="), ["answer", "observe", "off"]),
    (("--body-limit", ""), []),
    (("--no-forw",), ["--no-forward"]),
    (("ca", "i"), ["init"]),
    (("ca", "--per"), ["--permit"]),
    (("--mode", "off", "r"), ["run"]),
    (("--completion", ""), ["bash", "zsh"]),
    (("-c", str(TOP / "LICEN")), [str(TOP / "LICENSE")]),
    (("--ca-cert", "=", str(TOP / "LICEN")), [str(TOP / "LICENSE")]),
])
def test_bash_offers(words, offered):
    assert bash(*words) == offered


def test_bash_offers_every_option():
    sample = subprocess.run([BINARY, "--sample"], capture_output=True, text=True).stdout
    names = {"--" + line[1:].split(" =")[0] for line in sample.splitlines()
             if line.startswith("#") and not line.startswith("# ") and " = " in line}
    assert len(names) > 50 and names <= set(bash("--")), names - set(bash("--"))


class Zsh:
    """An interactive zsh on a terminal of its own, with our script in its path."""

    def __init__(self, home):
        need("zsh")
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.environ.update(HOME=str(home), ZDOTDIR=str(home), TERM="dumb", PS1="", COLUMNS="200")
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.ask(f"fpath=({COMMITTED['zsh'].parent} $fpath); autoload -Uz compinit; "
                 f"compinit -u -d {home}/dump; unsetopt beep; bindkey '^I' complete-word\n"
                 "print rea''dy\n", "ready")

    def ask(self, keys, part, seconds=120):
        """Everything shown until part is."""
        os.write(self.terminal, keys.encode())
        shown, end = "", time.monotonic() + seconds
        while part not in shown and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.2)[0]:
                shown += os.read(self.terminal, 65536).decode("utf-8", "replace")
        assert part in shown, shown
        return shown

    def close(self):
        os.close(self.terminal)
        os.waitpid(self.child, 0)


@pytest.fixture(scope="module")
def zsh(tmp_path_factory):
    zsh = Zsh(tmp_path_factory.mktemp("zsh"))
    yield zsh
    zsh.close()


@pytest.mark.parametrize("typed, shown", [
    ("retrywith de\t", "demo-origin"),
    ("retrywith --mode=obs\t", "observe"),
    ("retrywith --mode o\t\t", "observe"),
    ("retrywith --on-u\t", "--on-unanswered="),
    ("retrywith --no-forw\t", "--no-forward"),
    ("retrywith ca ini\t", "init"),
    ("retrywith check --meth\t", "--method"),
    (f"retrywith -c {TOP}/LICEN\t", "LICENSE"),
])
def test_zsh_offers(zsh, typed, shown):
    forget_the_line = "\x15"
    zsh.ask(forget_the_line + typed, shown)
