"""Reads straight from packed states: the online read, and what a state's bytes begin with."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.finalise import NO_TIME
from mailwarden.domain.layout import Layout
from mailwarden.domain.recent import Members, closest_packed
from mailwarden.domain.windows import NOTHING, Window, effective_time
from mailwarden.errors import DataError

HEADER = 3
"""int64 words before the lengths of levels and recent sets: layout fingerprint, last seq folded, newest event time."""

NEVER = NOTHING
"""`newest_us` and `last_seq` of an empty state."""

_WORD = 8
_NAN = float("nan")


def check_fingerprint(layout: Layout, words: Sequence[int] | NDArray[np.int64] | memoryview) -> None:
    """Raise DataError where a state was written under another definition of the view."""
    if len(words) < HEADER or words[0] != layout.fingerprint:
        raise DataError(
            f"state of view {layout.view.name} version {layout.view.version} was written under another definition; "
            "raise the view's version and run `mailwarden materialize`"
        )


def none_in_window(layout: Layout, newest_us: NDArray[np.int64], at_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether keys have history, but no event inside the longest bounded window of the view's features.

    newest_us: (n,) time of the key's newest event (of a label that of its message), `NEVER` without history. at_us:
    (n,) time of each read. Never so in a view whose features have no bounded window.
    """
    length_us, hop_us = _longest(layout)
    found: NDArray[np.bool_] = (newest_us != NEVER) & (newest_us < (at_us - length_us) // hop_us * hop_us)
    return found


@lru_cache(maxsize=256)
def _longest(layout: Layout) -> tuple[int, int]:
    bounded = [
        (window.length_us, window.hop_us)
        for feature in layout.view.features
        for window in feature.windows
        if window.length_us is not None
    ]
    # Of two as long the one with the wider hop reaches back further.
    return max(bounded, default=(-NEVER, 1))


class StateReads(NamedTuple):
    """What `finalise` takes, for n keys. slots (n, n_slots), times (n, n_times), matches (n, n_matches), seen (n,),
    and last_seq (n,), `NEVER` where not seen."""

    slots: NDArray[np.int64]
    times: NDArray[np.int64]
    matches: NDArray[np.float64]
    seen: NDArray[np.bool_]
    last_seq: NDArray[np.int64]


def read_slots(
    layout: Layout,
    states: Sequence[bytes | None],
    at_us: NDArray[np.int64],
    own: Sequence[Mapping[str, Members]] | None = None,
) -> StateReads:
    """Window sums straight from packed states, without building them.

    states: n packed states, None for a key never seen. at_us: (n,) int64 microseconds UTC. own: by fact of `MEMBERS`
    the message's own set (`recent.own_set`), a mapping a state; None for empty ones. Raises DataError where a state
    cannot be read.
    """
    reads = joined_alone(layout).read(
        Asked(int(at), own[i] if own is not None else {}, ((state,),))
        for i, (state, at) in enumerate(zip(states, at_us, strict=True))
    )
    for problem in reads.problems.values():
        raise DataError(problem)
    last_seq = reads.last_seq[:, 0]
    return StateReads(reads.slots, reads.times, reads.matches, last_seq != NEVER, last_seq)


class Asked(NamedTuple):
    """Rows that are read at one time with one message's own sets; a row holds a state, or None, for each view."""

    at_us: int
    own: Mapping[str, Members]
    rows: Sequence[Sequence[bytes | None]]


class JoinedReads(NamedTuple):
    """What `finalise_joined` takes, with slots, times and matches of the views side by side.

    last_seq: (n, n_views), `NEVER` where there is no state. silent: (n, n_views), see `none_in_window`. problems: by
    (row, view) why a state could not be read; it is as if it were not there.
    """

    slots: NDArray[np.int64]
    times: NDArray[np.int64]
    matches: NDArray[np.float64]
    last_seq: NDArray[np.int64]
    silent: NDArray[np.bool_]
    problems: Mapping[tuple[int, int], str]


@dataclass(frozen=True, slots=True)
class _Level:
    """columns: words of a suffix row. edges: hop and age of each edge, and where an empty row stands."""

    columns: int
    edges: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one view's states are taken apart; places are words from the beginning of a state.

    nothing: the starts, see `JoinedStates`, of a key without state. matches: recent set, fact and window of each.
    reach: length and hop of the longest bounded window.
    """

    layout: Layout
    head: struct.Struct
    totals: int
    times: int
    body: int
    levels: tuple[_Level, ...]
    nothing: tuple[int, ...]
    no_matches: tuple[float, ...]
    matches: tuple[tuple[int, str, Window], ...]
    reach: tuple[int, int]


_Found = tuple[Sequence[int], Sequence[float], int, bool, str]
"""Starts, matches, last seq and silence of one state at one time, and why it could not be read."""


class JoinedStates:
    """Reads packed states of several views for the same rows at once.

    All states of a read are laid one after another, behind a front that stands for what is missing. Python looks up
    only where totals, times and each window's edge start (`starts`); all sums are then gathered by one index array.
    """

    def __init__(self, layouts: Sequence[Layout]) -> None:
        front: list[int] = []
        self._plans: list[_Plan] = []
        slots: list[tuple[int, int]] = []
        uppers: list[tuple[int, int, int]] = []
        times: list[tuple[int, int]] = []
        n_starts = 0
        for layout in layouts:
            nothing = [len(front)]
            front += layout.empty_totals.tolist()
            nothing.append(len(front))
            front += [NO_TIME] * layout.n_times
            levels = []
            place = {}
            for index, level in enumerate(layout.levels):
                empty = len(front)
                front += layout.empty_rows[index].tolist()
                edges = [edge for edge in layout.edges if edge[0] == index]
                for edge in edges:
                    place[layout.edges.index(edge)] = n_starts + len(nothing)
                    nothing.append(empty)
                levels.append(_Level(level.n_columns, tuple((hop, age, empty) for _, hop, age in edges)))
            for total, lower, column, upper, upper_column in layout.sums:
                if upper >= 0:
                    uppers.append((len(slots), place[upper], upper_column))
                slots.append((place[lower], column) if lower >= 0 else (n_starts, total))
            times += [(n_starts + 1, column) for column in range(layout.n_times)]
            lengths = len(layout.levels) + len(layout.recent_names)
            totals = HEADER + lengths
            self._plans.append(
                _Plan(
                    layout,
                    struct.Struct(f"<{HEADER + lengths}q"),
                    totals,
                    totals + layout.n_totals,
                    totals + layout.n_totals + layout.n_times + len(layout.held),
                    tuple(levels),
                    tuple(nothing),
                    (_NAN,) * len(layout.matches),
                    tuple((recent, layout.view.recents[recent].of, window) for recent, window in layout.matches),
                    _longest(layout),
                )
            )
            n_starts += len(nothing)
        self._front = struct.pack(f"<{len(front)}q", *front)
        self._n_slots = len(slots)
        self._upper_of = np.array([slot for slot, _, _ in uppers], dtype=np.intp)
        # Sums, then what is taken off them, then times: one gather for all.
        places = [*slots, *(upper[1:] for upper in uppers), *times]
        self._start_of = np.array([start for start, _ in places], dtype=np.intp)
        self._offset = np.array([offset for _, offset in places], dtype=np.intp)

    def read(self, asked: Iterable[Asked]) -> JoinedReads:
        """Window sums of the rows, in their order."""
        parts = [self._front]
        base = len(self._front) // _WORD
        starts: list[Sequence[int]] = []
        matches: list[list[float]] = []
        seqs: list[list[int]] = []
        silent: list[list[bool]] = []
        problems: dict[tuple[int, int], str] = {}
        for at_us, own, rows in asked:
            # Rows of one message share their sender's states.
            known: dict[tuple[int, int], _Found] = {}
            for states in rows:
                row_starts: list[int] = []
                row_matches: list[float] = []
                row_seqs: list[int] = []
                row_silent: list[bool] = []
                for view, (plan, state) in enumerate(zip(self._plans, states, strict=True)):
                    if state is None:
                        row_starts += plan.nothing
                        row_matches += plan.no_matches
                        row_seqs.append(NEVER)
                        row_silent.append(False)
                        continue
                    found = known.get((view, id(state)))
                    if found is None:
                        try:
                            found = _take_apart(plan, state, base, at_us, own)
                            parts.append(state)
                            base += len(state) // _WORD
                        except (DataError, ValueError, IndexError, TypeError, struct.error) as exc:
                            found = plan.nothing, plan.no_matches, NEVER, False, str(exc) or type(exc).__name__
                        known[view, id(state)] = found
                    if found[4]:
                        problems[len(starts), view] = found[4]
                    row_starts += found[0]
                    row_matches += found[1]
                    row_seqs.append(found[2])
                    row_silent.append(found[3])
                starts.append(row_starts)
                matches.append(row_matches)
                seqs.append(row_seqs)
                silent.append(row_silent)
        words = np.frombuffer(b"".join(parts), dtype="<i8")
        n = len(starts)
        found_at = np.array(starts, dtype=np.intp).reshape(n, -1).take(self._start_of, axis=1)
        found_at += self._offset
        taken = words.take(found_at)
        n_slots, n_uppers = self._n_slots, len(self._upper_of)
        slots = taken[:, :n_slots]
        if n_uppers:
            slots[:, self._upper_of] -= taken[:, n_slots : n_slots + n_uppers]
        return JoinedReads(
            slots,
            taken[:, n_slots + n_uppers :],
            np.array(matches, dtype=np.float64).reshape(n, -1),
            np.array(seqs, dtype=np.int64).reshape(n, -1),
            np.array(silent, dtype=np.bool_).reshape(n, -1),
            problems,
        )


def _take_apart(plan: _Plan, state: bytes, base: int, at_us: int, own: Mapping[str, Members]) -> _Found:
    layout = plan.layout
    words = memoryview(state).cast("q")
    check_fingerprint(layout, words)
    head = plan.head.unpack_from(state)
    last_seq, newest = head[1], head[2]
    at = effective_time(at_us, newest)
    starts = [base + plan.totals, base + plan.times]
    position, index = plan.body, HEADER
    for level in plan.levels:
        columns = level.columns
        stop = position + head[index]
        index += 1
        for hop, age, empty in level.edges:
            found = bisect_left(words, (at - age) // hop, position, stop)
            starts.append(base + stop + (found - position) * columns if found < stop else empty)
        position = stop + (stop - position) * columns
    recents = head[index:]
    if position + sum(recents) != len(words):
        raise DataError(f"state of view {layout.view.name} is cut off; run `mailwarden materialize --afresh`")
    length, hop = plan.reach
    silent = newest < (at_us - length) // hop * hop
    if not plan.matches:
        return starts, (), last_seq, silent, ""
    bounds = [position]
    for length in recents:
        bounds.append(bounds[-1] + length)
    matches: list[float] = []
    for recent, of, window in plan.matches:
        mine = own.get(of, ())
        since = window.lower_us(at)
        best = _NAN
        if mine:
            best = closest_packed(mine, words[bounds[recent] : bounds[recent + 1]].tolist(), since)
        matches.append(best)
    return starts, matches, last_seq, silent, ""


@lru_cache(maxsize=256)
def joined_alone(layout: Layout) -> JoinedStates:
    """What reads the states of one view, made once a process."""
    return JoinedStates((layout,))
