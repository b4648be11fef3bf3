"""Frames to and from a child process, for an event loop that must never wait: neither for who reads nor who writes.

The child uses `multiprocessing.connection`, which blocks; this end speaks the same frames (four bytes of length,
big-endian, and the payload) over the same socket pair, in whatever pieces the kernel takes and gives. A child that
stops in the middle of a frame, either way, leaves a future that nobody settles, and whoever waits for it a clock.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from multiprocessing.connection import Connection
from typing import Any

MOST = 0x7FFFFFFF
"""Bytes of a frame."""

_FRAME = struct.Struct("!i")
_PIECE = 1 << 18


class Channel:
    """Our end of a child's pipe; it takes the connection over."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._socket = socket.socket(fileno=os.dup(pipe.fileno()))
        pipe.close()
        self._socket.setblocking(False)
        self._incoming = bytearray()
        # Made once: as large a piece of memory for each read takes longer than what is read.
        self._piece = memoryview(bytearray(_PIECE))
        self._arrived: asyncio.Future[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def send(self, payload: bytes) -> asyncio.Task[None] | None:
        """Send a frame: at once where the kernel takes all of it, else by a task, to be awaited or cancelled.

        Raises OSError where the other end is gone.
        """
        if len(payload) > MOST:
            raise OSError(f"a frame of {len(payload)} bytes; at most {MOST} are sent")
        head = _FRAME.pack(len(payload))
        try:
            sent = self._socket.sendmsg((head, payload))
        except BlockingIOError:
            sent = 0
        if sent == len(head) + len(payload):
            return None
        # What is left of a long one is not copied.
        rest = memoryview(payload)[sent - len(head) :] if sent >= len(head) else memoryview(head[sent:] + payload)
        return asyncio.create_task(_sent(asyncio.get_running_loop(), self._socket, rest))

    def receive(self) -> asyncio.Future[bytes]:
        """The next frame, one at a time; EOFError or OSError where the other end is gone."""
        loop = asyncio.get_running_loop()
        arrived = self._arrived = loop.create_future()
        if self._loop is not loop:
            # Watched as long as it is open: a registration for each message costs more than the message's own frames.
            loop.add_reader(self._socket.fileno(), self._read)
            self._loop = loop
        return arrived

    def close(self) -> None:
        """Let go of it, in the event loop that it was used in or after that loop's end."""
        self.unwatch()
        self._socket.close()

    def unwatch(self) -> None:
        """Have the event loop look at it no more."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._loop = None

    def _read(self) -> None:
        arrived = self._arrived
        try:
            size = self._socket.recv_into(self._piece)
        except BlockingIOError:
            return
        except OSError as exc:
            self._settle(arrived, exc)
            return
        if not size:
            # It ended while it had nothing to do, or in the middle of a message.
            self.unwatch()
            self._settle(arrived, EOFError())
            return
        self._incoming += self._piece[:size]
        if len(self._incoming) < _FRAME.size:
            return
        (length,) = _FRAME.unpack_from(self._incoming)
        if length < 0:
            self._settle(arrived, OSError("a frame of 2 GiB or more"))
        elif len(self._incoming) >= _FRAME.size + length:
            # One frame at a time is on its way.
            frame = bytes(memoryview(self._incoming)[_FRAME.size :])
            self._incoming = bytearray()
            if arrived is not None and not arrived.done():
                arrived.set_result(frame)

    @staticmethod
    def _settle(arrived: asyncio.Future[bytes] | None, exc: BaseException) -> None:
        if arrived is not None and not arrived.done():
            arrived.set_exception(exc)


async def _sent(loop: asyncio.AbstractEventLoop, to: socket.socket, rest: memoryview) -> None:
    await loop.sock_sendall(to, rest)
