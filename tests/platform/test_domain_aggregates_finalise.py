from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Decayed,
    Extreme,
    Feature,
    Held,
    History,
    Match,
    Measure,
    Peak,
    Ratio,
    Recent,
    Surge,
    Total,
    Unusual,
    profile_of,
)
from mailwarden.domain.aggregates.finalise import NO_TIME, finalise, finalise_joined
from mailwarden.domain.aggregates.layout import Layout, layout_of
from mailwarden.domain.aggregates.recipes import Recipes
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, W_1D, W_7D, W_30D, W_ALL
from mailwarden.testing.histories import PIECE_BITS
from mailwarden.testing.made_up_views import view_of

VIEW = ActivityView(
    name="plain", version=1, owner="tests", description="", keys=("sender",), emission="participants",
    measures=(Measure("bad"), Measure("all")),
    extremes=(Extreme("first", "first"), Extreme("last", "last")),
    distincts=(),
    features=(
        Feature("since_last", Age("last"), "", "days"),
        Feature("n", Total("all", W_1D), "", "messages"),
        Feature("rate", Ratio("bad", "all", W_7D), "", "share"),
        Feature("smooth", Ratio("bad", "all", W_7D, (1.0, 3.0)), "", "share"),
        Feature("seen", History(), "", "flag"),
        Feature("since_first", Age("first"), "", "days"),
    ),
)  # fmt: skip
AT = 1_700_000_000_000_000


def row(slots: list[int], times: list[int], seen: bool = True, at_us: int = AT) -> dict[str, float]:
    layout = layout_of(VIEW)
    values = finalise(
        layout,
        np.array([slots], dtype=np.int64),
        np.array([times], dtype=np.int64),
        np.empty((1, 0)),
        np.array([seen]),
        np.array([at_us], dtype=np.int64),
    )
    return dict(zip(layout.feature_names, values[0].tolist(), strict=True))


def test_values_by_hand() -> None:
    found = row([4, 1, 2], [AT - 3 * DAY_US, AT - DAY_US // 2])
    assert found == pytest.approx(
        {"since_last": 0.5, "n": 4.0, "rate": 0.5, "smooth": 2 / 6, "seen": 1.0, "since_first": 3.0}
    )


def test_never_seen_is_null_but_for_history() -> None:
    found = row([0, 0, 0], [NO_TIME, NO_TIME], seen=False)
    assert found.pop("seen") == 0.0
    assert all(np.isnan(value) for value in found.values())


def test_nothing_in_the_window_is_zero_and_a_rate_over_nothing_is_null() -> None:
    found = row([0, 0, 0], [NO_TIME, AT])
    assert found["n"] == 0.0 and found["smooth"] == 0.25 and found["since_last"] == 0.0
    assert np.isnan(found["rate"]) and np.isnan(found["since_first"])


def test_an_event_ahead_of_the_read_has_age_zero() -> None:
    assert row([1, 0, 1], [AT + DAY_US, AT + DAY_US])["since_first"] == 0.0


def test_no_reads_give_no_rows() -> None:
    layout = layout_of(VIEW)
    none = np.empty(0, dtype=np.int64)
    found = finalise(layout, none.reshape(0, 3), none.reshape(0, 2), np.empty((0, 0)), none.astype(bool), none)
    assert found.shape == (0, len(VIEW.features))


RICH = replace(
    VIEW,
    measures=(Measure("all"), *profile_of("when", "weekday")),
    extremes=(Extreme("first", "first"), Extreme("last", "last", of="size_bytes")),
    peaks=(Peak("largest", "max", "size_bytes"), Peak("smallest", "min", "size_bytes")),
    recents=(Recent("people", "recipients", 4),),
    features=(
        Feature("largest", Total("largest", W_7D), "", "bytes"),
        Feature("smallest", Total("smallest", W_ALL), "", "bytes"),
        Feature("surge", Surge("all", W_1D, W_30D, "first"), "", "standard deviations"),
        Feature("unusual", Unusual("when", "weekday", W_ALL), "", "0..1"),
        Feature("decayed", Decayed("all", 7 * DAY_US, (W_1D, W_7D)), "", "messages"),
        Feature("last_size", Held("last"), "", "bytes"),
        Feature("match", Match("people"), "", "0..1"),
    ),
)


def rich(slots: dict[str, int], times: list[int], match: float = float("nan"), at_us: int = AT) -> dict[str, float]:
    layout = layout_of(RICH)
    names = [(*layout.measure_names, *layout.peak_names)[slot.total] + " " + slot.window.name for slot in layout.slots]
    values = finalise(
        layout,
        np.array([[slots.get(name, NO_TIME if name.split()[0].endswith("est") else 0) for name in names]]),
        np.array([times], dtype=np.int64),
        np.array([[match]]),
        np.array([True]),
        np.array([at_us], dtype=np.int64),
    )
    return dict(zip(layout.feature_names, values[0].tolist(), strict=True))


def test_a_peak_is_null_where_the_window_is_empty_and_the_smallest_comes_back_unnegated() -> None:
    assert np.isnan(rich({}, [NO_TIME] * 3)["largest"]) and np.isnan(rich({}, [NO_TIME] * 3)["smallest"])
    found = rich({"largest 7d": 9, "smallest all": -4}, [NO_TIME] * 3)
    assert (found["largest"], found["smallest"]) == (9.0, 4.0)


def test_a_surge_is_measured_against_the_life_that_lies_before_the_window() -> None:
    counts = {"all 1d": 14, "all 30d": 23}
    # Ten days of life: nine before the window, one message a day in them.
    found = rich(counts, [AT - 10 * DAY_US, AT, 0])
    assert found["surge"] == pytest.approx((14 - 1) / np.sqrt(2.0))
    assert rich(counts, [AT - 400 * DAY_US, AT, 0])["surge"] == pytest.approx((14 - 9 / 29) / np.sqrt(1 + 9 / 29))
    assert np.isnan(rich(counts, [AT - DAY_US, AT, 0])["surge"])
    assert np.isnan(rich(counts, [NO_TIME, AT, 0])["surge"])


def test_an_unusual_weekday_is_far_from_the_profile() -> None:
    # 2023-11-14, a Tuesday.
    tuesdays = rich({"when_tuesday all": 13}, [NO_TIME] * 3)
    assert tuesdays["unusual"] == pytest.approx(1 - 14 / 20)
    assert rich({"when_sunday all": 13}, [NO_TIME] * 3)["unusual"] == pytest.approx(1 - 1 / 20)
    next_day = rich({"when_tuesday all": 13}, [NO_TIME] * 3, at_us=AT + 2 * HOUR_US)
    assert next_day["unusual"] == pytest.approx(1 - 1 / 20)
    assert np.isnan(rich({}, [NO_TIME] * 3)["unusual"])


def test_a_decayed_count_weighs_each_ring_by_its_middle() -> None:
    found = rich({"all 1d": 2, "all 7d": 5}, [NO_TIME] * 3)["decayed"]
    assert found == pytest.approx(2 * 2 ** -(0.5 / 7) + 3 * 2 ** -(4 / 7))


def test_a_held_value_goes_with_its_event_and_a_match_is_passed_on() -> None:
    assert rich({}, [AT, AT, 512], match=0.25)["last_size"] == 512.0
    assert np.isnan(rich({}, [AT, NO_TIME, NO_TIME])["last_size"])
    assert rich({}, [AT, AT, 512], match=0.25)["match"] == 0.25


Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]


def blocks(layouts: Sequence[Layout], n: int, rng: np.random.Generator) -> list[Part]:
    return [
        (
            rng.integers(0, 7, (n, len(layout.slots))),
            np.where(rng.random((n, layout.n_times)) < 0.3, NO_TIME, AT - rng.integers(0, DAY_US)),
            rng.random((n, len(layout.matches))),
            rng.random(n) < 0.7,
        )
        for layout in layouts
    ]


def test_views_side_by_side_give_what_each_gives_alone_to_the_last_bit() -> None:
    pieces, rng = random.Random(9), np.random.default_rng(9)
    for _ in range(40):
        layouts = [layout_of(view_of(pieces.getrandbits(PIECE_BITS))) for _ in range(3)]
        parts = blocks(layouts, 5, rng)
        at = AT + rng.integers(0, DAY_US, 5)
        alone = [finalise(layout, *part, at_us=at) for layout, part in zip(layouts, parts, strict=True)]
        slots, times, matches = (np.hstack([part[i] for part in parts]) for i in range(3))
        seen = np.column_stack([part[3] for part in parts])
        together = finalise_joined(Recipes.joined([lay.recipes for lay in layouts]), slots, times, matches, seen, at)
        assert np.array_equal(together, np.hstack(alone), equal_nan=True)
        assert np.array_equal(np.vstack([together[:2], together[2:]]), together, equal_nan=True)


def test_a_read_is_the_same_alone_and_among_many() -> None:
    layout = layout_of(view_of(7**40))
    rng = np.random.default_rng(1)
    ((slots, times, matches, seen),) = blocks([layout], 64, rng)
    at = AT + rng.integers(0, DAY_US, 64)
    together = finalise(layout, slots, times, matches, seen, at)
    for i in range(64):
        one = slice(i, i + 1)
        alone = finalise(layout, slots[one], times[one], matches[one], seen[one], at[one])
        assert np.array_equal(alone, together[one], equal_nan=True)
