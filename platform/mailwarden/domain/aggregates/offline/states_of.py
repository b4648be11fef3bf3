"""States of many keys at once, from all their events: what `EntityState.fold` would come to, event by event.

Steps, each for all keys of the batch: totals by reduction over each key's rows; extremes (`_set_times`); for each level
the rows that a state still keeps are sorted by (key, bucket) into *tiles*, summed within each, and accumulated from the
newest bucket back, which makes suffix rows of them; the same for sketches, of which each suffix begins as a copy of the
next later one (`_suffix_sketches`); recent sets by the last use of each (`_keep_sets`).

Invariant: the bytes of each state are those that folding its events one by one gives, in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.offline.dominance import BoolArray, IntArray, Ranking
from mailwarden.domain.aggregates.offline.fold_rows import FoldRows
from mailwarden.domain.aggregates.offline.names import Names, NumberedSets
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.sketches import DistinctUnion
from mailwarden.domain.aggregates.windows import LATENESS_US


def states_of(layout: Layout, rows: FoldRows) -> list[EntityState]:
    """The state of each key after all its events; requests are passed over, keys without events left out."""
    event = np.flatnonzero(~rows.request)
    if not len(event):
        return []
    key, time_us, deltas, peaks = rows.key[event], rows.time_us[event], rows.deltas[event], rows.peaks[event]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    newest = np.maximum.reduceat(time_us, starts)
    last_seq = np.maximum.reduceat(rows.seq[event], starts)
    totals = np.hstack([np.add.reduceat(deltas, starts, axis=0), np.maximum.reduceat(peaks, starts, axis=0)])
    owner = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(event)]))
    states = []
    for i in range(len(starts)):
        state = EntityState(layout)
        state.last_seq, state.newest_us = int(last_seq[i]), int(newest[i])
        state.totals[: layout.first_distinct] = totals[i]
        states.append(state)
    _set_times(layout, rows, event, owner, starts, states)
    for index, level in enumerate(layout.levels):
        bucket = time_us // level.hop_us
        oldest = (newest - LATENESS_US - level.length_us) // level.hop_us
        kept = np.flatnonzero(bucket >= oldest[owner])
        order = kept[np.lexsort((bucket[kept], owner[kept]))]
        own, buckets = owner[order], bucket[order]
        edges = np.flatnonzero(np.r_[True, (own[1:] != own[:-1]) | (buckets[1:] != buckets[:-1])])
        tile_owner, tile_bucket = own[edges], buckets[edges]
        sums = np.add.reduceat(deltas[order][:, list(level.measures)], edges, axis=0)
        suffix = np.cumsum(sums[::-1], axis=0)[::-1]
        tops = np.maximum.reduceat(peaks[order][:, list(level.peaks)], edges, axis=0)
        bounds = np.searchsorted(tile_owner, np.arange(len(starts) + 1))
        padded = np.vstack([suffix, np.zeros((1, suffix.shape[1]), dtype=np.int64)])
        n, first = len(level.measures), len(level.measures) + len(level.peaks)
        for i, state in enumerate(states):
            start, stop = bounds[i], bounds[i + 1]
            state.buckets[index] = tile_bucket[start:stop].copy()
            block = np.zeros((stop - start, level.n_columns), dtype=np.int64)
            block[:, :n] = suffix[start:stop] - padded[stop]
            block[:, n:first] = np.maximum.accumulate(tops[start:stop][::-1], axis=0)[::-1]
            state.rows[index] = block
        tile = np.full(len(rows.key), -1, dtype=np.int64)
        tile[event[order]] = np.repeat(np.arange(len(edges)), np.diff(np.r_[edges, len(order)]))
        for column, distinct in enumerate(level.distincts):
            _suffix_sketches(states, index, column, bounds, tile, rows.distincts[distinct])
    owner_of = np.full(len(rows.key), -1, dtype=np.int64)
    owner_of[event] = owner
    for distinct, names in enumerate(rows.distincts):
        _count_names(states, distinct, owner_of, names)
    for recent, names in enumerate(rows.recents):
        _keep_sets(states, recent, owner_of, rows, names)
    return states


def states_through(layout: Layout, rows: FoldRows) -> list[EntityState]:
    """`states_of` where requests are tombstones, and what they name is left out of the events: a state for each key,
    empty where nothing counts, that has folded up to the last of both."""
    states = [EntityState(layout) for _ in range(int(rows.key[-1]) + 1)] if len(rows.key) else []
    counted = np.unique(rows.key[~rows.request])
    for place, state in zip(counted.tolist(), states_of(layout, rows), strict=True):
        states[place] = state
    for place, seq in zip(rows.key[rows.request].tolist(), rows.seq[rows.request].tolist(), strict=True):
        states[place].last_seq = max(states[place].last_seq, seq)
    return states


def _set_times(
    layout: Layout, rows: FoldRows, event: IntArray, owner: IntArray, starts: IntArray, states: Sequence[EntityState]
) -> None:
    ends = np.r_[starts[1:], len(event)] - 1
    n_extremes = len(layout.extreme_names)
    ranking = Ranking(owner, rows.time_us[event])
    for column in range(n_extremes):
        first = bool(layout.extreme_is_first[column])
        counts = rows.extremes[event, column]
        best = ranking.running(counts, largest=not first)[ends]
        held = layout.held.index(column) if column in layout.held else None
        for i in np.flatnonzero(best >= 0).tolist():
            row = event[best[i]]
            states[i].times[column] = rows.time_us[row]
            if held is not None:
                states[i].times[n_extremes + held] = rows.held[row, held]
                states[i].held_seqs[held] = rows.seq[row]


def _count_names(states: Sequence[EntityState], distinct: int, owner_of: IntArray, names: Names) -> None:
    """Put each key's different names into its sketch. owner_of: of each row the place of its state."""
    names = names.where(owner_of >= 0)
    n = max(len(names.texts), 1)
    pairs = np.unique(owner_of[names.rows()] * n + names.codes)
    for owner, code in zip((pairs // n).tolist(), (pairs % n).tolist(), strict=True):
        states[owner].sketches[distinct].add(names.texts[code])
    for state in states:
        state.totals[state.layout.first_distinct + distinct] = state.sketches[distinct].estimate()


def _keep_sets(states: Sequence[EntityState], recent: int, owner_of: IntArray, rows: FoldRows, names: Names) -> None:
    """Note the last use of each set that a key keeps."""
    sets = NumberedSets()
    numbers = sets.of_rows(names.where(~rows.request))
    used = np.flatnonzero(numbers >= 0)
    if not len(used):
        return
    # In order of use: first the last use of each set, of those then the latest of each key.
    used = used[np.lexsort((rows.seq[used], rows.time_us[used], numbers[used], owner_of[used]))]
    used = used[_ends(owner_of[used], numbers[used])]
    used = used[np.lexsort((rows.seq[used], rows.time_us[used], owner_of[used]))]
    owners = owner_of[used]
    end_of_key = np.searchsorted(owners, owners, side="right")
    listed = sets.listed()
    for row in used[end_of_key - np.arange(len(used)) <= states[0].layout.view.recents[recent].keep].tolist():
        state = states[owner_of[row]]
        state.recents[recent].add(listed[numbers[row]], int(rows.time_us[row]), int(rows.seq[row]))


def _ends(a: IntArray, b: IntArray) -> BoolArray:
    """Where runs of equal pairs end."""
    ends = np.ones(len(a), dtype=np.bool_)
    ends[:-1] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return ends


def _suffix_sketches(
    states: Sequence[EntityState], index: int, column: int, bounds: IntArray, tile_of: IntArray, names: Names
) -> None:
    """Sketches of the suffix rows at a level, from the newest bucket back.

    bounds: (n_states + 1,) where the tiles of each state begin. tile_of: of each row its tile, -1 for none.
    """
    rows = names.rows()
    rows = rows[tile_of[rows] >= 0]
    tile, code = tile_of[rows], names.codes[tile_of[names.rows()] >= 0]
    owner = np.searchsorted(bounds, tile, side="right") - 1
    # A suffix holds what later ones hold, so that a name goes in where it came last.
    order = np.lexsort((tile, code, owner))
    order = order[_ends(owner[order], code[order])]
    tile, code = tile[order], code[order]
    order = np.argsort(tile, kind="stable")
    starts = np.searchsorted(tile[order], np.arange(int(bounds[-1]) + 1)).tolist()
    codes = code[order].tolist()
    for i, state in enumerate(states):
        level = state.layout.levels[index]
        start, stop = int(bounds[i]), int(bounds[i + 1])
        sketches: list[DistinctUnion] = []
        for place in range(stop - 1, start - 1, -1):
            union = DistinctUnion(sketches[-1].to_bytes() if sketches else None)
            for name in codes[starts[place] : starts[place + 1]]:
                union.add(names.texts[name])
            sketches.append(union)
            state.rows[index][place - start, level.n_columns - len(level.distincts) + column] = union.estimate()
        state.suffix_sketches[index][column] = sketches[::-1]
