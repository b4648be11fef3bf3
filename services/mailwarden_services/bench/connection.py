"""A client's HTTP connection to a unix socket that never waits: for a load generator of one thread."""

from __future__ import annotations

import socket

_BLOCK = 1 << 18


class Connection:
    """One connection, with a request under way or idle; never waits.

    due, cpu: of the request under way, as `begin` was told. rest: what of it is still to be sent.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.rest = memoryview(b"")
        self.due = self.cpu = 0.0
        self._got = bytearray()
        self._length = -1
        self.connect()

    def connect(self) -> None:
        """Connect to the path; raises OSError where nobody listens."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)
        self.sock.setblocking(False)

    def fileno(self) -> int:
        """For select(2)."""
        return self.sock.fileno()

    def begin(self, request: bytes, due: float, cpu: float) -> None:
        """Send a request, or as much of it as is taken now."""
        self.rest, self.due, self.cpu = memoryview(request), due, cpu
        self._got.clear()
        self._length = -1
        self.send()

    def send(self) -> None:
        """Send more of the request."""
        try:
            while self.rest:
                self.rest = self.rest[self.sock.send(self.rest[:_BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:
            # Whoever closed it may have answered before.
            self.rest = memoryview(b"")

    def receive(self) -> tuple[int, bytes] | None:
        """Status and body once the answer is whole; status 0 where the connection broke."""
        try:
            data = self.sock.recv(_BLOCK)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return 0, b""
        self._got += data
        if self._length < 0:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self._got[:end].lower()
            at = head.index(b"content-length:") + 15
            self._length = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        if len(self._got) < self._length:
            return None
        return int(self._got[9:12]), bytes(self._got)

    def again(self) -> None:
        """Hang up and connect anew."""
        self.sock.close()
        self.connect()
