"""Events folded straight into packed states, many keys in one call: what `EntityState.fold` comes to, event by event.

A *row* is an event in one way that it reaches a key; a key's rows are in order of seq. For each state, in one pass:

1. A state that cannot be read is left alone and named so. Rows up to its last seq are passed over; where none is left
   there is nothing to write.
2. Head, totals, times and held seqs are copied to where the new state will lie; a new key has those of an empty state.
   What each row adds to the totals is computed once, and both totals and levels take it from there.
3. Each level is copied aside and takes all rows in turn: buckets that the newest event so far has put out of reach
   fall off the front, the event's own bucket is made of the next later one where it is not there, and the row is
   added to it and to all before it. What is left is written behind what is written already.
4. Each recent set is copied aside likewise, and takes all rows in turn.

Invariants:

- Levels and recent sets depend on a row and on the newest time up to it alone, so that each may take all rows before
  the next one takes any: the words are those of one event after another.
- Distinct counts are not touched: a bucket that is made has the counts of the next later one, and `key_sketches`, which
  alone can count, writes over them. What it makes of levels must agree with step 3.
- Nothing is read before its length was held against the state's size, and a state is written within its room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.aggregates.fact_specs import QUANTITIES, quantity_of
from mailwarden.domain.aggregates.finalise import NO_TIME
from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.online.packed_reads import HEADER, NEVER_SEEN, PRESENT, what_is_there
from mailwarden.domain.aggregates.online.packed_recents import ENTRY, use
from mailwarden.domain.aggregates.recent import MEMBERS_KEPT, own_set
from mailwarden.domain.aggregates.windows import LATENESS_US, NOTHING
from mailwarden.domain.mail.events import Event, Kind, members_of

Ints = NDArray[np.int64]

_KINDS: tuple[Kind, ...] = get_args(Kind)
_MESSAGE = _KINDS.index("message")

# Columns of the tables; a span is a first row of another table and the one after its last. The first columns of views
# and the first one of levels are those that `what_is_there` looks at.
_FINGERPRINT, _TOTALS, _TIMES, _HELD, _RECENTS, _LEVEL, _LEVEL_END = range(7)
_MEASURE, _PEAK, _EXTREME, _RECENT, _RULE_END, _EMPTY_SIZE, _GROWTH = range(7, 14)
_COLUMNS, _HOP, _LENGTH, _MEASURES, _PEAKS, _FIRST = range(6)
_MASK, _OF, _KIND, _NEGATED, _IS_FIRST, _PLACE, _KEEP = range(7)
_SEQ, _TIME, _EVENT_KIND = range(3)
_EVENT, _BITS = range(2)
_VIEW, _ROW, _ROW_END, _START, _SIZE, _ROOM = range(6)
_FOUND, _OUT, _OUT_END, _REPEATED = range(4)
_NONE = -1

NOWHERE = -1
"""The first word of a state that there is none of."""


class FoldTables(NamedTuple):
    """What several views make of rows; a row each, int64.

    views: (n_views, 14), see the columns from `_FINGERPRINT` on. levels: (n_levels, 6), from `_COLUMNS` on. columns:
    the totals that levels keep, which levels point to. rules: (n_rules, 7), from `_MASK` on: of each view its measures,
    peaks, extremes and recent sets. facts: those whose sets are kept, in the order of `FoldEvents.own_bounds`.
    """

    views: Ints
    levels: Ints
    columns: Ints
    rules: Ints
    facts: tuple[str, ...]

    @classmethod
    def of(cls, layouts: Sequence[Layout]) -> Self:
        """Of the layouts of the views, in their order."""
        facts = tuple(sorted({recent.of for layout in layouts for recent in layout.view.recents}))
        views, levels, rules = (list[Sequence[int]]() for _ in range(3))
        columns: list[int] = []
        for layout in layouts:
            first_level, recents = len(levels), layout.view.recents
            for level in layout.levels:
                counts = len(level.measures), len(level.peaks)
                levels.append((level.n_columns, level.hop_us, level.length_us, *counts, len(columns)))
                columns += [*level.measures, *(layout.n_measures + peak for peak in level.peaks)]
            firsts = []
            for part in (_measures, _peaks, _extremes):
                firsts.append(len(rules))
                rules += part(layout)
            firsts.append(len(rules))
            rules += [(mask, facts.index(of), 0, 0, 0, 0, recents[i].keep) for i, of, mask in layout.recent_rules]
            growth = sum(1 + level.n_columns for level in layout.levels) + len(recents) * (ENTRY + MEMBERS_KEPT)
            held = len(layout.held)
            empty = HEADER + len(layout.levels) + len(recents) + layout.n_totals + layout.n_times + held
            views.append(
                (
                    layout.fingerprint, layout.n_totals, layout.n_times, held, len(recents), first_level, len(levels),
                    *firsts, len(rules), empty, growth,
                )
            )  # fmt: skip
        return cls(_table(views, 14), _table(levels, 6), np.array(columns, dtype=np.int64), _table(rules, 7), facts)


def _measures(layout: Layout) -> list[tuple[int, ...]]:
    return [(mask, _quantity(of), _KINDS.index(kind), 0, 0, 0, 0) for _, kind, of, mask in layout.measure_rules]


def _peaks(layout: Layout) -> list[tuple[int, ...]]:
    return [(mask, _quantity(of), _MESSAGE, negated, 0, 0, 0) for _, of, mask, negated in layout.peak_rules]


def _extremes(layout: Layout) -> list[tuple[int, ...]]:
    extremes = layout.view.extremes
    return [
        (mask, _quantity(extremes[i].of), _MESSAGE, 0, extremes[i].kind == "first",
         layout.held.index(i) if i in layout.held else _NONE, 0)
        for i, mask in layout.extreme_rules
    ]  # fmt: skip


def _quantity(of: str) -> int:
    return QUANTITIES.index(of) if of else _NONE


class FoldEvents(NamedTuple):
    """Events as numbers, once for all keys. facts: (n, 3) int64, seq, time in microseconds UTC, kind. quantities:
    (n, n_quantities) int64. own: the hashes of the events' sets, ascending in each. own_bounds: (n, n_facts + 1)
    int64, where in `own` the set of each fact begins, and the last one ends."""

    facts: Ints
    quantities: Ints
    own: Ints
    own_bounds: Ints

    @classmethod
    def of(cls, events: Sequence[Event], tables: FoldTables) -> Self:
        """Of events, in their order."""
        own: list[int] = []
        bounds = []
        for event in events:
            bounds.append(len(own))
            for fact in tables.facts:
                own += own_set(members_of(event, fact))
                bounds.append(len(own))
        return cls(
            _table([(event.seq, event.received_at_us, _KINDS.index(event.kind)) for event in events], 3),
            _table([[quantity_of(event, name) for name in QUANTITIES] for event in events], len(QUANTITIES)),
            np.array(own, dtype=np.int64),
            _table(bounds, len(tables.facts) + 1),
        )


class Folded(NamedTuple):
    """What became of states. words: int64, those that changed, one after another. states: (n, 4) int64 for each target:
    what was found (`NEVER_SEEN` to `DAMAGED`), where in `words` its new state begins and ends (alike where there is
    none to write), and how many of its rows it had folded before."""

    words: Ints
    states: Ints


def fold_packed(
    words: Ints, targets: Sequence[tuple[int, int, int, int, int]], rows: Ints, events: FoldEvents, tables: FoldTables
) -> Folded:
    """Fold rows into states; see the module.

    words: int64, all states one after another. targets: for each state its view, the first of its rows and one after
    the last, and its first word and number of words: `NOWHERE` where there is none, the number negative where the bytes
    are no whole words. rows: (n_rows, 2) int64, event and flags as bits, those of a target by seq.
    """
    asked = _table(targets, 5)
    views = tables.views[asked[:, _VIEW]]
    rooms = np.maximum(asked[:, _SIZE], views[:, _EMPTY_SIZE])
    rooms += (asked[:, _ROW_END] - asked[:, _ROW]) * views[:, _GROWTH]
    most = int(rooms.max(initial=0))
    out = np.empty(int(rooms.sum()), dtype=np.int64)
    states = np.empty((len(asked), 4), dtype=np.int64)
    longest = int((asked[:, _ROW_END] - asked[:, _ROW]).max(initial=0))
    added = np.empty((longest, int(tables.views[:, _TOTALS].max(initial=0))), dtype=np.int64)
    aside = np.empty((2, most), dtype=np.int64)
    _fold_packed(
        words, asked, rows, events.facts, events.quantities, events.own, events.own_bounds, tables.views,
        tables.levels, tables.columns, tables.rules, added, aside, out, states,
    )  # fmt: skip
    return Folded(out, states)


def compile_fold() -> None:
    """Fold nothing once, so that no event waits for what is compiled at a first call."""
    tables = FoldTables.of(())
    nothing = np.empty((0, 2), dtype=np.int64)
    # Of bytes that cannot be written to, as states are read: another kind of array is another function.
    fold_packed(np.frombuffer(b"", dtype=np.int64), (), nothing, FoldEvents.of((), tables), tables)


def _table(rows: Sequence[Sequence[int]] | Sequence[int], columns: int) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(-1, columns)


@compiled
def _fold_packed(
    words: Ints, targets: Ints, rows: Ints, facts: Ints, quantities: Ints, own: Ints, own_bounds: Ints,
    views: Ints, levels: Ints, columns: Ints, rules: Ints, added: Ints, aside: Ints, out: Ints, states: Ints,
) -> None:  # fmt: skip
    position = 0
    for i in range(len(targets)):
        view = views[targets[i, _VIEW]]
        row, end, start, size = targets[i, _ROW], targets[i, _ROW_END], targets[i, _START], targets[i, _SIZE]
        found = NEVER_SEEN if start < 0 else what_is_there(words, start, size, view, levels)
        states[i, _FOUND], states[i, _OUT], states[i, _OUT_END], states[i, _REPEATED] = found, position, position, 0
        if found != NEVER_SEEN and found != PRESENT:
            continue
        known = found == PRESENT
        last_seq, newest_us = (words[start + 1], words[start + 2]) if known else (NOTHING, NOTHING)
        while row < end and facts[rows[row, _EVENT], _SEQ] <= last_seq:
            row += 1
        states[i, _REPEATED] = row - targets[i, _ROW]
        if row == end:
            continue
        n_levels = view[_LEVEL_END] - view[_LEVEL]
        lengths = HEADER + n_levels + view[_RECENTS]
        totals = position + lengths
        old = start + lengths
        fixed = view[_TOTALS] + view[_TIMES] + view[_HELD]
        out[position] = view[_FINGERPRINT]
        out[position + 1] = facts[rows[end - 1, _EVENT], _SEQ]
        if known:
            out[totals : totals + fixed] = words[old : old + fixed]
        else:
            out[totals : totals + fixed] = NO_TIME
            out[totals : totals + view[_TOTALS]] = 0
            peaks = totals + view[_PEAK] - view[_MEASURE]
            out[peaks : peaks + view[_EXTREME] - view[_PEAK]] = NOTHING
        _add_to_totals(rows, row, end, facts, quantities, view, rules, added, out, totals)
        _take_times(rows, row, end, facts, quantities, view, rules, out, totals)
        after, old = totals + fixed, old + fixed
        for level in range(n_levels):
            n = words[start + HEADER + level] if known else 0
            shape = levels[view[_LEVEL] + level]
            left = _fold_level(
                words[old:], n, rows, row, end, facts, newest_us, shape, columns, added, aside, out[after:]
            )
            old += n * (1 + shape[_COLUMNS])
            out[position + HEADER + level] = left
            after += left * (1 + shape[_COLUMNS])
        for recent in range(view[_RECENTS]):
            n = words[start + HEADER + n_levels + recent] if known else 0
            kept = aside[0]
            kept[:n] = words[old : old + n]
            old += n
            rule = rules[view[_RECENT] + recent]
            for r in range(row, end):
                e = rows[r, _EVENT]
                if facts[e, _EVENT_KIND] == _MESSAGE and rows[r, _BITS] & rule[_MASK] == rule[_MASK]:
                    members = own[own_bounds[e, rule[_OF]] : own_bounds[e, rule[_OF] + 1]]
                    n = use(kept, n, members, facts[e, _TIME], facts[e, _SEQ], rule[_KEEP])
            out[after : after + n] = kept[:n]
            out[position + HEADER + n_levels + recent] = n
            after += n
        for r in range(row, end):
            newest_us = max(newest_us, facts[rows[r, _EVENT], _TIME])
        out[position + 2] = newest_us
        states[i, _OUT_END] = position = after


@compiled
def _add_to_totals(
    rows: Ints, row: int, end: int, facts: Ints, quantities: Ints, view: Ints, rules: Ints, added: Ints, out: Ints,
    totals: int,
) -> None:  # fmt: skip
    """Measures and peaks: what each row adds, to be taken again by levels, and the totals with it."""
    first, first_peak, stop = view[_MEASURE], view[_PEAK], view[_EXTREME]
    for r in range(row, end):
        e, bits, adds = rows[r, _EVENT], rows[r, _BITS], added[r - row]
        for number in range(first, stop):
            rule, place = rules[number], number - first
            counts = rule[_KIND] == facts[e, _EVENT_KIND] and bits & rule[_MASK] == rule[_MASK]
            value = 1 if rule[_OF] == _NONE else quantities[e, rule[_OF]]
            if number < first_peak:
                adds[place] = value if counts else 0
                out[totals + place] += adds[place]
            else:
                adds[place] = NOTHING if not counts else -value if rule[_NEGATED] else value
                out[totals + place] = max(out[totals + place], adds[place])


@compiled
def _take_times(
    rows: Ints, row: int, end: int, facts: Ints, quantities: Ints, view: Ints, rules: Ints, out: Ints, totals: int
) -> None:
    """Extremes with what they hold: `EntityState.fold` says which of two wins."""
    times = totals + view[_TOTALS]
    values, seqs = times + view[_RECENT] - view[_EXTREME], times + view[_TIMES]
    for r in range(row, end):
        e, bits = rows[r, _EVENT], rows[r, _BITS]
        if facts[e, _EVENT_KIND] != _MESSAGE:
            continue
        seq, time_us = facts[e, _SEQ], facts[e, _TIME]
        for number in range(view[_EXTREME], view[_RECENT]):
            rule, place = rules[number], times + number - view[_EXTREME]
            if bits & rule[_MASK] != rule[_MASK]:
                continue
            current, held, is_first = out[place], rule[_PLACE], rule[_IS_FIRST] != 0
            if current == time_us and held != _NONE:
                wins = (seq < out[seqs + held]) == is_first
            else:
                wins = current == NO_TIME or (time_us < current) == is_first
            if wins:
                out[place] = time_us
                if held != _NONE:
                    out[seqs + held] = seq
                    out[values + held] = quantities[e, rule[_OF]]


@compiled
def _fold_level(
    words: Ints, n: int, rows: Ints, row: int, end: int, facts: Ints, newest_us: int, level: Ints, columns: Ints,
    added: Ints, aside: Ints, out: Ints,
) -> int:  # fmt: skip
    """One level: n buckets and their rows at the beginning of `words`; how many buckets are written to `out`.

    newest_us: before the first of the rows. Live are the buckets from `low` up to and without `high`.
    """
    width, n_measures = level[_COLUMNS], level[_MEASURES]
    n_summed = n_measures + level[_PEAKS]
    buckets, sums = aside[0], aside[1]
    buckets[:n] = words[:n]
    sums[: n * width] = words[n : n * (1 + width)]
    low, high = 0, n
    for r in range(row, end):
        time_us = facts[rows[r, _EVENT], _TIME]
        newest_us = max(newest_us, time_us)
        oldest = (newest_us - LATENESS_US - level[_LENGTH]) // level[_HOP]
        if low < high and buckets[low] < oldest:
            low += np.searchsorted(buckets[low:high], oldest)
        bucket = time_us // level[_HOP]
        if bucket < oldest:
            continue
        at = low + np.searchsorted(buckets[low:high], bucket)
        if at == high or buckets[at] != bucket:
            for j in range(high, at, -1):
                buckets[j] = buckets[j - 1]
            for j in range(high * width - 1, at * width - 1, -1):
                sums[j + width] = sums[j]
            buckets[at] = bucket
            if at == high:
                for column in range(width):
                    sums[at * width + column] = NOTHING if n_measures <= column < n_summed else 0
            high += 1
        for column in range(n_summed):
            value = added[r - row, columns[level[_FIRST] + column]]
            if column < n_measures:
                for j in range(low * width + column, (at + 1) * width, width):
                    sums[j] += value
            else:
                for j in range(low * width + column, (at + 1) * width, width):
                    sums[j] = max(sums[j], value)
    left = high - low
    out[:left] = buckets[low:high]
    out[left : left * (1 + width)] = sums[low * width : high * width]
    return left
