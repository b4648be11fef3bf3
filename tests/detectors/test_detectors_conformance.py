"""Each rule of the contract catches a small detector that breaks it and nothing else."""

from __future__ import annotations

import importlib
import io
import pickle
import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

import mailwarden_detectors
from mailwarden.domain.detection.detector import Detector, RawScores, Signal, Stage, TrainingSet
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError
from mailwarden.testing.check_detector import CHECKS, Conformance, check_detector
from mailwarden.testing.detector_cases import Case, read_cases, table_of
from mailwarden_detectors import discover
from mailwarden_features import discover as discover_features

LINKS = "content:links"
KNOWN = discover_features().feature_names()


class Links(Detector):
    """A small sound detector, which each of the others breaks in one way."""

    name: ClassVar[str] = "links"
    owner: ClassVar[str] = "tests"
    description: ClassVar[str] = "Counts links."
    features: ClassVar[tuple[str, ...]] = (LINKS,)
    cpu_budget_us: ClassVar[int] = 100_000

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        pass

    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features))

    def raw(self, features: FeatureTable) -> NDArray[np.float64]:
        return np.asarray(np.nan_to_num(features.columns[LINKS]), dtype=np.float64)

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        count = float(self.raw(features)[row])
        return [Signal("links", f"{count:.0f} links.", count, (LINKS,))][:limit] if count else []

    def to_bytes(self) -> bytes:
        return b"links-detector"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        if data != b"links-detector":
            raise DataError("no links detector")
        return cls()


CASES = [
    Case("many links", True, {LINKS: 9.0}),
    Case("some links", True, {LINKS: 5.0}),
    Case("no link", False, {LINKS: 0.0}),
    Case("no body", False, {LINKS: None}),
]


def broken(kind: type[Detector], cases: Sequence[Case] = CASES) -> dict[str, str]:
    """By rule that it breaks, what the findings say."""
    found: dict[str, str] = {}
    for finding in check_detector(kind, [LINKS], cases):
        found[finding.check] = found.get(finding.check, "") + str(finding)
    return found


def test_a_small_sound_detector_passes() -> None:
    assert broken(Links) == {}


class Raises(Links):
    def fit(self, training: TrainingSet, *, seed: int) -> None:
        raise ValueError("too few rows")


class Bare(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return self.raw(features)  # type: ignore[return-value]


class Single(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features).astype(np.float32))  # type: ignore[arg-type]


class Greedy(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(np.asarray(features.columns["content:other"]))


class Never(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features), self.raw(features) >= 0.0)


class Masked(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features), np.array([False]))


class Forgetful(Links):
    serial = 0

    def to_bytes(self) -> bytes:
        type(self).serial += 1
        return b"links-detector-%09d" % self.serial

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        if not data.startswith(b"links-detector-") or len(data) != 24:
            raise DataError("no links detector")
        return cls()


class Sheltered(Links):
    def fit(self, training: TrainingSet, *, seed: int) -> None:
        if training.outage.any():
            raise ValueError("a row of no message")


class Averaged(Links):
    mean = 0.0

    def fit(self, training: TrainingSet, *, seed: int) -> None:
        lost = self.raw(training.features)[training.outage]
        self.mean = np.nan if len(lost) else 0.0

    def raw(self, features: FeatureTable) -> NDArray[np.float64]:
        return super().raw(features) + self.mean


class Infinite(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(np.where(self.raw(features) == 5.0, np.inf, self.raw(features)))


class Shy(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features), self.raw(features) == 5.0)


class Unseeing(Links):
    def score(self, features: FeatureTable) -> RawScores:
        unseen = features.status("content") == CODES[Status.NEVER_SEEN]
        return RawScores(np.where(unseen, np.nan, self.raw(features)))


class Tongueless(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        if features.status("content")[row] == CODES[Status.DAMAGED]:
            raise KeyError("links")
        return super().explain(features, row, limit=limit)


class Scribbling(Links):
    def raw(self, features: FeatureTable) -> NDArray[np.float64]:
        column = features.columns[LINKS]
        column[np.isnan(column)] = 0.0
        return column


class Overwriting(Links):
    def fit(self, training: TrainingSet, *, seed: int) -> None:
        weight = training.weight
        weight /= weight.sum()


class Lonely(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features) * (1.0 + 1e-15 * (features.n == 1)))


class Pool(Links):
    def score(self, features: FeatureTable) -> RawScores:
        links = self.raw(features)
        return RawScores(links / (1.0 + links.sum()))


class Bulky(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features) + (features.n > 500))


class Ranked(Links):
    def score(self, features: FeatureTable) -> RawScores:
        links = self.raw(features)
        return RawScores(links + (features.n > 0 and bool(links[0] < links[-1])))


class Scaled(Links):
    def score(self, features: FeatureTable) -> RawScores:
        links = self.raw(features)
        return RawScores(links / np.max(links, initial=100.0))


class Positional(Links):
    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(np.nan_to_num(next(iter(features.columns.values()))))


class Drifting(Links):
    scale = 1.0

    def score(self, features: FeatureTable) -> RawScores:
        return RawScores(self.raw(features) * self.scale)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        found = super().from_bytes(data)
        found.scale = 2.0
        return found


class Gullible(Links):
    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls()


class Helpless(Links):
    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls() if data[-8:] == b"detector" else cls.from_bytes(data[1])  # type: ignore[arg-type]


class Pickled(Links):
    def to_bytes(self) -> bytes:
        return pickle.dumps({"links": 1})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        try:
            assert pickle.loads(data) == {"links": 1}
        except Exception as error:
            raise DataError("no links detector") from error
        return cls()


class Picky(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(name)


class Unpickled(Pickled):
    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        try:
            assert Picky(io.BytesIO(data)).load() == {"links": 1}
        except Exception as error:
            raise DataError("no links detector") from error
        return cls()


class Evaluated(Links):
    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        if data != b"links-detector":
            raise DataError("no links detector")
        return eval("cls()", {"cls": cls})  # type: ignore[no-any-return]


class Numbered(Links):
    def parameters(self) -> dict[str, Any]:
        return {"by count": {1: 2}}


class Arrayed(Links):
    def parameters(self) -> dict[str, Any]:
        return {"weights": np.zeros(2)}


class Talkative(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return [Signal("links", "Links.", 1.0, (LINKS,))] * 5


class Curt(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return [Signal("links", "links", 1.0, (LINKS,))]


class Upside(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return [Signal("few", "Few links.", 1.0, (LINKS,)), Signal("many", "Many links.", 2.0, (LINKS,))][:limit]


class Groundless(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return [replace(signal, features=()) for signal in super().explain(features, row, limit=limit)]


class Hearsay(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return [replace(signal, features=("content:words",)) for signal in super().explain(features, row, limit=limit)]


class Lacking(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return super().explain(features, row, limit=limit) or [Signal("none", "No links are known.", 0.1, (LINKS,))]


class Mute(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return []


class Absent(Links):
    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        return super().explain(features, 0 if row == 1 else row, limit=limit)


class Vague(Links):
    def categorise(self, features: FeatureTable) -> list[str] | None:
        return ["bad"] * features.n


class Undecided(Links):
    categories: ClassVar[tuple[str, ...]] = ("CP", "SP")


class Crowd(Undecided):
    def categorise(self, features: FeatureTable) -> list[str] | None:
        return ["SP" if features.n > 1 else "CP"] * features.n


class Short(Undecided):
    def categorise(self, features: FeatureTable) -> list[str] | None:
        return ["SP"]


class Spam(Undecided):
    def categorise(self, features: FeatureTable) -> list[str] | None:
        return ["SP"] * features.n


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


class Slow(Links):
    cpu_budget_us: ClassVar[int] = 1_000

    def score(self, features: FeatureTable) -> RawScores:
        burn(0.002)
        return super().score(features)


class Wordy(Links):
    cpu_budget_us: ClassVar[int] = 1_000

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        burn(0.002)
        return super().explain(features, row, limit=limit)


class Threaded(Links):
    def score(self, features: FeatureTable) -> RawScores:
        other = threading.Thread(target=burn, args=(0.002,))
        other.start()
        other.join()
        return super().score(features)


TEXT = "content:text"


class Reader(Links):
    """Costly, and reads each letter of its text."""

    features: ClassVar[tuple[str, ...]] = (LINKS, TEXT)
    stage: ClassVar[Stage] = "costly"
    cpu_budget_us: ClassVar[int] = 2_000
    read: ClassVar[int] = 10_000_000

    def score(self, features: FeatureTable) -> RawScores:
        for text in features.text(TEXT):
            assert sum(letter == "q" for letter in text[: self.read]) >= 0
        return super().score(features)


def test_a_costly_detector_keeps_to_its_budget_however_long_a_text_is() -> None:
    cases = [replace(case, features={**case.features, TEXT: "a text"}) for case in CASES]
    found = check_detector(Reader, [LINKS, TEXT], cases)
    assert [finding.check for finding in found] == ["bounded"] and "200,000 characters" in str(found[0])
    for changes in ({"read": 1_000}, {"stage": "cheap"}):
        # Made here, it cannot be asked elsewhere.
        kind = type("Other", (Reader,), {**changes, "__qualname__": "<other>"})
        assert check_detector(kind, [LINKS, TEXT], cases) == []


PHISHING = [replace(CASES[0], category="CP"), *CASES[1:]]


@pytest.mark.parametrize(
    ("check", "kind", "words"),
    [
        ("fit", Raises, "ValueError('too few rows')"),
        ("score_shape", Bare, "score gave ndarray; give RawScores"),
        ("score_shape", Single, "score gave float32 of shape (4,) for 4 rows; give float64 of (4,)"),
        ("score_shape", Greedy, "KeyError('content:other')"),
        ("abstention", Never, "abstains from every case that must fire"),
        ("abstention", Masked, "bool of shape (1,) for 4 rows"),
        ("fit_again", Forgetful, "two different detectors"),
        ("fit_outage", Sheltered, "a row of no message"),
        ("fit_outage", Averaged, "no finite score with nothing else"),
        ("score_finite", Infinite, "'some links' has no finite score"),
        ("verdicts", Shy, "'some links' must fire, but is abstained from"),
        ("nulls", Unseeing, "with content null and never_seen case 'many links' has no finite score"),
        ("nulls", Tongueless, "with content null and damaged it raised KeyError('links')"),
        ("inputs", Scribbling, "read-only"),
        ("inputs", Overwriting, "fit raised ValueError"),
        ("alone", Lonely, "9.00000000000001 alone and 9.0 among the cases"),
        ("alone", Pool, "'many links' says 0.9 alone"),
        ("batches", Bulky, "9.0 alone and 10.0 in a batch of 1024"),
        ("order", Ranked, "in another order"),
        ("beside", Scaled, "'many links' says 0.09 alone and 9e-12 beside other messages"),
        ("serving_table", Positional, "1000000.0 in serving's matrix"),
        ("to_bytes", Drifting, "read back scores differently"),
        ("foreign_bytes", Gullible, "was given b'' and read them; raise DataError"),
        ("foreign_bytes", Helpless, "IndexError"),
        ("no_code", Pickled, "from_bytes calls pickle.loads"),
        ("no_code", Unpickled, "from_bytes calls pickle.load"),
        ("no_code", Evaluated, "from_bytes calls builtins.eval"),
        ("parameters", Numbered, "not what JSON gives back"),
        ("parameters", Arrayed, "not plain JSON"),
        ("reasons", Talkative, "5 reasons for 'many links' where 1 were asked for"),
        ("reasons", Curt, "'links' is no sentence"),
        ("reasons", Upside, "the worst reason is not the first"),
        ("reasons_backed", Groundless, "links rests on no feature, for 'many links'"),
        ("reasons_backed", Hearsay, "links rests on content:words, which the detector does not read"),
        ("reasons_backed", Lacking, "none is a reason for 'no body', where nothing that it rests on is known"),
        ("reasons_given", Mute, "no reason for 'many links', which fires"),
        ("reasons_alone", Absent, "'some links' has other reasons alone"),
        ("categories", Vague, "names 'bad', which it does not declare"),
        ("categories", Undecided, "declares CP, SP and names none"),
        ("categories", Crowd, "'many links' is SP among others and ['CP'] alone"),
        ("categories", Short, "categorise gave ['SP'] for 4 rows"),
        ("categories_right", Spam, "'many links' is SP where it must be CP"),
        ("cost", Slow, "us of CPU where cpu_budget_us is 1,000"),
        ("cost", Wordy, "us of CPU where cpu_budget_us is 1,000"),
        ("threads", Threaded, "start no threads"),
    ],
)
def test_each_rule_catches_a_detector_that_breaks_it_alone(check: str, kind: type[Detector], words: str) -> None:
    found = broken(kind, PHISHING if check == "categories_right" else CASES)
    assert set(found) == {check}, found
    assert words in found[check] and found[check].startswith(f"links, {check}: ")


def test_every_rule_has_words_and_a_detector_that_breaks_it() -> None:
    marks = test_each_rule_catches_a_detector_that_breaks_it_alone.pytestmark  # type: ignore[attr-defined]
    caught = {check for check, _, _ in marks[0].args[1]}
    assert caught | {"definition", "known_features", "cases", "elsewhere", "bounded"} == set(CHECKS)
    assert all((check.__doc__ or "").strip().endswith((".", "code.")) for check in CHECKS.values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"owner": " "}, "it has no owner; name the team"),
        ({"name": "Links"}, "'Links' is not in lower_snake_case"),
        ({"description": ""}, "no description"),
        ({"features": ()}, "it names no features"),
        ({"features": "content:links"}, "it names no features"),
        ({"features": ("links",)}, "'links' is not written as view:feature"),
        ({"features": (LINKS, LINKS)}, "names a feature twice"),
        ({"version": 0}, "version 0"),
        ({"version": True}, "version True"),
        ({"stage": "dear"}, "stage 'dear' is none; choose one of cheap, costly"),
        ({"cpu_budget_us": 0}, "cpu_budget_us is 0"),
        ({"cpu_budget_us": 2.5}, "cpu_budget_us is 2.5"),
        ({"categories": ("XX",)}, "category 'XX' is none; choose of CP"),
        ({"categories": "CP"}, "its categories are 'CP'"),
        ({"categories": ("CP", "CP")}, "names a category twice"),
        ({"assets": ["0" * 64]}, "its assets are ['000"),
        ({"assets": ("abc",)}, "its assets are ('abc',)"),
        ({"absent": classmethod(lambda cls: None)}, "absent gave None"),
    ],
)
def test_what_a_detector_says_of_itself_is_checked(changes: dict[str, object], words: str) -> None:
    found = broken(type("Odd", (Links,), changes))
    assert set(found) == {"definition"} and words in found["definition"], found


def test_a_class_without_budget_and_methods_is_named() -> None:
    kind: Any = type("Bare", (Detector,), {"name": "bare", "owner": "o", "description": "d", "features": (LINKS,)})
    found = broken(kind)
    assert set(found) == {"definition"}
    assert "explain, fit, from_bytes, score, to_bytes" in found["definition"]
    assert "cpu_budget_us is None" in found["definition"]


@pytest.mark.parametrize(
    ("cases", "check", "words"),
    [
        (CASES[:1] + CASES[2:], "cases", "fewer than two cases must fire"),
        (CASES[:3], "cases", "fewer than two cases must stay silent"),
        ([*CASES, Case("odd", True, {"content:size": 1.0})], "cases", "'odd' gives content:size, which"),
        ([*CASES, Case("odd", True, {}, category="XX")], "cases", "'odd' has category 'XX'"),
        ([*CASES, Case("odd", True, {}, abstains=True)], "cases", "'odd' must fire and be abstained from"),
        ([*CASES, Case("odd", False, {}, status={"sender": "stale"})], "cases", "status of 'sender'"),
        ([*CASES, Case("odd", False, {}, status={"content": "gone"})], "cases", "status 'gone', which is none"),
        (
            [*CASES, Case("odd", False, {LINKS: 1.0}, status={"content": "unavailable"})],
            "cases",
            "'odd' gives content:links of an unavailable view",
        ),
        ([*CASES, Case("loud newsletter", False, {LINKS: 7.0})], "verdicts", "'some links' must fire"),
        ([*CASES, Case("none of its own", False, {}, abstains=True)], "verdicts", "must be abstained from, but"),
        ([replace(CASES[0], signals=("shouting",)), *CASES[1:]], "reasons_given", "no shouting for 'many links'"),
    ],
)
def test_wrong_cases_are_named(cases: Sequence[Case], check: str, words: str) -> None:
    found = broken(Links, cases)
    assert set(found) == {check} and words in found[check], found


class Quiet(Links):
    """Says nothing where the view is unavailable, or nothing is known."""

    def score(self, features: FeatureTable) -> RawScores:
        lost = features.status("content") == CODES[Status.UNAVAILABLE]
        return RawScores(np.where(lost, np.nan, self.raw(features)), lost | np.isnan(features.columns[LINKS]))


def test_a_case_says_why_it_is_null_and_that_it_is_abstained_from() -> None:
    cases = [
        *CASES[:3],
        Case("no body", False, {}, abstains=True),
        Case("an outage", False, {}, status={"content": "unavailable"}, abstains=True),
        Case("a campaign of one link", False, {LINKS: 1.0}),
    ]
    assert broken(Quiet, cases) == {}
    table = table_of((LINKS,), cases)
    assert table.status("content").tolist() == [0, 0, 0, 0, CODES[Status.UNAVAILABLE], 0]


_SOURCE = """
import time

import numpy as np

from mailwarden.domain.detection.detector import Detector, RawScores, Signal
from mailwarden.errors import DataError


class Elsewhere(Detector):
    name, owner, description = "elsewhere", "tests", "Counts links."
    features = ("content:links",)
    cpu_budget_us = 100_000

    def fit(self, training, *, seed):
        self.learned = {learned}

    def score(self, features):
        return RawScores(np.nan_to_num(features.columns["content:links"]) * {factor})

    def explain(self, features, row, *, limit=3):
        count = float(np.nan_to_num(features.columns["content:links"])[row])
        return [Signal("links", f"{{count:.0f}} links.", count, ("content:links",))][:limit] if count else []

    def to_bytes(self):
        return b"elsewhere " + self.learned

    @classmethod
    def from_bytes(cls, data):
        detector = cls()
        head, _, detector.learned = data.partition(b" ")
        if head != b"elsewhere" or not detector.learned.endswith(b"."):
            raise DataError("none")
        return detector
"""


@pytest.mark.parametrize(
    ("learned", "factor", "words"),
    [
        ("b'.'", "1", ""),
        ("' '.join({'pay', 'click', 'verify', 'now', 'bank', 'account'}).encode() + b'.'", "1", "gives other bytes"),
        ("b'.'", "int(time.time() / 86_400)", "'many links' says"),
        ("b'.'", "1 if 'PYTEST_VERSION' in __import__('os').environ else 1 / 0", "ZeroDivisionError"),
    ],
)
def test_chance_and_clock_are_found_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learned: str, factor: str, words: str
) -> None:
    (tmp_path / "detector_elsewhere.py").write_text(_SOURCE.format(learned=learned, factor=factor))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTEST_VERSION", "any")
    kind = importlib.import_module("detector_elsewhere").Elsewhere
    del sys.modules["detector_elsewhere"]
    found = broken(kind)
    assert set(found) == ({"elsewhere"} if words else set()) and words in "".join(found.values()), found


def test_the_readme_names_every_rule_and_its_cases_are_cases(tmp_path: Path) -> None:
    readme = (Path(mailwarden_detectors.__file__).parent.parent / "README.md").read_text()
    rules, _, _ = readme.partition("## Those that are there")
    rows = [line.split("|")[1] for line in rules.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(CHECKS)
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(line for line in readme.splitlines() if line.lstrip().startswith('{"case"')))
    cases = read_cases(path)
    assert len(cases) == 2 and {name for case in cases for name in case.features} <= set(KNOWN)


def test_what_cannot_be_tried_says_why() -> None:
    conformance = Conformance(Raises, [LINKS], CASES)
    assert conformance.barred("cost") == "fit" and conformance.findings("cost") == []
    assert conformance.barred("fit") == "" and len(conformance.findings("fit")) == 1
    assert Conformance(Pool, [LINKS], CASES).barred("order") == "alone"


def test_a_misspelt_feature_is_named_with_the_nearest_one() -> None:
    kinds = discover()
    misspelt: Any = type("Misspelt", (kinds["behaviour"],), {"features": ("sender_activity:recieved_7d",)})
    found = Conformance(misspelt, KNOWN).findings("known_features")
    assert any("reads 'sender_activity:recieved_7d'" in f.words and "Did you mean 'sender_" in f.words for f in found)
    linked: Any = type("Linked", (Links,), {"features": ("content:link",)})
    found = Conformance(linked, [LINKS], []).findings("known_features")
    assert len(found) == 1 and "'content:link'" in found[0].words and "'content:links'?" in found[0].words


def test_a_folder_without_cases_is_named() -> None:
    (finding,) = check_detector(Links, [LINKS])
    assert finding.check == "cases" and f"there is no {Path(__file__).with_name('cases.jsonl')}" in finding.words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Expecting"),
        ('{"case": "a", "fires": 1, "features": {}}', "fires is 1"),
        ('{"case": "a", "fires": true}', "features"),
        ('{"case": "a", "fires": true, "features": {}, "label": "CP"}', "label"),
        ('{"case": "a", "fires": true, "features": {}, "status": "stale"}', "status is 'stale'"),
        ('{"case": "a", "fires": true, "features": {}, "signals": "links"}', "signals is 'links'"),
        ("[1]", "must be a mapping"),
    ],
)
def test_a_line_that_is_no_case_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"case": "a", "fires": true, "features": {}, "signals": ["links"]}\n\n' + line)
    with pytest.raises(DataError, match="line 3 is no case") as caught:
        read_cases(path)
    assert words in str(caught.value)
    path.write_text(path.read_text().partition("\n")[0])
    assert read_cases(path) == [Case("a", True, {}, signals=("links",))]
