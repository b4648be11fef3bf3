"""Splits labelled time: the earlier mail fits detectors, later mail fuses them, the latest sets thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.errors import DataError

_SHARES = (0.75, 0.65, 0.5)
_ENOUGH = 20

NO_LABELS_NEEDED = "`mailwarden starter` builds models that need no labels"
"""What whoever lacks labels is told."""


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Message numbers by part: fit < fuse_from <= fuse < judge_from <= judge.

    shared: the judging part had too few of one class, so that fusing and judging share all held-out messages.
    """

    fuse_from: int
    judge_from: int
    shared: bool


def split_by_time(bad: NDArray[np.bool_]) -> TimeSplit:
    """Where to cut messages in order of arrival.

    bad: (n_messages,). The first 75% fit, unless the rest would hold fewer than 20 of a class: then less, and where
    that leaves a class on one side alone, as much as has most of the rarer class on either side. Raises DataError,
    saying what is there and what it takes, where no cut leaves both classes on both sides.
    """
    n = len(bad)
    usable = []
    for share in _SHARES:
        cut = int(share * n)
        least_held_out, least_fitted = _fewest(bad[cut:]), _fewest(bad[:cut])
        if least_held_out and least_fitted:
            usable.append((min(least_held_out, _ENOUGH), share, cut))
    cut = max(usable)[2] if usable else _any_cut(bad)
    middle = cut + (n - cut) // 2
    shared = min(_fewest(bad[cut:middle]), _fewest(bad[middle:])) < _ENOUGH // 2
    return TimeSplit(cut, cut if shared else middle, shared)


def _any_cut(bad: NDArray[np.bool_]) -> int:
    """The cut that leaves most of the rarer class on either side."""
    n, caught = len(bad), int(bad.sum())
    before = np.concatenate([[0], np.cumsum(bad)])
    at = np.arange(n + 1)
    least = np.minimum.reduce([before, at - before, caught - before, n - caught - (at - before)])
    if not least.max():
        raise DataError(_lacking(bad))
    return int(np.argmax(least))


def _lacking(bad: NDArray[np.bool_]) -> str:
    """Why messages in order of arrival cannot be split, with what is there, what it takes and the mend."""
    n, caught = len(bad), int(bad.sum())
    there = f"{n - caught:,} good and {caught:,} bad messages have a label"
    needed = "training needs good and bad mail in its earlier and in its later part"
    if n == 0:
        return f"No message has a label; {needed}. Label mail; {NO_LABELS_NEEDED}."
    if _fewest(bad) < 2:
        rarer = "bad" if caught < n - caught else "good"
        return f"{there}; {needed}, two of each at least. Label {rarer} mail; {NO_LABELS_NEEDED}."
    first = "bad" if bad[0] else "good"
    mend = f"Label both kinds over the same time; {NO_LABELS_NEEDED}."
    return f"{there}, all {first} ones before all others; {needed}. {mend}"


def _fewest(bad: NDArray[np.bool_]) -> int:
    caught = int(bad.sum())
    return min(caught, len(bad) - caught)
