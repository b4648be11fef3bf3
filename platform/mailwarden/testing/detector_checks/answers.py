"""Reasons and categories: what a detector says to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mailwarden.domain.detection.detector import Signal
from mailwarden.testing.detector_trial import Fault, Trial, said, silent

_ALL = 1000
"""More reasons than any detector has."""


def reasons(trial: Trial) -> Iterator[Fault]:
    """Reasons are sentences with finite weights, the worst first, and no more than were asked for."""
    table = trial.table()
    for row, case in enumerate(trial.cases):
        for limit in (1, 2, _ALL):
            signals = trial.detector.explain(table, row, limit=limit)
            if len(signals) > limit:
                yield f"it gave {len(signals)} reasons for {case.case!r} where {limit} were asked for", "mind `limit`"
                return
            for words, mend in _faults(signals):
                yield f"{words} for {case.case!r}", mend
                return


def reasons_backed(trial: Trial) -> Iterator[Fault]:
    """Each reason names the features that it rests on, all of them its own; none rests on nothing but nulls."""
    table = trial.table()
    own = set(trial.kind.features)
    for row, case in enumerate(trial.cases):
        for signal in trial.detector.explain(table, row, limit=_ALL):
            if not signal.features:
                yield f"{signal.name} rests on no feature, for {case.case!r}", "name them in `Signal.features`"
                return
            for name in sorted(set(signal.features) - own):
                yield f"{signal.name} rests on {name}, which the detector does not read", "name what it reads"
                return
            if all(_is_null(table.columns[name][row]) for name in signal.features):
                yield (
                    f"{signal.name} is a reason for {case.case!r}, where nothing that it rests on is known",
                    ("leave out what is not known"),
                )
                return


def _is_null(value: object) -> bool:
    return value is None or value != value


def reasons_given(trial: Trial) -> Iterator[Fault]:
    """A case that fires has a reason, and those that it names."""
    table = trial.table()
    quiet = silent(said(trial.detector, table))
    for row, case in enumerate(trial.cases):
        there = {signal.name for signal in trial.detector.explain(table, row, limit=_ALL)}
        if case.fires and not there and not quiet[row]:
            yield f"no reason for {case.case!r}, which fires", "say what speaks against it"
        for name in case.signals:
            if name not in there:
                yield f"no {name} for {case.case!r}", f"give that reason, or mend the case; there are {sorted(there)}"


def reasons_alone(trial: Trial) -> Iterator[Fault]:
    """A row's reasons are its own: the same alone and among other rows."""
    table = trial.table()
    for row, case in enumerate(trial.cases):
        one = table.take(np.array([row]))
        if trial.detector.explain(table, row) != trial.detector.explain(one, 0):
            yield f"{case.case!r} has other reasons alone than among others", "explain the row that is asked for"
            return


def categories(trial: Trial) -> Iterator[Fault]:
    """It names one of its own categories for each row, and the same alone; None where it declares none."""
    table, own = trial.table(), trial.kind.categories
    found = trial.detector.categorise(table)
    if found is None:
        if own:
            yield f"it declares {', '.join(own)} and names none", "write `categorise`, or declare no `categories`"
        return
    if not isinstance(found, list) or len(found) != table.n:
        yield f"categorise gave {found!r} for {table.n} rows", "give a list of one category a row"
        return
    for code in sorted(set(map(str, found)) - set(own)):
        yield f"it names {code!r}, which it does not declare", "add it to `categories`, or do not name it"
        return
    for row, case in enumerate(trial.cases):
        one = trial.detector.categorise(table.take(np.array([row])))
        if one != [found[row]]:
            yield f"{case.case!r} is {found[row]} among others and {one} alone", "name each row's by itself"
            return


def categories_right(trial: Trial) -> Iterator[Fault]:
    """A case that fires gets the category that it gives."""
    named = trial.detector.categorise(trial.table()) or [case.category for case in trial.cases]
    for case, category in zip(trial.cases, named, strict=True):
        if case.fires and case.category and case.category != category:
            yield f"{case.case!r} is {category} where it must be {case.category}", "mend `categorise`, or the case"


def _faults(signals: Sequence[Signal]) -> Iterator[Fault]:
    for signal in signals:
        if not isinstance(signal, Signal) or not signal.name:
            yield f"{signal!r} is no reason with a name", "give `Signal`s"
            return
        if not signal.words.rstrip("”").endswith("."):
            yield f"{signal.name!r} is no sentence ({signal.words!r})", "say it in words, with a full stop"
    weights = [signal.weight for signal in signals]
    if not np.isfinite(weights).all():
        yield "a weight is not finite", "give log-odds"
    if weights != sorted(weights, reverse=True):
        yield "the worst reason is not the first", "sort them by weight"
