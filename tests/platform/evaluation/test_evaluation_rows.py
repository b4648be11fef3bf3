"""From rows a recipient to messages: fused as the bundle does, the worst row decides, what is away is told."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import Calibration, Combination, Fusion, Thresholds, away_name
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.rows import AWAY, FAILED, RowScores
from mailwarden.stores.bundle import Bundle, Member

NAMES = ("a", "b", "c")
CALIBRATIONS = {name: Calibration(1.0 + at, 0.1 * at) for at, name in enumerate(NAMES)}


def fusion_of(names: tuple[str, ...], intercept: float) -> Fusion:
    weights = {name: 0.3 + 0.2 * at for at, name in enumerate(names)}
    return Fusion(weights, intercept, {name: CALIBRATIONS[name] for name in names}, {"a": 0.25} if "a" in names else {})


STEPS = Thresholds(0.0, 1.0, 2.0)


def combination(names: tuple[str, ...], intercept: float) -> Combination:
    """Of whoever is known the intercept is another."""
    own = Combination(fusion_of(names, intercept + 2.0), STEPS, learned=frozenset({"known"}))
    return Combination(fusion_of(names, intercept), STEPS, own=own)


BUNDLE = Bundle(
    members={name: Member(1, "", 1) for name in NAMES},
    whole=combination(NAMES, -0.5),
    without={
        away_name(away): combination(tuple(n for n in NAMES if n not in away), 0.1 * len(away))
        for away in (("a",), ("b",), ("c",), ("a", "b"))
    },
)

value = st.tuples(st.integers(-4, 4).map(float), st.sampled_from([0, 0, 0, 1, 2, 3]))
messages = st.lists(st.lists(st.tuples(value, value, value), min_size=1, max_size=3), min_size=1, max_size=8)


def rows_of(drawn: list[list[Any]]) -> RowScores:
    flat = [row for message in drawn for row in message]
    raw = {n: np.array([np.nan if row[at][1] else row[at][0] for row in flat]) for at, n in enumerate(NAMES)}
    return RowScores(
        np.cumsum([0, *map(len, drawn)]),
        raw,
        {name: CALIBRATIONS[name].logit(values) for name, values in raw.items()},
        {name: np.array([row[at][1] for row in flat], dtype=np.uint8) for at, name in enumerate(NAMES)},
    )


def by_hand(fusion: Fusion, row: Any) -> float:
    total = fusion.intercept
    for at, name in enumerate(NAMES):
        score, why = row[at]
        if name in fusion.weights and why == 0:
            total += fusion.weights[name] * (CALIBRATIONS[name].slope * score + CALIBRATIONS[name].intercept)
            total += fusion.offsets.get(name, 0.0)
    return total


@settings(deadline=None)
@given(messages)
def test_rows_come_to_what_a_plain_recount_says(drawn: list[list[Any]]) -> None:
    rows = rows_of(drawn)
    tenant = Coded.of([("known", "new")[number % 2] for number in range(len(drawn))])
    fused, whole = rows.fused(BUNDLE, tenant), rows.whole()
    decided, without = rows.decided(fused), rows.without(BUNDLE, whole, tenant)
    for number, (message, (start, stop)) in enumerate(zip(drawn, pairwise(rows.starts.tolist()), strict=True)):
        away = [name for at, name in enumerate(NAMES) if any(row[at][1] in (FAILED, AWAY) for row in message)]
        own = number % 2 == 0
        found = BUNDLE.without.get(away_name(away)) if away else BUNDLE.whole
        fusion = (found or BUNDLE.whole).serving(own=own).fusion
        fusion = fusion.leaving_out(away) if found is None else fusion
        expected = [by_hand(fusion, row) for row in message]
        assert fused[start:stop].tolist() == pytest.approx(expected)
        assert decided[number] == start + int(np.argmax(fused[start:stop]))
        assert whole[number] == (not away)
        for name in NAMES:
            if away:
                assert np.isnan(without[name][number])
            else:
                worst = max(by_hand(BUNDLE.without[name].serving(own=own).fusion, row) for row in message)
                assert without[name][number] == pytest.approx(worst)
    said = rows.said(decided, {name: np.zeros(len(drawn)) for name in NAMES})
    for name in NAMES:
        assert np.array_equal(np.isnan(said[name].calibrated), said[name].missing > 0)


def test_a_bundle_of_one_detector_has_nothing_without_it() -> None:
    alone = Bundle({"a": Member(1, "", 1)}, Combination(fusion_of(("a",), 0.0), STEPS))
    rows = RowScores(np.array([0, 1]), {"a": np.ones(1)}, {"a": np.ones(1)}, {"a": np.zeros(1, np.uint8)})
    tenant = Coded.of(["new"])
    assert rows.without(alone, rows.whole(), tenant) == {}
    gone = RowScores(rows.starts, rows.raw, rows.calibrated, {"a": np.array([AWAY], np.uint8)})
    assert gone.fused(alone, tenant).tolist() == [0.0]


def test_no_messages_are_no_rows() -> None:
    rows = RowScores(np.zeros(1, np.intp), *({name: np.empty(0) for name in NAMES} for _ in range(2)),
                     {name: np.empty(0, np.uint8) for name in NAMES})  # fmt: skip
    assert len(rows.fused(BUNDLE, Coded.of([]))) == len(rows.decided(np.empty(0))) == len(rows.whole()) == 0
