"""The recount by hand where the definitions leave no doubt, and that made-up views and histories leave nothing out."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from dataclasses import replace

import pytest

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Decayed,
    Expression,
    Extreme,
    Feature,
    Held,
    Match,
    Measure,
    Peak,
    Recent,
    Surge,
    Total,
    Unusual,
    profile_of,
)
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, W_1D, W_7D, W_30D, W_90D, W_ALL
from mailwarden.domain.mail.events import Event
from mailwarden.testing.histories import PIECE_BITS, START_US, history_of
from mailwarden.testing.made_up_rows import keys_in
from mailwarden.testing.made_up_views import view_of
from mailwarden.testing.naive_recount import recount

DAWN_US = START_US // DAY_US * DAY_US


def view_with(expression: Expression) -> ActivityView:
    return ActivityView(
        "by_hand", 1, "tests", "", ("sender",), "participants",
        measures=(Measure("n"), *profile_of("when", "hour"), *profile_of("days", "weekday")),
        extremes=(Extreme("first", "first", of="size_bytes"), Extreme("last", "last", of="size_bytes")),
        distincts=(),
        features=(Feature("f", expression, "", "1"),),
        peaks=(Peak("least", "min", "size_bytes"), Peak("most", "max", "size_bytes")),
        recents=(Recent("sets", "recipients", 2),),
    )  # fmt: skip


def mail(*rows: tuple[int, int, tuple[str, ...]]) -> list[Event]:
    """Messages of one sender: time, size, recipients."""
    plain = replace(history_of([0])[0], sender="a@else.test", direction="inbound")
    return [
        replace(plain, seq=i + 1, received_at_us=at_us, size_bytes=size, recipients=recipients)
        for i, (at_us, size, recipients) in enumerate(rows)
    ]


def value(expression: Expression, events: list[Event], at_us: int, own: tuple[str, ...] = ()) -> float | None:
    found = recount(view_with(expression), events, ("a@else.test",), "t", at_us, 99, {"recipients": own})
    return found["f"]


def test_peaks_are_of_the_window_and_null_where_it_holds_nothing() -> None:
    events = mail((DAWN_US, 7, ()), (DAWN_US + 8 * DAY_US, 5, ()), (DAWN_US + 8 * DAY_US, 6, ()))
    assert value(Total("most", W_7D), events, DAWN_US + 8 * DAY_US) == 6.0
    assert value(Total("least", W_ALL), events, DAWN_US + 8 * DAY_US) == 5.0
    assert value(Total("most", W_7D), events, DAWN_US + 60 * DAY_US) is None


def test_of_rows_with_one_time_the_smallest_seq_is_the_first_and_the_largest_the_last() -> None:
    events = mail((DAWN_US, 3, ()), (DAWN_US, 4, ()), (DAWN_US, 5, ()))
    assert value(Held("first"), events, DAWN_US) == 3.0
    assert value(Held("last"), events, DAWN_US) == 5.0


def test_decayed_weighs_each_ring_by_its_middle() -> None:
    events = mail((DAWN_US - 3 * DAY_US, 1, ()), (DAWN_US, 1, ()), (DAWN_US, 1, ()))
    found = value(Decayed("n", 2 * DAY_US, (W_1D, W_7D)), events, DAWN_US)
    assert found == pytest.approx(2 * 2 ** -(0.5 / 2) + 1 * 2 ** -(4 / 2), rel=1e-15)


def test_surge_is_the_excess_over_the_rate_before() -> None:
    """Ten messages on ten days before, then five on one: 5 - 1 over the root of 2."""
    before = [(DAWN_US - day * DAY_US, 1, ()) for day in range(11, 1, -1)]
    events = mail(*before, *[(DAWN_US - HOUR_US, 1, ())] * 5)
    surge = Surge("n", W_1D, W_90D, "first")
    assert value(surge, events, DAWN_US) == pytest.approx((5 - 1) / math.sqrt(2), rel=1e-15)
    assert value(surge, events, DAWN_US - 9 * DAY_US) is not None
    assert value(surge, events[:1], DAWN_US - 11 * DAY_US + 2 * DAY_US - 1) is None


def test_unusual_is_near_zero_at_the_usual_hour_and_near_one_at_another() -> None:
    events = mail(*[(DAWN_US - day * DAY_US + 9 * HOUR_US, 1, ()) for day in range(20, 0, -1)])
    usual = value(Unusual("when", "hour", W_30D), events, DAWN_US + 10 * HOUR_US)
    odd = value(Unusual("when", "hour", W_30D), events, DAWN_US + 3 * HOUR_US)
    assert usual == 1 - 21 / 28 and odd == 1 - 1 / 28
    assert value(Unusual("when", "hour", W_1D), events, DAWN_US + 90 * DAY_US) is None
    # A Tuesday, since 1 January 1970 was a Thursday.
    tuesday = 5 * DAY_US
    once = mail((tuesday, 1, ()))
    assert value(Unusual("days", "weekday", W_30D), once, tuesday) == 1 - 2 / 8
    assert value(Unusual("days", "weekday", W_30D), once, tuesday + DAY_US) == 1 - 1 / 8


def test_match_is_the_best_overlap_with_the_sets_that_are_kept() -> None:
    events = mail((DAWN_US, 1, ("x", "y")), (DAWN_US + 1, 1, ("x", "z", "w")), (DAWN_US + 2, 1, ("q",)))
    later = DAWN_US + HOUR_US
    assert value(Match("sets"), events, later, ("x", "y")) == 1 / 4  # ("x", "y") was third, two are kept
    assert value(Match("sets"), events[:2], later, ("x", "y")) == 1.0
    assert value(Match("sets"), events, later) is None
    assert value(Match("sets", W_7D), events, later + 30 * DAY_US, ("q",)) is None
    many = tuple(f"m{i}" for i in range(200))
    assert value(Match("sets"), mail((DAWN_US, 1, many)), later, many) == 1.0


def test_made_up_views_hold_every_kind_of_everything() -> None:
    rng = random.Random(1)
    views = [view_of(rng.getrandbits(PIECE_BITS)) for _ in range(600)]
    kinds = Counter(type(feature.expression).__name__ for view in views for feature in view.features)
    assert set(kinds) == {
        "Total", "Ratio", "Surge", "Unusual", "Decayed", "Age", "Held", "Match", "History",
    }  # fmt: skip
    assert min(kinds.values()) > 100, kinds
    emissions = Counter((view.emission, view.keys) for view in views)
    assert len(emissions) == 10 and min(emissions.values()) > 20, emissions
    assert sum(len(view.peaks) for view in views) > 200 and sum(len(view.recents) for view in views) > 200


def test_made_up_histories_hold_what_breaks_clocks_and_keys() -> None:
    rng = random.Random(2)
    histories = [history_of([rng.getrandbits(PIECE_BITS) for _ in range(30)]) for _ in range(150)]
    events = [event for history in histories for event in history]
    times = [event.received_at_us for event in events]
    assert min(times) < 0 < max(times)
    assert any(len(event.recipients) > 64 for event in events)
    assert any(event.kind == "label" and event.labelled_bad < 0 for event in events)
    signals = [event for event in events if event.kind == "signal"]
    assert len(signals) > len(events) / 40 and any(event.link_domain for event in signals)
    tied = sum(len(h) - len({event.received_at_us for event in h}) for h in histories)
    assert tied > len(events) / 10
    late = sum(a.received_at_us > b.received_at_us for h in histories for a, b in itertools.pairwise(h))
    assert late > len(events) / 20
    assert any("\x00" in event.thread for event in events) and any(event.thread == "" for event in events)
    hottest = Counter(key for history in histories for key in keys_in(view_of(0), history))
    assert hottest[("t", ("a@else.test",))] > 100
