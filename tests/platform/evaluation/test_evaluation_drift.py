"""Drift: weeks begin on Monday, what did not move lies within chance, what moved does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.evaluation.drift import FUSED, _chi_square_95, drift, psi, shannon
from mailwarden.evaluation.scored import Scored

Table = Callable[..., Scored]
counts = st.lists(st.integers(0, 50), min_size=2, max_size=6)


def weekly(mail: Any, means: list[float], n: int = 500) -> list[Any]:
    random = np.random.default_rng(5)
    return [
        mail(None, float(random.normal(mean)), None if number % 3 else 1.0, day=4.0 + 7 * week + number % 7)
        for week, mean in enumerate(means)
        for number in range(n)
    ]


def test_weeks_begin_on_monday_and_the_first_that_is_full_is_the_reference(scored: Table, mail: Any) -> None:
    found = drift(scored([mail("ham", 1.0, day=-1.0), *weekly(mail, [0.0, 0.0, 0.0])]))
    begins = [datetime.fromtimestamp(week.begin_us / 1e6, UTC) for week in found.weeks]
    assert [(at.weekday(), at.hour) for at in begins] == [(0, 0)] * 4
    assert [week.n for week in found.weeks] == [1, 500, 500, 500]
    assert found.reference_us == found.weeks[1].begin_us and found.reference_n == 500
    assert [set(week.scores) for week in found.weeks] == [
        set(), set(), {FUSED, "text", "rules"}, {FUSED, "text", "rules"},
    ]  # fmt: skip


def test_what_moved_stands_out_of_chance_and_what_did_not_lies_within(scored: Table, mail: Any) -> None:
    found = drift(scored(weekly(mail, [0.0, 0.0, 0.6])))
    same, moved = (week.scores["text"] for week in found.weeks[1:])
    assert same.psi < same.by_chance < 0.1 < moved.psi and same.shannon < 0.02 < moved.shannon < 1.0
    assert found.weeks[2].scores[FUSED].psi > found.weeks[2].scores[FUSED].by_chance
    rules = found.weeks[2].scores["rules"]
    assert rules.spoke == pytest.approx(1 / 3, abs=0.01) and rules.psi < rules.by_chance


def test_a_detector_that_falls_silent_has_moved(scored: Table, mail: Any) -> None:
    mails = weekly(mail, [0.0, 0.0])
    quiet = [one._replace(text=None) if one.day >= 11 else one for one in mails]
    found = drift(scored(quiet))
    assert found.weeks[1].scores["text"].spoke == 0.0 and found.weeks[1].scores["text"].shannon > 0.9


def test_too_few_messages_are_compared_with_none(scored: Table, mail: Any) -> None:
    found = drift(scored([mail("ham", 1.0), mail("CP", 2.0, day=9.0)]))
    assert found.reference_us is None and [week.scores for week in found.weeks] == [{}, {}]


@settings(deadline=None)
@given(counts, st.data())
def test_indices_are_those_of_their_definitions(reference: list[int], data: Any) -> None:
    own = data.draw(st.lists(st.integers(0, 50), min_size=len(reference), max_size=len(reference)))
    if not sum(reference) or not sum(own):
        return
    p, q = [count / sum(reference) for count in reference], [count / sum(own) for count in own]
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    expected = sum(
        x * math.log2(x / m) / 2 for one in (p, q) for x, m in zip(one, middle, strict=True) if x > 0
    )  # fmt: skip
    arrays = np.array(reference), np.array(own)
    assert shannon(*arrays) == pytest.approx(expected, abs=1e-12) and 0.0 <= shannon(*arrays) <= 1.0 + 1e-12
    there = [(a + 0.5, b + 0.5) for a, b in zip(reference, own, strict=True) if a + b]
    sums = [sum(column) for column in zip(*there, strict=True)]
    shares = [(a / sums[0], b / sums[1]) for a, b in there]
    assert psi(*arrays) == pytest.approx(sum((b - a) * math.log(b / a) for a, b in shares))
    assert psi(*arrays) == pytest.approx(psi(*arrays[::-1])) and psi(arrays[0], arrays[0]) == pytest.approx(0.0)


def test_chi_square_against_published_values() -> None:
    assert [_chi_square_95(k) for k in (1, 5, 10)] == pytest.approx([3.841, 11.070, 18.307], rel=0.03)
