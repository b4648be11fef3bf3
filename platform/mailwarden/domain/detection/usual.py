"""What is usual in good mail, feature by feature: what stands beside a value in a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable

_SAMPLE = 20_000
"""So many messages tell what is usual; of more, that many at even distances."""


@dataclass(frozen=True, slots=True)
class Usual:
    """A feature's values in good mail: 5th, 50th and 95th percentile of those that are known.

    known: share of good mail, 0..1, of which it is known.
    """

    low: float
    median: float
    high: float
    known: float

    @property
    def value(self) -> float:
        """What good mail mostly has: the median, NaN where it mostly has none."""
        return self.median if self.known >= 0.5 else float("nan")


def usual_of(tables: Iterable[FeatureTable], good: NDArray[np.intp]) -> dict[str, Usual]:
    """By full name of each numeric feature of these tables that is ever known: what is usual in the rows `good`."""
    chosen = good[np.linspace(0, len(good) - 1, _SAMPLE).astype(np.intp)] if len(good) > _SAMPLE else good
    found: dict[str, Usual] = {}
    for table in tables:
        for name in table.columns.keys() - found.keys():
            column = table.columns[name]
            if column.dtype == object:
                continue
            usual = of_values(np.asarray(column[chosen], dtype=np.float64))
            if usual is not None:
                found[name] = usual
    return dict(sorted(found.items()))


def of_values(values: NDArray[np.float64]) -> Usual | None:
    """What is usual among (n,) values, NaN for null; None where none is known."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    # What was seen, and nothing between two values: a flag's median is 0 or 1.
    low, median, high = np.percentile(known, (5, 50, 95), method="nearest")
    low, median, high = (float(f"{value:.6g}") for value in (low, median, high))
    return Usual(low, median, high, round(len(known) / len(values), 4))
