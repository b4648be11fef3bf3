"""A source read for ingest: parsed, with its labels found and its times settled, kept on disk until it is numbered."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mailwarden.domain.mail.events import Event
from mailwarden.ingest.found_later import FoundLater
from mailwarden.ingest.index import GivenLabel, LabelIndex
from mailwarden.ingest.parallel import Parsed, parse_all
from mailwarden.ingest.receive import Site
from mailwarden.ingest.sources import RawMessage, Source
from mailwarden.ingest.spill import Spill
from mailwarden.ingest.unbelieved import topmost_server


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    messages: read. added: new in the log. duplicates: there already, or twice in the source. labels, signals: events
    of these kinds added. missing: paths in the label index that the source does not hold. skipped: files that are
    no mail. defects: messages with a defect, by its code. first_us, last_us: range of event times, None without
    messages. clamped: messages of the source whose times lay ahead and were set back (`domain.mail.times`).
    unbelieved: where the tenant believes no results of authentication, the authserv-id that more than half of the
    messages bear on top, and how many; None where it believes some, or no one stands on so many.
    """

    messages: int
    added: int
    duplicates: int
    labels: int
    signals: int
    missing: tuple[str, ...]
    skipped: tuple[str, ...]
    defects: Counter[str]
    first_us: int | None
    last_us: int | None
    clamped: int = 0
    unbelieved: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was read of a source.

    folder: for temporary files, while the source is at hand. labels: (row, label) in source order. signals: by row.
    found: index paths met. index: that named labels. servers: authserv-ids on top of messages, where the tenant
    believes none.
    """

    site: Site
    source: Source
    spill: Spill
    folder: Path
    labels: list[tuple[int, GivenLabel]]
    signals: dict[int, FoundLater]
    found: set[str]
    defects: Counter[str]
    index: LabelIndex | None
    servers: Counter[str] = field(default_factory=Counter)

    def report(self, *, added: int, labels: int, signals: int) -> IngestReport:
        """The report of an ingest that added so many events of each kind."""
        times = self.spill.times_us
        return IngestReport(
            messages=len(self.spill),
            added=added,
            duplicates=len(self.spill) - added,
            labels=labels,
            signals=signals,
            missing=() if self.index is None else tuple(e.path for e in self.index if e.path not in self.found),
            skipped=tuple(self.source.skipped),
            defects=self.defects,
            first_us=int(times.min()) if len(times) else None,
            last_us=int(times.max()) if len(times) else None,
            clamped=self.defects["time_clamped"],
            unbelieved=self._unbelieved(),
        )

    def _unbelieved(self) -> tuple[str, int] | None:
        usual = next(iter(self.servers.most_common(1)), None)
        return usual if usual is not None and 2 * usual[1] > len(self.spill) else None


@contextmanager
def gather(
    source: Source,
    site: Site,
    *,
    labels: LabelIndex | None = None,
    select: Callable[[RawMessage], bool] | None = None,
    workers: int = 2,
    clock_us: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    scratch: Path | None = None,
) -> Iterator[Gathered]:
    """Read a source; what was read is at hand inside the block. See `pipeline.ingest` for what is given.

    Raises DataError where the source or the index cannot be read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mailwarden-ingest-", dir=scratch) as folder,
        Spill(Path(folder)) as spill,
    ):
        gathered = Gathered(site, source, spill, Path(folder), [], {}, set(), Counter(), labels)
        _read(gathered, select, workers, progress)
        spill.close_writing()
        gathered.defects["time_clamped"] += spill.settle(clock_us)
        yield gathered


def _read(
    gathered: Gathered,
    select: Callable[[RawMessage], bool] | None,
    workers: int,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    source, spill, labels = gathered.source, gathered.spill, gathered.index
    believes = gathered.site.trusts.believes

    def chosen() -> Iterator[RawMessage]:
        for message in source:
            entry = None if labels is None else labels.find(source.full_path(message))
            if entry is not None:
                gathered.found.add(entry.path)
            if select is None or select(message):
                yield message

    before_us = 0
    for chunk in parse_all(chosen(), gathered.site, workers, later=True):
        for message, parsed in chunk:
            event = _timed(parsed, before_us)
            before_us = event.received_at_us
            entry = None if labels is None else labels.find(source.full_path(message))
            if entry is not None:
                gathered.labels.append((len(spill), entry.given))
            if parsed.later is not None:
                gathered.signals[len(spill)] = parsed.later
            gathered.defects.update(set(parsed.defects))
            if not believes and (server := topmost_server(message.raw)):
                gathered.servers[server] += 1
            spill.add(event, message.envelope, message.raw)
        if progress is not None:
            progress(len(spill), None)


def _timed(parsed: Parsed, before_us: int) -> Event:
    event = parsed.event
    if event.time_source != "none":
        return event
    # The identity stays that of no time: what stands before a message in a source is no part of it.
    return replace(event, received_at_us=before_us, known_at_us=before_us)
