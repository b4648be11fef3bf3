"""Folding into Redis: once each, in order, whoever else writes; and loads that never overwrite newer state."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from mailwarden.domain.events import Event, keys_of
from mailwarden.domain.layout import layout_of
from mailwarden.domain.state import EntityState
from mailwarden.domain.views import ActivityView
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.keys import KeyTemplate, sketch_field, state_field, watermark_key
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.writer import OnlineWriter

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
PROJECT = "mail"


def expected_of(view: ActivityView, events: list[Event]) -> dict[tuple[str, tuple[str, ...]], EntityState]:
    """States by one fold after another, without a store."""
    states: dict[tuple[str, tuple[str, ...]], EntityState] = {}
    for event in events:
        directions: dict[tuple[str, ...], list[bool]] = {}
        for key, forward in keys_of(view.emission, event):
            directions.setdefault(key, []).append(forward)
        for key, forwards in directions.items():
            states.setdefault((event.tenant, key), EntityState(layout_of(view))).fold(event, forwards)
    return states


def contents(client: Client) -> dict[bytes, dict[bytes, bytes]]:
    return {key: client.hgetall(key) for key in client.scan_iter() if key != watermark_key(PROJECT)}


def expected_contents(views: Views, events: list[Event]) -> dict[bytes, dict[bytes, bytes]]:
    hashes: dict[bytes, dict[bytes, bytes]] = {}
    for view in views:
        for (tenant, key), state in expected_of(view, events).items():
            fields = hashes.setdefault(KeyTemplate(PROJECT, view.keys).key(tenant, key), {})
            fields[state_field(view)] = state.to_bytes()
            if view.distincts:
                fields[sketch_field(view)] = state.sketch_bytes()
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


class Interrupted:
    """A client that lets another writer in between each read and the write that follows it."""

    def __init__(self, client: Client, between: Callable[[], object]) -> None:
        self._client, self._between = client, between

    def pipeline(self, transaction: bool) -> object:
        pipeline = self._client.pipeline(transaction=transaction)
        execute = pipeline.execute

        def run() -> object:
            is_write = pipeline.command_stack[0][0][0] == "EVAL"
            if is_write:
                self._between()
            return execute()

        pipeline.execute = run  # type: ignore[method-assign,assignment]
        return pipeline


def test_a_key_written_in_between_is_read_and_folded_again(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(60)
    other = OnlineWriter(redis_client, PROJECT, activity_views)
    others = iter([events[:40]])
    interrupted = Interrupted(redis_client, lambda: other.fold(next(others, [])))
    report = OnlineWriter(interrupted, PROJECT, activity_views).fold(events)  # type: ignore[arg-type]
    assert report.conflicts > 0
    assert contents(redis_client) == expected_contents(activity_views, events)


def test_a_key_that_is_always_written_in_between_is_given_up(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    event = mail_events(1)[0]
    other = OnlineWriter(redis_client, PROJECT, activity_views)
    numbers = iter(range(2, 1000))
    interrupted = Interrupted(redis_client, lambda: other.fold([replace(event, seq=next(numbers))]))
    with pytest.raises(StoreError, match="one writer"):
        OnlineWriter(interrupted, PROJECT, activity_views).fold([replace(event, seq=1000)])  # type: ignore[arg-type]


def test_the_watermark_moves_forward_only(redis_client: Client, activity_views: Views, mail_events: Events) -> None:
    events = mail_events(50)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events)
    newest = max(event.known_at_us for event in events)
    assert redis_client.hget(watermark_key(PROJECT).decode(), "acme") == f"50:{newest}".encode()
    writer.fold(events[:10])
    assert not writer.set_watermark("acme", 49, newest + 1)
    assert redis_client.hget(watermark_key(PROJECT).decode(), "acme") == f"50:{newest}".encode()
    assert writer.set_watermark("acme", 51, newest - 1)
    assert redis_client.hget(watermark_key(PROJECT).decode(), "acme") == f"51:{newest}".encode()


def test_load_writes_what_fold_would_and_never_over_newer_state(
    redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(300)
    writer = OnlineWriter(redis_client, PROJECT, activity_views)

    def load(upto: int) -> int:
        written = 0
        for view in activity_views:
            states = expected_of(view, events[:upto])
            rows = [(tenant, key, s.to_bytes(), s.sketch_bytes()) for (tenant, key), s in states.items()]
            written += writer.load(view, iter(rows), chunk=7)
        return written

    assert load(200) > 0
    assert contents(redis_client) == expected_contents(activity_views, events[:200])
    writer.fold(events[200:])
    assert contents(redis_client) == expected_contents(activity_views, events)
    assert load(200) == 0
    assert contents(redis_client) == expected_contents(activity_views, events)
    assert load(300) == 0


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
    with pytest.raises(StoreUnavailable, match="folding events"):
        OnlineWriter(client, PROJECT, activity_views).fold(mail_events(3))
