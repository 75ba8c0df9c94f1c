"""A listening socket on loopback, and a thread for each connection that comes."""
import socket
import threading

from kit.client import PATIENCE, join


class Door:
    """serve(sock) is called in a thread of its own; before that, taken(sock) in the
    thread that accepts: what it returns is served instead."""

    def __init__(self, serve, address="127.0.0.1", patience=PATIENCE, taken=lambda sock: sock):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.serve, self.patience, self.taken = serve, patience, taken
        self.sock = socket.create_server((address, 0), family=family, backlog=256)
        self.port = self.sock.getsockname()[1]
        self.authority = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self.address = (address, self.port)
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            sock.settimeout(self.patience)
            threading.Thread(target=self.serve, args=(self.taken(sock),), daemon=True).start()

    def close(self):
        """New connections are refused from now on, and none is on its way in."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        join(self.thread)
