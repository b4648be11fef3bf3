"""Packed state of one key in one view: totals, extremes, and suffix aggregates over buckets of event time.

A suffix row of a bucket holds the aggregate over all events in that bucket or a later one, so that a window is
read by one search and one row, and folding an event adds to the rows at and before its bucket.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.fact_specs import event_bits, quantity_of, way_bits
from mailwarden.domain.aggregates.finalise import NO_TIME
from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.online.key_sketches import split_sketches
from mailwarden.domain.aggregates.online.packed_reads import HEADER
from mailwarden.domain.aggregates.online.reads import NEVER, check_fingerprint
from mailwarden.domain.aggregates.recent import RecentSets, own_set
from mailwarden.domain.aggregates.sketches import DistinctUnion
from mailwarden.domain.aggregates.windows import NOTHING
from mailwarden.domain.mail.events import Event, Way, members_of
from mailwarden.errors import DataError


class EntityState:
    """What one key's events come to, in a form whose merges do not depend on order.

    last_seq: highest seq folded, `NEVER` when empty. newest_us: latest event time folded.
    totals: (n_totals,) int64: measures, peaks, distinct estimates. times: (n_times,) int64: extremes, then the
    values that they hold, `NO_TIME` for none. held_seqs: (n_held,) int64, seq of the row behind each held value.
    recents: the recent sets.
    sketches_changed: whether `sketch_bytes` may differ from what the state was read from.
    buckets, rows: for each level, ascending (n,) int64 and (n, columns) int64 suffix rows.
    """

    __slots__ = (
        "buckets", "held_seqs", "last_seq", "layout", "newest_us", "recents", "rows", "sketches", "sketches_changed",
        "suffix_sketches", "times", "totals",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.last_seq = NEVER
        self.newest_us = NEVER
        self.sketches_changed = True
        self.totals: NDArray[np.int64] = layout.empty_totals.copy()
        self.times: NDArray[np.int64] = np.full(layout.n_times, NO_TIME, dtype=np.int64)
        self.held_seqs: NDArray[np.int64] = np.full(len(layout.held), NO_TIME, dtype=np.int64)
        self.recents = [RecentSets(recent.keep) for recent in layout.view.recents]
        self.buckets: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64) for _ in layout.levels]
        self.rows: list[NDArray[np.int64]] = [np.empty((0, level.n_columns), dtype=np.int64) for level in layout.levels]
        self.sketches = [DistinctUnion() for _ in layout.distinct_names]
        self.suffix_sketches: list[list[list[DistinctUnion]]] = [
            [[] for _ in level.distincts] for level in layout.levels
        ]

    # -- folding -----------------------------------------------------------------------------------------------

    def fold(self, event: Event, ways: Sequence[Way]) -> bool:
        """Fold an event that this key takes part in, once for each way; False where it was folded before.

        ways: as `events.keys_of` gives them.
        """
        if event.seq <= self.last_seq:
            return False
        self.last_seq = event.seq
        self.newest_us = max(self.newest_us, event.received_at_us)
        layout = self.layout
        time_us = event.received_at_us
        deltas = np.zeros(layout.n_measures, dtype=np.int64)
        peaks = np.full(layout.n_peaks, NOTHING, dtype=np.int64)
        values: list[dict[str, None]] = [{} for _ in layout.distinct_names]
        is_message = event.kind == "message"
        shared = event_bits(event)
        for way in ways:
            flags = shared | way_bits(way)
            for index, kind, of, mask in layout.measure_rules:
                if kind == event.kind and flags & mask == mask:
                    deltas[index] += quantity_of(event, of) if of else 1
            if not is_message:
                continue
            for index, of, mask, negated in layout.peak_rules:
                if flags & mask == mask:
                    value = quantity_of(event, of)
                    peaks[index] = max(peaks[index], -value if negated else value)
            for index, mask in layout.extreme_rules:
                if flags & mask == mask:
                    of = layout.view.extremes[index].of
                    self._fold_time(index, time_us, event.seq, quantity_of(event, of) if of else 0)
            for index, of, mask in layout.distinct_rules:
                if flags & mask == mask:
                    values[index] |= dict.fromkeys(members_of(event, of))
            for index, of, mask in layout.recent_rules:
                if flags & mask == mask:
                    self.recents[index].add(own_set(members_of(event, of)), time_us, event.seq)
        self._fold_row(time_us, deltas, peaks, values)
        return True

    def _fold_time(self, index: int, time_us: int, seq: int, value: int) -> None:
        current = self.times[index]
        first = bool(self.layout.extreme_is_first[index])
        held = self.layout.held.index(index) if index in self.layout.held else None
        if current == time_us and held is not None:
            wins = (seq < self.held_seqs[held]) == first
        else:
            wins = current == NO_TIME or (time_us < current) == first
        if wins:
            self.times[index] = time_us
            if held is not None:
                self.held_seqs[held] = seq
                self.times[len(self.layout.extreme_names) + held] = value

    def _fold_row(
        self, time_us: int, deltas: NDArray[np.int64], peaks: NDArray[np.int64], values: Sequence[Collection[str]]
    ) -> None:
        """Add one row to totals and suffix rows; `newest_us` already counts it.

        deltas: (n_measures,) int64. peaks: (n_peaks,) int64, `NOTHING` where the row does not count. values: the
        members that the row adds to each distinct.
        """
        layout = self.layout
        self.totals[: layout.n_measures] += deltas
        if layout.n_peaks:
            highest = self.totals[layout.n_measures : layout.first_distinct]
            np.maximum(highest, peaks, out=highest)
        for index, level in enumerate(layout.levels):
            self._drop_unreachable(index)
            bucket = time_us // level.hop_us
            if bucket >= level.oldest_bucket(self.newest_us):
                position = self._row_of(index, bucket)
                columns = layout.level_measures[index]
                n = len(columns)
                self.rows[index][: position + 1, :n] += deltas[columns]
                if level.peaks:
                    block = self.rows[index][: position + 1, n : n + len(level.peaks)]
                    np.maximum(block, peaks[list(level.peaks)], out=block)
        self._fold_distincts(time_us, values)

    def _fold_distincts(self, time_us: int, values: Sequence[Collection[str]]) -> None:
        """Add members to the sketches of totals and of the suffix rows that exist for the row's bucket."""
        for index, members in enumerate(values):
            if not members:
                continue
            sketch = self.sketches[index]
            held = [sketch.add(member) for member in members]
            if not all(held):
                self.sketches_changed = True
                self.totals[self.layout.first_distinct + index] = sketch.estimate()
        for index, level in enumerate(self.layout.levels):
            if not any(values[distinct] for distinct in level.distincts):
                continue
            position = int(self.buckets[index].searchsorted(time_us // level.hop_us, side="right"))
            for column, distinct in enumerate(level.distincts):
                self._fold_suffixes(index, column, position, values[distinct])

    def _fold_suffixes(self, index: int, column: int, position: int, members: Collection[str]) -> None:
        rows = self.rows[index]
        level = self.layout.levels[index]
        row_column = level.n_columns - len(level.distincts) + column
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
        suffix = rows[position] if position < len(rows) else self.layout.empty_rows[index]
        self.buckets[index] = _inserted(buckets, position, bucket)
        self.rows[index] = _inserted(rows, position, suffix)
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
        n_measures, first_distinct = layout.n_measures, layout.first_distinct
        self.totals[:n_measures] += other.totals[:n_measures]
        highest = self.totals[n_measures:first_distinct]
        np.maximum(highest, other.totals[n_measures:first_distinct], out=highest)
        for index, sketch in enumerate(self.sketches):
            sketch.merge(other.sketches[index].to_bytes())
            self.totals[first_distinct + index] = sketch.estimate()
        for index in range(len(layout.extreme_names)):
            time_us = int(other.times[index])
            if time_us != NO_TIME:
                held = layout.held.index(index) if index in layout.held else None
                seq = 0 if held is None else int(other.held_seqs[held])
                value = 0 if held is None else int(other.times[len(layout.extreme_names) + held])
                self._fold_time(index, time_us, seq, value)
        for mine_recent, their_recent in zip(self.recents, other.recents, strict=True):
            mine_recent.merge(their_recent)
        for index in range(len(layout.levels)):
            self._merge_level(index, other)
        self.newest_us = newest
        self.last_seq = max(self.last_seq, other.last_seq)
        self.sketches_changed = True
        for index in range(len(layout.levels)):
            self._drop_unreachable(index)

    def _merge_level(self, index: int, other: Self) -> None:
        level, empty = self.layout.levels[index], self.layout.empty_rows[index]
        buckets = np.union1d(self.buckets[index], other.buckets[index])
        mine = np.searchsorted(self.buckets[index], buckets)
        theirs = np.searchsorted(other.buckets[index], buckets)
        a, b = np.vstack([self.rows[index], empty])[mine], np.vstack([other.rows[index], empty])[theirs]
        n, first = len(level.measures), len(level.measures) + len(level.peaks)
        rows = a + b
        rows[:, n:first] = np.maximum(a[:, n:first], b[:, n:first])
        for column in range(len(level.distincts)):
            merged = []
            for i, j in zip(mine, theirs, strict=True):
                union = DistinctUnion()
                for sketches, position in (
                    (self.suffix_sketches[index][column], i),
                    (other.suffix_sketches[index][column], j),
                ):
                    if position < len(sketches):
                        union.merge(sketches[position].to_bytes())
                merged.append(union)
            rows[:, first + column] = [union.estimate() for union in merged]
            self.suffix_sketches[index][column] = merged
        self.buckets[index], self.rows[index] = buckets, rows

    def read(self, at_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Window sums at many effective times (n,): slots (n, n_slots)."""
        layout = self.layout
        edges = [
            np.searchsorted(self.buckets[level], (at_us - age_us) // hop_us) for level, hop_us, age_us in layout.edges
        ]
        padded = [np.vstack([rows, empty]) for rows, empty in zip(self.rows, layout.empty_rows, strict=True)]
        slots = np.empty((len(at_us), len(layout.slots)), dtype=np.int64)
        for j, (slot, (total, lower, column, upper, upper_column)) in enumerate(
            zip(layout.slots, layout.sums, strict=True)
        ):
            slots[:, j] = self.totals[total] if slot.level is None else padded[slot.level][edges[lower], column]
            if slot.upper_level is not None:
                slots[:, j] -= padded[slot.upper_level][edges[upper], upper_column]
        return slots

    # -- bytes -------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The part that reads need: little-endian int64 words; see `read_slots`."""
        recents = [recent.words() for recent in self.recents]
        lengths = [*(len(buckets) for buckets in self.buckets), *(len(words) for words in recents)]
        head = [self.layout.fingerprint, self.last_seq, self.newest_us, *lengths]
        words = [np.array(head, dtype="<i8"), self.totals, self.times, self.held_seqs]
        for buckets, rows in zip(self.buckets, self.rows, strict=True):
            words += [buckets, rows.ravel()]
        words += [np.array(recent, dtype="<i8") for recent in recents]
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

        def take(n: int) -> NDArray[np.int64]:
            nonlocal offset
            offset += n
            if offset > len(words):
                raise DataError(f"state of view {layout.view.name} is cut off; run `mailwarden materialize --afresh`")
            return words[offset - n : offset].copy()

        lengths = take(len(layout.levels)).tolist()
        recent_lengths = take(len(self.recents)).tolist()
        self.totals = take(layout.n_totals)
        self.times = take(layout.n_times)
        self.held_seqs = take(len(layout.held))
        blobs = iter(split_sketches(sketches))
        self.sketches_changed = False
        self.sketches = [DistinctUnion(next(blobs)) for _ in layout.distinct_names]
        for index, level in enumerate(layout.levels):
            n = lengths[index]
            self.buckets[index] = take(n)
            self.rows[index] = take(n * level.n_columns).reshape(n, level.n_columns)
            for column in range(len(level.distincts)):
                self.suffix_sketches[index][column] = [DistinctUnion(next(blobs)) for _ in range(n)]
        for index, n in enumerate(recent_lengths):
            self.recents[index] = RecentSets.read(self.recents[index].keep, take(n).tolist())
        return self


def _inserted(array: NDArray[np.int64], position: int, value: int | np.int64 | NDArray[np.int64]) -> NDArray[np.int64]:
    """A copy with one more row; NumPy's own insert takes ten times as long, for what it can do besides."""
    out = np.empty((len(array) + 1, *array.shape[1:]), dtype=np.int64)
    out[:position] = array[:position]
    out[position] = value
    out[position + 1 :] = array[position:]
    return out
