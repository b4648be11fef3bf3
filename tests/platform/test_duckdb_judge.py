"""DuckDB as a second judge of the point-in-time join: its ASOF join on running totals, and counts by inequality."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView, Extreme, Feature, Held, History, Measure, Peak, Total
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, LATENESS_US, W_1H, W_7D, W_ALL
from mailwarden.domain.mail.events import Event, direction_of
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog, events_to_table
from mailwarden.testing.histories import OWN_DOMAINS, PEOPLE, history_of

START_US = 1_710_028_800_000_000
"""Midnight of the day on which New York's clocks jump, 2024-03-10."""

VIEW = ActivityView(
    "judged", 1, "tests", "for tests", ("sender",), "participants",
    measures=(Measure("got", where=("forward",)), Measure("bytes", "size_bytes"), Measure("labels", on="label")),
    extremes=(Extreme("first", "first", of="size_bytes"), Extreme("last", "last", of="size_bytes")),
    distincts=(),
    peaks=(Peak("most", "max", "size_bytes"),),
    features=(
        Feature("seen", History(), "seen before", "flag"),
        Feature("got_all", Total("got", W_ALL), "mail", "messages"),
        Feature("bytes_all", Total("bytes", W_ALL), "size", "bytes"),
        Feature("labels_all", Total("labels", W_ALL), "labels", "labels"),
        Feature("got_1h", Total("got", W_1H), "mail", "messages"),
        Feature("got_7d", Total("got", W_7D), "mail", "messages"),
        Feature("bytes_7d", Total("bytes", W_7D), "size", "bytes"),
        Feature("most_7d", Total("most", W_7D), "largest", "bytes", "none in the window"),
        Feature("first_size", Held("first"), "size of the first", "bytes"),
        Feature("last_size", Held("last"), "size of the last", "bytes"),
    ),
)  # fmt: skip
NAMES = [feature.name for feature in VIEW.features]

FOLDED = """
CREATE TABLE folded AS
WITH reached AS (
    SELECT tenant, sender AS who, seq, at_us, kind, size_bytes, TRUE AS forward FROM happened
    WHERE sender <> '' AND copy_of = ''
    UNION ALL
    SELECT tenant, unnest(recipients), seq, at_us, kind, size_bytes, FALSE FROM happened WHERE direction = 'outbound'
)
SELECT tenant, who, seq, any_value(at_us) AS at_us, any_value(kind) AS kind, any_value(size_bytes) AS size_bytes,
       count(*) FILTER (kind = 'message' AND forward) AS got,
       coalesce(sum(size_bytes) FILTER (kind = 'message'), 0) AS bytes,
       count(*) FILTER (kind = 'label') AS labels
FROM reached GROUP BY ALL
"""

RUNNING = """
CREATE TABLE running AS
SELECT tenant, who, seq, sum(got) OVER upto AS got_all, sum(bytes) OVER upto AS bytes_all,
       sum(labels) OVER upto AS labels_all, max(at_us) OVER upto AS newest_us
FROM folded WINDOW upto AS (PARTITION BY tenant, who ORDER BY seq)
"""

LAST_BEFORE = f"""
CREATE TABLE placed AS
SELECT asked.*, running.seq AS last_seq, got_all, bytes_all, labels_all,
       greatest(asked.at_us, newest_us - {LATENESS_US}) AS answered_us
FROM asked ASOF LEFT JOIN running
  ON asked.tenant = running.tenant AND asked.who = running.who AND asked.seq > running.seq
"""


def since(window_us: int, hop_us: int) -> str:
    return f"folded.at_us >= (answered_us - {window_us}) - (answered_us - {window_us}) % {hop_us}"


HOUR, WEEK = since(HOUR_US, W_1H.hop_us), since(7 * DAY_US, W_7D.hop_us)
IN_WINDOWS = f"""
SELECT placed.row, any_value(CASE WHEN placed.who <> '' THEN (last_seq IS NOT NULL)::INT END) AS seen,
       any_value(got_all) AS got_all, any_value(bytes_all) AS bytes_all, any_value(labels_all) AS labels_all,
       CASE WHEN any_value(last_seq) IS NOT NULL THEN coalesce(sum(got) FILTER ({HOUR}), 0) END AS got_1h,
       CASE WHEN any_value(last_seq) IS NOT NULL THEN coalesce(sum(got) FILTER ({WEEK}), 0) END AS got_7d,
       CASE WHEN any_value(last_seq) IS NOT NULL THEN coalesce(sum(bytes) FILTER ({WEEK}), 0) END AS bytes_7d,
       max(folded.size_bytes) FILTER ({WEEK} AND kind = 'message') AS most_7d,
       arg_min(folded.size_bytes, (folded.at_us, folded.seq)) FILTER (kind = 'message') AS first_size,
       arg_max(folded.size_bytes, (folded.at_us, folded.seq)) FILTER (kind = 'message') AS last_size
FROM placed LEFT JOIN folded
  ON folded.tenant = placed.tenant AND folded.who = placed.who AND folded.seq < placed.seq
GROUP BY placed.row ORDER BY placed.row
"""


def made_up(n: int) -> list[Event]:
    """Mail of few people on three weeks: many times tie, many step back, some mail is to oneself, some is labelled."""
    rng = random.Random(7)
    (plain,) = history_of([0])
    events: list[Event] = []
    for seq in range(1, n + 1):
        at_us = START_US + seq * 21 * DAY_US // n // HOUR_US * HOUR_US
        at_us -= rng.choice((0, 0, 0, 1, 30 * HOUR_US, 6 * DAY_US))
        sender = rng.choice(PEOPLE)
        recipients = tuple(dict.fromkeys(name for name in rng.choices(PEOPLE, k=rng.choice((0, 1, 1, 3))) if name))
        domain = sender.rpartition("@")[2]
        domains = tuple(dict.fromkeys(found for name in recipients if (found := name.rpartition("@")[2])))
        messages = [event for event in events[-20:] if event.kind == "message"]
        if messages and rng.random() < 0.1:
            labelled = rng.choice(messages)
            events.append(replace(labelled, seq=seq, kind="label", known_at_us=at_us, label="spam", labelled_bad=1))
            continue
        events.append(
            replace(
                plain, tenant=rng.choice("tu"), seq=seq, message_id=f"{seq:032x}", received_at_us=at_us,
                known_at_us=at_us, sender=sender, sender_domain=domain, recipients=recipients,
                recipient_domains=domains, size_bytes=rng.randrange(50_000),
                direction=direction_of(domain, domains, OWN_DOMAINS), copy_of="c0" if seq % 7 == 3 else "",
            )
        )  # fmt: skip
    return events


def asked_of(events: Sequence[Event], n: int) -> pd.DataFrame:
    """Reads in no order: tied with events and with each other, repeated whole, of strangers, of nobody."""
    rng = random.Random(8)
    rows = []
    for _ in range(n):
        event = rng.choice(events)
        late = rng.choice((0, 0, 0, -1, 1, 40 * HOUR_US, -9 * DAY_US))
        who = rng.choice((event.sender, *event.recipients, "stranger@x.test", None))
        row = (event.tenant, who, event.seq + rng.choice((0, 0, 1)), event.received_at_us + late)
        rows += [row] * rng.choice((1, 1, 1, 3))
    frame = pd.DataFrame(rows, columns=["tenant", "who", "seq", "at_us"])
    frame["row"] = np.arange(len(frame))
    return frame


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return made_up(1_500)


@pytest.fixture(scope="module")
def store(spark: SparkSession, events: list[Event], tmp_path_factory: Any) -> FeatureStore:
    settings = Settings(home=tmp_path_factory.mktemp("judged"))
    EventLog(settings.events_path).append(events)
    return open_feature_store(settings, [*ENTITIES, feature_view_of(VIEW)])


def judged(events: Sequence[Event], asked: pd.DataFrame) -> pd.DataFrame:
    """What DuckDB says, a row a read in their order."""
    table = events_to_table(events)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("log", table)
        connection.execute("CREATE TABLE happened AS SELECT *, epoch_us(received_at) AS at_us FROM log")
        connection.register("asked", asked)
        for statement in (FOLDED, RUNNING, LAST_BEFORE):
            connection.execute(statement)
        return connection.execute(IN_WINDOWS).df()


def test_the_join_is_that_of_duckdb_row_by_row_in_order(store: FeatureStore, events: list[Event]) -> None:
    asked = asked_of(events, 900)
    expected = judged(events, asked)
    entities = asked.rename(columns={"who": "sender"}).drop(columns="at_us")
    entities["event_timestamp"] = pd.to_datetime(asked["at_us"], unit="us", utc=True)
    found = store.get_historical_features(entities, [f"{VIEW.name}:{name}" for name in NAMES]).to_df()
    assert found["row"].tolist() == expected["row"].tolist() == list(range(len(asked)))
    for name in NAMES:
        ours, theirs = found[name].astype("Float64"), expected[name].astype("Float64")
        wrong = np.flatnonzero(ours.fillna(-1.0).to_numpy() != theirs.fillna(-1.0).to_numpy())
        assert not len(wrong), (name, asked.iloc[wrong[0]].to_dict(), ours.iloc[wrong[0]], theirs.iloc[wrong[0]])
    # The judge has something to judge: nobody, strangers, many different values, and reads of one key and time.
    assert expected["seen"].isna().any() and (expected["seen"] == 0).any()
    assert all(expected[name].nunique() > 5 for name in NAMES if name != "seen")
    tied = asked.duplicated(["tenant", "who", "at_us"]) & ~asked.duplicated(["tenant", "who", "at_us", "seq"])
    assert tied.sum() > 20
