"""Recipes: how each feature comes from window sums, event times and matches, as tables for `finalise`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.expression import Ingredients
from mailwarden.domain.aggregates.expressions import KINDS, ONE, WIDTHS

IndexArray = NDArray[np.intp]

_SLOTS, _TIMES, _CONSTANTS = (max(width[i] for width in WIDTHS.values()) for i in range(3))


@dataclass(frozen=True, slots=True)
class Recipes:
    """Each feature's recipe, a row each: m features of views side by side.

    kinds: (m,) int64, places in `KINDS`. slots: (m, 8) int64 indices of slots, or `ONE`. times: (m, 2) int64 indices
    of times, of a match of matches. constants: (m, 4) float64. What a kind does not take is 0. views: (m,) int64,
    which view's key must have history for the feature to be any value. n_slots, n_times, n_matches, n_views: inputs.
    """

    n_slots: int
    n_times: int
    n_matches: int
    n_views: int
    kinds: NDArray[np.int64]
    slots: NDArray[np.int64]
    times: NDArray[np.int64]
    constants: NDArray[np.float64]
    views: NDArray[np.int64]

    @classmethod
    def of(cls, found: Iterable[tuple[str, Ingredients]], *, n_slots: int, n_times: int, n_matches: int) -> Self:
        """One view's, from each feature's kind and ingredients."""
        recipes = list(found)
        m = len(recipes)
        self = cls(
            n_slots,
            n_times,
            n_matches,
            1,
            np.array([KINDS.index(kind) for kind, _ in recipes], dtype=np.int64),
            np.zeros((m, _SLOTS), dtype=np.int64),
            np.zeros((m, _TIMES), dtype=np.int64),
            np.zeros((m, _CONSTANTS), dtype=np.float64),
            np.zeros(m, dtype=np.int64),
        )
        for feature, (_, made_of) in enumerate(recipes):
            self.slots[feature, : len(made_of.slots)] = made_of.slots
            self.times[feature, : len(made_of.times)] = made_of.times
            self.constants[feature, : len(made_of.constants)] = made_of.constants
        return self

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Recipes over the slots, times, matches and features of several views laid side by side."""
        match = KINDS.index("match")
        slots, times = [], []
        n_slots = n_times = n_matches = n_views = 0
        views = []
        for part in parts:
            slots.append(np.where(part.slots == ONE, ONE, part.slots + n_slots))
            times.append(part.times + np.where(part.kinds == match, n_matches, n_times)[:, None])
            views.append(part.views + n_views)
            n_slots, n_times = n_slots + part.n_slots, n_times + part.n_times
            n_matches, n_views = n_matches + part.n_matches, n_views + part.n_views
        return cls(
            n_slots,
            n_times,
            n_matches,
            n_views,
            np.concatenate([part.kinds for part in parts]),
            np.concatenate(slots),
            np.concatenate(times),
            np.concatenate([part.constants for part in parts]),
            np.concatenate(views),
        )
