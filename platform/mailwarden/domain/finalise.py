"""From window sums to feature values: the one path, in training and in serving.

Only additions, products, quotients and square roots, element by element: each is exact to the last bit whatever the
number of rows, which powers and logarithms are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.layout import Layout
from mailwarden.domain.recipes import RINGS, Part, Recipes
from mailwarden.domain.views import bin_of
from mailwarden.domain.windows import DAY_US, NOTHING

NO_TIME = NOTHING
"""Stands in state for "no such event"; far outside of the times that a message may carry."""

_DAYS = 1.0 / DAY_US

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
    Returns (n, len(layout.feature_names)) float64, NaN for null.
    """
    everywhere = np.repeat(seen[:, None], layout.recipes.n_features, 1)
    return finalise_joined(layout.recipes, slots, times, matches, everywhere, at_us)


def finalise_joined(
    recipes: Recipes,
    slots: Ints,
    times: Ints,
    matches: Floats,
    seen: NDArray[np.bool_],
    at_us: Ints,
) -> Floats:
    """Feature values of several views side by side, `Recipes.joined`; the step that `finalise` takes for one.

    seen: (n, n_features) whether the key behind each feature has any history; the rest as for `finalise`.
    Returns (n, n_features) float64, each column's values side by side, NaN for null.
    """
    gathering = recipes.gathering
    n = len(seen)
    # A feature a row from here on: gathering copies whole rows then, and each kind works on one block.
    sums = np.empty((recipes.n_slots + 1, n), dtype=np.float64)
    sums[:-1] = slots.T
    sums[-1] = 1.0
    # One gather of all inputs and one of all results: at one row a call of NumPy costs more than what it computes.
    inputs = sums.take(gathering.slots, axis=0)
    moments = times.T.take(gathering.times, axis=0)
    likeness = matches.T.take(gathering.matches, axis=0)
    history = seen.T.take(gathering.history, axis=0)
    found = [_computed(part, inputs, moments, likeness, at_us) for part in gathering.parts]
    out: Floats = np.concatenate([*found, history], axis=0).take(gathering.order, axis=0)
    np.copyto(out, np.nan, where=~seen.T)
    if len(gathering.history):
        out[gathering.history] = history
    return out.T


def _computed(part: Part, inputs: Floats, moments: Ints, likeness: Floats, at_us: Ints) -> Floats:
    match part.kind:
        case "ratio":
            return _ratio(part, inputs)
        case "peak":
            values = inputs[part.slots[0]]
            return np.where(values == NOTHING, np.nan, values * part.constants[0])
        case "surge":
            return _surge(part, inputs, moments, at_us)
        case "hour" | "weekday":
            return _unusual(part, inputs, bin_of(part.kind, at_us))
        case "decayed":
            return _decayed(part, inputs)
        case "age":
            since = moments[part.times[0]]
            days: Floats = np.maximum(at_us - since, 0) * _DAYS
            days[since == NO_TIME] = np.nan
            return days
        case "held":
            return np.where(moments[part.times[0]] == NO_TIME, np.nan, moments[part.times[1]])
        case _:
            # A match; history is no part.
            return likeness[part.times[0]]


def _ratio(part: Part, inputs: Floats) -> Floats:
    above, below = part.slots
    values: Floats = inputs[above] + part.constants[0]
    divisor = inputs[below] + part.constants[1]
    divisor[divisor == 0.0] = np.nan
    values /= divisor
    return values


def _surge(part: Part, inputs: Floats, moments: Ints, at_us: Ints) -> Floats:
    count = inputs[part.slots[0]]
    before = np.maximum(inputs[part.slots[1]] - count, 0.0)
    since = moments[part.times[0]]
    life = np.maximum(at_us - since, 0).astype(np.float64)
    window, baseline = part.constants
    span = np.minimum(life, baseline) - window
    span[(since == NO_TIME) | (span < window)] = np.nan
    expected = before * (window / span)
    values: Floats = (count - expected) / np.sqrt(expected + 1.0)
    return values


def _unusual(part: Part, inputs: Floats, bins: Ints) -> Floats:
    counts = inputs[part.slots[0]].reshape(part.size, -1, inputs.shape[1])
    # Whole numbers: their sum is the same in whatever order NumPy adds them.
    total = counts.sum(axis=1)
    own = counts[:, bins, np.arange(len(bins))]
    values: Floats = 1.0 - (own + 1.0) / (total + counts.shape[1])
    values[total == 0.0] = np.nan
    return values


def _decayed(part: Part, inputs: Floats) -> Floats:
    windows = inputs[part.slots[0]].reshape(RINGS, part.size, -1)
    rings = windows.copy()
    rings[1:] -= windows[:-1]
    rings *= part.constants[0].reshape(RINGS, part.size, 1)
    # One after the other, in the order of windows: a sum over the axis may pair them otherwise.
    values: Floats = rings[0] + rings[1]
    for ring in rings[2:]:
        values += ring
    return values
