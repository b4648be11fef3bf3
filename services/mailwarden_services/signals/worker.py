"""The signal worker: reads accepted mail once more, slowly, and hands over what it finds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag

import structlog

from mailwarden.errors import StoreError
from mailwarden.ingest.found_later import FoundLater, find_later
from mailwarden.stores.accepted import AcceptedMessage, decode_accepted, waits_for_signal
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_files import pack_mark, read_mark
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.signals.found import FoundSignal, encode_found

log = structlog.get_logger(__name__)

READER_NAME = "signals"

BATCH = 1_000
IDLE_SECONDS = 0.25
COMMIT_SECONDS = 5.0
"""How often the place is kept on disk: what was read since is read again after a crash."""

RETRY_SECONDS = 1.0

MAX_STARTS = 3
"""How often reading a message may end the process before that message is passed over."""


class SignalWorker:
    """Reads the spool of accepted mail from a checkpoint of its own, and writes what it finds to another spool.

    1. The messages that wait for a signal are read again; each found signal is in the second spool, on disk.
    2. Then the checkpoint moves behind them. A crash in between hands signals over again, and they count once.
    3. What decodes strangers' images is native code. How often a message was begun is kept on disk, and one that
       ended the process `MAX_STARTS` times is passed over, so that the mail behind it is not held up for ever.

    find: from the raw message and the envelope's sender to what is found.
    """

    def __init__(
        self, spool: Path, found: Spool, *, find: Callable[[bytes, str | None], FoundLater | None] = find_later
    ) -> None:
        self._reader = SpoolReader(spool, READER_NAME)
        self._began = _Began(spool / "signals.began")
        self._found = found
        self._find = find
        self._waiting: list[tuple[int, bytes]] = []
        self._done = self._reader.checkpoint
        self._committed = time.monotonic()

    def step(self, stop: Flag | None = None) -> bool:
        """Go through the next records; True where there may be more. Raises StoreError where a spool is away."""
        if not self._waiting:
            self._waiting = self._reader.poll(limit=BATCH)[::-1]
        full = len(self._waiting) == BATCH
        while self._waiting and not (stop is not None and stop.is_set()):
            position, payload = self._waiting[-1]
            if waits_for_signal(payload):
                record = decode_accepted(payload)
                if isinstance(record, AcceptedMessage) and record.event.pending:
                    self._read(position, record)
            self._waiting.pop()
            self._done = position
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()
        return full

    def commit(self) -> None:
        """Keep the place that was reached on disk."""
        if self._done > self._reader.checkpoint:
            self._reader.commit(self._done)
        self._committed = time.monotonic()

    def run(self, stop: Flag) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            try:
                if not self.step(stop):
                    stop.wait(IDLE_SECONDS)
            except StoreError as exc:
                log.error("signals wait; trying again", error=str(exc))
                stop.wait(RETRY_SECONDS)
        self.close()

    def close(self) -> None:
        """Keep the place, and let go of the spool of accepted mail."""
        self.commit()
        self._reader.close()

    def _read(self, position: int, record: AcceptedMessage) -> None:
        event = record.event
        if self._began.times(position) >= MAX_STARTS:
            log.error("reading a message ended the process; it gets no signal", tenant=event.tenant, seq=event.seq)
            return
        self._began.again(position)
        found = self._find(record.raw, record.mail_from)
        self._began.over()
        if found is None:
            return
        log.info("signal found", tenant=event.tenant, seq=event.seq, signal=found.facts.signal, read=found.status)
        self._found.append(encode_found(FoundSignal(event.tenant, event.message_id, event.received_at_us, found.facts)))


class _Began:
    """Which record was begun last, and how often: two marks in files, which need not outlive the machine."""

    def __init__(self, path: Path) -> None:
        self._position, self._count = path.with_suffix(".at"), path.with_suffix(".times")

    def times(self, position: int) -> int:
        return read_mark(self._count) if read_mark(self._position) == position else 0

    def again(self, position: int) -> None:
        times = self.times(position) + 1
        try:
            # The count first: torn between the two, a record seems begun more often, never less.
            self._count.write_bytes(pack_mark(times))
            self._position.write_bytes(pack_mark(position))
        except OSError as exc:
            raise StoreError(f"{self._position}: cannot be written ({exc}). Check the disk.") from exc

    def over(self) -> None:
        self._position.unlink(missing_ok=True)
