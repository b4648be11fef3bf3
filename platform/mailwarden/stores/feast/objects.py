"""Feast objects of our views: entities and feature views."""

from __future__ import annotations

from datetime import timedelta

from feast import Entity, FeatureView, Field, ValueType
from feast.types import FeastType, Float64, Int64, String

from mailwarden.domain.aggregates.definitions import ActivityView, Feature
from mailwarden.domain.aggregates.fact_specs import NAME_FACTS
from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.errors import ContractError
from mailwarden.stores.feast.source import ContentDefinition, ViewSource

_DESCRIPTIONS = {
    "tenant": "the organisation whose mail it is; every view is keyed by it first",
    **{fact.name: fact.words for fact in NAME_FACTS if fact.key},
    "recipient": "normalised address of one recipient",
    "message": "one message as it arrived",
}

ENTITIES: tuple[Entity, ...] = tuple(
    Entity(
        name=name,
        join_keys=["message_id" if name == "message" else name],
        value_type=ValueType.STRING,
        description=description,
    )
    for name, description in _DESCRIPTIONS.items()
)
"""The tenant, `fact_specs.FACTS`, the recipient and the message: one join key each, all strings."""

_TYPES: dict[str, FeastType] = {"int64": Int64, "float64": Float64, "string": String}
_BY_NAME = {entity.name: entity for entity in ENTITIES}


def entity_names(view: ActivityView | ContentView) -> tuple[str, ...]:
    """Names of the entities that a view is keyed by, the tenant first."""
    return ("tenant", "message") if isinstance(view, ContentView) else ("tenant", *view.keys)


def feature_view_of(view: ActivityView | ContentView) -> FeatureView:
    """A view as Feast knows it: fields with description, unit, window, hop and the meaning of null.

    The content view is offline only: at score time its values come with the request.
    Raises ContractError where a key is no entity.
    """
    names = entity_names(view)
    unknown = [name for name in names if name not in _BY_NAME]
    if unknown:
        raise ContractError(f"view {view.name}: no entity {unknown[0]!r}; there are {', '.join(_BY_NAME)}")
    definition = ContentDefinition.of(view) if isinstance(view, ContentView) else view
    return FeatureView(
        name=view.name,
        entities=[_BY_NAME[name] for name in names],
        schema=[_field(feature) for feature in view.features],
        source=ViewSource(definition),
        ttl=timedelta(0),
        online=isinstance(view, ActivityView),
        description=view.description,
        owner=view.owner,
        tags={"version": str(view.version)},
    )


def _field(feature: Feature | ContentFeature) -> Field:
    tags = {"unit": feature.unit, "null": feature.null}
    windows = feature.windows if isinstance(feature, Feature) else ()
    if windows:
        tags["window"] = ", ".join(window.name for window in windows)
        tags["hop"] = ", ".join(f"{window.hop_us // 1_000_000} s" for window in windows)
        matured = [f"{window.until_us // 1_000_000} s" for window in windows if window.until_us]
        if matured:
            tags["matured_after"] = ", ".join(matured)
    return Field(
        name=feature.name,
        dtype=_TYPES[feature.dtype],
        description=feature.description,
        tags={name: value for name, value in tags.items() if value},
    )
