"""Feast's online store over packed states: values are finalised when they are read, at the time asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from feast import Entity, FeatureView, RepoConfig
from feast.feature_service import FeatureService
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

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import ConfigError, ContractError, DataError
from mailwarden.settings import Settings
from mailwarden.stores.feast.online_rows import (
    EPOCH,
    INVALID,
    MICROSECOND,
    Answer,
    Row,
    RowsAsked,
    answers,
    replies_to,
)
from mailwarden.stores.feast.source import TIMESTAMP_FIELD, view_of
from mailwarden.stores.online.client import Client, open_client, round_trip, translated
from mailwarden.stores.online.generations import CHANGE, Catalog, Entry
from mailwarden.stores.online.keys import (
    KeyTemplate,
    catalog_field,
    catalog_key,
    sketch_field,
    state_field,
)
from mailwarden.stores.online.serving import Serving

_SCAN = 1000

DUE_FIELD = "due_seq"
"""Column of entity rows: the highest seq of the tenant that should have been folded by now."""

_at_us: ContextVar[tuple[int, ...]] = ContextVar("at_us", default=())
"""Times of the reads inside: one for all rows, or one a row; empty for now."""

_due_seq: ContextVar[tuple[int, ...]] = ContextVar("due_seq", default=())
"""What should be folded by the reads inside, one a row; empty to ask for nothing."""


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
    that the row is read for, and a `due_seq`. Statuses: NOT_FOUND for a key that was never seen, NULL_VALUE for a null
    of a key that was, PRESENT for a value, OUTSIDE_MAX_AGE for all three where the key's writer has not folded up to
    `due_seq`, INVALID where no state of the view can be read: it is not filled yet, or is of another definition. The
    event timestamp in the response is the key's newest event.
    """

    _client: Client | None = None
    _client_url = ""
    _serving: dict[str, Serving]

    def __init__(self) -> None:
        self._serving = {}

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Row]:
        """Values of one view for each key: newest event time and features, or (None, None) where never seen."""
        n = len(entity_keys)
        rows = self._read(config, [RowsAsked(table, entity_keys, _times(n), _dues(n), requested_features)])[0]
        return [row for row, _ in rows]

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
        moments, dues = columns.pop(TIMESTAMP_FIELD, None), columns.pop(DUE_FIELD, ())
        token = _at_us.set(tuple(map(_microseconds, moments)) if moments is not None else _at_us.get())
        due_token = _due_seq.set(tuple(map(_seq, dues)))
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
            _due_seq.reset(due_token)
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
            asked.append(RowsAsked(table, [protos[key] for key in key_of_row], _times(n), _dues(n), requested))
        for one, rows in zip(asked, self._read(config, asked), strict=True):
            first = len(online_features_response.results)
            _populate_response_from_feature_data(
                one.features,
                [row for row, _ in rows],
                [[row] for row in range(len(rows))],
                online_features_response,
                full_feature_names,
                one.table,
                len(rows),
                include_feature_view_version_metadata,
            )
            for vector in online_features_response.results[first:]:
                for row, value in enumerate(vector.values):
                    (_, found), status = rows[row]
                    if status is not None:
                        vector.statuses[row] = status
                    elif found is not None and value.WhichOneof("val") is None:
                        vector.statuses[row] = FieldStatus.NULL_VALUE

    def _read(self, config: RepoConfig, asked: Sequence[RowsAsked]) -> list[list[Answer]]:
        """Of each view its rows, each with the status that stands above those of its values, if any."""
        project, client = config.project, self._open(config)
        with translated("reading features for Feast"):
            serving = self._serving.get(project) or Serving.fetch(client, project)
            found = replies_to(client, project, serving, asked)
            if found.version != serving.version:
                serving = Serving.fetch(client, project)
                found = replies_to(client, project, serving, asked)
            self._serving[project] = serving
        found_rows = []
        for index, one in enumerate(asked):
            view, generation = view_of(one.table), serving.generation(view_of(one.table))
            if generation is None:
                found_rows.append([INVALID] * len(one.keys))
                continue
            rows = answers(view, [found.states[index, key] for key in range(len(one.keys))], one.times, one.features)
            late = [due > found.folded[index, key] for key, due in enumerate(one.dues)]
            found_rows.append(
                [
                    (row, FieldStatus.OUTSIDE_MAX_AGE if is_late and status is None else status)
                    for (row, status), is_late in zip(rows, late, strict=True)
                ]
            )
        return found_rows

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
        """Delete the states of views that are no more; there is nothing to set up for new ones.

        Writers fold such a view no more; to have it back, apply it and run `mailwarden materialize`.
        """
        kept = {catalog_field(view_of(table)) for table in tables_to_keep if _has_state(table)}
        for table in tables_to_delete:
            if _has_state(table) and catalog_field(view_of(table)) not in kept:
                self._delete(config, view_of(table))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Delete the state of these views in this project, and of no other project in the same database."""
        for table in tables:
            if _has_state(table):
                self._delete(config, view_of(table))

    def _delete(self, config: RepoConfig, view: ActivityView) -> None:
        template = KeyTemplate(config.project, view.keys)
        with translated(f"deleting the state of view {view.name}"):
            client = self._open(config)
            # First of all nobody folds it: a state that is deleted while it is folded would begin anew in the middle.
            last = _withdraw(client, config.project, view)
            fields = [
                name
                for generation in range(1, last + 1)
                for name in (state_field(view, generation), sketch_field(view, generation))
            ]
            if not fields:
                return
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
    return (aware - EPOCH) // MICROSECOND


def _times(n: int) -> list[int]:
    times = _at_us.get()
    if len(times) > 1:
        if len(times) != n:
            raise DataError(f"{len(times)} event timestamps for {n} rows; give one a row")
        return list(times)
    # Feast's own reads ask for the newest value; the path of a message hands its time in.
    at_us = times[0] if times else time.time_ns() // 1000
    return [at_us] * n


def _dues(n: int) -> list[int]:
    dues = _due_seq.get()
    if dues and len(dues) != n:
        raise DataError(f"{len(dues)} values of {DUE_FIELD} for {n} rows; give one a row")
    return list(dues) or [0] * n


def _seq(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)):
        raise DataError(f"{DUE_FIELD} is a {type(given).__name__}; give a whole number")
    return int(given)


def _withdraw(client: Client, project: str, view: ActivityView) -> int:
    """Leave a view without any generation that is folded or read; returns the last number that it had."""
    name, key = catalog_field(view), catalog_key(project)
    while True:
        catalog = Catalog.read(round_trip(client, [("HGETALL", key)])[0])
        entry = catalog.entries.get(name)
        if entry is None:
            return 0
        change = ("EVAL", CHANGE, 1, key, catalog.version, name, Entry(last=entry.last).to_bytes())
        if round_trip(client, [change])[0]:
            return entry.last
