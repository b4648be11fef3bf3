"""Cases that a detector comes with: messages that it must fire on, and such that it must be silent about."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled example.

    features: full name to value, null where absent. fires: it must score above every case that must stay silent.
    category: what `categorise` must say, "" for any. signals: names that `explain` must give. status: by view, the
    `Status` of its values, present where absent. abstains: the detector must say nothing of it.
    """

    case: str
    fires: bool
    features: Mapping[str, float | str | None]
    category: str = ""
    signals: tuple[str, ...] = field(default=())
    status: Mapping[str, str] = field(default_factory=dict)
    abstains: bool = False


def cases_beside(kind: type[Detector]) -> list[Case]:
    """Those of the `cases.jsonl` beside a detector's module; raises DataError where there is none, or no case in it."""
    path = Path(inspect.getfile(kind)).parent / "cases.jsonl"
    if not path.is_file():
        raise DataError(f"there is no {path}; write cases that must fire and cases that must stay silent")
    return read_cases(path)


def read_cases(path: Path) -> list[Case]:
    """Cases of a JSON Lines file; raises DataError naming the line that is none."""
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = Case(**json.loads(line))
            for name, kind in _KINDS.items():
                if not isinstance(getattr(found, name), kind):
                    raise TypeError(f"{name} is {getattr(found, name)!r}")
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number} is no case ({error}): case, fires and features.") from error
        cases.append(replace(found, signals=tuple(found.signals)))
    return cases


_KINDS: Mapping[str, Any] = {
    "case": str,
    "fires": bool,
    "features": dict,
    "category": str,
    "signals": (list, tuple),
    "status": dict,
    "abstains": bool,
}


def table_of(features: Sequence[str], cases: Sequence[Case]) -> FeatureTable:
    """The cases as a table of those features, of arrays of its own.

    A feature is text where a case gives it as text. A view has statuses where a case gives it any.
    """
    columns: dict[str, NDArray[Any]] = {}
    for name in features:
        values = [case.features.get(name) for case in cases]
        if any(isinstance(value, str) for value in values):
            columns[name] = np.array([*values, None], dtype=object)[:-1]
        else:
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    told = {view for case in cases for view in case.status}
    statuses = {
        view: np.array([CODES[Status(case.status.get(view, Status.PRESENT))] for case in cases], dtype=np.uint8)
        for view in views_of(features)
        if view in told
    }
    return FeatureTable(columns, len(cases), statuses)


def views_of(features: Iterable[str]) -> list[str]:
    """The views of these features, each once, in order of first mention."""
    return list(dict.fromkeys(name.partition(":")[0] for name in features))
