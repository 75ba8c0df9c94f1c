"""What rules answer: supply and backoff (449.md 1 and 5), and what nobody answers."""
import json
import os
import signal
import subprocess
import time

import pytest

from kit.client import chunked, wait_until
from kit.origin import challenge, response
from kit.program import BINARY

SECRET = "s3cret-canary-4711"
OK = response(200, b"done")


def rule(*lines, answer='{"echo", "supply"}', name="r"):
    body = "\n    ".join((f"answer = {answer}", *lines))
    return f'rule "{name}" {{\n    {body}\n}}\n'


def wants(name, value, asked):
    """200 to requests with exactly this field, else what `asked` is."""
    def responder(call):
        call.send(OK if call.request.all(name) == [value] else asked)
    return responder


def run(*arguments, env=None):
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(env or {})})
    done.said = done.stdout + done.stderr
    return done


# supply: where the value comes from.

@pytest.mark.parametrize("source, value, fields, body", [
    ('from = "header:X-Session-Id"', "abc 123", [("X-Session-Id", "abc 123")], b""),
    ('from = "header:x-session-ID"', "abc", [("X-Session-Id", "abc")], b""),
    ('from = "header:Set-Cookie2"', "v", [("Set-Cookie2", "v")], b""),
    ('from = "body:/missing/token"', "t 1", [], b'{"missing": {"token": "t 1"}}'),
    ('from = "body:/list/1/a~1b"', "17", [], b'{"list": [0, {"a/b": 17}]}'),
    ('from = "body:"', "all of it", [], b'"all of it"'),
    ('from = "body~name=.csrf. value=.([^\\"\']+)"', "f00", [], b"<input name='csrf' value='f00'>"),
    ('from = "body~[0-9]{4}"', "2024", [], b"it was in 2024, not 2025"),
    ('from = "cookie:SID"', "s-1", [("Set-Cookie", "a=b"), ("Set-Cookie", "SID=s-1; Path=/; HttpOnly")], b""),
    ('value = "fixed"', "fixed", [], b"whatever"),
])
def test_supply(start, origin, source, value, fields, body):
    proxy = start(config=rule(f'supply "X-Wanted" {{ {source} }}'))
    origin.on("/x", wants("X-Wanted", value, response(449, body, fields)))
    with proxy.client() as client:
        assert client.ask("POST", origin.url("/x"), body=b"b").status == 200
    first, replay = origin.requests
    assert not first.has("X-Wanted") and not replay.has("Ms-Echo-Reply")
    assert replay.body == b"b"
    line = proxy.wait_lines()[0]
    assert (line["answer"], line["replays"], line["rule"]) == ("supply", 1, "r")


def test_supply_of_a_chunked_449_on_a_closing_connection(start, origin):
    proxy = start(config=rule('supply "X-Wanted" { from = "body:/t" }'))

    def responder(call):
        if call.request.has("X-Wanted"):
            call.send(OK)
            return
        call.send(response(449, chunked(b'{"t"', b': "v', b'"}'),
                           [("Transfer-Encoding", "chunked"), ("Connection", "close")], length=False))
        call.close()
    origin.on("/x", responder)
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
    assert origin.requests[1].one("X-Wanted") == "v"


def test_supply_reads_an_early_449(start, origin):
    """The body is read though the request is not all sent."""
    proxy = start(config=rule('supply "X-Wanted" { from = "body:/t" }'))

    def responder(call):
        if call.request.has("X-Wanted"):
            call.read_body()
            call.send(OK)
        else:
            call.send(response(449, b'{"t": "v"}', [("Connection", "close")]))
            call.fin()
            call.wait_for_end()
    origin.on("/x", responder, early=True)
    with proxy.client() as client:
        client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "100000")]) + b"a" * 1000)
        wait_until(lambda: len(origin.requests) == 2, "the replay")
        client.send(b"a" * 99000)
        assert client.response().status == 200
    assert origin.requests[1].body == b"a" * 100_000


def test_supply_takes_the_place_of_the_clients_own(start, origin):
    proxy = start(config=rule('supply "X-Wanted" { from = "header:X-New" }',
                              'supply "X-Always" { value = "ours" always = yes }'))
    origin.on("/x", wants("X-Wanted", "new", response(449, b"", [("X-New", "new")])))
    fields = [("x-wanted", "old"), ("X-Between", "b"), ("X-WANTED", "older"), ("X-ALWAYS", "theirs")]
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x"), fields).status == 200
    first, replay = origin.requests
    assert first.all("X-Wanted") == ["old", "older"]
    assert replay.all("X-Wanted") == ["new"]
    assert first.all("X-Always") == replay.all("X-Always") == ["ours"]
    assert replay.one("X-Between") == "b"


def test_always_means_that_no_449_comes(start, origin):
    proxy = start(config=rule('path = "/x*"', 'supply "X-Param" { value = "p" always = yes }'))
    origin.on("/x", wants("X-Param", "p", response(449)))
    origin.on("/y", response(200))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
        assert client.ask("GET", origin.url("/y")).status == 200
    assert len(origin.requests) == 2
    assert not origin.requests[1].has("X-Param")
    assert [line["replays"] for line in proxy.wait_lines(2)] == [0, 0]


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_always_is_not_said_when_nothing_is_answered(start, origin, mode):
    proxy = start(config=rule(f"mode = {mode}", 'supply "X-Param" { value = "p" always = yes }'))
    origin.on("/x", response(200))
    with proxy.client() as client:
        client.ask("GET", origin.url("/x"))
    assert not origin.requests[0].has("X-Param")


def test_echo_and_supply_together(start, origin):
    proxy = start(config=rule('supply "X-Wanted" { from = "header:X-New" }'))
    origin.on("/both", [challenge("v", [("X-New", "n")]), OK])
    origin.on("/echo", [challenge("v"), OK])        # the echo alone is enough for this one
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/both")).status == 200
        assert client.ask("GET", origin.url("/echo")).status == 200
    both, echo = origin.to("/both")[1], origin.to("/echo")[1]
    assert (both.one("Ms-Echo-Reply"), both.one("X-Wanted")) == ("v", "n")
    assert echo.one("Ms-Echo-Reply") == "v" and not echo.has("X-Wanted")


def test_two_challenges_one_after_the_other(start, origin):
    """What the first one gave stays: cookies add up and reach the client in the end,
    the client's own fields are there again."""
    proxy = start(config=rule("max-replays = 2", 'supply "X-Wanted" { from = "header:X-New" }'))
    origin.on("/x", [challenge("one", [("Set-Cookie", "a=1; Path=/"), ("X-New", "n")]),
                     challenge("two", [("Set-Cookie", "b=2; Path=/")]), OK])
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"), [("Cookie", "c=3"), ("X-Wanted", "mine")])
    assert answer.status == 200
    assert answer.all("Set-Cookie") == ["a=1; Path=/", "b=2; Path=/"]
    assert [r.get("Cookie") for r in origin.requests] == ["c=3", "c=3; a=1", "c=3; a=1; b=2"]
    assert [r.get("X-Wanted") for r in origin.requests] == ["mine", "n", "mine"]
    assert [r.get("Ms-Echo-Reply") for r in origin.requests] == [None, "one", "two"]


def test_cookies_stay_when_the_second_challenge_sets_none(start, origin):
    proxy = start("--max-replays", "3")
    origin.on("/x", [challenge("1", [("Set-Cookie", "a=1; Path=/")]), challenge("2"),
                     challenge("3", [("Set-Cookie", "c=gone; Path=/; Max-Age=0")]), OK])
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x"), [("Cookie", "c=3")]).status == 200
    assert [r.get("Cookie") for r in origin.requests] == ["c=3", "c=3; a=1", "c=3; a=1", "a=1"]


def test_the_last_cookie_goes(start, origin):
    proxy = start("--max-replays", "2")
    origin.on("/x", [challenge("1", [("Set-Cookie", "c=gone; Path=/; Max-Age=0")]), challenge("2"), OK])
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x"), [("Cookie", "c=3")]).status == 200
    assert [r.all("Cookie") for r in origin.requests] == [["c=3"], [], []]


# supply: values are checked, and what cannot be had is not made up.

@pytest.mark.parametrize("source, fields, body", [
    ("header:X-Absent", [], b""),
    ("body:/t", [], b"no json"),
    ("body:/t", [], b'{"t": null}'),
    ("body:/t", [], b'{"t": {"deeper": 1}}'),
    ("body:/t", [], b'{"t": "a\\r\\nInjected: yes"}'),
    ("body:/t", [], b'{"t": "a\\u0000b"}'),
    ("body:/t", [], b'{"t": "' + b"x" * 8193 + b'"}'),
    ("body:/t", [], b"[" * 100_000),
    ("body~token=(.*?);", [], b"token=none"),
    ("body~(a\r?\nb)", [], b"a\nb"),
    ("body~(x+x+)+y", [], b"x" * 60_000),
    ("cookie:SID", [("Set-Cookie", "sid=1")], b""),
])
def test_no_value(start, origin, source, fields, body):
    escaped = source.replace("\r", "\\r").replace("\n", "\\n")
    proxy = start("--drain-limit", "200k", config=rule(f"supply \"X-Wanted\" {{ from = '{escaped}' }}"))
    origin.on("/x", response(449, body, fields))
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"))
        assert client.ask("GET", origin.on("/y", OK)).status == 200     # the connection goes on
    assert (answer.status, answer.body, answer.complete) == (449, body, True)
    assert "unanswered=no-value" in answer.get("Proxy-Status")
    assert len(origin.to("/x")) == 1
    line = proxy.wait_lines()[0]
    assert (line["unanswered"], line["replays"], line["why"]) == ("no-value", 0, "")


@pytest.mark.parametrize("limit, framing", [("1k", "length"), ("100k", "length"), ("100k", "chunked"), ("0", "length")])
def test_a_449_longer_than_drain_limit_is_passed_on_whole(start, origin, limit, framing):
    body = bytes(range(256)) * 2000
    proxy = start("--drain-limit", limit, config=rule('supply "X-Wanted" { from = "body:/t" }'))
    fields = [("Transfer-Encoding", "chunked")] if framing == "chunked" else []
    origin.on("/x", response(449, body if not fields else chunked(*(body[i:i + 999] for i in range(0, len(body), 999))),
                             fields, length=not fields))
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"))
        assert (answer.status, answer.complete, answer.body == body) == (449, True, True)
        assert client.ask("GET", origin.on("/y", OK)).status == 200
    assert len(origin.to("/x")) == 1
    assert proxy.wait_lines()[0]["unanswered"] == "no-value"


def test_no_value_and_on_unanswered_502(start, origin):
    proxy = start("--on-unanswered", "502", config=rule('supply "X-Wanted" { from = "body:/t" }'))
    origin.on("/x", response(449, b"{}"))
    origin.on("/long", response(449, b"x" * 200_000))
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"))
    with proxy.client() as client:
        long = client.ask("GET", origin.url("/long"))
    for one in (answer, long):
        assert one.status == 502
        assert b"no-value" in one.body
        assert "unanswered=no-value" in one.get("Proxy-Status")


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Upgrade",
                                  "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Via", "Expect",
                                  "Max-Forwards", "Trailer", "Cookie", "Ms-Echo-Reply", "no token", ""])
def test_fields_that_no_rule_may_supply(tmp_path, name):
    config = tmp_path / "c"
    config.write_text(rule(f'supply "{name}" {{ value = "x" }}'))
    done = run("-t", "-c", config)
    assert done.returncode == 78
    assert f"{config}:" in done.stderr and "supply" in done.stderr


@pytest.mark.parametrize("value", ["a\\nb", "a\\rb", " a", "a\\x01"])
def test_fixed_values_are_checked(tmp_path, value):
    config = tmp_path / "c"
    config.write_text(rule(f'supply "X-A" {{ value = "{value}" }}'))
    assert run("-t", "-c", config).returncode == 78


# supply: secrets.

def secret_config(*more):
    return rule('supply "X-Token" { from = "file:token" }', *more)


@pytest.fixture
def credentials(tmp_path):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text(SECRET + "\n")
    (tmp_path / "token").write_text("the file beside the configuration\n")
    return {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}


def test_a_secret_from_the_credentials_directory(start, origin, credentials):
    proxy = start(config=secret_config(), env=credentials)
    origin.on("/x", wants("X-Token", SECRET, response(449)))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200


def test_a_secret_beside_the_configuration(start, origin, credentials):
    proxy = start(config=secret_config())
    origin.on("/x", wants("X-Token", "the file beside the configuration", response(449)))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200


def test_hup_reads_the_secret_again(start, origin, credentials):
    proxy = start(config=secret_config(), env=credentials)
    origin.on("/x", wants("X-Token", "new-secret", response(449)))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 449
        with open(credentials["CREDENTIALS_DIRECTORY"] + "/token", "w") as out:
            out.write("new-secret")
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: client.ask("GET", origin.url("/x")).status == 200, "the new secret")


def test_a_bad_secret_does_not_replace_a_good_one(start, origin, credentials):
    proxy = start(config=secret_config(), env=credentials)
    origin.on("/x", wants("X-Token", SECRET, response(449)))
    with open(credentials["CREDENTIALS_DIRECTORY"] + "/token", "w") as out:
        out.write("two\nlines")
    proxy.signal(signal.SIGHUP)
    wait_until(lambda: "field value" in proxy.said(), "the complaint")
    assert "two" not in proxy.said().partition("field value")[2]
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200


def test_secrets_are_shown_nowhere(start, origin, credentials, tmp_path):
    config = secret_config('supply "X-Key" { from = "file:token" always = yes }',
                           'supply "X-Copy" { from = "header:X-Given" }')
    proxy = start("--log-level", "debug", config=config, env=credentials)
    origin.on("/x", [response(449, b"", [("X-Given", SECRET)]), OK])
    origin.on("/no", response(449, b"", [("X-Given", SECRET)]))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
        assert client.ask("GET", origin.url("/no")).status == 449
    assert origin.requests[1].one("X-Token") == SECRET
    proxy.wait_lines(2)
    proxy.signal(signal.SIGUSR2)
    wait_until(lambda: "/no" in proxy.said(), "the dump")
    shown = [proxy.said(), proxy.access_log.read_text("latin-1")]
    for arguments in (["-T"], ["-t"], ["match", origin.url("/x")], ["check", origin.url("/no")]):
        done = run(*arguments, "-c", proxy.config, env=credentials)
        shown.append(done.said)
        assert done.said or arguments == ["-t"]
    assert SECRET not in "\n".join(shown)
    assert "X-Token" in shown[4] and "secret" in shown[4]       # but match says that there is one


# backoff.

def cosmos(times, fields=(), body=b"busy"):
    """449 so many times, then 200; when the requests came is in .came."""
    def responder(call):
        responder.came.append(time.monotonic())
        call.send(response(449, body, fields) if len(responder.came) <= times else OK)
    responder.came = []
    return responder


BACKOFF = rule(answer='{"backoff"}')


@pytest.mark.parametrize("fields", [[], [("x-ms-substatus", "0")], [("x-ms-retry-after-ms", "0")],
                                    [("x-ms-retry-after-ms", "15"), ("Retry-After", "30")]])
def test_backoff(start, origin, fields):
    proxy = start(config=BACKOFF)
    busy = cosmos(3, fields)
    origin.on("/x", busy)
    with proxy.client() as client:
        assert client.ask("POST", origin.url("/x"), [("Authorization", "type=master&sig=x")], b"{}").status == 200
    assert len(origin.requests) == 4
    assert len({(r.head, r.body) for r in origin.requests}) == 1        # identical, octet by octet
    line = proxy.wait_lines()[0]
    assert (line["answer"], line["replays"]) == ("backoff", 3)


def test_backoff_waits_longer_each_time(start, origin):
    """Lower bounds need no luck."""
    proxy = start(config=rule("backoff-first = 40ms", "backoff-total = 10s", answer='{"backoff"}'))
    busy = cosmos(3)
    origin.on("/x", busy)
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
    pauses = [b - a for a, b in zip(busy.came, busy.came[1:])]
    assert all(p >= w for p, w in zip(pauses, (0.04, 0.08, 0.16))), pauses


def test_retry_after_ms_replaces_the_delay(start, origin):
    proxy = start(config=rule("backoff-first = 1ms", answer='{"backoff"}'))
    busy = cosmos(1, [("x-ms-retry-after-ms", "300")])
    origin.on("/x", busy)
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
    assert busy.came[1] - busy.came[0] >= 0.3


@pytest.mark.parametrize("fields, reason", [
    ([("x-ms-substatus", "5352")], "substatus"),
    ([("x-ms-substatus", "5352"), ("x-ms-retry-after-ms", "1")], "substatus"),
    ([("x-ms-retry-after-ms", "5000")], "too-late"),
    ([("x-ms-retry-after-ms", "99999999999999999999999")], "too-late"),
    ([("Retry-After", "3")], "retry-after"),
])
def test_backoff_passed_on(start, origin, fields, reason):
    proxy = start(config=BACKOFF)
    origin.on("/x", cosmos(9, fields))
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"))
    assert (answer.status, answer.body) == (449, b"busy")
    assert all(answer.one(n) == v for n, v in fields)
    assert len(origin.requests) == 1
    assert proxy.wait_lines()[0]["unanswered"] == reason


def test_backoff_is_used_up(start, origin):
    proxy = start(config=BACKOFF)
    origin.on("/x", cosmos(9))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 449
    assert len(origin.requests) == 4
    line = proxy.wait_lines()[0]
    assert (line["unanswered"], line["replays"]) == ("again", 3)


def test_noretry_is_honoured_and_forwarded(start, origin):
    proxy = start(config=BACKOFF)
    origin.on("/x", cosmos(9))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x"), [("x-ms-noretry-449", "true")]).status == 449
    assert [r.one("x-ms-noretry-449") for r in origin.requests] == ["true"]
    assert proxy.wait_lines()[0]["unanswered"] == "client-declines"


def threads_of(proxy):
    return len(os.listdir(f"/proc/{proxy.pid}/task"))


def ticks_of(proxy):
    with open(f"/proc/{proxy.pid}/stat") as stat:
        return sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))


def test_waiting_costs_no_thread_and_no_time(start, origin):
    """Many wait at once, on one worker, which meanwhile serves others."""
    proxy = start(config=rule('path = "/x*"', "backoff-first = 2s", "backoff-step-max = 2s", "backoff-jitter = 0ms",
                              "backoff-total = 10s", answer='{"backoff"}'))
    origin.on("/x", lambda call: call.send(response(449)))
    origin.on("/y", OK)
    many, threads = 30, threads_of(proxy)
    clients = [proxy.client() for _ in range(many)]
    try:
        for client in clients:
            client.request("GET", origin.url("/x"))
        wait_until(lambda: len(origin.to("/x")) == many, "all to be challenged")
        with proxy.client() as other:
            assert other.ask("GET", origin.url("/y")).status == 200
        assert threads_of(proxy) == threads
        before = ticks_of(proxy)
        time.sleep(0.5)
        assert ticks_of(proxy) - before <= 10      # of 50: it does not spin
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_waiting_ends_when_the_client_leaves(start, origin, how):
    proxy = start(config=rule("backoff-first = 10s", "backoff-step-max = 10s", "backoff-total = 60s",
                              answer='{"backoff"}'))
    origin.on("/x", cosmos(9))
    with proxy.client() as client:
        client.request("PUT", origin.url("/x"), body=b"b")
        wait_until(lambda: origin.requests, "the request")
        time.sleep(0.05)                    # so that it waits
        getattr(client, how)()
        began = time.monotonic()
        wait_until(lambda: not origin.open_connections(), "the upstream connection to be let go")
        line = proxy.wait_lines()[0]
    assert time.monotonic() - began < 5
    assert line["why"] == "client-gone"
    assert len(origin.requests) == 1


def test_retry_after_max(start, origin):
    proxy = start("--retry-after-max", "0s")
    origin.on("/x", challenge("v", [("Retry-After", "1")]))
    origin.on("/y", [challenge("v", [("Retry-After", "0")]), OK])
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 449
        assert client.ask("GET", origin.url("/y")).status == 200
    assert proxy.wait_lines()[0]["unanswered"] == "retry-after"


def test_the_origin_closes_while_we_wait(start, origin):
    """Then the replay takes another connection."""
    def responder(call):
        responder.n += 1
        call.send(OK if responder.n == 2 else challenge("v", [("Retry-After", "1")]))
        if responder.n == 1:
            call.close()
    responder.n = 0
    origin.on("/x", responder)
    with start().client() as client:
        assert client.ask("POST", origin.url("/x"), body=b"b").status == 200
    assert [len(c.requests) for c in origin.connections] == [1, 1]


# What nobody answers.

WBXML = bytes([0x03, 0x01, 0x6A, 0x00, 0x00, 0x07, 0x56, 0x52, 0x03]) + b"1\x00\x01\x01" + bytes(range(256))


def test_activesync_look_alike(start, origin):
    """Passed on with its WBXML, whatever a rule says."""
    proxy = start(config=rule('supply "X-MS-PolicyKey" { value = "1" }', answer='{"echo", "supply", "backoff"}'))
    path = "/Microsoft-Server-ActiveSync"
    origin.on(path, response(449, WBXML, [("MS-Server-ActiveSync", "15.0"), ("Content-Type", "application/vnd.ms-sync.wbxml")],
                             reason="Retry after sending a PROVISION command"))
    body = WBXML[::-1]
    with proxy.client() as client:
        answer = client.ask("POST", origin.url(path + "?Cmd=Sync&User=u&DeviceId=d&DeviceType=t"),
                            [("MS-ASProtocolVersion", "14.1"), ("X-MS-PolicyKey", "0"),
                             ("Content-Type", "application/vnd.ms-sync.wbxml")], body)
    assert (answer.status, answer.body) == (449, WBXML)
    assert answer.reason == "Retry after sending a PROVISION command"
    assert answer.one("MS-Server-ActiveSync") == "15.0"
    assert [r.body for r in origin.requests] == [body]
    assert origin.requests[0].one("X-MS-PolicyKey") == "0"
    line = proxy.wait_lines()[0]
    assert (line["answer"], line["unanswered"]) == ("activesync", "activesync")


LOOK_ALIKES = {
    "SAS": ("/SASLogon/login", [("X-CSRF-HEADER", "X-CSRF-TOKEN"), ("X-CSRF-TOKEN", "csrf-canary"),
                                ("Set-Cookie", "JSESSIONID=s; Path=/")], b'{"message":"session"}'),
    "OWA": ("/owa/service.svc", [("X-OWA-Error", "Microsoft.Exchange.Clients.Owa2.Server.Core.OwaCanaryException"),
                                 ("Set-Cookie", "X-OWA-CANARY=canary; path=/")], b""),
    "CSRF": ("/transfer", [("X-CSRF-Token", "csrf-canary"), ("Set-Cookie", "XSRF-TOKEN=csrf-canary")],
             b'{"error":"confirm","token":"csrf-canary"}'),
    "confirm": ("/delete", [("X-Confirm", "yes")], b"Please confirm."),
    "rate limit": ("/api", [("X-RateLimit-Reset", "1")], b"slow down"),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_look_alikes_are_passed_on(proxy, client, origin, name):
    """No Ms-Echo-Request: only the user or the client may say these things."""
    path, fields, body = LOOK_ALIKES[name]
    origin.on(path, response(449, body, fields, reason="Request Token Required"))
    answer = client.ask("POST", origin.url(path), [("Cookie", "c=1")], b"amount=1000")
    assert (answer.status, answer.reason, answer.body) == (449, "Request Token Required", body)
    assert all(v in answer.all(n) for n, v in fields)
    assert len(origin.requests) == 1
    line = proxy.wait_lines()[0]
    assert (line["answer"], line["unanswered"]) == ("other", "no-header")


def test_a_rule_for_one_path_leaves_others_alone(start, origin):
    proxy = start(config=rule('path = "/api/*"', 'supply "X-CSRF-Token" { from = "header:X-CSRF-Token" }'))
    origin.on("/transfer", response(449, b"", [("X-CSRF-Token", "csrf-canary")]))
    with proxy.client() as client:
        assert client.ask("POST", origin.url("/transfer"), body=b"x").status == 449
    assert len(origin.requests) == 1


# observe.

def wire(origin, proxy, fields):
    with proxy.client() as client:
        client.request("PUT", origin.url("/x"), fields, b"a body")
        head = client.reader.raw_head()
        return head, client.reader.exactly(5), bytes(origin.connections[-1].raw)


def test_observe_leaves_the_wire_alone(start, origin):
    """Octet for octet what `off` does; the log says what would have been done."""
    fixed = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
    origin.on("/x", challenge("v", [fixed, ("Set-Cookie", "a=b")], b"12345"))
    config = 'via = "x"\n' + rule('supply "X-Key" { value = "k" always = yes }', "learn = yes")
    off = start("--mode", "off", config=config)
    observe = start("--mode", "observe", config=config)
    fields = [("Cookie", "c=d"), ("User-Agent", "u")]
    plain, observed = wire(origin, off, fields), wire(origin, observe, fields)
    assert observed[0].replace(b"unanswered=observe", b"unanswered=off") == plain[0]
    assert observed[1:] == plain[1:]
    line = observe.wait_lines()[0]
    assert (line["answer"], line["unanswered"], line["replays"]) == ("echo", "observe", 0)


@pytest.mark.parametrize("path, answer, reason", [
    ("/echo", "echo", "observe"), ("/supply", "supply", "observe"), ("/other", "supply", "no-value"),
    ("/long", "echo", "long-header"),
])
def test_observe_says_what_would_have_been_done(start, origin, path, answer, reason):
    proxy = start("--mode", "observe", config=rule('supply "X-A" { from = "header:X-B" }'))
    origin.on("/echo", challenge("v"))
    origin.on("/supply", response(449, b"", [("X-B", "v")]))
    origin.on("/other", response(449))
    origin.on("/long", challenge("x" * 9000))
    with proxy.client() as client:
        assert client.ask("GET", origin.url(path)).status == 449
    assert len(origin.requests) == 1
    line = proxy.wait_lines()[0]
    assert (line["answer"], line["unanswered"]) == (answer, reason)


@pytest.mark.not_by("inside", "listener", why="no client takes part")
# check and match: words for an administrator.

def test_check_says_what_to_do_next(origin):
    origin.on("/ok", [challenge("v"), OK])
    origin.on("/none", response(449, b"", [("X-Ask", "a")]))
    origin.on("/again", challenge("v"))
    ok, none, again = (run("check", origin.url(p)) for p in ("/ok", "/none", "/again"))
    assert (ok.returncode, none.returncode, again.returncode) == (0, 10, 11)
    assert "Ms-Echo-Reply" in ok.stdout and "next" not in ok.stdout
    assert "X-Ask" in none.stdout and "no-header" in none.stdout and "supply rule" in none.stdout
    assert "Look at the server" in again.stdout


@pytest.mark.not_by("inside", "listener", why="no client takes part")
def test_check_and_on_unanswered_502(origin):
    origin.on("/none", response(449))
    origin.on("/again", challenge("v"))
    assert run("check", "--on-unanswered", "502", origin.url("/none")).returncode == 10
    assert run("check", "--on-unanswered", "502", origin.url("/again")).returncode == 11


@pytest.mark.not_by("inside", "listener", why="no client takes part")
def test_check_by_rule(origin, tmp_path):
    config = tmp_path / "c"
    config.write_text(rule('supply "X-A" { from = "header:X-B" }', name="orders"))
    origin.on("/x", [response(449, b"", [("X-B", "canary-value")]), OK])
    done = run("check", "-c", config, origin.url("/x"))
    assert done.returncode == 0
    assert '"orders"' in done.stdout and "X-A" in done.stdout and "canary" not in done.said


def test_match_tells_the_rule(tmp_path):
    config = tmp_path / "c"
    config.write_text(rule('host = "orders.corp.example"', 'path = "/api/*"', 'supply "X-A" { from = "header:X-B" }',
                           name="orders") + rule('user-agent = "*MSIE*"', answer="{}", name="old"))
    done = run("match", "http://orders.corp.example/api/x", "-c", config)
    assert done.returncode == 0
    assert '"orders", line 1' in done.stdout and "X-A" in done.stdout
    assert '"old" does not match: its user-agent is another' in done.stdout
    other = run("match", "http://other.example/", "-c", config, "--user-agent", "MSIE 6")
    assert '"old"' in other.stdout and "nothing" in other.stdout
