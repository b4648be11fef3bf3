"""Detectors asked for scores, whatever a team's code does: what fails on some messages is away for these alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores
from mailwarden.domain.detection.rows import FEW, FeatureTable
from mailwarden.scoring.batch import DetectorScores

Failed = Callable[[Exception | None], None]
"""Told of each failure: what was raised, None where a score was no number."""


def ask(
    detector: Detector,
    rows: FeatureTable,
    alone: FeatureTable,
    starts: NDArray[np.intp],
    *,
    once: bool,
    failed: Failed,
) -> tuple[DetectorScores, NDArray[np.bool_] | None]:
    """What a detector says of rows, and (messages,) where it failed, None for nowhere.

    starts: (messages + 1,) where each message's rows begin, and where the last ones end. alone: the first row of each
    message, which is all that it is asked about with `once`, as is right for one that reads the message alone.
    """
    began = time.perf_counter()
    said, where = _ask(detector, alone, None, failed) if once else _ask(detector, rows, starts, failed)
    took = time.perf_counter() - began
    raw, silent = said.raw, said.abstains
    if once and len(raw) != rows.n:
        lengths = np.diff(starts)
        raw = np.repeat(raw, lengths)
        silent = None if silent is None else np.repeat(silent, lengths)
    return DetectorScores(raw, silent, took), where


def _ask(
    detector: Detector, rows: FeatureTable, starts: NDArray[np.intp] | None, failed: Failed
) -> tuple[RawScores, NDArray[np.bool_] | None]:
    """starts: None for a row a message."""
    # A team's code may fail in any way; one detector must cost neither the decision nor the event.
    try:
        said = _checked(detector.score(rows), rows.n)
    except Exception as exc:
        failed(exc)
        said = None
    if said is not None and _all_finite(said.raw):
        return said, None
    if starts is None:
        starts = np.arange(rows.n + 1)
    messages = len(starts) - 1
    if said is None:
        if messages > 1:
            return _by_halves(detector, rows, starts, failed)
        return RawScores(np.full(rows.n, np.nan)), np.ones(messages, dtype=np.bool_)
    finite = np.isfinite(said.raw)
    # A score that is no number would compare as good mail.
    nonsense = ~finite if said.abstains is None else ~finite & ~said.abstains
    if not nonsense.any():
        return said, None
    failed(None)
    return said, np.logical_or.reduceat(nonsense, starts[:-1])


def _by_halves(
    detector: Detector, rows: FeatureTable, starts: NDArray[np.intp], failed: Failed
) -> tuple[RawScores, NDArray[np.bool_] | None]:
    """So that one message that it fails on costs a few calls."""
    messages = len(starts) - 1
    middle = messages // 2
    cut = int(starts[middle])
    one = _ask(detector, rows.take(np.arange(cut)), starts[: middle + 1], failed)
    two = _ask(detector, rows.take(np.arange(cut, rows.n)), starts[middle:] - cut, failed)
    raw = np.concatenate([one[0].raw, two[0].raw])
    silent = np.concatenate([_marked(said.abstains, len(said.raw)) for said, _ in (one, two)])
    where = np.concatenate([_marked(one[1], middle), _marked(two[1], messages - middle)])
    return RawScores(raw, silent if silent.any() else None), where if where.any() else None


def _marked(marks: NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_]:
    return np.zeros(n, dtype=np.bool_) if marks is None else marks


def _checked(said: Any, n: int) -> RawScores | None:
    """What a detector gave, as it must be; None where it is not."""
    if not isinstance(said, RawScores):
        return None
    raw = np.asarray(said.raw, dtype=np.float64)
    silent = None if said.abstains is None else np.asarray(said.abstains, dtype=np.bool_)
    if raw.shape != (n,) or (silent is not None and silent.shape != (n,)):
        return None
    if silent is not None and not _some(silent):
        silent = None
    return said if raw is said.raw and silent is said.abstains else RawScores(raw, silent)


# Of a few values Python's own loops take a tenth of what NumPy's calls do.


def _all_finite(values: NDArray[np.float64]) -> bool:
    return all(map(math.isfinite, values.tolist())) if len(values) <= FEW else bool(np.isfinite(values).all())


def _some(marks: NDArray[np.bool_]) -> bool:
    return any(marks.tolist()) if len(marks) <= FEW else bool(marks.any())
