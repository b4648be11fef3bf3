"""The contract between a team's detector and the platform that trains and serves it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray


class Places:
    """Where each feature stands in rows of one shape: numeric ones in a matrix, texts beside it.

    numeric, texts: full names, in order. Made once for many tables, so that what a detector reads is looked up once.
    """

    def __init__(self, numeric: Sequence[str], texts: Sequence[str]) -> None:
        self.numeric = {name: at for at, name in enumerate(numeric)}
        self.texts = {name: at for at, name in enumerate(texts)}
        self._chosen: dict[tuple[str, ...], NDArray[np.intp]] = {}

    def of(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Places of numeric features in the matrix; raises KeyError naming one that is absent."""
        key = tuple(names)
        found = self._chosen.get(key)
        if found is None:
            found = self._chosen[key] = np.array([self.numeric[name] for name in key], dtype=np.intp)
        return found


class MatrixColumns(Mapping[str, NDArray[Any]]):
    """Columns as views of one matrix: what serving makes of a message, without an array a feature.

    matrix: (n, numeric) float64. texts: (n, texts) object array of str or None.
    """

    __slots__ = ("matrix", "places", "texts")

    def __init__(self, places: Places, matrix: NDArray[np.float64], texts: NDArray[np.object_]) -> None:
        self.places, self.matrix, self.texts = places, matrix, texts

    def __getitem__(self, name: str) -> NDArray[Any]:
        at = self.places.numeric.get(name)
        return self.texts[:, self.places.texts[name]] if at is None else self.matrix[:, at]

    def __iter__(self) -> Iterator[str]:
        return chain(self.places.numeric, self.places.texts)

    def __len__(self) -> int:
        return len(self.places.numeric) + len(self.places.texts)


class FeatureTable:
    """Columns of features by full name (`view:feature`), all of one length.

    Numeric columns are (n,) float64 with NaN for null; text columns are (n,) object arrays of str or None.
    """

    __slots__ = ("columns", "n")

    def __init__(self, columns: Mapping[str, NDArray[Any]], n: int) -> None:
        self.columns = columns
        self.n = n

    def numeric(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(n, len(names)) float64 in the order of the names; raises KeyError naming one that is absent."""
        if isinstance(self.columns, MatrixColumns):
            return self.columns.matrix[:, self.columns.places.of(names)]
        out = np.empty((self.n, len(names)), dtype=np.float64)
        for index, name in enumerate(names):
            out[:, index] = self.columns[name]
        return out

    def text(self, name: str) -> list[str]:
        """n strings, "" for null."""
        return [value or "" for value in self.columns[name]]

    def take(self, index: NDArray[np.intp]) -> FeatureTable:
        """The rows at these positions, in their order."""
        if isinstance(self.columns, MatrixColumns):
            whole = self.columns
            return FeatureTable(MatrixColumns(whole.places, whole.matrix[index], whole.texts[index]), len(index))
        return FeatureTable({name: column[index] for name, column in self.columns.items()}, len(index))


@dataclass(frozen=True, slots=True)
class Signal:
    """One reason, in words that a reader of mail understands.

    name: fixed word of the reason. words: a sentence. weight: log-odds that it added, higher is worse.
    """

    name: str
    words: str
    weight: float


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows to learn from, in order of arrival.

    features: n rows. bad: (n,) bool, unwanted or an attack. labels: n codes of `events.LABELS`.
    weight: (n,) float64, 1/recipients of the message. at_us: (n,) int64 event time.
    """

    features: FeatureTable
    bad: NDArray[np.bool_]
    labels: Sequence[str]
    weight: NDArray[np.float64]
    at_us: NDArray[np.int64]


class Detector(ABC):
    """One team's detector: features in, a score and its reasons out.

    name: its folder's name. owner: the team. description: one sentence. features: full names (`view:feature`) that
    it reads, numeric or text; nothing else is handed to it. version: raised when its meaning changes.
    """

    name: ClassVar[str]
    owner: ClassVar[str]
    description: ClassVar[str]
    version: ClassVar[int] = 1
    features: ClassVar[tuple[str, ...]]

    @abstractmethod
    def fit(self, training: TrainingSet, *, seed: int) -> None:
        """Learn from rows in order of arrival; the same rows and seed give the same detector, bit for bit."""

    @abstractmethod
    def score(self, features: FeatureTable) -> NDArray[np.float64]:
        """(n,) raw scores, any range, higher is worse; calibrated by the platform."""

    @abstractmethod
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        """The strongest reasons behind one row's score, worst first, at most `limit`."""

    def categorise(self, features: FeatureTable) -> list[str] | None:
        """n category codes, the likeliest if the row is bad; None where the detector has no opinion."""
        return None

    def parameters(self) -> dict[str, Any]:
        """What the registry records beside the model: plain JSON values."""
        return {}

    @abstractmethod
    def to_bytes(self) -> bytes:
        """The fitted detector, in a format that runs no code when it is read."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; raises DataError where it is something else."""
