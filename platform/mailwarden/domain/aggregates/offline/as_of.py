"""Window sums as of many moments at once: the offline read, exact and without a loop over a key's history.

Rows of a batch (`FoldRows`) are events and requests of many keys, by (key, seq, requests first): so what a request may
see is what stands before it among the rows of its key. Steps of `_answer`, each for all requests of the batch:

1. What came before: whether there was any event, the last seq, and the newest time, from which follows the effective
   time that each window is looked through at (`windows.effective_time`).
2. Extremes (`_times`): the running earliest or latest counting row of the key.
3. Measures and peaks (`_sum`): a window sum is a two-dimensional dominance sum: events earlier in the order, in a
   bucket at or after the window's edge (`dominance`); of a window with an upper edge, one less the other.
4. Recent sets (`_match`) and distinct counts (`_count`), which cannot be taken apart as sums can: by going through
   each key in order, compiled, over names as numbers (`name_reads`). Counts too large for an exact list are taken
   again from sketches, key by key (`sequential_reads`), as a state would say them.
5. Where the first key began in an earlier batch, its state from there is added (`_add_carried`).

Invariants: one answer a request, in the order of the rows. No row sees one at or after it. What is carried from batch
to batch is one key's state, so that memory does not grow with history; and cutting a key anywhere changes no value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mailwarden.domain.aggregates.finalise import NO_TIME
from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.offline.dominance import BoolArray, IntArray, Ranking, dominance_peaks, dominance_sums
from mailwarden.domain.aggregates.offline.fold_rows import FoldRows
from mailwarden.domain.aggregates.offline.name_reads import count_names, match_sets, since_of, told_apart_as_in_sketches
from mailwarden.domain.aggregates.offline.sequential_reads import SequentialReads
from mailwarden.domain.aggregates.offline.states_of import states_of
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.windows import LATENESS_US, Window

FloatArray = np.typing.NDArray[np.float64]


@dataclass(frozen=True)
class Reads:
    """What `finalise` takes, for the requests of a batch in their order, and the last seq that each had behind it."""

    slots: IntArray
    times: IntArray
    matches: FloatArray
    seen: BoolArray
    at_us: IntArray
    last_seq: IntArray


class AsOf:
    """Answers requests batch by batch; a key whose rows continue in the next batch is carried as a state."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._carried: EntityState | None = None

    def process(self, rows: FoldRows, *, continues: bool = False) -> Reads:
        """Answer the requests of a batch, and carry the state of its last key.

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
    n = len(request)
    before = np.searchsorted(event, request)
    first_of_key = np.searchsorted(event, np.searchsorted(rows.key, rows.key[request]))
    seen = before > first_of_key
    last_seq = np.full(n, NEVER, dtype=np.int64)
    last_seq[seen] = rows.seq[event[before[seen] - 1]]
    newest = np.full(n, NEVER, dtype=np.int64)
    ranking = Ranking(rows.key, rows.time_us)
    latest = ranking.running(~rows.request, largest=True)[request]
    newest[latest >= 0] = rows.time_us[latest[latest >= 0]]
    mine = request[:0]
    if carried is not None and carried.newest_us != NEVER:
        mine = np.flatnonzero(rows.key[request] == 0)
        newest[mine] = np.maximum(newest[mine], carried.newest_us)
    effective = np.maximum(at_us, newest - LATENESS_US)
    reads = Reads(
        np.zeros((n, len(layout.slots)), dtype=np.int64),
        _times(layout, rows, request, ranking),
        np.full((n, len(layout.matches)), np.nan),
        seen,
        at_us,
        last_seq,
    )
    _sum(layout, rows, event, request, effective, reads.slots)
    _match(layout, rows, effective, reads, carried)
    _count(layout, rows, effective, reads, carried)
    if carried is not None and len(mine):
        _add_carried(layout, carried, mine, effective, reads)
    return reads


def _times(layout: Layout, rows: FoldRows, request: IntArray, ranking: Ranking) -> IntArray:
    n_extremes = len(layout.extreme_names)
    times = np.full((len(request), layout.n_times), NO_TIME, dtype=np.int64)
    # Extremes that differ in what they hold alone are of the same row.
    running: dict[tuple[int, bool], IntArray] = {}
    for column, mask in layout.extreme_rules:
        first = bool(layout.extreme_is_first[column])
        row = running.get((mask, first))
        if row is None:
            counts = rows.extremes[:, column] & ~rows.request
            row = running[mask, first] = ranking.running(counts, largest=not first)[request]
        found = row >= 0
        times[found, column] = rows.time_us[row[found]]
        if column in layout.held:
            held = layout.held.index(column)
            times[found, n_extremes + held] = rows.held[row[found], held]
    return times


def _sum(
    layout: Layout, rows: FoldRows, event: IntArray, request: IntArray, effective: IntArray, slots: IntArray
) -> None:
    """Measures and peaks over each window."""
    deltas, peaks = rows.deltas[event], rows.peaks[event]
    found: dict[tuple[int, Window, bool], IntArray] = {}

    def suffix(level_index: int, window: Window, upper: bool) -> IntArray:
        known = found.get((level_index, window, upper))
        if known is None:
            level = layout.levels[level_index]
            back = window.until_us if upper else window.length_us
            assert back is not None
            bucket, edge = rows.time_us[event] // level.hop_us, (effective - back) // level.hop_us
            columns = [
                dominance_sums(rows.key, event, bucket, deltas[:, list(level.measures)], request, edge),
                dominance_peaks(rows.key, event, bucket, peaks[:, list(level.peaks)], request, edge),
            ]
            known = found[level_index, window, upper] = np.hstack(columns)
        return known

    # All of a key's history is one bucket that every edge lies before.
    one, edge = np.zeros(len(event), dtype=np.int64), np.zeros(len(request), dtype=np.int64)
    total = dominance_sums(rows.key, event, one, deltas, request, edge)
    highest = dominance_peaks(rows.key, event, one, peaks, request, edge)
    for j, slot in enumerate(layout.slots):
        if slot.total >= layout.first_distinct:
            continue
        if slot.level is not None:
            value = suffix(slot.level, slot.window, False)[:, slot.column]
        elif slot.total < layout.n_measures:
            value = total[:, slot.total]
        else:
            value = highest[:, slot.total - layout.n_measures]
        if slot.upper_level is not None:
            value = value - suffix(slot.upper_level, slot.window, True)[:, slot.upper_column]
        slots[:, j] = value


def _match(layout: Layout, rows: FoldRows, effective: IntArray, reads: Reads, carried: EntityState | None) -> None:
    """Matches of recent sets."""
    for recent, kept in enumerate(layout.view.recents):
        wanted = [(j, window) for j, (of, window) in enumerate(layout.matches) if of == recent]
        if not wanted:
            continue
        windows = [window for _, window in wanted]
        since = since_of([w.length_us for w in windows], [w.hop_us for w in windows], effective)
        names = rows.recents[recent]
        found = match_sets(rows.key, rows.request, rows.time_us, rows.seq, names, kept.keep, since, carried, recent)
        for (j, _), values in zip(wanted, found, strict=True):
            reads.matches[:, j] = values


def _count(layout: Layout, rows: FoldRows, effective: IntArray, reads: Reads, carried: EntityState | None) -> None:
    """Distinct counts: of small sets all at once, of large ones key by key through sketches."""
    counted = [(j, slot) for j, slot in enumerate(layout.slots) if slot.total >= layout.first_distinct]
    if not len(effective) or not counted:
        return
    large: BoolArray = np.zeros(int(rows.key[-1]) + 1, dtype=np.bool_)
    # What came before stands in sketches, which names are not read back from.
    large[0] = carried is not None
    told_apart = [told_apart_as_in_sketches(names) for names in rows.distincts]
    for j, slot in counted:
        names = told_apart[slot.total - layout.first_distinct]
        if slot.level is None:
            bucket, edge = np.zeros_like(rows.time_us), np.zeros_like(effective)
        else:
            assert slot.window.length_us is not None
            hop_us = slot.window.hop_us
            bucket, edge = rows.time_us // hop_us, (effective - slot.window.length_us) // hop_us
        reads.slots[:, j] = count_names(rows.key, rows.request, bucket, edge, names, large)
    if large.any():
        _count_in_order(layout, rows, effective, reads, carried, large)


def _count_in_order(
    layout: Layout, rows: FoldRows, effective: IntArray, reads: Reads, carried: EntityState | None, large: BoolArray
) -> None:
    """Distinct counts of large sets, by folding each key in order up to its last request."""
    counted = [(j, slot) for j, slot in enumerate(layout.slots) if slot.total >= layout.first_distinct]
    requests = np.flatnonzero(rows.request)
    last = np.full(len(large), -1, dtype=np.int64)
    np.maximum.at(last, rows.key[requests], requests)
    needed = np.flatnonzero(large[rows.key] & (np.arange(len(rows.key)) <= last[rows.key]))
    number = np.cumsum(rows.request) - 1
    state, current = SequentialReads(layout, carried), 0
    columns = [column[needed].tolist() for column in (rows.key, rows.time_us, rows.request, number)]
    for i, key, time_us, is_request, request in zip(needed.tolist(), *columns, strict=True):
        if key != current:
            state, current = SequentialReads(layout), key
        if not is_request:
            state.add(time_us, [names.of_row(i) for names in rows.distincts])
            continue
        for j, slot in counted:
            reads.slots[request, j] = state.count(j, slot, int(effective[request]))


def _add_carried(layout: Layout, carried: EntityState, mine: IntArray, effective: IntArray, reads: Reads) -> None:
    """Add what came in batches before to the requests of the first key; what is read in order holds it already."""
    before = carried.read(effective[mine])
    for j, slot in enumerate(layout.slots):
        if slot.total < layout.n_measures:
            reads.slots[mine, j] += before[:, j]
        elif slot.total < layout.first_distinct:
            reads.slots[mine, j] = np.maximum(reads.slots[mine, j], before[:, j])
    n_extremes = len(layout.extreme_names)
    for column in range(n_extremes):
        then = int(carried.times[column])
        if then == NO_TIME:
            continue
        now = reads.times[mine, column]
        # A tie goes to the row that came first, which is the carried one, for the first; to the later one for the last.
        earlier = (then <= now) if layout.extreme_is_first[column] else (then > now)
        takes = mine[earlier | (now == NO_TIME)]
        reads.times[takes, column] = then
        if column in layout.held:
            place = n_extremes + layout.held.index(column)
            reads.times[takes, place] = carried.times[place]
    reads.seen[mine] = True
    reads.last_seq[mine] = np.maximum(reads.last_seq[mine], carried.last_seq)
