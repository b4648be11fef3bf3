"""Feast's entities are the keys that events can have, one join key each."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Extreme, Feature, History, Measure, Surge
from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.domain.aggregates.windows import W_7D, W_30D
from mailwarden.stores.feast.objects import ENTITIES, entity_names, feature_view_of


def test_every_fact_that_can_be_a_key_is_an_entity() -> None:
    keys = {entity.name: entity.join_key for entity in ENTITIES}
    assert keys == {name: name for name in ("tenant", "recipient", *FACTS)} | {"message": "message_id"}
    assert all(entity.description for entity in ENTITIES)


def test_a_view_of_a_fact_tells_all_its_windows() -> None:
    view = ActivityView(
        "odd", 3, "team", "Odd.", ("thread",), "facts", (Measure("messages"),), (Extreme("first", "first"),), (),
        (
            Feature("history", History(), "Seen.", "0 or 1"),
            Feature("surge_7d", Surge("messages", W_7D, W_30D, "first"), "Surge.", "sd", "too young"),
            Feature("age", Age("first"), "Age.", "days"),
        ),
    )  # fmt: skip
    assert entity_names(view) == ("tenant", "thread")
    made = feature_view_of(view)
    tags = {field.name: field.tags for field in made.features}
    assert tags["surge_7d"]["window"] == "7d, 30d" and tags["surge_7d"]["hop"] == "21600 s, 86400 s"
    assert "window" not in tags["age"] and made.tags["version"] == "3" and made.entities == ["tenant", "thread"]
