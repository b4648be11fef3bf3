from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.domain.aggregates.windows import (
    DAY_US,
    HOUR_US,
    LATENESS_US,
    W_1D,
    W_1H,
    W_7D,
    W_30D,
    W_90D,
    W_90D_MATURED,
    W_ALL,
    W_MATURED,
    Window,
    effective_time,
)

times = st.integers(-(2**50), 2**52)


@settings(derandomize=True, deadline=None, database=None)
@given(st.sampled_from([W_1H, W_1D, W_7D, W_30D, W_90D, W_90D_MATURED]), times)
def test_the_lower_bucket_begins_within_one_hop_before_the_windows_start(window: Window, at_us: int) -> None:
    bucket, length_us = window.lower_bucket(at_us), window.length_us
    assert bucket is not None and length_us is not None
    assert 0 <= (at_us - length_us) - bucket * window.hop_us < window.hop_us


def test_windows_without_an_edge_have_no_bucket() -> None:
    assert W_ALL.lower_bucket(0) is None and W_MATURED.lower_bucket(0) is None


@pytest.mark.parametrize(
    ("window", "length_us", "hop_us"),
    [
        (W_1H, HOUR_US, 5 * 60 * 1_000_000),
        (W_1D, DAY_US, HOUR_US),
        (W_7D, 7 * DAY_US, 6 * HOUR_US),
        (W_30D, 30 * DAY_US, DAY_US),
        (W_90D, 90 * DAY_US, DAY_US),
    ],
)
def test_stated_lengths_and_hops(window: Window, length_us: int, hop_us: int) -> None:
    assert (window.length_us, window.hop_us, window.until_us) == (length_us, hop_us, 0)


def test_a_read_is_answered_at_most_a_lateness_behind_the_newest_event() -> None:
    newest = 10 * LATENESS_US
    assert effective_time(newest + 5, newest) == newest + 5
    assert effective_time(newest - LATENESS_US, newest) == newest - LATENESS_US
    assert effective_time(newest - LATENESS_US - 1, newest) == newest - LATENESS_US
    assert effective_time(0, newest) == newest - LATENESS_US
