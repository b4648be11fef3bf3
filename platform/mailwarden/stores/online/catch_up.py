"""Catching a new generation up: from the events that were loaded to those that its partitions have folded.

A generation was loaded with the states of a snapshot of the event log. Meanwhile its partitions went on folding mail
into the others, so that it lacks the events in (loaded, folded]. Each `CatchUp.step` does one of these:

1. Where a former holder of the lease noted that the generation holds all up to the marks as they stand now, join it at
   once (see 4).
2. For each tenant that lacks something: read a chunk of its events from the log, fold it into the new generation alone.
   How far that came (`_progress`) is in memory only: who starts again begins at what was loaded, and states take no
   event twice.
3. Where the log ends below what was folded, the events are still in the spool: `starved`, and the log must be written.
4. Where nothing lacks: note that, beside the marks and under the lease; then join: have the catalog name the
   partition among those that fold this generation. Each partition joins by itself.

Invariants:

- Into a generation that a partition has not joined, only this folds, in order of seq and from the log alone: no gap.
- A partition joins only where in one look its lease is ours and its marks are those that were caught up to. So each
  event is folded into the generation either here, or by the writer after the join.
- The note is written before the catalog and read before anything is folded: `docs/generations.md` says against what.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mailwarden.domain.mail.events import Event
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.catalog import Pending
from mailwarden.stores.online.keys import catalog_field
from mailwarden.stores.online.streams import Streams
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.online.writer import OnlineWriter

log = structlog.get_logger(__name__)

REPAIR_LIMIT = 200_000
"""Events that are folded one after another; what lacks more than that is faster and exact by `materialize`."""

CHUNK = 1_000
"""Events of the log that are folded between two looks at the streams."""


@dataclass(frozen=True, slots=True)
class Joining:
    """A generation and the partitions, all of one writer, that shall fold it with the rest."""

    pending: Pending
    partitions: tuple[int, ...]

    @property
    def view(self) -> str:
        """The view's name and version."""
        return catalog_field(self.pending.view)


class CatchUp:
    """Folds the event log into generations that were loaded of a snapshot, chunk by chunk; steps are the module's.

    joining: what to catch up; another set needs another object. Chunks go to all partitions of it, so that one that has
    folded less is ahead of its own marks: its stream brings those events once more, and a state takes none twice.

    waits: by tenant, in words, what lies beyond `limit`. starved: all that the log holds is folded, and partitions
    have folded more than that: the log must be written, and meanwhile they must not go on.
    """

    def __init__(
        self, online: OnlineWriter, streams: Streams, events: EventLog, joining: Sequence[Joining], limit: int
    ) -> None:
        self.joining = tuple(joining)
        self.waits: dict[str, str] = {}
        self.starved = False
        self._online, self._streams, self._events, self._limit = online, streams, events, limit
        self._progress: dict[str, int] = {}
        self._reading: dict[str, Iterator[list[Event]]] = {}

    def step(self, token: bytes) -> bool:
        """Fold a chunk, or join what is whole; False where there is nothing to do now.

        Raises StoreError where a store is away: go on with another object.
        """
        marks = self._marks()
        if self._join_those_noted(marks, token):
            return True
        targets: dict[str, int] = {}
        for folded in marks.values():
            for tenant, mark in folded.items():
                targets[tenant] = max(mark.seq, targets.get(tenant, 0))
        behind = [tenant for tenant, seq in sorted(targets.items()) if self._reached(tenant) < seq]
        self.starved = False
        did = [self._fold_chunk(tenant, targets[tenant]) for tenant in behind]
        # Joined in the step that reached the marks: by the next one, mail that flows has moved them again.
        if any(self._reached(tenant) < targets[tenant] for tenant in behind):
            self.starved = not any(did) and not self.waits
            return any(did)
        for one in self.joining:
            for partition in one.partitions:
                self._join(one, partition, marks[partition], token)
        return True

    def _marks(self) -> dict[int, dict[str, Watermark]]:
        everywhere = self._online.generations.marks.folded_everywhere()
        return {p: everywhere[p] for one in self.joining for p in one.partitions}

    def _reached(self, tenant: str) -> int:
        loaded = min(one.pending.loaded.get(tenant, 0) for one in self.joining)
        return max(loaded, self._progress.get(tenant, 0))

    def _fold_chunk(self, tenant: str, target: int) -> bool:
        # A reading is of one version of the log: where it ends, a newer version may hold more.
        chunk = next(self._reading.get(tenant, iter(())), None)
        if chunk is None:
            missing = target - self._reached(tenant)
            if missing > self._limit:
                names = ", ".join(sorted(one.view for one in self.joining))
                self.waits[tenant] = (
                    f"{missing:,} events of tenant {tenant} lack in the new states of {names}; run "
                    "`mailwarden materialize`, and until then the former ones serve, where there are any"
                )
                return False
            self._reading[tenant] = self._events.after(tenant, self._reached(tenant), limit=CHUNK)
            chunk = next(self._reading[tenant], None)
        if chunk is None:
            return False
        for one in self.joining:
            pending = one.pending
            self._online.fold_into(pending.view, pending.generation, chunk, one.partitions, pending.facts)
        self._progress[tenant] = chunk[-1].seq
        return True

    def _join(self, one: Joining, partition: int, folded: Mapping[str, Watermark], token: bytes) -> None:
        # Noted under the lease first: a writer that takes the partition over at this moment reads the note before it
        # folds anything, and so cannot leave the generation out although it is about to be one of those folded.
        if self._streams.fill(partition, one.view, _note(one, folded), token=token):
            self._online.generations.caught_up(
                one.pending.view, one.pending.generation, partition, owner=token, folded=folded
            )
            log.info("a partition folds a new generation", view=one.view, partition=partition)

    def _join_those_noted(self, marks: Mapping[int, Mapping[str, Watermark]], token: bytes) -> bool:
        joined = False
        for one in self.joining:
            for partition in one.partitions:
                if self._streams.filled(partition, one.view) == _note(one, marks[partition]):
                    joined |= self._online.generations.caught_up(
                        one.pending.view, one.pending.generation, partition, owner=token, folded=marks[partition]
                    )
        return joined


def _note(one: Joining, folded: Mapping[str, Watermark]) -> bytes:
    return json.dumps([one.pending.generation, {tenant: mark.seq for tenant, mark in sorted(folded.items())}]).encode()
