"""Rows as detectors read them: features of one message or of many, and why what is null is null."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.status import CODES, Status

FEW = 64
"""Rows up to which a table keeps what is made of it: those of one message, as a rule."""

_T = TypeVar("_T")


class Places:
    """Where each feature stands in rows of one shape: numeric ones in a matrix, texts beside it.

    numeric, texts: full names, in order. Made once for many tables, so that what a detector reads is looked up once.
    """

    def __init__(self, numeric: Sequence[str], texts: Sequence[str]) -> None:
        self.numeric = {name: at for at, name in enumerate(numeric)}
        self.texts = {name: at for at, name in enumerate(texts)}
        self._chosen: dict[Hashable, NDArray[np.intp]] = {}
        self._of_views: dict[frozenset[str], tuple[NDArray[np.intp], NDArray[np.intp]]] = {}

    def of(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Places of numeric features in the matrix; raises KeyError naming one that is absent."""
        key = tuple(names)
        return self.once(key, lambda places: [places.numeric[name] for name in key])

    def once(self, what: Hashable, choose: Callable[[Places], Sequence[int]]) -> NDArray[np.intp]:
        """Places that are chosen, once for all tables, under a name or object that stands for the choice."""
        found = self._chosen.get(what)
        if found is None:
            found = self._chosen[what] = np.array(choose(self), dtype=np.intp)
        return found

    def of_views(self, views: Collection[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Places of all that is of these views: in the matrix, and among the texts."""
        key = frozenset(views)
        found = self._of_views.get(key)
        if found is None:
            numbers, texts = (
                np.array([at for name, at in places.items() if name.partition(":")[0] in key], dtype=np.intp)
                for places in (self.numeric, self.texts)
            )
            found = self._of_views[key] = numbers, texts
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


class CodeColumns(Mapping[str, NDArray[np.uint8]]):
    """Statuses by view as columns of one matrix.

    places: views, where `Places` has numeric features. codes: (n, views) uint8 of `status.CODES`.
    """

    __slots__ = ("codes", "places")

    def __init__(self, places: Places, codes: NDArray[np.uint8]) -> None:
        self.places, self.codes = places, codes

    def __getitem__(self, view: str) -> NDArray[np.uint8]:
        return self.codes[:, self.places.numeric[view]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places.numeric)

    def __len__(self) -> int:
        return len(self.places.numeric)


class FeatureTable:
    """Columns of features by full name (`view:feature`), all of one length, and why what is null is null.

    Numeric columns are (n,) float64 with NaN for null; text columns are (n,) object arrays of str or None. statuses:
    by view, (n,) uint8 of `status.CODES`; a view that has none there is taken as present.
    """

    __slots__ = ("_made", "columns", "n", "statuses")

    def __init__(
        self,
        columns: Mapping[str, NDArray[Any]],
        n: int,
        statuses: Mapping[str, NDArray[np.uint8]] = MappingProxyType({}),
    ) -> None:
        self.columns = columns
        self.n = n
        self.statuses = statuses
        self._made: dict[Hashable, Any] = {}

    def __reduce__(self) -> tuple[type[FeatureTable], tuple[Any, ...]]:
        return FeatureTable, (self.columns, self.n, self.statuses)

    def once(self, what: Hashable, make: Callable[[FeatureTable], _T]) -> _T:
        """What is made of this table, under a name or object that stands for it: of few rows (`FEW`) made once for all
        who ask, of more anew each time, since what was kept would be as large again."""
        if self.n > FEW:
            return make(self)
        if what not in self._made:
            self._made[what] = make(self)
        found: _T = self._made[what]
        return found

    def numeric(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(n, len(names)) float64 in the order of the names; raises KeyError naming one that is absent."""
        if isinstance(self.columns, MatrixColumns):
            return self.columns.matrix.take(self.columns.places.of(names), axis=1)
        out = np.empty((self.n, len(names)), dtype=np.float64)
        for index, name in enumerate(names):
            out[:, index] = self.columns[name]
        return out

    def number(self, name: str, row: int) -> float | None:
        """One value of one row; None for null and for text. Raises KeyError where the feature is absent."""
        columns = self.columns
        if isinstance(columns, MatrixColumns):
            at = columns.places.numeric.get(name)
            if at is None:
                _ = columns.places.texts[name]
                return None
            value: float = columns.matrix.item(row, at)
        else:
            column = columns[name]
            if column.dtype == object:
                return None
            value = float(column[row])
        return None if value != value else value

    def text(self, name: str) -> list[str]:
        """n strings, "" for null."""
        return [value or "" for value in self.columns[name]]

    def written(self, name: str, row: int) -> str:
        """One text of one row, "" for null."""
        return self.columns[name][row] or ""

    def status(self, view: str) -> NDArray[np.uint8]:
        """(n,) `status.CODES` of a view's values in each row."""
        found = self.statuses.get(view)
        return np.zeros(self.n, dtype=np.uint8) if found is None else found

    def codes(self, views: Sequence[str]) -> NDArray[np.uint8]:
        """(n, len(views)) `status.CODES` in the order of the views; see `status`."""
        if isinstance(self.statuses, CodeColumns):
            try:
                return self.statuses.codes.take(self.statuses.places.of(views), axis=1)
            except KeyError:
                pass  # one that has none
        out = np.empty((self.n, len(views)), dtype=np.uint8)
        for at, view in enumerate(views):
            out[:, at] = self.status(view)
        return out

    def take(self, index: NDArray[np.intp]) -> FeatureTable:
        """The rows at these positions, in their order."""
        statuses: Mapping[str, NDArray[np.uint8]]
        if isinstance(self.statuses, CodeColumns):
            statuses = CodeColumns(self.statuses.places, self.statuses.codes[index])
        else:
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
        columns: Mapping[str, NDArray[Any]]
        if isinstance(self.columns, MatrixColumns):
            whole = self.columns
            matrix, texts = whole.matrix.copy(), whole.texts.copy()
            at, (numbers, words) = np.flatnonzero(chosen), whole.places.of_views(views)
            matrix[np.ix_(at, numbers)] = np.nan
            texts[np.ix_(at, words)] = None
            columns = MatrixColumns(whole.places, matrix, texts)
        else:
            columns = dict(self.columns)
            for name, column in self.columns.items():
                if name.partition(":")[0] in views:
                    nothing: Any = None if column.dtype == object else np.nan
                    columns[name] = np.where(chosen, nothing, column)
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
