from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.aggregates.windows import HOUR_US
from mailwarden.domain.mail.facts import tombstone_of
from mailwarden.stores.spark.as_of import as_of
from mailwarden.stores.spark.fold_rows import fold_rows
from mailwarden.stores.spark.tombstones import cuts_of, events_by_epoch, is_tombstone, requests_by_epoch

BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"


@pytest.fixture(params=["UTC", "America/New_York"])
def zone(spark: SparkSession, request: pytest.FixtureRequest) -> Iterator[str]:
    before = {key: spark.conf.get(key) for key in (BATCH, "spark.sql.session.timeZone")}
    spark.conf.set(BATCH, "13")
    spark.conf.set("spark.sql.session.timeZone", request.param)
    yield request.param
    for key, value in before.items():
        spark.conf.set(key, value)


def ask(spark: SparkSession, histories: Any, view: Any, events: Any, requests: list[tuple[Any, ...]]) -> dict[int, Any]:
    names = ["tenant", *view.keys, "seq", "time_us"]
    columns = list(zip(*requests, strict=True))
    types = [pa.string()] * (1 + len(view.keys)) + [pa.int64(), pa.int64()]
    table = pa.table(
        {"row_id": pa.array(range(len(requests)))}
        | {name: pa.array(column, type) for name, column, type in zip(names, columns, types, strict=True)}
    )
    frame = as_of(
        spark.createDataFrame(histories.table(events)),  # type: ignore[type-var]
        spark.createDataFrame(table),  # type: ignore[type-var]
        view,
    )
    rows = frame.collect()
    assert len(rows) == len(requests)
    return {row["row_id"]: row for row in rows}


@pytest.mark.parametrize(("emission", "distincts"), [("participants", True), ("pairs", False)])
def test_equals_a_fold_of_one_event_after_another(
    spark: SparkSession, histories: Any, zone: str, emission: str, distincts: bool
) -> None:
    view = histories.view(emission, distincts=distincts)
    events = histories.events(250, seed=len(zone))
    rng = random.Random(1)
    keys = list(histories.states(view, events))
    requests: list[tuple[Any, ...]] = []
    for _ in range(120):
        seq = rng.randrange(1, 260)
        at = 1_200_000_000_000_000 + seq * HOUR_US + rng.choice((0, 1, -20 * HOUR_US, 40 * 24 * HOUR_US))
        key = rng.choice(keys) if rng.random() < 0.9 else ("t1", *["nobody"] * len(view.keys))
        requests += [(*key, seq, at)] * rng.choice((1, 1, 2))
    found = ask(spark, histories, view, events, requests)
    seen = 0
    for index, request in enumerate(requests):
        *key, seq, at = request
        state = histories.states(view, events, before=seq).get(tuple(key))
        values, last = histories.values(view, state, at)
        row = found[index]
        assert [row[feature.name] for feature in view.features] == values, (request, view.features)
        assert row["who__as_of_seq"] == last
        seen += state is not None
    assert seen > 50


def test_requests_that_cannot_be_asked_are_null_throughout_and_none_gets_lost(
    spark: SparkSession, histories: Any
) -> None:
    view = histories.view()
    events = histories.events(50)
    at = 1_300_000_000_000_000
    requests = [
        (None, "1", 99, at), ("t1", None, 99, at), ("t1", "", 99, at),
        ("t1", "1", None, at), ("t1", "1", 99, None), (None, None, None, None),
    ]  # fmt: skip
    for row in ask(spark, histories, view, events, requests).values():
        assert row["who__as_of_seq"] == NEVER
        assert all(row[feature.name] is None for feature in view.features)


def test_keys_are_never_glued_together(spark: SparkSession, histories: Any) -> None:
    view = histories.view("pairs", distincts=False)
    (event,) = histories.events(1, seed=5, tenants=("t1",))
    event = replace(event, kind="message", sender="1", recipients=("23",), direction="inbound")
    at = event.received_at_us + 1
    found = ask(spark, histories, view, [event], [("t1", "1", "23", 9, at), ("t1", "12", "3", 9, at)])
    assert (found[0]["seen"], found[1]["seen"]) == (1, 0)


def test_of_a_key_with_many_tombstones_events_are_read_once_for_each_that_requests_lie_between(
    spark: SparkSession, histories: Any
) -> None:
    view = histories.view()
    messages = [event for event in histories.events(80) if event.kind == "message"]
    messages = [replace(event, sender="ann@far.example", direction="inbound") for event in messages][:40]
    told = [tombstone_of(event, seq=1_000 + n, known_at_us=event.known_at_us) for n, event in enumerate(messages[:30])]
    events = spark.createDataFrame(histories.table([*messages, *told]))
    names = ("tenant", *view.keys, "seq", "time_us", "row_id")
    tenants = sorted({event.tenant for event in messages})
    asked = [(tenant, "ann@far.example", seq, 1, seq) for tenant in tenants for seq in (1_000, 1_001, 2_000)]
    cuts = cuts_of(events, view)
    assert cuts is not None
    requests = requests_by_epoch(spark.createDataFrame(asked, names), cuts, view)
    rows = events_by_epoch(fold_rows(events.where(~is_tombstone()), view, with_ids=True), cuts, view, requests)
    # Before the first tombstone, behind that one, and behind all.
    assert rows.count() <= 3 * len(messages)
