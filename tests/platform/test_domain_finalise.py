from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mailwarden.domain.finalise import NO_TIME, finalise, finalise_joined
from mailwarden.domain.layout import Layout, Recipes, layout_of
from mailwarden.domain.views import ActivityView, Age, Extreme, Feature, History, Measure, Ratio, Total
from mailwarden.domain.windows import DAY_US, W_1D, W_7D
from mailwarden.testing.histories import PIECE_BITS, view_of

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
    found = finalise(layout, none.reshape(0, 3), none.reshape(0, 2), none.astype(bool), none)
    assert found.shape == (0, len(VIEW.features))


Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def blocks(layouts: Sequence[Layout], n: int, rng: np.random.Generator) -> list[Part]:
    return [
        (
            rng.integers(-3, 4, (n, len(layout.slots))),
            np.where(rng.random((n, len(layout.extreme_names))) < 0.3, NO_TIME, AT - rng.integers(0, DAY_US)),
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
        slots, times = np.hstack([part[0] for part in parts]), np.hstack([part[1] for part in parts])
        seen = np.hstack(
            [np.repeat(part[2][:, None], len(lay.feature_names), 1) for lay, part in zip(layouts, parts, strict=True)]
        )
        together = finalise_joined(Recipes.joined(layouts), slots, times, seen, at)
        assert np.array_equal(together, np.hstack(alone), equal_nan=True)
        assert np.array_equal(np.vstack([together[:2], together[2:]]), together, equal_nan=True)


def test_a_read_is_the_same_alone_and_among_many() -> None:
    layout = layout_of(view_of(7**40))
    rng = np.random.default_rng(1)
    ((slots, times, seen),) = blocks([layout], 64, rng)
    at = AT + rng.integers(0, DAY_US, 64)
    together = finalise(layout, slots, times, seen, at)
    for i in range(64):
        one = slice(i, i + 1)
        alone = finalise(layout, slots[one], times[one], seen[one], at[one])
        assert np.array_equal(alone, together[one], equal_nan=True)
