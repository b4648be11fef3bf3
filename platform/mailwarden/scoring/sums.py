"""Fused log-odds by several fusions of the same scores at once: the sums of `Fusion.logit`, to the last bit.

Of every message it is asked what had come of it without each detector, so that a dozen fusions are summed a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.detection.decision import Fusion


class Sums:
    """Fusions of which each weighs some of `names`, detectors in the order of the columns of what is summed."""

    def __init__(self, fusions: Sequence[Fusion], names: Sequence[str]) -> None:
        place = {name: at for at, name in enumerate(names)}
        # A fusion adds in the order of its weights.
        self._order = np.full((len(fusions), len(names)), -1, dtype=np.int64)
        self._numbers = np.zeros((len(fusions), len(names), 4))
        self._intercepts = np.array([fusion.intercept for fusion in fusions])
        for row, fusion in enumerate(fusions):
            for at, (name, weight) in enumerate(fusion.weights.items()):
                own = fusion.calibrations[name]
                self._order[row, at] = place[name]
                self._numbers[row, at] = weight, own.slope, own.intercept, fusion.offsets.get(name, 0.0)

    def logits(self, raw: NDArray[np.float64], silent: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(fusions, n) log-odds of (n, names) raw scores, and where they count for nothing."""
        return np.asarray(_logits(self._order, self._numbers, self._intercepts, raw, silent))


@compiled
def _logits(order: Any, numbers: Any, intercepts: Any, raw: Any, silent: Any) -> Any:
    out = np.empty((len(order), len(raw)))
    for fusion in range(len(order)):
        for row in range(len(raw)):
            total = intercepts[fusion]
            for at in range(order.shape[1]):
                column = order[fusion, at]
                if column >= 0 and not silent[row, column]:
                    weight, slope, intercept, offset = numbers[fusion, at]
                    total = total + (weight * (slope * raw[row, column] + intercept) + offset)
            out[fusion, row] = total
    return out
