"""What the subject and the newest text are about: a logistic regression over a transformer's embedding.

1. The first tokens of the subject and the newest text go through the encoder, which nobody trains here.
2. A text counts once with each label, however often it came. Of more than `TEXTS`, those of the lowest digests are
   learned from, so that the same are chosen whatever else there is, half of each class at most.
3. English is what the encoder knows best; it is asked where `message_text` and the others are unsure.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, RawScores, Signal, Stage, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden_detectors.deep_text.encoder import ENCODER_SHA256, lacking, the_encoder
from mailwarden_detectors.deep_text.head import Head, fit_head

_SUBJECT, _TEXT = "content_text:subject", "content_text:new_text"

TEXTS = 12_000
_RIDGE = 1.0
_SUSPICIOUS = 0.0


class DeepText(Detector):
    """Logistic regression over a sentence encoder's embedding of subject and newest text."""

    name: ClassVar[str] = "deep_text"
    version: ClassVar[int] = 1
    owner: ClassVar[str] = "content-detection"
    description: ClassVar[str] = "Judges what the subject and the newest text are about."
    features: ClassVar[tuple[str, ...]] = (_SUBJECT, _TEXT)
    stage: ClassVar[Stage] = "costly"
    cpu_budget_us: ClassVar[int] = 30_000
    assets: ClassVar[tuple[str, ...]] = (ENCODER_SHA256,)

    def __init__(self) -> None:
        self._head: Head | None = None

    @classmethod
    def absent(cls) -> str:
        """Where ONNX Runtime or the encoder is missing."""
        return lacking()

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Learn from rows; nothing is drawn at random, so that the seed changes nothing."""
        texts, bad, weight = _distinct(training)
        if bad.all() or not bad.any():
            raise DataError("deep_text needs bad and good messages to learn from. Label more mail.")
        encoder = the_encoder()
        embeddings = np.array([encoder.embedding(text) for text in texts], dtype=np.float64)
        self._head = fit_head(embeddings, bad, weight, ridge=_RIDGE, encoder=ENCODER_SHA256)

    def score(self, features: FeatureTable) -> RawScores:
        """Log-odds before calibration; abstains where there is neither a subject nor a text."""
        head, encoder = self._fitted(), the_encoder()
        texts = _texts(features)
        silent = np.array([not text for text in texts], dtype=np.bool_)
        raw = [head.score(encoder.embedding(text)) if text else 0.0 for text in texts]
        return RawScores(np.array(raw, dtype=np.float64), silent)

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """One reason, where the text speaks against the message."""
        (text,) = _texts(features.take(np.array([row])))
        share = self._fitted().score(the_encoder().embedding(text)) if text else 0.0
        if share <= _SUSPICIOUS or limit < 1:
            return []
        of = tuple(name for name in self.features if features.columns[name][row])
        return [Signal("suspicious_meaning", "What the text asks for is like what unwanted mail asks for.", share, of)]

    def parameters(self) -> dict[str, Any]:
        """The encoder's SHA-256 and the ridge."""
        return {"encoder": ENCODER_SHA256, "ridge": _RIDGE}

    def to_bytes(self) -> bytes:
        """The head; it names its encoder and holds no copy."""
        return self._fitted().to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else, or of another encoder."""
        detector = cls()
        detector._head = Head.from_bytes(data)
        if detector._head.encoder != ENCODER_SHA256:
            raise DataError("This deep_text model was trained with another encoder. Train it again.")
        # No message waits for it.
        the_encoder().ready()
        return detector

    def _fitted(self) -> Head:
        if self._head is None:
            raise DataError("deep_text was not trained. Fit it, or read it from a bundle.")
        return self._head


def _texts(features: FeatureTable) -> list[str]:
    pairs = zip(features.text(_SUBJECT), features.text(_TEXT), strict=True)
    return [f"{subject}\n{text}".strip() for subject, text in pairs]


def _distinct(training: TrainingSet) -> tuple[list[str], NDArray[np.bool_], NDArray[np.float64]]:
    """Texts that are learned from, whether each is bad, and what its rows weigh together."""
    weights: dict[tuple[str, bool], float] = {}
    for text, bad, weight in zip(
        _texts(training.features), training.bad.tolist(), training.weight.tolist(), strict=True
    ):
        if text:
            weights[text, bad] = weights.get((text, bad), 0.0) + weight
    chosen: list[tuple[str, bool]] = []
    for bad in (False, True):
        own = sorted((key for key in weights if key[1] == bad), key=lambda key: sha256(key[0].encode()).digest())
        chosen += own[: TEXTS // 2]
    # One copy a text: of a wave the first tells all.
    weight = np.minimum(1.0, np.array([weights[key] for key in chosen], dtype=np.float64))
    return [text for text, _ in chosen], np.array([bad for _, bad in chosen], dtype=np.bool_), weight
