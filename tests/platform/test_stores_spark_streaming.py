"""The fold of a stream by Spark, against the same events folded by the writer, on real Redis and real Spark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.lake.event_log import EventLog, events_to_table
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.keys import KeyTemplate, catalog_key, sketch_field, state_field
from mailwarden.stores.online.leases import Leases
from mailwarden.stores.online.streams import encode_event
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.spark.fold_rows import EVENT_COLUMNS
from mailwarden.stores.spark.load import RedisSink
from mailwarden.stores.spark.streaming import OnlineFold, json_events, parquet_events

PARTITIONS = 3


def held(client: Client, project: str, views: Sequence[ActivityView], generation: int = 1) -> dict[bytes, list[bytes]]:
    """Every state and sketch that a project holds in a generation, by entity and view."""
    found = {}
    for view in views:
        template = KeyTemplate(project, view.keys)
        names = (state_field(view, generation), sketch_field(view, generation))
        for key in client.scan_iter(match=template.scan_pattern(), count=1_000):
            if template.owns(key):
                state, sketches = client.hmget(key, *names)
                if state is not None:
                    # Sketches hold the same numbers in an order that tells how they came about.
                    name = key.removesuffix(project.encode()) + b"|" + names[0]
                    found[name] = [state, bytes(sorted(sketches or b""))]
    return found


def as_frame(spark: SparkSession, events: Sequence[Event]) -> DataFrame:
    rows = events_to_table(events).select(EVENT_COLUMNS.names)
    return spark.createDataFrame(rows)  # type: ignore[type-var]


@pytest.fixture
def events(mail_events: Callable[..., list[Event]]) -> list[Event]:
    return [*mail_events(150, seed=1, tenant="acme"), *mail_events(90, seed=2, tenant="other")]


@pytest.fixture
def expected(
    redis_client: Client, activity_views: tuple[ActivityView, ...], events: list[Event]
) -> dict[bytes, list[bytes]]:
    """What one fold after another by the writer leaves."""
    OnlineWriter(redis_client, "plain", activity_views, PARTITIONS).fold(events)
    found = held(redis_client, "plain", activity_views)
    assert len(found) > 60
    return found


@pytest.fixture
def fold(redis_url: str, activity_views: tuple[ActivityView, ...], tmp_path: Path) -> OnlineFold:
    return OnlineFold(RedisSink(redis_url, "stream", activity_views, PARTITIONS), tmp_path / "log", tmp_path / "facts")


def marks(fold: OnlineFold, client: Client) -> dict[str, int | None]:
    writer = OnlineWriter(client, fold.sink.project, fold.sink.views, PARTITIONS)
    found = [writer.generations.marks.whole(tenant) for tenant in ("acme", "other")]
    return {name: mark and mark.seq for name, mark in zip(("acme", "other"), found, strict=True)}


def run(fold: OnlineFold, events: DataFrame, checkpoint: Path) -> None:
    query = fold.start(events, checkpoint, only_what_is_there=True)
    assert query.awaitTermination(120)
    assert query.exception() is None


def test_files_of_a_stream_leave_what_the_writer_leaves(
    spark: SparkSession,
    redis_client: Client,
    fold: OnlineFold,
    events: list[Event],
    expected: dict[bytes, list[bytes]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    by_seq = sorted(events, key=lambda event: (event.seq, event.tenant))
    for number, start in enumerate(range(0, len(by_seq), 100)):
        part = by_seq[start : start + 100]
        # Within a file rows come in any order.
        pq.write_table(events_to_table(part[::-1]), folder / f"{number}.parquet")
    run(fold, parquet_events(spark, folder, files_a_batch=1), tmp_path / "checkpoint")
    assert held(redis_client, "stream", fold.sink.views) == expected
    assert marks(fold, redis_client) == {"acme": 150, "other": 90}
    # A lost checkpoint hands every batch in once more.
    run(fold, parquet_events(spark, folder, files_a_batch=2), tmp_path / "another checkpoint")
    assert held(redis_client, "stream", fold.sink.views) == expected


def test_a_batch_that_was_cut_off_is_folded_again_without_counting_twice(
    spark: SparkSession,
    redis_client: Client,
    fold: OnlineFold,
    events: list[Event],
    expected: dict[bytes, list[bytes]],
) -> None:
    # What a crash between folding and marks leaves: some keys are ahead of the marks.
    writer = OnlineWriter(redis_client, "stream", fold.sink.views, PARTITIONS)
    writer.generations.register_empty()
    writer.fold(events, (1,))
    assert marks(fold, redis_client) == {"acme": None, "other": None}
    fold.fold(as_frame(spark, events), 0)
    fold.fold(as_frame(spark, events), 0)
    assert held(redis_client, "stream", fold.sink.views) == expected
    assert marks(fold, redis_client) == {"acme": 150, "other": 90}


def test_what_a_stream_leaves_out_comes_from_the_event_log(
    spark: SparkSession,
    redis_client: Client,
    fold: OnlineFold,
    events: list[Event],
    expected: dict[bytes, list[bytes]],
) -> None:
    EventLog(fold.events_path).append(events)
    fold.fold(as_frame(spark, [event for event in events if event.seq <= 40 and event.seq % 3]), 0)
    assert marks(fold, redis_client) == {"acme": 40, "other": 40}
    fold.fold(as_frame(spark, [event for event in events if event.seq > 75]), 1)
    assert held(redis_client, "stream", fold.sink.views) == expected


def test_a_new_generation_is_caught_up_before_the_next_batch(
    spark: SparkSession,
    redis_client: Client,
    fold: OnlineFold,
    events: list[Event],
    expected: dict[bytes, list[bytes]],
) -> None:
    EventLog(fold.events_path).append(events)
    fold.fold(as_frame(spark, [event for event in events if event.seq <= 60]), 0)
    writer = OnlineWriter(redis_client, "stream", fold.sink.views, PARTITIONS)
    for view in fold.sink.views:
        writer.generations.loaded(view, writer.generations.begin(view), {})
    fold.fold(as_frame(spark, [event for event in events if event.seq > 60]), 1)
    assert {writer.generations.catalog().of(view).serving for view in fold.sink.views} == {2}
    names = {
        key.replace(b".2", b".1"): value for key, value in held(redis_client, "stream", fold.sink.views, 2).items()
    }
    assert names == expected
    # The former one is still folded: readers may hold the former catalog.
    assert held(redis_client, "stream", fold.sink.views, 1) == expected


def test_a_partition_of_another_writer_is_left_to_it(
    spark: SparkSession, redis_client: Client, fold: OnlineFold, events: list[Event]
) -> None:
    other = Leases(redis_client, "stream", ttl_ms=60_000)
    assert other.take([2]) == {2}
    with pytest.raises(StoreError, match="partitions 2 are folded by another writer"):
        fold.fold(as_frame(spark, events), 0)
    assert held(redis_client, "stream", fold.sink.views) == {}
    other.release([2])
    fold.fold(as_frame(spark, events), 0)
    assert marks(fold, redis_client) == {"acme": 150, "other": 90}
    assert redis_client.exists(catalog_key("stream"))


def test_json_values_are_the_same_events(spark: SparkSession, events: list[Event]) -> None:
    values = spark.createDataFrame([(encode_event(event),) for event in events], "value binary")
    columns = [field.name for field in EVENT_COLUMNS]
    found = json_events(values).select(columns).collect()
    assert len(columns) == len(fields(Event))
    assert found == as_frame(spark, events).select(columns).collect()
    with pytest.raises(Exception, match="MALFORMED"):
        json_events(spark.createDataFrame([(b"{",)], "value binary")).collect()
    assert orjson.loads(encode_event(events[0]))["seq"] == events[0].seq
