"""Splits labelled time: the earlier mail fits detectors, later mail fuses them, the latest sets thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.errors import DataError

_SHARES = (0.75, 0.65, 0.5)
_ENOUGH = 20


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

    bad: (n_messages,). The first 75% fit, unless the rest would hold fewer than 20 of a class: then less. Raises
    DataError where no cut leaves both classes on both sides.
    """
    n = len(bad)
    usable = []
    for share in _SHARES:
        cut = int(share * n)
        least_held_out, least_fitted = _fewest(bad[cut:]), _fewest(bad[:cut])
        if least_held_out and least_fitted:
            usable.append((min(least_held_out, _ENOUGH), share, cut))
    if not usable:
        raise DataError(
            f"{n} labelled messages ({int(bad.sum())} bad) cannot be split by time with bad and good mail on both "
            "sides. Label more mail, or train over a longer time."
        )
    _, _, cut = max(usable)
    middle = cut + (n - cut) // 2
    shared = min(_fewest(bad[cut:middle]), _fewest(bad[middle:])) < _ENOUGH // 2
    return TimeSplit(cut, cut if shared else middle, shared)


def _fewest(bad: NDArray[np.bool_]) -> int:
    caught = int(bad.sum())
    return min(caught, len(bad) - caught)
