"""States in Redis held against the event log: what every writer made of it, whatever died when.

Each state is compared with one fold after another, byte for byte, and values of some keys with the naive recount.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.recent import own_set
from mailwarden.domain.mail.events import Event
from mailwarden.settings import Settings
from mailwarden.stores.online.catalog import Catalog
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.keys import KeyTemplate, encoded, state_field
from mailwarden.testing.folded import folded
from mailwarden.testing.histories import own_of
from mailwarden.testing.naive_recount import recount


def check_states(
    settings: Settings, views: Sequence[ActivityView], catalog: Catalog, events: Sequence[Event], *, naive_every: int
) -> int:
    """How many values were recounted; raises AssertionError with view and key where a state is not the log's.

    settings: name the Redis. catalog: which state of a view serves. events: all that the log has of some tenants.
    naive_every: of how many keys one is recounted. A key of theirs that Redis holds and no event has is an error too.
    """
    by_tenant: dict[str, list[Event]] = {}
    in_order = sorted(events, key=lambda event: (event.tenant, event.seq))
    for event in in_order:
        by_tenant.setdefault(event.tenant, []).append(event)
    theirs = [encoded(tenant) for tenant in by_tenant]
    at_us = max(event.known_at_us for event in events) + 1
    compared = 0
    with open_client(settings.redis_url.get_secret_value(), timeout_seconds=10.0) as client:
        for view in views:
            entry = catalog.of(view)
            assert entry.serving is not None and entry.unreadable is None, f"{view.name}: no state of it serves"
            template, field = KeyTemplate(settings.project, view.keys), state_field(view, entry.serving).decode()
            states = {key: state.to_bytes() for key, state in folded(view, in_order).items()}
            for number, key in enumerate(sorted(states)):
                found: Any = client.hget(template.key(*key), field)
                assert found == states[key], f"{view.name} of {key}: not what the log gives"
                if number % naive_every:
                    continue
                tenant, names = key
                own = own_of(view, by_tenant[tenant][-1])
                last = by_tenant[tenant][-1].seq
                expected = recount(view, by_tenant[tenant], names, tenant, at_us, last + 1, own)
                values = _values(view, found, at_us, own)
                assert values == expected, f"{view.name} of {key}: {_differing(values, expected)}"
                compared += len(expected)
            held = {k for k in client.scan_iter(match=template.scan_pattern(), count=1000) if template.owns(k)}
            kept = {k for k in held if any(name in k for name in theirs) and client.hexists(k, field)}
            assert kept == {template.key(*key) for key in states}, f"{view.name}: keys that no event has, or lacks"
    return compared


def _values(view: ActivityView, state: bytes, at_us: int, own: dict[str, tuple[str, ...]]) -> dict[str, float | None]:
    layout, at = layout_of(view), np.array([at_us], dtype=np.int64)
    reads = read_slots(layout, [state], at, [{fact: own_set(names) for fact, names in own.items()}])
    row = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at)[0].tolist()
    return {name: None if math.isnan(value) else value for name, value in zip(layout.feature_names, row, strict=True)}


def _differing(values: dict[str, float | None], expected: dict[str, float | None]) -> str:
    return ", ".join(f"{n}: {values.get(n)} for {value}" for n, value in expected.items() if values.get(n) != value)
