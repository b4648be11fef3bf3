from __future__ import annotations

import numpy as np
import pytest

from mailwarden.errors import ConfigError, DataError
from mailwarden.training.split import split_by_time
from mailwarden.training.thresholds import NEVER, TENANT_BUDGETS, Budgets, choose_thresholds, shares_reached


def test_budgets_hold_on_fresh_mail_on_average() -> None:
    rng = np.random.default_rng(0)
    budgets = Budgets(banner=0.05, junk=0.01, quarantine=0.005)
    reached = []
    for _ in range(400):
        chosen = choose_thresholds(rng.normal(size=300), budgets)
        reached.append(shares_reached(rng.normal(size=2000), chosen.thresholds))
    banner, junk, quarantine = np.mean(reached, axis=0)
    assert 0.03 < banner <= 0.052
    assert 0.005 < junk <= 0.011
    assert quarantine <= junk


def test_the_guaranteed_threshold_lies_just_above_the_score_that_n_supports() -> None:
    logits = np.linspace(-5, 2, 1999)
    chosen = choose_thresholds(logits, Budgets(banner=0.005, junk=0.001, quarantine=0.0005))
    assert [(logits >= t).sum() for t in (chosen.thresholds.banner, chosen.thresholds.junk)] == [9, 1]
    assert (logits >= chosen.thresholds.quarantine).sum() == 0
    assert "1 of them" in chosen.words[1]


def test_what_n_cannot_support_is_extrapolated_above_every_good_score_and_said() -> None:
    share = (np.arange(400) + 0.5) / 400
    logits = np.log(share / (1 - share))
    chosen = choose_thresholds(logits, Budgets(banner=0.01, junk=0.001, quarantine=0.0001))
    assert chosen.thresholds.junk > logits.max()
    assert chosen.thresholds.quarantine > chosen.thresholds.junk
    assert "extrapolated, since there are 400 good held-out messages of the 999" in chosen.words[1]
    # A logistic tail falls as the fitted one does, so that the truth lies near.
    assert np.log(1 / 0.001 - 1) == pytest.approx(chosen.thresholds.junk, abs=0.2)


def test_too_few_good_messages_take_no_action() -> None:
    chosen = choose_thresholds(np.zeros(10), Budgets())
    assert chosen.thresholds.banner == chosen.thresholds.quarantine == NEVER
    assert "never, since there are 10" in chosen.words[0]
    assert choose_thresholds(np.empty(0), Budgets()).thresholds.junk == NEVER


def test_thresholds_rise_with_the_action() -> None:
    for n in (25, 150, 900, 4000):
        t = choose_thresholds(np.random.default_rng(n).normal(size=n), Budgets()).thresholds
        assert t.banner <= t.junk <= t.quarantine


def test_scores_near_certainty_still_have_a_threshold_above_that_worse_mail_reaches() -> None:
    chosen = choose_thresholds(np.full(5000, 60.0), Budgets())
    assert shares_reached(np.full(5000, 60.0), chosen.thresholds) == (0.0, 0.0, 0.0)
    # As probabilities 60 and 61 are the same, and one good message there would end the action for good.
    assert chosen.thresholds.verdict(61.0) == "quarantine"


def test_a_tenants_own_budget_holds_on_fresh_mail_on_average() -> None:
    rng = np.random.default_rng(1)
    held = []
    for _ in range(300):
        own = choose_thresholds(rng.normal(size=400), Budgets()).thresholds.within(0.02)
        fresh = rng.normal(size=2000)
        held.append(np.mean([own.verdict(logit) in ("junk", "quarantine") for logit in fresh]))
    assert 0.012 < np.mean(held) <= 0.021


def test_the_table_of_a_tenants_budgets_falls_as_they_rise() -> None:
    for n in (10, 25, 150, 900, 4000):
        table = choose_thresholds(np.random.default_rng(n).normal(size=n), Budgets()).thresholds.held_back
        assert [budget for budget, _ in table] == list(TENANT_BUDGETS)
        logits = [logit for _, logit in table]
        assert logits == sorted(logits, reverse=True)
    assert {0.0001, 0.001, 0.01} <= set(TENANT_BUDGETS)


@pytest.mark.parametrize("wrong", [(0.001, 0.005, 0.0001), (1.0, 0.1, 0.01), (0.1, 0.01, 0.0)])
def test_budgets_that_make_no_sense_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="fall from banner to quarantine"):
        Budgets(*wrong)


def test_mail_is_split_in_order_of_arrival() -> None:
    found = split_by_time(np.arange(1000) % 3 == 0)
    assert found.as_json() == {"fit": 750, "fuse": 125, "judge": 125, "shared": False}
    assert found.fit[:750].all() and found.fuse[750:875].all() and found.judge[875:].all()


def test_a_class_that_is_rare_late_is_waited_for() -> None:
    bad = np.zeros(400, dtype=bool)
    bad[[*range(100), *range(220, 262)]] = True
    assert split_by_time(bad).as_json()["fit"] == 200


def test_few_of_a_class_let_both_parts_share_the_late_mail() -> None:
    bad = np.zeros(100, dtype=bool)
    bad[[1, 5, 9, 80, 82, 84]] = True
    found = split_by_time(bad)
    assert found.shared
    assert (found.fuse == found.judge).all() and (found.judge == found.held_out).all()


def test_each_tenant_is_cut_at_its_own_time() -> None:
    """Mail of other years: one cut through all would learn nothing of the later tenant."""
    bad = np.tile([False, False, True], 400)
    tenant = np.array(["old"] * 800 + ["new"] * 400, dtype=object)
    found = split_by_time(bad, tenant)
    for name, n in (("old", 800), ("new", 400)):
        own = tenant == name
        assert found.fit[own].sum() == 0.75 * n
        assert found.fit[own][: int(0.75 * n)].all()
    assert not (found.fuse & found.judge).any()
    assert (found.fit | found.fuse | found.judge).all()


def test_tenants_with_one_class_each_are_cut_too() -> None:
    bad = np.array([True] * 400 + [False] * 400)
    tenant = np.array(["traps"] * 400 + ["list"] * 400, dtype=object)
    found = split_by_time(bad, tenant)
    for part in (found.fit, found.fuse, found.judge):
        assert bad[part].any() and not bad[part].all()


def test_tenants_of_which_only_one_has_a_class_late_are_cut_once_through_all() -> None:
    """No tenant has bad mail in its first three quarters."""
    bad = np.zeros(80, dtype=bool)
    tenant = np.array(["a"] * 40 + ["b"] * 40, dtype=object)
    bad[[38, 39, 78, 79]] = True
    found = split_by_time(bad, tenant)
    assert found.fit.sum() < 79 and bad[found.fit].any() and bad[found.held_out].any()


def test_labels_that_cannot_be_split_are_refused() -> None:
    bad = np.zeros(100, dtype=bool)
    bad[-3:] = True
    with pytest.raises(DataError, match=r"97 good and 3 bad .* all good ones before all others; .* Label both kinds"):
        split_by_time(bad)
    with pytest.raises(DataError, match=r"3 good and 97 bad .* all bad ones before all others"):
        split_by_time(~bad)
