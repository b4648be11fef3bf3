"""Heuristics as data: a rule that holds adds its weight in log-odds and says why in words."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection import proof
from mailwarden.domain.detection.detector import Detector, RawScores, Signal, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden_detectors.header_rules.rule import HABIT_BROKEN, PROOF, STRANGER, UNPROVEN
from mailwarden_detectors.header_rules.rules import RULES

_CONDITIONS = [condition for rule in RULES for condition in rule.conditions]
_WORKED_OUT = (PROOF, STRANGER, UNPROVEN, HABIT_BROKEN)
_FEATURES = tuple(
    sorted({condition.feature for condition in _CONDITIONS if condition.feature not in _WORKED_OUT} | {*proof.FEATURES})
)
_NAMES = (*_FEATURES, *_WORKED_OUT)
_COLUMN = np.array([_NAMES.index(condition.feature) for condition in _CONDITIONS])
_VALUE = np.array([condition.value for condition in _CONDITIONS])
_AT_LEAST, _AT_MOST, _NULL = (
    np.array([condition.comparison == kind for condition in _CONDITIONS]) for kind in (">=", "<=", "null")
)
_STARTS = np.cumsum([0] + [len(rule.conditions) for rule in RULES])[:-1]
_THOUSANDTHS = np.array([round(1000 * rule.weight) for rule in RULES], dtype=np.int64)


class HeaderRules(Detector):
    """Sum of the weights of the rules that hold; nothing is learnt, so that it serves before any label is there."""

    name: ClassVar[str] = "header_rules"
    version: ClassVar[int] = 4
    owner: ClassVar[str] = "detection-rules"
    description: ClassVar[str] = "Judges headers, requests, links and attachments by rules with a weight and words."
    features: ClassVar[tuple[str, ...]] = _FEATURES
    cpu_budget_us: ClassVar[int] = 200
    categories: ClassVar[tuple[str, ...]] = tuple(sorted({rule.category for rule in RULES if rule.category} | {"SP"}))

    def __init__(self) -> None:
        self._hits: dict[str, list[float]] = {}

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Count how often each rule holds on bad and on good rows, for the registry's record; weights stay."""
        held = _held(training.features)
        bad = training.bad
        for rule, column in zip(RULES, held.T, strict=True):
            self._hits[rule.name] = [_share(column[bad]), _share(column[~bad])]

    def score(self, features: FeatureTable) -> RawScores:
        """Log-odds by the rules alone; never abstains."""
        # Whole thousandths add up exactly in any order, so that a row scores the same alone and among others.
        return RawScores(np.asarray((_held(features) @ _THOUSANDTHS) / 1000.0))

    def categorise(self, features: FeatureTable) -> list[str]:
        """n category codes: the one that most weight speaks for, `SP` where no rule tells."""
        held = _held(features)
        codes = sorted({rule.category for rule in RULES if rule.category})
        votes = np.zeros((features.n, len(codes)))
        for rule, column in zip(RULES, held.T, strict=True):
            if rule.category:
                votes[:, codes.index(rule.category)] += np.where(column, rule.weight, 0.0)
        return [codes[int(np.argmax(row))] if row.any() else "SP" for row in votes]

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """The rules that hold, the heaviest first; brakes are no reasons."""
        held = _held(features.take(np.array([row])))[0]
        reasons = [rule for rule, holds in zip(RULES, held, strict=True) if holds and rule.weight > 0.0]
        reasons.sort(key=lambda rule: (-rule.weight, rule.name))
        return [Signal(rule.name, rule.words, rule.weight) for rule in reasons[:limit]]

    def parameters(self) -> dict[str, Any]:
        """How many rules, and the share of bad and of good training rows that each held on."""
        return {"rules": len(RULES), "held_on_bad_and_good": self._hits}

    def to_bytes(self) -> bytes:
        """JSON: the rules are code, so only their names and what was counted."""
        return json.dumps({"rules": [rule.name for rule in RULES], "hits": self._hits}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else, or of other rules."""
        try:
            found = json.loads(data)
            names, hits = found["rules"], {name: list(map(float, both)) for name, both in found["hits"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"These bytes are no header_rules detector ({error}). Train it again.") from error
        if names != [rule.name for rule in RULES]:
            raise DataError("These bytes were written with other rules than this version's. Train it again.")
        detector = cls()
        detector._hits = hits
        return detector


def _held(features: FeatureTable) -> NDArray[np.bool_]:
    """(n, rules) whether each rule holds: all conditions at once, then the conjunction of each rule's."""
    values = np.hstack([features.numeric(_FEATURES), _worked_out(features)])[:, _COLUMN]
    # Comparisons with NaN are false, which is what a null feature means for all but "null".
    meets = np.where(_AT_LEAST, values >= _VALUE, np.where(_AT_MOST, values <= _VALUE, values == _VALUE))
    return np.asarray(np.logical_and.reduceat(np.where(_NULL, np.isnan(values), meets), _STARTS, axis=1))


def _worked_out(features: FeatureTable) -> NDArray[np.float64]:
    """(n, `_WORKED_OUT`), null where history is."""
    proven = proof.proof_of(features)
    (known,) = features.numeric(("sender_activity:history",)).T
    unproven = np.where(np.isnan(known), np.nan, (proven == proof.NONE) & (known > 0.0))
    stranger = np.where(known == 0.0, 1.0, unproven)
    return np.column_stack([proven, stranger, unproven, proof.breaks_habit(features)])


def _share(column: NDArray[np.bool_]) -> float:
    return float(np.mean(column)) if len(column) else 0.0
