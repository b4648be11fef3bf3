"""Rows as detectors read them: features of one message or of many, and why what is null is null."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.status import CODES, Status


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
    """Columns of features by full name (`view:feature`), all of one length, and why what is null is null.

    Numeric columns are (n,) float64 with NaN for null; text columns are (n,) object arrays of str or None. statuses:
    by view, (n,) uint8 of `status.CODES`; a view that has none there is taken as present.
    """

    __slots__ = ("columns", "n", "statuses")

    def __init__(
        self,
        columns: Mapping[str, NDArray[Any]],
        n: int,
        statuses: Mapping[str, NDArray[np.uint8]] = MappingProxyType({}),
    ) -> None:
        self.columns = columns
        self.n = n
        self.statuses = statuses

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

    def status(self, view: str) -> NDArray[np.uint8]:
        """(n,) `status.CODES` of a view's values in each row."""
        found = self.statuses.get(view)
        return np.zeros(self.n, dtype=np.uint8) if found is None else found

    def take(self, index: NDArray[np.intp]) -> FeatureTable:
        """The rows at these positions, in their order."""
        statuses = {view: codes[index] for view, codes in self.statuses.items()}
        columns: Mapping[str, NDArray[Any]]
        if isinstance(self.columns, MatrixColumns):
            whole = self.columns
            columns = MatrixColumns(whole.places, whole.matrix[index], whole.texts[index])
        else:
            columns = {name: column[index] for name, column in self.columns.items()}
        return FeatureTable(columns, len(index), statuses)

    def lacking(self, views: Collection[str], status: Status, rows: NDArray[np.bool_] | None = None) -> FeatureTable:
        """The same with every feature of these views null and their status set; rows: (n,) where, all by default."""
        if not views:
            return self
        chosen = np.ones(self.n, dtype=np.bool_) if rows is None else rows
        columns: dict[str, NDArray[Any]] = {}
        for name, column in self.columns.items():
            if name.partition(":")[0] in views:
                nothing: Any = None if column.dtype == object else np.nan
                column = np.where(chosen, nothing, column)
            columns[name] = column
        statuses = dict(self.statuses)
        for view in views:
            statuses[view] = np.where(chosen, CODES[status], self.status(view)).astype(np.uint8)
        return FeatureTable(columns, self.n, statuses)


def joined(parts: Sequence[FeatureTable]) -> FeatureTable:
    """The rows of several tables of the same columns, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    views = dict.fromkeys(view for part in parts for view in part.statuses)
    statuses = {view: np.concatenate([part.status(view) for part in parts]) for view in views}
    return FeatureTable(columns, sum(part.n for part in parts), statuses)
