"""Whatever mix of challenges, bodies and framings: every client sees exactly the
final response, and the origin sees at most 1 + max-replays requests for each, octet
for octet the same but for what 449.md adds. SEED=n plays one game again. (P19)"""
import hashlib
import os
import random
import threading

import pytest

from kit.client import chunked, join
from kit.origin import response

EXCHANGES, CLIENTS = 400, 6
SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else [449, 4490, 44900]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PROPFIND", "BCOPY"]
VALUES = ["v", "", "a b;  c=\"d, e\"", "\xe9\xff", "%0d%0a", "x" * 3000, "\ttab inside\tthe value"]


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Game:
    """One client request, and how the origin will treat it."""

    def __init__(self, rng, number, most):
        self.id = str(number)
        self.method = rng.choice(METHODS)
        self.body = None if self.method in ("GET", "HEAD") and rng.random() < 0.8 else \
            rng.randbytes(rng.choice([0, 1, 100, 5000, 16384, 40_000, 150_000]))
        self.pieces = [len(self.body or b"") // 3 or 1] if self.body and rng.random() < 0.4 else None
        self.expects = bool(self.body) and rng.random() < 0.2
        self.cookie = "c=1" if rng.random() < 0.3 else None
        self.most = most
        # how often it is challenged: mostly once, sometimes more than is answered
        self.challenges = rng.choice([0, 0, 1, 1, 1, 1, 2, 3])
        self.values = [[rng.choice(VALUES) for _ in range(rng.choice([1, 1, 1, 2]))] for _ in range(self.challenges)]
        self.bare = rng.random() < 0.1              # without Ms-Echo-Request
        self.early = bool(self.body) and rng.random() < 0.25
        self.sets_cookie = rng.random() < 0.3
        self.closes = self.early or rng.random() < 0.3      # an end that is not announced is another test
        self.old = self.closes and rng.random() < 0.3
        self.ask_body = rng.randbytes(rng.choice([0, 10, 3000, 64 << 10, 100_000]))
        self.ask_chunked = not self.old and rng.random() < 0.3
        self.final_status = rng.choice([200, 200, 200, 201, 204, 302, 304, 403, 404, 500])
        self.final_body = b"" if self.final_status in (204, 304) else rng.randbytes(rng.choice([0, 20, 9000, 120_000]))
        self.framing = rng.choice(["length", "length", "chunked", "close"])
        self.interim = rng.random() < 0.1
        self.seen = []                              # (head, body, complete)

    def final(self):
        """What the client must get in the end, as (status, mark, body)."""
        unanswered = min(self.challenges, 1) if self.bare else self.challenges
        answered = 0 if self.bare else min(self.challenges, self.most)
        if unanswered > answered:
            return 449, f"ask-{answered}", self.ask_body
        return self.final_status, "final", self.final_body

    def requests(self):
        return 1 + (0 if self.bare else min(self.challenges, self.most))

    # The origin's part.

    def ask(self, n):
        fields = [("X-Mark", f"ask-{n}")]
        if not self.bare:
            fields += [("Ms-Echo-Request", v) for v in self.values[n]]
        if self.sets_cookie:
            fields += [("Set-Cookie", f"s{n}=1; Path=/")]
        if self.closes and not self.old:
            fields += [("Connection", "close")]
        if self.ask_chunked:
            fields += [("Transfer-Encoding", "chunked")]
        head_only = self.method == "HEAD"
        body = b"" if head_only else chunked(self.ask_body[:7], self.ask_body[7:]) if self.ask_chunked \
            and len(self.ask_body) > 7 else chunked() if self.ask_chunked else self.ask_body
        if self.ask_chunked and len(self.ask_body) <= 7 and self.ask_body and not head_only:
            body = chunked(self.ask_body)
        return response(449, body, fields, reason="Retry With", version="HTTP/1.0" if self.old else "HTTP/1.1",
                        length=not self.ask_chunked)

    def last(self):
        fields = [("X-Mark", "final")]
        body, length = self.final_body, True
        if self.final_status not in (204, 304) and self.framing != "length":
            length = False
            if self.framing == "chunked":
                fields.append(("Transfer-Encoding", "chunked"))
                body = chunked(*([body] if body else []), trailers=[("X-Trailer", "t")])
            else:
                fields.append(("Connection", "close"))
        if self.method == "HEAD":
            body = b""
        return response(self.final_status, body, fields, length=length), ("Connection", "close") in fields

    def serve(self, call):
        n = len(self.seen)
        asks = n < (min(self.challenges, 1) if self.bare else self.challenges)
        early = asks and self.early
        if not early:
            if call.request.has("Expect"):
                call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            call.read_body()
        self.seen.append((call.request, call.request.body, call.request.complete))
        if asks:
            call.send(self.ask(n))
            if early:
                call.fin()
                call.wait_for_end()
            elif self.closes:
                call.close()
            return
        if self.interim:
            call.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        octets, close = self.last()
        call.send(octets)
        if close:
            call.close()

    # The client's part.

    def play(self, client, url):
        fields = [("X-Id", self.id)]
        if self.cookie:
            fields.append(("Cookie", self.cookie))
        if self.pieces:
            fields.append(("Transfer-Encoding", "chunked"))
        elif self.body is not None:
            fields.append(("Content-Length", str(len(self.body))))
        if self.expects:
            fields.append(("Expect", "100-continue"))
        client.send(client.head(self.method, url, fields))
        try:
            if self.pieces:
                cut = self.pieces[0]
                client.send(chunked(self.body[:cut], *([self.body[cut:]] if self.body[cut:] else [])))
            elif self.body:
                client.send(self.body)
        except ConnectionError:         # an early 449 that is passed on ends the upload
            pass
        answer = client.response(self.method)
        assert answer is not None, "no answer"
        return answer

    def judge(self, answer):
        status, mark, body = self.final()
        assert answer.status == status, f"{answer} instead of {status}: {answer.text[:200]}"
        assert answer.complete
        assert answer.all("X-Mark") == [mark]
        if self.method != "HEAD":
            assert sha(answer.body) == sha(body)
        assert [i.status for i in answer.interim if i.status != 100] == ([103] if self.interim and status != 449 else [])
        assert answer.has("Ms-Echo-Request") == (status == 449 and not self.bare)
        cookies = [f"s{n}=1; Path=/" for n in range(self.challenges)][:self.requests() - (status != 449)]
        assert answer.all("Set-Cookie") == ([] if not self.sets_cookie else cookies), answer.all("Set-Cookie")

    def judge_origin(self):
        assert len(self.seen) == self.requests() <= 1 + self.most
        first = self.seen[0][0]
        for n, (request, body, complete) in enumerate(self.seen):
            assert (request.method, request.target, request.framing) == (first.method, first.target, first.framing)
            assert without(request, "Ms-Echo-Reply", "Cookie") == without(first, "Ms-Echo-Reply", "Cookie")
            assert request.all("Ms-Echo-Reply") == ([", ".join(v.strip("\t") for v in self.values[n - 1]).strip()] if n else [])
            jar = [self.cookie] * bool(self.cookie) + [f"s{i}=1" for i in range(n) if self.sets_cookie]
            assert request.all("Cookie") == (["; ".join(jar)] if jar else [])
            assert complete or self.early
            if complete:
                assert sha(body) == sha(self.body or b"")
            else:
                assert (self.body or b"").startswith(body)


def without(request, *names):
    """The raw lines of the head, in their order."""
    lowered = tuple(f"{n.lower()}:".encode() for n in names)
    return [line for line in request.head.split(b"\r\n") if not line.lower().startswith(lowered)]


def play_all(proxy, origin, games, problems):
    client = proxy.client()
    for game in games:
        try:
            answer = game.play(client, origin.url("/p?id=" + game.id))
            game.judge(answer)
        except (AssertionError, OSError) as e:
            problems.append((game.id, vars(game), e))
            client.close()
            client = proxy.client()
            continue
        if "close" in answer.tokens("Connection"):
            client.close()
            client = proxy.client()
    client.close()


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_any_mix(start, origin, seed, most):
    """R118."""
    rng = random.Random(seed * 10 + most)
    proxy = start("--workers", "2", "--body-memory", "16k", "--max-replays", str(most), "--breaker-trips", "0",
                  "--expect-threshold", "never")
    games = [Game(rng, n, most) for n in range(EXCHANGES)]
    by_id = {g.id: g for g in games}
    origin.recording = False
    origin.on("/p", lambda call: by_id[call.request.one("X-Id")].serve(call), early=True)
    problems = []
    threads = [threading.Thread(target=play_all, args=(proxy, origin, games[i::CLIENTS], problems))
               for i in range(CLIENTS)]
    for t in threads:
        t.start()
    join(*threads)
    for game in games:
        try:
            game.judge_origin()
        except AssertionError as e:
            problems.append((game.id, vars(game), e))
    assert not problems, f"{len(problems)} of {EXCHANGES}: " + "\n".join(
        f"{e} in {({k: (v if not isinstance(v, bytes) else len(v)) for k, v in what.items() if k not in ('seen', 'values')})}"
        for _, what, e in problems[:5])
    assert len(proxy.wait_lines(EXCHANGES)) == EXCHANGES


def test_the_rest_of_an_early_449_is_not_read_as_the_answer_to_the_replay(start, origin):
    """The game that this file found: the octets behind an early head were taken for
    the beginning of the next response."""
    def responder(call):
        if call.request.has("Ms-Echo-Reply"):
            call.read_body()
            call.send(response(200, b"done"))
            return
        call.send(response(449, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse", [("Ms-Echo-Request", "v"),
                                                                                       ("Connection", "close")]))
        call.fin()
        call.wait_for_end()
    origin.on("/x", responder, early=True)
    with start().client() as client:
        client.send(client.head("PUT", origin.url("/x"), [("Content-Length", "300000")]) + b"z" * 1000)
        client.send(b"z" * 299_000)
        answer = client.response()
    assert (answer.status, answer.body) == (200, b"done")
