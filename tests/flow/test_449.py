"""What 449 means, and how it is answered: 449.md sections 2, 3, 4 and 8, one
test for each statement. (P04, P06)"""
import hashlib
import os
import re
import threading
import time

import pytest

from kit.client import chunked, wait_for, wait_until
from kit.origin import challenge, response

pytestmark = pytest.mark.by("plain", "inside", "listener")

AWKWARD = 'realm="demo, origin";  token="a b%2Cc", caf\xe9 = 100%'
BIG = os.urandom(300_000)           # past body-memory, so in the file


def echoing(value=AWKWARD, body=b"done", expected=None, **more):
    """449 with the value until the right Ms-Echo-Reply comes, then 200."""
    wanted = value if expected is None else expected

    def responder(call):
        if call.request.all("Ms-Echo-Reply") == [wanted]:
            call.send(response(200, body, [("X-Final", "yes")]))
        else:
            call.send(challenge(value, **more))
            if more.get("version") == "HTTP/1.0" or ("Connection", "close") in more.get("fields", ()):
                call.close()
    return responder


def fields_without(request, *names):
    return [(n, v) for n, v in request.fields if n.lower() not in [x.lower() for x in names]]


def same_but_for_the_echo(first, replay):
    """Method, target, fields in their order, body, trailers: nothing differs."""
    assert (replay.method, replay.target) == (first.method, first.target)
    assert fields_without(replay, "Ms-Echo-Reply") == first.fields
    assert replay.framing == first.framing
    assert replay.trailers == first.trailers
    assert replay.body == first.body


def passed_on(start_or_proxy, origin, path, reason, method="GET", fields=(), body=None):
    """Asks, expects the 449 itself and one request only; the log names the reason."""
    proxy = start_or_proxy
    with proxy.client() as client:
        answer = client.ask(method, origin.url(path), fields, body)
    assert answer.status == 449
    assert answer.complete
    line = proxy.wait_lines()[-1]
    assert (line["status"], line["replays"]) == (449, 0)
    assert line["unanswered"] == reason
    assert f"unanswered={reason}" in answer.get("Proxy-Status")
    return answer


# 1. The echo family.

@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND",
                                    "BCOPY", "RPC_IN_DATA", "M-SEARCH"])
def test_echo_is_answered_for_any_method(client, origin, method):
    origin.on("/x", echoing())
    answer = client.ask(method, origin.url("/x"), body=b"some body")
    assert (answer.status, answer.body) == (200, b"done")
    first, replay = origin.requests
    same_but_for_the_echo(first, replay)
    assert not first.has("Ms-Echo-Reply")
    assert replay.one("Ms-Echo-Reply") == AWKWARD
    assert replay.body == b"some body"


def test_echo_of_a_get_without_body(client, origin):
    origin.on("/x", echoing())
    answer = client.ask("GET", origin.url("/x?a=b&c=%20d"), [("X-One", "1"), ("X-Two", "2"), ("X-One", "3")])
    assert (answer.status, answer.body) == (200, b"done")
    first, replay = origin.requests
    same_but_for_the_echo(first, replay)
    assert first.target == "/x?a=b&c=%20d"
    assert first.all("X-One") == ["1", "3"]


def test_echo_of_a_head(client, origin):
    def head(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\nX-Final: yes\r\n\r\n")
        else:
            call.send(b"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: v\r\nContent-Length: 555\r\n\r\n")
    origin.on("/x", head)
    answer = client.ask("HEAD", origin.url("/x"))
    assert (answer.status, answer.announced, answer.body) == (200, 999, b"")
    assert [r.method for r in origin.requests] == ["HEAD", "HEAD"]
    assert len(origin.used()) == 1         # a 449 to HEAD has no body to drain
    origin.on("/y", response(200, b"next"))
    assert client.ask("GET", origin.url("/y")).body == b"next"


@pytest.mark.parametrize("phrase", ["Retry With", "Reply With", "", "Anything At All"])
def test_reason_phrase_does_not_matter(client, origin, phrase):
    def responder(call):
        call.send(response(200, b"done") if call.request.has("Ms-Echo-Reply") else
                  response(449, b"", [("Ms-Echo-Request", "v")], reason=phrase))
    origin.on("/x", responder)
    assert client.ask("GET", origin.url("/x")).status == 200


@pytest.mark.parametrize("status", [200, 400, 401, 403, 448, 450, 503])
def test_only_449_is_a_challenge(client, origin, status):
    origin.on("/x", response(status, b"body", [("Ms-Echo-Request", "v")]))
    answer = client.ask("GET", origin.url("/x"))
    assert (answer.status, answer.body) == (status, b"body")
    assert answer.one("Ms-Echo-Request") == "v"
    assert len(origin.requests) == 1


def test_field_name_in_any_case(client, origin):
    def responder(call):
        call.send(response(200, b"done") if call.request.has("Ms-Echo-Reply") else
                  response(449, b"", [("mS-eChO-rEqUeSt", "v")]))
    origin.on("/x", responder)
    assert client.ask("GET", origin.url("/x")).status == 200


def test_unanswered_449_is_as_the_upstream_sent_it(proxy, origin):
    origin.on("/x", response(449, b"what the server wants", [("X-One", "1"), ("X-Two", "2"), ("X-One", "3")],
                             reason="Some Phrase"))
    answer = passed_on(proxy, origin, "/x", "no-header")
    assert (answer.reason, answer.body) == ("Some Phrase", b"what the server wants")
    assert answer.all("X-One") == ["1", "3"]
    assert len(origin.requests) == 1


def test_activesync_is_passed_on(proxy, origin):
    path = "/Microsoft-Server-ActiveSync"
    origin.on(path, response(449, b"provision!", [("MS-Server-ActiveSync", "15.0")]))
    answer = passed_on(proxy, origin, path, "activesync", "POST",
                       [("MS-ASProtocolVersion", "14.1"), ("X-MS-PolicyKey", "0")], b"wbxml")
    assert answer.body == b"provision!"


def test_on_unanswered_502_explains(start, origin):
    proxy = start("--on-unanswered", "502")
    origin.on("/x", response(449, b"secret"))
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"))
    assert answer.status == 502
    assert b"secret" not in answer.body
    assert b"449" in answer.body
    assert "unanswered=no-header" in answer.get("Proxy-Status") or "no-header" in answer.text


def test_on_unanswered_502_for_the_second_449(start, origin):
    proxy = start("--on-unanswered", "502")
    origin.on("/x", challenge("v"))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 502
    assert len(origin.requests) == 2


# 2. When a 449 is answered.

def test_trace_is_not_answered(proxy, origin):
    origin.on("/x", challenge("v"))
    passed_on(proxy, origin, "/x", "method", "TRACE")


def test_mode_off(start, origin):
    origin.on("/x", challenge("v", body=b"as it came"))
    answer = passed_on(start("--mode", "off"), origin, "/x", "off")
    assert answer.body == b"as it came"
    assert len(origin.requests) == 1


def test_mode_observe(start, origin):
    origin.on("/x", challenge("v", body=b"as it came"))
    answer = passed_on(start("--mode", "observe"), origin, "/x", "observe")
    assert answer.body == b"as it came"
    assert len(origin.requests) == 1


@pytest.mark.parametrize("what", ['host = "127.0.0.1"', 'path = "/x*"', 'method = {"GET"}', 'user-agent = "*MSIE*"'])
def test_a_rule_turns_answering_off(start, origin, what):
    proxy = start(config=f'rule "quiet" {{\n    {what}\n    answer = {{}}\n}}\n')
    origin.on("/x", challenge("v"))
    passed_on(proxy, origin, "/x", "off", fields=[("User-Agent", "Mozilla/4.0 (compatible; MSIE 6.0)")])


@pytest.mark.parametrize("what", ['host = "other.example"', 'path = "/y*"', 'method = {"PUT"}',
                                  'user-agent = "*MSIE*"'])
def test_a_rule_for_others_leaves_answering_on(start, origin, what):
    proxy = start(config=f'rule "quiet" {{\n    {what}\n    answer = {{}}\n}}\n')
    origin.on("/x", echoing())
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x"), [("User-Agent", "curl/8")]).status == 200


def test_client_that_answers_for_itself(proxy, origin):
    origin.on("/x", challenge("v"))
    passed_on(proxy, origin, "/x", "client-answers", fields=[("Ms-Echo-Reply", "mine")])
    assert origin.requests[0].one("Ms-Echo-Reply") == "mine"
    assert len(origin.requests) == 1


@pytest.mark.parametrize("value", ["true", "1", "yes", ""])
def test_client_that_declines(proxy, origin, value):
    origin.on("/x", challenge("v"))
    passed_on(proxy, origin, "/x", "client-declines", fields=[("x-ms-noretry-449", value)])
    assert origin.requests[0].one("x-ms-noretry-449") == value
    assert len(origin.requests) == 1


@pytest.mark.parametrize("value", ["false", "False"])
def test_noretry_false_declines_nothing(client, origin, value):
    origin.on("/x", echoing())
    assert client.ask("GET", origin.url("/x"), [("x-ms-noretry-449", value)]).status == 200


def test_a_second_449_goes_to_the_client(proxy, origin):
    origin.on("/x", [challenge("first", body=b"1"), challenge("second", body=b"2")])
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"))
    assert (answer.status, answer.body) == (449, b"2")
    assert answer.one("Ms-Echo-Request") == "second"
    assert len(origin.requests) == 2
    line = proxy.wait_lines()[-1]
    assert (line["status"], line["replays"], line["unanswered"]) == (449, 1, "again")


def test_max_replays_two(start, origin):
    origin.on("/x", [challenge("first"), challenge("second"), response(200, b"done")])
    with start("--max-replays", "2").client() as client:
        assert client.ask("PUT", origin.url("/x"), body=b"twice").status == 200
    assert [r.get("Ms-Echo-Reply") for r in origin.requests] == [None, "first", "second"]
    assert {r.body for r in origin.requests} == {b"twice"}


def test_max_replays_two_is_two(start, origin):
    origin.on("/x", challenge("v"))
    with start("--max-replays", "2").client() as client:
        assert client.ask("GET", origin.url("/x")).status == 449
    assert len(origin.requests) == 3


def test_header_in_a_trailer_is_none(proxy, origin):
    origin.on("/x", response(449, chunked(b"abc", trailers=[("Ms-Echo-Request", "v")]),
                             [("Transfer-Encoding", "chunked")], length=False))
    answer = passed_on(proxy, origin, "/x", "no-header")
    assert answer.body == b"abc"


def test_several_lines_are_joined(client, origin):
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(response(200, b"done"))
        else:
            call.send(response(449, b"", [("Ms-Echo-Request", 'first;v="1, 2"'), ("X-Between", "b"),
                                          ("Ms-Echo-Request", "second")]))
    origin.on("/x", responder)
    assert client.ask("GET", origin.url("/x")).status == 200
    assert origin.requests[1].all("Ms-Echo-Reply") == ['first;v="1, 2", second']


def test_empty_is_sent_as_empty(client, origin):
    origin.on("/x", echoing(""))
    assert client.ask("POST", origin.url("/x"), body=b"b").status == 200
    assert origin.requests[1].all("Ms-Echo-Reply") == [""]


@pytest.mark.parametrize("value", [
    AWKWARD, '"quoted"', "Case Is Kept", "a  b   c", "a\tb", "%0d%0a", "\\", "'", ";;,,", "\x80\xff\xe9", "x" * 8192,
])
def test_value_is_copied_octet_by_octet(client, origin, value):
    origin.on("/x", echoing(value))
    assert client.ask("GET", origin.url("/x")).status == 200
    assert f"Ms-Echo-Reply: {value}\r\n".encode("latin-1") in origin.requests[1].head


def test_blanks_at_the_ends_are_trimmed(client, origin):
    origin.on("/x", echoing(" \t  v v \t ", expected="v v"))
    assert client.ask("GET", origin.url("/x")).status == 200
    assert b"Ms-Echo-Reply: v v\r\n" in origin.requests[1].head


@pytest.mark.parametrize("octet", ["\x01", "\x0b", "\x1f", "\x7f"])
def test_a_control_octet_is_not_echoed(proxy, origin, octet):
    """Passed on or refused, but never sent back."""
    origin.on("/x", challenge(f"a{octet}b"))
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        head = client.reader.raw_head()
    assert head[9:12] in (b"449", b"502")
    assert len(origin.requests) == 1
    line = proxy.wait_lines()[-1]
    assert line["status"] == 502 or line["unanswered"] == "bad-header"


@pytest.mark.parametrize("octet", ["\x00", "\r"])
def test_nul_and_bare_cr_are_refused(proxy, origin, octet):
    origin.on("/x", challenge(f"a{octet}b"))
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        head = client.reader.raw_head()
    assert head[9:12] == b"502"
    assert len(origin.requests) == 1


def test_longer_than_8_kib_is_not_echoed(proxy, origin):
    origin.on("/x", challenge("x" * 8193))
    passed_on(proxy, origin, "/x", "long-header")
    assert len(origin.requests) == 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_past_the_limit(start, origin, framing):
    proxy = start("--body-memory", "16k", "--body-limit", "100k")
    origin.on("/x", challenge("v", body=b"too large"))
    body = BIG if framing == "length" else [BIG[:100], BIG[100:]]
    answer = passed_on(proxy, origin, "/x", "body-too-large", "PUT", body=body)
    assert answer.body == b"too large"
    assert [r.body == BIG for r in origin.requests] == [True]     # the request went on


def test_body_within_the_limit_is_replayed(start, origin):
    proxy = start("--body-memory", "16k", "--body-limit", "300000")
    origin.on("/x", echoing())
    with proxy.client() as client:
        assert client.ask("PUT", origin.url("/x"), body=BIG).status == 200
    assert [r.body == BIG for r in origin.requests] == [True, True]


def test_short_retry_after_is_waited_for(client, origin):
    origin.on("/x", echoing(fields=[("Retry-After", "1")]))
    began = time.monotonic()
    assert client.ask("GET", origin.url("/x")).status == 200
    assert time.monotonic() - began >= 0.9      # a lower bound needs no luck


def test_retry_after_zero(client, origin):
    origin.on("/x", echoing(fields=[("Retry-After", "0")]))
    assert client.ask("GET", origin.url("/x")).status == 200


def test_long_retry_after(proxy, origin):
    origin.on("/x", challenge("v", [("Retry-After", "3")]))
    passed_on(proxy, origin, "/x", "retry-after")


# 3. The replay.

def test_replay_has_the_same_single_via_and_max_forwards(client, origin):
    origin.on("/x", echoing())
    assert client.ask("OPTIONS", origin.url("/x"), [("Max-Forwards", "7"), ("Via", "1.0 before")]).status == 200
    first, replay = origin.requests
    same_but_for_the_echo(first, replay)
    assert first.all("Max-Forwards") == ["6"]
    assert [v.split()[0] for v in first.get("Via").split(", ")] == ["1.0", "1.1"]


def test_the_value_is_for_this_request_only(client, proxy, origin):
    origin.on("/x", echoing())
    for _ in range(3):
        assert client.ask("GET", origin.url("/x")).status == 200
    with proxy.client() as other:
        assert other.ask("GET", origin.url("/x")).status == 200
    assert [r.has("Ms-Echo-Reply") for r in origin.requests] == [False, True] * 4


def test_the_replay_uses_the_same_connection(client, origin):
    origin.on("/x", echoing())
    assert client.ask("GET", origin.url("/x")).status == 200
    assert len(origin.used()) == 1


def test_a_449_with_a_body_is_drained(client, origin):
    origin.on("/x", echoing(body=b"final", fields=[("X-A", "b")]))
    origin.on("/y", [challenge("v", body=b"z" * 60_000), response(200, b"final")])
    answer = client.ask("GET", origin.url("/y"))
    assert (answer.status, answer.body) == (200, b"final")
    assert len(origin.used()) == 1


def test_a_chunked_449_is_drained(client, origin):
    origin.on("/x", [challenge("v", [("Transfer-Encoding", "chunked")], chunked(b"abc", b"d" * 5000,
                     trailers=[("X-Sum", "1")]), length=False), response(200, b"final")])
    answer = client.ask("GET", origin.url("/x"))
    assert (answer.status, answer.body) == (200, b"final")
    assert not answer.has("X-Sum")
    assert len(origin.used()) == 1


@pytest.mark.parametrize("size", [70_000, 2_000_000])
def test_past_the_drain_limit_a_fresh_connection(client, origin, size):
    origin.on("/x", [challenge("v", body=b"z" * size), response(200, b"final")])
    answer = client.ask("PUT", origin.url("/x"), body=b"again")
    assert (answer.status, answer.body) == (200, b"final")
    assert len(origin.used()) == 2
    assert [r.body for r in origin.requests] == [b"again"] * 2


def test_drain_limit_is_an_option(start, origin):
    origin.on("/x", [challenge("v", body=b"z" * 70_000), response(200, b"final")])
    with start("--drain-limit", "128k").client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
    assert len(origin.used()) == 1


def test_connection_close_a_fresh_connection(client, origin):
    origin.on("/x", echoing(fields=[("Connection", "close")]))
    assert client.ask("POST", origin.url("/x"), body=b"again").status == 200
    assert len(origin.used()) == 2


def test_http10_a_fresh_connection(client, origin):
    origin.on("/x", echoing(version="HTTP/1.0"))
    assert client.ask("POST", origin.url("/x"), body=b"again").status == 200
    assert len(origin.used()) == 2


def test_449_ended_by_close(client, origin):
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(response(200, b"done"))
        else:
            call.send(challenge("v", body=b"until the end", length=False))
            call.close()
    origin.on("/x", responder)
    assert client.ask("GET", origin.url("/x")).status == 200
    assert len(origin.used()) == 2


def test_449_that_is_cut_off_in_its_body(client, origin):
    """The challenge stands in its head; nobody needs the rest."""
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(response(200, b"done"))
        else:
            call.send(b"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: v\r\nContent-Length: 50\r\n\r\nabc")
            call.reset()
    origin.on("/x", responder)
    answer = client.ask("GET", origin.url("/x"))
    assert answer.status in (200, 502)
    assert answer.complete


COOKIES = ["a=1; Path=/", "b=2; Path=/x", "elsewhere=3; Path=/y", "secure=4; Secure", "old=5; Max-Age=0",
           "foreign=6; Domain=other.example", "past=7; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]


def test_cookies_of_the_449_are_merged_into_the_replay(client, origin, road):
    origin.on("/x", echoing(fields=[("Set-Cookie", c) for c in COOKIES]))
    assert client.ask("GET", origin.url("/x"), [("Cookie", "mine=0; a=old")]).status == 200
    first, replay = origin.requests
    assert first.get("Cookie") == "mine=0; a=old"
    sent = dict(pair.split("=") for pair in replay.one("Cookie").split("; "))
    assert sent == {"mine": "0", "a": "1", "b": "2", **({"secure": "4"} if road == "inside" else {})}


def test_cookies_of_the_449_when_the_request_has_none(client, origin):
    origin.on("/x", echoing(fields=[("Set-Cookie", "a=1")]))
    assert client.ask("GET", origin.url("/x")).status == 200
    assert origin.requests[1].one("Cookie") == "a=1"


def test_no_cookie_matches_no_cookie_is_sent(client, origin, road):
    origin.on("/x", echoing(fields=[("Set-Cookie", "s=4; Secure")]))
    assert client.ask("GET", origin.url("/x")).status == 200
    assert origin.requests[1].has("Cookie") == (road == "inside")


def test_all_cookies_reach_the_client_ahead_of_the_final_ones(client, origin):
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(response(200, b"done", [("Set-Cookie", "a=final")]))
        else:
            call.send(challenge("v", [("Set-Cookie", c) for c in COOKIES]))
    origin.on("/x", responder)
    answer = client.ask("GET", origin.url("/x"))
    assert answer.all("Set-Cookie") == COOKIES + ["a=final"]


def test_cookies_are_kept_for_this_request_only(client, origin):
    origin.on("/x", echoing(fields=[("Set-Cookie", "a=1")]))
    origin.on("/y", response(200, b"y"))
    assert client.ask("GET", origin.url("/x")).status == 200
    assert not client.ask("GET", origin.url("/y")).has("Set-Cookie")
    assert not origin.requests[-1].has("Cookie")


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "BPROPPATCH"])
def test_replay_methods_idempotent_passes_on_others(start, origin, method):
    origin.on("/x", challenge("v"))
    passed_on(start("--replay-methods", "idempotent"), origin, "/x", "not-idempotent", method, body=b"b")
    assert len(origin.requests) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_replay_methods_idempotent_replays_these(start, origin, method):
    origin.on("/x", lambda call: call.send(
        b"HTTP/1.1 204 No Content\r\n\r\n" if call.request.has("Ms-Echo-Reply") else
        b"HTTP/1.1 449 Retry With\r\nMs-Echo-Request: v\r\nContent-Length: 0\r\n\r\n"))
    with start("--replay-methods", "idempotent").client() as client:
        assert client.ask(method, origin.url("/x")).status == 204


@pytest.mark.parametrize("status", [301, 302, 304, 307, 401, 407, 412, 413, 417, 500, 503])
def test_final_status_of_the_replay_is_the_clients(client, origin, status):
    final = response(status, b"" if status == 304 else b"final", [("Location", "/elsewhere"), ("WWW-Authenticate", "Basic realm=x")])
    origin.on("/x", [challenge("v"), final])
    assert client.ask("GET", origin.url("/x")).status == status
    assert len(origin.requests) == 2


def test_next_request_has_its_own_budget(client, origin):
    origin.on("/x", [challenge("a"), response(302, b"", [("Location", "/x")]), challenge("b"), response(200, b"ok")])
    assert client.ask("GET", origin.url("/x")).status == 302
    assert client.ask("GET", origin.url("/x")).status == 200
    assert [r.get("Ms-Echo-Reply") for r in origin.requests] == [None, "a", None, "b"]


def test_replay_that_cannot_be_sent_gives_the_saved_449(proxy, origin):
    """The 449 closes the connection, and the door with it."""
    def closing(call):
        call.origin.door.close()    # from now on connects are refused
        call.send(challenge("v", [("X-Kept", "yes"), ("Connection", "close")], b"the saved body"))
        call.close()
    origin.on("/x", closing)
    with proxy.client() as client:
        answer = client.ask("GET", origin.url("/x"))
    assert (answer.status, answer.body) == (449, b"the saved body")
    assert answer.one("X-Kept") == "yes"
    assert answer.complete
    assert proxy.wait_lines()[-1]["status"] == 449


@pytest.mark.parametrize("how", ["reset", "close"])
def test_replay_that_was_sent_and_lost_is_502(proxy, origin, how):
    origin.on("/x", [lambda call: call.send(challenge("v")), lambda call: getattr(call, how)()])
    with proxy.client() as client:
        answer = client.ask("POST", origin.url("/x"), body=b"once more")
    assert answer.status == 502
    assert len(origin.requests) == 2            # never a third time
    line = proxy.wait_lines()[-1]
    assert (line["status"], line["replays"]) == (502, 1)


def test_lost_replay_of_a_get_is_not_sent_a_third_time(client, origin):
    origin.on("/x", [lambda call: call.send(challenge("v")), lambda call: call.reset()])
    assert client.ask("GET", origin.url("/x")).status == 502
    assert len(origin.requests) == 2


def test_replay_without_an_answer_in_time_is_504(start, origin):
    origin.on("/x", [lambda call: call.send(challenge("v")), lambda call: call.stall()])
    with start("--response-timeout", "1s").client() as client:
        answer = client.ask("GET", origin.url("/x"))
    assert answer.status == 504
    assert "http_response_timeout" in answer.get("Proxy-Status")
    assert len(origin.requests) == 2


def test_head_449_has_no_body_whatever_it_says(proxy, origin):
    origin.on("/x", b"HTTP/1.1 449 Retry With\r\nContent-Length: 555\r\nX-Unanswered: yes\r\n\r\n")
    answer = passed_on(proxy, origin, "/x", "no-header", "HEAD")
    assert (answer.announced, answer.body) == (555, b"")


def test_final_response_of_any_framing(client, origin):
    finals = {
        "/length": response(200, b"abc"),
        "/chunked": response(200, chunked(b"ab", b"c", trailers=[("X-T", "t")]), [("Transfer-Encoding", "chunked")],
                             length=False),
    }
    for path, final in finals.items():
        origin.on(path, [challenge("v"), final])
        answer = client.ask("GET", origin.url(path))
        assert (answer.status, answer.body) == (200, b"abc")


# 4. Bodies.

@pytest.mark.parametrize("size", [0, 1, 1000, 65_535, 65_536, 65_537, 300_000])
def test_body_with_length_is_replayed_with_the_same_length(client, origin, size):
    origin.on("/x", echoing())
    assert client.ask("PUT", origin.url("/x"), body=BIG[:size]).status == 200
    first, replay = origin.requests
    same_but_for_the_echo(first, replay)
    assert first.one("Content-Length") == replay.one("Content-Length") == str(size)
    assert replay.body == BIG[:size]


@pytest.mark.parametrize("pieces", [[b"one"], [b"one", b"two", b"x" * 5000], [], [BIG[:100_000], BIG[100_000:]]])
def test_chunked_body_is_replayed_chunked(client, origin, pieces):
    origin.on("/x", echoing())
    assert client.ask("POST", origin.url("/x"), body=pieces).status == 200
    first, replay = origin.requests
    assert first.framing == replay.framing == "chunked"
    assert first.body == replay.body == b"".join(pieces)


def test_trailers_are_replayed(client, origin):
    origin.on("/x", echoing())
    client.send(client.head("POST", origin.url("/x"), [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]))
    client.send(chunked(b"abc", b"defg", trailers=[("X-Sum", "42"), ("X-More", "m")]))
    assert client.response().status == 200
    first, replay = origin.requests
    same_but_for_the_echo(first, replay)
    assert replay.trailers == [("X-Sum", "42"), ("X-More", "m")]


def test_body_is_forwarded_while_it_is_received(client, origin):
    got = threading.Event()

    def responder(call):
        reader = call.connection.reader
        while b"first half" not in reader.have:
            reader.more()
        got.set()
        call.read_body()
        call.send(response(200, b"done"))
    origin.on("/x", responder, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "20")]) + b"first half")
    wait_for(got, "the first half")
    client.send(b"and second")
    assert client.response().status == 200


def test_a_large_body_is_in_an_unlinked_file(start, origin, tmp_path):
    proxy = start("--body-memory", "16k", "--response-timeout", "60s")
    seen = []

    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(response(200, b"done"))
            return
        for fd in os.listdir(f"/proc/{proxy.pid}/fd"):
            try:
                seen.append(os.readlink(f"/proc/{proxy.pid}/fd/{fd}"))
            except OSError:
                pass
        call.send(challenge("v"))
    origin.on("/x", responder)
    with proxy.client() as client:
        assert client.ask("PUT", origin.url("/x"), body=BIG).status == 200
    assert any(str(tmp_path) in name and "(deleted)" in name for name in seen), seen
    assert hashlib.sha256(origin.requests[1].body).digest() == hashlib.sha256(BIG).digest()
    wait_until(lambda: not any("(deleted)" in os.readlink(f"/proc/{proxy.pid}/fd/{fd}")
                               for fd in os.listdir(f"/proc/{proxy.pid}/fd")), "the file to be closed")


def early_449(call):
    """449 as soon as the head is there, then close without reading the body."""
    if call.request.has("Ms-Echo-Reply"):
        call.read_body()
        call.send(response(200, b"done"))
        return
    call.send(challenge("v", [("Connection", "close")]))
    call.fin()
    call.wait_for_end()


def test_early_449_replays_at_once_from_octet_0(client, origin):
    began = threading.Event()

    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            began.set()
        early_449(call)
    origin.on("/x", responder, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", str(len(BIG)))]) + BIG[:100_000])
    wait_for(began, "the replay, which waits for the client")
    client.send(BIG[100_000:])
    assert client.response().status == 200
    assert len(origin.used()) == 2
    assert origin.requests[1].body == BIG
    assert client.ask("GET", origin.on("/y", response(200, b"next"))).body == b"next"


def test_early_449_of_a_chunked_body(client, origin):
    origin.on("/x", early_449, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Transfer-Encoding", "chunked")]))
    whole = chunked(BIG[:50_000], BIG[50_000:100_000], trailers=[("X-Sum", "1")])
    client.send(whole[:70_000])
    wait_until(lambda: len(origin.requests) == 2, "the replay")
    client.send(whole[70_000:])
    assert client.response().status == 200
    assert origin.requests[1].body == BIG[:100_000]
    assert origin.requests[1].trailers == [("X-Sum", "1")]


def test_early_449_on_a_connection_that_goes_on(client, origin):
    """The first connection is closed all the same: what was sent to it is half a request."""
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.read_body()
            call.send(response(200, b"done"))
        else:
            call.send(challenge("v"))
            call.wait_for_end()
    origin.on("/x", responder, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "100000")]) + BIG[:60_000])
    wait_until(lambda: len(origin.requests) == 2, "the replay")
    client.send(BIG[60_000:100_000])
    assert client.response().status == 200
    wait_until(lambda: not origin.connections[0].is_open, "the first connection to be closed")
    assert origin.requests[1].body == BIG[:100_000]


def test_body_passes_its_limit_before_the_replay(start, origin):
    """The replay was decided on while it could be made. What comes in until it
    leaves waits, and does not take the place of what it needs."""
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.read_body()
            call.send(response(200, b"done"))
        else:
            call.send(challenge("v", [("Retry-After", "1")]))
            call.wait_for_end()
    origin.on("/x", responder, early=True)
    with start("--body-limit", "128k").client() as client:
        client.send(client.head("PUT", origin.url("/x"), [("Content-Length", str(len(BIG)))]) + BIG[:60_000])
        wait_until(lambda: origin.connections and not origin.connections[0].is_open, "the 449")
        client.send(BIG[60_000:])
        assert client.response().status == 200
    assert origin.requests[1].body == BIG


def test_early_449_with_reset(client, origin):
    """A server that closes with unread octets resets; the 449 may have been read or not."""
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.read_body()
            call.send(response(200, b"done"))
        else:
            call.send(challenge("v", [("Connection", "close")]))
            call.close()
    origin.on("/x", responder, early=True)
    client.request("PUT", origin.url("/x"), body=b"z" * 1_000_000)
    answer = client.response()
    assert answer.status in (200, 502)
    assert answer.complete


def test_late_449(client, origin):
    def responder(call):
        if not call.request.has("Ms-Echo-Reply"):
            time.sleep(0.3)
        echoing()(call)
    origin.on("/x", responder)
    assert client.ask("PUT", origin.url("/x"), body=BIG).status == 200
    assert origin.requests[1].body == BIG


def test_expect_449_instead_of_100_costs_no_body(client, origin):
    raw = []

    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            call.read_body()
            call.send(response(200, b"done"))
        else:
            call.send(challenge("v", [("Connection", "close")]))
            call.fin()
            call.wait_for_end()
            raw.append(call.connection.raw)
    origin.on("/x", responder, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "9"), ("Expect", "100-continue")]))
    interim = client.reader.response_head()
    assert interim.status == 100
    client.send(b"the body!")
    answer = client.response()
    assert (answer.status, answer.interim) == (200, [])
    first, replay = origin.requests
    assert first.one("Expect") == replay.one("Expect") == "100-continue"
    assert replay.body == b"the body!"
    wait_until(lambda: raw, "the first connection to end")
    assert raw[0].endswith(b"\r\n\r\n")          # not an octet of the body


def test_expect_second_100_is_swallowed(client, origin):
    def responder(call):
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.read_body()
        echoing()(call)
    origin.on("/x", responder, early=True)
    client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "9"), ("Expect", "100-continue")]))
    assert client.reader.response_head().status == 100
    client.send(b"the body!")
    answer = client.response()
    assert (answer.status, answer.interim) == (200, [])
    assert [r.body for r in origin.requests] == [b"the body!"] * 2


def test_expect_client_that_does_not_wait(client, origin):
    def responder(call):
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.read_body()
        echoing()(call)
    origin.on("/x", responder, early=True)
    client.request("PUT", origin.url("/x"), [("Expect", "100-continue")], b"at once")
    answer = client.response()
    assert answer.status == 200
    assert [i.status for i in answer.interim] == [100]


def test_client_that_leaves_before_the_replay(proxy, origin):
    gone = threading.Event()

    def responder(call):
        wait_for(gone, "the client to leave")
        call.send(challenge("v", [("Retry-After", "1")]))
    origin.on("/x", responder)
    with proxy.client() as client:
        client.request("GET", origin.url("/x"))
        wait_until(lambda: origin.requests, "the request")
        client.reset()
    gone.set()
    proxy.wait_lines()
    assert len(origin.requests) == 1


def test_client_that_leaves_while_the_replay_waits(proxy, origin):
    """Its delay is over with it: the next exchange, in the same memory, has its own."""
    seen = []

    def responder(call):
        seen.append((call.request.path, time.monotonic()))
        call.send(response(200) if call.request.has("Ms-Echo-Reply") else challenge("v", [("Retry-After", "1")]))
    origin.on("*", responder)
    with proxy.client() as client:
        client.request("GET", origin.url("/gone"))
        wait_until(lambda: seen, "the request")
        time.sleep(0.4)                 # until the delay is under way
        client.reset()
    proxy.wait_lines()
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/stays")).status == 200
    assert [path for path, _ in seen] == ["/gone", "/stays", "/stays"]
    assert seen[2][1] - seen[1][1] >= 0.998


# 8. What the client can see, and what the log says.

def test_client_sees_the_final_response_only(client, origin):
    origin.on("/x", echoing())
    answer = client.ask("GET", origin.url("/x"))
    assert not answer.has("Ms-Echo-Request")
    assert not answer.interim
    assert len(answer.all("Via")) == 1
    assert re.match(r"1\.1 \S+$", answer.one("Via"))


def test_proxy_status_tells_of_the_replay(client, origin):
    origin.on("/x", echoing())
    status = client.ask("GET", origin.url("/x")).one("Proxy-Status")
    assert re.match(r"retrywith[^;]*; ?received-status=449", status)
    assert "details=" in status and "replayed" in status


def test_proxy_status_can_be_turned_off(start, origin):
    origin.on("/x", echoing())
    origin.on("/y", response(449))
    with start("--proxy-status", "false").client() as client:
        assert not client.ask("GET", origin.url("/x")).has("Proxy-Status")
        assert not client.ask("GET", origin.url("/y")).has("Proxy-Status")


def test_proxy_status_of_others_is_kept(client, origin):
    """R164."""
    origin.on("/x", [challenge("v"), response(200, b"", [("Proxy-Status", "other; error=dns_error")])])
    values = client.ask("GET", origin.url("/x")).all("Proxy-Status")
    assert ", ".join(values).startswith("other; error=dns_error, retrywith")


def test_log_line_of_an_answered_449(proxy, origin):
    origin.on("/x", echoing())
    with proxy.client() as client:
        assert client.ask("PUT", origin.url("/x?q"), body=b"12345").status == 200
    lines = proxy.wait_lines()
    assert len(lines) == 1
    line = lines[0]
    assert (line["status"], line["replays"], line["answer"]) == (200, 1, "echo")
    assert line["echo_length"] == len(AWKWARD)
    assert line["method"] == "PUT"
    assert not line.get("unanswered")


def test_log_line_of_a_plain_request(proxy, origin):
    origin.on("/x", response(200, b"abc"))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x")).status == 200
    line = proxy.wait_lines()[0]
    assert (line["status"], line["replays"]) == (200, 0)
    assert not line.get("answer")


def test_the_value_is_in_no_log(start, origin):
    secret = "a-very-secret-value-8d1f"
    proxy = start("--log-level", "debug")
    origin.on("/x", echoing(secret))
    origin.on("/always", challenge(secret))
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x"), [("Authorization", "Bearer s3cr3t-token")]).status == 200
        assert client.ask("GET", origin.url("/always"), [("Cookie", "c=s3cr3t-token")]).status == 449
    proxy.wait_lines(2)
    everything = proxy.said() + proxy.access_log.read_text("latin-1")
    assert secret not in everything
    assert "s3cr3t-token" not in everything


def test_combined_log_has_the_fields_too(start, origin):
    proxy = start("--log-format", "combined")
    origin.on("/x", echoing())
    with proxy.client() as client:
        assert client.ask("GET", origin.url("/x"), [("User-Agent", "flow/1"), ("Referer", "http://r/")]).status == 200
    text = wait_until(lambda: proxy.access_log.exists() and '"GET ' in proxy.access_log.read_text() and
                      proxy.access_log.read_text(), "the line")
    assert re.search(r'^127\.0\.0\.1 - - \[[^\]]+\] "GET https?://\S+/x HTTP/1\.1" 200 4 "http://r/" "flow/1"', text,
                     re.MULTILINE)
    assert "replays=1" in text and "answer=echo" in text
    assert f"echo-length={len(AWKWARD)}" in text


# Fragments: the same verdict however the octets arrive.

@pytest.mark.parametrize("size", [1, 7])
def test_octet_by_octet_from_both_sides(client, origin, size):
    def responder(call):
        final = response(200, chunked(b"abc", b"defgh", trailers=[("X-T", "t")]),
                         [("Transfer-Encoding", "chunked")], length=False)
        call.send_in_pieces(final if call.request.has("Ms-Echo-Reply") else challenge("v", body=b"drained"), size)
    origin.on("/x", responder)
    whole = client.head("PUT", origin.url("/x"), [("Transfer-Encoding", "chunked")]) + \
        chunked(b"one", b"two", trailers=[("X-Sum", "1")])
    client.send_in_pieces(whole, size)
    answer = client.response()
    assert (answer.status, answer.body, answer.trailers) == (200, b"abcdefgh", [("X-T", "t")])
    assert [r.body for r in origin.requests] == [b"onetwo"] * 2
    same_but_for_the_echo(*origin.requests)


# Login and 449 together.

@pytest.mark.parametrize("credentials", ["Basic YTpi", "Bearer abc.def", 'Digest username="a", nonce="n", nc=00000001'])
def test_credentials_are_replayed_as_they_are(client, origin, credentials):
    origin.on("/x", echoing())
    assert client.ask("GET", origin.url("/x"), [("Authorization", credentials)]).status == 200
    assert [r.one("Authorization") for r in origin.requests] == [credentials] * 2


def test_sticky_echo_after_a_401(client, origin):
    def responder(call):
        if not call.request.has("Ms-Echo-Reply"):
            call.send(challenge("v"))
        elif not call.request.has("Authorization"):
            call.send(response(401, b"", [("WWW-Authenticate", "Basic realm=x")]))
        else:
            call.send(response(200, b"both"))
    origin.on("/x", responder)
    assert client.ask("GET", origin.url("/x")).status == 401
    assert client.ask("GET", origin.url("/x"), [("Authorization", "Basic YTpi")]).status == 200
    assert [r.get("Ms-Echo-Reply") for r in origin.requests] == [None, "v", "v"]
    assert client.ask("GET", origin.url("/x"), [("Authorization", "Basic YTpi")]).status == 200
    assert [r.get("Ms-Echo-Reply") for r in origin.requests][3:] == [None, "v"]     # one use


# The other families, by rule.

def test_supply_by_rule(start, demo):
    proxy = start(config='rule "s" {\n path = "/supply*"\n answer = {"echo", "supply"}\n'
                         ' supply "X-Session" { from = "header:X-Session-Id" }\n'
                         ' supply "X-Token" { from = "body:/missing/token" }\n}\n')
    with proxy.client() as client:
        answer = client.ask("POST", demo.url + "/supply", body=b"x")
    assert answer.status == 200
    line = proxy.wait_lines()[0]
    assert (line["replays"], line["answer"]) == (1, "supply")


def test_backoff_by_rule(start, demo):
    proxy = start(config='rule "b" {\n path = "/backoff*"\n answer = {"backoff"}\n}\n')
    with proxy.client() as client:
        assert client.ask("POST", demo.url + "/backoff", body=b"x").status == 200
    line = proxy.wait_lines()[0]
    assert (line["replays"], line["answer"]) == (2, "backoff")
