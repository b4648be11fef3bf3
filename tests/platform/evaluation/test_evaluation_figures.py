from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.errors import DataError
from mailwarden.evaluation import figures as module
from mailwarden.evaluation.figures import (
    evaluate,
    lam_percent,
    one_minus_roca,
    recall_at,
    threshold_at,
    wilson,
    worst_by_message,
)


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_roca_equals_counting_pairs(rows: list[tuple[int, bool]]) -> None:
    score, bad = np.array([float(s) for s, _ in rows]), np.array([b for _, b in rows])
    if bad.all() or not bad.any():
        with pytest.raises(DataError):
            one_minus_roca(score, bad)
        return
    wrong = sum(1.0 if b < g else 0.5 if b == g else 0.0 for b in score[bad] for g in score[~bad])
    assert one_minus_roca(score, bad) == pytest.approx(100.0 * wrong / (bad.sum() * (~bad).sum()))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_threshold_keeps_the_budget_and_wastes_none(good: list[int], budget: float) -> None:
    scores = np.array(good, dtype=np.float64)
    threshold = threshold_at(scores, budget)
    allowed = math.floor(budget * len(scores) + 1e-9)
    assert (scores > threshold).sum() <= allowed
    lower = scores[scores < threshold]
    if len(lower):
        assert (scores > lower.max()).sum() > allowed


def test_recall_at_a_budget() -> None:
    good = np.arange(1000.0)
    found = recall_at(np.array([998.5, 997.0, 2000.0, 999.0]), good, 0.001)
    assert (found.caught, found.bad, found.false_positives) == (3, 4, 1)
    assert found.low < 0.75 == found.rate < found.high


def test_wilson_against_published_values() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_lam_is_the_logistic_mean_of_both_rates() -> None:
    bad = np.array([True] * 100 + [False] * 1000)
    score = np.concatenate([np.linspace(0.41, 1.4, 100), np.zeros(990), np.ones(10)])
    hm, sm = 0.01, float((score[:100] < 0.5).mean())
    expected = 1 / (1 + math.exp(-(math.log(hm / (1 - hm)) + math.log(sm / (1 - sm))) / 2))
    assert lam_percent(score, bad, 0.5) == pytest.approx(100 * expected)
    assert 0.0 < lam_percent(np.where(bad, 1.0, 0.0), bad, 0.5) < 1.0


def test_categories_are_each_judged_against_all_good_mail() -> None:
    labels = ["ham"] * 100 + ["CP"] * 2 + ["BE"] * 2
    score = np.concatenate([np.linspace(0, 1, 100), [2.0, 2.0], [0.5, 2.0]])
    found = evaluate(score, np.array([label != "ham" for label in labels]), labels, threshold=1.5)
    assert [found.by_category[code][0].rate for code in ("CP", "BE")] == [1.0, 0.5]
    assert found.recall[0].good == 100
    assert found.as_json()["by_category"]["BE"][0]["caught"] == 1


def test_a_set_of_one_class_has_no_area_but_recalls() -> None:
    found = evaluate(np.array([1.0, 2.0]), np.array([False, False]), ["ham", "ham"], threshold=0.0)
    assert found.roca is None
    assert found.lam is None
    assert found.recall[0].low == 0.0


def test_a_message_scores_as_its_worst_row() -> None:
    worst = worst_by_message(np.array([1, 0, 1, 2]), np.array([0.3, 0.1, -5.0, 0.2]), 3)
    assert worst.tolist() == [0.1, 0.3, 0.2]
