"""A server that speaks no HTTP: it runs `serve(sock)` for each connection."""
from kit.door import Door


class Peer:
    def __init__(self, serve):
        self.serve = serve
        self.ended = []             # what serve() returned, or the exception
        self.failed = []            # what serve() asserted in vain
        self.door = Door(self.one)
        self.port, self.authority = self.door.port, self.door.authority

    def one(self, sock):
        try:
            self.ended.append(self.serve(sock))
        except OSError as e:
            self.ended.append(e)
        except AssertionError as e:
            self.failed.append(e)
        finally:
            sock.close()

    def close(self):
        self.door.close()
        assert not self.failed, self.failed
