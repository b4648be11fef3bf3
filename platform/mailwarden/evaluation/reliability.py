"""Whether a score of 0.9 is right nine times in ten: bins of probability against what was found, and how far off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import sigmoid
from mailwarden.evaluation.figures import Share
from mailwarden.evaluation.resampling import SEED, Groups, interval
from mailwarden.evaluation.scored import Scored

Floats = NDArray[np.float64]

BINS = 15
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Bin:
    """Messages of like probability. low, high: the least and greatest there; predicted: their mean; found: bad."""

    low: float
    high: float
    predicted: float
    found: Share


@dataclass(frozen=True, slots=True)
class Reliability:
    """Calibration of one score over labelled messages that it speaks of.

    error: expected calibration error, 0..1: the mean, over messages, of |predicted - found| of their bin; None without
    messages. low, high: 95% interval, bootstrap over campaigns. by_chance: what a score that is calibrated would show
    with so many messages, 95 times in 100 no more. base: share of bad among them. Source: Naeini et al., Obtaining Well
    Calibrated Probabilities Using Bayesian Binning, 2015; bins of equal counts.
    """

    n: int
    base: Share
    error: float | None
    low: float
    high: float
    by_chance: float
    bins: tuple[Bin, ...]


def reliability(scored: Scored, *, bins: int = BINS, resamples: int = RESAMPLES, seed: int = SEED) -> Reliability:
    """Calibration of the fused score."""
    return _reliability(scored, scored.log_odds, bins, resamples, seed)


def reliability_of(
    scored: Scored, detector: str, *, bins: int = BINS, resamples: int = RESAMPLES, seed: int = SEED
) -> Reliability:
    """Calibration of one detector, where it spoke."""
    return _reliability(scored, scored.detectors[detector].calibrated, bins, resamples, seed)


def _reliability(scored: Scored, log_odds: Floats, bins: int, resamples: int, seed: int) -> Reliability:
    known = scored.labelled & ~np.isnan(log_odds)
    number, n_groups = scored.groups()
    bad, probability = scored.bad[known].astype(np.float64), sigmoid(log_odds[known])
    n = len(bad)
    base = Share.of(int(bad.sum()), n)
    if n == 0:
        return Reliability(0, base, None, math.nan, math.nan, math.nan, ())
    place = binned(log_odds[known], bins)
    size = int(place.max()) + 1
    off = bad - probability
    sums = np.bincount(place, off, minlength=size)
    groups = Groups(number[known], n_groups, "campaign")
    errors = []
    for drawn in groups.draws(resamples, seed):
        weight = drawn[groups.number]
        total = float(weight.sum())
        errors.append(
            float(np.abs(np.bincount(place, weight * off, minlength=size)).sum()) / total if total else math.nan
        )
    low, high = interval(errors)
    spread = np.sqrt(np.bincount(place, probability * (1.0 - probability), minlength=size))
    drawn_by_chance = np.abs(np.random.default_rng(seed).normal(size=(1_000, size)) * spread).sum(axis=1) / n
    return Reliability(
        n=n,
        base=base,
        error=float(np.abs(sums).sum()) / n,
        low=low,
        high=high,
        by_chance=float(np.percentile(drawn_by_chance, 95.0)),
        bins=tuple(_bin(probability[place == one], bad[place == one]) for one in range(size)),
    )


def binned(values: Floats, bins: int) -> NDArray[np.intp]:
    """(n,) the bin of each value, of at most `bins` that hold about as many each; equal values are in one.

    >>> binned(np.array([3.0, 1.0, 2.0, 2.0]), 2).tolist()
    [1, 0, 1, 1]
    """
    steps = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    edges = np.unique(np.quantile(values, steps, method="lower"))
    place = np.searchsorted(edges, values, side="right")
    # A bin that nothing falls into is none.
    return np.unique(place, return_inverse=True)[1].astype(np.intp)


def _bin(probability: Floats, bad: Floats) -> Bin:
    found = Share.of(int(bad.sum()), len(bad))
    return Bin(float(probability.min()), float(probability.max()), float(probability.mean()), found)
