"""The historical join: last values as of each request by our offline store and by Feast's own, and windows by ours."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.types import Int64
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.definitions import ActivityView, Extreme, Feature, Held
from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.settings import Settings
from mailwarden.stores.asked import own_column
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog, events_to_table
from mailwarden.stores.spark.fact_columns import names_value
from mailwarden.stores.spark.fold_rows import SEQ, TIME, fold_rows, key_columns, quantity_column, read_events
from mailwarden.stores.spark.session import spark_session
from mailwarden_features import discover
from mailwarden_services.bench.feast_redis import quiet_feast
from mailwarden_services.bench.mail import TENANT, mail_events

_REGEX_NAMES = "spark.sql.parser.quotedRegexColumnNames"
_CHUNK = 20_000
ROUNDS = 3
"""Runs of either join: a JVM gets faster at what it has run before, for some runs."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is joined, and the people that it is spread over evenly."""

    requests: int
    events: int
    senders: int
    domains: int
    recipients: int


SIZE = Size(requests=200_000, events=2_000_000, senders=20_000, domains=5_000, recipients=2_000)

_QUANTITIES = ("size_bytes", "url_count", "attachment_count", "recipient_count", "authentication")

LAST = ActivityView(
    name="last_message",
    version=1,
    owner="bench",
    description="What the last message of a sender was like: the values that an as-of join of plain columns gives.",
    keys=("sender",),
    emission="facts",
    measures=(),
    extremes=tuple(Extreme(f"last_{of}", "last", of=of) for of in _QUANTITIES),
    distincts=(),
    features=tuple(Feature(of, Held(f"last_{of}"), "Of the last message.", "1", "never sent") for of in _QUANTITIES),
)


def measure(settings: Settings, *, size: Size = SIZE, say: Say = lambda _: None) -> dict[str, Any]:
    """Seconds, rows out and their ratio, on one Spark session.

    Both joins look up the same five columns of a sender's last message before each request, over the same events
    and requests, write Parquet, and are held against each other value by value. They take turns in `ROUNDS`; the first
    one warms up, and the best of the others counts for each. Then ours answers every windowed feature of every
    behavioural view for the same requests, which Feast's own has nothing to set against.
    settings: those of Spark; everything is kept in a temporary home.
    """
    repository = discover()
    with tempfile.TemporaryDirectory(prefix="mailwarden-bench-") as folder, quiet_feast():
        home = Path(folder)
        settings = settings.model_copy(update={"home": home})
        say(f"writing {size.events:,} events")
        log = EventLog(settings.events_path)
        log.append_stream(TENANT, lambda _: _batches(size))
        spark = spark_session(settings, "bench")
        regex_names = spark.conf.get(_REGEX_NAMES, "false")
        events = read_events(spark, log.snapshot().files)
        write_requests(events, size, str(home / "requests"))
        requests = spark.read.parquet(str(home / "requests"))
        last = [f"{LAST.name}:{feature.name}" for feature in LAST.features]
        windowed = [f"{view.name}:{feature.name}" for view in repository.activity for feature in view.features]
        ours = open_feature_store(settings, [*ENTITIES, feature_view_of(LAST), *repository.feature_views.values()])
        try:
            theirs = _stock_store(events, home)
            # Feast takes rows at the very time of the request, and the request is a message of the same events.
            earlier = F.col("event_timestamp") - F.expr("interval 1 microsecond")
            requests_theirs = requests.withColumn("event_timestamp", earlier)
            seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
            for round_ in range(ROUNDS):
                for whose, store, rows in (("ours", ours, requests), ("theirs", theirs, requests_theirs)):
                    say(f"join of last values by {whose}, round {round_ + 1} of {ROUNDS}")
                    seconds[whose].append(_join(store, rows, last, home / whose / str(round_)))
            our_seconds, their_seconds = (min(taken[1:]) for taken in seconds.values())
            last_round = [home / whose / str(ROUNDS - 1) for whose in seconds]
            our_rows, their_rows = map(_rows_in, last_round)
            different = _different(*(spark.read.parquet(str(folder)) for folder in last_round))
            say(f"our join of {len(windowed)} windowed features")
            window_seconds = _join(ours, requests, windowed, home / "windowed")
            window_rows = _rows_in(home / "windowed")
        finally:
            # Feast turns this on for the whole session; under it a quoted column name is a pattern.
            spark.conf.set(_REGEX_NAMES, regex_names or "false")
    return {
        "requests": size.requests,
        "events": size.events,
        "ours": {"seconds": round(our_seconds, 2), "rows": our_rows},
        "feast_spark": {"seconds": round(their_seconds, 2), "rows": their_rows},
        "rows_that_differ": different,
        "windowed": {"seconds": round(window_seconds, 2), "rows": window_rows, "features": len(windowed)},
        "ratios": {"feast_spark_over_ours": round(their_seconds / our_seconds, 2)},
    }


def _different(ours: DataFrame, theirs: DataFrame) -> int:
    """Requests whose values are not the same on both sides, or that one side lacks."""
    names = [f"{LAST.name}__{feature.name}" for feature in LAST.features]
    mine = ours.select(SEQ, *[F.col(name).cast("double").alias(name) for name in names])
    other = theirs.select(SEQ, *[F.col(name).cast("double").alias(f"their_{name}") for name in names])
    same = [F.col(name).eqNullSafe(F.col(f"their_{name}")) for name in names]
    return int(mine.join(other, SEQ, "full").where(~reduce(Column.__and__, same)).count())


def _batches(size: Size) -> Iterator[pa.RecordBatch]:
    mail = mail_events(size.events, senders=size.senders, domains=size.domains, recipients=size.recipients)
    while chunk := list(islice(mail, _CHUNK)):
        yield from events_to_table(chunk).to_batches()


def write_requests(events: DataFrame, size: Size, path: str) -> None:
    """The last messages as entity rows: so does a training set look that has history behind it."""
    facts = sorted({recent.of for view in discover().activity for recent in view.recents})
    events.where(F.col(SEQ) > size.events - size.requests).select(
        "tenant",
        *FACTS,
        F.col("recipients")[0].alias("recipient"),
        F.col("received_at").alias("event_timestamp"),
        SEQ,
        *[names_value(of).alias(own_column(of)) for of in facts],
    ).write.parquet(path)


def _join(store: FeatureStore, rows: DataFrame, refs: Sequence[str], out: Path) -> float:
    started = time.perf_counter()
    job = store.get_historical_features(entity_df=rows, features=list(refs), full_feature_names=True)
    job.to_spark_df().write.parquet(str(out))
    return time.perf_counter() - started


def _rows_in(folder: Path) -> int:
    return int(ds.dataset(folder, format="parquet").count_rows())


def _stock_store(events: DataFrame, home: Path) -> FeatureStore:
    """Feast with its own Spark offline store, over the columns that `LAST` keeps, a row a message."""
    config = RepoConfig(
        project="stock",
        provider="local",
        registry=str(home / "stock.db"),
        offline_store={"type": f"{SparkOfflineStore.__module__}.{SparkOfflineStore.__name__}"},
        online_store={"type": "sqlite", "path": str(home / "stock-online.db")},
        entity_key_serialization_version=3,
    )
    names = [feature.name for feature in LAST.features]
    path = str(home / "stock")
    fold_rows(events, LAST).select(
        *key_columns(LAST),
        F.timestamp_micros(TIME).alias("event_timestamp"),
        *[F.col(quantity_column(name)).alias(name) for name in names],
    ).write.parquet(path)
    source = SparkSource(name=LAST.name, path=path, file_format="parquet", timestamp_field="event_timestamp")
    entities = [Entity(name=name, value_type=ValueType.STRING) for name in key_columns(LAST)]
    table = FeatureView(
        name=LAST.name,
        entities=entities,
        schema=[Field(name=name, dtype=Int64) for name in names],
        source=source,
        ttl=timedelta(0),
    )
    store = FeatureStore(config=config)
    store.apply([*entities, table])
    return store
