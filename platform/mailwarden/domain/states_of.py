"""States of many keys at once, from all their events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mailwarden.domain.dominance import IntArray, Ranking
from mailwarden.domain.fold_rows import FoldRows
from mailwarden.domain.layout import Layout
from mailwarden.domain.recent import own_set
from mailwarden.domain.sketches import DistinctUnion
from mailwarden.domain.state import EntityState
from mailwarden.domain.windows import LATENESS_US


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
        if level.distincts:
            tiles = np.split(event[order], edges[1:]) if len(edges) else []
            _suffix_sketches(states, index, bounds, tiles, rows)
    _collect_names(layout, rows, event, owner, states)
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


def _collect_names(
    layout: Layout, rows: FoldRows, event: IntArray, owner: IntArray, states: Sequence[EntityState]
) -> None:
    pairs = list(zip(event.tolist(), owner.tolist(), strict=True))
    for distinct, values in enumerate(rows.distincts):
        members: list[set[str]] = [set() for _ in states]
        for row, i in pairs:
            members[i].update(values[row] or ())
        for state, names in zip(states, members, strict=True):
            for name in names:
                state.sketches[distinct].add(name)
            state.totals[layout.first_distinct + distinct] = state.sketches[distinct].estimate()
    for recent, values in enumerate(rows.recents):
        for row, i in pairs:
            if names_of_row := values[row]:
                states[i].recents[recent].add(own_set(names_of_row), int(rows.time_us[row]), int(rows.seq[row]))


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
                state.rows[index][tile - start, level.n_columns - len(level.distincts) + column] = union.estimate()
            state.suffix_sketches[index][column] = sketches[::-1]
