"""Thresholds from a false-positive budget on held-out good mail, with what its size supports said in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import TENANT_BUDGETS, Thresholds
from mailwarden.domain.detection.tenant_budget import TRAINED_WITH
from mailwarden.errors import ConfigError

NEVER = math.inf
"""A threshold that no log-odds reach."""

_TAIL_SHARE = 0.1
_TAIL_LEAST = 20


@dataclass(frozen=True, slots=True)
class Budgets:
    """Share of good messages, 0..1, that may be met by each action or a stronger one; banner >= junk >= quarantine."""

    banner: float = 0.005
    junk: float = TRAINED_WITH
    quarantine: float = 0.0002

    def __post_init__(self) -> None:
        if not 1.0 > self.banner >= self.junk >= self.quarantine > 0.0:
            raise ConfigError(
                f"False-positive budgets must fall from banner to quarantine within 0..1: got {self.banner}, "
                f"{self.junk}, {self.quarantine}."
            )


@dataclass(frozen=True, slots=True)
class ChosenThresholds:
    """thresholds: as log-odds. words: one sentence an action, how it was found. good: held-out good messages."""

    thresholds: Thresholds
    words: tuple[str, ...]
    good: int


def choose_thresholds(good_logits: NDArray[np.float64], budgets: Budgets) -> ChosenThresholds:
    """Thresholds that good mail like this passes at most as often as the budgets say.

    good_logits: (n,) fused log-odds of held-out good messages. Where (k + 1) / (n + 1) is within the budget for some
    k >= 0 the threshold lies just above the (k + 1)-th highest score, which holds for any distribution (Vovk et al.,
    Algorithmic Learning in a Random World, 2005). A budget that n cannot support is extrapolated by an exponential
    tail and never lies below the highest good score seen; below 20 good messages the action is never taken.
    """
    falling = np.sort(good_logits)[::-1]
    found: list[float] = []
    words = []
    for action, budget in (("banner", budgets.banner), ("junk", budgets.junk), ("quarantine", budgets.quarantine)):
        logit, how = _threshold(falling, budget)
        found.append(max([logit, *found]))
        words.append(f"{action} within {100 * budget:g}% of good mail: {how}.")
    banner, junk, quarantine = found
    thresholds = Thresholds(banner, junk, quarantine, _held_back(falling))
    return ChosenThresholds(thresholds, tuple(words), len(falling))


def _held_back(falling: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    table: list[tuple[float, float]] = []
    for budget in reversed(TENANT_BUDGETS):
        logit, _ = _threshold(falling, budget)
        # A smaller budget never has the lower threshold, also where one is counted and the next extrapolated.
        table.append((budget, max(logit, table[-1][1]) if table else logit))
    return tuple(reversed(table))


def _threshold(falling: NDArray[np.float64], budget: float) -> tuple[float, str]:
    n = len(falling)
    k = math.floor(budget * (n + 1) + 1e-9) - 1
    if k >= 0:
        return _just_above(falling[k]), f"{n} good held-out messages, {k} of them at or above it"
    needed = math.ceil(1.0 / budget) - 1
    if n < _TAIL_LEAST:
        return NEVER, f"never, since there are {n} good held-out messages of the {needed} that it needs"
    size = max(_TAIL_LEAST, round(_TAIL_SHARE * n))
    start = float(falling[size - 1])
    excess = float(np.mean(falling[:size])) - start
    beyond = start + excess * math.log(size / n / budget)
    logit = max(_just_above(falling[0]), beyond)
    return logit, f"extrapolated, since there are {n} good held-out messages of the {needed} that it needs"


def _just_above(logit: float) -> float:
    return float(np.nextafter(logit, np.inf))


def shares_reached(logits: NDArray[np.float64], thresholds: Thresholds) -> Sequence[float]:
    """Share of log-odds, 0..1, at or above the banner, junk and quarantine thresholds; zeros where there are none."""
    if len(logits) == 0:
        return (0.0, 0.0, 0.0)
    return tuple(
        float(np.mean(logits >= threshold)) for threshold in (thresholds.banner, thresholds.junk, thresholds.quarantine)
    )
