"""Heuristics as data: a rule that holds adds its weight in log-odds and says why in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores, Signal, TrainingSet
from mailwarden.domain.detection.rows import FEW, FeatureTable
from mailwarden.domain.detection.rules.reading import read_rules
from mailwarden.domain.detection.rules.ruleset import RuleSet
from mailwarden.errors import DataError

FOLDER = Path(__file__).parent / "rules"
"""A file a rule, in a folder for what it looks at."""

RULES = RuleSet(read_rules(FOLDER))
"""Weights are set by hand, from how much each fact told in the field's public rule sets; they are never learnt."""

_CODES = tuple(sorted({rule.category for rule in RULES.rules if rule.category}))
_THOUSANDTHS = np.array([round(1000 * rule.weight) for rule in RULES.rules], dtype=np.int64)
_VOTES = np.array([[rule.category == code for code in _CODES] for rule in RULES.rules]) * _THOUSANDTHS[:, None]
_AT = {rule.name: at for at, rule in enumerate(RULES.rules)}
_BY_WEIGHT = sorted(range(len(RULES.rules)), key=lambda at: (-RULES.rules[at].weight, RULES.rules[at].name))
_REASONS = [at for at in _BY_WEIGHT if RULES.rules[at].weight > 0.0]
_DIGEST = hashlib.sha256(
    repr([(rule.name, rule.weight, rule.category, rule.when) for rule in RULES.rules]).encode()
).hexdigest()
"""Of what the rules do; not of their words and cases."""


class HeaderRules(Detector):
    """Sum of the weights of the rules that hold; nothing is learnt, so that it serves before any label is there."""

    name: ClassVar[str] = "header_rules"
    version: ClassVar[int] = 5
    owner: ClassVar[str] = "detection-rules"
    description: ClassVar[str] = "Judges headers, requests, links and attachments by rules with a weight and words."
    features: ClassVar[tuple[str, ...]] = RULES.features
    cpu_budget_us: ClassVar[int] = 400
    categories: ClassVar[tuple[str, ...]] = tuple(sorted({*_CODES, "SP"}))

    def __init__(self) -> None:
        self._hits: dict[str, list[float]] = {}

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Count how often each rule holds on bad and on good rows, for the registry's record; weights stay."""
        held = RULES.held(training.features)
        bad = training.bad
        for rule, column in zip(RULES.rules, held.T, strict=True):
            self._hits[rule.name] = [_share(column[bad]), _share(column[~bad])]

    def score(self, features: FeatureTable) -> RawScores:
        """Log-odds by the rules alone; never abstains."""
        # Whole thousandths add up exactly in any order, so that a row scores the same alone and among others.
        return RawScores(np.asarray((self._held(features) @ _THOUSANDTHS) / 1000.0))

    def amount(self, features: FeatureTable, rules: Collection[str]) -> NDArray[np.float64] | None:
        """(n,) what these rules add to the score of each row; names that are no rule of these are passed over."""
        chosen = [_AT[name] for name in sorted(rules) if name in _AT]
        if not chosen:
            return None
        return np.asarray((self._held(features)[:, chosen] @ _THOUSANDTHS[chosen]) / 1000.0)

    def categorise(self, features: FeatureTable) -> list[str]:
        """n category codes: the one that most weight speaks for, `SP` where no rule tells."""
        votes = self._held(features) @ _VOTES
        return [_CODES[int(np.argmax(row))] if row.any() else "SP" for row in votes]

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """The rules that hold, the heaviest first; brakes are no reasons."""
        one = features if features.n <= FEW else features.take(np.array([row]))
        held = self._held(one)[row if one is features else 0].tolist()
        reasons = [RULES.rules[at] for at in _REASONS if held[at]][:limit]
        return [
            Signal(rule.name, RULES.words(rule, features, row), rule.weight, RULES.rests_on(rule)) for rule in reasons
        ]

    def _held(self, features: FeatureTable) -> NDArray[np.bool_]:
        """(n, rules); of few rows, whose score, category and reasons are asked for one after the other, found once."""
        return features.once(RULES, RULES.held)

    def parameters(self) -> dict[str, Any]:
        """How many rules, and the share of bad and of good training rows that each held on."""
        return {"rules": len(RULES.rules), "rules_sha256": _DIGEST, "held_on_bad_and_good": self._hits}

    def to_bytes(self) -> bytes:
        """JSON: the rules lie beside the code, so only their digest and what was counted."""
        return json.dumps({"rules": _DIGEST, "hits": self._hits}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else, or of other rules."""
        try:
            found = json.loads(data)
            digest, hits = found["rules"], {name: list(map(float, both)) for name, both in found["hits"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"These bytes are no header_rules detector ({error}). Train it again.") from error
        if digest != _DIGEST:
            raise DataError("These bytes were written with other rules than this version's. Train it again.")
        detector = cls()
        detector._hits = hits
        RULES.compile()
        return detector


def _share(column: NDArray[np.bool_]) -> float:
    return float(np.mean(column)) if len(column) else 0.0
