"""What is lost without a group of features: as a recount finds it, and paired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.evaluation.ablation import without_groups
from mailwarden.evaluation.figures import recall_at
from mailwarden.evaluation.scored import Hidden, Scored, joined, verdicts_at

Table = Callable[..., Scored]
HELD = ("junk", "quarantine")


def hiding(table: Scored, **moved: Any) -> Scored:
    """The table with groups by name, each of which moves every message's log-odds by (n,) so much."""
    hidden = {}
    for name, by in moved.items():
        log_odds = table.log_odds + by
        hidden[name] = Hidden(name == "history", log_odds, verdicts_at(log_odds, table.tenant, table.bundle.whole, {}))
    return replace(table, hidden=hidden)


def test_differences_are_what_a_recount_finds(scored: Table, mails: Any) -> None:
    @settings(deadline=None, max_examples=40)
    @given(mails)
    def check(drawn: list[Any]) -> None:
        table = scored(drawn)
        by = np.random.default_rng(3).normal(0.0, 1.5, len(table))
        table = hiding(table, sender=by, nothing=np.zeros(len(table)))
        found, nothing = without_groups(table, (0.2,), resamples=5)
        rows = table.to_arrow().to_pylist()
        for name, wanted in (("bad_held_back", False), ("good_held_back", True)):
            own = [row for row in rows if row["label"] and (row["label"] == "ham") == wanted]
            difference = getattr(found, name)
            assert difference.n == len(own)
            if own:
                before = sum(row["verdict"] in HELD for row in own)
                after = sum(row["hidden__sender__verdict"] in HELD for row in own)
                assert difference.difference == pytest.approx((after - before) / len(own))
                assert (found.good_without if wanted else found.bad_without).hits == after
            assert getattr(nothing, name).difference == 0.0 or not own
        score = np.array([row["hidden__sender__log_odds"] for row in rows])
        if table.bad.any():
            # At a threshold of its own, on the same good mail.
            rate = recall_at(score[table.bad], score[table.good], 0.2).rate
            assert found.recall[0.2].second == found.recall_without[0].rate == rate
            assert found.recall[0.2].first == recall_at(table.log_odds[table.bad], table.log_odds[table.good], 0.2).rate
        for one in nothing.recall.values():
            assert one.n == 0 or one.difference == 0.0

    check()


def test_a_group_that_counts_is_told_from_one_that_does_not(scored: Table, mail: Any) -> None:
    random = np.random.default_rng(4)
    table = scored([mail("CP" if at % 2 else "ham", 2.0 if at % 2 else -2.0, 0.0) for at in range(400)])
    leans = np.where(table.bad, -4.0, 0.0) * (random.random(400) < 0.5)
    lean, idle = without_groups(hiding(table, history=leans, tenant=random.normal(0, 0.01, 400)), resamples=200)
    assert lean.outage and not idle.outage and lean.name == "history"
    for one in (lean.recall[0.001], lean.bad_held_back, lean.by_category["CP"]):
        assert one.low <= one.difference <= one.high < -0.3
    for one in (idle.recall[0.001], idle.bad_held_back, idle.good_held_back):
        assert one.low <= 0.0 <= one.high
    # The same draws for both: what moves nothing differs in no draw.
    assert lean.good_held_back.low == lean.good_held_back.high == 0.0


def test_what_is_hidden_stays_with_its_message(scored: Table, mail: Any) -> None:
    table = scored([mail("CP", 1.0, 0.0), mail("ham", -1.0, 0.0, day=1.0)])
    table = hiding(table, sender=np.array([-1.0, 0.5]))
    turned = table.take(np.array([1, 0]))
    assert turned.hidden["sender"].log_odds.tolist() == [-0.5, 0.0]
    assert [turned.hidden["sender"].verdict.word(at) for at in (0, 1)] == ["deliver", "banner"]
    both = joined([table, turned])
    assert both.hidden["sender"].log_odds.tolist() == [0.0, -0.5, -0.5, 0.0]
    assert both.hidden["sender"].verdict.words == VERDICTS
    assert without_groups(replace(table, hidden={})) == ()
