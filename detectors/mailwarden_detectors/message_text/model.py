"""The linear model behind the detector: one weight a bucket, and its bytes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from mailwarden.errors import DataError
from mailwarden_detectors.message_text.hashing import BITS, BUCKETS, subject_buckets, text_buckets

CATEGORY_BITS = 16
"""Categories are told apart by fewer buckets: the top bits of the same ones."""

_MAGIC = b"mailwarden.message_text.1\n"
_SHIFT = BITS - CATEGORY_BITS


@dataclass(frozen=True, slots=True)
class Buckets:
    """Distinct buckets of one message: of its text, and of its subject."""

    text: NDArray[np.int32]
    subject: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class LinearModel:
    """weights: (BUCKETS,) float32. categories: codes in order of the rows of category_weights, (k, 2**16) float32."""

    weights: NDArray[np.float32]
    intercept: float
    categories: tuple[str, ...]
    category_weights: NDArray[np.float32]
    category_intercepts: NDArray[np.float64]

    def score(self, buckets: Buckets) -> float:
        """Log-odds of unwanted, before calibration; the same to the last bit whatever else is scored with it."""
        total = self.intercept
        for block in (buckets.text, buckets.subject):
            if len(block):
                total += float(self.weights[block].sum(dtype=np.float64)) / float(np.sqrt(len(block)))
        return total

    def category(self, buckets: Buckets) -> str:
        """The likeliest category if the message is bad."""
        total = self.category_intercepts.copy()
        for block in (buckets.text, buckets.subject):
            if len(block):
                total += self.category_weights[:, block >> _SHIFT].sum(axis=1, dtype=np.float64) / np.sqrt(len(block))
        return self.categories[int(np.argmax(total))]

    def to_bytes(self) -> bytes:
        """A header line of JSON, then the arrays, compressed."""
        head = {
            "buckets": BUCKETS,
            "intercept": self.intercept,
            "categories": list(self.categories),
            "category_intercepts": self.category_intercepts.tolist(),
        }
        arrays = self.weights.astype("<f4").tobytes() + self.category_weights.astype("<f4").tobytes()
        return _MAGIC + json.dumps(head).encode() + b"\n" + zlib.compress(arrays, 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> LinearModel:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
        if not data.startswith(_MAGIC):
            raise DataError("These bytes are no message_text model. Train it again.")
        try:
            line, _, packed = data[len(_MAGIC) :].partition(b"\n")
            head = json.loads(line)
            arrays = np.frombuffer(zlib.decompress(packed), dtype="<f4")
            categories = tuple(head["categories"])
            if head["buckets"] != BUCKETS or len(arrays) != BUCKETS + (len(categories) << CATEGORY_BITS):
                raise DataError("A message_text model with other buckets than this version's. Train it again.")
            return cls(
                weights=arrays[:BUCKETS],
                intercept=float(head["intercept"]),
                categories=categories,
                category_weights=arrays[BUCKETS:].reshape(len(categories), 1 << CATEGORY_BITS),
                category_intercepts=np.array(head["category_intercepts"], dtype=np.float64),
            )
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise DataError(f"A damaged message_text model ({error}). Train it again.") from error


@lru_cache(maxsize=2)
def buckets_of(subject: str, text: str) -> Buckets:
    """The buckets that one message falls into; kept for a moment, since its score, category and reasons all ask."""
    return Buckets(text=text_buckets(text), subject=subject_buckets(subject))


def fit_linear(
    rows: Sequence[Buckets], bad: NDArray[np.bool_], weight: NDArray[np.float64], *, inverse_ridge: float
) -> tuple[NDArray[np.float32], float]:
    """Weights (BUCKETS,) and intercept of a logistic regression over binary buckets, each block scaled to length 1.

    Raises DataError where no row has a word.
    """
    matrix, used = _matrix(rows, shift=0)
    if not len(used):
        raise DataError(
            "message_text needs words to learn from, and no message has any. Run `mailwarden materialize` first, which "
            "reads what messages say."
        )
    model = LogisticRegression(C=inverse_ridge, solver="liblinear", tol=1e-3, max_iter=200)
    model.fit(matrix, bad, sample_weight=weight)
    weights = np.zeros(BUCKETS, dtype=np.float32)
    weights[used] = model.coef_[0]
    return weights, float(model.intercept_[0])


def fit_categories(
    rows: Sequence[Buckets], labels: Sequence[str], weight: NDArray[np.float64], *, inverse_ridge: float
) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.float64]]:
    """Codes, weights (k, 2**16) and intercepts (k,) of one model a category; needs two categories at least."""
    matrix, used = _matrix(rows, shift=_SHIFT)
    codes = tuple(sorted(set(labels)))
    names = np.asarray(labels, dtype=object)
    weights = np.zeros((len(codes), 1 << CATEGORY_BITS), dtype=np.float32)
    intercepts = np.empty(len(codes))
    for index, code in enumerate(codes):
        # One against the rest: many small exact fits are quicker than one multinomial fit over all buckets.
        model = LogisticRegression(C=inverse_ridge, solver="liblinear", tol=1e-2, max_iter=100)
        model.fit(matrix, names == code, sample_weight=weight)
        weights[index, used] = model.coef_[0]
        intercepts[index] = model.intercept_[0]
    return codes, weights, intercepts


def _matrix(rows: Sequence[Buckets], *, shift: int) -> tuple[sparse.csr_matrix, NDArray[np.intp]]:
    """Rows over the buckets that occur, and which buckets these are: the solver's vectors are as long as it needs."""
    ends = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row.text) + len(row.subject) for row in rows], out=ends[1:])
    columns = np.empty(ends[-1], dtype=np.int32)
    values = np.empty(ends[-1])
    start = 0
    for row in rows:
        for block in (row.text, row.subject):
            end = start + len(block)
            columns[start:end] = block >> shift
            values[start:end] = 1.0 / np.sqrt(max(1, len(block)))
            start = end
    occurs = np.zeros(BUCKETS >> shift, dtype=np.bool_)
    occurs[columns] = True
    used = np.flatnonzero(occurs)
    place = np.cumsum(occurs, dtype=np.int32) - 1
    matrix = sparse.csr_matrix((values, place[columns], ends), shape=(len(rows), len(used)))
    matrix.sum_duplicates()
    return matrix, used
