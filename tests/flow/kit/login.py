"""Origins that want a login: NTLM and Negotiate, which belong to a connection,
and Digest, whose nonces are counted. What a client or a proxy must not do is
written down in .faults."""
import base64
import hashlib
import re
import threading

from kit.origin import challenge, response


def token(text):
    return base64.b64encode(text.encode()).decode()


def plain(text):
    return base64.b64decode(text).decode()


class Windows:
    """Type 1, type 2, type 3, as IIS does it: the login belongs to the connection,
    a type 3 is good once and only there. A request that is logged in is challenged
    until it brings the echo of its user."""

    def __init__(self, scheme="NTLM", fields=(), body=b"", echo_first=False, after=None):
        self.scheme = scheme
        self.fields = list(fields)      # of the 449
        self.body = body
        self.echo_first = echo_first    # the echo is asked for before the login
        self.after = after              # after(call) once a 449 is sent
        self.faults = []
        self.users = {}                 # by number of the connection

    def value(self, user):
        return f"echo-of-{user}"

    def ask_login(self, call, more=""):
        call.send(response(401, b"", [("WWW-Authenticate", f"{self.scheme}{more}")]))

    def challenge(self, call, user):
        call.send(challenge(self.value(user), self.fields, self.body))
        if ("Connection", "close") in self.fields:
            call.close()
        if self.after:
            self.after(call)

    def third(self, call, text):
        """A type 3 token: (user, nonce of the type 2)."""
        user, nonce = text.split(":")[1:]
        c = call.connection
        if nonce != getattr(c, "nonce", None):
            self.faults.append(f"type 3 of {user} on connection {c.number}, which offered no {nonce}")
            self.ask_login(call)
            return None
        c.nonce = None
        self.users[c.number] = c.user = user
        return user

    def login(self, call):
        """The user, or None when the request is answered already."""
        c = call.connection
        auth = call.request.get("Authorization")
        if auth is None:
            if not getattr(c, "user", None):
                self.ask_login(call)
            return getattr(c, "user", None)
        scheme, _, coded = auth.partition(" ")
        if scheme != self.scheme:
            self.faults.append(f"{auth} where {self.scheme} is wanted")
        text = plain(coded)
        if text.startswith("type1:"):
            c.nonce = f"n{c.number}-{len(c.requests)}"
            c.user = None
            self.ask_login(call, " " + token(f"type2:{c.nonce}"))
            return None
        return self.third(call, text)

    def __call__(self, call):
        if self.echo_first and not call.request.has("Ms-Echo-Reply"):
            if call.request.has("Authorization"):
                self.login_quietly(call)
            call.send(challenge(self.value("anybody"), self.fields, self.body))
            return
        user = self.login(call)
        if user is None:
            return
        echo = call.request.get("Ms-Echo-Reply")
        if echo is None:
            self.challenge(call, user)
            return
        if echo not in (self.value(user), self.value("anybody")):
            self.faults.append(f"{user} echoes {echo}")
        call.send(response(200, f"for {user}: ".encode() + call.request.body, [("X-User", user)]))

    def login_quietly(self, call):
        """The 449 stands for the answer: the token is looked at all the same."""
        text = plain(call.request.get("Authorization").partition(" ")[2])
        if not text.startswith("type1:"):
            self.third(call, text)


def log_in(client, url, user, scheme="NTLM", method="GET", fields=(), body=None):
    """What a client does: asks, is told 401, type 1, type 2, type 3: the last answer.
    The first two legs carry no body, as clients do it that know what will come."""
    empty = None if body is None else b""
    fields = [("X-Client", user), *fields]
    first = client.ask(method, url, fields, empty)
    assert first.status == 401, first
    second = client.ask(method, url, [*fields, ("Authorization", f"{scheme} " + token("type1:" + user))], empty)
    assert second.status == 401, second
    nonce = plain(second.one("WWW-Authenticate").split(" ")[1]).split(":")[1]
    return client.ask(method, url, [*fields, ("Authorization", f"{scheme} " + token(f"type3:{user}:{nonce}"))], body)


class Digest:
    """Counts nonces: each count of a nonce is good once (RFC 7616 3.3). Echo and
    login are asked for in the order given."""

    def __init__(self, echo_first=True, value="digest echo"):
        self.echo_first = echo_first
        self.value = value
        self.lock = threading.Lock()
        self.nonces = {}                # nonce: counts seen
        self.replays = 0                # requests with a count that was seen before
        self.stale = 0

    def ask_login(self, call):
        with self.lock:
            nonce = hashlib.md5(b"%d" % len(self.nonces)).hexdigest()
            self.nonces[nonce] = set()
        call.send(response(401, b"", [("WWW-Authenticate", f'Digest realm="r", nonce="{nonce}", qop="auth"')]))

    def is_good(self, call):
        auth = call.request.get("Authorization")
        if not auth:
            return False
        nonce, count = re.search('nonce="([^"]*)"', auth)[1], re.search("nc=([0-9a-f]+)", auth)[1]
        with self.lock:
            seen = self.nonces.get(nonce)
            if seen is None or count in seen:
                self.replays += 1
                return False
            seen.add(count)
        return True

    def __call__(self, call):
        has_echo = call.request.all("Ms-Echo-Reply") == [self.value]
        if self.echo_first and not has_echo:
            call.send(challenge(self.value))
        elif not self.is_good(call):
            self.ask_login(call)
        elif not has_echo:
            call.send(challenge(self.value))
        else:
            call.send(response(200, b"digested"))


def digest_of(answer, count=1):
    nonce = re.search('nonce="([^"]*)"', answer.one("WWW-Authenticate"))[1]
    return ("Authorization", f'Digest username="u", realm="r", nonce="{nonce}", uri="/", qop=auth, '
                             f'nc={count:08x}, cnonce="c", response="00"')
