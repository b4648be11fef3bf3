"""Rows to learn from, with outages made on purpose: earlier rows as they would have been had a view been unavailable.

A detector that never met an outage takes a history that could not be read for a sender that nobody knows.

1. Of the rows, a tenth is drawn to stand a second time with all history unavailable, where the detector reads any.
2. Of a detector that reads several views of the message, a fiftieth stands a second time with one of these unavailable.
3. A drawn row keeps its weight divided by how often it stands, so that no message counts more than another.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable, joined
from mailwarden.domain.status import Status
from mailwarden.training.dataset import LabelledRows

HISTORY_SHARE = 0.1
VIEW_SHARE = 0.02


def training_set(
    kind: type[Detector],
    rows: LabelledRows,
    table: FeatureTable,
    index: NDArray[np.intp],
    *,
    history: Collection[str],
    seed: int,
) -> TrainingSet:
    """What a detector learns from: rows in order of arrival, and outages behind them.

    index: positions in `rows` and `table`. history: views of history. The same input, the same rows.
    """
    views = dict.fromkeys(feature.partition(":")[0] for feature in kind.features)
    lost = [view for view in views if view in history]
    said = [view for view in views if view not in history]
    draw = np.random.default_rng(seed)
    parts = [table if len(index) == rows.n else table.take(index)]
    places = [np.arange(len(index))]
    if lost:
        drawn = np.flatnonzero(draw.random(len(index)) < HISTORY_SHARE)
        parts.append(parts[0].take(drawn).lacking(lost, Status.UNAVAILABLE))
        places.append(drawn)
    if len(said) > 1:
        drawn = np.flatnonzero(draw.random(len(index)) < VIEW_SHARE)
        which = draw.integers(0, len(said), len(drawn))
        for number, view in enumerate(said):
            own = drawn[which == number]
            if len(own):
                parts.append(parts[0].take(own).lacking([view], Status.UNAVAILABLE))
                places.append(own)
    at = np.concatenate(places)
    times = np.bincount(at, minlength=len(index))
    chosen = index[at]
    return TrainingSet(
        features=joined(parts),
        bad=rows.bad[chosen],
        labels=[rows.labels[row] for row in chosen],
        weight=(rows.weight[index] / times)[at],
        at_us=rows.at_us[chosen],
        outage=np.arange(len(at)) >= len(index),
    )
