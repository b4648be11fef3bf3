"""The spool: a local append-only log in which a message is safe before the platform says that it has it.

Files of a spool: segments `<position of the first byte, 20 digits>.seg`, `committed` (how far readers may go),
`lock` (held by the one writer), and one `<reader>.checkpoint` a reader. A record in a segment is its length and
its CRC-32 (both little-endian uint32, the CRC over length and payload) and the payload. A position is a count of
bytes since the spool's beginning: that of a record is where it ends, so that the next one begins there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Self

import structlog

from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.disk import full_disk, is_full
from mailwarden.stores.spool_files import (
    check_size,
    framed,
    pack_mark,
    read_committed,
    scan_segment,
    segment_path,
    segments_of,
    sync_folder,
)
from mailwarden.stores.spool_reader import SpoolReader, retire

__all__ = ["Spool", "SpoolReader", "retire"]

_GROUP_BYTES = 8 << 20

LATER_SECONDS = 0.002
"""How long the thread makes records that may wait before it looks for others again."""

LATER_BYTES = 256 << 10
"""Of records that may wait in one group, unless the first of them is larger."""

LATER_WAITS_SECONDS = 0.05
"""For how long what may wait does so at most, whatever else comes; then some of it is written."""

_log = structlog.get_logger(__name__)

Settle = Callable[[int | None, StoreError | None], None]
"""Told the record's position once it is safe, or why it is not; neither where there was nothing to write."""

Make = Callable[[], bytes | None]
"""A record's payload, or None for nothing to write; may raise StoreError."""


@dataclass(slots=True)
class _Waiting:
    """make: gives the payload, called by the thread that writes. size: what it is likely to be, bytes."""

    make: Make
    settle: Settle
    size: int
    undo: Callable[[], None] | None = None
    loop: asyncio.AbstractEventLoop | None = None
    error: StoreError | None = None


class Spool:
    """The one writer of a spool; safe for many threads and asyncio tasks, which share one fsync a group.

    directory: made where missing. fsync: False trusts the operating system to stay up. segment_bytes: a segment
    that has grown beyond it is closed. trouble: why the last write failed, "" where it did not. Opening cuts off a
    record that was being written when the writer died. Raises StoreError where another process writes to the spool, or
    a record that was acknowledged is damaged.
    """

    def __init__(self, directory: Path, *, fsync: bool = True, segment_bytes: int = 64 << 20) -> None:
        self._directory = directory.expanduser().resolve()
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        self._changed = Condition()
        self._queue: list[_Waiting] = []
        self._later: deque[_Waiting] = deque()
        self._later_at = self._at_once_at = float("-inf")
        self._closing = False
        self._broken: StoreError | None = None
        self.trouble = ""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = self._take_lock()
        except OSError as error:
            raise StoreUnavailable(f"Spool {self._directory}: cannot be opened ({error}). Check the folder.") from error
        try:
            self._recover()
        except OSError as error:
            os.close(self._lock)
            raise StoreUnavailable(f"Spool {self._directory}: cannot be read ({error}). Check the disk.") from error
        except StoreError:
            os.close(self._lock)
            raise
        self._thread = Thread(target=self._commit_groups, name="spool", daemon=True)
        self._thread.start()

    def append(self, payload: bytes) -> int:
        """Add a record and return its position once it is safe.

        Raises DataError on a payload of 1 GiB or more, StoreUnavailable where the disk refuses it.
        """
        done: Future[int] = Future()

        def settle(position: int | None, error: StoreError | None) -> None:
            if position is None:
                done.set_exception(error or StoreError("Spool: nothing was written."))
            else:
                done.set_result(position)

        check_size(payload)
        self._enqueue(_Waiting(lambda: payload, settle, len(payload)))
        return done.result()

    async def append_async(self, payload: bytes) -> int:
        """Add a record like `append`, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()

        def settle(position: int | None, error: StoreError | None) -> None:
            if done.done():
                return  # the caller gave up waiting; the record is in the spool all the same
            if position is None:
                done.set_exception(error or StoreError("Spool: nothing was written."))
            else:
                done.set_result(position)

        check_size(payload)
        self._enqueue(_Waiting(lambda: payload, settle, len(payload), loop=loop))
        return await done

    def append_made(
        self,
        make: Make,
        settle: Settle,
        *,
        size: int,
        undo: Callable[[], None] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        later: bool = False,
    ) -> None:
        """Add a record that is made when its turn has come, by the one thread that writes, in the order of the calls.

        So what numbers records needs no lock, and whatever waits for the disk is made meanwhile. undo: called by that
        thread where the record was made and could not be written, the last one made first. loop: in which `settle` is
        called, by that thread itself where there is none. size: see `_Waiting`. later: it may wait; what may not
        overtakes it, and of what may only little is made at a time, in the order of its own calls.
        """
        self._enqueue(_Waiting(make, settle, size, undo, loop), later=later)

    @property
    def quiet_seconds(self) -> float:
        """Since a record came that may not wait."""
        return time.monotonic() - self._at_once_at

    @property
    def position(self) -> int:
        """Where the committed records end."""
        return self._end

    def close(self) -> None:
        """Write what waits, and let go of the spool."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._thread.join()
        for handle in (self._segment, self._committed, self._lock):
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_lock(self) -> int:
        handle = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise StoreError(
                f"Spool {self._directory}: another process writes to it. Give each writer a folder of its own, "
                "or stop the other one."
            ) from error
        return handle

    def _recover(self) -> None:
        acknowledged = read_committed(self._directory)
        found = segments_of(self._directory)
        self._base = found[-1] if found else acknowledged
        path = segment_path(self._directory, self._base)
        self._segment = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._segment).st_size
        valid = scan_segment(path)
        self._end = self._base + valid
        if self._end < acknowledged:
            raise StoreError(
                f"Spool file {path}: the record at byte {valid} is damaged or gone, though it was acknowledged "
                f"(up to byte {acknowledged - self._base}). Restore the file from a copy, or move the spool away "
                "and hand the mail over again."
            )
        if valid < size:
            _log.warning("spool_tail_cut", file=path.name, at=valid, bytes=size - valid)
            os.ftruncate(self._segment, valid)
        # What a killed writer had written but not synced is kept, and must be safe before readers see it.
        self._sync(self._segment)
        self._committed = os.open(self._directory / "committed", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._publish()
        if self._fsync:
            sync_folder(self._directory)

    def _enqueue(self, waiting: _Waiting, *, later: bool = False) -> None:
        with self._changed:
            if self._broken is not None:
                raise self._broken
            if self._closing:
                raise StoreError(f"Spool {self._directory} is closed. Open it again to write.")
            if later:
                if not self._later:
                    self._later_at = time.monotonic()
                self._later.append(waiting)
            else:
                self._queue.append(waiting)
                self._at_once_at = time.monotonic()
            self._changed.notify()

    def _commit_groups(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._later and not self._closing:
                    self._changed.wait()
                if not self._queue and not self._later:
                    return
                group = self._take_group()
            made: list[tuple[_Waiting, bytes]] = []
            failure: StoreError | None = None
            positions: dict[int, int] = {}
            try:
                if self._broken is not None:
                    with self._changed:
                        group += self._later
                        self._later.clear()
                    raise self._broken
                for waiting in self._with_later(group):
                    payload = self._made(waiting)
                    if payload is not None:
                        made.append((waiting, payload))
                if made:
                    positions = self._write(made)
                    self.trouble = ""
            except Exception as error:
                # Whatever it is, the callers of this group must hear of it rather than wait for ever.
                failure = self._broken if error is self._broken else None
                if failure is None and is_full(error):
                    failure = full_disk(self._directory, "the spool cannot be written")
                elif failure is None:
                    failure = StoreUnavailable(
                        f"Spool {self._directory}: the disk refused a write ({error}). Free space or mend the disk."
                    )
                if failure is not error:
                    failure.__cause__ = error
                self.trouble = str(failure)
                self._undo(made)
                for waiting in group:
                    waiting.error = waiting.error or failure
            _settle(group, positions)

    def _made(self, waiting: _Waiting) -> bytes | None:
        try:
            payload = waiting.make()
            if payload is None:
                return None
            try:
                return framed(payload)
            except Exception:
                self._undo([(waiting, payload)])
                raise
        except StoreError as error:
            waiting.error = error
        except Exception as error:
            _log.exception("a record could not be made")
            waiting.error = StoreError(f"A record could not be made ({error!r}).")
        return None

    def _undo(self, made: Sequence[tuple[_Waiting, bytes]]) -> None:
        for waiting, _ in reversed(made):
            if waiting.undo is not None:
                try:
                    waiting.undo()
                except Exception:
                    _log.exception("a record that was not written could not be taken back")

    def _take_group(self) -> list[_Waiting]:
        total = 0
        for count, waiting in enumerate(self._queue):
            total += waiting.size
            if count and total > _GROUP_BYTES:
                group, self._queue = self._queue[:count], self._queue[count:]
                return group
        group, self._queue = self._queue, []
        return group

    def _with_later(self, group: list[_Waiting]) -> Iterator[_Waiting]:
        """What is to be written now, and behind it some of what may wait; `group` grows by that."""
        yield from tuple(group)
        alone, began, size = not group, time.monotonic(), 0
        if not alone and began - self._later_at < LATER_WAITS_SECONDS:
            return
        while size < LATER_BYTES and time.monotonic() - began < LATER_SECONDS:
            with self._changed:
                if not self._later or (alone and size and self._queue):
                    return
                waiting = self._later.popleft()
            group.append(waiting)
            self._later_at, size = began, size + waiting.size
            yield waiting

    def _write(self, made: Sequence[tuple[_Waiting, bytes]]) -> dict[int, int]:
        """Write frames; by the identity of what waits, where its record ends."""
        if self._end - self._base >= self._segment_bytes:
            self._next_segment()
        # A lone record, which may be long, is not copied once more.
        data = memoryview(made[0][1] if len(made) == 1 else b"".join(frame for _, frame in made))
        offset = self._end - self._base
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._segment, data[written:], offset + written)
        except OSError:
            self._or_break("truncate", lambda: os.ftruncate(self._segment, offset))
            raise
        # After a failed fsync nobody can say what is on the disk: only a new scan can.
        self._or_break("fsync", lambda: self._sync(self._segment))
        positions = {}
        for waiting, frame in made:
            self._end += len(frame)
            positions[id(waiting)] = self._end
        self._publish()
        return positions

    def _or_break(self, what: str, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            self._broken = StoreUnavailable(
                f"Spool {self._directory}: {what} failed ({error}). Mend the disk and open the spool again."
            )
            raise

    def _next_segment(self) -> None:
        handle = os.open(
            segment_path(self._directory, self._end), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        if self._fsync:
            sync_folder(self._directory)
        os.close(self._segment)
        self._segment, self._base = handle, self._end

    def _publish(self) -> None:
        os.pwrite(self._committed, pack_mark(self._end), 0)

    def _sync(self, handle: int) -> None:
        if self._fsync:
            os.fdatasync(handle)


def _settle(group: Sequence[_Waiting], positions: Mapping[int, int]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for waiting in group:
        if waiting.loop is None:
            waiting.settle(positions.get(id(waiting)), waiting.error)
        else:
            by_loop.setdefault(waiting.loop, []).append(waiting)

    def settle_all(waiters: list[_Waiting]) -> None:
        for waiting in waiters:
            waiting.settle(positions.get(id(waiting)), waiting.error)

    for loop, waiters in by_loop.items():
        # One call a loop and group; a loop that is closed has nobody left to tell.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle_all, waiters)
