from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mailwarden.domain.detection.decision import sigmoid
from mailwarden.errors import DataError
from mailwarden.training.calibrate import fuse, platt


def test_platt_finds_the_sigmoid_that_drew_the_labels() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(100.0, 20.0, 20_000)
    bad = rng.random(20_000) < sigmoid(0.1 * score - 11.0)
    found = platt(score, bad, np.ones(20_000))
    assert found.slope == pytest.approx(0.1, rel=0.05)
    assert found.intercept == pytest.approx(-11.0, rel=0.05)


def test_platt_stays_finite_where_the_classes_do_not_overlap() -> None:
    score = np.concatenate([np.full(50, -1000.0), np.full(10, 1000.0)])
    found = platt(score, score > 0, np.ones(60))
    bad, good = sigmoid(found.logit(np.array([1000.0, -1000.0])))
    assert bad == pytest.approx(11 / 12, abs=1e-3)
    assert good == pytest.approx(1 / 52, abs=1e-3)


def test_platt_never_turns_a_score_round() -> None:
    score = np.linspace(-1, 1, 100)
    assert platt(score, score < 0, np.ones(100)).slope == 0.0


def test_a_constant_score_says_the_base_rate() -> None:
    found = platt(np.zeros(40), np.arange(40) < 10, np.ones(40))
    assert sigmoid(found.logit(np.zeros(1)))[0] == pytest.approx(0.25)


def test_weights_count_as_copies() -> None:
    rng = np.random.default_rng(1)
    score = rng.normal(size=60)
    bad = rng.random(60) < sigmoid(score)
    copies = np.repeat(np.arange(60), 3)
    weighted = platt(score, bad, np.full(60, 3.0))
    copied = platt(score[copies], bad[copies], np.ones(180))
    assert weighted.slope == pytest.approx(copied.slope, rel=1e-6)


def test_fusion_weighs_by_evidence_and_ignores_noise() -> None:
    rng = np.random.default_rng(2)
    n = 20_000
    bad = rng.random(n) < 0.3
    strong, weak = rng.normal(3.0 * bad, 1.0), rng.normal(1.0 * bad, 1.0)
    scores = {"strong": 5 * strong, "weak": weak - 7, "noise": rng.normal(size=n), "contrary": -strong}
    fusion = fuse(scores, bad, np.ones(n))
    # Both are Gaussian with equal variance, so that the right fusion adds their log-odds.
    assert fusion.weights["strong"] == pytest.approx(1.0, abs=0.1)
    assert fusion.weights["weak"] == pytest.approx(1.0, abs=0.1)
    assert fusion.weights["contrary"] == pytest.approx(0.0, abs=1.0)
    assert all(weight >= 0.0 for weight in fusion.weights.values())
    assert fusion.calibrations["noise"].slope == pytest.approx(0.0, abs=0.05)
    reference = LogisticRegression(C=np.inf).fit(np.column_stack([strong, weak]), bad)
    expected = reference.decision_function(np.column_stack([strong, weak]))
    assert np.corrcoef(fusion.logit(scores), expected)[0, 1] > 0.9999
    assert np.mean(sigmoid(fusion.logit(scores))) == pytest.approx(bad.mean(), abs=0.001)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="bad and good"):
        fuse({"a": np.zeros(5)}, np.zeros(5, dtype=bool), np.ones(5))
