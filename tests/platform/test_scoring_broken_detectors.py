"""A detector that fails in any way costs neither the decision nor the reasons of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds
from mailwarden.domain.detection.detector import RawScores, Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import TenantBudget
from mailwarden.scoring.categorising import Caller
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.reasons import reasons

TABLE = FeatureTable({"relationship:score": np.array([1.0, 2.0])}, 2)


class Sound:
    features = ("relationship:score",)

    def score(self, features: FeatureTable) -> Any:
        return RawScores(features.columns["relationship:score"])

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Any]:
        return [Signal("sound", "because", 1.0)]

    def categorise(self, features: FeatureTable) -> list[str] | None:
        return ["BE"] * features.n


class Failing(Sound):
    def __init__(self, score: Callable[[FeatureTable], Any]) -> None:
        self._score = score

    def score(self, features: FeatureTable) -> Any:
        return self._score(features)

    def explain(self, features: FeatureTable, row: int, *, limit: int = 3) -> list[Any]:
        raise KeyError("no such word as secret@acme.example")

    def categorise(self, features: FeatureTable) -> list[str] | None:
        raise RuntimeError("no category")


def _raise(features: FeatureTable) -> Any:
    raise ValueError("the model met secret@acme.example")


WITHOUT = Combination(Fusion({"sound": 3.0}, -1.0, {"sound": Calibration(1.0, 0.0)}), Thresholds(3.0, 4.0, 5.0))


def champion(
    failing: Failing,
    categoriser: str = "",
    without: Mapping[str, Combination] | None = None,
    away: Mapping[str, str] | None = None,
) -> Champion:
    return Champion(
        version=1,
        detectors={"failing": failing, "sound": Sound()},  # type: ignore[dict-item]
        detector_versions={"failing": 1, "sound": 1},
        whole=Combination(
            Fusion(
                {"failing": 1.0, "sound": 1.0}, 0.5, {"failing": Calibration(2.0, -3.0), "sound": Calibration(1.0, 0.0)}
            ),
            Thresholds(0.0, 1.0, 2.0),
        ),
        content_views=frozenset({"content_text"}),
        categoriser=categoriser,
        without=without or {},
        away=away or {},
    )


@pytest.mark.parametrize(
    "score",
    [_raise, lambda f: RawScores(np.full(f.n + 1, 1.0)), lambda f: RawScores(3.0), lambda f: ["many"] * f.n,
     lambda f: None, lambda f: np.full(f.n, 1.0), lambda f: RawScores(np.full(f.n, math.nan)),
     lambda f: RawScores(np.full(f.n, 1.0), np.zeros(f.n + 1, bool))],
)  # fmt: skip
def test_a_detector_that_fails_is_away_and_named(score: Callable[[FeatureTable], Any]) -> None:
    scores = champion(Failing(score)).score(TABLE).of()
    assert scores.broken == ("failing",)
    # What it might have said is served nowhere.
    assert set(scores.detectors) == {"sound"}
    assert (scores.worst, scores.logit) == (1, pytest.approx(2.5))


@pytest.mark.parametrize(("value", "verdict"), [(1.2, "deliver"), (1.4, "banner"), (1.7, "junk"), (2.5, "quarantine")])
def test_with_one_away_the_fusion_without_it_counts_with_its_thresholds(value: float, verdict: str) -> None:
    served = champion(Failing(_raise), without={"failing": WITHOUT})
    scores = served.score(FeatureTable({"relationship:score": np.array([value])}, 1)).of()
    assert (scores.logit, scores.enough) == (pytest.approx(3.0 * value - 1.0), True)
    assert scores.verdict("acme") == verdict
    # Reasons are weighted as that fusion trusts.
    assert [signal.weight for signal in reasons(served, TABLE, scores)] == [3.0]


@pytest.mark.parametrize("without", [{}, {"sound": WITHOUT}])
def test_with_none_that_fits_nothing_stronger_than_a_banner_is_given(without: dict[str, Combination]) -> None:
    scores = (
        champion(Failing(_raise), without=without)
        .score(FeatureTable({"relationship:score": np.array([1_000.0])}, 1))
        .of()
    )
    assert not scores.enough
    assert [scores.verdict("acme", TenantBudget(share)) for share in (None, 0.00001, 0.01, 0.5)] == ["banner"] * 4


def test_with_two_away_the_fusion_of_the_rest_gives_no_more_than_a_banner() -> None:
    without = {"failing": WITHOUT, "third": WITHOUT, "failing+third": WITHOUT}
    served = champion(Failing(_raise), without=without, away={"third": "its folder is gone"})
    for value, verdict in ((1.0, "deliver"), (1.4, "banner"), (100.0, "banner")):
        scores = served.score(FeatureTable({"relationship:score": np.array([value])}, 1)).of()
        assert (scores.logit, scores.enough, scores.broken) == (pytest.approx(3.0 * value - 1.0), False, ("failing",))
        assert scores.verdict("acme") == scores.verdict("acme", TenantBudget(0.3)) == verdict


def test_what_comes_of_a_message_without_a_detector_is_as_if_it_were_away() -> None:
    served = champion(Failing(lambda table: RawScores(np.full(table.n, 50.0))), without={"failing": WITHOUT})
    batch = served.score(TABLE)
    others = served.without_each(batch)
    away = champion(Failing(_raise), without={"failing": WITHOUT}).score(TABLE).of()
    # Without the other one nobody fitted a fusion.
    assert set(others) == {"failing"}
    one = others["failing"]
    assert (one.logit, one.worst, one.enough, dict(one.detectors)) == (away.logit, away.worst, True, away.detectors)
    assert one.combination == away.combination and batch.of().logit > one.logit + 50.0
    none = served.setting_aside(batch, ("failing", "sound"))
    assert not none.enough and none.verdict("acme") in ("deliver", "banner")


def test_with_all_away_there_is_a_score_and_no_reason() -> None:
    served = replace(champion(Failing(_raise)), detectors={}, away={"failing": "gone", "sound": "gone"})
    scores = served.score(TABLE).of()
    assert (scores.logit, scores.worst, dict(scores.detectors)) == (0.5, 0, {})
    assert scores.verdict("acme") == "banner" and reasons(served, TABLE, scores) == []
    assert Caller(served, TABLE).category(scores) == "SP"


def test_one_that_fails_to_explain_or_to_categorise_leaves_the_others_theirs() -> None:
    served = champion(Failing(lambda f: RawScores(np.full(f.n, 1.0))), categoriser="failing")
    scores = served.score(TABLE).of()
    assert scores.broken == ()
    assert [signal.name for signal in reasons(served, TABLE, scores)] == ["sound"]
    assert Caller(served, TABLE).category(scores) == "SP"


def test_failures_are_told_with_the_detectors_name_now_and_then_and_quote_no_mail() -> None:
    served = champion(Failing(_raise))
    with capture_logs() as told:
        for _ in range(100):
            served.score(TABLE)
    assert [line["times"] for line in told] == [1, 2, 4, 8, 16, 32, 64]
    assert all(line["detector"] == "failing" and line["error"] == "ValueError" for line in told)
    assert __file__ in told[0]["at"] and "secret" not in str(told)
