"""A Redis, an event log and streams, for tests of what folds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.keys import KeyTemplate, state_field
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.rebuilding import KeyHistory
from mailwarden.stores.online.streams import Portion, Routes, Streams, encode_event
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.folded import folded

Views = tuple[ActivityView, ...]
PROJECT = "mail"
P = 4


class Home:
    """A Redis, an event log, and who hands events into the streams."""

    def __init__(self, client: Client, views: Views, folder: Path) -> None:
        self.client, self.views = client, views
        self.log = EventLog(folder / "events")
        self.history = KeyHistory(self.log, FactSets(folder / "facts", self.log))
        self.streams = Streams(client, PROJECT, P)
        self.generations = Generations(client, PROJECT, views, P)
        self._routes = Routes(PROJECT, views, P)

    def writers(self, partitions: Sequence[int] | None = None, **options: Any) -> PartitionWriters:
        online = OnlineWriter(self.client, PROJECT, self.views, P, self.history)
        return PartitionWriters(self.client, PROJECT, self.views, online, self.log, partitions=partitions, **options)

    def send(self, events: Sequence[Event]) -> None:
        """Each event to the partitions of its keys, and a marker to the others."""
        for tenant in dict.fromkeys(event.tenant for event in events):
            own = [event for event in events if event.tenant == tenant]
            (sent,) = self.streams.sent([tenant])
            parts = {}
            for p in range(P):
                entries = [(e.seq, e.known_at_us, encode_event(e)) for e in own if p in self._routes.of(e)]
                if not entries or entries[-1][0] < own[-1].seq:
                    entries.append((own[-1].seq, own[-1].known_at_us, b""))
                parts[p] = [Portion(tenant, sent[p], entries)]
            outcomes = [sent.outcome for result in self.streams.send(parts).values() for sent in result]
            assert outcomes == ["appended"] * P

    def loaded(self, view: ActivityView, upto: int, events: Sequence[Event], facts: int = 0) -> int:
        """A new generation of a view, as Spark leaves it: the states of all events up to a seq."""
        generation = self.generations.begin(view, facts)
        writer = OnlineWriter(self.client, PROJECT, self.views, P)
        rows = [
            (tenant, key, state.to_bytes(), state.sketch_bytes())
            for (tenant, key), state in folded(view, [e for e in events if e.seq <= upto]).items()
        ]
        writer.load(view, generation, rows)
        self.generations.loaded(view, generation, {"acme": upto} if upto else {})
        return generation

    def check(self, events: Sequence[Event], views: Views | None = None) -> None:
        """What serves is what one fold after another gives, and every mark says so."""
        catalog = self.generations.catalog()
        for view in views or self.views:
            entry = catalog.of(view)
            assert entry.serving is not None and entry.unreadable is None
            self.check_generation(view, entry.serving, events)
        for tenant in {event.tenant for event in events}:
            last = max(event.seq for event in events if event.tenant == tenant)
            mark = self.generations.marks.whole(tenant)
            assert mark is not None and mark.seq == last

    def check_generation(self, view: ActivityView, generation: int, events: Sequence[Event]) -> None:
        field = state_field(view, generation).decode()
        template = KeyTemplate(PROJECT, view.keys)
        expected = {template.key(*name): state.to_bytes() for name, state in folded(view, events).items()}
        held = {key: self.client.hget(key, field) for key in self.client.scan_iter(match=template.scan_pattern())}
        assert {key: value for key, value in held.items() if value is not None and template.owns(key)} == expected


@pytest.fixture
def home(redis_client: Client, activity_views: Views, tmp_path: Path) -> Iterator[Home]:
    yield Home(redis_client, activity_views, tmp_path)
