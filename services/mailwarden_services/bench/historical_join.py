"""The historical join: as-of windowed features by our offline store, last values by Feast's own Spark store."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.types import Float64
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mailwarden.domain.views import ActivityView
from mailwarden.settings import Settings
from mailwarden.stores.event_log import EventLog, events_to_table
from mailwarden.stores.feast.objects import ENTITIES
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.spark.fold_rows import SEQ, TIME, fold_rows, key_columns, read_events
from mailwarden.stores.spark.session import spark_session
from mailwarden_features import discover
from mailwarden_services.bench.feast_redis import quiet_feast
from mailwarden_services.bench.mail import TENANT, mail_events

_REGEX_NAMES = "spark.sql.parser.quotedRegexColumnNames"
_CHUNK = 20_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is joined, and the people that it is spread over evenly."""

    requests: int
    events: int
    senders: int
    domains: int
    recipients: int


DEFAULT = Size(requests=10_000, events=50_000, senders=5_000, domains=1_500, recipients=500)
FULL = Size(requests=200_000, events=2_000_000, senders=20_000, domains=5_000, recipients=2_000)
_WARM = 500
"""Requests of the untimed run before each timed one."""


def measure(settings: Settings, *, size: Size = DEFAULT, say: Say = lambda _: None) -> dict[str, Any]:
    """Seconds, rows out and their ratio, on one Spark session.

    Both get the same requests (the last messages) over the same events, with the same number of features in the
    same views, and write Parquet. Ours computes each value from the events as of the request: windows, distinct
    counts, label rates. Feast's own looks up the last row of columns that were computed before, which costs less.
    settings: those of Spark; everything is kept in a temporary home.
    """
    views = discover().activity
    with tempfile.TemporaryDirectory(prefix="mailwarden-bench-") as folder, quiet_feast():
        home = Path(folder)
        settings = settings.model_copy(update={"home": home})
        say(f"writing {size.events:,} events")
        log = EventLog(settings.events_path)
        log.append_stream(TENANT, lambda _: _batches(size))
        spark = spark_session(settings, "bench")
        regex_names = spark.conf.get(_REGEX_NAMES, "false")
        events = read_events(spark, log.snapshot().files)
        _requests(events, size).write.parquet(str(home / "requests"))
        requests = spark.read.parquet(str(home / "requests"))
        few = requests.where(F.col(SEQ) > size.events - _WARM)
        refs = [f"{view.name}:{feature.name}" for view in views for feature in view.features]
        ours = open_feature_store(settings, [*ENTITIES, *discover().feature_views.values()])
        try:
            say("our join")
            our_seconds, our_rows = _join(ours, few, requests, refs, home / "ours")
            say("computing the rows that Feast's own store joins")
            theirs = _stock_store(events, views, home)
            say("Feast's own join")
            their_seconds, their_rows = _join(theirs, few, requests, refs, home / "theirs")
        finally:
            # Feast turns this on for the whole session; under it a quoted column name is a pattern.
            spark.conf.set(_REGEX_NAMES, regex_names or "false")
    return {
        "requests": size.requests,
        "events": size.events,
        "features": len(refs),
        "ours": {"seconds": round(our_seconds, 2), "rows": our_rows},
        "feast_spark": {"seconds": round(their_seconds, 2), "rows": their_rows},
        "ratios": {"feast_spark_over_ours": round(their_seconds / our_seconds, 2)},
        "note": "ours computes windowed values from the events as of each request; Feast's own joins last values",
    }


def _batches(size: Size) -> Iterator[pa.RecordBatch]:
    mail = mail_events(size.events, senders=size.senders, domains=size.domains, recipients=size.recipients)
    while chunk := list(islice(mail, _CHUNK)):
        yield from events_to_table(chunk).to_batches()


def _requests(events: DataFrame, size: Size) -> DataFrame:
    """The last messages as entity rows: so does a training set look that has history behind it."""
    return events.where(F.col(SEQ) > size.events - size.requests).select(
        "tenant",
        "sender",
        "sender_domain",
        F.col("recipients")[0].alias("recipient"),
        F.col("received_at").alias("event_timestamp"),
        SEQ,
    )


def _join(
    store: FeatureStore, few: DataFrame, requests: DataFrame, refs: Sequence[str], out: Path
) -> tuple[float, int]:
    seconds = 0.0
    for name, rows in (("warm", few), ("timed", requests)):
        started = time.perf_counter()
        job = store.get_historical_features(entity_df=rows, features=list(refs), full_feature_names=True)
        job.to_spark_df().write.parquet(str(out / name))
        seconds = time.perf_counter() - started
    return seconds, int(ds.dataset(out / "timed", format="parquet").count_rows())


def _stock_store(events: DataFrame, views: Sequence[ActivityView], home: Path) -> FeatureStore:
    """Feast with its own Spark offline store, over as many columns of the same rows that the views fold."""
    config = RepoConfig(
        project="stock",
        provider="local",
        registry=str(home / "stock.db"),
        offline_store={"type": f"{SparkOfflineStore.__module__}.{SparkOfflineStore.__name__}"},
        online_store={"type": "sqlite", "path": str(home / "stock-online.db")},
        entity_key_serialization_version=3,
    )
    entities = {
        name: Entity(name=name, value_type=ValueType.STRING)
        for name in dict.fromkeys(name for view in views for name in key_columns(view))
    }
    tables = []
    for view in views:
        path = str(home / "stock" / view.name)
        names = [feature.name for feature in view.features]
        fold_rows(events, view).select(
            *key_columns(view),
            F.timestamp_micros(TIME).alias("event_timestamp"),
            *[(F.col(SEQ) + i).cast("double").alias(name) for i, name in enumerate(names)],
        ).write.parquet(path)
        source = SparkSource(name=view.name, path=path, file_format="parquet", timestamp_field="event_timestamp")
        tables.append(
            FeatureView(
                name=view.name,
                entities=[entities[name] for name in key_columns(view)],
                schema=[Field(name=name, dtype=Float64) for name in names],
                source=source,
                ttl=timedelta(0),
            )
        )
    store = FeatureStore(config=config)
    store.apply([*entities.values(), *tables])
    return store
