"""Feast's own read path over packed states: the values of the hot path, at the time asked for, with honest statuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from feast import FeatureStore, RepoConfig
from feast.feature_service import FeatureService
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.domain.mail.events import Event
from mailwarden.errors import ContractError, DataError
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.online import read_at
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.keys import KeyTemplate, catalog_key, lease_key, partition_of, state_field
from mailwarden.stores.online.reader import OnlineReader, ReadRequest
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.watermark import Marks
from mailwarden.stores.online.writer import OnlineWriter

Views = tuple[ActivityView, ...]
Events = Callable[..., list[Event]]
PROJECT = "mail"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def applied(url: str, folder: Path, views: Views) -> FeatureStore:
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'feast.db'}", "cache_ttl_seconds": 600},
        online_store={"type": "mailwarden.stores.feast.online.RedisStateOnlineStore", "redis_url": url},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    feature_views = [feature_view_of(view) for view in views]
    store.apply([*ENTITIES, *feature_views, FeatureService(name="everything", features=feature_views)])
    return store


@pytest.fixture(scope="module")
def feast_store(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory, activity_views: Views
) -> FeatureStore:
    return applied(redis_server.url, tmp_path_factory.mktemp("feast"), activity_views)


def refs(views: Views) -> list[str]:
    return [f"{view.name}:{feature.name}" for view in views for feature in view.features]


def test_feast_reads_the_values_of_the_hot_path_at_each_rows_time(
    feast_store: FeatureStore, redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(300)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    chosen = [e for e in events if e.recipients][-6:]
    requests = [
        ReadRequest(replace(e, recipients=e.recipients[:1], received_at_us=e.received_at_us + days * DAY_US + 7))
        for e in chosen
        for days in (0, 3, 45)
    ]
    hot = OnlineReader(redis_client, PROJECT, activity_views).read(requests)
    rows = [
        {
            "tenant": e.tenant,
            "sender": e.sender,
            "sender_domain": e.sender_domain,
            "recipient": e.recipients[0],
            "event_timestamp": EPOCH + timedelta(microseconds=e.received_at_us),
        }
        for e in (request.event for request in requests)
    ]
    columns = feast_store.get_online_features(refs(activity_views), rows, full_feature_names=True).to_dict()
    for view in activity_views:
        for index, feature in enumerate(view.features):
            expected = [vectors.values[view.name][0, index] for vectors in hot]
            actual = [np.nan if value is None else value for value in columns[f"{view.name}__{feature.name}"]]
            np.testing.assert_array_equal(actual, expected)
            if feature.dtype == "int64":
                assert all(isinstance(v, int) for v in columns[f"{view.name}__{feature.name}"] if v is not None)
    assert "event_timestamp" not in columns
    service = feast_store.get_feature_service("everything")
    assert feast_store.get_online_features(service, rows, full_feature_names=True).to_dict() == columns


def test_statuses_tell_never_seen_from_null_from_value(
    feast_store: FeatureStore, redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(100)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    sender = next(e.sender for e in events if e.direction == "inbound")
    rows = [{"tenant": "acme", "sender": name} for name in (sender, "new@x.example")]
    features = ["sender_activity:received_30d", "sender_activity:link_rate_7d"]
    with read_at(events[-1].received_at_us + 400 * DAY_US):
        proto = feast_store.get_online_features(features, rows).proto
    statuses = dict(zip(proto.metadata.feature_names.val, [list(r.statuses) for r in proto.results], strict=True))
    assert statuses["received_30d"] == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
    assert statuses["link_rate_7d"] == [FieldStatus.NULL_VALUE, FieldStatus.NOT_FOUND]
    newest = max(e.received_at_us for e in events if sender in (e.sender, *e.recipients * (e.direction == "outbound")))
    assert proto.results[-1].event_timestamps[0].ToMicroseconds() == newest


def test_rows_that_writers_have_not_folded_up_to_are_outside_of_max_age(
    feast_store: FeatureStore, redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(100)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    sender = next(e.sender for e in events if e.direction == "inbound")
    other = next(e.sender for e in events if e.direction == "outbound")
    partitions = [partition_of(KeyTemplate(PROJECT, ("sender",)).key("acme", (s,)), 4) for s in (sender, other)]
    ahead = [p for p in range(4) if p != partitions[0]]
    Marks(redis_client, PROJECT, 4).advance({"acme": (200, events[-1].received_at_us)}, ahead)
    asked = [(sender, 100), (sender, 101), ("new@x.example", 10_000), (other, 101), (sender, 0)]
    rows = [{"tenant": "acme", "sender": name, "due_seq": due} for name, due in asked]
    proto = feast_store.get_online_features(["sender_activity:received_30d"], rows).proto
    late = FieldStatus.OUTSIDE_MAX_AGE
    of_other = FieldStatus.PRESENT if partitions[1] != partitions[0] else late
    assert list(proto.results[-1].statuses) == [FieldStatus.PRESENT, late, late, of_other, FieldStatus.PRESENT]
    assert proto.results[-1].values[1] == proto.results[-1].values[0]
    assert "due_seq" not in proto.metadata.feature_names.val
    with pytest.raises(DataError, match="due_seq is a str"):
        feast_store.get_online_features(["sender_activity:received_30d"], [{**rows[0], "due_seq": "9"}])


def test_a_view_whose_state_cannot_be_read_is_invalid_and_not_missing(
    redis_url: str, redis_client: Client, tmp_path: Path, activity_views: Views, mail_events: Events
) -> None:
    feast_store = applied(redis_url, tmp_path, activity_views)
    events = mail_events(40)
    first, second = activity_views[:2]
    OnlineWriter(redis_client, PROJECT, [first]).fold(events)
    event = next(e for e in events if e.sender)
    row = {"tenant": "acme", "sender": event.sender, "sender_domain": event.sender_domain}
    asked = [f"{view.name}:known" for view in (first, second)]

    def statuses() -> list[int]:
        proto = feast_store.get_online_features(asked, [row], full_feature_names=True).proto
        named = dict(zip(proto.metadata.feature_names.val, proto.results, strict=True))
        return [named[f"{view.name}__known"].statuses[0] for view in (first, second)]

    assert statuses() == [FieldStatus.PRESENT, FieldStatus.INVALID]
    key = KeyTemplate(PROJECT, ("sender",)).key("acme", (event.sender,))
    redis_client.hset(key.decode(), state_field(first).decode(), b"\x07" * 80)
    assert statuses() == [FieldStatus.INVALID, FieldStatus.INVALID]


def test_a_new_generation_is_read_once_it_serves(
    redis_url: str, redis_client: Client, tmp_path: Path, activity_views: Views, mail_events: Events
) -> None:
    feast_store = applied(redis_url, tmp_path, activity_views)
    events, view = mail_events(40), activity_views[0]
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events)
    event = next(e for e in events if e.sender)

    def known() -> object:
        rows = [{"tenant": "acme", "sender": event.sender}]
        return feast_store.get_online_features(["sender_activity:known"], rows).to_dict()["known"][0]

    assert known() == 1
    generations = writer.generations
    # Filled with nothing, so that a key that was seen shows which generation is read.
    number = generations.begin(view)
    generations.loaded(view, number, {"acme": 40})
    assert known() == 1
    for partition in range(generations.partitions):
        redis_client.set(lease_key(PROJECT, partition).decode(), b"me")
        folded = generations.marks.folded(partition)
        assert generations.caught_up(view, number, partition, owner=b"me", folded=folded)
    assert known() is None


def test_a_view_that_was_removed_is_folded_no_more_until_it_is_materialised(
    redis_url: str, redis_client: Client, tmp_path: Path, activity_views: Views, mail_events: Events
) -> None:
    feast_store = applied(redis_url, tmp_path, activity_views)
    events, view = mail_events(60), activity_views[0]
    writer = OnlineWriter(redis_client, PROJECT, activity_views)
    writer.fold(events[:30])
    feast_store.apply([], objects_to_delete=[feast_store.get_feature_view(view.name)], partial=False)
    # A process that still knows the view: what it wrote from here on would miss the events before.
    writer.fold(events[30:])
    template = KeyTemplate(PROJECT, view.keys)
    fields = {field for key in redis_client.scan_iter() if template.owns(key) for field in redis_client.hkeys(key)}
    assert not fields
    event = next(e for e in events if e.sender)
    vectors = OnlineReader(redis_client, PROJECT, activity_views).read([ReadRequest(event)])[0]
    assert set(vectors.status[view.name]) == {"unavailable"}
    assert writer.generations.begin(view) == 2


def test_without_a_time_it_is_now(
    feast_store: FeatureStore, redis_client: Client, activity_views: Views, mail_events: Events
) -> None:
    events = mail_events(20)
    OnlineWriter(redis_client, PROJECT, activity_views).fold(events)
    rows = [{"tenant": "acme", "sender": events[0].sender}]
    (days,) = feast_store.get_online_features(["sender_activity:days_known"], rows).to_dict()["days_known"]
    first = min(e.received_at_us for e in events if e.sender == events[0].sender and e.kind == "message")
    now = (datetime.now(UTC) - EPOCH) // timedelta(microseconds=1)
    assert days == pytest.approx((now - first) / DAY_US, abs=1.0)


def test_what_cannot_be_read_is_said_in_words(feast_store: FeatureStore, activity_views: Views) -> None:
    with pytest.raises(DataError, match="give a datetime"):
        feast_store.get_online_features(
            refs(activity_views[:1]), [{"tenant": "acme", "sender": "a@b.c", "event_timestamp": "today"}]
        )
    with pytest.raises(DataError, match="different keys"):
        feast_store.get_online_features(
            refs(activity_views[:1]), [{"tenant": "acme", "sender": "a@b.c"}, {"tenant": "a"}]
        )


def test_values_cannot_be_written(feast_store: FeatureStore, activity_views: Views) -> None:
    key = EntityKey(join_keys=["tenant", "sender"], entity_values=[Value(string_val="acme"), Value(string_val="a@b.c")])
    view = feature_view_of(activity_views[0])
    with pytest.raises(ContractError, match="keeps states"):
        feast_store._get_provider().online_write_batch(
            feast_store.config, view, [(key, {"known": Value(int64_val=1)}, EPOCH, None)], None
        )


def test_a_removed_view_and_teardown_delete_this_projects_state_alone(
    redis_url: str, redis_client: Client, tmp_path: Path, activity_views: Views, mail_events: Events
) -> None:
    feast_store = applied(redis_url, tmp_path, activity_views)
    events = mail_events(60)
    for project in (PROJECT, "prod" + PROJECT):
        OnlineWriter(redis_client, project, activity_views).fold(events)
    redis_client.set("another application's key, mail", "1")
    sender = next(e.sender for e in events if e.sender)
    mine = KeyTemplate(PROJECT, ("sender",)).key("acme", (sender,))
    assert redis_client.hkeys(mine)  # type: ignore[arg-type]
    before = set(redis_client.scan_iter())
    feast_store.apply([], objects_to_delete=[feast_store.get_feature_view("sender_activity")], partial=False)
    gone = before - set(redis_client.scan_iter())
    assert mine in gone and all(KeyTemplate(PROJECT, ("sender",)).owns(key) for key in gone)
    relationship = next(iter(k for k in before if KeyTemplate(PROJECT, activity_views[3].keys).owns(k)))
    assert redis_client.hkeys(relationship) == [state_field(activity_views[3])]  # type: ignore[arg-type]
    feast_store.teardown()
    left = set(redis_client.scan_iter())
    assert not any(KeyTemplate(PROJECT, view.keys).owns(key) for key in left for view in activity_views)
    assert {key for key in before if key.endswith(b"prodmail")} | {catalog_key("prodmail")} <= left
    assert b"another application's key, mail" in left
