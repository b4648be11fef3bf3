"""The sketches of one key, brought forward beside its packed state: the part of a fold that no array can hold.

`packed_fold` folds everything but distinct counts, and this module folds them alone, event by event:

1. Of each level that counts names the buckets are kept here too, and fall off and are made by the same rules; with a
   bucket its sketch and its count come from the next later one.
2. A name is added to the sketch of all time, and to those of the event's bucket and of earlier ones, from the latest
   on: earlier ones hold all that later ones do, so that the first one that held the name ends the walk.
3. Counts of the sketches that grew are written over those in the state's words. Sketches that no name reached stay
   bytes and are never opened.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.layout import Layout, Level
from mailwarden.domain.aggregates.online.packed_reads import HEADER
from mailwarden.domain.aggregates.sketches import DistinctUnion
from mailwarden.domain.aggregates.windows import NOTHING
from mailwarden.errors import DataError

Ints = NDArray[np.int64]

_LENGTH = struct.Struct("<I")


class SketchPlan:
    """Where a view's counts stand in its states, found once for all keys.

    first_total: of the distincts, in a state's words. first_level: where levels begin. widths: words of a row, by
    level. counted: of the levels that count names, their places among all.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        totals = HEADER + len(layout.levels) + len(layout.view.recents)
        self.first_total = totals + layout.first_distinct
        self.first_level = totals + layout.n_totals + layout.n_times + len(layout.held)
        self.widths = tuple(level.n_columns for level in layout.levels)
        self.counted = tuple(place for place, level in enumerate(layout.levels) if level.distincts)
        self.problem = f"sketches of view {layout.view.name} are damaged; run `mailwarden materialize --afresh`"

    def levels(self, words: Ints) -> Iterator[tuple[int, int]]:
        """Of the levels that count names, in a state's words, where each begins and how many buckets it has."""
        if self.counted:
            position = self.first_level
            for place in range(self.counted[-1] + 1):
                n = int(words[HEADER + place])
                if place in self.counted:
                    yield position, n
                position += n * (1 + self.widths[place])


@dataclass(slots=True)
class _Counted:
    """A level that counts names. buckets: ascending. sketches, counts: by distinct of the level, one a bucket."""

    level: Level
    width: int
    buckets: list[int]
    sketches: list[list[DistinctUnion]]
    counts: list[list[int]]
    changed: bool = False


class KeySketches:
    """Sketches of one key whose state is folded by `packed_fold`.

    state: words of the state as it was, None for a new key. sketches: as `EntityState.sketch_bytes` packs them.
    changed: whether `to_bytes` may differ from what was read. Raises DataError where there are not as many as the state
    has.
    """

    __slots__ = ("_counts", "_levels", "_newest_us", "_plan", "_sketches", "changed")

    def __init__(self, plan: SketchPlan, state: Ints | None, sketches: bytes) -> None:
        self._plan = plan
        self._newest_us = NOTHING if state is None else int(state[2])
        self.changed = state is None
        self._counts: dict[int, int] = {}
        layout = plan.layout
        levels = [(layout.levels[place], plan.widths[place]) for place in plan.counted]
        if state is None:
            self._sketches = [DistinctUnion() for _ in layout.distinct_names]
            self._levels = [
                _Counted(level, width, [], [[] for _ in level.distincts], [[] for _ in level.distincts])
                for level, width in levels
            ]
            return
        blobs = split_sketches(sketches)
        found = list(plan.levels(state))
        all_time = len(layout.distinct_names)
        if len(blobs) != all_time + sum(n * len(of[0].distincts) for of, (_, n) in zip(levels, found, strict=True)):
            raise DataError(plan.problem)
        unions = iter([DistinctUnion(blob) for blob in blobs])
        self._sketches = list(islice(unions, all_time))
        self._levels = []
        for (level, width), (position, n) in zip(levels, found, strict=True):
            rows = state[position + n : position + n * (1 + width)].reshape(n, width)
            counts = rows[:, width - len(level.distincts) :].T.tolist()
            of_level = [list(islice(unions, n)) for _ in level.distincts]
            self._levels.append(_Counted(level, width, state[position : position + n].tolist(), of_level, counts))

    def fold(self, time_us: int, names: Sequence[Collection[str]]) -> None:
        """Fold one event. names: those that it adds to each distinct of the view."""
        self._newest_us = max(self._newest_us, time_us)
        for index, members in enumerate(names):
            if members:
                sketch = self._sketches[index]
                held = [sketch.add(member) for member in members]
                if not all(held):
                    self.changed = True
                    self._counts[index] = sketch.estimate()
        for counted in self._levels:
            self._place(counted, time_us)
            position = bisect_right(counted.buckets, time_us // counted.level.hop_us)
            for column, distinct in enumerate(counted.level.distincts):
                for member in names[distinct]:
                    self._add(counted, column, position, member)

    def write(self, words: Ints) -> None:
        """Write the counts over those in the words of the folded state.

        Raises DataError where its levels have other buckets than were kept here: one of the two was damaged.
        """
        for index, count in self._counts.items():
            words[self._plan.first_total + index] = count
        for counted, (position, n) in zip(self._levels, self._plan.levels(words), strict=True):
            if n != len(counted.buckets):
                raise DataError(self._plan.problem)
            if counted.changed:
                width = counted.width
                first = position + n + width - len(counted.counts)
                for column, counts in enumerate(counted.counts):
                    words[first + column : position + n + n * width : width] = counts

    def to_bytes(self) -> bytes:
        """All sketches, as `EntityState.sketch_bytes` packs them."""
        blobs = [sketch.to_bytes() for sketch in self._sketches]
        blobs += [s.to_bytes() for counted in self._levels for column in counted.sketches for s in column]
        return b"".join([_LENGTH.pack(len(blob)) + blob for blob in blobs])

    def _place(self, counted: _Counted, time_us: int) -> None:
        """Drop the buckets that no read can reach any more, and make the event's own."""
        level, buckets = counted.level, counted.buckets
        oldest = level.oldest_bucket(self._newest_us)
        if buckets and buckets[0] < oldest:
            start = bisect_left(buckets, oldest)
            for kept in (buckets, *counted.sketches, *counted.counts):
                del kept[:start]  # type: ignore[attr-defined]
            self.changed = True
        bucket = time_us // level.hop_us
        at = bisect_left(buckets, bucket)
        if bucket < oldest or (at < len(buckets) and buckets[at] == bucket):
            return
        self.changed = counted.changed = True
        buckets.insert(at, bucket)
        for sketches, counts in zip(counted.sketches, counted.counts, strict=True):
            sketches.insert(at, DistinctUnion(sketches[at].to_bytes() if at < len(sketches) else None))
            counts.insert(at, counts[at] if at < len(counts) else 0)

    def _add(self, counted: _Counted, column: int, position: int, member: str) -> None:
        sketches, counts = counted.sketches[column], counted.counts[column]
        for i in range(position - 1, -1, -1):
            if sketches[i].add(member):
                break
            self.changed = counted.changed = True
            counts[i] = sketches[i].estimate()


def split_sketches(packed: bytes) -> list[bytes]:
    """The sketches that were packed one after another, each behind its length."""
    parts = []
    offset, size = 0, len(packed)
    while offset < size:
        start = offset + 4
        offset = start + int.from_bytes(packed[offset:start], "little")
        parts.append(packed[start:offset])
    return parts
