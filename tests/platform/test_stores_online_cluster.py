"""One contract of the online store over one server, a cluster of three masters, and a master that Sentinel watches."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from redis.cluster import RedisCluster
from redis.crc import key_slot

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.mail.events import Event, keys_of
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.client import Client, exchange, open_client, pack, round_trip
from mailwarden.stores.online.keys import KeyTemplate, lease_key, marks_key, sketch_field, state_field, stream_key
from mailwarden.stores.online.partition_writer import PartitionWriters
from mailwarden.stores.online.reader import OnlineReader, ReadRequest, VectorSet
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.streams import Portion, Routes, Streams, encode_event
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.testing.redis_nodes import Node, cluster, cluster_url, watched

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
States = dict[tuple[str, ...], EntityState]
P = 4
_PROJECTS = itertools.count()

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis server not installed")


@pytest.fixture(scope="module")
def cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def sentinel_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with watched(tmp_path_factory.mktemp("watched")) as found:
        yield found.url


@pytest.fixture(params=["single", "sentinel", "cluster"])
def store(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Client]:
    """A client of each kind of online store; tests keep apart by project."""
    if request.param == "cluster":
        url = cluster_url(request.getfixturevalue("cluster_nodes"))
    else:
        url = request.getfixturevalue("sentinel_url") if request.param == "sentinel" else redis_server.url
    with open_client(url, timeout_seconds=10) as client:
        yield client


@pytest.fixture
def project() -> str:
    return f"mail{next(_PROJECTS)}"


def states_of(view: ActivityView, events: Sequence[Event]) -> States:
    found: States = defaultdict(lambda: EntityState(layout_of(view)))
    for event in events:
        ways = defaultdict(list)
        for key, way in keys_of(view.emission, event, view.keys):
            ways[key].append(way)
        for key, of_key in ways.items():
            found[key].fold(event, of_key)
    return found


def assert_holds(
    client: Client, project: str, view: ActivityView, events: Sequence[Event], generation: int = 1
) -> None:
    """Every key's state is the one that its events fold to, and there are no other keys."""
    template, expected = KeyTemplate(project, view.keys), states_of(view, events)
    keys = {template.key("acme", key): state.to_bytes() for key, state in expected.items()}
    fields = [("HGET", key, state_field(view, generation)) for key in keys]
    assert round_trip(client, fields) == list(keys.values())
    kept = {key for key in client.scan_iter(match=template.scan_pattern(), count=1000) if template.owns(key)}
    assert kept == set(keys)


def assert_same(one: Sequence[VectorSet], other: Sequence[VectorSet]) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a.recipients, a.status, a.watermark) == (b.recipients, b.status, b.watermark)
        for name in a.values:
            np.testing.assert_array_equal(a.values[name], b.values[name])
            np.testing.assert_array_equal(a.as_of_seq[name], b.as_of_seq[name])


def test_folds_and_reads_are_those_of_one_server(
    store: Client, project: str, redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(150)
    writer, reader = OnlineWriter(store, project, activity_views), OnlineReader(store, project, activity_views)
    asked = [ReadRequest(event) for event in events[-20:]] + [ReadRequest(replace(events[0], sender="new@x.example"))]
    assert {s for row in reader.read(asked) for of in row.status.values() for s in of} == {"never_seen"}
    for start in range(0, 150, 40):
        writer.fold(events[start : start + 40])
    again = writer.fold(events)
    assert again.keys == 0
    for view in activity_views:
        assert_holds(store, project, view, events)
    OnlineWriter(redis_client, project, activity_views).fold(events)
    found = reader.read(asked)
    assert_same(found, OnlineReader(redis_client, project, activity_views).read(asked))
    assert found[0].watermark == Watermark(150, max(e.known_at_us for e in events)) == reader.watermark("acme")
    assert reader.watermark("nobody") is None


def test_states_are_loaded_beside_those_that_are_folded_and_take_over(
    store: Client, project: str, activity_views: Views, mail_events: Events
) -> None:
    events, view = mail_events(80), activity_views[0]
    writer, reader = OnlineWriter(store, project, activity_views), OnlineReader(store, project, activity_views)
    writer.fold(events)
    generations = writer.generations
    number = generations.begin(view)
    rows = [("acme", key, s.to_bytes(), s.sketch_bytes()) for key, s in states_of(view, events[:50]).items()]
    assert writer.load(view, number, rows).written == len(rows)
    older = [("acme", key, s.to_bytes(), s.sketch_bytes()) for key, s in states_of(view, events[:30]).items()]
    assert writer.load(view, number, older).written == 0
    generations.loaded(view, number, {"acme": 50})
    asked = [ReadRequest(event) for event in events[-10:]]
    before = reader.read(asked)
    for partition in range(generations.partitions):
        writer.fold_into(view, number, events[50:], [partition])
        store.set(lease_key(project, partition), b"me")  # type: ignore[arg-type]
        folded = generations.marks.folded(partition)
        assert generations.caught_up(view, number, partition, owner=b"me", folded=folded)
    assert generations.catalog().of(view).serving == number
    assert_same(reader.read(asked), before)
    assert_holds(store, project, view, events, number)
    gone = generations.retire(view)
    assert writer.drop(view, gone) == len(states_of(view, events))
    generations.forget(view, gone)
    assert_same(reader.read(asked), before)
    use = writer.memory(view)
    assert use is not None and use.total > use.state > 0


def test_streams_marks_and_writers_of_partitions(
    store: Client, project: str, activity_views: Views, mail_events: Events, tmp_path: Path
) -> None:
    events = mail_events(60)
    online = OnlineWriter(store, project, activity_views, P)
    writers = PartitionWriters(store, project, activity_views, online, EventLog(tmp_path / "events"))
    writers.step()
    streams, routes = Streams(store, project, P), Routes(project, activity_views, P)
    entries = [(event, encode_event(event), routes.of(event)) for event in events]
    parts = {
        p: [Portion("acme", 0, [(e.seq, e.known_at_us, data if p in to else b"") for e, data, to in entries])]
        for p in range(P)
    }
    assert {sent.outcome for of in streams.send(parts).values() for sent in of} == {"appended"}
    assert {sent.outcome for of in streams.send(parts).values() for sent in of} == {"moved"}
    assert sum(lag.entries for lag in streams.lag()) == 60 * P
    while writers.step():
        pass
    writers.close()
    assert sum(lag.entries for lag in streams.lag()) == 0
    assert OnlineReader(store, project, activity_views).watermark("acme") == Watermark(
        60, max(e.known_at_us for e in events)
    )
    for view in activity_views:
        assert_holds(store, project, view, events)


def test_an_entity_is_deleted_over_views_versions_and_generations_and_nothing_else_is(
    store: Client, project: str, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(60)
    view = activity_views[0]
    views = (*activity_views, replace(view, name="sender_again"))
    # Keys end with the project's name: these two end alike.
    alike = "x" + project
    for name in (project, alike):
        writer = OnlineWriter(store, name, views)
        writer.fold(events)
    writer = OnlineWriter(store, project, views)
    sender = next(e.sender for e in events if e.direction == "inbound" and e.kind == "message")
    key = KeyTemplate(project, view.keys).key("acme", (sender,))
    newer = replace(view, version=view.version + 1)
    fields = [state_field(newer), state_field(view, 2), sketch_field(view, 2)]
    round_trip(store, [("HSET", key, field, b"kept") for field in fields])
    before = {k: _all(store, k) for k in store.scan_iter(count=1000) if project.encode() in k}
    assert len([k for k in before if KeyTemplate(alike, view.keys).owns(k)]) > 1
    assert {state_field(view), state_field(views[-1]), *fields} <= set(before[key])
    assert writer.delete_entity("acme", view.keys, (sender,))
    after = {k: _all(store, k) for k in store.scan_iter(count=1000) if project.encode() in k}
    assert before.pop(key) and after == before
    assert not writer.delete_entity("acme", view.keys, (sender,))
    with pytest.raises(StoreError, match="no view has the keys"):
        writer.delete_entity("acme", ("thread",), (sender,))
    vectors = OnlineReader(store, project, views).read([ReadRequest(next(e for e in events if e.sender == sender))])[0]
    assert set(vectors.status["sender_activity"]) == set(vectors.status["sender_again"]) == {"never_seen"}
    assert set(vectors.status["sender_domain_activity"]) <= {"present", "none_in_window"}


def _all(client: Client, key: bytes) -> object:
    kind = client.type(key)
    if kind == b"hash":
        return client.hgetall(key)  # type: ignore[arg-type]
    return client.xlen(key) if kind == b"stream" else client.get(key)


def test_what_a_partition_needs_lies_in_one_slot(project: str) -> None:
    for partition in range(P):
        keys = [make(project, partition) for make in (stream_key, marks_key, lease_key)]
        assert len({key_slot(key) for key in keys}) == 1


def test_reads_follow_a_slot_that_moved_to_another_node(
    cluster_nodes: list[Node], project: str, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(40)
    event = next(e for e in events if e.direction == "inbound" and e.kind == "message")
    with open_client(cluster_url(cluster_nodes), timeout_seconds=10) as client:
        OnlineWriter(client, project, activity_views).fold(events)
        reader = OnlineReader(client, project, activity_views)
        before = reader.read([ReadRequest(event)])
        assert isinstance(client, RedisCluster)
        key = KeyTemplate(project, ("sender",)).key("acme", (event.sender,))
        slot = key_slot(key)
        old = next(n for n in cluster_nodes if n.port == client.nodes_manager.get_node_from_slot(slot).port)
        new = next(n for n in cluster_nodes if n is not old)
        old_id, new_id = (n.ask("CLUSTER", "MYID").decode() for n in (old, new))
        new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        assert_same(reader.read([ReadRequest(event)]), before)
        keys = old.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        assert key in keys
        old.ask("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *keys)
        # Half way: the old node still owns the slot and says ASK.
        assert_same(reader.read([ReadRequest(event)]), before)
        for node in (new, old):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", new_id)
        assert_same(reader.read([ReadRequest(event)]), before)
        after = reader.read([ReadRequest(event)])
        assert client.nodes_manager.get_node_from_slot(slot).port == new.port
    assert_same(after, before)


def test_a_cluster_that_lost_a_node_is_unavailable_and_not_empty(
    tmp_path: Path, project: str, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(40)
    with cluster(tmp_path) as nodes, open_client(cluster_url(nodes), timeout_seconds=0.5) as client:
        OnlineWriter(client, project, activity_views).fold(events)
        reader = OnlineReader(client, project, activity_views)
        reader.read([ReadRequest(events[0])])
        nodes[1].kill()
        with pytest.raises(StoreError):
            reader.read([ReadRequest(event) for event in events])
        with pytest.raises(StoreUnavailable, match="no node of the Redis cluster"):
            open_client("redis+cluster://127.0.0.1:1", timeout_seconds=0.2)


def test_the_replica_takes_over_from_a_master_that_died(
    tmp_path: Path, project: str, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(60)
    with watched(tmp_path) as nodes, open_client(nodes.url, timeout_seconds=1.0) as client:
        writer, reader = OnlineWriter(client, project, activity_views), OnlineReader(client, project, activity_views)
        writer.fold(events[:40])
        asked = [ReadRequest(event) for event in events[:10]]
        before = reader.read(asked)
        nodes.await_replica()
        nodes.master.kill()
        failures, deadline = [], time.monotonic() + 15.0
        while time.monotonic() < deadline:
            try:
                found = reader.read(asked)
                break
            except StoreError as exc:
                failures.append(exc)
                time.sleep(0.05)
        assert failures and {type(failure) for failure in failures} <= {StoreUnavailable}
        assert_same(found, before)
        assert nodes.master_port() == nodes.replica.port
        writer.fold(events)
        for view in activity_views:
            assert_holds(client, project, view, events)


def test_replies_come_in_the_order_of_the_commands_whatever_node_they_are_from(store: Client, project: str) -> None:
    rng = random.Random(3)
    keys = [f"{project} {i}".encode() for i in range(40)]
    round_trip(store, [("SET", key, key[::-1]) for key in keys])
    for _ in range(5):
        rng.shuffle(keys)
        assert exchange(store, [(key, pack(b"GET", key)) for key in keys]) == [key[::-1] for key in keys]
    with pytest.raises(Exception, match="WRONGTYPE"):
        exchange(store, [(keys[0], pack(b"HGET", keys[0], b"a")), (keys[1], pack(b"GET", keys[1]))])
    assert exchange(store, [(keys[2], pack(b"GET", keys[2]))]) == [keys[2][::-1]]
