"""A sequencer in another process of this machine: calls over a unix socket, many at once on one connection.

A frame is its length (little-endian uint32) and a pickled tuple: (number, method, arguments, named arguments) one way,
(number, worked, value or exception) the other. The socket belongs to the user alone, since whoever may write to it is
believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog

from mailwarden.domain.mail.clusters import Member
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import SignalFacts
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.draft import Draft
from mailwarden_services.sequencer.sequencing import Asked, Begin, Lately, Sequencing, Source, Took

log = structlog.get_logger(__name__)

CALL_SECONDS = 5.0
"""What a call may take: whoever makes it holds a scoring process meanwhile."""

AWAY_SECONDS = 1.0
"""For how long nobody is asked after a call that took too long; then one call tries."""

LONGEST_PATH = 107
"""Bytes of a path that the system takes for a socket."""

_LENGTH = struct.Struct("<I")
_METHODS = frozenset(
    {"ping", "meet", "begin", "accept", "abandon", "label", "signal", "forget", "lately", "numbered", "find_content"}
    | {"history", "last_seq"}
)


@asynccontextmanager
async def answering(
    sequencing: Sequencing, path: Path, also: Mapping[str, Callable[[], Awaitable[Any]]] | None = None
) -> AsyncIterator[None]:
    """Answer other processes on a unix socket inside the block. also: what else they may ask, by name."""
    beside = also or {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    calls: set[asyncio.Task[None]] = set()
    open_now: set[asyncio.StreamWriter] = set()

    async def one(writer: asyncio.StreamWriter, frame: bytes) -> None:
        number = 0
        try:
            number, method, arguments, named = pickle.loads(frame)
            if method not in _METHODS and method not in beside:
                raise StoreError(f"a sequencer does not know {method!r}; run every process with one version")
            call = beside[method] if method in beside else getattr(sequencing, method)
            answer: tuple[int, bool, Any] = number, True, await call(*arguments, **named)
        except Exception as exc:
            answer = number, False, exc
        try:
            _send(writer, answer)
        except Exception as exc:
            # Whoever asked must hear of it rather than wait for ever.
            _send(writer, (number, False, StoreError(f"an answer of a sequencer cannot be sent ({exc!r})")))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        try:
            while True:
                frame = await _frame(reader)
                task = asyncio.create_task(one(writer, frame))
                calls.add(task)
                task.add_done_callback(calls.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            open_now.discard(writer)
            writer.close()

    before = os.umask(0o177)
    try:
        with at_short_path(path) as short:
            server = await asyncio.start_unix_server(connected, short)
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        for writer in list(open_now):
            writer.close()
        for task in list(calls):
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        path.unlink(missing_ok=True)


class There:
    """A `Sequencing` whose sequencer answers on a unix socket.

    A call that was under way when the other process went away fails, though it may have been done: a message that is
    handed over again is known by then.
    """

    def __init__(self, path: Path, shard: int) -> None:
        self._path, self._shard = path, shard
        self._writer: asyncio.StreamWriter | None = None
        self._connecting: asyncio.Lock | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._reads: asyncio.Task[None] | None = None
        self._failing, self._away_until = False, float("-inf")

    async def meet(self, tenant: str) -> None:
        """See `Sequencing`; done there by each of the others."""

    async def begin(self, tenant: str, asked: Asked) -> Begin:
        """See `Sequencing`."""
        found: Begin = await self._call("begin", tenant, asked)
        return found

    async def accept(
        self, draft: Draft, raw: bytes, *, key: str | None, member: Member | None, sure: bool = False
    ) -> Took:
        """See `Sequencing`."""
        took: Took = await self._call("accept", draft, raw, key=key, member=member, sure=sure)
        return took

    async def abandon(self, tenant: str, member: Member | None) -> None:
        """See `Sequencing`."""
        if member is not None:
            await self._call("abandon", tenant, member)

    async def label(
        self,
        target: Event,
        label: str,
        held: str | None,
        *,
        known_at_us: int,
        source: Source,
        given_by: str,
        stands_for: int = 0,
    ) -> int:
        """See `Sequencing`."""
        seq: int = await self._call(
            "label",
            target,
            label,
            held,
            known_at_us=known_at_us,
            source=source,
            given_by=given_by,
            stands_for=stands_for,
        )
        return seq

    async def signal(self, target: Event, facts: SignalFacts) -> int:
        """See `Sequencing`."""
        seq: int = await self._call("signal", target, facts)
        return seq

    async def forget(self, target: Event) -> int:
        """See `Sequencing`."""
        seq: int = await self._call("forget", target)
        return seq

    async def lately(self, tenant: str, message_id: str) -> Lately:
        """See `Sequencing`."""
        found: Lately = await self._call("lately", tenant, message_id)
        return found

    async def numbered(self, tenant: str, message_ids: Sequence[str]) -> dict[str, int]:
        """See `Sequencing`."""
        found: dict[str, int] = await self._call("numbered", tenant, list(message_ids))
        return found

    async def find_content(self, tenant: str, content: str) -> str | None:
        """See `Sequencing`."""
        found: str | None = await self._call("find_content", tenant, content)
        return found

    async def close(self) -> None:
        """Let go of the connection."""
        if self._reads is not None:
            self._reads.cancel()
            await asyncio.gather(self._reads, return_exceptions=True)
        self._lost()

    async def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        now = time.monotonic()
        if now < self._away_until:
            raise self._away()
        try:
            # One call finds out whether it is back; the others need not wait for it.
            self._away_until = now + CALL_SECONDS if self._failing else self._away_until
            found = await asyncio.wait_for(self._answer(method, arguments, named), CALL_SECONDS)
        except TimeoutError as exc:
            self._failing, self._away_until = True, time.monotonic() + AWAY_SECONDS
            raise self._away() from exc
        self._failing, self._away_until = False, float("-inf")
        return found

    async def _answer(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        writer = self._writer or await self._connect()
        self._number += 1
        number = self._number
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            _send(writer, (number, method, arguments, named))
            await writer.drain()
            return await answer
        except ConnectionError as exc:
            raise self._away() from exc
        finally:
            self._waiting.pop(number, None)

    async def _connect(self) -> asyncio.StreamWriter:
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._writer is None:
                try:
                    with at_short_path(self._path) as short:
                        reader, writer = await asyncio.open_unix_connection(short)
                except OSError as exc:
                    raise self._away() from exc
                self._writer = writer
                self._reads = asyncio.create_task(self._read(reader))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                number, worked, value = pickle.loads(await _frame(reader))
                answer = self._waiting.get(number)
                if answer is None or answer.done():
                    continue
                if worked:
                    answer.set_result(value)
                else:
                    answer.set_exception(value)
        except (asyncio.IncompleteReadError, ConnectionError):
            log.warning("a sequencer went away", shard=self._shard)
        finally:
            self._lost()

    def _lost(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._away())

    def _away(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"the sequencer of shard {self._shard} cannot be reached; it is started again, hand the mail over once more"
        )


async def asked(path: Path, method: str, seconds: float) -> Any:
    """What another process answers on its socket, on a connection of its own, within so many seconds.

    Raises StoreUnavailable where it does not, and what it raised.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            with at_short_path(path) as short:
                reader, writer = await asyncio.open_unix_connection(short)
            _send(writer, (0, method, (), {}))
            _, worked, value = pickle.loads(await _frame(reader))
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as exc:
        raise StoreUnavailable(f"the process at {path} does not answer ({exc!r})") from exc
    finally:
        if writer is not None:
            writer.close()
    if not worked:
        raise value
    return value


def ping(path: Path, seconds: float) -> None:
    """Have a sequencer answer; blocks. Raises StoreUnavailable where it does not within so many seconds."""
    frame = pickle.dumps((0, "ping", (), {}), protocol=5)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asking:
        asking.settimeout(seconds)
        try:
            with at_short_path(path) as short:
                asking.connect(short)
            asking.sendall(_LENGTH.pack(len(frame)) + frame)
            if not asking.recv(_LENGTH.size):
                raise OSError("it closed the connection")
        except OSError as exc:
            raise StoreUnavailable(f"the sequencer at {path} does not answer ({exc})") from exc


@contextmanager
def at_short_path(path: Path) -> Iterator[str]:
    """A name of a socket that is short enough to bind or connect to inside the block, however deep its folder lies.

    Raises OSError where the folder is not there.
    """
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


def _send(writer: asyncio.StreamWriter, what: Any) -> None:
    frame = pickle.dumps(what, protocol=5)
    writer.write(_LENGTH.pack(len(frame)) + frame)
