"""Tails of good mail, and what is believed of a site by a few of its messages."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import Combination, Fusion, Thresholds
from mailwarden.domain.detection.tail import BOUND, DEEPEST, LEAST, LEVEL, PULL, Belief, Middle, Sample, Tail

BUDGETS = (0.005, 0.001, 0.0002)
TAIL = Tail(at=-4.0, scale=0.8, spread=1.5, budgets=BUDGETS)


def _site(at: float, scale: float, n: int, draw: np.random.Generator) -> np.ndarray:
    """n log-odds of which the share LEVEL lies above `at`."""
    return np.where(draw.random(n) < LEVEL, at + draw.exponential(scale, n), at - draw.exponential(2.0, n))


def test_a_sample_finds_where_the_tail_begins() -> None:
    draw = np.random.default_rng(1)
    sample = Sample.of(_site(-3.0, 0.7, 200_000, draw))
    assert sample.n == 200_000
    assert sample.at == pytest.approx(-3.0, abs=0.05) and sample.scale == pytest.approx(0.7, abs=0.03)


def test_weights_count_as_copies_do() -> None:
    draw = np.random.default_rng(2)
    logits = _site(-3.0, 0.7, 500, draw)
    twice = Sample.of(np.concatenate([logits, logits]))
    weighed = Sample.of(logits, np.full(len(logits), 1.0))
    assert weighed.at == twice.at
    assert Sample.of(logits, np.zeros(len(logits))).n == 0.0


def test_few_messages_say_nothing() -> None:
    assert Sample.of(np.zeros(LEAST - 1)).n == 0.0
    assert TAIL.belief(Sample(0.0)) == TAIL.unseen


def test_the_false_positive_rate_over_sites_is_the_budget() -> None:
    """Of sites drawn as the tail says, judged by 60 messages each, good mail is held back as often as budgeted."""
    draw = np.random.default_rng(3)
    for n in (0, 60, 2_000):
        reached = []
        for _ in range(1_500):
            at = draw.normal(TAIL.at, TAIL.spread)
            own = TAIL.belief(Sample.of(_site(at, TAIL.scale, n, draw)) if n else Sample(0.0))
            threshold = TAIL.threshold(0.01, own)
            # The share above it is known, and need not be drawn.
            reached.append(LEVEL * math.exp(-max(0.0, threshold - at) / TAIL.scale))
        assert 0.003 < float(np.mean(reached)) < 0.02, n


@given(st.floats(-40, 40), st.integers(LEAST, 100_000), st.floats(0.05, 5))
def test_no_sample_moves_a_threshold_by_more_than_the_bound(at: float, n: int, scale: float) -> None:
    own = TAIL.belief(Sample(float(n), at, scale))
    assert -DEEPEST * TAIL.spread <= own.shift <= BOUND and 0.0 <= own.variance <= TAIL.spread**2


def test_a_warm_up_with_attacks_moves_a_threshold_by_a_bound() -> None:
    draw = np.random.default_rng(4)
    good, attacks = _site(-4.0, 0.8, 350, draw), draw.normal(6.0, 1.0, 150)
    clean, mixed = (TAIL.belief(Sample.of(mail)) for mail in (good, np.concatenate([good, attacks])))
    for budget in BUDGETS:
        assert TAIL.threshold(budget, mixed) - TAIL.threshold(budget, clean) <= BOUND + abs(clean.shift) + 0.1


def _evident(at: float, n: int, draw: np.random.Generator) -> np.ndarray:
    """n log-odds of which half lies above `at`."""
    return draw.normal(at, 1.2, n)


def test_attacks_among_what_counts_as_good_move_its_middle_little() -> None:
    draw = np.random.default_rng(5)
    good, attacks = _evident(-7.0, 350, draw), draw.normal(6.0, 1.0, 150)
    clean, mixed = (Middle.of(mail, np.ones(len(mail))) for mail in (good, np.concatenate([good, attacks])))
    assert clean.at == pytest.approx(-7.0, abs=0.3)
    assert clean.at < mixed.at <= float(np.quantile(good, 1.0 - 2.0 / 7.0)) + 0.05


def test_what_counts_little_moves_the_middle_little() -> None:
    draw = np.random.default_rng(6)
    one, other = _evident(-7.0, 300, draw), _evident(0.0, 300, draw)
    both, weights = np.concatenate([one, other]), np.repeat([1.0, 0.01], 300)
    assert Middle.of(both, weights).at == pytest.approx(Middle.of(one, np.ones(300)).at, abs=0.1)
    assert Middle.of(one, np.full(300, 0.05)).n == 0.0


def test_the_middle_of_what_is_good_on_other_evidence_keeps_to_the_budget() -> None:
    """Sites drawn as the tail says, by 60 messages each, of which the middle alone is known."""
    tail = replace(TAIL, middle_below=3.0, middle_spread=0.8)
    draw = np.random.default_rng(7)
    reached = []
    for _ in range(2_000):
        at = draw.normal(tail.at, tail.spread)
        mail = _evident(at - draw.normal(tail.middle_below, tail.middle_spread), 60, draw)
        threshold = tail.threshold(0.01, tail.belief(Middle.of(mail, np.ones(60))))
        reached.append(LEVEL * math.exp(-max(0.0, threshold - at) / tail.scale))
    assert 0.003 < float(np.mean(reached)) < 0.02


def test_the_interval_that_a_sample_supports_holds_the_share_that_passes() -> None:
    draw = np.random.default_rng(8)
    inside = []
    for _ in range(1_000):
        at = draw.normal(TAIL.at, TAIL.spread)
        own = TAIL.belief(Sample.of(_site(at, TAIL.scale, 100, draw)))
        threshold = TAIL.threshold(0.001, own)
        middle, low, high = TAIL.passing(threshold, own)
        assert 0.0 <= low <= middle <= high <= LEVEL
        inside.append(low <= LEVEL * math.exp(-max(0.0, threshold - at) / TAIL.scale) <= high)
    assert np.mean(inside) > 0.9
    # Who knows more says it more closely.
    few, many = (TAIL.belief(Sample(n, -4.0, 0.8)) for n in (50.0, 5_000.0))
    assert TAIL.passing(0.0, many)[2] < TAIL.passing(0.0, few)[2]


def test_a_site_far_from_all_others_is_not_taken_for_one_of_them() -> None:
    tail = replace(TAIL, middle_below=3.0, middle_spread=2.0)
    own = tail.belief(Middle(300.0, tail.at - 3.0 - 4.0, 0.0))
    assert own.shift == pytest.approx(-4.0 + PULL * 2.0)
    assert tail.belief(Middle(300.0, tail.at - 3.0 - 0.1, 0.0)).shift == pytest.approx(-0.1 * 1.5**2 / (1.5**2 + 4.0))


def test_sites_that_differ_make_who_is_not_known_wait() -> None:
    near = Tail.of([Sample(500.0, at, 0.8) for at in (-4.1, -4.0, -3.9, -4.0)], 1.0, BUDGETS)
    far = Tail.of([Sample(500.0, at, 0.8) for at in (-7.0, -4.0, -1.0, -4.0)], 1.0, BUDGETS)
    assert near is not None and far is not None
    assert near.spread == 0.5 and far.spread > 2.0
    assert far.threshold(0.001, far.unseen) > near.threshold(0.001, near.unseen) + 1.0
    assert Tail.of([Sample(0.0)], 1.0, BUDGETS) is None


def test_each_tenant_has_the_thresholds_of_what_is_believed_of_it() -> None:
    found = Thresholds(1.0, 2.0, 3.0, ((0.001, 2.0),))
    known = Combination(Fusion({}, 0.0, {}), found, TAIL, frozenset({"own"}), {"high": Belief(2.0, 0.01)})
    assert known.thresholds_of("own") == found
    assert Combination(Fusion({}, 0.0, {}), found).thresholds_of("anyone") == found
    high, new = known.thresholds_of("high"), known.thresholds_of("new")
    assert high.junk == pytest.approx(TAIL.at + 2.0 + 0.8 * math.log(LEVEL / 0.001) + 0.01 / 1.6)
    assert new.junk == TAIL.threshold(0.001, TAIL.unseen)
    assert new.banner < new.junk < new.quarantine
    capped = known.banner_at_most().thresholds_of("high")
    assert capped.banner == high.banner and capped.junk == math.inf
