"""A view in Feast's registry is data, and comes back equal: every kind of aggregate and expression."""

from __future__ import annotations

import json

import pytest

from mailwarden.domain.aggregates import expressions
from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Decayed,
    Distinct,
    Expression,
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
from mailwarden.domain.aggregates.windows import DAY_US, W_7D, W_30D, W_90D, W_90D_MATURED
from mailwarden.errors import ContractError
from mailwarden.stores.feast.source import ViewSource, from_json, to_json

EXPRESSIONS: tuple[Expression, ...] = (
    Total("got", W_7D),
    Ratio("bad", "got", W_90D_MATURED, (0.5, 1.0)),
    Surge("got", W_7D, W_90D, "first"),
    Unusual("hours", "hour", W_30D),
    Decayed("got", 7 * DAY_US, (W_7D, W_30D)),
    Age("first"),
    Held("first"),
    Match("groups", W_90D),
    Match("groups"),
    History(),
)
VIEW = ActivityView(
    name="names",
    version=3,
    owner="tests",
    description="by name and link",
    keys=("display_name", "link_domain"),
    emission="facts",
    measures=(
        Measure("got", where=("inbound",)),
        Measure("bad", "labelled_bad", (), "label"),
        *profile_of("hours", "hour"),
    ),
    extremes=(Extreme("first", "first", ("inbound",), of="size_bytes"),),
    distincts=(Distinct("people", "recipients"),),
    features=tuple(Feature(f"f{i}", given, "a value", "unit") for i, given in enumerate(EXPRESSIONS)),
    peaks=(Peak("largest", "max", "size_bytes", ("inbound",)),),
    recents=(Recent("groups", "recipients", 5, ("outbound",)),),
)


def test_every_kind_of_aggregate_and_expression_comes_back_equal() -> None:
    assert {type(given) for given in EXPRESSIONS} == set(expressions.EXPRESSIONS)
    assert from_json(to_json(VIEW)) == VIEW
    assert ViewSource.from_proto(ViewSource(VIEW).to_proto()) == ViewSource(VIEW)


def test_a_registry_of_before_there_were_peaks_is_read() -> None:
    body = json.loads(to_json(VIEW))
    del body["peaks"], body["recents"]
    found = from_json(json.dumps(body))
    assert isinstance(found, ActivityView)
    assert (found.peaks, found.recents, found.measures) == ((), (), VIEW.measures)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x80", '{"is": "Other"}', to_json(VIEW).replace("Surge", "Gone")])
def test_what_is_no_view_is_said(text: str) -> None:
    for given in (text, text.encode("latin-1")):
        with pytest.raises(ContractError, match="run `feast apply` again"):
            from_json(given)
