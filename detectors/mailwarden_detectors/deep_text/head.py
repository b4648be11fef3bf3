"""The head over embeddings: a logistic regression."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import sigmoid
from mailwarden.errors import DataError

_FORMAT = 1
_STEPS = 30


@dataclass(frozen=True)
class Head:
    """weights: (width,) float64. encoder: SHA-256 of what gives the embeddings."""

    weights: NDArray[np.float64]
    intercept: float
    encoder: str

    def score(self, embedding: NDArray[np.float32]) -> float:
        """Log-odds of one (width,) embedding."""
        # Summed in numpy's own order of one row: no product of matrices, whose order the number of rows may change.
        return float((self.weights * embedding.astype(np.float64)).sum() + self.intercept)

    def to_bytes(self) -> bytes:
        """A line of JSON, then the weights."""
        head = {"format": _FORMAT, "encoder": self.encoder, "width": len(self.weights), "intercept": self.intercept}
        return json.dumps(head, sort_keys=True).encode() + b"\n" + self.weights.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Head:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
        line, _, body = data.partition(b"\n")
        try:
            head = json.loads(line)
            weights = np.frombuffer(body, dtype="<f8").astype(np.float64)
            if head["format"] != _FORMAT or len(weights) != head["width"] or not np.isfinite(weights).all():
                raise ValueError("other numbers than it says")
            return cls(weights, float(head["intercept"]), str(head["encoder"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"This is no deep_text model, or a damaged one ({error}). Train it again.") from error


def fit_head(
    embeddings: NDArray[np.float64], bad: NDArray[np.bool_], weight: NDArray[np.float64], *, ridge: float, encoder: str
) -> Head:
    """Logistic regression by Newton steps. embeddings: (n, width). weight: (n,) positive, scaled to a mean of 1."""
    n, width = embeddings.shape
    full = np.column_stack([embeddings, np.ones(n)])
    weight = weight * (n / weight.sum())
    pull = np.append(np.full(width, ridge), 1e-6)
    beta = np.zeros(width + 1)
    for _ in range(_STEPS):
        probability = sigmoid(full @ beta)
        gradient = full.T @ (weight * (probability - bad)) + pull * beta
        curve = weight * probability * (1.0 - probability)
        step = np.linalg.solve((full * curve[:, None]).T @ full + np.diag(pull), gradient)
        beta -= step
        if float(np.abs(step).max()) < 1e-9:
            break
    return Head(beta[:-1], float(beta[-1]), encoder)
