"""A detector of one kind of attack: small trees over what tells that kind from good mail.

1. It learns from attacks of its own kind against good mail; other attacks tell it nothing of its own.
2. It speaks of what is its business alone (`speaks_of`), and abstains elsewhere.
3. Its score says how much speaks *for* its kind, from 0 up: that a message is no malware is no sign that it is good.
4. Where fewer than `LEAST` messages of its kind are known it has learned nothing, and abstains from everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from catboost import CatBoostClassifier
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores, Signal, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden_detectors._trees.explaining import References, references, strongest
from mailwarden_detectors._trees.reading import Reading
from mailwarden_detectors._trees.trees import Trees

LEAST = 30
"""Messages of its kind that it takes to learn from."""

_FORMAT = 1
_TREES: dict[str, Any] = {
    "iterations": 120,
    "depth": 4,
    "learning_rate": 0.1,
    "l2_leaf_reg": 5.0,
    "loss_function": "Logloss",
}
_KIND_TREES = {**_TREES, "iterations": 40, "depth": 3}
_FIXED: dict[str, Any] = {
    # The sums inside a tree are grouped by thread, so that the count is part of the result.
    "thread_count": 2,
    "allow_writing_files": False,
    "verbose": False,
    "nan_mode": "Min",
}
_BALANCE = 0.25
"""The weight of its kind's messages together, of that of all good mail, at least."""


class ByCategory(Detector):
    """One kind of attack. categories: the codes that it is for, two at most. reading: the columns that it reads.
    business: features one of which is above 0 where a message is its business, empty for all mail."""

    reading: ClassVar[Reading]
    business: ClassVar[tuple[str, ...]] = ()
    cpu_budget_us: ClassVar[int] = 250

    def __init__(self) -> None:
        self._trees: Trees | None = None
        self._kinds: Trees | None = None
        self._kind = self.categories[0]
        self._references = References(())
        self._learned_from = 0
        self._fitted = False

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Learn from rows in order of arrival; of other attacks than its own nothing is learned."""
        own = np.array([code in self._codes() for code in training.labels], dtype=np.bool_)
        spoken = self.speaks_of(training.features)
        attacks = own & spoken & ~training.outage
        self._fitted, self._trees, self._kinds, self._kind = True, None, None, self.categories[0]
        self._learned_from = len(np.unique(training.at_us[attacks]))
        good = ~training.bad & spoken
        if self._learned_from < LEAST or not (good & ~training.outage).any():
            return
        rows = np.flatnonzero(spoken & (own | good))
        matrix = self.reading.matrix(training.features.take(rows))
        bad, outage = own[rows], training.outage[rows]
        weight = training.weight[rows].copy()
        weight[bad] *= max(1.0, _BALANCE * weight[~bad].sum() / weight[bad].sum())
        model = _fit(_TREES, matrix, bad.astype(np.int64), weight, seed)
        self._trees = Trees.of(model)
        self._references = references(model, self.reading, matrix[~bad & ~outage])
        self._learn_kinds(matrix[bad], [training.labels[row] for row in rows[bad]], weight[bad], seed)
        self._warm()

    def speaks_of(self, features: FeatureTable) -> NDArray[np.bool_]:
        """(n,) where a row is its business: what it says elsewhere would be said of mail that it cannot judge."""
        if not self.business:
            return np.ones(features.n, dtype=np.bool_)
        return np.asarray((features.numeric(self.business) > 0.0).any(axis=1))

    def score(self, features: FeatureTable) -> RawScores:
        """From 0 up: what speaks for its kind, in log-odds before calibration; abstains where that is none of its
        business, and everywhere where it has not learned."""
        self._check()
        if self._trees is None:
            return RawScores(np.zeros(features.n), np.ones(features.n, dtype=np.bool_))
        spoken = self.speaks_of(features)
        raw = self._trees.raw(self.reading.matrix(features))[:, 0]
        return RawScores(np.logaddexp(0.0, raw), None if spoken.all() else ~spoken)

    def categorise(self, features: FeatureTable) -> list[str]:
        """n codes: its own, or the likelier of its two."""
        self._check()
        if self._kinds is None:
            return [self._kind] * features.n
        first, second = self.categories
        return [second if raw > 0.0 else first for raw in self._kinds.raw(self.reading.matrix(features))[:, 0].tolist()]

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """What raised the row's score most over what good mail has; nothing where it does not see its kind at all."""
        self._check()
        one = features if features.n == 1 else features.take(np.array([row], dtype=np.intp))
        if self._trees is None or not self.speaks_of(one)[0]:
            return []
        own = self.reading.matrix(one)[0]
        # Reasons are asked for of all mail, and cost ten times what a score does.
        if self._trees.raw(own[None])[0, 0] <= 0.0:
            return []
        return strongest(self._trees, self.reading, self._references, own, one, 0, limit)

    def parameters(self) -> dict[str, Any]:
        """Settings of the trees, how many messages of its kind it learned from, and whether they were enough."""
        return {"trees": _TREES, "learned_from": self._learned_from, "learned": self._trees is not None}

    def to_bytes(self) -> bytes:
        """JSON."""
        self._check()
        found = {
            "detector": self.name,
            "format": _FORMAT,
            "columns": list(self.reading.names),
            "trees": None if self._trees is None else self._trees.as_json(),
            "kinds": None if self._kinds is None else self._kinds.as_json(),
            "kind": self._kind,
            "learned_from": self._learned_from,
            "references": self._references.to_json(),
        }
        return json.dumps(found, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
        detector = cls()
        try:
            found = json.loads(data)
            if (found["detector"], found["format"]) != (cls.name, _FORMAT):
                raise ValueError(f"of {found['detector']}, format {found['format']}")
            if found["columns"] != list(cls.reading.names):
                raise ValueError("over other columns")
            if found["kind"] not in cls.categories:
                raise ValueError(f"of {found['kind']}")
            detector._trees = cls._trees_of(found["trees"])
            detector._kinds = cls._trees_of(found["kinds"])
            detector._kind = str(found["kind"])
            detector._learned_from = int(found["learned_from"])
            detector._references = References.from_json(found["references"])
            if any(not 0 <= at < len(cls.reading.columns) for at, _ in detector._references):
                raise ValueError("reasons of other columns")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataError(f"These bytes are no {cls.name} model ({error}). Train it again.") from error
        detector._fitted = True
        detector._warm()
        return detector

    @classmethod
    def _codes(cls) -> frozenset[str]:
        return frozenset({*cls.categories, *(["spam"] if "SP" in cls.categories else [])})

    @classmethod
    def _trees_of(cls, found: Mapping[str, Any] | None) -> Trees | None:
        return None if found is None else Trees.from_json(found, cls.reading.width)

    def _learn_kinds(
        self, matrix: NDArray[np.float64], labels: list[str], weight: NDArray[np.float64], seed: int
    ) -> None:
        there = [code for code in self.categories if code in labels]
        self._kind = there[0] if there else self.categories[0]
        if len(there) > 1:
            second = np.array([label == self.categories[1] for label in labels], dtype=np.int64)
            self._kinds = Trees.of(_fit(_KIND_TREES, matrix, second, weight, seed))

    def _warm(self) -> None:
        # Compiled now, and not while a message waits.
        nothing = np.full((1, self.reading.width), np.nan)
        if self._trees is not None:
            self._trees.raw(nothing)
            self._trees.without(nothing[0], np.zeros(1, dtype=np.int64), np.zeros(1))

    def _check(self) -> None:
        if not self._fitted:
            raise DataError(f"{self.name} was not trained. Fit it, or read it from a bundle.")


def _fit(
    options: Mapping[str, Any],
    matrix: NDArray[np.float64],
    target: NDArray[np.int64],
    weight: NDArray[np.float64],
    seed: int,
) -> CatBoostClassifier:
    model = CatBoostClassifier(**options, **_FIXED, random_seed=seed)
    model.fit(matrix, target, sample_weight=weight)
    return model
