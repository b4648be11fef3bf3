"""Folding into Redis: once each, in order, whoever else writes; and loads that never overwrite newer state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.mail.events import Event, Way, keys_of
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.online import folding
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.keys import KeyTemplate, marks_key, partition_of, sketch_field, state_field
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.online.writer import OnlineWriter

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
PROJECT = "mail"


def expected_of(view: ActivityView, events: list[Event]) -> dict[tuple[str, tuple[str, ...]], EntityState]:
    """States by one fold after another, without a store."""
    states: dict[tuple[str, tuple[str, ...]], EntityState] = {}
    for event in events:
        ways: dict[tuple[str, ...], list[Way]] = {}
        for key, way in keys_of(view.emission, event, view.keys):
            ways.setdefault(key, []).append(way)
        for key, each in ways.items():
            states.setdefault((event.tenant, key), EntityState(layout_of(view))).fold(event, each)
    return states


def contents(client: Client) -> dict[bytes, dict[bytes, bytes]]:
    return {key: client.hgetall(key) for key in client.scan_iter() if not key.startswith(b"mailwarden:")}


def expected_contents(views: Views, events: list[Event], generation: int = 1) -> dict[bytes, dict[bytes, bytes]]:
    hashes: dict[bytes, dict[bytes, bytes]] = {}
    for view in views:
        for (tenant, key), state in expected_of(view, events).items():
            fields = hashes.setdefault(KeyTemplate(PROJECT, view.keys).key(tenant, key), {})
            fields[state_field(view, generation)] = state.to_bytes()
            if view.distincts:
                fields[sketch_field(view, generation)] = state.sketch_bytes()
    return hashes


@pytest.mark.parametrize("batch", [1, 7, 400])
def test_what_is_stored_is_what_one_fold_after_another_gives(
    redis_client: Client, activity_views: Views, mail_events: Events, batch: int
) -> None:
    events = mail_events(200, seed=batch) if batch == 1 else mail_events(400, seed=batch)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    for start in range(0, len(events), batch):
        writer.fold(events[start : start + batch])
    assert contents(redis_client) == expected_contents(activity_views, events)


def test_mail_to_oneself_is_folded_once_in_both_directions(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    event = replace(mail_events(1)[0], kind="message", direction="inbound", sender="a@b.c", recipients=("a@b.c",))
    OnlineWriter(redis_client, PROJECT, activity_views).fold([event])
    relationship = activity_views[3]
    key = KeyTemplate(PROJECT, relationship.keys).key("acme", ("a@b.c", "a@b.c"))
    stored = redis_client.hget(key, state_field(relationship).decode())
    state = EntityState.from_bytes(layout_of(relationship), stored, b"")  # type: ignore[arg-type]
    assert state.totals[:2].tolist() == [1, 1]


def test_events_handed_over_again_change_nothing(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(300)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    first = writer.fold(events)
    before = contents(redis_client)
    again = writer.fold(events)
    writer.fold(events[-50:] + events[:20])
    assert contents(redis_client) == before
    assert first.keys > 0 and first.repeated == 0
    assert again.keys == 0 and again.repeated > len(events)


def test_two_writers_of_the_same_keys_fold_each_event_once(
    redis_url: str, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(240)
    reports = []
    barrier = threading.Barrier(2)

    def write() -> None:
        with open_client(redis_url, timeout_seconds=10) as client:
            writer = OnlineWriter(client, PROJECT, activity_views)
            barrier.wait()
            for start in range(0, len(events), 4):
                reports.append(writer.fold(events[start : start + 4]))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_client(redis_url, timeout_seconds=10) as client:
        assert contents(client) == expected_contents(activity_views, events)
    assert sum(report.repeated for report in reports) > 0


def let_in_between(monkeypatch: pytest.MonkeyPatch, between: Callable[[], object]) -> None:
    """Have another writer come between each read of states and the write that follows it."""
    whole, others = folding.exchange, [False]

    def exchange(client: Client, commands: Sequence[tuple[bytes, bytes]]) -> list[Any]:
        if b"EVAL" in commands[0][1][:16] and not others[0]:
            others[0] = True
            between()
            others[0] = False
        return whole(client, commands)

    monkeypatch.setattr(folding, "exchange", exchange)


def test_a_key_written_in_between_is_read_and_folded_again(
    redis_client: Client, activity_views: Views, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = mail_events(60)
    other = OnlineWriter(redis_client, PROJECT, activity_views)
    other.generations.register_empty()
    others = iter([events[:40]])
    let_in_between(monkeypatch, lambda: other.fold(next(others, [])))
    report = OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    assert report.conflicts > 0
    assert contents(redis_client) == expected_contents(activity_views, events)


def test_a_key_that_is_always_written_in_between_is_given_up(
    redis_client: Client, activity_views: Views, mail_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = mail_events(1)[0]
    other = OnlineWriter(redis_client, PROJECT, activity_views)
    other.generations.register_empty()
    numbers = iter(range(2, 1000))
    let_in_between(monkeypatch, lambda: other.fold([replace(event, seq=next(numbers))]))
    with pytest.raises(StoreError, match="one writer"):
        OnlineWriter(redis_client, PROJECT, activity_views).fold([replace(event, seq=1000)])


def test_who_writes_alone_moves_every_mark_and_never_back(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(50)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events)
    newest = max(event.known_at_us for event in events)
    marks = writer.generations.marks
    assert [mark["acme"] for mark in marks.folded_everywhere()] == [Watermark(50, newest)] * 4
    assert redis_client.hget(marks_key(PROJECT, 3).decode(), "sent acme") == b"50"
    writer.fold(events[:10])
    assert marks.advance({"acme": (49, newest + 1)}) == 0
    assert marks.whole("acme") == Watermark(50, newest)
    assert marks.advance({"acme": (51, newest - 1)}, [0]) == 1
    assert marks.folded(0) == {"acme": Watermark(51, newest)}
    assert marks.whole("acme") == Watermark(50, newest)
    assert marks.whole("nobody") is None


def test_partitions_fold_their_own_keys_and_leave_marks_to_their_writers(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(200)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.generations.register_empty()
    writer.fold(events, [1, 3])
    expected = expected_contents(activity_views, events)
    assert contents(redis_client) == {key: v for key, v in expected.items() if partition_of(key, 4) in (1, 3)}
    assert not any(writer.generations.marks.folded_everywhere())
    writer.fold(events, [0, 2])
    assert contents(redis_client) == expected


def test_load_writes_what_fold_would(redis_client: Client, activity_views: Views, mail_events: Events) -> None:
    events = mail_events(300)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    for view in activity_views:
        states = expected_of(view, events)
        rows = [(tenant, key, s.to_bytes(), s.sketch_bytes()) for (tenant, key), s in states.items()]
        report = writer.load(view, 1, iter(rows), chunk=7)
        assert (report.keys, report.written) == (len(rows), len(rows))
        sketches = bool(view.distincts)
        assert report.bytes == sum(len(state) + len(sketch) * sketches for _, _, state, sketch in rows)
    assert contents(redis_client) == expected_contents(activity_views, events)


def test_a_load_never_writes_over_newer_state(redis_client: Client, activity_views: Views, mail_events: Events) -> None:
    events = mail_events(300)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)

    def load(upto: int) -> int:
        written = 0
        for view in activity_views:
            states = expected_of(view, events[:upto])
            rows = [(tenant, key, s.to_bytes(), s.sketch_bytes()) for (tenant, key), s in states.items()]
            written += writer.load(view, 1, iter(rows), chunk=7).written
        return written

    assert load(200) > 0
    writer.fold(events)
    assert contents(redis_client) == expected_contents(activity_views, events)
    assert load(200) == 0
    assert contents(redis_client) == expected_contents(activity_views, events)
    assert load(300) == 0


def test_an_older_generation_is_dropped_alone_and_memory_is_told(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(200)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events)
    view = activity_views[0]
    states = expected_of(view, events)
    rows = [(tenant, key, s.to_bytes(), s.sketch_bytes()) for (tenant, key), s in states.items()]
    writer.load(view, 7, rows)
    assert contents(redis_client) != expected_contents(activity_views, events)
    assert writer.drop(view, [7]) == len(rows)
    assert contents(redis_client) == expected_contents(activity_views, events)
    use = writer.memory(view)
    assert use is not None and use.keys == len(rows)
    assert use.state == pytest.approx(sum(len(row[2]) for row in rows) / len(rows))
    assert use.sketches == pytest.approx(sum(len(row[3]) for row in rows) / len(rows))
    assert use.total > use.state + use.sketches
    redis_client.flushall()
    assert OnlineWriter(redis_client, PROJECT, activity_views).memory(view) is None


def test_an_entity_is_deleted_with_all_its_views_and_nothing_else(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(100) + mail_events(100, tenant="other")
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events)
    before = contents(redis_client)
    assert writer.delete_entity("acme", ("sender",), ("s1@far.example",))
    assert not writer.delete_entity("acme", ("sender",), ("s1@far.example",))
    gone = KeyTemplate(PROJECT, ("sender",)).key("acme", ("s1@far.example",))
    del before[gone]
    assert contents(redis_client) == before
    with pytest.raises(StoreError, match="no view has the keys"):
        writer.delete_entity("acme", ("subject",), ("hello",))


def test_a_stopped_redis_is_unavailable(redis_server: RedisServer, activity_views: Views, mail_events: Events) -> None:
    client = open_client(f"unix://{redis_server.folder}/nobody.sock")
    with pytest.raises(StoreUnavailable, match="Redis cannot be reached"):
        OnlineWriter(client, PROJECT, activity_views).fold(mail_events(3))
