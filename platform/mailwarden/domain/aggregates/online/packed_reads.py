"""Window sums straight from the bytes of packed states: the loop of the online read.

What a state's words are is said by `EntityState.to_bytes`. A state comes from outside of the process: every length
in it is checked against its size before anything is read by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.aggregates.layout import NO_EDGE, Layout
from mailwarden.domain.aggregates.windows import NOTHING, effective_time

HEADER = 3
"""int64 words before the lengths of levels and recent sets: layout fingerprint, last seq folded, newest event time."""

NEVER_SEEN, NONE_IN_WINDOW, PRESENT, ANOTHER_DEFINITION, DAMAGED = range(5)
"""What is found where a state is looked for; the last two cannot be read.

NONE_IN_WINDOW: the key has history, but no event inside the longest bounded window of the view's features (of a label
the time of its message counts); never so in a view without bounded windows.
"""

Ints = NDArray[np.int64]

_effective_time = compiled(effective_time)

# Columns of the tables; a span is a first row of another table and the one after its last.
_FINGERPRINT, _TOTALS, _TIMES, _HELD, _RECENTS, _LEVEL, _LEVEL_END, _SLOT, _SLOT_END = range(9)
_FIRST_TIME, _MATCH, _MATCH_END, _EMPTY_TOTALS, _REACH_US, _REACH_HOP_US = range(9, 15)
_COLUMNS, _EDGE, _EDGE_END, _EMPTY_ROW = range(4)
_HOP, _AGE, _EMPTY = range(3)
_TOTAL, _LOWER, _COLUMN, _UPPER, _UPPER_COLUMN = range(5)
_RECENT, _FACT, _LENGTH_US, _HOP_US = range(4)
_ENTRY = 3
"""Words of a recent set before its members: time, seq, how many members."""


class PackedStates(NamedTuple):
    """What is read: n rows, each with one state for every view and with the sets of the message that asks.

    words: int64, all states one after another. places: (n, n_views, 2) int64, first word and number of words of each
    state: the first one negative where there is none, the number negative where the bytes are no whole words.
    at_us: (n,) int64, microseconds UTC. own: int64, the hashes of the messages' own sets, ascending in each.
    own_bounds: (n_messages, n_facts + 1) int64, where in `own` the set of each fact begins, and the last one ends.
    own_of: (n,) int64, the message that a row is of, a row of `own_bounds`.
    """

    words: Ints
    places: Ints
    at_us: Ints
    own: Ints
    own_bounds: Ints
    own_of: Ints


class Tables(NamedTuple):
    """How states of several views are taken apart, their slots, times and matches side by side; a row each, int64.

    views: (n_views, 15), see the columns from `_FINGERPRINT` on. levels: (n_levels, 4), from `_COLUMNS` on.
    edges: (n_edges, 3) edges of windows, from `_HOP` on. sums: (n_slots, 5) slots, from `_TOTAL` on. wanted:
    (n_matches, 4) matches, from `_RECENT` on. empty: what stands where a key has no state, and where a window begins
    after its last bucket: words that views and levels point to.
    """

    views: Ints
    levels: Ints
    edges: Ints
    sums: Ints
    wanted: Ints
    empty: Ints

    @classmethod
    def of(cls, layouts: Sequence[Layout], facts: Sequence[str]) -> Self:
        """Of the layouts of the views, in their order. facts: `matched_facts` of them."""
        views, levels, edges, sums, wanted, empty = (list[Sequence[int]]() for _ in range(6))
        n_empty = n_times = 0

        def stands_for_none(values: Ints) -> int:
            nonlocal n_empty
            empty.append(values.tolist())
            n_empty += len(values)
            return n_empty - len(values)

        for layout in layouts:
            empty_totals = stands_for_none(layout.empty_totals)
            first_level, place = len(levels), {NO_EDGE: NO_EDGE}
            for index, level in enumerate(layout.levels):
                first_edge, empty_row = len(edges), stands_for_none(layout.empty_rows[index])
                for number, (of, hop_us, age_us) in enumerate(layout.edges):
                    if of == index:
                        place[number] = len(edges)
                        edges.append((hop_us, age_us, empty_row))
                levels.append((level.n_columns, first_edge, len(edges), empty_row))
            first_slot, first_match = len(sums), len(wanted)
            for total, lower, column, upper, upper_column in layout.sums:
                sums.append((total, place[lower], column, place[upper], upper_column))
            for recent, window in layout.matches:
                length_us = NOTHING if window.length_us is None else window.length_us
                wanted.append((recent, facts.index(layout.view.recents[recent].of), length_us, window.hop_us))
            views.append(
                (
                    layout.fingerprint, layout.n_totals, layout.n_times, len(layout.held), len(layout.recent_names),
                    first_level, len(levels), first_slot, len(sums), n_times, first_match, len(wanted), empty_totals,
                    *layout.reach,
                )
            )  # fmt: skip
            n_times += layout.n_times
        return cls(
            _table(views, 15),
            _table(levels, 4),
            _table(edges, 3),
            _table(sums, 5),
            _table(wanted, 4),
            np.array([value for values in empty for value in values], dtype=np.int64),
        )


class Found(NamedTuple):
    """What is written, a row for each of `PackedStates`.

    slots: (n, n_slots) int64 window sums. times: (n, n_times) int64, `NOTHING` for none. matches: (n, n_matches)
    float64, 0..1, NaN for none. last_seq: (n, n_views) int64, the last seq folded, `NOTHING` where there is no state.
    found: (n, n_views) int64 of `NEVER_SEEN` to `DAMAGED`.
    """

    slots: Ints
    times: Ints
    matches: NDArray[np.float64]
    last_seq: Ints
    found: Ints

    @classmethod
    def to_be_read(cls, n: int, tables: Tables, n_times: int) -> Self:
        """Arrays of the right shapes for n rows, with nothing in them yet."""
        n_views = len(tables.views)
        return cls(
            np.empty((n, len(tables.sums)), dtype=np.int64),
            np.empty((n, n_times), dtype=np.int64),
            np.empty((n, len(tables.wanted)), dtype=np.float64),
            np.empty((n, n_views), dtype=np.int64),
            np.empty((n, n_views), dtype=np.int64),
        )


def matched_facts(layouts: Sequence[Layout]) -> tuple[str, ...]:
    """The facts whose own sets are matched by some view: the order in which `PackedStates.own` holds them."""
    return tuple(sorted({layout.view.recents[recent].of for layout in layouts for recent, _ in layout.matches}))


def read_packed(states: PackedStates, tables: Tables, found: Found) -> int:
    """Read all rows of states into `found`; returns how many states could not be read."""
    # Numba looks at the type of an array in a tuple at each call, and takes a microsecond for it; and compiled code
    # counts references to each of them wherever the tuple goes. So they are handed over one by one, never by hand.
    unreadable: int = _read_packed(*states, *tables, *found)
    return unreadable


def _table(rows: Sequence[Sequence[int]], columns: int) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(len(rows), columns)


@compiled
def _read_packed(
    words: Ints, places: Ints, at_us: Ints, own: Ints, own_bounds: Ints, own_of: Ints,
    views: Ints, levels: Ints, edges: Ints, sums: Ints, wanted: Ints, empty: Ints,
    slots: Ints, times: Ints, matches: NDArray[np.float64], last_seq: Ints, found: Ints,
) -> int:  # fmt: skip
    """The fields of `PackedStates`, of `Tables` and of `Found`, in their order."""
    rows = np.empty(len(edges), dtype=np.int64)
    unreadable = 0
    for i in range(len(at_us)):
        for v in range(len(views)):
            view, start, size = views[v], places[i, v, 0], places[i, v, 1]
            kind = NEVER_SEEN if start < 0 else what_is_there(words, start, size, view, levels)
            if kind == PRESENT and words[start + 2] == NOTHING:
                # All that it had folded was taken out again.
                kind = NEVER_SEEN
            if kind != PRESENT:
                unreadable += kind != NEVER_SEEN
                _none(view, sums, edges, empty, slots[i], times[i], matches[i])
                last_seq[i, v] = NOTHING
                found[i, v] = kind
                continue
            newest_us = words[start + 2]
            at = _effective_time(at_us[i], newest_us)
            n_levels = view[_LEVEL_END] - view[_LEVEL]
            totals = start + HEADER + n_levels + view[_RECENTS]
            position = totals + view[_TOTALS] + view[_TIMES] + view[_HELD]
            for level in range(n_levels):
                n = words[start + HEADER + level]
                columns, first_edge, end_edge = levels[view[_LEVEL] + level, :3]
                for edge in range(first_edge, end_edge):
                    bucket = (at - edges[edge, _AGE]) // edges[edge, _HOP]
                    row = np.searchsorted(words[position : position + n], bucket)
                    rows[edge] = position + n + row * columns if row < n else NO_EDGE
                position += n * (1 + columns)
            for slot in range(view[_SLOT], view[_SLOT_END]):
                total, lower, column, upper, upper_column = sums[slot]
                value = words[totals + total] if lower == NO_EDGE else _at(words, rows, lower, column, edges, empty)
                if upper != NO_EDGE:
                    value -= _at(words, rows, upper, upper_column, edges, empty)
                slots[i, slot] = value
            for time in range(view[_TIMES]):
                times[i, view[_FIRST_TIME] + time] = words[totals + view[_TOTALS] + time]
            lengths = words[start + HEADER + n_levels : totals]
            for match in range(view[_MATCH], view[_MATCH_END]):
                recent, fact, length_us, hop_us = wanted[match]
                since = NOTHING if length_us == NOTHING else (at - length_us) // hop_us * hop_us
                first = position + lengths[:recent].sum()
                mine = own[own_bounds[own_of[i], fact] : own_bounds[own_of[i], fact + 1]]
                matches[i, match] = closest_packed(mine, words[first : first + lengths[recent]], since)
            last_seq[i, v] = words[start + 1]
            if last_seq[i, v] == NOTHING:
                found[i, v] = NEVER_SEEN
            elif newest_us < (at_us[i] - view[_REACH_US]) // view[_REACH_HOP_US] * view[_REACH_HOP_US]:
                found[i, v] = NONE_IN_WINDOW
            else:
                found[i, v] = PRESENT
    return unreadable


@compiled
def what_is_there(words: Ints, start: int, size: int, view: Ints, levels: Ints) -> int:
    """`PRESENT` where all that a state says of its lengths comes to its size, else why it cannot be read."""
    if size < 0:
        return DAMAGED
    if size < HEADER or words[start] != view[_FINGERPRINT]:
        return ANOTHER_DEFINITION
    n_levels = view[_LEVEL_END] - view[_LEVEL]
    lengths = HEADER + n_levels + view[_RECENTS]
    needed = lengths + view[_TOTALS] + view[_TIMES] + view[_HELD]
    if size < needed:
        return DAMAGED
    for index in range(HEADER, lengths):
        length = words[start + index]
        if length < 0 or length > size:
            return DAMAGED
        level = index - HEADER
        needed += length * (1 + levels[view[_LEVEL] + level, _COLUMNS]) if level < n_levels else length
    if needed != size:
        return DAMAGED
    position = start + size
    for index in range(lengths - 1, HEADER + n_levels - 1, -1):
        stop = position
        entry = position = position - words[start + index]
        while entry < stop:
            if entry + _ENTRY > stop or words[entry + 2] < 0 or words[entry + 2] > stop - entry - _ENTRY:
                return DAMAGED
            entry += _ENTRY + words[entry + 2]
    return PRESENT


@compiled
def _none(
    view: Ints, sums: Ints, edges: Ints, empty: Ints, slots: Ints, times: Ints, matches: NDArray[np.float64]
) -> None:
    """One row of a view as it is for a key without a state."""
    for slot in range(view[_SLOT], view[_SLOT_END]):
        total, lower, column, upper, upper_column = sums[slot]
        slots[slot] = empty[view[_EMPTY_TOTALS] + total if lower == NO_EDGE else edges[lower, _EMPTY] + column]
        if upper != NO_EDGE:
            slots[slot] -= empty[edges[upper, _EMPTY] + upper_column]
    times[view[_FIRST_TIME] : view[_FIRST_TIME] + view[_TIMES]] = NOTHING
    matches[view[_MATCH] : view[_MATCH_END]] = math.nan


@compiled
def _at(words: Ints, rows: Ints, edge: int, column: int, edges: Ints, empty: Ints) -> int:
    return empty[edges[edge, _EMPTY] + column] if rows[edge] == NO_EDGE else words[rows[edge] + column]  # type: ignore[no-any-return]


@compiled
def closest_packed(own: Ints, entries: Ints, since_us: int) -> float:
    """What `recent.closest` says of packed entries, see `RecentSets.words`; the members of either side ascend."""
    best = math.nan
    entry = 0
    while own.size and entry < entries.size and entries[entry] >= since_us:
        first = entry + _ENTRY
        entry = first + entries[entry + 2]
        likeness = likeness_of(own, entries[first:entry])
        if not likeness <= best:
            best = likeness
    return best


@compiled
def likeness_of(own: Ints, other: Ints) -> float:
    """The Jaccard overlap of two ascending sets that are not both empty."""
    shared = mine = theirs = 0
    while mine < own.size and theirs < other.size:
        a, b = own[mine], other[theirs]
        shared += a == b
        mine += a <= b
        theirs += b <= a
    return shared / (own.size + other.size - shared)
