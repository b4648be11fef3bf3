"""What every detector must hold to, whatever it does inside; for the team that writes one."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector, Signal, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.mail.events import CATEGORIES, LABELS
from mailwarden.errors import DataError, did_you_mean
from mailwarden.testing.problem import Problem

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FULL_NAME = re.compile(r"[a-z][a-z0-9_]*:[a-z][a-z0-9_]*")
_COPIES = 8
_SEED = 11


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled example. features: full name to value, null where absent; fires: it must score above every case
    that must stay silent; category: what `categorise` must say, "" for any; signals: names that `explain` must give."""

    case: str
    fires: bool
    features: dict[str, float | str | None]
    category: str = ""
    signals: tuple[str, ...] = field(default=())


def read_cases(path: Path) -> list[Case]:
    """Cases of a JSON Lines file; raises DataError naming the line that is none."""
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            cases.append(Case(**{**found, "signals": tuple(found.get("signals", ()))}))
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}, line {number} is no case ({error}): case, fires and features.") from error
    return cases


def check_detector(kind: type[Detector], known: Collection[str], cases: Sequence[Case] | None = None) -> list[str]:
    """Every way, in words, in which a detector breaks its contract; none for one that keeps it.

    known: full names of the features that there are (`mailwarden_features.discover().feature_names()`). cases: by
    default those of `cases.jsonl` beside its module. The detector is fitted to the cases, several times over.
    """
    problems = _check_definition(kind)
    problems += [f"{problem.words[0].upper()}{problem.words[1:]}" for problem in check_readers(known, [kind])]
    if cases is None:
        path = Path(inspect.getfile(kind)).parent / "cases.jsonl"
        if not path.is_file():
            return [*problems, f"There is no {path}. Write cases that must fire and cases that must stay silent."]
        cases = read_cases(path)
    problems += _check_cases(kind, cases)
    if problems:
        return problems
    table = table_of(kind.features, cases)
    try:
        detector = _fitted(kind, cases, table)
    except Exception as error:
        return [f"fit: raised {error!r}."]
    for check in (_check_fit, _check_scores, _check_bytes, _check_reasons, _check_verdicts):
        try:
            problems += check(detector, cases, table)
        except Exception as error:
            problems.append(f"{check.__name__.removeprefix('_check_')}: raised {error!r}.")
    return problems


def check_readers(known: Collection[str], kinds: Iterable[type[Detector]]) -> list[Problem]:
    """Features that detectors read and no view has, each with the nearest one that there is.

    known: full names of the features that there are.
    """
    return [
        Problem(
            f"detector {kind.name}",
            full_name,
            f"it reads {full_name!r}, which no view has.{did_you_mean(full_name, sorted(known))}",
        )
        for kind in kinds
        for full_name in getattr(kind, "features", ())
        if _is_full(full_name) and full_name not in known
    ]


def table_of(features: Sequence[str], cases: Sequence[Case]) -> FeatureTable:
    """The cases as a table of those features; a feature is text where a case gives it as text."""
    columns: dict[str, NDArray[Any]] = {}
    for name in features:
        values = [case.features.get(name) for case in cases]
        if any(isinstance(value, str) for value in values):
            columns[name] = np.array([*values, None], dtype=object)[:-1]
        else:
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return FeatureTable(columns, len(cases))


def _check_definition(kind: type[Detector]) -> list[str]:
    problems = []
    for attribute in ("name", "owner", "description", "features"):
        if not getattr(kind, attribute, None):
            problems.append(f"It has no {attribute}.")
    if problems:
        return problems
    if not _NAME.fullmatch(kind.name):
        problems.append(f"Its name {kind.name!r} is not in lower_snake_case.")
    if not isinstance(kind.version, int) or kind.version < 1:
        problems.append(f"Its version {kind.version!r} is not 1, 2, ...")
    problems += [f"Feature {name!r} is not written as view:feature." for name in kind.features if not _is_full(name)]
    if len(set(kind.features)) != len(kind.features):
        problems.append("It names a feature twice.")
    return problems


def _is_full(name: object) -> bool:
    return isinstance(name, str) and _FULL_NAME.fullmatch(name) is not None


def _check_cases(kind: type[Detector], cases: Sequence[Case]) -> list[str]:
    problems = []
    for fires, words in ((True, "fire"), (False, "stay silent")):
        if sum(case.fires is fires for case in cases) < 2:
            problems.append(f"Fewer than two cases must {words}.")
    for case in cases:
        unknown = sorted(set(case.features) - set(getattr(kind, "features", ())))
        if unknown:
            problems.append(f"Case {case.case!r} gives {unknown[0]}, which the detector does not read.")
        if case.category and case.category not in CATEGORIES:
            problems.append(f"Case {case.case!r} has category {case.category!r}, which is none.")
    return problems


def _fitted(kind: type[Detector], cases: Sequence[Case], table: FeatureTable) -> Detector:
    detector = kind()
    rows = np.tile(np.arange(table.n), _COPIES)
    labels = [(case.category or "spam") if case.fires else "ham" for case in cases] * _COPIES
    assert set(labels) <= set(LABELS)
    detector.fit(
        TrainingSet(
            features=table.take(rows),
            bad=np.array([label != "ham" for label in labels]),
            labels=labels,
            weight=np.ones(len(rows)),
            at_us=np.arange(len(rows), dtype=np.int64),
            outage=np.zeros(len(rows), dtype=np.bool_),
        ),
        seed=_SEED,
    )
    return detector


def _check_fit(detector: Detector, cases: Sequence[Case], table: FeatureTable) -> list[str]:
    problems = []
    if detector.to_bytes() != _fitted(type(detector), cases, table).to_bytes():
        problems.append("fit: the same rows and seed gave two different detectors.")
    try:
        json.dumps(detector.parameters(), allow_nan=False)
    except (TypeError, ValueError) as error:
        problems.append(f"parameters: they are not plain JSON ({error}).")
    return problems


def _check_scores(detector: Detector, cases: Sequence[Case], table: FeatureTable) -> list[str]:
    scores = detector.score(table).raw
    if scores.shape != (table.n,) or scores.dtype != np.float64:
        return [f"score: gave {scores.dtype} of shape {scores.shape} instead of float64 of ({table.n},)."]
    problems = []
    if not np.isfinite(_spoken(detector, table)).all():
        problems.append("score: not every score is finite.")
    alone = np.concatenate([_spoken(detector, table.take(np.array([row]))) for row in range(table.n)])
    if not np.array_equal(_spoken(detector, table), alone):
        problems.append("score: a row scores differently alone and among others.")
    if detector.score(table.take(np.empty(0, dtype=np.intp))).raw.shape != (0,):
        problems.append("score: no rows must give no scores.")
    if not np.isfinite(_spoken(detector, _nulls(table))).all():
        problems.append("score: a row of nulls has no finite score.")
    return problems


def _spoken(detector: Detector, table: FeatureTable) -> NDArray[np.float64]:
    """Raw scores, and the least that there is where the detector abstains."""
    said = detector.score(table)
    return said.raw if said.abstains is None else np.where(said.abstains, -1e300, said.raw)


def _nulls(table: FeatureTable) -> FeatureTable:
    columns: dict[str, NDArray[Any]] = {
        name: np.array([None], dtype=object) if column.dtype == object else np.array([np.nan])
        for name, column in table.columns.items()
    }
    return FeatureTable(columns, 1)


def _check_bytes(detector: Detector, cases: Sequence[Case], table: FeatureTable) -> list[str]:
    kind = type(detector)
    again = kind.from_bytes(detector.to_bytes())
    problems = []
    if not np.array_equal(_spoken(detector, table), _spoken(again, table)):
        problems.append("from_bytes: the detector read back scores differently.")
    if detector.categorise(table) != again.categorise(table):
        problems.append("from_bytes: the detector read back gives other categories.")
    for data in (b"", b"something else", detector.to_bytes()[:-7]):
        if not _raises_data_error(kind.from_bytes, data):
            problems.append(f"from_bytes: {len(data)} bytes that are no detector did not raise DataError.")
    return problems


def _raises_data_error(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except DataError:
        return True
    return False


def _check_reasons(detector: Detector, cases: Sequence[Case], table: FeatureTable) -> list[str]:
    problems = []
    for row, case in enumerate(cases):
        signals = detector.explain(table, row, limit=2)
        if len(signals) > 2:
            problems.append(f"explain: gave {len(signals)} reasons for {case.case!r} where 2 were asked for.")
        problems += [f"explain: {fault} for {case.case!r}." for fault in _faults(signals)]
        if case.fires and not signals:
            problems.append(f"explain: no reason for {case.case!r}, which fires.")
        there = {signal.name for signal in detector.explain(table, row, limit=1000)}
        problems += [f"explain: no {name} for {case.case!r}." for name in case.signals if name not in there]
    detector.explain(_nulls(table), 0)
    return problems


def _faults(signals: Sequence[Signal]) -> list[str]:
    faults = [f"{signal.name!r} is no sentence" for signal in signals if not signal.words.rstrip("”").endswith(".")]
    weights = [signal.weight for signal in signals]
    if not np.isfinite(weights).all():
        faults.append("a weight is not finite")
    if weights != sorted(weights, reverse=True):
        faults.append("the worst reason is not the first")
    return faults


def _check_verdicts(detector: Detector, cases: Sequence[Case], table: FeatureTable) -> list[str]:
    scores = _spoken(detector, table)
    loudest = max((row for row, case in enumerate(cases) if not case.fires), key=lambda row: scores[row])
    problems = [
        f"cases: {case.case!r} must fire, but scores {scores[row]:.3f}, no more than {cases[loudest].case!r}, "
        f"which must stay silent ({scores[loudest]:.3f})."
        for row, case in enumerate(cases)
        if case.fires and scores[row] <= scores[loudest]
    ]
    categories = detector.categorise(table)
    if categories is None:
        return problems
    if len(categories) != table.n or not set(categories) <= set(CATEGORIES):
        return [*problems, f"categorise: gave {categories!r} instead of one category a row."]
    return problems + [
        f"cases: {case.case!r} is {category} where it must be {case.category}."
        for case, category in zip(cases, categories, strict=True)
        if case.fires and case.category and case.category != category
    ]
