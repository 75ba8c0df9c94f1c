"""The flight recorder, and the words: one closed list of families and reasons,
everywhere the same, and no secret anywhere."""
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from kit.client import wait_until
from kit.login import Windows, log_in, token
from kit.origin import challenge, response
from kit.program import BINARY, TOP

OK = response(200, b"done")
HEADER = (TOP / "include/policy/challenge.h").read_text()
CANARY = "canary-7c1e"


def dump(proxy, needle):
    """USR2 until the dump has it: the part of the error log behind the last start of one."""
    proxy.signal(signal.SIGUSR2)
    wait_until(lambda: needle in proxy.said(), f"{needle} in the dump")
    return proxy.said()


def admin(proxy, path):
    """What the admin listener says there."""
    url = wait_until(lambda: re.search(r"admin on (http://\S+)", proxy.said()), "the admin listener")[1]
    with urllib.request.urlopen(url + path, timeout=20) as answer:
        return answer.read().decode()


def echoing(value="v"):
    return lambda call: call.send(OK if call.request.has("Ms-Echo-Reply") else challenge(value))


def test_heads_sizes_times(start, origin):
    proxy = start("--log-query", "yes")
    origin.on("/x", echoing())
    with proxy.client() as client:
        client.ask("PUT", origin.url("/x?q=1"), [("X-Plain", "to be read"), ("User-Agent", "u/1")], b"12345")
    proxy.wait_lines()
    said = dump(proxy, "/x?q=1")
    assert re.search(r"127\.0\.0\.1:\d+ PUT https?://127\.0\.0\.1:\d+/x\?q=1 -> 200 in \d+ ms", said)
    assert "family echo, replays 1, answered" in said
    assert "X-Plain: to be read" in said
    assert re.search(r"attempt 1: 449 after \d+ ms, head \d+, body 5 octets", said)
    assert re.search(r"attempt 2: 200 after \d+ ms, head \d+, body 5 octets, on a used connection", said)
    assert re.search(r"< Ms-Echo-Request: #[0-9a-f]{8}", said)
    assert re.search(r"> Ms-Echo-Reply: #[0-9a-f]{8}", said)


def test_equality_shows(start, origin):
    """The echoed value has the hash of the one that was asked; another has another."""
    proxy = start()
    origin.on("/a", echoing("one value"))
    origin.on("/b", echoing("another"))
    with proxy.client() as client:
        for path in ("/a", "/b", "/a"):
            client.ask("GET", origin.url(path))
    proxy.wait_lines(3)
    said = dump(proxy, "/b")
    asked = re.findall(r"< Ms-Echo-Request: (#\w+)", said)
    sent = re.findall(r"> Ms-Echo-Reply: (#\w+)", said)
    assert asked == sent and len(asked) == 3
    assert asked[0] == asked[2] != asked[1]


def test_the_last_64(start, origin):
    proxy = start()
    origin.on("/x", echoing())
    with proxy.client() as client:
        for n in range(64):
            client.ask("GET", origin.url("/x"), [("X-Number", f"n{n}.")])
        wait_until(lambda: len(proxy.lines()) == 64, "the lines")
        client.ask("GET", origin.on("/plain", OK))              # not challenged: not kept
    proxy.wait_lines(65)
    said = dump(proxy, "n63.")
    assert said.count("X-Number") == 64
    assert "/plain" not in said


def test_only_challenged_exchanges(start, origin):
    proxy = start()
    origin.on("/plain", OK)
    origin.on("/mark", response(449))
    with proxy.client() as client:
        client.ask("GET", origin.url("/plain"))
        client.ask("GET", origin.url("/mark"))
    proxy.wait_lines(2)
    said = dump(proxy, "/mark")
    assert "/plain" not in said
    assert "family other, replays 0, unanswered: no-header" in said


def test_no_secret_in_it(start, origin, tmp_path):
    """Canaries in every place that may hold a secret, looked for in all that is written."""
    (tmp_path / "token").write_text(CANARY + "-file")
    proxy = start("--log-level", "debug", "--admin", "127.0.0.1:0", config=f"""rule "r" {{
    supply "X-One" {{ from = "header:X-Given" }}
    supply "X-Two" {{ from = "body:/token" }}
    supply "X-Three" {{ from = "file:token" }}
    supply "X-Four" {{ from = "cookie:SID" }}
}}
""")
    given = [("X-Given", CANARY + "-given"), ("Set-Cookie", f"SID={CANARY}-cookie; Path=/"),
             ("Location", f"/login?token={CANARY}-location"), ("X-CSRF-Token", CANARY + "-csrf")]
    body = f'{{"token": "{CANARY}-body"}}'.encode()
    origin.on("/supply", [response(449, body, given), OK])
    origin.on("/echo", [challenge(CANARY + "-echo", given, body), OK])
    origin.on("/none", response(449, b"{}", given))
    windows = Windows(fields=[("WWW-Authenticate", "NTLM " + token("type3:proof"))])
    origin.on("/ntlm", windows)
    windows.value = lambda user: CANARY + "-windows"
    fields = [("Authorization", f"Bearer {CANARY}-bearer"), ("Cookie", f"c={CANARY}-jar"),
              ("X-Api-Key", CANARY + "-api"), ("Referer", f"http://r/?k={CANARY}-referer")]
    with proxy.client() as client:
        for path in ("/supply", "/echo", "/none"):
            client.ask("POST", origin.url(path + f"?secret={CANARY}-query"), fields, CANARY.encode())
        assert log_in(client, origin.url("/ntlm"), "somebody").status == 200
    assert origin.to("/supply")[1].one("X-Four") == CANARY + "-cookie"
    proxy.wait_lines(6)
    said = dump(proxy, "/ntlm")
    log = proxy.access_log.read_text("latin-1")
    # a Referer is what combined logs have always shown; none of the others
    pages = [admin(proxy, path) for path in ("/recorder", "/metrics", "/stats.json", "/")]
    assert "Ms-Echo-Reply" in pages[0]
    for text in (said, log, *pages):
        assert CANARY not in text
        assert token("type3:")[:8] not in text
    assert "X-Three: #" in said and "Authorization: #" in said


def test_dump_of_a_replay_that_was_lost(start, origin):
    proxy = start()
    origin.on("/x", [challenge("v"), lambda call: call.reset()])
    with proxy.client() as client:
        assert client.ask("POST", origin.url("/x"), body=b"b").status == 502
    proxy.wait_lines()
    assert "attempt 2: no answer" in dump(proxy, "/x")


# The words.

def table(name):
    """{word: text} of a table in challenge.h, as the compiler sees it."""
    body = re.search(rf"#define {name}\(row\)((?:.*\\\n)*.*\n)", HEADER)[1]
    rows = re.findall(r'row\(\w+,\s*"([^"]*)",\s*"([^"]*)"', body)
    return {word: text for word, text in rows if word}


FAMILIES, REASONS = table("FAMILY_TABLE"), table("UNANSWERED_TABLE")


def test_the_lists_are_closed():
    assert list(FAMILIES) == ["echo", "supply", "backoff", "activesync", "other"]
    assert len(REASONS) == 20
    assert all(re.match(r"[a-z0-9-]+\Z", word) for word in (*FAMILIES, *REASONS))


def roff(path):
    text = Path(path).read_text()
    text = re.sub(r"\\f[BIRP]|\\&", "", text)
    return re.sub(r"\\-", "-", text)


def tagged(section):
    """{tag: paragraph} of the .TP items of a section of retrywith(8)."""
    text = roff(TOP / "docs/man/retrywith.8")
    body = re.search(rf'^\.S[HS] "?{section}"?\n(.*?)(?=^\.S[HS]|\Z)', text, re.M | re.S)
    assert body, f"no section {section}"
    items = re.findall(r"^\.TP\n\.B (\S+)\n(.*?)(?=^\.TP|^\.PP|\Z)", body[1], re.M | re.S)
    return {tag: " ".join(text.split()) for tag, text in items}


def test_the_manual_has_the_same_words():
    assert list(tagged("Families")) == list(FAMILIES)
    assert list(tagged("Reasons")) == list(REASONS)


def plain(text):
    return re.sub(r"\s+", " ", text.replace("`", ""))


def test_the_manual_says_the_same():
    for word, text in tagged("Families").items():
        assert text.startswith(plain(FAMILIES[word]) + "."), word
    for word, text in tagged("Reasons").items():
        assert text.lower().startswith(plain(REASONS[word]).lower() + "."), word
        assert plain(next_of(word)) in text, word


def next_of(word):
    """The sentence of challenge.h on what to do."""
    return re.search(rf'"{re.escape(word)}",\s*"[^"]*",\s*\\\n\s*"([^"]*)"', HEADER)[1]


SCENES = {
    # word: (options, rule, path, method, fields, body)
    "off": ({"options": ["--mode", "off"]}),
    "observe": ({"options": ["--mode", "observe"]}),
    "method": ({"method": "TRACE"}),
    "not-idempotent": ({"options": ["--replay-methods", "idempotent"], "method": "POST"}),
    "client-answers": ({"fields": [("Ms-Echo-Reply", "x")]}),
    "client-declines": ({"fields": [("x-ms-noretry-449", "1")]}),
    "again": ({}),
    "no-header": ({"asks": response(449)}),
    "long-header": ({"asks": challenge("x" * 9000)}),
    "body-too-large": ({"options": ["--body-limit", "1k", "--body-memory", "4k"], "method": "PUT", "body": b"b" * 300_000}),
    "retry-after": ({"asks": challenge("v", [("Retry-After", "60")])}),
    "activesync": ({"fields": [("X-MS-PolicyKey", "0")]}),
    "substatus": ({"rule": 'answer = {"backoff"}', "asks": response(449, b"", [("x-ms-substatus", "5352")])}),
    "too-late": ({"rule": 'answer = {"backoff"}', "asks": response(449, b"", [("x-ms-retry-after-ms", "9000")])}),
    "no-value": ({"rule": 'supply "X-A" { from = "header:X-B" }', "asks": response(449)}),
    "breaker": ({"options": ["--breaker-trips", "1"], "times": 2}),
    "not-sent": ({"gone": True}),
}
ELSEWHERE = {"bad-header", "auth-bound", "spool-failed"}    # refused before that; test_auth.py; below


def samples(text, name):
    """{label value: number} of a metric with one label; {"": number} of one with none."""
    return {label: float(n) for label, n in
            re.findall(rf'^{name}(?:_total)?(?:{{\w+="([^"]*)"}})? ([0-9.e+]+)$', text, re.M)}


def test_metrics_use_them(start, origin):
    proxy = start("--admin", "127.0.0.1:0")
    origin.on("/none", response(449))
    origin.on("/again", challenge("v"))
    origin.on("/long", challenge("x" * 9000))
    with proxy.client() as client:
        for path in ("/none", "/again", "/again", "/long"):
            assert client.ask("GET", origin.url(path)).status == 449
        client.ask("GET", origin.url("/again"), [("Ms-Echo-Reply", "mine")])
    proxy.wait_lines(5)
    text = admin(proxy, "/metrics")
    families, reasons = samples(text, "retrywith_challenges"), samples(text, "retrywith_unanswered")
    assert set(families) == set(FAMILIES) and set(reasons) == set(REASONS)
    assert (families["echo"], families["other"]) == (6, 1)
    assert {k: v for k, v in reasons.items() if v} == \
        {"no-header": 1, "again": 2, "long-header": 1, "client-answers": 1}
    # conformance of the server: no header, one that is of no use, 449 after an echo
    assert samples(text, "retrywith_challenges_bare") == {"": 1}
    assert samples(text, "retrywith_challenges_unusable") == {"": 1}
    assert samples(text, "retrywith_challenges_after_echo") == {"": 3}


def test_every_reason_has_a_scene():
    assert set(SCENES) | ELSEWHERE == set(REASONS)


def vanishing(origin):
    """449, and from then on nobody is there."""
    def vanish(call):
        origin.door.close()
        call.send(challenge("v", [("Connection", "close")], b"as it came"))
        call.close()
    return vanish


@pytest.mark.parametrize("word", SCENES)
def test_log_and_proxy_status_use_them(start, origin, word):
    scene = SCENES[word]
    config = f'rule "r" {{\n    {scene["rule"]}\n}}\n' if "rule" in scene else None
    proxy = start(*scene.get("options", ()), config=config)
    origin.on("/x", vanishing(origin) if scene.get("gone") else scene.get("asks", challenge("v")))
    with proxy.client() as client:
        for _ in range(scene.get("times", 1)):
            answer = client.ask(scene.get("method", "GET"), origin.url("/x"), scene.get("fields", ()), scene.get("body"))
    assert answer.status == 449
    assert answer.one("Proxy-Status") == f'retrywith; received-status=449; details="unanswered={word}"'
    line = proxy.wait_lines(scene.get("times", 1))[-1]
    assert (line["status"], line["unanswered"]) == (449, word)
    assert line["answer"] in FAMILIES
    assert f"unanswered: {word}" in dump(proxy, word)
    if scene.get("gone"):
        assert answer.body == b"as it came"


def test_spool_failed(start, origin):
    """Another upload has taken all that spool-total allows."""
    proxy = start("--body-memory", "4k", "--body-limit", "600k", "--spool-total", "600k")
    origin.on("/x", challenge("v"))
    with proxy.client() as first, proxy.client() as second:
        first.send(first.head("PUT", origin.url("/x"), [("Content-Length", "600000")]) + b"a" * 500_000)
        wait_until(lambda: sum(len(c.raw) for c in origin.connections) > 500_000, "the first upload")
        answer = second.ask("PUT", origin.url("/x"), body=b"b" * 300_000)
    assert answer.status == 449
    assert "unanswered=spool-failed" in answer.one("Proxy-Status")
    assert len([r for r in origin.to("/x") if r.body[:1] == b"b"]) == 1
    line = next(line for line in proxy.wait_lines() if line["bytes_in"] == 300_000)
    assert line["unanswered"] == "spool-failed"


@pytest.mark.not_by("inside", "listener", why="no client takes part")
@pytest.mark.parametrize("word", ["off", "observe", "again", "no-header", "long-header", "retry-after", "activesync",
                                  "substatus", "too-late", "no-value", "not-idempotent", "client-declines"])
def test_check_uses_them(origin, tmp_path, word):
    scene = SCENES[word]
    config = tmp_path / "c"
    config.write_text(f'rule "r" {{\n    {scene["rule"]}\n}}\n' if "rule" in scene else "")
    origin.on("/x", scene.get("asks", challenge("v")))
    arguments = ["-c", config, *scene.get("options", ()), "check", "--method", scene.get("method", "GET")]
    for name, value in scene.get("fields", ()):
        arguments += ["--header", f"{name}: {value}"]
    done = subprocess.run([BINARY, *map(str, arguments), origin.url("/x")], capture_output=True, text=True, timeout=60)
    assert done.returncode == (11 if word == "again" else 10), done.stderr
    said = plain(done.stdout)
    assert f" unanswered {word}: {plain(REASONS[word])}" in said
    assert f" next {plain(next_of(word))}" in said
    family = re.search(r" challenge (\S+): (.*?)(?: asked by| answered| unanswered)", said)
    assert FAMILIES[family[1]] == family[2]
