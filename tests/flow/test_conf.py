"""What conf/ has for containers: valid, of one piece, and of options, commands and
ports that there are."""
import json
import re
import shutil
import socket
import subprocess

import pytest

from kit.program import BINARY, TOP, Program, Proxy

yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")

CONF = TOP / "conf"
MANIFESTS = ("kubernetes/sidecar.yaml", "kubernetes/transparent.yaml")
OCTETS = {"K": 1 << 10, "M": 1 << 20, "Mi": 1 << 20}


class Plain(Program):
    """With nothing said but where its configuration is."""
    listening = Proxy.listening


class Manifest:
    """The ConfigMap and the Deployment of a file."""

    def __init__(self, name):
        documents = {d["kind"]: d for d in yaml.safe_load_all((CONF / name).read_text())}
        assert set(documents) == {"ConfigMap", "Deployment"}
        self.files = documents["ConfigMap"]["data"]
        self.pod = documents["Deployment"]["spec"]["template"]["spec"]
        self.inits = {c["name"]: c for c in self.pod["initContainers"]}
        self.proxy = self.inits["retrywith"]
        self.probes = [self.proxy[p]["exec"]["command"] for p in ("startupProbe", "livenessProbe", "readinessProbe")]


class Compose:
    def __init__(self):
        self.services = yaml.safe_load((CONF / "compose/compose.yaml").read_text())["services"]
        self.proxy = self.services["retrywith"]
        self.files = {"retrywith.conf": (CONF / "compose/retrywith.conf").read_text()}
        test = self.proxy["healthcheck"]["test"]
        assert test[0] == "CMD"
        self.probes = [test[1:]]


@pytest.fixture(params=[*MANIFESTS, "compose"])
def setting(request):
    return Compose() if request.param == "compose" else Manifest(request.param)


@pytest.fixture(params=MANIFESTS)
def manifest(request):
    return Manifest(request.param)


def value(text, option):
    return re.search(rf"^{option} = (.*)$", text, re.MULTILINE)[1].strip('"')


def amount(text):
    number, unit = re.fullmatch(r"(\d+)(\D*)", text).groups()
    return int(number) * OCTETS[unit]


def free_port(host):
    """Of one family; taken by nobody now."""
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def test_it_runs_and_the_probes_answer(setting, tmp_path):
    """The configuration as it is, but for ports and the spool, and each probe."""
    text = setting.files["retrywith.conf"]
    admin, own = value(text, "admin"), f"127.0.0.1:{free_port('127.0.0.1')}"
    text = text.replace("3128", "0").replace(admin, own).replace('"/spool"', f'"{tmp_path}"')
    many = value(text, "listen").count(":0")
    file = tmp_path / "retrywith.conf"
    file.write_text(text)
    proxy = Plain(tmp_path, ["-c", str(file)], "proxy")
    try:
        proxy.wait_for_addresses(many if socket.has_ipv6 else 1)
        for command in setting.probes:
            assert command[0] == "/usr/bin/retrywith" and admin in command, command
            words = [own if word == admin else word for word in command[1:]]
            done = subprocess.run([BINARY, *words], capture_output=True, text=True)
            assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    finally:
        proxy.stop()


def test_the_proxy_is_for_its_own_application_only(setting):
    text = setting.files["retrywith.conf"]
    for address in [*re.findall(r'"([^"]+:\d+)"', value(text, "listen") + '"'), value(text, "admin")]:
        assert address.startswith(("127.0.0.1:", "[::1]:")), address


def test_sidecar_of_a_pod(manifest):
    proxy, pod, text = manifest.proxy, manifest.pod, manifest.files["retrywith.conf"]
    assert proxy["restartPolicy"] == "Always"
    security = proxy["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["runAsNonRoot"]
    assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["fsGroup"] == security["runAsUser"] == 65532
    volumes = {v["name"]: v for v in pod["volumes"]}
    mounts = {m["mountPath"]: volumes[m["name"]] for m in proxy["volumeMounts"]}
    spool = mounts[value(text, "spool-dir")]["emptyDir"]
    assert amount(spool["sizeLimit"]) > amount(value(text, "spool-total"))
    memory = re.match(r"\S+", value(text, "memory-total"))[0]
    assert amount(memory) <= amount(proxy["resources"]["limits"]["memory"]) * 3 / 4, "it would be killed, not refuse"
    assert mounts["/etc/retrywith"]["configMap"] == {"name": "retrywith"}
    assert proxy["args"] == ["-c", "/etc/retrywith/retrywith.conf"]
    assert pod["terminationGracePeriodSeconds"] > int(value(text, "drain-timeout").rstrip("s"))


def test_the_application_is_told_of_the_proxy():
    variables = {v["name"]: v["value"] for c in Manifest(MANIFESTS[0]).pod["containers"] for v in c["env"]}
    text = Manifest(MANIFESTS[0]).files["retrywith.conf"]
    assert variables["http_proxy"].removeprefix("http://") in value(text, "listen")
    assert variables["no_proxy"] == variables["NO_PROXY"] and "127.0.0.1" in variables["no_proxy"]
    compose = Compose()
    application = compose.services["application"]
    assert application["environment"]["http_proxy"].removeprefix("http://") in value(
        compose.files["retrywith.conf"], "listen")
    assert application["network_mode"] == "service:retrywith"
    assert compose.proxy["read_only"] and compose.proxy["user"] == "65532:65532"


def test_redirection_of_a_pod():
    """The rules are those of transparent.nft, which has a test of its own."""
    manifest = Manifest(MANIFESTS[1])
    rules = (CONF / "transparent.nft").read_text()
    port = re.search(r":(\d+)", value(manifest.files["retrywith.conf"], "listen"))[1]
    wanted = rules.replace("PROXY_USER", str(manifest.proxy["securityContext"]["runAsUser"]))
    wanted = wanted[wanted.index("table inet"):].replace("PROXY_PORT", port)
    assert manifest.files["transparent.nft"] == wanted
    redirect = manifest.inits["redirect"]
    assert list(manifest.inits) == ["redirect", "retrywith"], "the order in which they run"
    assert redirect["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert redirect["command"][-1] == "/etc/retrywith/transparent.nft"


def test_containerfile_has_what_building_needs():
    text = (CONF / "Containerfile").read_text()
    installed = set(re.search(r"--no-install-recommends \\\n(.*?)\n(?=COPY)", text, re.DOTALL)[1]
                    .replace("\\", "").split())
    lines = [line.strip().split("|") for line in (TOP / "script/lib.sh").read_text().splitlines()]
    needed = {name for fields in lines if fields[0] == "build" for name in fields[3].split()}
    needed = needed - {"@llhttp", "libsystemd-dev"} | {"node-llhttp"}
    assert needed <= installed, needed - installed
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    directory = re.search(r"^ENV TMPDIR=(/\S+)$", text, re.MULTILINE)[1]
    assert f"mkdir -m 1777 /image{directory}" in text, "bodies wait where there is a directory"
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[1])
    assert entry == [Manifest(MANIFESTS[0]).probes[0][0]]


def test_kubectl_reads_them(tmp_path):
    """Its own reader of YAML and patches; what a cluster makes of it is not seen here."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    for name in MANIFESTS:
        shutil.copy(CONF / name, tmp_path)
    names = [name.rpartition("/")[2] for name in MANIFESTS]
    for name in names:
        (tmp_path / "kustomization.yaml").write_text(json.dumps({"resources": [name]}))
        done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert list(yaml.safe_load_all(done.stdout)) == list(yaml.safe_load_all((tmp_path / name).read_text()))
