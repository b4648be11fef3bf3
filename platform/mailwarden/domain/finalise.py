"""From window sums to feature values: the one path, in training and in serving."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.layout import Layout, Recipes
from mailwarden.domain.windows import DAY_US

NO_TIME = -(2**62)
"""Stands in state for "no such event"; far outside of the times that a message may carry."""

_DAYS = 1.0 / DAY_US


def finalise(
    layout: Layout,
    slots: NDArray[np.int64],
    times: NDArray[np.int64],
    seen: NDArray[np.bool_],
    at_us: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Feature values from window sums.

    slots: (n, len(layout.slots)) int64. times: (n, len(layout.extreme_names)) int64 microseconds, `NO_TIME` where
    there is none. seen: (n,) whether the key has any history. at_us: (n,) time of each read.
    Returns (n, len(layout.feature_names)) float64, NaN for null.
    """
    return finalise_joined(layout.recipes, slots, times, np.repeat(seen[:, None], layout.recipes.n_features, 1), at_us)


def finalise_joined(
    recipes: Recipes,
    slots: NDArray[np.int64],
    times: NDArray[np.int64],
    seen: NDArray[np.bool_],
    at_us: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Feature values of several views side by side, `Recipes.joined`; the step that `finalise` takes for one.

    seen: (n, n_features) whether the key behind each feature has any history; the rest as for `finalise`.
    Returns (n, n_features) float64, NaN for null.
    """
    out = np.empty(seen.shape, dtype=np.float64)
    sums = np.empty((len(seen), recipes.n_slots + 1), dtype=np.float64)
    sums[:, :-1] = slots
    sums[:, -1] = 1.0
    values = sums.take(recipes.ratio_numerators, axis=1)
    values += recipes.ratio_numerator_prior
    denominators = sums.take(recipes.ratio_denominators, axis=1)
    denominators += recipes.ratio_denominator_prior
    denominators[denominators == 0.0] = np.nan
    values /= denominators
    out[:, recipes.ratio_features] = values
    chosen = times.take(recipes.age_extremes, axis=1)
    ages = np.maximum(at_us[:, None] - chosen, 0) * _DAYS
    ages[chosen == NO_TIME] = np.nan
    out[:, recipes.age_features] = ages
    out[~seen] = np.nan
    out[:, recipes.history_features] = seen.take(recipes.history_features, axis=1)
    return out
