"""Connections of a listener, on real sockets: bounded in number and in what they keep waiting."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from mailwarden_services.scoring_api.connections import (
    MOST_HEAD_BYTES,
    BoundedProtocol,
    ConnectionLimits,
    bounded,
)
from mailwarden_services.scoring_api.problems import Problem

WHOLE = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
LARGE = 8 << 20


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when the body is there; `/large` with megabytes, `/early` at once, `/fields` with names."""
    if scope["path"] != "/early":
        while (await receive()).get("more_body"):
            pass
    body = b"x" * LARGE if scope["path"] == "/large" else b"done"
    if scope["path"] == "/broken":
        raise RuntimeError("broken")
    if scope["path"] == "/fields":
        body = b",".join(name for name, _ in scope["headers"])
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


class Listener:
    def __init__(self, limits: ConnectionLimits) -> None:
        self.refused: list[tuple[int, str]] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        http = bounded(limits, self._note)
        config = uvicorn.Config(app, http=http, loop="uvloop", lifespan="off", log_level="critical")
        self.server = uvicorn.Server(config)
        self._running = threading.Thread(target=self.server.run, args=([self._listening],))
        self._running.start()
        until(lambda: self.server.started)

    def _note(self, problem: Problem) -> None:
        self.refused.append((problem.status, problem.slug))

    def connect(self, sent: bytes = b"") -> socket.socket:
        made = socket.create_connection(self._listening.getsockname(), timeout=20)
        made.sendall(sent)
        return made

    def open_ones(self) -> int:
        return len(self.server.server_state.connections)

    def idle(self) -> int:
        return sum(one.is_idle for one in tuple(self.server.server_state.connections))  # type: ignore[union-attr]

    def stop(self) -> None:
        self.server.should_exit = True
        self._running.join()


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@contextlib.contextmanager
def listening(most: int = 100, per_peer: int = 100, seconds: float = 20.0) -> Iterator[Listener]:
    made = Listener(ConnectionLimits(most, per_peer, seconds))
    try:
        yield made
    finally:
        made.stop()


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    found = b""
    with connection, contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            found += piece
    return found


def test_one_connection_more_than_is_held_is_told_so_and_room_is_made_by_those_that_go() -> None:
    with listening(most=3) as listener:
        held = [listener.connect() for _ in range(3)]
        until(lambda: listener.open_ones() == 3)
        for sent in (b"", WHOLE):
            refused = answer(listener.connect(sent))
            assert refused.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 1\r\n" in refused
            assert b"urn:mailwarden:problem:busy" in refused
        assert listener.refused == [(503, "busy")] * 2
        held.pop().close()
        until(lambda: listener.open_ones() == 2)
        held.append(listener.connect(WHOLE))
        assert held[-1].recv(100).startswith(b"HTTP/1.1 200")
        for one in held:
            one.close()


def test_who_idles_makes_room_where_all_are_held_and_who_waits_for_an_answer_does_not() -> None:
    with listening(most=3) as listener:
        idle, begun, busy = (listener.connect(WHOLE), listener.connect(), listener.connect(WHOLE))
        for one in (idle, busy):
            assert one.recv(1_000).endswith(b"done")
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        until(lambda: listener.idle() == 1)
        more = listener.connect(WHOLE)
        assert more.recv(1_000).endswith(b"done") and idle.recv(1) == b""
        busy.sendall(b"x")
        assert busy.recv(1_000).endswith(b"done")
        begun.sendall(WHOLE)
        assert begun.recv(1_000).endswith(b"done") and listener.refused == []
        for one in (idle, begun, busy, more):
            one.close()


@pytest.mark.parametrize("first", [b"", WHOLE])
@pytest.mark.parametrize(
    ("sent", "told"),
    [(b"\r\n", False), (b"GET / HT", True), (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", True)],
)
def test_who_does_not_make_a_request_is_let_go(first: bytes, sent: bytes, told: bool) -> None:
    with listening(seconds=0.4) as listener:
        made = listener.connect(first)
        if first:
            assert made.recv(1_000).endswith(b"done")
        made.sendall(sent)
        assert answer(made).startswith(b"HTTP/1.1 408") is told
        assert listener.refused == [(408, "too-slow")]
        until(lambda: listener.open_ones() == 0)


def test_who_says_nothing_is_let_go() -> None:
    with listening(seconds=0.4) as listener:
        assert answer(listener.connect()) == b"" and listener.refused == [(408, "too-slow")]


def test_a_head_that_trickles_in_has_no_more_time_than_one_that_stops() -> None:
    with listening(seconds=0.5) as listener:
        made, began = listener.connect(b"GET / HTTP/1.1\r\n"), time.monotonic()
        with contextlib.suppress(OSError):
            for number in range(200):
                made.sendall(b"X-%d: 1\r\n" % number)
                time.sleep(0.02)
                if listener.refused:
                    break
        assert time.monotonic() - began < 3 and listener.refused == [(408, "too-slow")]
        made.close()


def test_a_body_that_is_waited_for_and_requests_one_after_another_are_left_alone() -> None:
    with listening(seconds=0.2) as listener, listener.connect() as made:
        for _ in range(8):
            made.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na")
            time.sleep(0.1)
            made.sendall(b"b")
            assert made.recv(1_000).endswith(b"done")
        assert not listener.refused


def test_who_does_not_take_its_answer_or_goes_on_sending_what_nobody_reads_is_let_go() -> None:
    with listening(seconds=0.4) as listener:
        unread = socket.socket()
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        unread.connect(listener._listening.getsockname())
        unread.sendall(WHOLE.replace(b"/ ", b"/large ", 1))
        until(lambda: listener.refused == [(408, "too-slow")])
        sending = listener.connect(b"POST /early HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while len(listener.refused) < 2:
                sending.sendall(b"x" * 1_000)
                time.sleep(0.01)
        until(lambda: listener.open_ones() == 0)
        unread.close()
        sending.close()


def test_a_head_without_end_is_refused() -> None:
    with listening() as listener:
        made = listener.connect(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000)
        with contextlib.suppress(OSError):
            made.sendall(b"y" * MOST_HEAD_BYTES)
        assert answer(made).startswith(b"HTTP/1.1 431 ")
        assert listener.refused == [(431, "head-too-large")]
        many = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
        assert answer(listener.connect(b"GET / HTTP/1.1\r\nConnection: close\r\n" + many + b"\r\n")).endswith(b"done")


def test_a_trailer_is_dropped_and_one_without_end_is_refused() -> None:
    chunked = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    with listening() as listener:
        made = listener.connect(chunked % b"/fields" + b"X-Mailwarden-Rcpt-To: eve@acme.example\r\n\r\n")
        assert made.recv(10_000).endswith(b"\r\n\r\nhost,transfer-encoding")
        made.close()
        for trailer in (b"X-T: " + b"y" * MOST_HEAD_BYTES, b"X-T: y\r\n" * (MOST_HEAD_BYTES // 8)):
            for path, told in ((b"/", b"HTTP/1.1 431 "), (b"/early", b"HTTP/1.1 200 ")):
                made = listener.connect(chunked % path)
                with contextlib.suppress(OSError):
                    made.sendall(trailer)
                    made.sendall(b"y" * 2 * MOST_HEAD_BYTES)
                assert answer(made).startswith(told)
        assert listener.refused == [(431, "head-too-large")] * 4
        whole = listener.connect(chunked % b"/" + b"\r\n")
        assert whole.recv(100).startswith(b"HTTP/1.1 200")
        # Chunks of a byte each have more beside them than in them.
        whole.sendall(chunked[:-3] % b"/" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        assert whole.recv(100).startswith(b"HTTP/1.1 200")
        whole.close()


def test_what_is_no_http_is_counted_and_not_logged_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as listener:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        capsys.readouterr()
        for sent in (b"\x16\x03\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"):
            assert answer(listener.connect(sent)).startswith(b"HTTP/1.1 400 ")
        assert listener.refused == [(400, "bad-request")] * 2 and not capsys.readouterr().err
        for _ in range(2):
            assert answer(listener.connect(b"GET /broken HTTP/1.1\r\nConnection: close\r\n\r\n")).startswith(
                b"HTTP/1.1 500 "
            )
        assert capsys.readouterr().err.count("RuntimeError: broken") == 2


def test_who_asks_for_another_protocol_is_answered_and_counted_as_everybody() -> None:
    wanted = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eHh4\r\n\r\n"
    )
    with listening(most=2) as listener:
        for _ in range(5):
            made = listener.connect(WHOLE[:-2] + wanted)
            assert made.recv(1_000).startswith(b"HTTP/1.1 200 ")
            made.close()
            until(lambda: listener.open_ones() == 0)
        assert listener.refused == []


class _Transport:
    """As much of a connection as is asked who it is from."""

    def __init__(self, peer: tuple[Any, ...]) -> None:
        self._peer = peer
        self.written = b""

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else None

    def getpeername(self) -> tuple[Any, ...]:
        return self._peer

    def getsockname(self) -> tuple[Any, ...]:
        return "192.0.2.9", 80

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def test_one_address_may_hold_its_share_alone_and_this_machine_all() -> None:
    async def test() -> None:
        http = bounded(ConnectionLimits(100, 2, 20.0), lambda _: None)
        config = uvicorn.Config(app, lifespan="off")

        def taken(peer: tuple[Any, ...]) -> tuple[BoundedProtocol, bool]:
            transport = _Transport(peer)
            made: BoundedProtocol = http(config=config, server_state=uvicorn.server.ServerState(), app_state={})
            made.connection_made(transport)  # type: ignore[arg-type]
            return made, not transport.written

        v6 = [taken((f"2001:db8::{n}", n, 0, 0))[1] for n in range(4)]
        assert v6 == [True, True, False, False]
        first, held = taken(("192.0.2.1", 1))
        assert held and taken(("::ffff:192.0.2.1", 2, 0, 0))[1] and not taken(("192.0.2.1", 3))[1]
        assert taken(("192.0.2.2", 1))[1]
        first.connection_lost(OSError())
        assert taken(("192.0.2.1", 4))[1]
        assert all(taken((host, 1))[1] for host in ("127.0.0.1", "::1") for _ in range(5))

    asyncio.run(test())
