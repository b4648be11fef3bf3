"""Arrow batches of fold rows and requests, as the arrays that the domain's reads take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.domain.aggregates.layout import Layout
from mailwarden.domain.aggregates.offline.fold_rows import FoldRows
from mailwarden.domain.aggregates.offline.names import Names
from mailwarden.domain.aggregates.windows import NOTHING
from mailwarden.domain.mail.events import TOMBSTONE, Kind
from mailwarden.stores.spark.fold_rows import (
    FLAGS_COLUMN,
    KIND_BITS,
    SEQ,
    TIME,
    key_columns,
    names_column,
    quantity_column,
)

Key = tuple[str | int | None, ...]


class KeyedBatches:
    """Turns sorted batches into `FoldRows`, remembering the last key so that one cut in two is known again.

    row_id: name of the int64 column that numbers requests from 0 and is negative for events. None where nothing is
    asked: then tombstones stand where requests would, since nothing of them is counted. by: columns that part what is
    read of one key, beside its own.
    """

    def __init__(self, layout: Layout, row_id: str | None, by: Sequence[str] = ()) -> None:
        self._layout = layout
        self._row_id = row_id
        self._keys = (*key_columns(layout.view), *by)
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
        if self._row_id is not None:
            request = batch.column(self._row_id).to_numpy() >= 0
        else:
            request = (batch.column(FLAGS_COLUMN).to_numpy() & KIND_BITS[TOMBSTONE]) != 0
        rows = _Facts(self._layout, batch, request).fold_rows(key)
        return rows, continues

    @staticmethod
    def key_at(columns: list[pa.Array], row: int) -> Key:
        """The values of the key columns in a row."""
        return tuple(column[row].as_py() for column in columns)


class _Facts:
    """What a view's aggregates make of the facts of a batch."""

    def __init__(self, layout: Layout, batch: pa.RecordBatch, request: NDArray[np.bool_]) -> None:
        self._layout, self._batch, self._request = layout, batch, request
        self._flags = batch.column(FLAGS_COLUMN).to_numpy()
        # A request has no flags, so that it is of no kind.
        self._of_kind = {kind: (self._flags & bit) != 0 for kind, bit in KIND_BITS.items()}
        self._counting: dict[tuple[Kind, int], NDArray[np.bool_]] = {}
        self._names: dict[str, Names] = {}

    def fold_rows(self, key: NDArray[np.int64]) -> FoldRows:
        layout, n = self._layout, len(key)
        view = layout.view
        deltas = np.zeros((n, layout.n_measures), dtype=np.int64)
        for index, on, of, mask in layout.measure_rules:
            counts = self._counts(mask, on)
            deltas[:, index] = self._quantity(of) * counts if of else counts
        peaks = np.full((n, layout.n_peaks), NOTHING, dtype=np.int64)
        for index, of, mask, negated in layout.peak_rules:
            value = self._quantity(of)
            np.copyto(peaks[:, index], -value if negated else value, where=self._counts(mask))
        extremes = np.zeros((n, len(view.extremes)), dtype=np.bool_)
        for index, mask in layout.extreme_rules:
            extremes[:, index] = self._counts(mask)
        held = np.zeros((n, len(layout.held)), dtype=np.int64)
        for place, index in enumerate(layout.held):
            held[:, place] = self._quantity(view.extremes[index].of)
        return FoldRows(
            key,
            self._batch.column(SEQ).to_numpy(),
            self._batch.column(TIME).to_numpy(),
            self._request,
            deltas,
            peaks,
            extremes,
            held,
            tuple(self._named(of, self._counts(mask)) for _, of, mask in layout.distinct_rules),
            # A request brings the message's own names, whatever the filter.
            tuple(self._named(of, self._counts(mask) | self._request) for _, of, mask in layout.recent_rules),
        )

    def _counts(self, mask: int, on: Kind = "message") -> NDArray[np.bool_]:
        found = self._counting.get((on, mask))
        if found is None:
            found = self._counting[on, mask] = ((self._flags & mask) == mask) & self._of_kind[on]
        return found

    def _quantity(self, name: str) -> NDArray[np.int64]:
        values: NDArray[np.int64] = self._batch.column(quantity_column(name)).to_numpy()
        return values

    def _named(self, fact: str, counts: NDArray[np.bool_]) -> Names:
        names = self._names.get(fact)
        if names is None:
            column = self._batch.column(names_column(fact))
            bounds = np.zeros(len(column) + 1, dtype=np.int64)
            np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), out=bounds[1:])
            flat = column.flatten()
            # A name that is missing or empty is nobody's.
            is_name = pc.fill_null(pc.not_equal(flat, ""), False).to_numpy(zero_copy_only=False)
            before = np.zeros(len(flat) + 1, dtype=np.int64)
            np.cumsum(is_name, out=before[1:])
            coded = flat.filter(pa.array(is_name)).dictionary_encode()
            codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
            names = self._names[fact] = Names(coded.dictionary.to_pylist(), codes, before[bounds])
        return names.where(counts)
