"""Why trees scored a row as they did: each important feature put back in turn to what good mail has."""

from __future__ import annotations

from collections.abc import Sequence

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


def references(model: CatBoostClassifier, reading: Reading, good: NDArray[np.float64]) -> list[Reference]:
    """The features that matter most to the model, the most important first. good: rows of good mail."""
    importance = model.get_feature_importance(type="PredictionValuesChange", thread_count=1)
    ranked = np.argsort(-importance, kind="stable").tolist()
    named = [at for at in ranked if at < len(reading.columns) and reading.names[at] not in BUILD_ONLY]
    return [(column, of_values(good[:, column])) for column in named[:_EXPLAINED]]


def strongest(
    trees: Trees,
    reading: Reading,
    usual: Sequence[Reference],
    own: NDArray[np.float64],
    features: FeatureTable,
    row: int,
    limit: int,
) -> list[Signal]:
    """What raised a row's first output most over what is usual, as `reasons` puts it. own: (width,) the row as read.

    By occlusion, in a hundredth of the time of SHAP values. Source: Robnik-Sikonja and Kononenko, Explaining
    Classifications for Individual Instances, 2008.
    """
    columns = np.array([column for column, _ in usual], dtype=np.int64)
    values = np.array([np.nan if good is None else good.value for _, good in usual])
    shares = trees.without(own, columns, values)
    raised = [
        Raised(reading.names[column], float(own[column]), good, float(share))
        for (column, good), share in zip(usual, shares.tolist(), strict=True)
        if share > 0.0
    ]
    return reasons_of(raised, features, row, limit)
