"""Messages on their way into the log, kept on disk: what stays in memory is a few numbers a message."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.times import settled_all
from mailwarden.stores.content_index import Copy
from mailwarden.stores.lake.event_log import EVENT_SCHEMA, events_to_table, table_to_events

_BATCH = 4096
_ENVELOPE = [pa.field("mail_from", pa.string()), pa.field("rcpt_to", pa.list_(pa.string()))]
_SCHEMA: pa.Schema = pa.schema([*EVENT_SCHEMA, *_ENVELOPE])


class Spill:
    """Events, envelopes and raw bytes in source order, written once and then read by row, in any order.

    counts_with: of rows that are messages which came before, or further copies of them, the id of that message.
    further: of the latter, as what they are read.
    """

    def __init__(self, folder: Path) -> None:
        self._raw_path = folder / "raw"
        self._rows_path = folder / "rows.arrow"
        self._raw = self._raw_path.open("w+b", buffering=1 << 20)
        self._writer = pa.ipc.new_file(str(self._rows_path), _SCHEMA)
        self._waiting: list[tuple[Event, Envelope]] = []
        self._ends = array("q", [0])
        self._times = array("q")
        self._set_back: frozenset[int] = frozenset()
        self.counts_with: dict[int, str] = {}
        self.further: dict[int, Copy] = {}
        self._mapped: pa.MemoryMappedFile | None = None
        self._rows: pa.RecordBatchFileReader | None = None

    def add(self, event: Event, envelope: Envelope, raw: bytes) -> None:
        """Keep a message."""
        self._raw.write(raw)
        self._ends.append(self._ends[-1] + len(raw))
        self._times.append(event.received_at_us)
        self._waiting.append((event, envelope))
        if len(self._waiting) == _BATCH:
            self._flush()

    def close_writing(self) -> None:
        """Make what was added readable; nothing can be added after it."""
        self._flush()
        self._writer.close()
        self._raw.flush()
        self._mapped = pa.memory_map(str(self._rows_path))
        self._rows = pa.ipc.open_file(self._mapped)

    def __len__(self) -> int:
        return len(self._times)

    @property
    def times_us(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Event times, int64 microseconds, in source order; as settled, once `settle` was called."""
        return np.array(self._times, dtype=np.int64)

    def settle(self, clock_us: int | None) -> int:
        """Set times back that lie ahead of all others, see `times.settled_all`; how many. Once, before `read`."""
        times, ahead = settled_all(self.times_us, clock_us)
        self._set_back = frozenset(np.flatnonzero(ahead).tolist())
        self._times = array("q", times.tobytes())
        return len(self._set_back)

    def size(self, row: int) -> int:
        """Bytes of a row's raw message."""
        return self._ends[row + 1] - self._ends[row]

    def raw(self, row: int) -> bytes:
        """A row's raw message."""
        return os.pread(self._raw.fileno(), self.size(row), self._ends[row])

    def message_ids(self) -> Iterator[str]:
        """The message_id of each row, in source order."""
        assert self._rows is not None
        column = _SCHEMA.get_field_index("message_id")
        for number in range(self._rows.num_record_batches):
            yield from self._rows.get_batch(number).column(column).to_pylist()

    def told_ids(self) -> Iterator[str]:
        """The id of the message that a label or a signal of each row is told of, in source order."""
        for row, message_id in enumerate(self.message_ids()):
            yield self.counts_with.get(row, message_id)

    def read(self, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[tuple[Event, Envelope]]:
        """The events and envelopes (mail_from and rcpt_to alone) of rows, in the order asked for."""
        assert self._rows is not None
        if len(rows) == 0:
            return []
        batches, within = np.divmod(rows, _BATCH)
        order = np.argsort(batches, kind="stable")
        taken = []
        for number in np.unique(batches):
            wanted = pa.array(within[order[batches[order] == number]])
            taken.append(self._rows.get_batch(int(number)).take(wanted))
        back = np.empty(len(rows), dtype=np.int64)
        back[order] = np.arange(len(rows))
        table = pa.Table.from_batches(taken).combine_chunks().take(pa.array(back))
        envelopes = (
            Envelope(mail_from=mail_from, rcpt_to=tuple(rcpt_to))
            for mail_from, rcpt_to in zip(table["mail_from"].to_pylist(), table["rcpt_to"].to_pylist(), strict=True)
        )
        return list(zip(map(self._settled, rows.tolist(), table_to_events(table)), envelopes, strict=True))

    def _settled(self, row: int, event: Event) -> Event:
        if row in self._set_back:
            time_us = self._times[row]
            event = replace(event, received_at_us=time_us, known_at_us=time_us, time_clamped=True)
        copy = self.further.get(row)
        return event if copy is None else copy.of(event)

    def close(self) -> None:
        """Let go of the files; removing them is the folder's owner's business."""
        self._rows = None
        if self._mapped is not None:
            self._mapped.close()
        self._writer.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = events_to_table([event for event, _ in self._waiting])
        envelopes = [envelope for _, envelope in self._waiting]
        table = table.append_column(_ENVELOPE[0], pa.array([e.mail_from for e in envelopes], pa.string()))
        table = table.append_column(_ENVELOPE[1], pa.array([e.rcpt_to for e in envelopes], _ENVELOPE[1].type))
        self._writer.write_batch(table.combine_chunks().to_batches()[0])
        self._waiting = []
