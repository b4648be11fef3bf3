"""The messages that rows of Feast's online read name, and their content."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from feast import RepoConfig
from feast.protos.feast.types.Value_pb2 import Value

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.events import Event
from mailwarden.errors import ConfigError, DataError
from mailwarden.settings import Settings
from mailwarden.stores.asked import MESSAGE_KEYS
from mailwarden.stores.feast.source import ContentDefinition
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets

MOST_MESSAGES = 1_000
"""Messages that one call may name: the lake keeps no index by message_id, so that each is searched for."""

Content: TypeAlias = Mapping[str, Mapping[str, ContentValue]]
"""By view, each feature's value."""

ContentReader: TypeAlias = Callable[[Mapping[str, int], Sequence[Event]], Sequence[Content | None]]
"""Views with the version of each, and messages, to the values of each message; None where its raw mail is gone."""


def events_of(config: RepoConfig, tenants: Sequence[Any], message_ids: Sequence[Any]) -> list[Event | None]:
    """The event of each row's message; None for a row whose message_id is null.

    With the newest facts. Searches all days of a tenant's bucket in the event log, whose rows are narrow. Raises
    DataError where a call names more than `MOST_MESSAGES`, or the log does not hold one.
    """
    asked = {(tenant, name) for tenant, name in zip(tenants, message_ids, strict=True) if name is not None}
    if len(asked) > MOST_MESSAGES:
        raise DataError(
            f"{len(asked)} messages are named in one online read, which may name {MOST_MESSAGES}: each is searched "
            "for in the lake; ask get_historical_features"
        )
    settings = _settings(config)
    sets = FactSets(settings.facts_path, EventLog(settings.events_path))
    found: dict[tuple[str, str], Event] = {}
    for tenant in {tenant for tenant, _ in asked}:
        events = sets.view(tenant).find_all(tenant, {name for owner, name in asked if owner == tenant})
        found |= {(tenant, name): event for name, event in events.items()}
    missing = len(asked) - len(found)
    if missing:
        raise DataError(
            f"{missing} messages are not in the event log under their tenant, or not yet: what is scored is logged "
            "within seconds; ask for messages that were, or give keys and own facts yourself"
        )
    return [None if name is None else found[tenant, name] for tenant, name in zip(tenants, message_ids, strict=True)]


def content_reader(config: RepoConfig, view: str) -> ContentReader:
    """Who computes content online; raises ConfigError, in words about the view, where nobody is named."""
    name = config.online_store.content_reader
    if not name:
        raise ConfigError(
            f"view {view} is computed from the message alone, and this store names nobody who computes it online; set "
            "online_store.content_reader as feature_repo/feature_store.yaml does, or ask get_historical_features"
        )
    module, _, attribute = name.rpartition(".")
    try:
        open_reader: Callable[[Settings], ContentReader] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigError(f"online_store.content_reader {name!r} cannot be imported: {exc!r}") from exc
    return open_reader(_settings(config))


def content_of(
    config: RepoConfig, definitions: Sequence[ContentDefinition], events: Sequence[Event | None]
) -> list[Content | None]:
    """Values of these views for each row's message, computed from its raw mail by the code that serves.

    None for a row without a message, and where raw mail is gone.
    """
    if not definitions:
        return []
    named = {(event.tenant, event.message_id): event for event in events if event is not None}
    read = content_reader(config, definitions[0].name)
    versions = {definition.name: definition.version for definition in definitions}
    found = dict(zip(named, read(versions, list(named.values())), strict=True))
    return [None if event is None else found[event.tenant, event.message_id] for event in events]


def proto_of(value: ContentValue, dtype: str) -> Value:
    """A content value as Feast's."""
    if value is None:
        return Value()
    if dtype == "string":
        return Value(string_val=str(value))
    return Value(int64_val=int(value)) if dtype == "int64" else Value(double_val=float(value))


def _settings(config: RepoConfig) -> Settings:
    settings = getattr(config.offline_store, "settings", None)
    if settings is None:
        raise ConfigError(
            f"{' and '.join(MESSAGE_KEYS)} are looked up in the event log, and this store names none; configure "
            "offline_store as feature_repo/feature_store.yaml does"
        )
    found: Settings = settings()
    return found
