"""Rows of a matrix, as serving has them, beside the same rows as columns."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FEW, CodeColumns, FeatureTable, MatrixColumns, Places
from mailwarden.domain.status import CODES, Status

NUMBERS = ("links:count", "links:ip", "sender:history")
TEXTS = ("text:subject", "links:first")
VIEWS = ("links", "sender", "text")


@st.composite
def pairs(draw: st.DrawFn) -> tuple[FeatureTable, FeatureTable]:
    """The same rows twice: as columns, and as views of matrices."""
    n = draw(st.integers(1, 4))
    value = st.sampled_from([0.0, 1.0, 2.5, np.nan])
    numbers = np.array(draw(st.lists(st.tuples(value, value, value), min_size=n, max_size=n)))
    words = st.sampled_from([None, "", "Pay now"])
    texts = np.empty((n, len(TEXTS)), dtype=object)
    texts[:] = draw(st.lists(st.tuples(words, words), min_size=n, max_size=n))
    code = st.sampled_from([CODES[Status.PRESENT], CODES[Status.STALE], CODES[Status.UNAVAILABLE]])
    codes = np.array(draw(st.lists(st.tuples(code, code, code), min_size=n, max_size=n)), dtype=np.uint8)
    columns: dict[str, NDArray[Any]] = {name: numbers[:, at] for at, name in enumerate(NUMBERS)}
    columns |= {name: texts[:, at] for at, name in enumerate(TEXTS)}
    plain = FeatureTable(columns, n, {view: codes[:, at] for at, view in enumerate(VIEWS)})
    whole = MatrixColumns(Places(NUMBERS, TEXTS), numbers, texts)
    return plain, FeatureTable(whole, n, CodeColumns(Places(VIEWS, ()), codes))


def check_same(one: FeatureTable, other: FeatureTable) -> None:
    assert one.n == other.n and set(one.columns) == set(other.columns) and set(one.statuses) == set(other.statuses)
    np.testing.assert_array_equal(one.numeric(NUMBERS), other.numeric(NUMBERS))
    np.testing.assert_array_equal(one.codes((*VIEWS, "other")), other.codes((*VIEWS, "other")))
    np.testing.assert_array_equal(one.codes(VIEWS[::-1]), other.codes(VIEWS[::-1]))
    for row in range(one.n):
        assert [one.number(name, row) for name in (*NUMBERS, *TEXTS)] == [
            other.number(name, row) for name in (*NUMBERS, *TEXTS)
        ]
        assert [one.written(name, row) for name in TEXTS] == [other.text(name)[row] for name in TEXTS]


@given(pairs(), st.sets(st.sampled_from([*VIEWS, "absent"])), st.data())
def test_rows_of_a_matrix_are_those_of_columns(
    both: tuple[FeatureTable, FeatureTable], views: set[str], data: st.DataObject
) -> None:
    plain, whole = both
    check_same(plain, whole)
    where = np.array(data.draw(st.lists(st.booleans(), min_size=plain.n, max_size=plain.n)))
    hidden = [table.lacking(views, Status.UNAVAILABLE, where) for table in both]
    check_same(*hidden)
    for table, own in zip(both, hidden, strict=True):
        assert (own is table) == (not views)
        for view in views & set(VIEWS):
            assert (own.status(view)[where] == CODES[Status.UNAVAILABLE]).all()
            np.testing.assert_array_equal(own.status(view)[~where], table.status(view)[~where])
        for name in NUMBERS:
            gone = where if name.partition(":")[0] in views else np.zeros(table.n, dtype=bool)
            before = table.numeric((name,))[:, 0]
            np.testing.assert_array_equal(own.numeric((name,))[:, 0], np.where(gone, np.nan, before))
    index = np.array(data.draw(st.lists(st.integers(0, plain.n - 1), max_size=5)), dtype=np.intp)
    check_same(plain.take(index), whole.take(index))


def test_what_is_made_of_few_rows_is_made_once() -> None:
    asked: list[int] = []

    def made(table: FeatureTable) -> int:
        asked.append(table.n)
        return len(asked)

    few, many = (FeatureTable({"links:count": np.zeros(n)}, n, {}) for n in (FEW, FEW + 1))
    assert [few.once("made", made), few.once("made", made), few.once("other", made)] == [1, 1, 2]
    assert [many.once("made", made), many.once("made", made)] == [3, 4]
    assert asked == [FEW, FEW, FEW + 1, FEW + 1]
    again = pickle.loads(pickle.dumps(few))
    assert again.once("made", made) == 5 and few.take(np.arange(1)).once("made", made) == 6


def test_an_absent_feature_is_named() -> None:
    table = FeatureTable(MatrixColumns(Places(("links:count",), ()), np.zeros((1, 1)), np.empty((1, 0), object)), 1)
    for ask in (lambda: table.number("links:ip", 0), lambda: table.numeric(("links:ip",))):
        with pytest.raises(KeyError, match="links:ip"):
            ask()
