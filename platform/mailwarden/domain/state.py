"""Packed state of one key in one view: totals, extremes, and suffix aggregates over buckets of event time.

A suffix row of a bucket holds the aggregate over all events in that bucket or a later one, so that a window is
read by one search and one row, and folding an event adds to the rows at and before its bucket.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.events import Event
from mailwarden.domain.finalise import NO_TIME
from mailwarden.domain.layout import Layout
from mailwarden.domain.sketches import DistinctUnion
from mailwarden.domain.views import flag_bits
from mailwarden.domain.windows import effective_time
from mailwarden.errors import DataError

HEADER = 3
"""int64 words before the level lengths: layout fingerprint, last seq folded, newest event time."""

NEVER = -(2**62)
"""`newest_us` and `last_seq` of an empty state."""


class EntityState:
    """What one key's events come to, in a form whose merges do not depend on order.

    last_seq: highest seq folded, `NEVER` when empty. newest_us: latest event time folded.
    totals: (n_totals,) int64, measures then distinct estimates. times: (n_extremes,) int64, `NO_TIME` for none.
    sketches_changed: whether `sketch_bytes` may differ from what the state was read from.
    buckets, rows: for each level, ascending (n,) int64 and (n, columns) int64 suffix rows.
    """

    __slots__ = (
        "buckets", "last_seq", "layout", "newest_us", "rows", "sketches", "sketches_changed", "suffix_sketches",
        "times", "totals",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.last_seq = NEVER
        self.newest_us = NEVER
        self.sketches_changed = True
        self.totals: NDArray[np.int64] = np.zeros(layout.n_totals, dtype=np.int64)
        self.times: NDArray[np.int64] = np.full(len(layout.extreme_names), NO_TIME, dtype=np.int64)
        self.buckets: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64) for _ in layout.levels]
        self.rows: list[NDArray[np.int64]] = [
            np.empty((0, len(level.measures) + len(level.distincts)), dtype=np.int64) for level in layout.levels
        ]
        self.sketches = [DistinctUnion() for _ in layout.distinct_names]
        self.suffix_sketches: list[list[list[DistinctUnion]]] = [
            [[] for _ in level.distincts] for level in layout.levels
        ]

    # -- folding -----------------------------------------------------------------------------------------------

    def fold(self, event: Event, directions: Sequence[bool]) -> bool:
        """Fold an event that this key takes part in, once for each direction; False where it was folded before.

        directions: True for each forward row, False for each reverse row, as `events.keys_of` gives them.
        """
        if event.seq <= self.last_seq:
            return False
        self.last_seq = event.seq
        self.newest_us = max(self.newest_us, event.received_at_us)
        layout = self.layout
        deltas = np.zeros(layout.n_measures, dtype=np.int64)
        values: list[set[str]] = [set() for _ in layout.distinct_names]
        is_message = event.kind == "message"
        for forward in directions:
            flags = flag_bits(event, forward)
            for index, kind, of, mask in layout.measure_rules:
                if kind == event.kind and flags & mask == mask:
                    deltas[index] += getattr(event, of) if of else 1
            if not is_message:
                continue
            for index, mask in layout.extreme_rules:
                if flags & mask == mask:
                    self._fold_time(index, event.received_at_us)
            for index, of, mask in layout.distinct_rules:
                if flags & mask == mask:
                    values[index].update((event.sender,) if of == "sender" else event.recipients)
        self.fold_row(event.received_at_us, deltas, values)
        return True

    def _fold_time(self, index: int, time_us: int) -> None:
        current = self.times[index]
        if current == NO_TIME or (time_us < current) == bool(self.layout.extreme_is_first[index]):
            self.times[index] = time_us

    def fold_row(self, time_us: int, deltas: NDArray[np.int64], values: Sequence[set[str]]) -> None:
        """Add one row to totals and suffix rows; `newest_us` already counts it.

        deltas: (n_measures,) int64. values: the members that the row adds to each distinct.
        """
        self.totals[: self.layout.n_measures] += deltas
        for index, level in enumerate(self.layout.levels):
            self._drop_unreachable(index)
            bucket = time_us // level.hop_us
            if bucket >= level.oldest_bucket(self.newest_us):
                position = self._row_of(index, bucket)
                columns = self.layout.level_measures[index]
                self.rows[index][: position + 1, : len(columns)] += deltas[columns]
        self.fold_distincts(time_us, values)

    def fold_distincts(self, time_us: int, values: Sequence[set[str]]) -> None:
        """Add members to the sketches of totals and of the suffix rows that exist for the row's bucket."""
        for index, members in enumerate(values):
            if not members:
                continue
            sketch = self.sketches[index]
            held = [sketch.add(member) for member in members]
            if not all(held):
                self.sketches_changed = True
                self.totals[self.layout.n_measures + index] = sketch.estimate()
        for index, level in enumerate(self.layout.levels):
            if not any(values[distinct] for distinct in level.distincts):
                continue
            position = int(self.buckets[index].searchsorted(time_us // level.hop_us, side="right"))
            for column, distinct in enumerate(level.distincts):
                self._fold_suffixes(index, column, position, values[distinct])

    def _fold_suffixes(self, index: int, column: int, position: int, members: set[str]) -> None:
        rows = self.rows[index]
        row_column = len(self.layout.levels[index].measures) + column
        sketches = self.suffix_sketches[index][column]
        for member in members:
            # Earlier rows hold all that later ones do, so a row that held the member ends the walk.
            for i in range(position - 1, -1, -1):
                if sketches[i].add(member):
                    break
                self.sketches_changed = True
                rows[i, row_column] = sketches[i].estimate()

    def _row_of(self, index: int, bucket: int) -> int:
        """Position of the bucket's suffix row at a level, made from the next later one where there was none."""
        buckets = self.buckets[index]
        position = int(buckets.searchsorted(bucket))
        if position < len(buckets) and buckets[position] == bucket:
            return position
        self.sketches_changed = True
        rows = self.rows[index]
        suffix = rows[position] if position < len(rows) else np.zeros(rows.shape[1], dtype=np.int64)
        self.buckets[index] = np.insert(buckets, position, bucket)
        self.rows[index] = np.insert(rows, position, suffix, axis=0)
        for sketches in self.suffix_sketches[index]:
            later = sketches[position].to_bytes() if position < len(sketches) else None
            sketches.insert(position, DistinctUnion(later))
        return position

    def _drop_unreachable(self, index: int) -> None:
        buckets = self.buckets[index]
        oldest = self.layout.levels[index].oldest_bucket(self.newest_us)
        if len(buckets) and buckets[0] < oldest:
            start = int(buckets.searchsorted(oldest))
            self.sketches_changed = True
            self.buckets[index] = buckets[start:].copy()
            self.rows[index] = self.rows[index][start:].copy()
            for sketches in self.suffix_sketches[index]:
                del sketches[:start]

    def merge(self, other: Self) -> None:
        """Fold in the state of other events of the same key; any order of merges gives the same state."""
        layout = self.layout
        newest = max(self.newest_us, other.newest_us)
        n_measures = layout.n_measures
        self.totals[:n_measures] += other.totals[:n_measures]
        for index, sketch in enumerate(self.sketches):
            sketch.merge(other.sketches[index].to_bytes())
            self.totals[n_measures + index] = sketch.estimate()
        for index, time_us in enumerate(other.times):
            if time_us != NO_TIME:
                self._fold_time(index, int(time_us))
        for index, level in enumerate(layout.levels):
            buckets = np.union1d(self.buckets[index], other.buckets[index])
            mine = np.searchsorted(self.buckets[index], buckets)
            theirs = np.searchsorted(other.buckets[index], buckets)
            zero = np.zeros((1, self.rows[index].shape[1]), dtype=np.int64)
            rows = np.vstack([self.rows[index], zero])[mine] + np.vstack([other.rows[index], zero])[theirs]
            for column in range(len(level.distincts)):
                merged = []
                for a, b in zip(mine, theirs, strict=True):
                    union = DistinctUnion()
                    for sketches, i in (
                        (self.suffix_sketches[index][column], a),
                        (other.suffix_sketches[index][column], b),
                    ):
                        if i < len(sketches):
                            union.merge(sketches[i].to_bytes())
                    merged.append(union)
                rows[:, len(level.measures) + column] = [union.estimate() for union in merged]
                self.suffix_sketches[index][column] = merged
            self.buckets[index], self.rows[index] = buckets, rows
        self.newest_us = newest
        self.last_seq = max(self.last_seq, other.last_seq)
        self.sketches_changed = True
        for index in range(len(layout.levels)):
            self._drop_unreachable(index)

    # -- bytes -------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The part that reads need: little-endian int64 words; see `read_slots`."""
        words = [
            np.array([self.layout.fingerprint, self.last_seq, self.newest_us], dtype="<i8"),
            np.array([len(buckets) for buckets in self.buckets], dtype="<i8"),
            self.totals,
            self.times,
        ]
        for buckets, rows in zip(self.buckets, self.rows, strict=True):
            words += [buckets, rows.ravel()]
        return np.concatenate(words).astype("<i8").tobytes()

    def sketch_bytes(self) -> bytes:
        """The part that only writers need: each distinct's sketch, then its suffix sketches by level and bucket."""
        blobs = [sketch.to_bytes() for sketch in self.sketches]
        blobs += [s.to_bytes() for level in self.suffix_sketches for column in level for s in column]
        return b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs)

    @classmethod
    def from_bytes(cls, layout: Layout, state: bytes, sketches: bytes) -> Self:
        """Read what `to_bytes` and `sketch_bytes` wrote; raises DataError where it is of another definition."""
        self = cls(layout)
        words = np.frombuffer(state, dtype="<i8")
        check_fingerprint(layout, words)
        self.last_seq, self.newest_us = int(words[1]), int(words[2])
        offset = HEADER
        lengths = words[offset : offset + len(layout.levels)]
        offset += len(layout.levels)
        self.totals = words[offset : offset + layout.n_totals].copy()
        offset += layout.n_totals
        self.times = words[offset : offset + len(layout.extreme_names)].copy()
        offset += len(layout.extreme_names)
        blobs = iter(_split(sketches))
        self.sketches_changed = False
        self.sketches = [DistinctUnion(next(blobs)) for _ in layout.distinct_names]
        for index, level in enumerate(layout.levels):
            n, columns = int(lengths[index]), self.rows[index].shape[1]
            self.buckets[index] = words[offset : offset + n].copy()
            offset += n
            self.rows[index] = words[offset : offset + n * columns].reshape(n, columns).copy()
            offset += n * columns
            for column in range(len(level.distincts)):
                self.suffix_sketches[index][column] = [DistinctUnion(next(blobs)) for _ in range(n)]
        return self


def _split(blob: bytes) -> list[bytes]:
    parts = []
    offset, size = 0, len(blob)
    while offset < size:
        start = offset + 4
        offset = start + int.from_bytes(blob[offset:start], "little")
        parts.append(blob[start:offset])
    return parts


def check_fingerprint(layout: Layout, words: Sequence[int] | NDArray[np.int64] | memoryview) -> None:
    """Raise DataError where a state was written under another definition of the view."""
    if len(words) < HEADER or words[0] != layout.fingerprint:
        raise DataError(
            f"state of view {layout.view.name} version {layout.view.version} was written under another definition; "
            "raise the view's version and run `mailwarden materialize`"
        )


def read_slots(
    layout: Layout, states: Sequence[bytes | None], at_us: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Window sums straight from packed states, without building them: the online read.

    states: n packed states, None for a key never seen. at_us: (n,) int64 microseconds UTC.
    Returns slots (n, n_slots), times (n, n_extremes), seen (n,) and last_seq (n,), `NEVER` where not seen.
    """
    n = len(states)
    slots = np.zeros((n, len(layout.slots)), dtype=np.int64)
    times = np.full((n, len(layout.extreme_names)), NO_TIME, dtype=np.int64)
    seen = np.zeros(n, dtype=np.bool_)
    last_seq = np.full(n, NEVER, dtype=np.int64)
    for i, state in enumerate(states):
        if state is not None:
            slots[i], times[i], last_seq[i] = read_state(layout, state, int(at_us[i]))
            seen[i] = True
    return slots, times, seen, last_seq


def read_state(layout: Layout, state: bytes, at_us: int) -> tuple[list[int], list[int], int]:
    """Window sums of one packed state at a time: slots, times and last seq, in the order of the layout.

    Plain integers, since arrays cost more than they save on one key's few dozen sums.
    """
    words = memoryview(state).cast("q")
    check_fingerprint(layout, words)
    at = effective_time(at_us, words[2])
    n_levels = len(layout.levels)
    totals_start = HEADER + n_levels
    times_start = totals_start + layout.n_totals
    offset = times_start + len(layout.extreme_names)
    times = words[times_start:offset].tolist()
    spans: list[tuple[int, int, int]] = []
    for index, level in enumerate(layout.levels):
        length = words[HEADER + index]
        columns = len(level.measures) + len(level.distincts)
        spans.append((offset, offset + length, columns))
        offset += length * (1 + columns)
    # The suffix row at each edge, as where it starts; 0, the fingerprint's place, where it is past the last bucket.
    rows: list[int] = []
    for level_index, hop_us, age_us in layout.edges:
        start, stop, columns = spans[level_index]
        position = bisect_left(words, (at - age_us) // hop_us, start, stop)
        rows.append(stop + (position - start) * columns if position < stop else 0)
    slots: list[int] = []
    for total, lower, column, upper, upper_column in layout.sums:
        value = 0
        if lower < 0:
            value = words[totals_start + total]
        elif rows[lower]:
            value = words[rows[lower] + column]
        if upper >= 0 and rows[upper]:
            value -= words[rows[upper] + upper_column]
        slots.append(value)
    return slots, times, words[1]
