"""States by folding one event after another: what every faster way to them is held against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.mail.events import TOMBSTONE, Event, Way, keys_of

_Key = tuple[str, tuple[str, ...]]


def folded(view: ActivityView, events: Sequence[Event]) -> dict[_Key, EntityState]:
    """The state of each (tenant, key) after events in order of seq; of what a tombstone names nothing is in it."""
    rows: dict[_Key, list[tuple[Event, list[Way]]]] = defaultdict(list)
    for event in events:
        ways: dict[tuple[str, ...], list[Way]] = {}
        for key, way in keys_of(view.emission, event, view.keys):
            ways.setdefault(key, []).append(way)
        for key, each in ways.items():
            rows[event.tenant, key].append((event, each))
    states = {}
    for name, reached in rows.items():
        gone = {event.message_id for event, _ in reached if event.kind == TOMBSTONE}
        states[name] = state = EntityState(layout_of(view))
        for event, each in reached:
            if event.message_id not in gone:
                state.fold(event, each)
        state.last_seq = reached[-1][0].seq
    return states
