"""TLS before a server that speaks none: octets go on as they come."""
import select
import socket

from kit.client import PATIENCE
from kit.door import Door

BLOCK = 1 << 16


class Front:
    def __init__(self, tls, behind):
        self.tls = tls
        self.behind = behind
        self.door = Door(self.serve)
        self.address, self.authority = self.door.address, self.door.authority
        self.url = f"https://{self.authority}"

    def __getattr__(self, name):
        return getattr(self.behind, name)

    def serve(self, sock):
        try:
            with self.tls.wrap_socket(sock, server_side=True) as outer, \
                    socket.create_connection(self.behind.address, PATIENCE) as inner:
                relay(outer, inner)
                outer.unwrap()
        except OSError:
            pass                                # somebody left
        finally:
            sock.close()

    def close(self):
        self.door.close()


def relay(outer, inner):
    """Until the inner side ends; an SSLSocket is for one thread at a time."""
    watched = [outer, inner]
    while True:
        ready = [outer] if outer in watched and outer.pending() else select.select(watched, [], [], PATIENCE)[0]
        if not ready:
            return
        if outer in ready:
            data = outer.recv(BLOCK)
            if data:
                inner.sendall(data)
            else:
                watched.remove(outer)
                inner.shutdown(socket.SHUT_WR)
        if inner in ready:
            data = inner.recv(BLOCK)
            if not data:
                return
            outer.sendall(data)
