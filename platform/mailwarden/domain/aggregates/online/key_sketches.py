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

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.layout import Layout, Level
from mailwarden.domain.aggregates.online.packed_reads import HEADER
from mailwarden.domain.aggregates.sketches import DistinctUnion
from mailwarden.domain.aggregates.windows import NOTHING
from mailwarden.errors import DataError

Ints = NDArray[np.int64]

_LENGTH = struct.Struct("<I")


@dataclass(slots=True)
class _Counted:
    """A level that counts names. place: among the view's levels. buckets: ascending. sketches, counts: by distinct of
    the level, one a bucket."""

    place: int
    level: Level
    buckets: list[int]
    sketches: list[list[DistinctUnion]]
    counts: list[list[int]]
    changed: bool = False


class KeySketches:
    """Sketches of one key whose state is folded by `packed_fold`.

    state: words of the state as it was, None for a new key. sketches: as `EntityState.sketch_bytes` packs them.
    changed: whether `to_bytes` may differ from what was read. Raises DataError
    where state and sketches are not of one another.
    """

    __slots__ = ("_counts", "_layout", "_levels", "_newest_us", "_sketches", "changed")

    def __init__(self, layout: Layout, state: Ints | None, sketches: bytes) -> None:
        self._layout = layout
        self._newest_us = NOTHING if state is None else int(state[2])
        self.changed = state is None
        blobs = iter(split_sketches(sketches)) if state is not None else iter(())
        try:
            self._sketches = [DistinctUnion(None if state is None else next(blobs)) for _ in layout.distinct_names]
            self._levels = list(_counted(layout, state, blobs))
        except StopIteration as exc:
            raise DataError(
                f"sketches of view {layout.view.name} are cut off; run `mailwarden materialize --afresh`"
            ) from exc
        self._counts: dict[int, int] = {}

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
        layout = self._layout
        totals = _first_total(layout)
        for index, count in self._counts.items():
            words[totals + layout.first_distinct + index] = count
        position = totals + layout.n_totals + layout.n_times + len(layout.held)
        levels = {counted.place: counted for counted in self._levels}
        for place, level in enumerate(layout.levels):
            n, width = int(words[HEADER + place]), level.n_columns
            counted = levels.get(place)
            if counted is not None and n != len(counted.buckets):
                raise DataError(f"state of view {layout.view.name} is damaged; run `mailwarden materialize --afresh`")
            if counted is not None and counted.changed:
                first = position + n + width - len(level.distincts)
                for column, counts in enumerate(counted.counts):
                    words[first + column : position + n + n * width : width] = counts
            position += n * (1 + width)

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


def _counted(layout: Layout, state: Ints | None, blobs: Iterator[bytes]) -> Iterator[_Counted]:
    position = _first_total(layout) + layout.n_totals + layout.n_times + len(layout.held)
    for place, level in enumerate(layout.levels):
        n = 0 if state is None else int(state[HEADER + place])
        width, distincts = level.n_columns, len(level.distincts)
        if distincts:
            # A generator may not raise StopIteration.
            sketches = [[DistinctUnion(blob) for blob in _first(blobs, n)] for _ in range(distincts)]
            buckets: list[int] = []
            counts: list[list[int]] = [[] for _ in range(distincts)]
            if state is not None:
                buckets = state[position : position + n].tolist()
                rows = state[position + n : position + n * (1 + width)].reshape(n, width)
                counts = rows[:, width - distincts :].T.tolist()
            yield _Counted(place, level, buckets, sketches, counts)
        position += n * (1 + width)


def _first_total(layout: Layout) -> int:
    return HEADER + len(layout.levels) + len(layout.view.recents)


def _first(blobs: Iterator[bytes], n: int) -> list[bytes]:
    found = [blob for _, blob in zip(range(n), blobs, strict=False)]
    if len(found) < n:
        raise DataError("sketches are cut off; run `mailwarden materialize --afresh`")
    return found
