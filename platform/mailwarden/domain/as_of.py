"""Window sums as of many moments at once: the offline read, exact and without a loop over a key's history.

Rows are a key's events and the reads (requests) of it, sorted by key, then seq, requests before events of the
same seq. A window sum at a request is a two-dimensional dominance sum: events earlier in the order, in a bucket at
or after the window's edge. Mail arrives almost in order of event time, so events fall into few chains of
non-decreasing buckets, each answered by prefix sums and two searches; what is left after `MAX_CHAINS` goes
through a merge tree, O(n log^2 n) whatever the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.distinct_reads import DistinctReads
from mailwarden.domain.finalise import NO_TIME
from mailwarden.domain.layout import Layout
from mailwarden.domain.sketches import DistinctUnion
from mailwarden.domain.state import NEVER, EntityState, read_slots
from mailwarden.domain.windows import LATENESS_US, Window

MAX_CHAINS = 8

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class FoldRows:
    """Events and requests of many keys, sorted by (key, seq, requests first).

    key: (n,) int64, dense and ascending from 0. seq, time_us: (n,) int64; of a request the read's own.
    request: (n,) bool. deltas: (n, n_measures) int64, 0 for requests. extremes: (n, n_extremes) bool, whether the
    row counts for the extreme. distincts: for each distinct, n lists of values (None or empty for none).
    """

    key: IntArray
    seq: IntArray
    time_us: IntArray
    request: BoolArray
    deltas: IntArray
    extremes: BoolArray
    distincts: tuple[Sequence[Sequence[str] | None], ...]

    def slice(self, start: int, stop: int) -> FoldRows:
        """Rows from start to stop, their keys numbered from 0."""
        key = self.key[start:stop]
        return FoldRows(
            key - (key[0] if len(key) else 0),
            self.seq[start:stop],
            self.time_us[start:stop],
            self.request[start:stop],
            self.deltas[start:stop],
            self.extremes[start:stop],
            tuple(values[start:stop] for values in self.distincts),
        )


@dataclass(frozen=True)
class Reads:
    """What `finalise` takes, for the requests of a batch in their order, and the last seq that each had behind it."""

    slots: IntArray
    times: IntArray
    seen: BoolArray
    at_us: IntArray
    last_seq: IntArray


class AsOf:
    """Answers requests batch by batch; a key whose rows continue in the next batch is carried as a state."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._carried: EntityState | None = None

    def process(self, rows: FoldRows, *, continues: bool = False) -> Reads:
        """Answer the requests of a batch.

        continues: the first key is the last key of the batch before.
        """
        carried = self._carried if continues else None
        reads = _answer(self.layout, rows, carried)
        if len(rows.key):
            start = int(np.searchsorted(rows.key, rows.key[-1]))
            last = states_of(self.layout, rows.slice(start, len(rows.key)))
            state = last[0] if last else EntityState(self.layout)
            if carried is not None and start == 0:
                state.merge(carried)
            self._carried = state
        return reads


def _answer(layout: Layout, rows: FoldRows, carried: EntityState | None) -> Reads:
    request = np.flatnonzero(rows.request)
    event = np.flatnonzero(~rows.request)
    at_us = rows.time_us[request]
    newest = _running_extreme(rows.key, np.where(rows.request, NEVER, rows.time_us), largest=True)[request]
    before = np.searchsorted(event, request)
    first_of_key = np.searchsorted(event, np.searchsorted(rows.key, rows.key[request]))
    seen = before > first_of_key
    last_seq = np.full(len(request), NEVER, dtype=np.int64)
    last_seq[seen] = rows.seq[event[before[seen] - 1]]
    times = np.full((len(request), len(layout.extreme_names)), NO_TIME, dtype=np.int64)
    for column in range(times.shape[1]):
        first = bool(layout.extreme_is_first[column])
        counted = np.where(rows.extremes[:, column] & ~rows.request, rows.time_us, NO_TIME)
        times[:, column] = _running_extreme(rows.key, counted, largest=not first, none=NO_TIME)[request]
    mine = request[:0]
    if carried is not None:
        mine = np.flatnonzero(rows.key[request] == 0)
        newest[mine] = np.maximum(newest[mine], carried.newest_us)
    effective = np.maximum(at_us, newest - LATENESS_US)
    slots = np.zeros((len(request), len(layout.slots)), dtype=np.int64)
    _sum_measures(layout, rows, event, request, effective, slots)
    if layout.distinct_names:
        _count_distincts(layout, rows, effective, slots, carried)
    if carried is not None and len(mine):
        _add_carried(layout, carried, mine, effective, slots, times, seen, last_seq)
    return Reads(slots, times, seen, at_us, last_seq)


def _sum_measures(
    layout: Layout, rows: FoldRows, event: IntArray, request: IntArray, effective: IntArray, slots: IntArray
) -> None:
    deltas = rows.deltas[event]
    totals = np.zeros((len(event) + 1, layout.n_measures), dtype=np.int64)
    np.cumsum(deltas, axis=0, out=totals[1:])
    before = np.searchsorted(event, request)
    first_of_key = np.searchsorted(event, np.searchsorted(rows.key, rows.key[request]))
    total = totals[before] - totals[first_of_key]
    suffixes: dict[tuple[int, Window, bool], IntArray] = {}

    def suffix(level_index: int, window: Window, upper: bool) -> IntArray:
        known = suffixes.get((level_index, window, upper))
        if known is None:
            level = layout.levels[level_index]
            back = window.until_us if upper else window.length_us
            assert back is not None
            known = suffixes[level_index, window, upper] = dominance_sums(
                rows.key,
                event,
                rows.time_us[event] // level.hop_us,
                deltas[:, list(level.measures)],
                request,
                (effective - back) // level.hop_us,
            )
        return known

    for j, slot in enumerate(layout.slots):
        if slot.total >= layout.n_measures:
            continue
        value = total[:, slot.total]
        if slot.level is not None:
            value = suffix(slot.level, slot.window, False)[:, slot.column]
        if slot.upper_level is not None:
            value = value - suffix(slot.upper_level, slot.window, True)[:, slot.upper_column]
        slots[:, j] = value


def dominance_sums(
    key: IntArray, event: IntArray, bucket: IntArray, deltas: IntArray, request: IntArray, edge: IntArray
) -> IntArray:
    """For each request, the sum of `deltas` over events of its key before it whose bucket is at or after its edge.

    key: (n,) ascending, of all rows. event, request: ascending positions in it. bucket: (n_events,); deltas:
    (n_events, m); edge: (n_requests,). Returns (n_requests, m) int64.
    """
    out = np.zeros((len(request), deltas.shape[1]), dtype=np.int64)
    if not len(event) or not len(request):
        return out
    low = int(min(bucket.min(), edge.min()))
    span = int(max(bucket.max(), edge.max())) - low + 2
    place = key[event] * span + (bucket - low)
    bound = key[request] * span + (edge - low)
    left = np.arange(len(event))
    for _ in range(MAX_CHAINS):
        in_chain = np.maximum.accumulate(place[left]) == place[left]
        chain = left[in_chain]
        prefix = np.zeros((len(chain) + 1, deltas.shape[1]), dtype=np.int64)
        np.cumsum(deltas[chain], axis=0, out=prefix[1:])
        stop = np.searchsorted(event[chain], request)
        start = np.minimum(np.searchsorted(place[chain], bound), stop)
        out += prefix[stop] - prefix[start]
        left = left[~in_chain]
        if not len(left):
            return out
    _merge_tree_sums(event[left], place[left], deltas[left], request, bound, (key[request] + 1) * span, out)
    return out


def _merge_tree_sums(
    position: IntArray,
    place: IntArray,
    deltas: IntArray,
    request: IntArray,
    bound: IntArray,
    end: IntArray,
    out: IntArray,
) -> None:
    """Add to `out` sums over events before each request with bound <= place < end, by aligned power-of-two blocks."""
    n = len(position)
    ranked, rank = np.unique(place, return_inverse=True)
    low, high = np.searchsorted(ranked, bound), np.searchsorted(ranked, end)
    width = len(ranked) + 1
    before = np.searchsorted(position, request)
    for level in range(n.bit_length()):
        takes = np.flatnonzero((before >> level) & 1)
        if not len(takes):
            continue
        block = np.arange(n) >> level
        code = block * width + rank
        order = np.argsort(code, kind="stable")
        prefix = np.zeros((n + 1, deltas.shape[1]), dtype=np.int64)
        np.cumsum(deltas[order], axis=0, out=prefix[1:])
        wanted = (before[takes] >> level) - 1
        start = np.searchsorted(code[order], wanted * width + low[takes])
        stop = np.searchsorted(code[order], wanted * width + high[takes])
        out[takes] += prefix[stop] - prefix[start]


def _running_extreme(key: IntArray, value: IntArray, *, largest: bool, none: int = NEVER) -> IntArray:
    """The running largest (or smallest) value within each key, up to and with each row; `none` counts for nothing."""
    ranked, rank = np.unique(value, return_inverse=True)
    width = len(ranked) + 1
    counts = value != none
    score = np.where(counts, rank if largest else width - 2 - rank, -1) + 1
    best = np.maximum.accumulate(key * (width + 1) + score) - key * (width + 1)
    found = best > 0
    index = np.where(found, best - 1, 0)
    return np.where(found, ranked[index if largest else width - 2 - index], none)


def _count_distincts(
    layout: Layout, rows: FoldRows, effective: IntArray, slots: IntArray, carried: EntityState | None
) -> None:
    """Distinct counts by folding each key in order: a union cannot be taken apart as a sum can."""
    wanted = [(j, slot) for j, slot in enumerate(layout.slots) if slot.total >= layout.n_measures]
    requests = np.flatnonzero(rows.request)
    if not len(requests):
        return
    last = np.full(int(rows.key[-1]) + 1, -1, dtype=np.int64)
    np.maximum.at(last, rows.key[requests], requests)
    needed = np.flatnonzero(np.arange(len(rows.key)) <= last[rows.key])
    reads, current, request = DistinctReads(layout, carried), 0, 0
    keys, times, asked = rows.key[needed].tolist(), rows.time_us[needed].tolist(), rows.request[needed].tolist()
    at_us = effective.tolist()
    for i, key, time_us, is_request in zip(needed.tolist(), keys, times, asked, strict=True):
        if key != current:
            reads, current = DistinctReads(layout), key
        if not is_request:
            reads.add(time_us, [column[i] or () for column in rows.distincts])
            continue
        for j, slot in wanted:
            slots[request, j] = reads.read(j, slot, at_us[request])
        request += 1


def _add_carried(
    layout: Layout,
    carried: EntityState,
    mine: IntArray,
    effective: IntArray,
    slots: IntArray,
    times: IntArray,
    seen: BoolArray,
    last_seq: IntArray,
) -> None:
    """Add what came in batches before to the requests of the first key; distincts were folded with it already."""
    if carried.newest_us == NEVER:
        return
    packed = carried.to_bytes()
    before, before_times, _, _ = read_slots(layout, [packed] * len(mine), effective[mine])
    for j, slot in enumerate(layout.slots):
        if slot.total < layout.n_measures:
            slots[mine, j] += before[:, j]
    for column in range(times.shape[1]):
        now, then = times[mine, column], before_times[:, column]
        pick = np.minimum if layout.extreme_is_first[column] else np.maximum
        both = np.where(now == NO_TIME, then, np.where(then == NO_TIME, now, pick(now, then)))
        times[mine, column] = both
    seen[mine] = True
    last_seq[mine] = np.maximum(last_seq[mine], carried.last_seq)


def states_of(layout: Layout, rows: FoldRows) -> list[EntityState]:
    """The state of each key after all its events; requests are passed over, keys without events left out."""
    event = np.flatnonzero(~rows.request)
    if not len(event):
        return []
    key, time_us, deltas = rows.key[event], rows.time_us[event], rows.deltas[event]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    newest = np.maximum.reduceat(time_us, starts)
    last_seq = np.maximum.reduceat(rows.seq[event], starts)
    totals = np.add.reduceat(deltas, starts, axis=0)
    owner = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(event)]))
    times = np.full((len(starts), len(layout.extreme_names)), NO_TIME, dtype=np.int64)
    for column in range(times.shape[1]):
        counts = rows.extremes[event, column]
        first = bool(layout.extreme_is_first[column])
        reduce = np.minimum if first else np.maximum
        worst = np.iinfo(np.int64).max if first else NO_TIME
        best = reduce.reduceat(np.where(counts, time_us, worst), starts)
        times[:, column] = np.where(best == worst, NO_TIME, best)
    states = []
    for i in range(len(starts)):
        state = EntityState(layout)
        state.last_seq, state.newest_us = int(last_seq[i]), int(newest[i])
        state.totals[: layout.n_measures] = totals[i]
        state.times[:] = times[i]
        states.append(state)
    for index, level in enumerate(layout.levels):
        bucket = time_us // level.hop_us
        oldest = (newest - LATENESS_US - level.length_us) // level.hop_us
        kept = np.flatnonzero(bucket >= oldest[owner])
        order = kept[np.lexsort((bucket[kept], owner[kept]))]
        own, buckets = owner[order], bucket[order]
        edges = np.flatnonzero(np.r_[True, (own[1:] != own[:-1]) | (buckets[1:] != buckets[:-1])])
        sums = np.add.reduceat(deltas[order][:, list(level.measures)], edges, axis=0)
        suffix = np.cumsum(sums[::-1], axis=0)[::-1]
        tile_owner, tile_bucket = own[edges], buckets[edges]
        bounds = np.searchsorted(tile_owner, np.arange(len(starts) + 1))
        padded = np.vstack([suffix, np.zeros((1, suffix.shape[1]), dtype=np.int64)])
        for i, state in enumerate(states):
            start, stop = bounds[i], bounds[i + 1]
            state.buckets[index] = tile_bucket[start:stop].copy()
            block = np.zeros((stop - start, len(level.measures) + len(level.distincts)), dtype=np.int64)
            block[:, : len(level.measures)] = suffix[start:stop] - padded[stop]
            state.rows[index] = block
        if level.distincts:
            tiles = np.split(event[order], edges[1:]) if len(edges) else []
            _suffix_sketches(states, index, bounds, tiles, rows)
    for distinct, values in enumerate(rows.distincts):
        members: list[set[str]] = [set() for _ in states]
        for row, i in zip(event.tolist(), owner.tolist(), strict=True):
            members[i].update(values[row] or ())
        for state, names in zip(states, members, strict=True):
            for name in names:
                state.sketches[distinct].add(name)
            state.totals[layout.n_measures + distinct] = state.sketches[distinct].estimate()
    return states


def _suffix_sketches(
    states: Sequence[EntityState], index: int, bounds: IntArray, tiles: Sequence[IntArray], rows: FoldRows
) -> None:
    """Sketches of the suffix rows at a level, from the newest bucket back; tiles: positions of each bucket's events."""
    for i, state in enumerate(states):
        level = state.layout.levels[index]
        start, stop = int(bounds[i]), int(bounds[i + 1])
        for column, distinct in enumerate(level.distincts):
            sketches: list[DistinctUnion] = []
            for tile in range(stop - 1, start - 1, -1):
                union = DistinctUnion(sketches[-1].to_bytes() if sketches else None)
                names: set[str] = set()
                for row in tiles[tile].tolist():
                    names.update(rows.distincts[distinct][row] or ())
                for name in names:
                    union.add(name)
                sketches.append(union)
                state.rows[index][tile - start, len(level.measures) + column] = union.estimate()
            state.suffix_sketches[index][column] = sketches[::-1]
