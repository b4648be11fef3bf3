"""A tenant's budget that is spent by category: within it in all, and nothing else where it is spent as it comes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import HELD_BACK, Combination, Fusion, Thresholds, thresholds_at
from mailwarden.domain.detection.tail import LEVEL, Belief, Tail
from mailwarden.domain.detection.tenant_budget import GoodNamed, TenantBudget, checked_by_category
from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.errors import DataError

TRAINED = (0.005, 0.001, 0.0002)
TAIL = Tail(at=-4.0, scale=0.8, spread=0.0, budgets=TRAINED)
NO_FUSION = Fusion({}, 0.0, {})
quick = settings(derandomize=True, deadline=None, database=None)
weights = st.lists(st.floats(0.005, 1.0), min_size=len(CATEGORIES), max_size=len(CATEGORIES))
totals = st.one_of(st.none(), st.floats(1e-5, 0.05))


def named_by(parts: list[float]) -> GoodNamed:
    return GoodNamed({code: part / sum(parts) for code, part in zip(CATEGORIES, parts, strict=True)}, TRAINED[1])


def combination(named: GoodNamed | None, tail: Tail = TAIL) -> Combination:
    own = thresholds_at(tail, Belief(0.0, 0.0))
    return Combination(NO_FUSION, own, tail, frozenset({"acme"}), named=named)


def passing(threshold: float) -> float:
    """Of good mail of a category in the tail, the share at or above a threshold."""
    return math.exp(-max(0.0, threshold - TAIL.at) / TAIL.scale)


@quick
@given(weights, totals, st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0.0, 1.0), min_size=1), st.floats(0, 1))
def test_good_mail_held_back_is_within_the_budget_in_all_and_in_each_category(
    parts: list[float], total: float | None, wanted: dict[str, float], spent: float
) -> None:
    named = named_by(parts)
    whole = TRAINED[1] if total is None else total
    scale = spent * whole / max(sum(wanted.values()), 1e-9)
    assume(all(share * scale < 1 for share in wanted.values()))
    asked = {code: share * scale for code, share in wanted.items()}
    budget, found = TenantBudget.of(total, asked), combination(named)
    held = {
        code: LEVEL * share * passing(found.thresholds_within("acme", budget, code).junk)
        for code, share in named.shares.items()
    }
    assert sum(held.values()) <= whole * (1 + 1e-6)
    for code, share in asked.items():
        assert held[code] <= share * (1 + 1e-6)


@quick
@given(weights, st.floats(1e-5, 0.05), st.sets(st.sampled_from(CATEGORIES)))
def test_budgets_as_good_mail_is_called_change_nothing(parts: list[float], whole: float, codes: set[str]) -> None:
    named = named_by(parts)
    for total, tail in ((whole, TAIL), (None, Tail(-4.0, 0.8, 0.0, (whole, whole, whole)))):
        known = GoodNamed(named.shares, whole)
        found = combination(known, tail)
        plain = found.thresholds_within("acme", TenantBudget(total))
        budget = TenantBudget.of(total, {code: whole * known.shares[code] for code in codes})
        for code in CATEGORIES:
            assert found.thresholds_within("acme", budget, code) == plain


def test_who_has_more_of_it_is_held_back_from_lower_log_odds_on() -> None:
    named = named_by([1.0] * len(CATEGORIES))
    found = combination(named)
    budget = TenantBudget.of(0.001, {"BE": 0.0004, "SP": 0.00001, "RC": 0.0})
    be, sp, other, rc = (found.thresholds_within("acme", budget, code) for code in ("BE", "SP", "CP", "RC"))
    plain = found.thresholds_within("acme", TenantBudget(0.001))
    assert be.junk < other.junk < plain.junk + 0.8 < sp.junk < rc.junk == math.inf
    # Quarantine and banner make way as they do for a budget of its own.
    assert be.quarantine == plain.quarantine and sp.quarantine == max(sp.junk, plain.quarantine)
    assert rc.verdict(1e9) == "banner"


def test_drawn_good_mail_is_held_back_within_its_budgets() -> None:
    draw = np.random.default_rng(8)
    named = named_by([9.0 if code == "SP" else 0.5 for code in CATEGORIES])
    n = 400_000
    codes = draw.choice(CATEGORIES, n, p=[named.shares[code] for code in CATEGORIES])
    logits = np.where(draw.random(n) < LEVEL, TAIL.at + draw.exponential(TAIL.scale, n), TAIL.at - 1.0)
    found, budget = combination(named), TenantBudget.of(0.002, {"BE": 0.0005, "VF": 0.0005, "SP": 0.0005})
    steps = {code: found.thresholds_within("acme", budget, code) for code in CATEGORIES}
    held = {code: np.mean([steps[code].verdict(x) in HELD_BACK for x in logits[codes == code]]) for code in CATEGORIES}
    shares = {code: float(held[code] * np.mean(codes == code)) for code in CATEGORIES}
    assert 0.0015 < sum(shares.values()) < 0.0021
    for code in ("BE", "VF", "SP"):
        assert 0.00025 < shares[code] < 0.0006


def test_where_nobody_knows_what_mail_is_called_the_whole_budget_counts() -> None:
    budget = TenantBudget.of(0.003, {"BE": 0.002})
    named = named_by([1.0] * len(CATEGORIES))
    plain = combination(None).thresholds_within("acme", TenantBudget(0.003))
    assert combination(None).thresholds_within("acme", budget, "BE") == plain
    assert combination(named).thresholds_within("acme", budget, None) == plain
    assert not combination(None).asks_category(budget) and combination(named).asks_category(budget)
    assert not combination(named).asks_category(TenantBudget(0.003))


def test_tenants_that_were_learned_from_have_what_their_own_mail_is_called() -> None:
    everybody, own = named_by([1.0] * len(CATEGORIES)), named_by([5.0, *[0.1] * (len(CATEGORIES) - 1)])
    low = Thresholds(1.0, 2.0, 3.0, ((0.001, 2.0), (0.003, 1.5)))
    both = Combination(
        NO_FUSION, low, named=everybody, own=Combination(NO_FUSION, low, learned=frozenset({"acme"}), named=own)
    )
    budget = TenantBudget.of(0.001, {"BE": 0.0001})
    assert both.thresholds_within("other", budget, "BE").junk == 2.0
    assert both.thresholds_within("acme", budget, "BE").junk == 1.5


def test_models_that_were_trained_with_less_give_each_category_less() -> None:
    named = GoodNamed(dict.fromkeys(CATEGORIES, 1 / len(CATEGORIES)), 0.0005)
    budget = TenantBudget.of(None, {"BE": 0.0006, "VF": 0.0004})
    n = len(CATEGORIES)
    assert budget.of_category("BE", named) == pytest.approx(0.0003 * n)
    assert budget.of_category("VF", named) == pytest.approx(0.0002 * n)
    assert budget.of_category("SP", named) == 0.0


@pytest.mark.parametrize(
    ("wrong", "whole", "words"),
    [
        ({"BE": 0.0006, "VF": 0.0005}, None, "add up to 0.0011, which is more than the 0.001"),
        ({"BE": 0.0003}, 0.0002, "more than the 0.0002 of good mail"),
        ({"XX": 0.0001}, None, "no category 'XX'; use CP, MW"),
        ({"BE": -0.1}, None, "budget of BE is -0.1"),
        ({"BE": True}, None, "budget of BE is True"),
        ({"BE": float("nan")}, None, "budget of BE is nan"),
        ({"BE": "0.1"}, None, "budget of BE is '0.1'"),
        ([("BE", 0.1)], None, "write shares by category"),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong: Any, whole: float | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        checked_by_category(wrong, whole)


def test_all_of_a_budget_may_be_given_away() -> None:
    given: Mapping[str, float] = {"VF": 0.0003, "BE": 0.0006, "CP": 0.0001, "SP": 0}
    assert list(checked_by_category(given, None).items()) == [("CP", 0.0001), ("BE", 0.0006), ("VF", 0.0003), ("SP", 0)]
