"""A detector on trial: its cases, and what it says once it was fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable, MatrixColumns, Places, joined
from mailwarden.domain.status import CODES, Status
from mailwarden.testing.detector_cases import Case, cases_beside, table_of, views_of

Fault = tuple[str, str]
"""What is wrong, and the mend."""

_COPIES = 8
_SEED = 11
_SILENT = np.float64(np.nan).view(np.uint64) | np.uint64(0xAB57)
"""Stands where a detector abstains: no number, and none of those that arithmetic makes."""


class Trial:
    """A detector's class with its cases; whatever is asked of it is made once, and every table anew.

    known: full names of the features that there are. cases: by default those beside its module.
    """

    def __init__(self, kind: type[Detector], known: Collection[str], cases: Sequence[Case] | None = None) -> None:
        self.kind, self.known = kind, frozenset(known)
        self._given = cases

    @cached_property
    def cases(self) -> Sequence[Case]:
        """Its cases; raises DataError where there are none."""
        return cases_beside(self.kind) if self._given is None else self._given

    @property
    def views(self) -> list[str]:
        """The views that it reads."""
        return views_of(self.kind.features)

    def table(self) -> FeatureTable:
        """A row a case, in columns by name, as training hands them over."""
        return table_of(self.kind.features, self.cases)

    def training(self, *, outages: bool = False) -> TrainingSet:
        """The cases several times over; outages: and again with one view unavailable, and with all."""
        tables = [self.table()] * _COPIES
        if outages:
            tables += [table for _, table in self.lacking([Status.UNAVAILABLE])]
        features = joined(tables)
        labels = [(case.category or "spam") if case.fires else "ham" for case in self.cases] * len(tables)
        return TrainingSet(
            features=features,
            bad=np.array([label != "ham" for label in labels]),
            labels=labels,
            weight=np.ones(features.n),
            at_us=np.arange(features.n, dtype=np.int64),
            outage=np.arange(features.n) >= _COPIES * len(self.cases),
        )

    def fit(self, training: TrainingSet) -> Detector:
        """A detector of its class fitted to these rows; raises what `fit` does."""
        detector = self.kind()
        detector.fit(training, seed=_SEED)
        return detector

    @cached_property
    def detector(self) -> Detector:
        """The detector fitted to the cases."""
        return self.fit(self.training())

    @cached_property
    def alone(self) -> NDArray[np.uint64]:
        """What it says of each case alone, as `said` gives it."""
        rows = [self.table().take(np.array([row])) for row in range(len(self.cases))]
        return np.concatenate([said(self.detector, row) for row in rows])

    def served(self, rows: NDArray[np.intp] | None = None, note: str = "") -> FeatureTable:
        """Cases as serving hands them over: in one matrix among features of others, with a status for every view.

        rows: positions of cases, all by default. note: added to texts, so that no memory of former calls answers.
        """
        table = self.table() if rows is None else self.table().take(rows)
        texts = [name for name, column in table.columns.items() if column.dtype == object]
        numbers = [name for name in table.columns if name not in texts]
        # Neither the order nor the neighbours are what the detector named.
        places = Places(["other_view:a", *reversed(numbers), "other_view:b"], [*reversed(texts), "other_view:words"])
        matrix = np.full((table.n, len(places.numeric)), 1e6)
        matrix[:, places.of(numbers)] = table.numeric(numbers)
        words = np.full((table.n, len(places.texts)), "other words", dtype=object)
        for name in texts:
            words[:, places.texts[name]] = [value and value + note for value in table.columns[name]]
        statuses = {view: table.status(view) for view in ("other_view", *self.views)}
        return FeatureTable(MatrixColumns(places, matrix, words), table.n, statuses)

    @property
    def _lost(self) -> list[list[str]]:
        """What may be away at once: every view that it reads, and each alone."""
        return [self.views, *([view] for view in self.views)] if len(self.views) > 1 else [self.views]

    def lacking(self, statuses: Iterable[Status] = Status) -> Iterator[tuple[str, FeatureTable]]:
        """The cases with all views null, and each alone, once for each status: the words for it, and the table."""
        for views in self._lost:
            what = "every view" if len(views) > 1 else views[0]
            for status in statuses:
                yield f"{what} null and {status.value}", self.table().lacking(views, status)


Check = Callable[[Trial], Iterator[Fault]]


def said(detector: Detector, table: FeatureTable) -> NDArray[np.uint64]:
    """(n,) the bits of the scores, and one pattern of no score's where it abstains."""
    found = detector.score(table)
    bits = np.array(found.raw, dtype=np.float64).view(np.uint64)
    if found.abstains is not None:
        bits[found.abstains] = _SILENT
    return bits


def shown(bits: np.uint64) -> str:
    """One of `said` for people."""
    return "that it abstains" if bits == _SILENT else repr(float(bits.view(np.float64)))


def finite(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """(n,) of `said`: whether it is a number, or nothing."""
    return np.asarray(np.isfinite(bits.view(np.float64)) | (bits == _SILENT))


def silent(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """(n,) of `said`: whether it abstains."""
    return np.asarray(bits == _SILENT)


def frozen(table: FeatureTable) -> FeatureTable:
    """The same table, in arrays that cannot be written to."""
    for array in arrays_of(table):
        array.flags.writeable = False
    return table


def arrays_of(table: FeatureTable) -> list[NDArray[Any]]:
    """Every array that a table is made of."""
    if isinstance(table.columns, MatrixColumns):
        return [table.columns.matrix, table.columns.texts, *table.statuses.values()]
    return [*table.columns.values(), *table.statuses.values()]


def strange(table: FeatureTable) -> FeatureTable:
    """Rows of other messages for a table's features: nulls, nothing, far too much, unknown words, an outage."""
    numbers, texts = (np.nan, 0.0, -1.0, 1e12, 1.0), (None, "", "x", "ß漢 \n" * 2000, "offer")
    rows = len(numbers)
    columns: Mapping[str, NDArray[Any]] = {
        name: np.array([*texts, None], dtype=object)[:-1] if column.dtype == object else np.array(numbers)
        for name, column in table.columns.items()
    }
    views = views_of(columns)
    statuses = {view: np.full(rows, CODES[Status.PRESENT], dtype=np.uint8) for view in views}
    return FeatureTable(columns, rows, statuses).lacking(views, Status.UNAVAILABLE, np.arange(rows) == rows - 1)
