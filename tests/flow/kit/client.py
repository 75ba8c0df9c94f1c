"""A client that says exactly the octets it is told."""
import re
import socket
import ssl
import struct
import time

from kit.http1 import Reader

PATIENCE = 60                       # seconds that anything on loopback may take, on a busy machine


def abort(sock):
    """Closes with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def wait_until(condition, what="", seconds=PATIENCE):
    """Polls until condition() is true; returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


def wait_for(event, what=""):
    """A threading.Event; a wait that lapsed would let the test go on to something else."""
    assert event.wait(PATIENCE), f"waited in vain: {what or 'an event'}"


def join(*threads):
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} goes on and on"


def say_goodbye(sock):
    """close_notify, without waiting for that of the peer. False: it reset the connection,
    which nobody will hear of again."""
    sock.settimeout(0)
    try:
        sock.unwrap()
    except ConnectionResetError:
        return False
    except (OSError, ValueError):               # that of the peer is not there, or nobody is
        pass
    return True


def chunked(*pieces, trailers=()):
    """The chunked coding of some pieces."""
    out = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    lines = "".join(f"{n}: {v}\r\n" for n, v in trailers)
    return out + b"0\r\n" + lines.encode("latin-1") + b"\r\n"


class Client:
    """One connection, to the proxy as a rule."""

    cut = False

    def __init__(self, address, rcvbuf=None, tls=None, name=None, source=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        if tls:
            self.secure(tls, name)
        self.reader = Reader(self.recv)

    def recv(self, n):
        if self.cut:
            raise ConnectionResetError("cut off while we said goodbye")
        try:
            return self.sock.recv(n)
        except ssl.SSLZeroReturnError:          # both sides have said goodbye
            return b""
        except ssl.SSLEOFError:                 # the peer did not
            raise ConnectionResetError("cut off without close_notify") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def secure(self, context, name):
        self.sock = context.wrap_socket(self.sock, server_hostname=name, suppress_ragged_eofs=False)

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("latin-1")
        self.sock.sendall(data)
        return self

    def send_in_pieces(self, data, size=1):
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(data), size):
            self.send(data[i:i + size])
        return self

    def head(self, method, url, fields=(), version="HTTP/1.1"):
        """A request head; Host comes from the URL unless fields have one."""
        if "host" not in [n.lower() for n, _ in fields]:
            host = re.match(r"(?:https?://)?([^/?]*)", url)[1] or "origin.example"
            fields = [("Host", host), *fields]
        lines = [f"{method} {url} {version}", *(f"{n}: {v}" for n, v in fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def request(self, method, url, fields=(), body=None, version="HTTP/1.1"):
        """Sends a request; a body of bytes goes with Content-Length, a list of
        pieces goes chunked."""
        fields = list(fields)
        data = b""
        if isinstance(body, list):
            fields.append(("Transfer-Encoding", "chunked"))
            data = chunked(*body)
        elif body is not None:
            fields.append(("Content-Length", str(len(body))))
            data = body
        self.send(self.head(method, url, fields, version) + data)
        return self

    def response(self, to="GET"):
        """The next final response, or None when the peer ended."""
        return self.reader.read_response(to)

    def ask(self, method, url, fields=(), body=None, version="HTTP/1.1"):
        self.request(method, url, fields, body, version)
        response = self.response(method)
        assert response is not None, f"no answer to {method} {url}"
        return response

    def ended(self, seconds=PATIENCE):
        """Has the peer ended its stream (or reset it), with nothing more said?"""
        self.sock.settimeout(seconds)
        try:
            return not self.reader.have and not self.reader.more()
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)

    def fin(self):
        """Says that nothing more will be said, and goes on hearing."""
        if not isinstance(self.sock, ssl.SSLSocket):
            self.sock.shutdown(socket.SHUT_WR)
            return
        self.cut = not say_goodbye(self.sock)
        self.sock.settimeout(PATIENCE)

    def reset(self):
        abort(self.sock)

    def close(self):
        self.sock.close()


def trusting(ca):
    context = ssl.create_default_context(cafile=str(ca))
    return context
