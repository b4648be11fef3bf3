"""Feast's online store over packed states: values are finalised when they are read, at the time asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
from feast import Entity, FeatureView, RepoConfig
from feast.feature_service import FeatureService
from feast.infra.online_stores.helpers import _redis_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from feast.utils import (
    _get_entity_key_protos,
    _get_unique_entities,
    _populate_response_from_feature_data,
)
from pydantic import Field, SecretStr

from mailwarden.domain.finalise import finalise
from mailwarden.domain.layout import layout_of
from mailwarden.domain.state import NEVER, read_slots
from mailwarden.domain.views import ActivityView
from mailwarden.errors import ConfigError, ContractError, DataError
from mailwarden.settings import Settings
from mailwarden.stores.feast.source import TIMESTAMP_FIELD, view_of
from mailwarden.stores.online.client import Client, open_client, round_trip, translated
from mailwarden.stores.online.keys import KeyTemplate, sketch_field, state_field

_Row = tuple[datetime | None, dict[str, Value] | None]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCAN = 1000

_at_us: ContextVar[tuple[int, ...]] = ContextVar("at_us", default=())
"""Times of the reads inside: one for all rows, or one a row; empty for now."""


class RedisStateOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The online store's part of feature_store.yaml.

    redis_url: a Redis database that holds one project alone; MAILWARDEN_REDIS_URL where none is written.
    timeout_seconds: of connecting and of each reply.
    """

    type: Literal["mailwarden.stores.feast.online.RedisStateOnlineStore"] = (
        "mailwarden.stores.feast.online.RedisStateOnlineStore"
    )
    redis_url: SecretStr = Field(default_factory=lambda: Settings().redis_url)
    timeout_seconds: float = 5.0


@contextmanager
def read_at(at_us: int) -> Iterator[None]:
    """Finalise Feast reads inside at this time, microseconds UTC; outside they are finalised now."""
    token = _at_us.set((at_us,))
    try:
        yield
    finally:
        _at_us.reset(token)


class RedisStateOnlineStore(OnlineStore):  # type: ignore[misc]
    """Reads packed states and finalises them.

    `get_online_features` takes an `event_timestamp` in its entity rows (datetime; without a zone it is UTC), the time
    that the row is read for. Statuses: NOT_FOUND for a key that was never seen, NULL_VALUE for a null of a key that
    was, PRESENT for a value. The event timestamp in the response is the key's newest event.
    """

    _client: Client | None = None
    _client_url = ""

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[_Row]:
        """Values of one view for each key: newest event time and features, or (None, None) where never seen."""
        return self._read(config, [(table, entity_keys, requested_features, _times(len(entity_keys)))])[0]

    def get_online_features(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: list[dict[str, Any]] | Mapping[str, Any],
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Feast's read; `event_timestamp` in the rows is the time of each read. One round trip for all views."""
        columns = _columns(entity_rows)
        moments = columns.pop(TIMESTAMP_FIELD, None)
        token = _at_us.set(tuple(map(_microseconds, moments)) if moments is not None else _at_us.get())
        try:
            return super().get_online_features(
                config=config,
                features=features,
                entity_rows=columns,
                registry=registry,
                project=project,
                full_feature_names=full_feature_names,
                include_feature_view_version_metadata=include_feature_view_version_metadata,
            )
        finally:
            _at_us.reset(token)

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        asked = []
        for table, requested in grouped_refs:
            unique, places, n = _get_unique_entities(table, join_key_values, entity_name_to_join_key_map)
            # Rows of one key may be read for different times, so each row is answered by itself.
            key_of_row = [0] * n
            for key, rows in enumerate(places):
                for row in rows:
                    key_of_row[row] = key
            protos = _get_entity_key_protos(unique)
            asked.append((table, [protos[key] for key in key_of_row], requested, _times(n)))
        for (table, keys, requested, _), rows in zip(asked, self._read(config, asked), strict=True):
            first = len(online_features_response.results)
            _populate_response_from_feature_data(
                requested,
                rows,
                [[row] for row in range(len(keys))],
                online_features_response,
                full_feature_names,
                table,
                len(keys),
                include_feature_view_version_metadata,
            )
            for vector in online_features_response.results[first:]:
                for row, value in enumerate(vector.values):
                    if rows[row][1] is not None and value.WhichOneof("val") is None:
                        vector.statuses[row] = FieldStatus.NULL_VALUE

    def _read(
        self,
        config: RepoConfig,
        asked: Sequence[tuple[FeatureView, list[EntityKey], list[str] | None, list[int]]],
    ) -> list[list[_Row]]:
        views = [view_of(table) for table, *_ in asked]
        commands: dict[tuple[bytes, bytes], int] = {}
        places: list[list[int]] = []
        for view, (_, keys, _, _) in zip(views, asked, strict=True):
            field = state_field(view)
            names = [(_redis_key(config.project, key, 3), field) for key in keys]
            places.append([commands.setdefault(name, len(commands)) for name in names])
        with translated("reading features for Feast"):
            states = round_trip(self._open(config), [("HGET", key, field) for key, field in commands])
        return [
            _rows(view, [states[place] for place in row_places], times, requested)
            for view, row_places, (_, _, requested, times) in zip(views, places, asked, strict=True)
        ]

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Refused, with ContractError: the store keeps states, and a value cannot be turned back into one."""
        raise ContractError(
            f"feature view {table.name}: values cannot be written online, because windows slide without events and "
            "the store keeps states; run `mailwarden materialize`, or hand events to the feature writer"
        )

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Delete the state of views that are no more; there is nothing to set up for new ones."""
        kept = {state_field(view_of(table)) for table in tables_to_keep if _has_state(table)}
        for table in tables_to_delete:
            if _has_state(table) and state_field(view_of(table)) not in kept:
                self._delete(config, view_of(table))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Delete the state of these views in this project, and of no other project in the same database."""
        for table in tables:
            if _has_state(table):
                self._delete(config, view_of(table))

    def _delete(self, config: RepoConfig, view: ActivityView) -> None:
        template = KeyTemplate(config.project, view.keys)
        fields = (state_field(view), sketch_field(view))
        with translated(f"deleting the state of view {view.name}"):
            client = self._open(config)
            batch: list[tuple[Any, ...]] = []
            for key in client.scan_iter(match=template.scan_pattern(), count=_SCAN):
                if template.owns(key):
                    batch.append(("HDEL", key, *fields))
                if len(batch) == _SCAN:
                    round_trip(client, batch)
                    batch = []
            if batch:
                round_trip(client, batch)

    def _open(self, config: RepoConfig) -> Client:
        url = config.online_store.redis_url.get_secret_value()
        if not url:
            raise ConfigError("online_store.redis_url is empty; set it in feature_store.yaml or MAILWARDEN_REDIS_URL")
        if self._client is None or self._client_url != url:
            self._client = open_client(url, timeout_seconds=config.online_store.timeout_seconds)
            self._client_url = url
        return self._client


def _has_state(table: FeatureView) -> bool:
    try:
        view_of(table)
    except ContractError:
        return False
    return True


def _columns(entity_rows: list[dict[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(entity_rows, list):
        return dict(entity_rows)
    names = list(entity_rows[0]) if entity_rows else []
    for row in entity_rows:
        if set(row) != set(names):
            raise DataError(
                f"entity rows have different keys ({', '.join(names)} and {', '.join(row)}); give each the same"
            )
    return {name: [row[name] for row in entity_rows] for name in names}


def _microseconds(moment: datetime) -> int:
    if not isinstance(moment, datetime):
        raise DataError(f"event_timestamp is a {type(moment).__name__}; give a datetime")
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def _times(n: int) -> list[int]:
    times = _at_us.get()
    if len(times) > 1:
        if len(times) != n:
            raise DataError(f"{len(times)} event timestamps for {n} rows; give one a row")
        return list(times)
    # Feast's own reads ask for the newest value; the path of a message hands its time in.
    at_us = times[0] if times else time.time_ns() // 1000
    return [at_us] * n


def _rows(
    view: ActivityView, states: Sequence[bytes | None], times: Sequence[int], requested: list[str] | None
) -> list[_Row]:
    layout = layout_of(view)
    at_us = np.array(times, dtype=np.int64)
    slots, extremes, seen, last_seq = read_slots(layout, states, at_us)
    values = finalise(layout, slots, extremes, seen, at_us)
    wanted = [
        (index, feature.name, feature.dtype == "int64")
        for index, feature in enumerate(view.features)
        if requested is None or feature.name in requested
    ]
    rows: list[_Row] = []
    for row, state in enumerate(states):
        if state is None or last_seq[row] == NEVER:
            rows.append((None, None))
            continue
        found = {name: _value(float(values[row, index]), is_integer) for index, name, is_integer in wanted}
        newest_us = int(np.frombuffer(state, dtype="<i8", count=3)[2])
        rows.append((_EPOCH + newest_us * _MICROSECOND, found))
    return rows


def _value(value: float, is_integer: bool) -> Value:
    if np.isnan(value):
        return Value()
    return Value(int64_val=int(value)) if is_integer else Value(double_val=value)
