"""Parsing mail in several processes, in order, with no more in flight than they can hold."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import chain, islice

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError
from mailwarden.ingest.found_later import FoundLater, found_in
from mailwarden.ingest.receive import Site, receive
from mailwarden.ingest.sources import RawMessage

_CHUNK_MESSAGES = 64
_CHUNK_BYTES = 1 << 20
_CHUNKS_A_WORKER = 4


@dataclass(frozen=True, slots=True)
class Parsed:
    """One message read: its event with seq 0 (and time 0 where `time_source` is "none"), its defects' codes, and what
    is found out about it later, where that was asked for."""

    event: Event
    defects: tuple[str, ...]
    later: FoundLater | None


def parse_all(
    messages: Iterable[RawMessage], site: Site, workers: int, *, later: bool = False
) -> Iterator[list[tuple[RawMessage, Parsed]]]:
    """Chunks of messages with what was read of them, in order.

    workers: processes; 1 or less, or little mail, is read in this one. later: read the images too that take long.
    Raises DataError where a process dies.
    """
    chunks = _chunks(messages)
    # What the directory says is asked where a message is kept, by its event; sent along, it would be sent every time.
    site = replace(site, directory=None)
    if workers > 1:
        # Starting processes takes longer than reading a few messages does.
        first = list(islice(chunks, workers * _CHUNKS_A_WORKER))
        if len(first) == workers * _CHUNKS_A_WORKER:
            yield from _parse_in_pool(chain(first, chunks), site, workers, later)
            return
        chunks = iter(first)
    for chunk in chunks:
        yield list(zip(chunk, _parse_chunk(_bare(chunk), site, later), strict=True))


def _parse_in_pool(
    chunks: Iterator[list[RawMessage]], site: Site, workers: int, later: bool
) -> Iterator[list[tuple[RawMessage, Parsed]]]:
    # Spawned, not forked: a fork copies the locks of this process's threads, held or not.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    flying: deque[tuple[list[RawMessage], Future[list[Parsed]]]] = deque()
    try:
        for chunk in chunks:
            flying.append((chunk, pool.submit(_parse_chunk, _bare(chunk), site, later)))
            if len(flying) >= workers * _CHUNKS_A_WORKER:
                yield _landed(*flying.popleft())
        while flying:
            yield _landed(*flying.popleft())
    except BrokenProcessPool as error:
        near = flying[0][0][0].path if flying else "the last message"
        raise DataError(
            f"A process that reads mail died near {near}, of a signal or for want of memory. Run the ingest again "
            "with fewer workers; nothing of it was kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _landed(chunk: list[RawMessage], future: Future[list[Parsed]]) -> list[tuple[RawMessage, Parsed]]:
    return list(zip(chunk, future.result(), strict=True))


def _chunks(messages: Iterable[RawMessage]) -> Iterator[list[RawMessage]]:
    chunk: list[RawMessage] = []
    size = 0
    for message in messages:
        chunk.append(message)
        size += len(message.raw)
        if len(chunk) >= _CHUNK_MESSAGES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _bare(chunk: list[RawMessage]) -> list[tuple[bytes, Envelope]]:
    return [(message.raw, message.envelope) for message in chunk]


def _parse_chunk(chunk: list[tuple[bytes, Envelope]], site: Site, later: bool) -> list[Parsed]:
    parsed = []
    for raw, envelope in chunk:
        received = receive(raw, envelope, site)
        found = found_in(received.message, received.later) if later and received.later else None
        parsed.append(Parsed(received.event, tuple(defect.code for defect in received.message.defects), found))
    return parsed
