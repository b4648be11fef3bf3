"""Two bundles on the same messages: differences with their intervals, flips, and what they are put down to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.errors import DataError
from mailwarden.evaluation.compare import FUSION, THRESHOLDS, Difference, compare, flipped_messages, moved_by
from mailwarden.evaluation.figures import one_minus_roca, recall_at
from mailwarden.evaluation.resampling import AreaDrawn, Groups, RecallDrawn, interval
from mailwarden.evaluation.scored import Scored

Table = Callable[..., Scored]
HELD = ("junk", "quarantine")


def test_a_bundle_beside_itself_differs_in_nothing(scored: Table, mails: Any) -> None:
    @settings(deadline=None, max_examples=30)
    @given(mails, st.sampled_from(["campaign", "message"]))
    def check(drawn: list[Any], by: str) -> None:
        table = scored(drawn)
        found = compare(table, replace(table, version=2), by=by, resamples=20)
        assert (found.flips, found.flipped) == ((), 0)
        differences = [*found.recall.values(), *found.by_category.values(), found.bad_held_back, found.good_held_back]
        for one in differences:
            assert one.n == 0 or one.difference == 0.0
            assert math.isnan(one.low) or one.low == one.high == 0.0

    check()


def test_the_order_of_rows_and_which_is_first_say_what_they_should(scored: Table, mails: Any) -> None:
    @settings(deadline=None, max_examples=30)
    @given(mails, st.randoms())
    def check(drawn: list[Any], random: Any) -> None:
        places = list(range(len(drawn)))
        random.shuffle(places)
        shuffled = [drawn[at] for at in places]
        other = {"weights": (0.5, 2.0), "version": 2}
        one = compare(scored(drawn), scored(drawn, **other), resamples=20)
        two = compare(scored(shuffled, numbers=places), scored(shuffled, numbers=places, **other), resamples=20)
        assert str(one) == str(two)
        back = compare(scored(drawn, **other), scored(drawn), resamples=20)
        for budget, difference in one.recall.items():
            if difference.n:
                assert back.recall[budget].difference == pytest.approx(-difference.difference)
                assert back.recall[budget].low == pytest.approx(-difference.high, nan_ok=True)
        assert back.flipped == one.flipped

    check()


def test_differences_and_flips_are_what_a_recount_finds(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails)
    def check(drawn: list[Any]) -> None:
        first, second = scored(drawn), scored(drawn, weights=(2.0, 0.5), intercept=0.5, version=2)
        found = compare(first, second, (0.2,), resamples=3)
        one, two = (table.to_arrow().to_pylist() for table in (first, second))
        for name, wanted in (("good_held_back", "good"), ("bad_held_back", "bad")):
            rows = [at for at, row in enumerate(one) if row["label"] and (row["label"] == "ham") == (wanted == "good")]
            difference: Difference = getattr(found, name)
            assert difference.n == len(rows)
            if rows:
                shares = [sum(table[at]["verdict"] in HELD for at in rows) / len(rows) for table in (one, two)]
                assert (difference.first, difference.second) == pytest.approx(shares)
                assert difference.difference == pytest.approx(shares[1] - shares[0])
        for table, rate in ((first, found.recall[0.2].first), (second, found.recall[0.2].second)):
            if first.bad.any():
                assert rate == recall_at(table.log_odds[table.bad], table.log_odds[table.good], 0.2).rate
        changed: Counter[tuple[Any, ...]] = Counter(
            (a["label"] or "", a["verdict"], b["verdict"]) for a, b in zip(one, two, strict=True)
            if a["verdict"] != b["verdict"]
        )  # fmt: skip
        counted: Counter[tuple[Any, ...]] = Counter()
        for flip in found.flips:
            counted[flip.label, flip.before, flip.after] += flip.messages
        assert counted == changed and found.flipped == changed.total()
        assert [flip.messages for flip in found.flips] == sorted((f.messages for f in found.flips), reverse=True)

    check()


def test_recall_of_a_draw_is_that_of_the_messages_drawn(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails, st.sampled_from(["campaign", "message"]), st.integers(0, 9), st.sampled_from([0.001, 0.2, 0.6]))
    def check(drawn: list[Any], by: str, seed: int, budget: float) -> None:
        table = scored(drawn)
        number, n = table.groups(by)
        groups = Groups(number, n, by)
        parts = {"all": table.bad, "CP": table.label.has("CP")}
        prepared = RecallDrawn(table.log_odds, table.good, parts, groups, (budget,))
        # A short tail, so that thresholds behind it are found too.
        prepared._tail = 1
        for times in groups.draws(5, seed):
            assert int(times.sum()) == n
            rows = [row for row, group in enumerate(number.tolist()) for _ in range(int(times[group]))]
            good = table.log_odds[[row for row in rows if table.good[row]]]
            for name, chosen in parts.items():
                bad = table.log_odds[[row for row in rows if chosen[row]]]
                (found,) = prepared.of(times)[name]
                if len(bad) and len(good):
                    assert found == pytest.approx(recall_at(bad, good, budget).rate)
                else:
                    assert math.isnan(found)

    check()


def test_a_threshold_behind_the_tail_is_found(scored: Table, mail: Any) -> None:
    table = scored([*(mail("ham", float(score), 0.0) for score in (5, 4, 3, 2, 1)), mail("CP", 3.5, 0.0),
                    mail("CP", 0.5, 0.0)])  # fmt: skip
    prepared = RecallDrawn(table.log_odds, table.good, {"all": table.bad}, Groups(*table.groups(), "message"), (0.1,))
    prepared._tail = 1
    assert prepared.of(np.array([1, 1, 1, 1, 1, 1, 1])) == {"all": (0.0,)}
    # The two highest good messages are not drawn: the third is the threshold.
    assert prepared.of(np.array([0, 0, 1, 1, 1, 1, 1])) == {"all": (0.5,)}
    assert prepared.of(np.array([0, 0, 0, 0, 1, 1, 1])) == {"all": (0.5,)}


def test_the_area_of_a_draw_is_that_of_the_messages_drawn(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails, st.integers(0, 9))
    def check(drawn: list[Any], seed: int) -> None:
        table = scored(drawn)
        groups = Groups(*table.groups(), "campaign")
        prepared = AreaDrawn(table.log_odds, table.bad, table.good, groups)
        for times in groups.draws(5, seed):
            rows = [r for r, g in enumerate(groups.number.tolist()) for _ in range(int(times[g])) if table.labelled[r]]
            if table.bad[rows].any() and not table.bad[rows].all():
                assert prepared.of(times) == pytest.approx(one_minus_roca(table.log_odds[rows], table.bad[rows]))
            else:
                assert math.isnan(prepared.of(times))

    check()


def test_flips_are_put_down_to_what_moved_them(scored: Table, mail: Any) -> None:
    # Held back before only for text's word; in the second text counts for less.
    mails = [mail("ham", 3.0, -1.0, category="CP"), mail("CP", 0.5, 0.2), mail("BE", 0.2, 0.9), mail("ham", -5.0, -5.0)]
    before = scored(mails)
    after = scored(mails, weights=(0.1, 1.0), version=2)
    found = compare(before, after, resamples=10)
    assert [(f.label, f.category, f.detector, f.before, f.after, f.messages) for f in found.flips] == [
        ("BE", "", "text", "junk", "banner", 1), ("ham", "CP", "text", "quarantine", "deliver", 1),
    ]  # fmt: skip
    assert found.good_held_back.difference == -0.5
    listed = flipped_messages(before, after).to_pylist()
    assert [(row["label"], row["moved_by"], row["log_odds_before"]) for row in listed] == [
        ("ham", "text", 2.0), ("BE", "text", pytest.approx(1.1)),
    ]  # fmt: skip
    lifted = scored(mails, intercept=1.0, version=3)
    assert set(moved_by(before, lifted, np.array([1]))) == {FUSION}
    stricter = scored(mails, steps=(-9.0, -9.0, -9.0), version=4)
    assert moved_by(before, stricter, np.array([3])) == [THRESHOLDS]


def test_copies_of_one_campaign_widen_the_interval(scored: Table, mail: Any) -> None:
    random = np.random.default_rng(1)
    mails = [mail("ham", float(random.normal(-3)), 0.0) for _ in range(200)]
    for number in range(10):
        score, other = float(random.normal(0, 2)), float(random.normal(0, 2))
        mails += [mail("CP", score, other, campaign=f"c{number}") for _ in range(20)]
    before, after = scored(mails, weights=(1.0, 0.0)), scored(mails, weights=(1.0, 1.0), version=2)
    by_campaign = compare(before, after, resamples=300).recall[0.01]
    by_message = compare(before, after, by="message", resamples=300).recall[0.01]
    assert by_campaign.difference == by_message.difference
    assert by_campaign.high - by_campaign.low > 2 * (by_message.high - by_message.low) > 0
    assert by_campaign.low <= by_campaign.difference <= by_campaign.high


def test_a_real_difference_lies_in_its_interval_and_zero_does_not(scored: Table, mail: Any) -> None:
    random = np.random.default_rng(2)
    mails = [
        mail("CP" if at % 2 else "ham", float(random.normal(1.5 if at % 2 else -1.5)), float(random.normal()))
        for at in range(1_000)
    ]
    found = compare(scored(mails, weights=(0.2, 1.0)), scored(mails, weights=(1.0, 0.0), version=2), resamples=200)
    assert found.recall[0.01].low > 0.1 and found.groups == 1_000
    assert interval([float("nan")])[0] != interval([float("nan")])[0]


def test_other_messages_are_not_compared(scored: Table, mail: Any) -> None:
    one = scored([mail("ham"), mail("CP")])
    for other in (scored([mail("ham")]), scored([mail("ham"), mail("CP")], numbers=[5, 6]),
                  scored([mail("ham", tenant="other"), mail("CP")])):  # fmt: skip
        with pytest.raises(DataError, match="did not judge the same messages; judge both in one run"):
            compare(one, other)
