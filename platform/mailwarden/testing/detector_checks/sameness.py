"""That a row's score is its own: the same bits whatever stands beside it, and however it is handed over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.rows import FeatureTable, joined
from mailwarden.testing.detector_trial import Fault, Trial, said, shown, strange

_SIZES = (2, 3, 17, 64, 257, 1024)
_SEED = 11
_SHUFFLES = 3
_MEND = "score each row by itself: no sums, ranks or means over rows, and no products whose order the count changes"


def alone(trial: Trial) -> Iterator[Fault]:
    """A row scores the same alone and among the other cases, to the last bit."""
    yield from _differ(trial, trial.table(), np.arange(len(trial.cases)), "among the cases")


def batches(trial: Trial) -> Iterator[Fault]:
    """A row scores the same in batches of any size, to the last bit."""
    for size in _SIZES:
        rows = np.arange(size) % len(trial.cases)
        found = list(_differ(trial, trial.table().take(rows), rows, f"in a batch of {size}"))
        if found:
            yield found[0]
            return


def order(trial: Trial) -> Iterator[Fault]:
    """A row scores the same wherever it stands, to the last bit."""
    rows = np.arange(len(trial.cases))
    draw = np.random.default_rng(_SEED)
    for index in (rows[::-1], *(draw.permutation(rows) for _ in range(_SHUFFLES))):
        found = list(_differ(trial, trial.table().take(index), index, "in another order"))
        if found:
            yield found[0]
            return


def beside(trial: Trial) -> Iterator[Fault]:
    """A row scores the same beside rows of other messages, to the last bit."""
    table = trial.table()
    own = np.arange(table.n)
    whole = joined([strange(table), table, strange(table)])
    others = (whole.n - table.n) // 2
    yield from _differ(trial, whole, own, "beside other messages", slice(others, others + table.n))


def serving_table(trial: Trial) -> Iterator[Fault]:
    """A row scores the same in the matrix that serving makes, among features of others, to the last bit."""
    mend = "ask for features by name (`features.numeric`, `features.text`), and for nothing else"
    for rows in (np.arange(len(trial.cases)), np.array([0])):
        for words, _ in _differ(trial, trial.served(rows), rows, "in serving's matrix"):
            yield words, mend
            return


def _differ(
    trial: Trial, table: FeatureTable, rows: NDArray[np.intp], where: str, own: slice = slice(None)
) -> Iterator[Fault]:
    """The first of a table's rows that does not say what its case says alone. own: where the cases stand in it."""
    bits = said(trial.detector, table)[own]
    for at in np.flatnonzero(bits != trial.alone[rows])[:1]:
        case = trial.cases[rows[at]].case
        yield f"{case!r} says {shown(trial.alone[rows[at]])} alone and {shown(bits[at])} {where}", _MEND
