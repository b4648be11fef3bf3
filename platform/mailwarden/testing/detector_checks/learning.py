"""That a detector learns, the same from the same rows, and from rows of an outage too."""

from __future__ import annotations

from collections.abc import Iterator

from mailwarden.domain.status import Status
from mailwarden.testing.detector_trial import Fault, Trial, finite, said


def fit(trial: Trial) -> Iterator[Fault]:
    """It learns from its cases without raising."""
    try:
        assert trial.detector is not None
    except Exception as error:
        yield f"fit raised {error!r} on rows made of the cases", "it must learn from few rows of both classes"


def fit_again(trial: Trial) -> Iterator[Fault]:
    """The same rows and seed give the same bytes."""
    if trial.detector.to_bytes() != trial.fit(trial.training()).to_bytes():
        yield "the same rows and seed gave two different detectors", "draw all chance from `seed`, and no clock or ids"


def fit_outage(trial: Trial) -> Iterator[Fault]:
    """It learns from rows of outages too, and its scores stay numbers."""
    learned = trial.fit(trial.training(outages=True))
    for what, table in (("nothing else", trial.table()), *trial.lacking([Status.UNAVAILABLE])):
        if not finite(said(learned, table)).all():
            yield (
                f"fitted with rows of outages it has no finite score with {what}",
                "learn from nulls of rows that `training.outage` marks, or leave these rows out",
            )
            return
