"""Time windows, their hops, and the bounds that they put on event time."""

from __future__ import annotations

from dataclasses import dataclass

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US

NOTHING = -(2**62)
"""Stands in state for "no such event" where a time or a peak would be; far outside of what a message may carry."""

LATENESS_US = DAY_US
"""How far behind a key's newest event a read may look back in full, in microseconds.

A read at a time further behind than this is answered as of `newest - LATENESS_US`, so that a state may drop
what no read can reach, and dropping it never shows in a value.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Events with time >= floor(t - length, hop), and where `until_us` is set, time < floor(t - until, hop).

    name: as in feature names. length_us: None for all time. hop_us: the step of the window's edges.
    until_us: age that an event must have reached, 0 for none (rates over labels count only matured messages).
    """

    name: str
    length_us: int | None
    hop_us: int
    until_us: int = 0

    def lower_bucket(self, at_us: int) -> int | None:
        """The first bucket inside the window at a time; None where the window has no lower edge."""
        return None if self.length_us is None else (at_us - self.length_us) // self.hop_us

    def lower_us(self, at_us: int) -> int | None:
        """The earliest time inside the window at a time; None where the window has no lower edge."""
        bucket = self.lower_bucket(at_us)
        return None if bucket is None else bucket * self.hop_us


W_1H = Window("1h", HOUR_US, HOUR_US // 12)
W_1D = Window("1d", DAY_US, HOUR_US)
W_7D = Window("7d", 7 * DAY_US, 6 * HOUR_US)
W_30D = Window("30d", 30 * DAY_US, DAY_US)
W_30D_COARSE = Window("30d_coarse", 30 * DAY_US, 5 * DAY_US)
"""For distinct counts: a writer folds one sketch a bucket, so that a fifth of the buckets is a fifth of the work."""
W_90D = Window("90d", 90 * DAY_US, DAY_US)
W_90D_COARSE = Window("90d_coarse", 90 * DAY_US, 15 * DAY_US)
W_180D = Window("180d", 180 * DAY_US, 15 * DAY_US)
W_365D = Window("365d", 365 * DAY_US, 15 * DAY_US)
"""Long windows share one hop of 15 days, so that a year is 25 buckets of state."""
W_ALL = Window("all", None, DAY_US)
W_MATURED = Window("matured", None, DAY_US, until_us=7 * DAY_US)
W_90D_MATURED = Window("90d_matured", 90 * DAY_US, DAY_US, until_us=7 * DAY_US)


def effective_time(at_us: int, newest_us: int) -> int:
    """The time that a read at `at_us` is answered for, given the newest event of its key; microseconds UTC."""
    return max(at_us, newest_us - LATENESS_US)
