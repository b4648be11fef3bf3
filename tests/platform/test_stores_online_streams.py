"""Streams, marks and leases: each entry once, in order, and nothing moved by who does not hold the partition."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event, keys_of
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.online.client import Client, open_client
from mailwarden.stores.online.keys import KeyTemplate, lease_key, partition_of
from mailwarden.stores.online.leases import Leases
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.streams import START, Portion, Routes, Sent, Streams, decode_event, encode_event
from mailwarden.stores.online.watermark import Marks, Watermark

Events = Callable[..., list[Event]]
PROJECT = "mail"


def portion(*seqs: int, expected: int, tenant: str = "acme") -> Portion:
    return Portion(tenant, expected, [(seq, 1000 + seq, b"e%d" % seq) for seq in seqs])


def seqs(streams: Streams, partition: int = 0) -> list[int]:
    return [entry.seq for entry in streams.read({partition: START}, 1000).get(partition, [])]


def test_an_entry_is_appended_once_and_after_the_one_before_it(redis_client: Client) -> None:
    streams = Streams(redis_client, PROJECT, 2)
    first = {0: [portion(1, 3, expected=0)], 1: [portion(2, 3, expected=0)]}
    assert streams.send(first) == {0: [Sent("appended", 3)], 1: [Sent("appended", 3)]}
    assert streams.send(first) == {0: [Sent("moved", 3)], 1: [Sent("moved", 3)]}
    assert streams.send({0: [portion(9, expected=8)]}) == {0: [Sent("moved", 3)]}
    assert streams.sent(["acme", "other"]) == [[3, 3], [0, 0]]
    assert (seqs(streams, 0), seqs(streams, 1)) == ([1, 3], [2, 3])
    mixed = streams.send({0: [portion(7, expected=2), portion(1, expected=0, tenant="other"), portion(4, expected=3)]})
    assert mixed == {0: [Sent("moved", 3), Sent("appended", 1), Sent("appended", 4)]}
    assert seqs(streams) == [1, 3, 1, 4]


def test_a_stream_that_holds_all_it_may_takes_nothing_until_it_is_folded(redis_client: Client) -> None:
    streams, leases = Streams(redis_client, PROJECT, 1), Leases(redis_client, PROJECT)
    assert streams.send({0: [portion(1, 2, 3, expected=0)]}, full=3) == {0: [Sent("appended", 3)]}
    assert streams.send({0: [portion(4, expected=3)]}, full=3) == {0: [Sent("full", 3)]}
    leases.take([0])
    entries = streams.read({0: START}, 2)[0]
    assert streams.settle({0: (START, entries[-1].id, entries)}, token=leases.token, lease_ms=1000) == {0}
    assert streams.send({0: [portion(4, expected=3)]}, full=3) == {0: [Sent("appended", 4)]}


def test_only_the_holder_of_the_lease_moves_marks_and_only_from_where_they_stand(redis_client: Client) -> None:
    streams, marks = Streams(redis_client, PROJECT, 1, keep_ms=0), Marks(redis_client, PROJECT, 1)
    ours, others = Leases(redis_client, PROJECT), Leases(redis_client, PROJECT)
    streams.send({0: [portion(1, 2, 5, expected=0), portion(1, expected=0, tenant="other")]})
    entries = streams.read({0: START}, 1000)[0]
    settled = {0: (START, entries[1].id, entries[:2])}
    assert ours.take([0]) == {0}
    assert streams.settle(settled, token=others.token, lease_ms=1000) == set()
    assert marks.folded(0) == {} and len(seqs(streams)) == 4
    assert streams.settle(settled, token=ours.token, lease_ms=60_000) == {0}
    assert marks.folded(0) == {"acme": Watermark(2, 1002)}
    assert redis_client.pttl(lease_key(PROJECT, 0).decode()) > 5_000
    time.sleep(0.005)
    assert streams.settle(settled, token=ours.token, lease_ms=1000) == set()
    assert streams.settle({0: (entries[1].id, entries[1].id, [])}, token=ours.token, lease_ms=1000) == {0}
    assert seqs(streams) == [5, 1]
    assert streams.at([0]) == {0: entries[1].id}
    assert streams.lag()[0].entries == 2
    rest = streams.read({0: entries[1].id}, 1000)[0]
    assert streams.settle({0: (entries[1].id, rest[-1].id, rest)}, token=ours.token, lease_ms=1000) == {0}
    assert marks.folded(0) == {"acme": Watermark(5, 1005), "other": Watermark(1, 1001)}
    assert streams.lag()[0].entries == 0


def test_what_was_folded_stays_in_the_stream_for_a_while(redis_client: Client) -> None:
    leases = Leases(redis_client, PROJECT)
    leases.take([0])
    for keep_ms, left in ((60_000, [1, 2]), (0, [])):
        streams = Streams(redis_client, PROJECT, 1, keep_ms=keep_ms)
        streams.send({0: [portion(1, 2, expected=0)]})
        entries = streams.read({0: START}, 1000)[0]
        (before,) = streams.at([0]).values()
        time.sleep(0.005)
        streams.settle({0: (before, entries[-1].id, entries)}, token=leases.token, lease_ms=1000)
        assert seqs(streams) == left


def test_marks_never_move_back(redis_client: Client) -> None:
    streams, marks, leases = Streams(redis_client, PROJECT, 1), Marks(redis_client, PROJECT, 1), None
    leases = Leases(redis_client, PROJECT)
    leases.take([0])
    marks.advance({"acme": (7, 5000)})
    assert streams.sent(["acme"]) == [[7]]
    assert streams.send({0: [portion(8, expected=7)]}) == {0: [Sent("appended", 8)]}
    entries = [replace(entry, seq=3, time_us=9000) for entry in streams.read({0: START}, 10)[0]]
    streams.settle({0: (START, entries[-1].id, entries)}, token=leases.token, lease_ms=1000)
    assert marks.folded(0) == {"acme": Watermark(7, 5000)}


def test_lag_is_told_in_entries_and_seconds(redis_client: Client) -> None:
    streams = Streams(redis_client, PROJECT, 2)
    assert [(lag.entries, lag.seconds) for lag in streams.lag()] == [(0, 0.0), (0, 0.0)]
    streams.send({1: [portion(1, 2, expected=0)]})
    time.sleep(0.05)
    nothing, two = streams.lag()
    assert (nothing.entries, two.entries) == (0, 2)
    assert nothing.seconds == 0.0 and 0.04 < two.seconds < 5.0


def test_a_lease_is_free_taken_renewed_lost_or_released(redis_client: Client) -> None:
    ours, others = Leases(redis_client, PROJECT), Leases(redis_client, PROJECT)
    assert ours.hold([0, 1]) == {0, 1} == ours.hold([0, 1])
    assert others.hold([0, 2]) == {2}
    assert others.take([0]) == {0}
    assert ours.hold([0, 1]) == {1}
    ours.release([0, 1])
    assert others.hold([0, 1]) == {0, 1}
    others.release([0])
    assert Leases(redis_client, PROJECT, ttl_ms=1).hold([0]) == {0}
    time.sleep(0.05)
    assert ours.hold([0]) == {0}


def test_an_event_is_read_back_as_it_was_sent(histories: object, mail_events: Events) -> None:
    for event in (*mail_events(50), *histories.events(50)):  # type: ignore[attr-defined]
        event = replace(event, new_recipients=event.recipients[:1], authenticated=None, thread="t")
        assert decode_event(encode_event(event)) == event
    with pytest.raises(StoreError, match="one version"):
        decode_event(b"{}")
    with pytest.raises(StoreError, match="cannot be written"):
        encode_event(replace(event, sender="\ud800"))


def test_routes_are_the_partitions_of_an_events_keys(
    activity_views: tuple[ActivityView, ...], mail_events: Events
) -> None:
    routes = Routes(PROJECT, activity_views, 16)
    for event in mail_events(40):
        wanted = {
            partition_of(KeyTemplate(PROJECT, view.keys).key(event.tenant, key), 16)
            for view in activity_views
            for key, _ in keys_of(view.emission, event, view.keys)
        }
        assert routes.of(event) == wanted
    assert Routes(PROJECT, activity_views, 1).of(event) == {0}


def test_a_redis_that_is_away_is_named(redis_server: RedisServer) -> None:
    client = open_client(f"unix://{redis_server.folder}/nobody.sock")
    with pytest.raises(StoreUnavailable, match="sending events to streams"):
        Streams(client, PROJECT, 1).send({0: [portion(1, expected=0)]})
