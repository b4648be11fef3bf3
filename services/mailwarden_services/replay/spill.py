"""A source's messages laid out on disk in one pass, so that they can be had again in order of arrival."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.mail.message import Envelope, TimeSource
from mailwarden.domain.mail.times import settled_all
from mailwarden.errors import DataError
from mailwarden.ingest.index import GivenLabel, LabelIndex
from mailwarden.ingest.parse import parse_message
from mailwarden.ingest.sources import RawMessage, Source


@dataclass(frozen=True, slots=True)
class Spilled:
    """One message of a spill: its place in the source's order, path, label ("" without one) and event time.

    path: in the source; full_path: what a label index can be held against. clamped: it bears a time that lay ahead of
    the source's, and time_us is what that was set back to. given: its label as the index gives it.
    """

    number: int
    path: str
    full_path: str
    label: str
    time_us: int
    clamped: bool = False
    given: GivenLabel | None = None

    def known_at_us(self, delay_us: int) -> int:
        """When its label becomes known."""
        return self.time_us + delay_us if self.given is None else self.given.known_at_us(self.time_us, delay_us)


class Spill(Source):
    """Messages of a source in one file, with narrow columns in memory; itself a source, in order of arrival.

    Event times are what `parse_message` reads; a message without any has the time of the one before it, or, before all
    others, of the first that has one. Those that lie ahead of all others are set back (`domain.mail.times`), by the
    source's own times and no clock; the envelope keeps the time that was borne. unlabelled: messages that the index
    does not name. missing: paths of the index that the source does not hold, None where the source was not read to its
    end.
    """

    def __init__(self, name: str, file: Path) -> None:
        super().__init__(name, "")
        self._file = file
        self.messages: list[Spilled] = []
        self._offsets: list[tuple[int, int]] = []
        self._envelopes: list[Envelope] = []
        self._chosen: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self.fingerprint = ""
        self.unlabelled = 0
        self.missing: tuple[str, ...] | None = None

    @classmethod
    def build(
        cls,
        source: Source,
        labels: LabelIndex,
        file: Path,
        *,
        only: LabelIndex | None,
        limit: int | None,
        progress: Callable[[int], None],
    ) -> Spill:
        """Spill a source's messages (of `only`'s subset where it is given), at most `limit` of them.

        Raises DataError where none of them is labelled.
        """
        spill = cls(source.name, file)
        digest = hashlib.sha256()
        found: set[str] = set()
        last_us: int | None = None
        timeless = 0
        whole = True
        with file.open("wb") as out:
            for message in source:
                full = source.full_path(message)
                entry = labels.find(full)
                if entry is not None:
                    found.add(entry.path)
                if only is not None and not only.selects(full):
                    continue
                if limit is not None and len(spill.messages) >= limit:
                    whole = False
                    break
                given = None if entry is None else entry.given
                label = "" if given is None else given.label
                spill.unlabelled += entry is None
                time_us, time_source = _event_time(message)
                last_us = last_us if time_us is None else time_us
                timeless += last_us is None
                digest.update(hashlib.sha256(message.raw).digest() + label.encode())
                if given not in (None, GivenLabel(label)):
                    digest.update(repr(given).encode())
                spill._add(message, full, given, last_us or 0, time_source, out)
                progress(len(spill.messages))
        spill._date_first(timeless)
        spill._settle()
        spill.fingerprint = digest.hexdigest()
        if whole:
            base = f"{source.base}/" if source.base else ""
            spill.missing = tuple(entry.path.removeprefix(base) for entry in labels if entry.path not in found)
        spill._chosen = np.argsort(np.array([m.time_us for m in spill.messages]), kind="stable")
        if spill.unlabelled == len(spill.messages):
            raise DataError(f"no message of {source.name} is in {labels.name}; are its paths relative to it?")
        return spill

    def _add(
        self,
        message: RawMessage,
        full_path: str,
        given: GivenLabel | None,
        time_us: int,
        time_source: TimeSource,
        out: IO[bytes],
    ) -> None:
        self._offsets.append((out.tell(), len(message.raw)))
        out.write(message.raw)
        self._envelopes.append(Envelope(time_us, message.envelope.mail_from, message.envelope.rcpt_to, time_source))
        label = "" if given is None else given.label
        self.messages.append(Spilled(len(self.messages), message.path, full_path, label, time_us, given=given))

    def _date_first(self, timeless: int) -> None:
        """Give the first messages, where they bear no time, that of the first that bears one."""
        if timeless < len(self.messages):
            first_us = self.messages[timeless].time_us
            for number in range(timeless):
                self.messages[number] = replace(self.messages[number], time_us=first_us)
                self._envelopes[number] = replace(self._envelopes[number], received_at_us=first_us)

    def _settle(self) -> None:
        """Set back the times that lie ahead of the source's."""
        times, ahead = settled_all(np.array([message.time_us for message in self.messages], dtype=np.int64))
        for number in np.flatnonzero(ahead).tolist():
            time_us = int(times[number])
            self.messages[number] = replace(self.messages[number], time_us=time_us, clamped=True)
            self._envelopes[number] = replace(self._envelopes[number], clock_us=time_us)

    def __len__(self) -> int:
        return len(self._chosen)

    def in_order(self) -> list[Spilled]:
        """The chosen messages in order of arrival."""
        return [self.messages[i] for i in self._chosen.tolist()]

    def part(self, start: int, stop: int) -> Spill:
        """The messages from start to stop in order of arrival, as a source of their own."""
        part = Spill(self.name, self._file)
        part.messages, part._offsets, part._envelopes = self.messages, self._offsets, self._envelopes
        part._chosen = self._chosen[start:stop]
        return part

    def reader(self) -> Callable[[Spilled], RawMessage]:
        """A function that reads one message; it holds the file open."""
        file = self._file.open("rb")

        def read(message: Spilled) -> RawMessage:
            offset, size = self._offsets[message.number]
            file.seek(offset)
            return RawMessage(message.path, file.read(size), self._envelopes[message.number])

        return read

    def _messages(self) -> Iterator[RawMessage]:
        read = self.reader()
        for message in self.in_order():
            yield read(message)


def files_in(path: Path) -> int | None:
    """How many files a folder of mail holds, for a progress bar; None for what would have to be read to be counted."""
    path = path.expanduser()
    if not path.is_dir():
        return None
    return sum(1 for _, _, names in os.walk(path) for name in names if not name.startswith("."))


def _event_time(message: RawMessage) -> tuple[int | None, TimeSource]:
    """A message's time and what it was read from; a time given for want of any counts as the envelope's."""
    head = message.raw
    for separator in (b"\r\n\r\n", b"\n\n"):
        end = message.raw.find(separator)
        if end >= 0:
            head = message.raw[: end + len(separator)]
            break
    parsed = parse_message(head, message.envelope)
    return parsed.received_at_us, "envelope" if parsed.received_at_us is None else parsed.time_source
