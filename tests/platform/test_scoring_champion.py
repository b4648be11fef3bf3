"""The champion: the worst recipient decides, a broken detector does not, and withheld views stay unseen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds, sigmoid
from mailwarden.domain.detection.detector import RawScores, Signal
from mailwarden.domain.detection.naming import Naming, Voice
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.scoring.categorising import Caller
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.reasons import reasons, strongest


@dataclass
class Told:
    """A detector that says what it is told to, and remembers what it was shown."""

    features: tuple[str, ...]
    scores: Any = 0.0
    signals: Sequence[Signal] = ()
    category: str | None = None
    shown: list[FeatureTable] = field(default_factory=list)

    def score(self, features: FeatureTable) -> RawScores:
        self.shown.append(features)
        if isinstance(self.scores, str):
            return RawScores(np.asarray(features.columns[self.scores], dtype=np.float64))
        return RawScores(np.full(features.n, self.scores, dtype=np.float64))

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Signal]:
        self.shown.append(features)
        return list(self.signals)[:limit]

    def categorise(self, features: FeatureTable) -> list[str] | None:
        self.shown.append(features)
        return None if self.category is None else [self.category] * features.n


def champion(detectors: dict[str, Any], *, categoriser: str = "", withheld: frozenset[str] = frozenset(),
             slopes: dict[str, float] | None = None) -> Champion:  # fmt: skip
    slopes = slopes or {}
    calibrations = {name: Calibration(slopes.get(name, 1.0), -0.5) for name in detectors}
    return Champion(
        version=3,
        detectors=detectors,
        detector_versions={name: 1 for name in detectors},
        whole=Combination(Fusion({name: 1.0 for name in detectors}, 0.25, calibrations), Thresholds(0.5, 0.8, 0.9)),
        content_views=frozenset({"content_text"}),
        categoriser=categoriser,
        withheld=withheld,
    )


def table(**columns: Sequence[Any]) -> FeatureTable:
    made = {
        name.replace("__", ":"): np.array(values, dtype=object if isinstance(values[0], str) else np.float64)
        for name, values in columns.items()
    }
    return FeatureTable(made, len(next(iter(columns.values()))))


THREE = {"content_text__words": ["a", "a", "a"], "relationship__score": [-2.0, 3.0, 1.0]}


def test_the_worst_recipient_decides() -> None:
    text = Told(("content_text:words",), 1.0)
    behaviour = Told(("relationship:score",), "relationship:score")
    scores = champion({"text": text, "behaviour": behaviour}).score(table(**THREE)).of()
    assert scores.worst == 1
    assert scores.logit == pytest.approx(0.25 + (1.0 - 0.5) + (3.0 - 0.5))
    assert scores.probability == pytest.approx(1 / (1 + math.exp(-3.25)))
    assert scores.detectors == {
        "text": pytest.approx(float(sigmoid(np.float64(0.5)))),  # type: ignore[arg-type]
        "behaviour": pytest.approx(float(sigmoid(np.float64(2.5)))),  # type: ignore[arg-type]
    }
    assert scores.broken == ()


def test_a_detector_of_content_alone_runs_once_for_all_recipients() -> None:
    text = Told(("content_text:words",), 1.0)
    behaviour = Told(("content_text:words", "relationship:score"), "relationship:score")
    served = champion({"text": text, "behaviour": behaviour})
    served.score(table(**THREE))
    assert [shown.n for shown in text.shown] == [1]
    assert [shown.n for shown in behaviour.shown] == [3]


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_a_detector_without_a_finite_score_says_nothing_and_is_named(nonsense: float) -> None:
    broken, text = Told(("relationship:score",), nonsense), Told(("content_text:words",), 2.0)
    served = champion({"broken": broken, "text": text}, slopes={"broken": 4.0})
    scores = served.score(table(**THREE)).of()
    assert scores.broken == ("broken",)
    assert set(scores.detectors) == {"text"}
    assert scores.logit == pytest.approx(0.25 + 0.0 + 1.5)


def test_a_broken_detector_that_was_never_trusted_does_no_harm() -> None:
    served = champion({"broken": Told(("relationship:score",), math.nan)}, slopes={"broken": 0.0})
    scores = served.score(table(**THREE)).of()
    assert math.isfinite(scores.logit) and 0.0 <= scores.probability <= 1.0


def test_a_withheld_view_is_seen_by_nobody() -> None:
    told = Told(("relationship:score",), 1.0, [Signal("s", "because", 1.0)], "CP")
    other = Told(("sender_activity:score",), 1.0)
    served = champion({"told": told, "other": other}, categoriser="told",
                      withheld=frozenset({"relationship", "content_text"}))  # fmt: skip
    features = table(**THREE, sender_activity__score=[1.0, 2.0, 3.0])
    scores = served.score(features).of()
    reasons(served, features, scores)
    Caller(served, features).category(scores)
    for shown in told.shown:
        assert np.isnan(shown.columns["relationship:score"]).all()
        # Text is null as text, as it was in training.
        assert shown.text("content_text:words") == [""] * shown.n
    assert len(told.shown) == 3
    assert other.shown[0].columns["sender_activity:score"].tolist() == [1.0, 2.0, 3.0]
    assert features.columns["relationship:score"].tolist() == THREE["relationship__score"]


def test_reasons_are_of_the_worst_row_weighted_as_the_fusion_trusts_strongest_first() -> None:
    weak = Told(("relationship:score",), "relationship:score", [Signal("a", "first", 2.0), Signal("b", "second", -1.0)])
    strong = Told(("content_text:words",), 0.0, [Signal("c", "third", 1.0), Signal("a", "again", 1.5)])
    served = champion({"weak": weak, "strong": strong}, slopes={"weak": 1.0, "strong": 4.0})
    features = table(**THREE)
    scores = served.score(features).of()
    weak.shown.clear()
    found = reasons(served, features, scores)
    assert [(s.name, s.words, s.weight) for s in found] == [("a", "again", 6.0), ("c", "third", 4.0)]
    assert weak.shown[0].columns["relationship:score"].tolist() == [3.0]
    assert len(reasons(served, features, scores, limit=1)) == 1


def test_the_category_is_the_categorisers_and_spam_where_it_has_none() -> None:
    features = table(**THREE)
    one, two = Told(("relationship:score",), category="BE"), Told(("relationship:score",))
    for name, expected in (("one", "BE"), ("two", "SP"), ("", "SP"), ("gone", "SP")):
        served = champion({"one": one, "two": two}, categoriser=name)
        assert Caller(served, features).category(served.score(features).of()) == expected


def test_all_that_spoke_name_the_category_together_and_one_that_fails_does_not() -> None:
    features = table(**THREE)

    def named(naming: Naming, **detectors: Told) -> str:
        served = replace(champion(dict(detectors), categoriser="one"), naming=naming)
        return Caller(served, features).category(served.score(features).of())

    one, two = (Told(("relationship:score",), "relationship:score", category=code) for code in ("BE", "CP"))
    unsure = Told(("relationship:score",), -3.0, category="MW")
    equal = Naming(dict.fromkeys(("one", "two", "unsure"), Voice(1.0, 0.5)))
    louder = Naming({**equal.voices, "two": Voice(1.5, 0.5)})
    assert named(equal, one=one, unsure=unsure) == "BE"
    assert named(louder, one=one, two=two, unsure=unsure) == "CP"
    # Two that are unsure of theirs are not heard above one that is sure.
    assert named(equal, one=one, unsure=unsure, two=replace(unsure, category="MW")) == "BE"
    broken = replace(two)
    broken.categorise = Mock(side_effect=ZeroDivisionError)  # type: ignore[method-assign]
    assert named(louder, one=one, two=broken) == "BE"
    assert named(Naming({}), one=one) == "SP"


def test_each_verdict_without_a_detector_is_that_of_the_fusion_fitted_without_it() -> None:
    one, two = Told(("relationship:score",), "relationship:score"), Told(("content_text:words",), 1.0)
    served = champion({"one": one, "two": two})
    low = Thresholds(-9.0, -8.0, 9.0)
    calibrations = served.whole.fusion.calibrations
    without = {
        "one": Combination(Fusion({"two": 1.0}, 0.0, calibrations), served.whole.thresholds),
        "two": Combination(Fusion({"one": 2.0}, 0.0, calibrations), low),
    }
    served = replace(served, without=without)
    batch = served.score(table(**THREE))
    wanted = {name: scores.verdict("acme") for name, scores in served.without_each(batch).items()}
    assert served.held_without_each(batch, "acme") == wanted == {"one": "banner", "two": "junk"}
    for _ in range(2):
        aside = {name: served.setting_aside(batch, (name,)) for name in without}
        assert [aside[name].logit for name in ("one", "two")] == [0.5, 5.0]
        assert aside["one"].away == {"one"} and set(aside["one"].detectors) == {"two"}
    none = served.setting_aside(batch, ("one", "two"))
    assert none.logit == served.whole.fusion.intercept and not none.enough and not none.detectors


def test_each_reason_is_given_once_at_its_strongest() -> None:
    signals = [Signal("a", "x", 1.0), Signal("a", "y", 2.0), Signal("b", "z", 2.0), Signal("c", "w", 0.0)]
    assert [(s.name, s.words) for s in strongest(signals, 5)] == [("a", "y"), ("b", "z")]
    assert [s.name for s in strongest(signals, 1)] == ["a"]
