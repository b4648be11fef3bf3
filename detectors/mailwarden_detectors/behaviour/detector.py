"""How the message is built and how its sender behaves: gradient-boosted trees over every numeric feature."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from catboost import CatBoostClassifier, CatBoostError
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores, Signal, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.errors import DataError
from mailwarden_detectors._trees.columns import COLUMNS
from mailwarden_detectors._trees.explaining import References, references, strongest
from mailwarden_detectors._trees.reading import Reading
from mailwarden_detectors._trees.trees import Trees

_MAGIC = b"mailwarden.behaviour.5\n"
_TREES: dict[str, Any] = {"iterations": 400, "depth": 6, "learning_rate": 0.06, "l2_leaf_reg": 3.0}
_CATEGORY_TREES: dict[str, Any] = {"iterations": 150, "depth": 4, "learning_rate": 0.1}
_FIXED: dict[str, Any] = {
    # Two threads always: the sums inside a tree are grouped by thread, so that the count is part of the result.
    "thread_count": 2,
    "allow_writing_files": False,
    "verbose": False,
    "nan_mode": "Min",
}

_READING = Reading(COLUMNS, statuses=True)


class Behaviour(Detector):
    """Gradient-boosted trees over content facts and the history of sender, domain, recipient and pair."""

    name: ClassVar[str] = "behaviour"
    version: ClassVar[int] = 8
    owner: ClassVar[str] = "behaviour-detection"
    description: ClassVar[str] = "Judges how the message is built and how it fits what is known of its sender."
    features: ClassVar[tuple[str, ...]] = _READING.features
    cpu_budget_us: ClassVar[int] = 500
    categories: ClassVar[tuple[str, ...]] = CATEGORIES

    def __init__(self) -> None:
        self._model: CatBoostClassifier | None = None
        self._category: CatBoostClassifier | None = None
        self._trees: Trees | None = None
        self._category_trees: tuple[Trees, list[str]] | None = None
        self._only_category = "SP"
        self._references = References(())

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Learn from rows in order of arrival; nulls are read as they are, and why they are."""
        bad = training.bad
        if bad.all() or not bad.any():
            raise DataError("behaviour needs bad and good messages to learn from. Label more mail.")
        matrix = _READING.matrix(training.features)
        self._model = _fit(matrix, bad.astype(np.int64), training.weight, seed, {**_TREES, "loss_function": "Logloss"})
        self._references = references(self._model, _READING, matrix[~bad & ~training.outage])
        codes = ["SP" if code == "spam" else code for code in training.labels]
        rows = np.flatnonzero(bad & ~training.outage)
        there = sorted({codes[row] for row in rows})
        self._category, self._only_category = None, there[0]
        if len(there) > 1:
            labels = np.array([codes[row] for row in rows])
            options = {**_CATEGORY_TREES, "loss_function": "MultiClass"}
            self._category = _fit(matrix[rows], labels, training.weight[rows], seed, options)
        self._take_trees()

    def score(self, features: FeatureTable) -> RawScores:
        """Log-odds before calibration; never abstains."""
        return RawScores(self._raw(_READING.matrix(features)))

    def categorise(self, features: FeatureTable) -> list[str]:
        """n category codes, by build and behaviour."""
        self._fitted()
        if self._category_trees is None:
            return [self._only_category] * features.n
        trees, codes = self._category_trees
        return [codes[likeliest] for likeliest in trees.raw(_READING.matrix(features)).argmax(axis=1)]

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """What raised the row's score most over what is usual in good mail, as `reasons` puts it.

        By occlusion: each of the model's most important features is put back to its reference in turn, which takes a
        hundredth of the time of SHAP values. Source: Robnik-Sikonja and Kononenko,
        Explaining Classifications for Individual Instances, 2008.
        """
        own = _READING.matrix(features)[row]
        return strongest(self._fitted_trees(), _READING, self._references, own, features, row, limit)

    def parameters(self) -> dict[str, Any]:
        """Settings of the trees."""
        return {"trees": _TREES, "category_trees": _CATEGORY_TREES, "thread_count": _FIXED["thread_count"]}

    def to_bytes(self) -> bytes:
        """A line of JSON, then one or two models in CatBoost's own binary format."""
        blobs = [_blob(self._fitted())] + ([_blob(self._category)] if self._category is not None else [])
        head = {
            "only_category": self._only_category,
            "lengths": [len(blob) for blob in blobs],
            "references": self._references.to_json(),
        }
        return b"".join([_MAGIC, json.dumps(head).encode(), b"\n", *blobs])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
        if not data.startswith(_MAGIC):
            raise DataError("These bytes are no behaviour model. Train it again.")
        detector = cls()
        try:
            line, _, rest = data[len(_MAGIC) :].partition(b"\n")
            head = json.loads(line)
            detector._only_category = str(head["only_category"])
            detector._references = References.from_json(head["references"])
            models = _models(rest, head["lengths"])
            detector._model = models[0]
            detector._category = models[1] if len(models) > 1 else None
            detector._take_trees()
        except (ValueError, KeyError, TypeError, IndexError, CatBoostError) as error:
            raise DataError(f"A damaged behaviour model ({error}). Train it again.") from error
        return detector

    def _take_trees(self) -> None:
        self._trees = Trees.of(self._fitted())
        self._category_trees = None
        if self._category is not None:
            self._category_trees = Trees.of(self._category), [str(code) for code in self._category.classes_]
        # Compiled now, and not while a message waits.
        nothing = np.full((1, _READING.width), np.nan)
        self._raw(nothing)
        self._trees.without(nothing[0], np.zeros(1, dtype=np.int64), np.zeros(1))

    def _raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) log-odds before calibration of (n, features) rows."""
        return self._fitted_trees().raw(matrix)[:, 0]

    def _fitted_trees(self) -> Trees:
        if self._trees is None:
            raise DataError("behaviour was not trained. Fit it, or read it from a bundle.")
        return self._trees

    def _fitted(self) -> CatBoostClassifier:
        if self._model is None:
            raise DataError("behaviour was not trained. Fit it, or read it from a bundle.")
        return self._model


def _fit(
    matrix: NDArray[np.float64], target: NDArray[Any], weight: NDArray[np.float64], seed: int, options: dict[str, Any]
) -> CatBoostClassifier:
    model = CatBoostClassifier(**options, **_FIXED, random_seed=seed)
    model.fit(matrix, target, sample_weight=weight)
    return model


def _blob(model: CatBoostClassifier) -> bytes:
    # The identity and the hour of the fit would make two equal models differ in their bytes.
    metadata = model.get_metadata()
    for key in ("model_guid", "train_finish_time"):
        metadata[key] = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.cbm"
        model.save_model(str(path), format="cbm")
        return path.read_bytes()


def _models(data: bytes, lengths: Sequence[int]) -> list[CatBoostClassifier]:
    if sum(lengths) != len(data):
        raise ValueError(f"{len(data)} bytes of models where {sum(lengths)} were written")
    models, start = [], 0
    for length in lengths:
        model = CatBoostClassifier()
        model.load_model(blob=data[start : start + length])
        models.append(model)
        start += length
    return models
