from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from mailwarden.domain.detection.detector import Detector, RawScores, Signal, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.errors import DataError
from mailwarden.testing.check_detector import Case, check_detector
from mailwarden_detectors import discover
from mailwarden_features import discover as discover_features

DETECTORS = discover()
KNOWN = discover_features().feature_names()


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_keeps_its_contract(name: str) -> None:
    assert check_detector(DETECTORS[name], KNOWN) == []


def test_the_three_detectors_are_there() -> None:
    assert {"behaviour", "header_rules", "message_text"} <= set(DETECTORS)


class _Links(Detector):
    name: ClassVar[str] = "links"
    owner: ClassVar[str] = "tests"
    description: ClassVar[str] = "Counts links."
    features: ClassVar[tuple[str, ...]] = ("content:links",)
    cpu_budget_us: ClassVar[int] = 100_000

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        pass

    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(np.asarray(np.nan_to_num(features.columns["content:links"]), dtype=np.float64))

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        count = float(np.nan_to_num(features.columns["content:links"][row]))
        return [Signal("links", f"{count:.0f} links.", count)][:limit] if count else []

    def to_bytes(self) -> bytes:
        return b"links-detector"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        if data != b"links-detector":
            raise DataError("no links detector")
        return cls()


LINKS = ("content:links",)
CASES = [
    Case("many links", True, {"content:links": 9.0}),
    Case("some links", True, {"content:links": 5.0}),
    Case("no link", False, {"content:links": 0.0}),
    Case("no body", False, {"content:links": None}),
]


def test_a_small_sound_detector_passes() -> None:
    assert check_detector(_Links, LINKS, CASES) == []


class _Pool(_Links):
    def score(self, features: FeatureTable) -> RawScores:
        links = np.nan_to_num(features.columns["content:links"])
        return RawScores(np.asarray(links / (1.0 + links.sum())))


class _Forgetful(_Links):
    _serial = 0

    def to_bytes(self) -> bytes:
        type(self)._serial += 1
        return b"%d" % self._serial


class _Gullible(_Links):
    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls()


class _Null(_Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(np.asarray(features.columns["content:links"], dtype=np.float64))


class _Mute(_Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return [Signal("links", "links", 1.0)] * 5


class _Greedy(_Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(np.asarray(features.columns["content:other"]))


class _Vague(_Links):
    def categorise(self, features: FeatureTable) -> list[str]:
        return ["bad"] * features.n


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (_Pool, "alone and among others"),
        (_Forgetful, "two different detectors"),
        (_Gullible, "did not raise DataError"),
        (_Null, "not every score is finite"),
        (_Mute, "where 2 were asked for"),
        (_Mute, "is no sentence"),
        (_Greedy, "KeyError"),
        (_Vague, "one category a row"),
    ],
)
def test_each_breach_is_named(kind: type[Detector], words: str) -> None:
    assert any(words in problem for problem in check_detector(kind, LINKS, CASES)), check_detector(kind, LINKS, CASES)


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        (CASES[:1] + CASES[2:], "Fewer than two cases must fire"),
        (CASES[:3], "Fewer than two cases must stay silent"),
        ([*CASES, Case("odd", True, {"content:size": 1.0})], "does not read"),
        ([*CASES, Case("loud newsletter", False, {"content:links": 7.0})], "'some links' must fire"),
        ([*CASES[1:], Case("named", True, {"content:links": 9.0}, signals=("shouting",))], "no shouting"),
    ],
)
def test_wrong_cases_are_named(cases: Sequence[Case], words: str) -> None:
    assert any(words in problem for problem in check_detector(_Links, LINKS, cases))


def test_a_definition_without_owner_is_named() -> None:
    broken: Any = type("_Anonymous", (_Links,), {"owner": "", "features": ("links",)})
    assert any("no owner" in problem for problem in check_detector(broken, LINKS, CASES))


def test_a_misspelt_feature_is_named_with_the_nearest_one() -> None:
    misspelt: Any = type("_Misspelt", (DETECTORS["behaviour"],), {"features": ("sender_activity:recieved_7d",)})
    problems = check_detector(misspelt, KNOWN)
    assert any("reads 'sender_activity:recieved_7d'" in p and "Did you mean 'sender_activity:" in p for p in problems)
    assert any("'content:link'" in p and "'content:links'?" in p for p in check_detector(_Linked, LINKS, CASES))


class _Linked(_Links):
    features: ClassVar[tuple[str, ...]] = ("content:link",)
