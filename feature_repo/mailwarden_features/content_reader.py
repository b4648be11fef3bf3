"""Content of messages that were accepted before, for Feast's online read: from raw mail, by the code that serves.

feature_store.yaml names `open_reader` as `online_store.content_reader`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import structlog

from mailwarden.domain.mail.content import ContentSet, ContentValue, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Message
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.errors import ContractError
from mailwarden.ingest.parse import parse_message
from mailwarden.logs import FailureLog
from mailwarden.settings import Settings
from mailwarden.stores.content_code import content_set
from mailwarden.stores.lake.raw_mail import RawMail, RawRow
from mailwarden.stores.lists import load_lists
from mailwarden.stores.sql import Tenants, open_engine
from mailwarden_features.discovery import discover

Content = Mapping[str, Mapping[str, ContentValue]]
Read = Callable[[Mapping[str, int], Sequence[Event]], list[Content | None]]


def open_reader(settings: Settings) -> Read:
    """A reader of views' values for messages of the event log, over the raw mail of these settings."""
    raw_mail = RawMail(settings.raw_path)

    def read(versions: Mapping[str, int], events: Sequence[Event]) -> list[Content | None]:
        """By view the values of each message, None where its raw mail is gone.

        versions: of the views that are asked, by name. Raises ContractError where a view is another.
        """
        views = _views(settings.lists_path).only(versions)
        _check(views.views, versions)
        times: dict[str, dict[str, int]] = defaultdict(dict)
        for event in events:
            times[event.tenant][event.message_id] = event.received_at_us
        rows = {tenant: raw_mail.of_messages(tenant, received) for tenant, received in times.items()}
        trusted = _trusted(settings.database)
        failures = FailureLog(structlog.get_logger(__name__), "a content view failed", "view")
        found: list[Content | None] = []
        for event in events:
            row = rows[event.tenant].get(event.message_id)
            if row is None:
                found.append(None)
                continue
            message = _parse(row, trusted.get(event.tenant, NO_TRUST))
            computed = views.values_of(message, lambda view, exc: failures.add(view.name, exc))
            found.append({view.name: _named(view, computed.values[view.name]) for view in views.views})
        return found

    return read


def _check(views: Sequence[ContentView], versions: Mapping[str, int]) -> None:
    there = {view.name: view.version for view in views}
    for name, version in versions.items():
        if there.get(name) != version:
            here = f"version {there[name]}" if name in there else "no such view"
            raise ContractError(
                f"view {name} version {version} is in Feast's registry, and the code has {here}; run "
                "`feast -c feature_repo apply`"
            )


def _named(view: ContentView, values: Sequence[ContentValue]) -> Mapping[str, ContentValue]:
    return {feature.name: value for feature, value in zip(view.features, values, strict=True)}


def _parse(row: RawRow, trust: Trust) -> Message:
    envelope = row.envelope
    return parse_message(row.raw, envelope, trust=envelope.trust_or(trust))


def _trusted(database: str) -> dict[str, Trust]:
    engine = open_engine(database)
    try:
        return {tenant.name: tenant.trusts for tenant in Tenants(engine).list()}
    finally:
        engine.dispose()


@lru_cache(maxsize=1)
def _views(lists: Path | None) -> ContentSet:
    return content_set(discover().content, load_lists(lists))
