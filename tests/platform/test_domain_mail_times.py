from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mailwarden.domain.mail.times import (
    BULK_AHEAD_US,
    HANDFUL,
    LEAST,
    LIVE_AHEAD_US,
    TAIL_SHARE,
    robust_newest,
    settled,
    settled_all,
)

T0 = 1_176_037_200_000_000  # 2007-04-08
HOUR_US = 3_600_000_000
YEAR_US = 365 * BULK_AHEAD_US
AHEAD = st.integers(T0 + 5 * YEAR_US, T0 + 90 * YEAR_US)


@st.composite
def sources(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Times of honest mail whose pauses vary some hours round a pace of its own, and how many make its tail."""
    n = draw(st.integers(LEAST, 300))
    pace = draw(st.sampled_from([1_000, HOUR_US, 20 * HOUR_US]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pauses = rng.integers(pace // 2, 2 * pace, n)
    return T0 + np.cumsum(pauses), max(HANDFUL, int(n * TAIL_SHARE))


def array(times: list[int]) -> np.ndarray:
    return np.array(times, dtype=np.int64)


@given(st.integers(0, 2**50), st.integers(0, 2**50), st.integers(0, 2**40))
def test_a_settled_time_is_the_one_borne_or_the_newest_and_stays_as_it_is(
    time_us: int, newest: int, ahead: int
) -> None:
    found = settled(time_us, newest, ahead)
    assert found in (time_us, newest) and found <= newest + ahead
    assert settled(found, newest, ahead) == found
    assert (found != time_us) == (time_us > newest + ahead)


def test_a_clock_allows_five_minutes() -> None:
    assert settled(T0 + LIVE_AHEAD_US, T0, LIVE_AHEAD_US) == T0 + 300_000_000
    assert settled(T0 + LIVE_AHEAD_US + 1, T0, LIVE_AHEAD_US) == T0


@given(sources())
def test_honest_mail_is_left_as_it_is(source: tuple[np.ndarray, int]) -> None:
    times, _ = source
    assert robust_newest(times) == times.max()
    found, ahead = settled_all(times)
    assert not ahead.any() and (found == times).all()


@given(sources(), st.lists(AHEAD, min_size=1, max_size=HANDFUL))
def test_a_handful_of_times_ahead_moves_nothing(source: tuple[np.ndarray, int], ahead: list[int]) -> None:
    times, _ = source
    made_up = array(ahead)
    both = np.concatenate([times, made_up])
    np.random.default_rng(len(both)).shuffle(both)
    newest = robust_newest(both)
    assert newest is not None and newest <= times.max()
    found, flagged = settled_all(both)
    # All that is real stays, all that is made up comes at the newest of what is real.
    assert sorted(both[~flagged]) == sorted(times) and flagged.sum() == len(made_up)
    assert (found[flagged] == newest).all()


@given(sources())
def test_the_order_of_the_source_does_not_matter(source: tuple[np.ndarray, int]) -> None:
    times, _ = source
    made = np.concatenate([times, array([T0 + 20 * YEAR_US])])
    assert robust_newest(made) == robust_newest(made[::-1]) == robust_newest(np.sort(made))


@given(sources(), st.lists(st.integers(0, 90 * YEAR_US), min_size=1, max_size=3))
def test_what_is_made_up_moves_the_newest_by_a_step_each_at_most(
    source: tuple[np.ndarray, int], ahead: list[int]
) -> None:
    times, _ = source
    newest = robust_newest(np.concatenate([times, array([int(times.max()) + by for by in ahead])]))
    step = max(BULK_AHEAD_US, 3 * int(np.diff(times).max()))
    assert newest is not None and newest <= times.max() + len(ahead) * step


@given(sources(), st.lists(AHEAD, min_size=1, max_size=3))
def test_settled_times_are_settled(source: tuple[np.ndarray, int], ahead: list[int]) -> None:
    found, _ = settled_all(np.concatenate([source[0], array(ahead)]))
    again, flagged = settled_all(found)
    assert not flagged.any() and (again == found).all()


def test_a_large_source_is_not_moved_by_two_in_a_hundred() -> None:
    times = T0 + np.arange(10_000) * HOUR_US
    made_up = np.full(200, T0 + 30 * YEAR_US)
    found, flagged = settled_all(np.concatenate([times, made_up]))
    assert flagged.sum() == 200 and found.max() == times.max()


def test_little_mail_is_held_against_a_clock_alone() -> None:
    few = array([T0, T0 + 30 * YEAR_US])
    assert robust_newest(few) is None and not settled_all(few)[1].any()
    found, flagged = settled_all(few, clock_us=T0 + YEAR_US)
    assert flagged.tolist() == [False, True] and found.tolist() == [T0, T0 + YEAR_US]
    assert not settled_all(few, clock_us=T0 + 30 * YEAR_US - BULK_AHEAD_US)[1].any()
