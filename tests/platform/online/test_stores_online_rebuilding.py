"""Tombstones in the streams: each state is the one with the message until its seq, and the one without from it on."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mailwarden.domain.mail.events import TOMBSTONE, Event
from mailwarden.domain.mail.facts import tombstone_of
from mailwarden.domain.status import Status
from mailwarden.errors import StoreError
from mailwarden.stores.lake.event_log import EventView
from mailwarden.stores.lake.fact_sets import FactSets, TenantFacts
from mailwarden.stores.online import rebuilding
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.reader import OnlineReader, ReadRequest
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.histories import PIECE_BITS, forgetting

Events = Callable[..., list[Event]]
Home = Any
"""See `conftest.Home`."""


def work(writers: PartitionWriters) -> None:
    while writers.step():
        pass


def history(mail_events: Events, n: int, **options: Any) -> list[Event]:
    rng = random.Random(n)
    events = forgetting(mail_events(n, **options), [rng.getrandbits(PIECE_BITS) for _ in range(n)])
    assert sum(event.kind == TOMBSTONE for event in events) > n / 10
    return events


def test_states_lack_what_tombstones_name(home: Home, mail_events: Events) -> None:
    events = history(mail_events, 40) + history(mail_events, 10, seed=3, tenant="other")
    home.log.append(events)
    left, right = home.writers([0, 2]), home.writers([1, 3])
    for start in range(0, len(events), 9):
        home.send(events[start : start + 9])
        work(left)
    work(right)
    home.check(events)


def test_a_stream_waits_at_a_tombstone_until_the_log_holds_it(home: Home, mail_events: Events) -> None:
    events = history(mail_events, 40)
    first = next(place for place, event in enumerate(events) if event.kind == TOMBSTONE)
    home.send(events)
    writers, asked = home.writers(), []
    writers.write_log = lambda: asked.append(True)
    work(writers)
    assert asked and f"seq {first + 1} of tenant acme" in writers.waits[0]
    home.log.append(events[: first + 1])
    work(writers)
    marks = {mark["acme"].seq for mark in home.generations.marks.folded_everywhere()}
    assert first < min(marks) < len(events)
    home.log.append(events)
    work(writers)
    assert not writers.waits
    home.check(events)


def test_what_is_cut_off_amid_a_rebuild_is_done_again(
    home: Home, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = history(mail_events, 24)
    home.log.append(events)
    home.send(events)
    write, calls = rebuilding.Rebuilding._write, []

    def half(self: Any, due: Any, tenant: str) -> int:
        calls.append(len(due))
        if len(calls) % 2:
            write(self, due[: len(due) // 2], tenant)
            raise StoreError("cut off")
        return write(self, due, tenant)

    monkeypatch.setattr(rebuilding.Rebuilding, "_write", half)
    for _ in range(200):
        try:
            work(home.writers())
        except StoreError:
            continue
        break
    assert any(later < earlier for earlier, later in pairwise(calls))
    home.check(events)


def test_a_generation_that_is_caught_up_passes_over_tombstones(home: Home, mail_events: Events) -> None:
    events = history(mail_events, 30)
    home.log.append(events)
    home.send(events[:25])
    work(home.writers())
    home.loaded(home.views[0], 10, events)
    home.send(events[25:])
    writers = home.writers()
    for _ in range(100):
        writers.step()
    home.check(events)


def test_facts_of_a_set_are_rebuilt_from_that_set(home: Home, mail_events: Events, tmp_path: Path) -> None:
    view = next(view for view in home.views if view.keys == ("sender",))
    logged = [replace(event, kind="message", labelled_bad=0) for event in mail_events(20)]
    # The set says of everyone that they wrote from another address.
    anew = [replace(event, sender=f"new-{event.sender}") for event in logged]
    told = tombstone_of(anew[7], seq=21, known_at_us=anew[7].known_at_us)
    home.log.append([*logged, told])
    sets = FactSets(tmp_path / "facts", home.log)
    publish(sets, anew)
    home.generations.tell_facts(1, {"acme": 20})
    writer = OnlineWriter(home.client, "mail", home.views, 4, home.history)
    writer.generations.register_empty()
    generation = home.loaded(view, 20, anew, facts=1)
    writer.fold_into(view, generation, [told], facts=1)
    home.check_generation(view, generation, [*anew, told])


def publish(sets: FactSets, events: list[Event]) -> None:
    import pyarrow as pa

    from mailwarden.stores.lake.event_log import events_to_table
    from mailwarden.stores.lake.fact_sets import FACT_SCHEMA

    with sets.writing():
        begun = sets.begin({"acme": TenantFacts(0, len(events), 1, "")})
        rows = events_to_table(events).append_column(FACT_SCHEMA.field("kept"), pa.array([False] * len(events)))
        sets.add(begun, "acme", lambda: rows.to_batches())
        sets.publish(begun, 0)


def test_who_wrote_nothing_that_counts_was_never_seen(home: Home, mail_events: Events) -> None:
    message = replace(mail_events(1)[0], kind="message", labelled_bad=0)
    home.log.append([message, tombstone_of(message, seq=2, known_at_us=message.known_at_us)])
    writer = OnlineWriter(home.client, "mail", home.views, 4, home.history)
    reader = OnlineReader(home.client, "mail", home.views)
    later = ReadRequest(replace(message, seq=9, received_at_us=message.received_at_us + 1))
    found = []
    for event in home.history.view("acme", 0).in_order("acme", limit=1):
        report = writer.fold(event)
        (vectors,) = reader.read([later])
        found.append({status for statuses in vectors.status.values() for status in statuses})
    assert report.keys > 4
    assert Status.PRESENT in found[0] and found[1] <= {Status.NEVER_SEEN, Status.NOT_COMPUTABLE}
    with pytest.raises(StoreError, match="does not hold everything"):
        writer.fold([tombstone_of(message, seq=3, known_at_us=message.known_at_us)])


def test_tombstones_that_are_handed_in_together_share_one_pass_of_the_log(
    home: Home, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = history(mail_events, 40)
    home.log.append(events)
    passes = []
    in_order = EventView.in_order

    def counted(self: EventView, *given: Any, **options: Any) -> Any:
        passes.append(given)
        return in_order(self, *given, **options)

    monkeypatch.setattr(EventView, "in_order", counted)
    writer = OnlineWriter(home.client, "mail", home.views, 4, home.history)
    report = writer.fold(events)
    assert len(passes) == 1 and report.events == len(events)
    # A second time nothing is due.
    assert writer.fold(events).keys == 0 and len(passes) == 1
    home.check(events)
