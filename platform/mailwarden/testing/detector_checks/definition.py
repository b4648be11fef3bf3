"""What a detector says of itself, and the cases that it comes with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from mailwarden.domain.detection.detector import STAGES, Detector
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.domain.status import Status
from mailwarden.errors import DataError, did_you_mean
from mailwarden.testing.detector_cases import Case, views_of
from mailwarden.testing.detector_trial import Fault, Trial
from mailwarden.testing.problem import Problem

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FULL_NAME = re.compile(r"[a-z][a-z0-9_]*:[a-z][a-z0-9_]*")


def definition(trial: Trial) -> Iterator[Fault]:
    """It says its name, owner, description, features, version, stage, CPU budget and categories."""
    kind = trial.kind
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if inspect.isabstract(kind):
        yield f"it has no {', '.join(missing)}", "write what `Detector` asks for"
    for attribute, words in (
        ("name", "set it to the folder's name"),
        ("owner", "name the team that answers for it"),
        ("description", "say in one sentence what it judges"),
    ):
        value = getattr(kind, attribute, None)
        if not isinstance(value, str) or not value.strip():
            yield f"it has no {attribute}", words
        elif attribute == "name" and not _NAME.fullmatch(value):
            yield f"its name {value!r} is not in lower_snake_case", words
    yield from _check_features(getattr(kind, "features", None))
    if not _is_count(getattr(kind, "version", None)):
        yield f"its version {kind.version!r} is not 1, 2, ...", "begin at 1, and raise it when its meaning changes"
    if getattr(kind, "stage", None) not in STAGES:
        yield f"its stage {kind.stage!r} is none", f"choose one of {', '.join(STAGES)}"
    if not _is_count(getattr(kind, "cpu_budget_us", None)):
        said = getattr(kind, "cpu_budget_us", None)
        yield f"its cpu_budget_us is {said!r}", "give whole microseconds of CPU for one message, above 0"
    yield from _check_categories(getattr(kind, "categories", None))
    yield from _check_presence(kind)


def known_features(trial: Trial) -> Iterator[Fault]:
    """Every feature that it reads is one of a view."""
    for problem in check_readers(trial.known, [trial.kind]):
        yield problem.words, "name one that `mailwarden features show VIEW` has"


def cases(trial: Trial) -> Iterator[Fault]:
    """Two cases at least must fire and two must not; they speak of features, views and categories that there are."""
    try:
        found = trial.cases
    except DataError as error:
        yield str(error), "see detectors/README.md"
        return
    for fires, words in ((True, "fire"), (False, "stay silent")):
        if sum(case.fires is fires for case in found) < 2:
            yield f"fewer than two cases must {words}", "add some to cases.jsonl"
    for case in found:
        yield from _check_case(case, trial.kind.features)


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


def _check_features(features: Any) -> Iterator[Fault]:
    if not isinstance(features, tuple) or not features:
        yield "it names no features", "list in `features`, a tuple, what it reads, as view:feature"
        return
    for name in features:
        if not _is_full(name):
            yield f"feature {name!r} is not written as view:feature", "write its view before it"
    if len(set(features)) != len(features):
        yield "it names a feature twice", "name each once"


def _check_categories(categories: Any) -> Iterator[Fault]:
    if not isinstance(categories, tuple):
        yield f"its categories are {categories!r}", "give a tuple, () where it has no opinion"
        return
    for code in sorted(set(map(str, categories)) - set(CATEGORIES)):
        yield f"its category {code!r} is none", f"choose of {', '.join(CATEGORIES)}"
    if len(set(categories)) != len(categories):
        yield "it names a category twice", "name each once"


def _check_presence(kind: type[Detector]) -> Iterator[Fault]:
    shared = getattr(kind, "assets", None)
    if not isinstance(shared, tuple) or not all(isinstance(one, str) and _DIGEST.fullmatch(one) for one in shared):
        yield f"its assets are {shared!r}", "give a tuple of SHA-256 in lower-case hex, () where it shares no file"
    words = kind.absent()
    if not isinstance(words, str):
        yield f"absent gave {words!r}", 'say in a sentence why it cannot be used here, "" where it can'


def _check_case(case: Case, features: Sequence[str]) -> Iterator[Fault]:
    views, name = views_of(features), f"case {case.case!r}"
    for unknown in sorted(set(case.features) - set(features)):
        yield f"{name} gives {unknown}, which the detector does not read", "leave it out, or read it"
    if case.category and case.category not in CATEGORIES:
        yield f"{name} has category {case.category!r}, which is none", f"choose of {', '.join(CATEGORIES)}"
    if case.fires and case.abstains:
        yield f"{name} must fire and be abstained from", "choose one"
    for view, status in case.status.items():
        if view not in views:
            yield f"{name} has a status of {view!r}, of which the detector reads nothing", "leave it out"
        if status not in list(Status):
            yield f"{name} has status {status!r}, which is none", f"choose of {', '.join(Status)}"
        given = sorted(full for full in case.features if full.startswith(f"{view}:"))
        if status == Status.UNAVAILABLE and any(case.features[full] is not None for full in given):
            yield f"{name} gives {given[0]} of an unavailable view", "leave its features out"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_full(name: object) -> bool:
    return isinstance(name, str) and _FULL_NAME.fullmatch(name) is not None
