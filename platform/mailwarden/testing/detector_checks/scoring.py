"""What a detector's scores are, whatever a row holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mailwarden.domain.detection.detector import Detector, RawScores
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.testing.detector_trial import Fault, Trial, arrays_of, finite, frozen, said, silent


def score_shape(trial: Trial) -> Iterator[Fault]:
    """A call gives `RawScores` with one float64 a row, and none for no rows."""
    for table in (trial.table(), trial.table().take(np.empty(0, dtype=np.intp))):
        found = trial.detector.score(table)
        if not isinstance(found, RawScores):
            yield f"score gave {type(found).__name__}", "give RawScores"
            return
        raw = found.raw
        if not isinstance(raw, np.ndarray) or raw.dtype != np.float64 or raw.shape != (table.n,):
            what = f"{raw.dtype} of shape {raw.shape}" if isinstance(raw, np.ndarray) else type(raw).__name__
            yield f"score gave {what} for {table.n} rows", f"give float64 of ({table.n},)"
            return


def abstention(trial: Trial) -> Iterator[Fault]:
    """Where it abstains is one bool a row, or None; it speaks of some case that must fire."""
    for table in (trial.table(), trial.table().take(np.empty(0, dtype=np.intp))):
        marks = trial.detector.score(table).abstains
        if marks is None:
            continue
        if not isinstance(marks, np.ndarray) or marks.dtype != np.bool_ or marks.shape != (table.n,):
            what = f"{marks.dtype} of shape {marks.shape}" if isinstance(marks, np.ndarray) else type(marks).__name__
            yield f"its mask is {what} for {table.n} rows", f"give bool of ({table.n},), True where it abstains"
            return
    quiet = silent(said(trial.detector, trial.table()))
    if quiet[[case.fires for case in trial.cases]].all():
        yield "it abstains from every case that must fire", "speak of what is its business"


def score_finite(trial: Trial) -> Iterator[Fault]:
    """Every case has a number, or is abstained from."""
    numbers = finite(said(trial.detector, trial.table()))
    for case, number in zip(trial.cases, numbers, strict=True):
        if not number:
            yield f"case {case.case!r} has no finite score", "give a number, or abstain"


def nulls(trial: Trial) -> Iterator[Fault]:
    """Whatever is null in a row, and why, it is scored or abstained from; reasons and category can be asked for."""
    for what, table in trial.lacking():
        mend = "read nulls and `features.status` as they come, or abstain"
        try:
            numbers = finite(said(trial.detector, table))
            trial.detector.categorise(table)
            for row in range(table.n):
                trial.detector.explain(table.take(np.array([row])), 0)
        except Exception as error:
            yield f"with {what} it raised {error!r}", mend
            return
        if not numbers.all():
            case = trial.cases[int(np.argmin(numbers))].case
            yield f"with {what} case {case!r} has no finite score", mend
            return


def inputs(trial: Trial) -> Iterator[Fault]:
    """It writes to no array that it is handed."""
    mend = "copy what you change"
    training = trial.training()
    frozen(training.features)
    for array in (training.bad, training.weight, training.at_us, training.outage):
        array.flags.writeable = False
    try:
        trial.fit(training)
    except Exception as error:
        yield f"fit raised {error!r} on arrays that cannot be written to", mend
    for table in (trial.table(), trial.served()):
        before = [array.copy() for array in arrays_of(table)]
        try:
            _ask(trial.detector, frozen(table))
        except Exception as error:
            yield f"it raised {error!r} on arrays that cannot be written to", mend
            return
        if any(one.tobytes() != other.tobytes() for one, other in zip(before, arrays_of(table), strict=True)):
            yield "it changed what it was handed", mend
            return


def verdicts(trial: Trial) -> Iterator[Fault]:
    """Every case that must fire scores above every silent one that it speaks of, and it abstains where it must."""
    scores, cases = trial.detector.score(trial.table()).raw, trial.cases
    quiet = silent(said(trial.detector, trial.table()))
    spoken = [row for row, case in enumerate(cases) if not case.fires and not quiet[row]]
    loudest = max(spoken, key=lambda row: scores[row], default=None)
    mend = "read what tells them apart, or mend the case"
    for row, case in enumerate(cases):
        if case.abstains and not quiet[row]:
            yield f"{case.case!r} must be abstained from, but scores {scores[row]:.3f}", "abstain, or mend the case"
        if case.fires and quiet[row]:
            yield f"{case.case!r} must fire, but is abstained from", mend
        elif case.fires and loudest is not None and scores[row] <= scores[loudest]:
            yield (
                (
                    f"{case.case!r} must fire, but scores {scores[row]:.3f}, no more than {cases[loudest].case!r}, "
                    f"which must stay silent ({scores[loudest]:.3f})"
                ),
                mend,
            )


def _ask(detector: Detector, table: FeatureTable) -> None:
    detector.score(table)
    detector.categorise(table)
    for row in range(table.n):
        detector.explain(table, row)
