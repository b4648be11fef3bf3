"""Feast's online store over packed states: values are finalised when they are read, at the time asked for."""

from __future__ import annotations

import asyncio
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
from pydantic import Field, SecretStr, StrictStr

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.recent import Members
from mailwarden.domain.mail.events import Event
from mailwarden.errors import ConfigError, ContractError, DataError
from mailwarden.settings import Settings
from mailwarden.stores.asked import MESSAGE_KEYS
from mailwarden.stores.feast.messages_asked import Content, content_of, content_reader, events_of, proto_of
from mailwarden.stores.feast.online_delete import delete_states
from mailwarden.stores.feast.online_request import Wanted, checked, columns_of, completed, needs_messages
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
from mailwarden.stores.feast.source import TIMESTAMP_FIELD, ContentDefinition, definition_of, view_of
from mailwarden.stores.online.client import Client, open_client, translated
from mailwarden.stores.online.keys import catalog_field
from mailwarden.stores.online.serving import Serving

DUE_FIELD = "due_seq"
"""Column of entity rows: the highest seq of the tenant that should have been folded by now."""

_at_us: ContextVar[tuple[int, ...]] = ContextVar("at_us", default=())
"""Times of the reads inside: one for all rows, or one a row; empty for now."""

_due_seq: ContextVar[tuple[int, ...]] = ContextVar("due_seq", default=())
"""What should be folded by the reads inside, one a row; empty to ask for nothing."""

_own: ContextVar[tuple[Mapping[str, Members], ...]] = ContextVar("own", default=())
"""The own sets of the reads inside, one mapping a row; empty for reads of no message."""

_events: ContextVar[tuple[Event | None, ...]] = ContextVar("events", default=())
"""The messages of the reads inside, one a row; empty where rows name none."""


class RedisStateOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The online store's part of feature_store.yaml.

    redis_url: a Redis database that holds one project alone; MAILWARDEN_REDIS_URL where none is written.
    timeout_seconds: of connecting and of each reply. content_reader: dotted name of a function from Settings to a
    `messages_asked.ContentReader`, for views that are computed from a message alone; without one they are refused.
    """

    type: Literal["mailwarden.stores.feast.online.RedisStateOnlineStore"] = (
        "mailwarden.stores.feast.online.RedisStateOnlineStore"
    )
    redis_url: SecretStr = Field(default_factory=lambda: Settings().redis_url)
    timeout_seconds: float = 5.0
    content_reader: StrictStr = ""


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
    that the row is read for, and a `due_seq`. Rows that name a message, by `tenant` and `message_id`, may leave out
    what it says itself: keys but the recipient, and `own__<fact>` (lists of strings), which features that compare the
    message with the past need. The event log is searched for it, and content is computed from its raw mail. What rows
    do not say and nobody can look up is refused, in words.

    Statuses: NOT_FOUND for a key that was never seen, and for content without raw mail; NULL_VALUE for a null of a key
    that was seen, PRESENT for a value, OUTSIDE_MAX_AGE for all three where the key's writer has not folded up to
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
        rows = self._read(config, [RowsAsked(table, entity_keys, _times(n), _dues(n), requested_features, ())])[0]
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
        """Feast's read; `event_timestamp` in the rows is the time of each read. One round trip for all views.

        Raises DataError where rows lack a key, have one that is misspelt, or do not say what a feature needs.
        """
        columns = columns_of(entity_rows)
        moments, dues = columns.pop(TIMESTAMP_FIELD, None), columns.pop(DUE_FIELD, ())
        wanted = Wanted.of(registry, project, features, full_feature_names)
        left_out = checked(wanted, columns, full_feature_names=full_feature_names, also=_not_given(moments, dues))
        for definition in wanted.content[:1]:
            content_reader(config, definition.name)
        events = None
        if needs_messages(wanted, columns, left_out):
            events = events_of(config, *(columns[key] for key in MESSAGE_KEYS))
        request = completed(wanted, columns, left_out, events)
        token = _at_us.set(tuple(map(_microseconds, moments)) if moments is not None else _at_us.get())
        due_token = _due_seq.set(tuple(map(_seq, dues)))
        own_token, events_token = _own.set(request.own), _events.set(tuple(events or ()))
        try:
            return super().get_online_features(
                config=config,
                features=features,
                entity_rows=request.columns,
                registry=registry,
                project=project,
                full_feature_names=full_feature_names,
                include_feature_view_version_metadata=include_feature_view_version_metadata,
            )
        finally:
            _events.reset(events_token)
            _own.reset(own_token)
            _due_seq.reset(due_token)
            _at_us.reset(token)

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> OnlineResponse:
        """The same read, in a thread: Feast's own would pass the checks by."""
        return await asyncio.to_thread(self.get_online_features, *args, **kwargs)

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
            keys = [protos[key] for key in key_of_row]
            asked.append(RowsAsked(table, keys, _times(n), _dues(n), requested, _own.get()))
        states = [one for one in asked if _has_state(one.table)]
        found = dict(zip(map(id, states), self._read(config, states), strict=True))
        definitions = [d for one in asked if isinstance(d := definition_of(one.table), ContentDefinition)]
        content = content_of(config, definitions, _events.get())
        for one in asked:
            answered = found[id(one)] if id(one) in found else _content(one, content)
            first = len(online_features_response.results)
            _populate_response_from_feature_data(
                one.features,
                [row for row, _ in answered],
                [[row] for row in range(len(answered))],
                online_features_response,
                full_feature_names,
                one.table,
                len(answered),
                include_feature_view_version_metadata,
            )
            for vector in online_features_response.results[first:]:
                for row, value in enumerate(vector.values):
                    (_, values), status = answered[row]
                    if status is not None:
                        vector.statuses[row] = status
                    elif values is not None and value.WhichOneof("val") is None:
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
            states = [found.states[index, key] for key in range(len(one.keys))]
            rows = answers(view, states, one.times, one.features, one.own)
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
        with translated(f"deleting the state of view {view.name}"):
            delete_states(self._open(config), config.project, view)

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


def _not_given(moments: Any, dues: Any) -> list[str]:
    """What a column that nothing reads may have been meant for."""
    return [name for name, given in ((TIMESTAMP_FIELD, moments is not None), (DUE_FIELD, bool(dues))) if not given]


def _content(one: RowsAsked, found: Sequence[Content | None]) -> list[Answer]:
    """Rows of a view that is computed from messages alone: each message's time and values."""
    definition = definition_of(one.table)
    dtypes = {feature.name: feature.dtype for feature in definition.features}
    wanted = [name for name in dtypes if one.features is None or name in one.features]
    rows: list[Answer] = []
    for event, content in zip(_events.get(), found, strict=True):
        if event is None or content is None:
            rows.append(((None, None), None))
            continue
        values = content[definition.name]
        at = EPOCH + event.received_at_us * MICROSECOND
        rows.append(((at, {name: proto_of(values[name], dtypes[name]) for name in wanted}), None))
    return rows


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
