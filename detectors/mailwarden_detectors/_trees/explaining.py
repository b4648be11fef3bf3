"""Why trees scored a row as they did: each important feature put back in turn to what good mail has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from typing import Any, overload

import numpy as np
from catboost import CatBoostClassifier
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.usual import Usual, of_values
from mailwarden_detectors._trees.columns import BUILD_ONLY
from mailwarden_detectors._trees.reading import Reading
from mailwarden_detectors._trees.reasons import Raised, reasons_of
from mailwarden_detectors._trees.trees import Trees

_EXPLAINED = 40
"""How many of the most important features may be named as reasons."""

Reference = tuple[int, Usual | None]
"""A column and what good mail has there, None where it is never known."""


class References(Sequence[Reference]):
    """The columns that may be named as reasons, made ready to be put back."""

    def __init__(self, known: Iterable[Reference]) -> None:
        self._known = tuple(known)
        self.columns = np.array([column for column, _ in self._known], dtype=np.int64)
        self.values = np.array([np.nan if good is None else good.value for _, good in self._known])

    @classmethod
    def from_json(cls, found: Iterable[Sequence[Any]]) -> References:
        """What `to_json` gave; raises ValueError or TypeError where it is something else."""
        return cls((int(at), Usual(*map(float, good)) if good else None) for at, good in found)

    def to_json(self) -> list[tuple[int, tuple[float, ...] | None]]:
        """Plain JSON values."""
        return [(column, None if good is None else astuple(good)) for column, good in self._known]

    @overload
    def __getitem__(self, at: int) -> Reference: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Reference, ...]: ...

    def __getitem__(self, at: int | slice) -> Reference | tuple[Reference, ...]:
        return self._known[at]

    def __iter__(self) -> Iterator[Reference]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def references(model: CatBoostClassifier, reading: Reading, good: NDArray[np.float64]) -> References:
    """The features that matter most to the model, the most important first. good: rows of good mail."""
    importance = model.get_feature_importance(type="PredictionValuesChange", thread_count=1)
    ranked = np.argsort(-importance, kind="stable").tolist()
    named = [at for at in ranked if at < len(reading.columns) and reading.names[at] not in BUILD_ONLY]
    return References((column, of_values(good[:, column])) for column in named[:_EXPLAINED])


def strongest(
    trees: Trees,
    reading: Reading,
    usual: References,
    own: NDArray[np.float64],
    features: FeatureTable,
    row: int,
    limit: int,
) -> list[Signal]:
    """What raised a row's first output most over what is usual, as `reasons` puts it. own: (width,) the row as read.

    By occlusion, in a hundredth of the time of SHAP values. Source: Robnik-Sikonja and Kononenko, Explaining
    Classifications for Individual Instances, 2008.
    """
    shares = trees.without(own, usual.columns, usual.values).tolist()
    raised = [
        Raised(reading.names[column], value, good, share)
        for (column, good), value, share in zip(usual, own[usual.columns].tolist(), shares, strict=True)
        if share > 0.0
    ]
    return reasons_of(raised, features, row, limit)
