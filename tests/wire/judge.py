"""What became of a play: the verdict, and what is wrong with it.

A verdict is a pair (kind, status). Besides what the row asserts, everything the
proxy sent, either way, must be well-formed (kit.http1 has read it) and such as a
proxy may send it: see hygiene(). (P02, P17)"""
from row import expand as expand_row
from row import unescape
from stage import DEADLINE, MAIN, PATIENCE, SENTINEL, is_smuggled

HOP_BY_HOP = ("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Upgrade")


def own(response):
    """Is it the proxy's own word?"""
    return response.get("X-Wire") is None and response.get("Via") is None


def messages(play):
    """The row's own requests, as origins saw them."""
    return [r for r in play.requests if r.path != SENTINEL]


def verdict(play):
    if play.end == "silent":
        return ("hang", None)
    if play.end == "malformed":
        return ("malformed", None)
    if not play.responses:
        return ("close" if play.end == "eof" else "reset", None)
    first = play.responses[0]
    if play.tunnelled:
        return ("switch" if first.status == 101 else "tunnel", None)
    if own(first):
        ended = play.end in ("eof", "reset") and play.sentinel is None
        if not play.row.is_request:     # the sentinel came on a connection of its own
            ended = play.end in ("eof", "reset")
        return ("reject" if ended and first.status >= 400 else "answer", first.status)
    return ("forward" if first.complete else "broken", first.status)


def satisfies(play, got, kind, status):
    """Is the verdict one that `kind:status` allows?"""
    whole = [r for r in messages(play) if r.complete]
    if kind in ("reject", "answer"):
        return got == (kind, status) and not whole
    if kind in ("forward", "forward-normalised"):
        return got[0] == "forward"
    if kind == "incomplete":
        return not whole and got[0] in ("close", "reset", "reject")
    if kind == "truncate":
        return got[0] in ("broken", "reset") or got == ("reject", 502)
    if kind == "retry":
        return got[0] == "forward" and play.mains == 2
    if kind == "replay":
        return got == ("forward", 200) and play.mains == 2
    if kind == "forward-449":
        return got == ("forward", 449)
    if kind == "none":
        return got[0] == "forward"
    return got[0] == kind           # close, tunnel, switch


def allowed(play, got):
    """The first expected verdict that was met, or None."""
    response = not play.row.is_request
    for kind, status in play.row.expected:
        if response and kind == "reject":
            if got == (kind, status):
                return (kind, status)
        elif satisfies(play, got, kind, status):
            return (kind, status)
    return None


# -- what holds for every play -------------------------------------------------

def check_request(play, request):
    """R087."""
    if request.all("Host") != [request.upstream.host]:
        yield f"Host {request.all('Host')} at {request.upstream.host}"
    if request.version != "HTTP/1.1":
        yield f"version {request.version}"
    if not request.tokens("Via") or not request.tokens("Via")[-1].endswith(play.macros["SELFVIA"]):
        yield f"Via {request.all('Via')}"
    for name in HOP_BY_HOP:
        if request.has(name) and name.lower() not in request.tokens("Connection"):
            yield f"{name} was forwarded"
    if is_http(request.tokens("Upgrade")):
        yield f"Upgrade: {request.get('Upgrade')}"
    if request.has("Connection") and set(request.tokens("Connection")) - {"close", "te", "upgrade"}:
        yield f"Connection: {request.get('Connection')}"


def check_response(play, response):
    """R097."""
    if response.version != "HTTP/1.1":
        yield f"version {response.version}"
    if not response.has("Date") and not play.tunnelled:
        yield "no Date"
    if not own(response):
        if not response.has("Via"):
            yield "no Via"
    elif response.status >= 400:
        if "error=" not in response.get("Proxy-Status", ""):
            yield f"{response.status} without an error token"
        if "close" not in response.tokens("Connection") and response.status != 407:
            yield f"{response.status} without Connection: close"
    for name in ("Keep-Alive", "Proxy-Connection"):
        if response.has(name):
            yield f"{name} was forwarded"


def hygiene(play):
    """R007, R038, R070, R096."""
    yield from play.faults
    for request in play.requests:
        yield from check_request(play, request)
    for i, response in enumerate(play.responses):
        yield from check_response(play, response)
        if "close" in response.tokens("Connection") and (play.responses[i + 1:] or play.sentinel and play.row.is_request):
            yield "a response behind the one that said close"
    if not play.row.is_request and play.sentinel is None and not play.tunnelled:
        yield "the next request to this origin was not answered"
    if not play.row.is_request and play.sentinel is not None and play.sentinel.body != SENTINEL.encode():
        yield f"the next request got {play.sentinel.body!r}"


# -- the asserts ----------------------------------------------------------------
# Each gets the play, the message that the row is about as the proxy's peer saw it
# (None: there is none), and the value; it says whether all is well.

def seen(play):
    if play.row.is_request:
        return messages(play)
    return [r for r in play.responses[:1] if not own(r)]


def every(test):
    return lambda play, value: all(test(m, value, play) for m in seen(play))


def split_line(value):
    name, _, rest = value.partition(":")
    return name, rest.strip()


def expand(play, value):
    for name, text in play.macros.items():
        value = value.replace("{%s}" % name, text)
    return value


def has(play, value):
    name, rest = split_line(expand(play, value))
    return all(rest in m.all(name) if rest else m.has(name) for m in seen(play)[:1])


def lacks(message, value, play):
    """name; or name|ownTE: a TE of the proxy's own is no fault."""
    name, _, other = value.partition("|")
    if other == "ownTE" and message.tokens("TE") == ["trailers"]:
        return "te" in message.tokens("Connection")
    return not message.has(name)


def body(play, value):
    return all(m.body == unescape(value) for m in seen(play)[:1])


def one_length(message, value, play):
    return message.all("Content-Length") == [value]


def no_octet(message, value, play):
    if value == "bare-CR":
        return b"\r" not in message.head.replace(b"\r\n", b"")
    return unescape(value) not in message.head


def trailer_names(play):
    section = play.raw.partition(b"\r\n0\r\n")[2].partition(b"\r\n\r\n")[0]
    return [line.partition(b":")[0].decode("latin-1") for line in section.split(b"\r\n") if line]


def not_merged(play, value):
    names = value.split(",") if value else trailer_names(play)
    assert names, f"{play.row.id}: no trailer in {play.raw!r}"
    for message in seen(play)[:1]:
        for name in names:
            if name.lower() == "host" and message.all(name) == [message.upstream.host]:
                continue
            if name.lower() == "transfer-encoding" and message.all(name) == ["chunked"]:
                continue
            if message.has(name):
                return False
    return True


def no_trailer(play, value):
    names = {n.lower() for n in trailer_names(play)}
    assert names
    return not any(n.lower() in names for m in seen(play) for n, _ in m.trailers)


def via_appended(play, value):
    text = play.raw.decode("latin-1")
    before = [v.strip() for line in text.split("\r\n") if line.lower().startswith("via:")
              for v in line[4:].split(",")]
    for message in seen(play):
        members = [v.strip() for line in message.all("Via") for v in line.split(",")]
        if members != [*before, f"1.1 {play.macros['SELFVIA']}"]:
            return False
    return True


def in_order(play, value):
    paths = [r.path for r in messages(play)]
    return [r.get("X-Wire") for r in play.responses if not own(r)][:len(paths)] == paths


def order(play, value):
    lines = value.split(",")
    name = lines[0].partition(":")[0]
    return all([f"{n}: {v}" for n, v in m.fields if n.lower() == name.lower()] == lines
               for m in seen(play))


def not_complete(play, value):
    if play.row.is_request:
        return not any(r.complete for r in messages(play))
    return all(own(r) or not r.complete for r in play.responses[:1])


def closed(play, value):
    return play.end in ("eof", "reset") and play.sentinel is None


def echoed(play, value):
    """value or value|value|...: what the replay carries, and the first attempt does not."""
    first, *again = [r for r in play.requests if r.path == MAIN]
    wanted = [expand_row(v, play.macros) for v in value.split("|")]
    return not first.has("Ms-Echo-Reply") and len(again) == 1 and \
        any([v.encode("latin-1") for v in again[0].all("Ms-Echo-Reply")] == [w] for w in wanted)


def attempt_numbers(play):
    return [r.upstream.number for r in play.requests if r.path == MAIN]


def not_reused(play, value):
    return all(r.upstream.number > 0 for r in play.requests if r.path == SENTINEL)


def interims(play):
    return play.leftover + [i for r in play.responses for i in r.interim]


def is_http(protocols):
    """Would an upgrade to one of these be HTTP again, past the proxy?"""
    return any(p.partition("/")[0] in ("h2c", "h2", "http", "tls") for p in protocols)


def count(play, value):
    """A row that was refused has none, whatever it would have had."""
    n = len(messages(play))
    return n == int(value) or (n == 0 and verdict(play)[0] == "reject" and
                               not any(k.startswith("forward") for k, _ in play.row.expected[:1]))


def spaces_before_colon(message, value, play):
    return b" :" not in message.head.partition(b"\r\n")[2].split(b": ")[0]


ASSERTS = {
    "n": count,
    "n<": lambda play, value: len(messages(play)) <= int(value),
    "line": lambda play, value: all(m.head.startswith(value.encode() + b"\r\n") for m in seen(play)[:1]),
    "has": has,
    "hasname": every(lambda m, value, play: m.has(value)),
    "hasraw": every(lambda m, value, play: unescape(value) + b"\r\n" in m.head),
    "lacks": every(lacks),
    "lacksbytes": every(lambda m, value, play: unescape(value) not in m.head),
    "body": body,
    "onecl": every(one_length),
    "onlyone": every(lambda m, value, play: m.has("Transfer-Encoding") and not m.has("Content-Length")),
    "nofold": every(lambda m, value, play: b"\n " not in m.head and b"\n\t" not in m.head),
    "nobyte": every(no_octet),
    "notmerged": not_merged,
    "notrailer": no_trailer,
    "trailer": every(lambda m, value, play: split_line(value) in m.trailers),
    "close": closed,
    "nosmuggle": lambda play, value: not is_smuggled(play),
    "notcomplete": not_complete,
    "nodial": lambda play, value: not play.upstreams,       # and see policy.py
    "nevermethod": every(lambda m, value, play: m.method != value),
    "nocleartext": lambda play, value: all(u.hello for u in play.upstreams if u.raw),
    "responses": lambda play, value: len(play.responses) == int(value),
    "order": order,
    "bodylacks": lambda play, value: all(value.encode() not in r.body for r in play.responses[:1]),
    "viaappend": via_appended,
    "inorder": in_order,
    "status": lambda play, value: all(r.status == int(value) for r in play.responses[:1]) and play.responses,
    "nostatus": lambda play, value: all(r.status in (200, 502) for r in play.responses[:1]),
    "version": every(lambda m, value, play: m.version == f"HTTP/{value}"),
    "nospacecolon": every(spaces_before_colon),
    "upstreamclosed": lambda play, value: bool(play.upstreams) and play.upstreams[0].closed.is_set(),
    "nobody": lambda play, value: all(r.body == b"" and r.complete for r in play.responses[:1]),
    "notunnel": lambda play, value: not play.tunnelled and all(r.status != 101 for r in play.responses),
    "noforward": lambda play, value: [r.get("X-Wire") for r in play.responses][:1] == ["/x"],
    "noreuse": not_reused,
    "retries": lambda play, value: play.mains - 1 == int(value),
    "mains": lambda play, value: play.mains == int(value),
    "echo": echoed,
    "sameconnection": lambda play, value: len(set(attempt_numbers(play))) == 1,
    "otherconnection": lambda play, value: len(set(attempt_numbers(play))) == len(attempt_numbers(play)),
    "interim": lambda play, value: int(value) in [i.status for i in interims(play)],
    "interimlacks": lambda play, value: not any(i.has(value) for i in interims(play)),
    "noh2c": every(lambda m, value, play: not is_http(m.tokens("Upgrade"))),
    "no1xx": lambda play, value: not interims(play),
    # The origin holds its connection, so only framing or a deadline ends the answer; all
    # deadlines of this proxy are longer than the play's patience.
    "fast": lambda play, value: play.responses and play.seconds < PATIENCE < DEADLINE,
}


def problems(play):
    """All that is wrong, as text. Call it before the sentinel's traces are gone."""
    got = verdict(play)
    if allowed(play, got) is None:
        yield f"verdict {got}, wanted {play.row.expected}"
    yield from hygiene(play)
    for name, value in play.row.asserts:
        if not ASSERTS[name](play, value):
            yield f"assert {name}={value}"


def check_known(row):
    unknown = [name for name, _ in row.asserts if name not in ASSERTS]
    assert not unknown, f"{row.id}: unknown asserts {unknown}"
