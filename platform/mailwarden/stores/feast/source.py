"""The data source of our views: it carries the view itself, as data, and needs neither files nor a JVM to exist."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from feast import FeatureView, RepoConfig, ValueType
from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto

from mailwarden.domain.aggregates.definitions import ActivityView, Distinct, Extreme, Feature, Measure, Peak, Recent
from mailwarden.domain.aggregates.expressions import EXPRESSIONS
from mailwarden.domain.aggregates.windows import Window
from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.errors import ContractError

TIMESTAMP_FIELD = "event_timestamp"

_CLASS = "mailwarden.stores.feast.source.ViewSource"
_EXPRESSIONS = {kind.__name__: kind for kind in EXPRESSIONS}
_AGGREGATES = {"measures": Measure, "extremes": Extreme, "distincts": Distinct, "peaks": Peak, "recents": Recent}


@dataclass(frozen=True, slots=True)
class ContentDefinition:
    """What a content view's files hold, without the function that computes them."""

    name: str
    version: int
    owner: str
    description: str
    features: tuple[ContentFeature, ...]

    @classmethod
    def of(cls, view: ContentView) -> ContentDefinition:
        """The definition of a content view."""
        return cls(view.name, view.version, view.owner, view.description, view.features)


Definition = ActivityView | ContentDefinition


def to_json(definition: Definition) -> str:
    """A definition as JSON that `from_json` reads back equal."""
    body = asdict(definition)
    if isinstance(definition, ActivityView):
        for feature, written in zip(definition.features, body["features"], strict=True):
            written["expression"] = {"is": type(feature.expression).__name__, **written["expression"]}
    return json.dumps({"is": type(definition).__name__, **body}, sort_keys=True)


def from_json(text: str | bytes) -> Definition:
    """The definition that `to_json` wrote; raises ContractError where it is of another release."""
    try:
        body = json.loads(text)
        kind = body.pop("is")
        if kind == ContentDefinition.__name__:
            body["features"] = tuple(ContentFeature(**feature) for feature in body["features"])
            return ContentDefinition(**body)
        for field, aggregate in _AGGREGATES.items():
            body[field] = tuple(aggregate(**{**one, "where": tuple(one["where"])}) for one in body.get(field, ()))
        body["features"] = tuple(_feature(feature) for feature in body["features"])
        return ActivityView(**{**body, "keys": tuple(body["keys"])})
    except (ValueError, KeyError, TypeError) as exc:
        raise ContractError(f"a view in Feast's registry cannot be read ({exc!r}); run `feast apply` again") from exc


def _feature(body: dict[str, Any]) -> Feature:
    expression = dict(body["expression"])
    kind = _EXPRESSIONS[expression.pop("is")]
    return Feature(**{**body, "expression": kind(**{name: _argument(given) for name, given in expression.items()})})


def _argument(given: Any) -> Any:
    """A window, or numbers or windows in a row, as they were before JSON."""
    if isinstance(given, dict):
        return Window(**given)
    return tuple(_argument(one) for one in given) if isinstance(given, list) else given


class ViewSource(DataSource):  # type: ignore[misc]
    """Where a view's values come from: the event log, or for the content view the offline files."""

    def __init__(self, definition: Definition, *, name: str = "") -> None:
        super().__init__(
            name=name or f"{definition.name}_source",
            timestamp_field=TIMESTAMP_FIELD,
            description=definition.description,
            owner=definition.owner,
        )
        self.definition = definition

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ViewSource) and super().__eq__(other) and self.definition == other.definition

    def __hash__(self) -> int:
        return hash((self.name, self.definition))

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> ViewSource:
        """The source that `to_proto` wrote."""
        return ViewSource(from_json(data_source.custom_options.configuration), name=data_source.name)

    def _to_proto_impl(self) -> DataSourceProto:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=to_json(self.definition).encode()),
            timestamp_field=self.timestamp_field,
            description=self.description,
            owner=self.owner,
        )

    def validate(self, config: RepoConfig) -> None:
        """Always valid: it needs no data to exist, so that a new clone can be applied."""

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """Columns and their types, from the definition."""
        keys = ("message_id",) if isinstance(self.definition, ContentDefinition) else self.definition.keys
        names = [("tenant", "string"), *((key, "string") for key in keys)]
        return [*names, (TIMESTAMP_FIELD, "timestamp"), *((f.name, f.dtype) for f in self.definition.features)]

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """Feast's type of a column's type."""
        types = {
            "string": ValueType.STRING,
            "int64": ValueType.INT64,
            "float64": ValueType.DOUBLE,
            "timestamp": ValueType.UNIX_TIMESTAMP,
        }
        return types.__getitem__

    def source_type(self) -> DataSourceProto.SourceType.ValueType:
        """Feast's word for a source that it does not know."""
        return DataSourceProto.CUSTOM_SOURCE


def definition_of(feature_view: FeatureView) -> Definition:
    """The definition behind a Feast feature view; raises ContractError where it is not one of ours."""
    source = feature_view.batch_source
    if not isinstance(source, ViewSource):
        raise ContractError(
            f"feature view {feature_view.name} has a source of type {type(source).__name__}; "
            "make it with mailwarden.stores.feast.objects.feature_view_of"
        )
    return source.definition


def view_of(feature_view: FeatureView) -> ActivityView:
    """The activity view behind a Feast feature view; raises ContractError where it is none."""
    definition = definition_of(feature_view)
    if not isinstance(definition, ActivityView):
        raise ContractError(f"feature view {feature_view.name} is computed from the message alone: it has no state")
    return definition
