"""A server that speaks no HTTP: it runs `serve(sock)` for each connection."""
import socket
import threading

from kit.client import PATIENCE


class Peer:
    def __init__(self, serve):
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        self.authority = f"127.0.0.1:{self.port}"
        self.serve = serve
        self.ended = []             # what serve() returned, or the exception
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.door.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            threading.Thread(target=self.one, args=(sock,), daemon=True).start()

    def one(self, sock):
        try:
            self.ended.append(self.serve(sock))
        except OSError as e:
            self.ended.append(e)
        finally:
            sock.close()

    def close(self):
        self.door.close()
