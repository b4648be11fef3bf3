"""Whether scores are still spread as they were: each week beside the first, labelled or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.evaluation.reliability import binned
from mailwarden.evaluation.scored import Scored

Floats = NDArray[np.float64]

BINS = 10
LEAST = 200
"""So many messages at least make a week to be compared, and with."""

FUSED = "fused"
_WEEK_US = 7 * DAY_US
_TO_MONDAY_US = 3 * DAY_US
"""The epoch began on a Thursday, and weeks do on a Monday."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One score's spread in a week beside that of the first.

    psi: population stability index, 0 for none. shannon: Jensen-Shannon divergence in bits, 0..1. by_chance: the psi
    that weeks of these sizes show 5 times in 100 without any change. spoke: share of the week's messages of which it
    said something.
    """

    psi: float
    shannon: float
    by_chance: float
    spoke: float


@dataclass(frozen=True, slots=True)
class Week:
    """begin_us: Monday, midnight UTC. scores: by `FUSED` and detector; none in a week of fewer than `LEAST` messages,
    and in the first."""

    begin_us: int
    n: int
    scores: Mapping[str, Moved]


@dataclass(frozen=True, slots=True)
class Drift:
    """reference_us: the first week that has enough messages, None where none has. reference_n: how many it has."""

    reference_us: int | None
    reference_n: int
    weeks: tuple[Week, ...]


def drift(scored: Scored, *, bins: int = BINS, least: int = LEAST) -> Drift:
    """The spread of the fused score and of each detector's, week by week.

    bins: of equal counts in the first week; what a detector did not speak of is a bin of its own. Sources: Siddiqi,
    Credit Risk Scorecards, 2006 (psi); Lin, Divergence Measures Based on the Shannon Entropy, 1991; Yurdakul,
    Statistical Properties of Population Stability Index, 2018 (by_chance).
    """
    begin = (scored.at_us + _TO_MONDAY_US) // _WEEK_US * _WEEK_US - _TO_MONDAY_US
    begins, week, sizes = np.unique(begin, return_inverse=True, return_counts=True)
    enough = np.flatnonzero(sizes >= least)
    if not len(enough):
        weeks = tuple(Week(int(at), int(n), {}) for at, n in zip(begins, sizes, strict=True))
        return Drift(None, 0, weeks)
    first = int(enough[0])
    scores = {FUSED: scored.log_odds, **{name: said.calibrated for name, said in sorted(scored.detectors.items())}}
    spread = {name: _spread(values, week, first, len(begins), bins) for name, values in scores.items()}
    weeks = tuple(
        Week(
            int(begins[at]),
            int(sizes[at]),
            {name: _moved(counts[first], counts[at]) for name, counts in spread.items()}
            if sizes[at] >= least and at != first
            else {},
        )
        for at in range(len(begins))
    )
    return Drift(int(begins[first]), int(sizes[first]), weeks)


def _spread(values: Floats, week: NDArray[np.intp], first: int, weeks: int, bins: int) -> NDArray[np.int64]:
    """(weeks, bins + 1) counts; the last of what was not spoken of."""
    silent = np.isnan(values)
    reference = values[(week == first) & ~silent]
    edges = _edges(reference, bins)
    place = np.where(silent, len(edges) + 1, np.searchsorted(edges, values, side="right"))
    size = len(edges) + 2
    return np.bincount(week * size + place, minlength=weeks * size).reshape(weeks, size)


def _edges(reference: Floats, bins: int) -> Floats:
    """The least value of each bin but the first."""
    if not len(reference):
        return np.empty(0)
    place = binned(reference, bins)
    least = np.full(int(place.max()) + 1, np.inf)
    np.minimum.at(least, place, reference)
    return least[1:]


def _moved(reference: NDArray[np.int64], own: NDArray[np.int64]) -> Moved:
    n, m = int(reference.sum()), int(own.sum())
    occupied = int(((reference + own) > 0).sum())
    return Moved(
        psi=psi(reference, own),
        shannon=shannon(reference, own),
        by_chance=(1.0 / n + 1.0 / m) * _chi_square_95(occupied - 1),
        spoke=1.0 - int(own[-1]) / m,
    )


def psi(reference: NDArray[np.int64], own: NDArray[np.int64]) -> float:
    """Population stability index of two counts by bin; half a message is added to each bin, so that it is finite.

    >>> round(psi(np.array([50, 50]), np.array([50, 50])), 6)
    0.0
    """
    there = (reference + own) > 0
    p, q = (counts[there] + 0.5 for counts in (reference, own))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def shannon(reference: NDArray[np.int64], own: NDArray[np.int64]) -> float:
    """Jensen-Shannon divergence, in bits, of two counts by bin.

    >>> shannon(np.array([1, 0]), np.array([0, 1]))
    1.0
    """
    p, q = reference / reference.sum(), own / own.sum()
    middle = (p + q) / 2.0

    def relative(one: Floats) -> float:
        there = one > 0
        return float((one[there] * np.log2(one[there] / middle[there])).sum())

    return max(0.0, (relative(p) + relative(q)) / 2.0)


def _chi_square_95(freedom: int) -> float:
    """The 95% point of chi-square, by Wilson and Hilferty's approximation, 1931."""
    if freedom < 1:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    return float(freedom * (1.0 - spread + 1.644854 * math.sqrt(spread)) ** 3)
