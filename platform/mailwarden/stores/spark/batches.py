"""Arrow batches of fold rows and requests, as the arrays that the domain's reads take."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.domain.fold_rows import FoldRows
from mailwarden.domain.layout import Layout
from mailwarden.stores.spark.fold_rows import (
    SEQ,
    TIME,
    distinct_column,
    extreme_column,
    held_column,
    key_columns,
    measure_column,
    peak_column,
    recent_column,
)

Key = tuple[str | None, ...]
_Scalar = TypeVar("_Scalar", bound=np.generic)


class KeyedBatches:
    """Turns sorted batches into `FoldRows`, remembering the last key so that one cut in two is known again.

    request: name of the boolean column that tells requests from events; None where there are none.
    """

    def __init__(self, layout: Layout, request: str | None) -> None:
        self._layout = layout
        self._request = request
        self._keys = key_columns(layout.view)
        self._last: Key | None = None

    def read(self, batch: pa.RecordBatch) -> tuple[FoldRows, bool]:
        """The rows of a batch that is not empty, and whether its first key is the last of the batch before."""
        n = batch.num_rows
        columns = [batch.column(name) for name in self._keys]
        changes: NDArray[np.bool_] = np.zeros(n, dtype=np.bool_)
        for column in columns:
            if n > 1:
                here, before = column.slice(1), column.slice(0, n - 1)
                same = pc.equal(here, before)
                if column.null_count:
                    both_null = pc.and_(pc.is_null(here), pc.is_null(before))
                    same = pc.or_(pc.fill_null(same, False), both_null)
                changes[1:] |= ~same.to_numpy(zero_copy_only=False)
        key = np.cumsum(changes, dtype=np.int64)
        continues = self._last is not None and self._last == self.key_at(columns, 0)
        self._last = self.key_at(columns, n - 1)
        view = self._layout.view
        request = _bools(batch.column(self._request)) if self._request else np.zeros(n, dtype=np.bool_)
        rows = FoldRows(
            key,
            batch.column(SEQ).to_numpy(zero_copy_only=False),
            batch.column(TIME).to_numpy(zero_copy_only=False),
            request,
            _stack([batch.column(measure_column(i)).to_numpy() for i in range(len(view.measures))], n, np.int64),
            _stack([batch.column(peak_column(i)).to_numpy() for i in range(len(view.peaks))], n, np.int64),
            _stack([_bools(batch.column(extreme_column(i))) for i in range(len(view.extremes))], n, np.bool_),
            _stack([batch.column(held_column(i)).to_numpy() for i in self._layout.held], n, np.int64),
            tuple(batch.column(distinct_column(i)).to_pylist() for i in range(len(view.distincts))),
            tuple(batch.column(recent_column(i)).to_pylist() for i in range(len(view.recents))),
        )
        return rows, continues

    @staticmethod
    def key_at(columns: list[pa.Array], row: int) -> Key:
        """The values of the key columns in a row."""
        return tuple(column[row].as_py() for column in columns)


def _bools(column: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _stack(columns: list[NDArray[_Scalar]], n: int, dtype: type[_Scalar]) -> NDArray[_Scalar]:
    out = np.empty((n, len(columns)), dtype=dtype)
    for index, column in enumerate(columns):
        out[:, index] = column
    return out
