"""What the subject and the newest text say: a linear model over hashed n-grams, no headers."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores, Signal, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.errors import DataError
from mailwarden_detectors.message_text.hashing import gram_buckets, subject_bytes, text_bytes
from mailwarden_detectors.message_text.model import (
    Buckets,
    LinearModel,
    buckets_of,
    fit_categories,
    fit_linear,
)

_SUBJECT = "content_text:subject"
_TEXT = "content_text:new_text"

_INVERSE_RIDGE = 1000.0
_CATEGORY_INVERSE_RIDGE = 100.0
_CATEGORY_ROWS = 8000

_WORD = re.compile(rb"[0-9A-Za-z$\x80-\xff][0-9A-Za-z$'\x80-\xff-]{2,23}")
_WORDS_SHOWN = 4


class MessageText(Detector):
    """Linear model over hashed 4-grams, words and pairs of words of the subject, and 4-grams of the newest text."""

    name: ClassVar[str] = "message_text"
    version: ClassVar[int] = 3
    owner: ClassVar[str] = "content-detection"
    description: ClassVar[str] = "Judges the wording of the subject and the newest text."
    features: ClassVar[tuple[str, ...]] = (_SUBJECT, _TEXT)
    cpu_budget_us: ClassVar[int] = 2_000
    categories: ClassVar[tuple[str, ...]] = CATEGORIES

    def __init__(self) -> None:
        self._model: LinearModel | None = None

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Learn from rows in order of arrival; a message repeated to many counts once, with the sum of its weights.

        The solver draws nothing at random, so that the seed changes nothing.
        """
        rows, index = _distinct(training)
        bad = training.bad[index]
        if bad.all() or not bad.any():
            raise DataError("message_text needs bad and good messages to learn from. Label more mail.")
        weight = np.zeros(len(index))
        np.add.at(weight, rows, training.weight)
        table = training.features.take(index)
        buckets = [buckets_of(*pair) for pair in zip(table.text(_SUBJECT), table.text(_TEXT), strict=True)]
        weights, intercept = fit_linear(buckets, bad, weight, inverse_ridge=_INVERSE_RIDGE)

        codes = ["SP" if training.labels[at] == "spam" else training.labels[at] for at in index]
        newest_bad = np.flatnonzero(bad)[-_CATEGORY_ROWS:]
        categories = tuple(sorted({codes[at] for at in newest_bad}))
        category_weights = np.zeros((len(categories), 1 << 16), dtype=np.float32)
        category_intercepts = np.zeros(len(categories))
        if len(categories) > 1:
            categories, category_weights, category_intercepts = fit_categories(
                [buckets[at] for at in newest_bad],
                [codes[at] for at in newest_bad],
                weight[newest_bad],
                inverse_ridge=_CATEGORY_INVERSE_RIDGE,
            )
        self._model = LinearModel(weights, intercept, categories, category_weights, category_intercepts)

    def score(self, features: FeatureTable) -> RawScores:
        """Log-odds before calibration; abstains where there is neither a subject nor a text."""
        model = self._fitted()
        rows = _rows(features)
        silent = np.array([not len(row.subject) and not len(row.text) for row in rows], dtype=np.bool_)
        return RawScores(np.array([model.score(row) for row in rows], dtype=np.float64), silent)

    def categorise(self, features: FeatureTable) -> list[str]:
        """n category codes, by wording."""
        model = self._fitted()
        return [model.category(row) for row in _rows(features)]

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """The subject's and the text's share in the score, each with the words that speak loudest for it."""
        model = self._fitted()
        subject, text = features.written(_SUBJECT, row), features.written(_TEXT, row)
        buckets = buckets_of(subject, text)
        signals = []
        for name, what, of, block, data, is_subject in (
            ("suspicious_subject", "The subject", _SUBJECT, buckets.subject, subject_bytes(subject), True),
            ("suspicious_wording", "The text", _TEXT, buckets.text, text_bytes(text), False),
        ):
            if not len(block):
                continue
            share = float(model.weights[block].sum(dtype=np.float64)) / float(np.sqrt(len(block)))
            if share > 0.0:
                quoted = ", ".join(f"“{word}”" for word in _loudest(model, data.tobytes(), subject=is_subject))
                tail = f", above all {quoted}" if quoted else ""
                signals.append(Signal(name, f"{what} is worded like unwanted mail{tail}.", share, (of,)))
        return sorted(signals, key=lambda signal: -signal.weight)[:limit]

    def parameters(self) -> dict[str, Any]:
        """The ridge, and which categories it can tell."""
        categories = list(self._model.categories) if self._model else []
        return {"inverse_ridge": _INVERSE_RIDGE, "categories": categories}

    def to_bytes(self) -> bytes:
        """The model's own format: a line of JSON and compressed arrays."""
        return self._fitted().to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
        detector = cls()
        detector._model = LinearModel.from_bytes(data)
        # Compiled now, and not while a message waits.
        buckets_of("a subject", "a text")
        return detector

    def _fitted(self) -> LinearModel:
        if self._model is None:
            raise DataError("message_text was not trained. Fit it, or read it from a bundle.")
        return self._model


def _rows(features: FeatureTable) -> list[Buckets]:
    return [buckets_of(*pair) for pair in zip(features.text(_SUBJECT), features.text(_TEXT), strict=True)]


def _distinct(training: TrainingSet) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Each row's number among distinct (subject, text, label), and the position of the first row of each."""
    first: dict[tuple[str, str, str], int] = {}
    positions: list[int] = []
    numbers = np.empty(training.features.n, dtype=np.intp)
    texts = zip(training.features.text(_SUBJECT), training.features.text(_TEXT), training.labels, strict=True)
    for at, key in enumerate(texts):
        number = first.setdefault(key, len(positions))
        if number == len(positions):
            positions.append(at)
        numbers[at] = number
    return numbers, np.array(positions, dtype=np.intp)


def _loudest(model: LinearModel, data: bytes, *, subject: bool) -> list[str]:
    """Words whose n-grams, with the bytes around them, add most to the score."""
    grams = gram_buckets(np.frombuffer(data, dtype=np.uint8), subject=subject)
    if not len(grams):
        return []
    running = np.concatenate(([0.0], np.cumsum(model.weights[grams], dtype=np.float64)))
    words = list(_WORD.finditer(data))
    ends = np.minimum([match.end() - 2 for match in words], len(grams)).astype(np.intp)
    starts = np.maximum([match.start() - 1 for match in words], 0).astype(np.intp)
    weights = running[np.maximum(ends, starts)] - running[starts]
    loud: dict[str, float] = {}
    for match, weight in zip(words, weights.tolist(), strict=True):
        if weight > 0.0:
            word = match[0].decode("utf-8", "replace").lower()
            if weight > loud.get(word, 0.0):
                loud[word] = weight
    return sorted(loud, key=lambda word: (-loud[word], word))[:_WORDS_SHOWN]
