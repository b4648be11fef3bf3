"""Reads straight from packed states: the online read, and what a state's bytes begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.online.packed_reads import (
    DAMAGED,
    HEADER,
    PRESENT,
    Found,
    PackedStates,
    Tables,
    matched_facts,
    read_packed,
)
from mailwarden.domain.aggregates.recent import Members
from mailwarden.domain.aggregates.windows import NOTHING
from mailwarden.errors import DataError

NEVER = NOTHING
"""`newest_us` and `last_seq` of an empty state."""

_WORD = 8
_NOWHERE = (-1, 0)


def check_fingerprint(layout: Layout, words: Sequence[int] | NDArray[np.int64] | memoryview) -> None:
    """Raise DataError where a state was written under another definition of the view."""
    if len(words) < HEADER or words[0] != layout.fingerprint:
        raise DataError(_another_definition(layout))


def unreadable(layout: Layout, found: int) -> str:
    """In words, why a state cannot be read. found: `ANOTHER_DEFINITION` or `DAMAGED`."""
    if found == DAMAGED:
        return f"state of view {layout.view.name} is damaged; run `mailwarden materialize --afresh`"
    return _another_definition(layout)


def _another_definition(layout: Layout) -> str:
    return (
        f"state of view {layout.view.name} version {layout.view.version} was written under another definition; "
        "raise the view's version and run `mailwarden materialize`"
    )


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
    return StateReads(reads.slots, reads.times, reads.matches, reads.seen[:, 0], reads.last_seq[:, 0])


class Asked(NamedTuple):
    """Rows that are read at one time with one message's own sets; a row holds a state, or None, for each view."""

    at_us: int
    own: Mapping[str, Members]
    rows: Sequence[Sequence[bytes | None]]


class JoinedReads(NamedTuple):
    """What `finalise_joined` takes, with slots, times and matches of the views side by side.

    last_seq: (n, n_views), `NEVER` where there is no state. found: (n, n_views) of `packed_reads.NEVER_SEEN`,
    `NONE_IN_WINDOW`, `PRESENT`, and what cannot be read, which is as if it were not there.
    problems: by (row, view) why that is so.
    """

    slots: NDArray[np.int64]
    times: NDArray[np.int64]
    matches: NDArray[np.float64]
    last_seq: NDArray[np.int64]
    found: NDArray[np.int64]
    problems: Mapping[tuple[int, int], str]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(n, n_views) whether the view's key has any history."""
        seen: NDArray[np.bool_] = self.last_seq != NEVER
        return seen


class JoinedStates:
    """Reads packed states of several views for the same rows at once, laid one after another."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self._layouts = tuple(layouts)
        self._facts = matched_facts(layouts)
        self._tables = Tables.of(layouts, self._facts)
        self._n_times = sum(layout.n_times for layout in layouts)

    def read(self, asked: Iterable[Asked]) -> JoinedReads:
        """Window sums of the rows, in their order."""
        # A word before the first state: there may be none at all, which NumPy would not take for an array.
        parts, size = [b"\0" * _WORD], 1
        places: list[tuple[int, int]] = []
        at_us: list[int] = []
        own: list[int] = []
        own_bounds: list[int] = []
        own_of: list[int] = []
        for index, (at, sets, rows) in enumerate(asked):
            for fact in self._facts:
                own_bounds.append(len(own))
                own += sets.get(fact, ())
            own_bounds.append(len(own))
            # Rows of one message share their sender's states.
            known: dict[int, tuple[int, int]] = {}
            for states in rows:
                at_us.append(at)
                own_of.append(index)
                for state in states:
                    if state is None:
                        places.append(_NOWHERE)
                        continue
                    place = known.get(id(state))
                    if place is None:
                        length, odd = divmod(len(state), _WORD)
                        place = known[id(state)] = (size, -1 if odd else length)
                        if not odd:
                            parts.append(state)
                            size += length
                    places.append(place)
        n, n_views = len(at_us), len(self._layouts)
        packed = PackedStates(
            words=np.frombuffer(b"".join(parts), dtype=np.int64),
            places=np.array(places, dtype=np.int64).reshape(n, n_views, 2),
            at_us=np.array(at_us, dtype=np.int64),
            own=np.array(own, dtype=np.int64),
            own_bounds=np.array(own_bounds, dtype=np.int64).reshape(-1, len(self._facts) + 1),
            own_of=np.array(own_of, dtype=np.int64),
        )
        found = Found.to_be_read(n, self._tables, self._n_times)
        unreadable = read_packed(packed, self._tables, found)
        return JoinedReads(*found, problems=self._problems(found.found) if unreadable else {})

    def _problems(self, found: NDArray[np.int64]) -> dict[tuple[int, int], str]:
        problems = {}
        for row, view in np.argwhere(found > PRESENT).tolist():
            problems[row, view] = unreadable(self._layouts[view], int(found[row, view]))
        return problems


@lru_cache(maxsize=256)
def joined_alone(layout: Layout) -> JoinedStates:
    """What reads the states of one view, made once a process."""
    return JoinedStates((layout,))
