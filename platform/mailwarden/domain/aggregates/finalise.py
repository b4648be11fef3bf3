"""From window sums to feature values: the one path, in training and in serving.

Only additions, products, quotients and square roots, one read and feature at a time: each is exact to the last bit
whatever the number of reads, which powers and logarithms are not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.aggregates.expressions import KINDS, ONE, RINGS, WIDTHS
from mailwarden.domain.aggregates.fact_specs import hour_bin, weekday_bin
from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.recipes import Recipes
from mailwarden.domain.aggregates.windows import DAY_US, NOTHING

NO_TIME = NOTHING
"""Stands in state for "no such event"; far outside of the times that a message may carry."""

_DAYS = 1.0 / DAY_US
_RATIO, _PEAK, _SURGE, _HOUR, _WEEKDAY, _DECAYED, _AGE, _HELD, _MATCH, _HISTORY = (
    KINDS.index(kind)
    for kind in ("ratio", "peak", "surge", "hour", "weekday", "decayed", "age", "held", "match", "history")
)
_hour_bin, _weekday_bin = compiled(hour_bin), compiled(weekday_bin)
_HOUR_BINS, _WEEKDAY_BINS = WIDTHS["hour"].slots, WIDTHS["weekday"].slots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def finalise(
    layout: Layout,
    slots: Ints,
    times: Ints,
    matches: Floats,
    seen: NDArray[np.bool_],
    at_us: Ints,
) -> Floats:
    """Feature values from window sums.

    slots: (n, len(layout.slots)) int64. times: (n, layout.n_times) int64: microseconds of the extremes, then the
    values that they hold, `NO_TIME` where there is none. matches: (n, len(layout.matches)) float64, NaN for none.
    seen: (n,) whether the key has any history. at_us: (n,) time of each read.
    Returns (n, len(layout.feature_names)) float64, each column's values side by side, NaN for null.
    """
    return finalise_joined(layout.recipes, slots, times, matches, seen[:, None], at_us)


def finalise_joined(
    recipes: Recipes,
    slots: Ints,
    times: Ints,
    matches: Floats,
    seen: NDArray[np.bool_],
    at_us: Ints,
) -> Floats:
    """Feature values of several views side by side, `Recipes.joined`; the step that `finalise` takes for one.

    seen: (n, n_views) whether each view's key has any history; the rest as for `finalise`.
    """
    out = np.empty((len(recipes.kinds), len(at_us)), dtype=np.float64)
    _finalise(
        recipes.kinds,
        recipes.slots,
        recipes.times,
        recipes.constants,
        recipes.views,
        np.ascontiguousarray(slots, dtype=np.int64),
        np.ascontiguousarray(times, dtype=np.int64),
        np.ascontiguousarray(matches, dtype=np.float64),
        np.ascontiguousarray(seen),
        np.ascontiguousarray(at_us, dtype=np.int64),
        out,
    )
    return out.T


@compiled
def _finalise(
    kinds: Ints,
    slots_of: Ints,
    times_of: Ints,
    constants_of: Floats,
    views: Ints,
    slots: Ints,
    times: Ints,
    matches: Floats,
    seen: NDArray[np.bool_],
    at_us: Ints,
    out: Floats,
) -> None:
    for f in range(kinds.size):
        kind, s, t, c, view = kinds[f], slots_of[f], times_of[f], constants_of[f], views[f]
        for i in range(at_us.size):
            if kind == _HISTORY:
                value = 1.0 if seen[i, view] else 0.0
            elif not seen[i, view]:
                value = math.nan
            elif kind == _RATIO:
                value = _ratio(slots[i], s, c)
            elif kind == _PEAK:
                value = math.nan if slots[i, s[0]] == NOTHING else slots[i, s[0]] * c[0]
            elif kind == _SURGE:
                value = _surge(slots[i, s[0]], slots[i, s[1]], times[i, t[0]], at_us[i], c[0], c[1])
            elif kind == _HOUR:
                value = _unusual(slots[i], s[:_HOUR_BINS], _hour_bin(at_us[i]))
            elif kind == _WEEKDAY:
                value = _unusual(slots[i], s[:_WEEKDAY_BINS], _weekday_bin(at_us[i]))
            elif kind == _DECAYED:
                value = _decayed(slots[i], s, c)
            elif kind == _AGE:
                since = times[i, t[0]]
                value = math.nan if since == NO_TIME else max(at_us[i] - since, 0) * _DAYS
            elif kind == _HELD:
                value = math.nan if times[i, t[0]] == NO_TIME else float(times[i, t[1]])
            else:
                value = matches[i, t[0]]
            out[f, i] = value


@compiled
def _ratio(sums: Ints, slots: Ints, constants: Floats) -> float:
    above = float(sums[slots[0]]) + constants[0]
    below = (1.0 if slots[1] == ONE else float(sums[slots[1]])) + constants[1]
    return above / below if below != 0.0 else math.nan


@compiled
def _surge(count: int, with_baseline: int, since: int, at_us: int, window: float, baseline: float) -> float:
    """Standard deviations of a window's count over what the baseline before it lets expect."""
    span = min(float(max(at_us - since, 0)), baseline) - window
    if since == NO_TIME or span < window:
        return math.nan
    expected = max(float(with_baseline) - float(count), 0.0) * (window / span)
    return (float(count) - expected) / math.sqrt(expected + 1.0)


@compiled
def _unusual(sums: Ints, bins: Ints, own: int) -> float:
    total = 0.0
    for b in bins:
        total += sums[b]
    return 1.0 - (sums[bins[own]] + 1.0) / (total + bins.size) if total != 0.0 else math.nan


@compiled
def _decayed(sums: Ints, windows: Ints, weights: Floats) -> float:
    value: float = float(sums[windows[0]]) * weights[0]
    for ring in range(1, RINGS):
        value += (float(sums[windows[ring]]) - float(sums[windows[ring - 1]])) * weights[ring]
    return value
