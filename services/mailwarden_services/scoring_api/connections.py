"""Open connections of a listener: how many there are, in all and from one address, and what each may keep waiting.

1. One more than is held, or than one address may hold, is answered 503 with Retry-After and let go. A unix socket and
   this machine's own loopback, by which gateways and proxies come, may hold all. Where all are held, one that is idle
   between two requests makes room, of the address that holds the most.
2. A connection that owes something for longer than `request_seconds` is let go: its first byte, the rest of a head, the
   rest of a body that nobody waits for any more, or to take its answer. What is idle between two requests is kept as
   long as the server keeps it, and a body that is waited for has a deadline of its own (`requests`).
3. A head of more than `MOST_HEAD_BYTES` is answered 431, and so is as much of anything else that is no body: trailers,
   which are dropped, or what chunks are marked with.
4. No connection becomes another protocol's, which would bear none of these limits.

Nothing of this is done for a request: all connections are looked at once a second.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mailwarden_services.scoring_api.problems import Problem, busy

MOST_HEAD_BYTES = 256 << 10
"""Of a request's line and header fields: a thousand recipients fit."""

LINGER_SECONDS = 1.0
"""How long a connection that is refused may take to read why."""

_LOOK_SECONDS = 1.0
_LINGERING = 100
_CLOSING = object()

Refused = Callable[[Problem], None]

_log = logging.getLogger(__name__)
"""The server's, for what is our fault alone: what strangers send is counted, and fills no disk."""
_log.setLevel(logging.ERROR)
_log.parent = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """most: open connections; per_peer: of them from one IPv4 address or /64 network; request_seconds: see above."""

    most: int
    per_peer: int
    request_seconds: float


class Connections:
    """Those of one listener. refused: told of each problem that a connection is answered with, or ended by."""

    def __init__(self, limits: ConnectionLimits, refused: Refused) -> None:
        self.limits, self.refused = limits, refused
        self._open: set[BoundedProtocol] = set()
        self._of_peer: Counter[str] = Counter()
        self.lingering = 0
        self._look: asyncio.TimerHandle | None = None

    def take(self, one: BoundedProtocol) -> bool:
        """Hold a connection; False where there is no room for it."""
        peer = one.peer
        if peer and self._of_peer[peer] >= self.limits.per_peer:
            return False
        if len(self._open) >= self.limits.most and not self._make_room():
            return False
        self._open.add(one)
        if peer:
            self._of_peer[peer] += 1
        if self._look is None:
            self._look = one.loop.call_later(self._step, self._look_at_all, one.loop)
        return True

    def left(self, one: BoundedProtocol) -> None:
        """Forget a connection."""
        if one not in self._open:
            return
        self._open.discard(one)
        if one.peer:
            self._of_peer[one.peer] -= 1
            if not self._of_peer[one.peer]:
                del self._of_peer[one.peer]

    def _make_room(self) -> bool:
        """Let an idle connection go; False where none is."""
        idle = [one for one in self._open if one.is_idle]
        if not idle:
            return False
        # What may hold all counts for no address, and goes last.
        most = max(idle, key=lambda one: self._of_peer[one.peer] if one.peer else 0)
        self.left(most)
        most.transport.close()
        return True

    @property
    def _step(self) -> float:
        return min(_LOOK_SECONDS, self.limits.request_seconds / 4)

    def _look_at_all(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for one in tuple(self._open):
            one.look(now, self.limits.request_seconds)
        self._look = loop.call_later(self._step, self._look_at_all, loop) if self._open else None


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection. peer: the address that it counts for, "" for one that may hold all."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._held_by = connections
        self._refused = False
        self._head_bytes = self._beside_bytes = 0
        self._body_came = False
        self.ws_protocol_class = None
        self.logger = _log
        self._owed: object = None
        self._owed_since = 0.0
        self.peer = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection while there is room."""
        super().connection_made(transport)
        self.peer = _counted_for(self.client)
        if not self._held_by.take(self):
            self._refuse(busy("As many connections are open as are held at once; try again in a moment."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._refused:
            self._held_by.lingering -= 1
        self._held_by.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._refused:
            return
        self._body_came = False
        super().data_received(data)
        if self._head_is_whole:
            self._head_bytes = 0
            self._beside_bytes = 0 if self._body_came else self._beside_bytes + len(data)
        else:
            self._head_bytes += len(data)
            self._beside_bytes = 0
        if max(self._head_bytes, self._beside_bytes) > MOST_HEAD_BYTES and not self.transport.is_closing():
            words = f"The head or trailer of the request is over {MOST_HEAD_BYTES} bytes; send fewer or shorter fields."
            self._end(Problem(431, "head-too-large", "Head too large", words))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; those of a trailer come when the request is under way, and are nobody's."""
        if not self._head_is_whole:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._body_came = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._held_by.refused(Problem(400, "bad-request", "Bad request", msg))
        super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: what is asked for an upgrade is answered as if it were not, which a client may do at will."""

    def look(self, now: float, seconds: float) -> None:
        """End the connection where the same has been owed for so long."""
        owed = self._owes()
        if owed is not self._owed:
            self._owed, self._owed_since = owed, now
        elif owed is not None and now - self._owed_since > seconds:
            problem = Problem(408, "too-slow", "Too slow", f"The request did not come within {seconds:.0f} s.")
            if owed is self.scope and not self._head_is_whole:
                self._refuse(problem)
            else:
                # There is nothing to answer, or nobody reads it.
                self._held_by.refused(problem)
                self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a further request, of which nothing came yet."""
        return self.timeout_keep_alive_task is not None and not self.transport.is_closing()

    @property
    def _head_is_whole(self) -> bool:
        return self.scope is not None and "path" in self.scope

    def _owes(self) -> object:
        """What is waited for from the client, the same object while it is the same; None for nothing."""
        if self.transport.is_closing():
            return _CLOSING
        if self.flow.write_paused:
            return self.flow
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        if self.timeout_keep_alive_task is not None:
            return None
        return self if self.scope is None else self.scope

    def _end(self, problem: Problem) -> None:
        """End the connection with the problem, which is said where no answer is under way that it would pass for."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or self.pipeline or not self._head_is_whole:
                self._held_by.refused(problem)
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self._refuse(problem)

    def _refuse(self, problem: Problem) -> None:
        connections = self._held_by
        connections.refused(problem)
        self._held_by.left(self)
        self._refused = True
        connections.lingering += 1
        if connections.lingering > _LINGERING:
            self.transport.abort()
            return
        body = bytes(problem.response().body)
        fields = {"content-type": "application/problem+json", "content-length": str(len(body)), "connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | dict(problem.headers or {})).items())
        self.transport.write(f"HTTP/1.1 {problem.status} {problem.title}\r\n{lines}\r\n".encode() + body)
        # Closed with bytes unread, a connection is reset, and the answer is lost with it.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def bounded(limits: ConnectionLimits, refused: Refused) -> Any:
    """The protocol of a listener with these limits, for `uvicorn.Config(http=...)`."""
    return partial(BoundedProtocol, Connections(limits, refused))


def _counted_for(client: tuple[str, int] | None) -> str:
    if client is None:
        return ""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return "" if address.is_loopback else str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return "" if address.is_loopback else str(address)
