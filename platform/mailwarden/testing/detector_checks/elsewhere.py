"""That a detector is the same in another process: in Spark, in a worker, on the day after."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mailwarden.domain.detection import assets
from mailwarden.testing.detector_cases import Case
from mailwarden.testing.detector_trial import Fault, Trial, said, shown
from mailwarden.testing.other_process import ask_elsewhere, can_be_asked


class Question(NamedTuple):
    """What is asked there: a detector's class by module and name, its cases, its bytes from here, and where what it
    shares with others lies."""

    module: str
    name: str
    cases: Sequence[Case]
    data: bytes
    folders: tuple[Path, ...] = ()


def elsewhere(trial: Trial) -> Iterator[Fault]:
    """In another process, with another hash seed, clock and environment, it learns and scores the same."""
    kind = trial.kind
    if not can_be_asked(kind):
        return
    data = trial.detector.to_bytes()
    question = Question(kind.__module__, kind.__qualname__, trial.cases, data, assets.folders())
    ((there, error),) = ask_elsewhere(__name__, answer.__name__, [question], first=kind.__module__)
    mend = "keep sets, hashes, clocks, the environment and unseeded chance out of it"
    if error:
        yield f"in another process it raised {error}", mend
        return
    if there["data"] != data:
        yield "fitted to the same rows in another process it gives other bytes", mend
    bits = said(kind.from_bytes(data), trial.table())
    for row in np.flatnonzero(bits != there["said"])[:1]:
        yield f"{trial.cases[row].case!r} says {shown(bits[row])} here and {shown(there['said'][row])} there", mend


def answer(question: Question, _: Any) -> dict[str, Any]:
    """Run there: the bytes of the detector fitted to the cases, and what the one of those bytes says of them."""
    for folder in reversed(question.folders):
        assets.look_in(folder)
    kind = getattr(importlib.import_module(question.module), question.name)
    trial = Trial(kind, (), question.cases)
    return {"data": trial.detector.to_bytes(), "said": said(kind.from_bytes(question.data), trial.table())}
