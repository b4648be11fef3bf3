"""What a bundle's detectors call a message together: see `domain.detection.naming`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import log_odds
from mailwarden.domain.detection.naming import UNNAMED, Word
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.scoring.batch import Scores
from mailwarden.scoring.champion import Champion

Said = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""What a detector says of n rows: (n,) calibrated log-odds, and (n,) where it says nothing."""


def category(champion: Champion, features: FeatureTable, scores: Scores) -> str:
    """The likeliest category of one message's worst row; SP where no detector names one."""
    row = champion.deciding(features, scores)
    if champion.naming is None:
        return categories(champion, row, {})[0]
    return champion.naming.named(words(champion, row, said_alone(scores)), 1)[0]


def categories(champion: Champion, rows: FeatureTable, said: Mapping[str, Said]) -> list[str]:
    """n likeliest categories of rows as the detectors saw them, each of a message of its own; SP where no detector
    names one. said: by detector that is not away."""
    if champion.naming is not None:
        return champion.naming.named(words(champion, rows, said), rows.n)
    named = _named(champion, champion.categoriser, rows) if champion.categoriser in champion.detectors else None
    return named or [UNNAMED] * rows.n


def words(champion: Champion, rows: FeatureTable, said: Mapping[str, Said]) -> dict[str, Word]:
    """By name of each detector that names categories, what it calls rows as it saw them; see `categories`."""
    found = {}
    for name, (odds, silent) in said.items():
        if silent.all():
            continue
        named = _named(champion, name, rows)
        if named is not None:
            found[name] = Word(named, odds, silent)
    return found


def said_alone(scores: Scores) -> dict[str, Said]:
    """What each detector that spoke said of one message's worst row."""
    spoke = np.zeros(1, dtype=np.bool_)
    return {name: (log_odds(np.array([chance])), spoke) for name, chance in scores.detectors.items()}


def _named(champion: Champion, name: str, rows: FeatureTable) -> list[str] | None:
    try:
        return champion.detectors[name].categorise(rows)
    except Exception as exc:
        champion.failed(name, "categorise", exc)
        return None
