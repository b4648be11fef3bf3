"""Calibration: bins against a plain recount, one that is right, and one that is sure of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.detection.decision import sigmoid
from mailwarden.evaluation.reliability import binned, reliability, reliability_of
from mailwarden.evaluation.scored import Scored

Table = Callable[..., Scored]


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60), st.integers(1, 8))
def test_bins_are_in_order_and_equal_values_are_together(values: list[float], bins: int) -> None:
    place = binned(np.array(values), bins)
    assert set(place.tolist()) == set(range(int(place.max()) + 1)) and place.max() < bins
    for one, at in zip(values, place.tolist(), strict=True):
        for other, beside in zip(values, place.tolist(), strict=True):
            assert at <= beside or one > other
            assert at == beside or one != other


def test_bins_hold_about_as_many_each() -> None:
    assert np.bincount(binned(np.random.default_rng(3).normal(size=1_000), 10)).tolist() == pytest.approx(
        [100] * 10, abs=2
    )


def test_the_error_is_what_a_recount_finds(scored: Table, mails: Any) -> None:
    @settings(deadline=None)
    @given(mails, st.integers(1, 6))
    def check(drawn: list[Any], bins: int) -> None:
        table = scored(drawn)
        for name, found in (("", reliability(table, bins=bins, resamples=5)),
                            ("text", reliability_of(table, "text", bins=bins, resamples=5))):  # fmt: skip
            column = f"{name}__log_odds" if name else "log_odds"
            rows = [r for r in table.to_arrow().to_pylist() if r["label"] and r[column] is not None]
            assert found.n == len(rows) == sum(one.found.n for one in found.bins)
            total = 0.0
            for one in found.bins:
                inside = [r for r in rows if one.low - 1e-12 <= 1 / (1 + np.exp(-r[column])) <= one.high + 1e-12]
                bad = sum(r["label"] != "ham" for r in inside)
                mean = float(np.mean([1 / (1 + np.exp(-r[column])) for r in inside]))
                assert (one.found.hits, one.found.n) == (bad, len(inside)) and one.predicted == pytest.approx(mean)
                total += abs(bad - mean * len(inside))
            if rows:
                assert found.error == pytest.approx(total / len(rows)) and found.base.n == len(rows)
            else:
                assert found.error is None

    check()


def test_a_calibrated_score_errs_by_chance_alone_and_one_too_sure_does_not(scored: Table, mail: Any) -> None:
    random = np.random.default_rng(4)
    log_odds = random.normal(0, 2, 4_000)
    bad = random.random(4_000) < sigmoid(log_odds)
    right = scored([mail("CP" if b else "ham", float(x), 0.0) for b, x in zip(bad, log_odds, strict=True)])
    found = reliability(right)
    assert found.error is not None and found.error < found.by_chance < 0.03
    assert found.low <= found.high and found.base.rate == pytest.approx(0.5, abs=0.05)
    sure = scored([mail("CP" if b else "ham", float(3 * x), 0.0) for b, x in zip(bad, log_odds, strict=True)])
    other = reliability(sure)
    assert 0.005 < other.high - other.low < 0.05
    assert other.error is not None and other.low > 3 * other.by_chance and other.low <= other.error <= other.high
