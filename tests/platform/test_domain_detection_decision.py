from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import (
    VERDICTS,
    Calibration,
    Fusion,
    TenantPolicy,
    Thresholds,
    Verdict,
    apply_policy,
    log_odds,
    sigmoid,
)

quick = settings(derandomize=True, deadline=None, database=None)
scores = st.floats(-60, 60)
levels = st.lists(st.floats(-60, allow_infinity=True), min_size=3, max_size=3).map(sorted)


@quick
@given(levels, scores, scores)
def test_a_worse_score_never_gets_a_milder_action(bounds: list[float], one: float, other: float) -> None:
    thresholds = Thresholds(*bounds)
    mild, worse = sorted((one, other))
    assert VERDICTS.index(thresholds.verdict(mild)) <= VERDICTS.index(thresholds.verdict(worse))


def test_a_threshold_is_reached_at_its_log_odds_and_an_infinite_one_never() -> None:
    thresholds = Thresholds(0.2, 0.5, 0.9)
    assert [thresholds.verdict(s) for s in (0.0, 0.2, 0.5, 0.9)] == list(VERDICTS)
    assert thresholds.verdict(np.nextafter(0.2, 0)) == "deliver"
    assert Thresholds(math.inf, math.inf, math.inf).verdict(1e9) == "deliver"


def test_a_tenant_has_junk_at_its_own_budget_and_the_other_actions_make_way() -> None:
    table = ((0.0001, math.inf), (0.001, 9.0), (0.01, 5.0), (0.1, 1.0))
    trained = Thresholds(3.0, 7.0, 8.0, table)
    assert trained.within(None) == trained
    own = {budget: trained.within(budget) for budget in (0.5, 0.02, 0.01, 0.002, 0.0001, 0.00001)}
    assert {budget: (t.banner, t.junk, t.quarantine) for budget, t in own.items()} == {
        0.5: (1.0, 1.0, 8.0),
        0.02: (3.0, 5.0, 8.0),
        0.01: (3.0, 5.0, 8.0),
        0.002: (3.0, 9.0, 9.0),
        0.0001: (3.0, math.inf, math.inf),
        0.00001: (3.0, math.inf, math.inf),
    }


def policy(verdict: Verdict, allow: set[str], block: set[str], *, authenticated: bool) -> tuple[Verdict, str | None]:
    decided, signal = apply_policy(
        verdict,
        TenantPolicy(frozenset(allow), frozenset(block)),
        sender="ceo@partner.test",
        sender_domain="partner.test",
        authenticated=authenticated,
    )
    return decided, signal.name if signal else None


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("name", ["ceo@partner.test", "partner.test"])
def test_the_allow_list_opens_to_authenticated_senders_alone(verdict: Verdict, name: str) -> None:
    assert policy(verdict, {name}, set(), authenticated=True) == ("deliver", "allowed_sender")
    assert policy(verdict, {name}, set(), authenticated=False) == (verdict, None)


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("authenticated", [True, False])
@pytest.mark.parametrize(
    ("allow", "block"),
    [
        (set(), {"ceo@partner.test"}),
        (set(), {"partner.test"}),
        ({"ceo@partner.test"}, {"partner.test"}),
        ({"partner.test"}, {"ceo@partner.test"}),
        ({"partner.test"}, {"partner.test"}),
    ],
)
def test_the_block_list_wins(verdict: Verdict, authenticated: bool, allow: set[str], block: set[str]) -> None:
    assert policy(verdict, allow, block, authenticated=authenticated) == ("quarantine", "blocked_sender")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_senders_on_no_list_are_left_to_the_models(verdict: Verdict) -> None:
    listed = {"ceo@else.test", "else.test", "artner.test", "o@partner.test"}
    assert policy(verdict, listed, listed, authenticated=True) == (verdict, None)


def test_a_message_without_a_sender_is_on_no_list() -> None:
    found = apply_policy(
        "junk", TenantPolicy(frozenset({""}), frozenset({""})), sender="", sender_domain="", authenticated=True
    )
    assert found == ("junk", None)


def test_the_signal_of_a_list_names_what_was_listed() -> None:
    lists = TenantPolicy(frozenset({"partner.test"}), frozenset({"bad.test"}))
    _, allowed = apply_policy("junk", lists, sender="a@partner.test", sender_domain="partner.test", authenticated=True)
    _, blocked = apply_policy("junk", lists, sender="a@bad.test", sender_domain="bad.test", authenticated=True)
    assert allowed is not None and "partner.test is on your allow list" in allowed.words
    assert blocked is not None and "bad.test is on your block list" in blocked.words


def test_log_odds_and_sigmoid_are_inverse_and_finite_at_the_ends() -> None:
    probability = np.linspace(0.001, 0.999, 50)
    assert np.allclose(sigmoid(log_odds(probability)), probability, rtol=1e-12)
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    with np.errstate(over="raise"):
        assert sigmoid(np.array([-1e9, 0.0, 1e9])).tolist() == [0.0, 0.5, 1.0]


def test_fusion_adds_weighted_calibrated_log_odds() -> None:
    fusion = Fusion(
        {"a": 2.0, "b": 0.5}, -1.0, {"a": Calibration(1.0, 0.0), "b": Calibration(4.0, -2.0), "c": Calibration(1, 1)}
    )
    raw = {"a": np.array([0.0, 1.0, -1.0]), "b": np.array([0.5, 0.5, 1.0])}
    assert fusion.logit(raw).tolist() == [-1.0, 1.0, -2.0]
    assert fusion.logit(raw).shape == (3,)
    assert fusion.logit({name: score[:1] for name, score in raw.items()}).tolist() == [-1.0]


def test_a_detector_that_abstains_adds_nothing_and_one_that_speaks_its_offset() -> None:
    calibrations = {"a": Calibration(1.0, 0.0), "b": Calibration(1.0, 0.0)}
    fusion = Fusion({"a": 1.0, "b": 2.0}, -1.0, calibrations, {"b": 0.5})
    raw = {"a": np.array([1.0, 1.0]), "b": np.array([3.0, np.nan])}
    silent = {"b": np.array([False, True])}
    assert fusion.logit(raw, silent).tolist() == [-1.0 + 1.0 + 6.0 + 0.5, 0.0]
    assert fusion.leaving_out({"b"}).logit({"a": raw["a"]}, silent).tolist() == [0.0, 0.0]


@quick
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20), st.floats(0.01, 5), st.floats(0.01, 5))
def test_a_worse_detector_score_never_lowers_the_fused_one(raw: list[float], weight: float, slope: float) -> None:
    fusion = Fusion({"a": weight}, 0.3, {"a": Calibration(slope, -0.2)})
    fused = sigmoid(fusion.logit({"a": np.sort(np.array(raw))}))
    assert (np.diff(fused) >= 0).all()
    assert ((fused >= 0) & (fused <= 1)).all()
