"""Transparent mode, in a network namespace of its own: an application that knows
no proxy opens a connection to its server; nftables sends it to retrywith."""
import os
import pathlib
import shutil
import subprocess
import textwrap

import pytest

from kit.program import BINARY

RULES = pathlib.Path(__file__).resolve().parents[2] / "conf/transparent.nft"

# Runs inside the namespace. The proxy has a user of its own, so that its own
# connections are not redirected again.
SCRIPT = textwrap.dedent("""
    set -eu
    ip link set lo up
    ip addr add 198.51.100.7/32 dev lo
    sed 's/PROXY_USER/65534/; s/PROXY_PORT/3128/' "$RULES" | nft -f -
    "$BINARY" demo-origin --listen 198.51.100.7:80 >"$DIR/demo" 2>&1 & demo=$!
    "$BINARY" --listen 127.0.0.1:3128 --transparent --allow 198.51.100.7,127.0.0.1 --allow-to 198.51.100.0/24 --workers 1 \\
        --user nobody --access-log off --spool-dir /tmp >"$DIR/proxy" 2>&1 & proxy=$!
    for i in $(seq 100); do
        grep -q listening "$DIR/proxy" && grep -q listening "$DIR/demo" && break
        sleep 0.1
    done
    curl -q -s -m 20 -o "$DIR/body" -w '%{http_code} ' http://198.51.100.7/echo
    curl -q -s -m 20 -o /dev/null -w '%{http_code} ' -H 'Host: named.example' -T "$BINARY" \\
        http://198.51.100.7/echo
    kill $proxy; wait $proxy || true
    nft flush ruleset
    curl -q -s -m 20 -o /dev/null -w '%{http_code}' http://198.51.100.7/echo
    kill $demo
""")


def test_an_application_without_any_setting_gets_its_answer(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    for tool in ("unshare", "ip", "nft", "curl"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    os.chmod(tmp_path, 0o755)
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", SCRIPT], capture_output=True, text=True, timeout=120,
        env={**os.environ, "DIR": str(tmp_path), "BINARY": BINARY, "RULES": str(RULES)})
    if "Operation not permitted" in done.stderr or "unshare failed" in done.stderr:
        pytest.skip("this system lends no network namespace")
    said = done.stderr + (tmp_path / "proxy").read_text()
    assert done.stdout == "200 200 449", (done.stdout, said)
    assert '"echo_reply": true' in (tmp_path / "body").read_text()
