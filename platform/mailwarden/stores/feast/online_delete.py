"""States of a view that is no more, deleted from one project's Redis and from no other's."""

from __future__ import annotations

from typing import Any

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.stores.online.catalog import CHANGE, Catalog, Entry
from mailwarden.stores.online.client import Client, round_trip
from mailwarden.stores.online.keys import KeyTemplate, catalog_field, catalog_key, sketch_field, state_field

_SCAN = 1000


def delete_states(client: Client, project: str, view: ActivityView) -> None:
    """Have a view folded and read no more, and delete what it has in Redis; raises redis errors."""
    template = KeyTemplate(project, view.keys)
    # First of all nobody folds it: a state that is deleted while it is folded would begin anew in the middle.
    last = _withdraw(client, project, view)
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
