from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Distinct,
    Extreme,
    Feature,
    History,
    Measure,
    Ratio,
    Total,
)
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.recipes import KINDS, ONE, Recipes
from mailwarden.domain.aggregates.windows import W_7D, W_30D, W_90D, W_90D_MATURED, W_ALL, W_MATURED
from mailwarden.errors import ContractError
from mailwarden.testing.made_up_views import view_of


def feature(expression: Total | Ratio | Age | History, name: str = "f") -> Feature:
    return Feature(name, expression, "", "")


PLAIN = ActivityView(
    name="plain",
    version=1,
    owner="tests",
    description="",
    keys=("sender",),
    emission="participants",
    measures=(Measure("count"), Measure("bad", of="labelled_bad", on="label")),
    extremes=(Extreme("first", "first"),),
    distincts=(Distinct("people", "recipients"),),
    features=(feature(History(), "seen"), feature(Total("count", W_7D), "n")),
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measures": (Measure("count"), Measure("count"))}, "plain: an aggregate's name is used twice"),
        ({"extremes": (Extreme("count", "last"),)}, "plain: an aggregate's name is used twice"),
        ({"distincts": (Distinct("first", "sender"),)}, "plain: an aggregate's name is used twice"),
        ({"measures": (Measure("count", where=("sideways",)),)}, "count: unknown flag 'sideways'; use one of forward"),
        ({"extremes": (Extreme("first", "first", ("up",)),)}, "first: unknown flag 'up'"),
        ({"distincts": (Distinct("people", "sender", ("up",)),)}, "people: unknown flag 'up'"),
        ({"measures": (Measure("count", of="weight"),)}, "count: unknown quantity 'weight'; use one of size_bytes"),
        ({"features": (feature(Total("kount", W_ALL)),)}, "no aggregate 'kount'; it has count, bad, people"),
        ({"features": (feature(Ratio("count", "kount", W_ALL)),)}, "no aggregate 'kount'"),
        ({"features": (feature(Ratio("kount", "count", W_ALL)),)}, "no aggregate 'kount'"),
        ({"features": (feature(Total("first", W_ALL)),)}, "no aggregate 'first'"),
        ({"features": (feature(Age("last")),)}, "feature f: no extreme 'last'; it has first"),
        ({"features": (feature(Total("people", W_MATURED)),)}, "distinct counts have no window with an upper edge"),
        ({"features": (feature(Ratio("people", "count", W_90D_MATURED)),)}, "window with an upper edge (90d_matured)"),
    ],
)
def test_a_view_that_contradicts_itself_is_refused_in_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ContractError) as refused:
        layout_of(replace(PLAIN, **changes))  # type: ignore[arg-type]
    assert words in str(refused.value)
    assert "view plain" in str(refused.value)


def test_every_made_up_view_has_a_layout() -> None:
    for piece in range(0, 10**12, 10**10 + 7):
        view = view_of(piece)
        assert layout_of(view).feature_names == tuple(feature.name for feature in view.features)


def test_one_slot_serves_all_features_of_an_aggregate_and_window() -> None:
    features = (
        feature(Total("count", W_7D), "a"),
        feature(Ratio("bad", "count", W_7D), "b"),
        feature(Ratio("count", "count", W_7D), "c"),
        feature(Total("count", W_30D), "d"),
    )
    slots = layout_of(replace(PLAIN, features=features)).slots
    assert [(slot.total, slot.window.name) for slot in slots] == [(0, "7d"), (1, "7d"), (0, "30d")]


def test_windows_of_one_hop_share_a_level_that_reaches_as_far_as_the_longest() -> None:
    features = tuple(feature(Total("count", window), window.name) for window in (W_30D, W_90D, W_7D, W_MATURED, W_ALL))
    levels = layout_of(replace(PLAIN, features=features)).levels
    assert [(level.hop_us, level.length_us) for level in levels] == [
        (W_7D.hop_us, W_7D.length_us),
        (W_90D.hop_us, W_90D.length_us),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"name": "other"},
        {"emission": "recipients"},
        {"measures": (Measure("count", where=("inbound",)), Measure("bad", of="labelled_bad", on="label"))},
        {"extremes": (Extreme("first", "last"),)},
        {"distincts": (Distinct("people", "sender"),)},
        {"features": (feature(Total("count", W_90D), "n"),)},
    ],
)
def test_a_state_of_another_meaning_has_another_fingerprint(changes: dict[str, object]) -> None:
    assert layout_of(replace(PLAIN, **changes)).fingerprint != layout_of(PLAIN).fingerprint  # type: ignore[arg-type]


def test_words_about_a_feature_do_not_make_states_unreadable() -> None:
    described = tuple(replace(f, description="better words", unit="messages") for f in PLAIN.features)
    assert layout_of(replace(PLAIN, features=described)).fingerprint == layout_of(PLAIN).fingerprint


def test_joined_recipes_point_past_the_views_before() -> None:
    parts = [layout_of(view_of(piece)).recipes for piece in (0, 3**60, 5**40)]
    joined = Recipes.joined(parts)
    assert joined.n_slots == sum(part.n_slots for part in parts)
    assert joined.n_times == sum(part.n_times for part in parts)
    assert joined.kinds.tolist() == [kind for part in parts for kind in part.kinds.tolist()]
    assert joined.views.tolist() == [index for index, part in enumerate(parts) for _ in part.kinds]
    for index, part in enumerate(parts):
        ratios = part.kinds == KINDS.index("ratio")
        moved = joined.slots[joined.views == index][ratios][:, :2]
        before = sum(earlier.n_slots for earlier in parts[:index])
        alone = part.slots[ratios][:, :2]
        assert np.array_equal(moved, np.where(alone == ONE, ONE, alone + before))
