"""Loading Redis from Spark: whole states by ours, plain values by Feast's Spark engine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.types import Float64
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Extreme, Feature, Measure, Ratio, Total
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.windows import W_1D, W_7D, W_30D, W_ALL
from mailwarden.domain.mail.events import Way
from mailwarden.errors import StoreError
from mailwarden.settings import Settings
from mailwarden.stores.online.client import open_client
from mailwarden.stores.spark.load import RedisSink, load_states
from mailwarden.stores.spark.session import spark_session
from mailwarden.stores.spark.states import states_schema
from mailwarden_services.bench.feast_redis import quiet_feast
from mailwarden_services.bench.mail import TENANT, mail_events
from mailwarden_services.bench.tcp_redis import tcp_redis

KEYS = 200_000
_WARM = 2_000
_DIFFERENT = 1_000
"""States that differ; the keys take them in turns."""

_FILES = 4
_TIME = datetime(2024, 6, 1, tzinfo=UTC)

VIEW = ActivityView(
    name="sender_load",
    version=1,
    owner="bench",
    description="Ten values of a sender, as a view of some size has them.",
    keys=("sender",),
    emission="facts",
    measures=(
        Measure("messages"),
        Measure("with_link", where=("has_link",)),
        Measure("bytes", of="size_bytes"),
    ),
    extremes=(Extreme("first", "first"), Extreme("last", "last")),
    distincts=(),
    features=(
        Feature("messages_all", Total("messages", W_ALL), "Messages.", "messages"),
        Feature("messages_1d", Total("messages", W_1D), "Messages of a day.", "messages"),
        Feature("messages_7d", Total("messages", W_7D), "Messages of a week.", "messages"),
        Feature("messages_30d", Total("messages", W_30D), "Messages of a month.", "messages"),
        Feature("bytes_30d", Total("bytes", W_30D), "Their size.", "bytes"),
        Feature("links_7d", Total("with_link", W_7D), "Messages with a link.", "messages"),
        Feature("link_rate_30d", Ratio("with_link", "messages", W_30D), "Share with a link.", "1", "no message"),
        Feature("link_rate_all", Ratio("with_link", "messages", W_ALL), "Share with a link.", "1", "no message"),
        Feature("days_known", Age("first"), "Since the first message.", "days"),
        Feature("days_since", Age("last"), "Since the last message.", "days"),
    ),
)

Say = Callable[[str], None]


def measure(settings: Settings, *, keys: int = KEYS, rounds: int = 2, say: Say = lambda _: None) -> dict[str, Any]:
    """Rows a second into one Redis on TCP loopback, by one Spark session, and their ratio; the best of rounds in turns.

    ours: packed states. feast_engine: the ten finalised values of the same keys by `spark.engine` and Feast's own
    Redis store. All read Parquet of as many rows. settings: those of Spark. Raises StoreError where keys
    are missing after.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mailwarden-bench-") as folder,
        quiet_feast(),
        tcp_redis(Path(folder)) as url,
    ):
        home = Path(folder)
        spark = spark_session(settings.model_copy(update={"home": home}), "bench")
        say(f"making {keys:,} states and their values")
        for n, name in ((keys, "timed"), (_WARM, "warm")):
            write_rows(home / name, n)
        ways: dict[str, Callable[[str], float]] = {
            "ours": lambda name: _ours(spark, url, home / name),
            "feast_engine": lambda name: _feast(url, home / name),
        }
        best = dict.fromkeys(ways, float("inf"))
        with open_client(url, timeout_seconds=60.0) as client:
            for load in ways.values():
                client.flushall()
                load("warm")
            for turn in range(rounds):
                for name, load in ways.items():
                    say(f"loading by {name.replace('_', ' ')}, round {turn + 1}")
                    client.flushall()
                    best[name] = min(best[name], load("timed"))
                    if (held := client.dbsize()) < keys:
                        raise StoreError(f"{name} left {held} keys in Redis of {keys}")
    rates = {name: round(keys / seconds) for name, seconds in best.items()}
    return {
        "keys": keys,
        "values": len(VIEW.features),
        **{name: {"seconds": round(best[name], 2), "rows_per_second": rate} for name, rate in rates.items()},
        "ratios": {"ours_over_feast_engine": round(rates["ours"] / rates["feast_engine"], 2)},
    }


def write_rows(folder: Path, n: int) -> None:
    """States and, of the same keys, finalised values as Parquet in a few files each."""
    layout = layout_of(VIEW)
    found = []
    mail = mail_events(_DIFFERENT * 8, senders=_DIFFERENT)
    while events := list(islice(mail, 8)):
        state = EntityState(layout)
        for event in events:
            state.fold(replace(event, sender="s"), [Way(True)])
        found.append(state)
    packed = [state.to_bytes() for state in found]
    at_us = np.array([state.newest_us for state in found], dtype=np.int64)
    reads = read_slots(layout, packed, at_us)
    values = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, at_us)
    which = np.arange(n) % len(found)
    names = {
        "tenant": pa.array([TENANT] * n),
        "sender": pa.array([f"sender{i}@d{i % 997}.example" for i in range(n)]),
    }
    seqs = np.array([state.last_seq for state in found], dtype=np.int64)[which]
    states = {"last_seq": seqs, "state": pa.array(packed).take(pa.array(which)), "sketches": pa.array([b""] * n)}
    features = {feature.name: values[which, i] for i, feature in enumerate(VIEW.features)}
    times = {"event_timestamp": pa.array([_TIME] * n, pa.timestamp("us", tz="UTC"))}
    for what, columns in (("states", {**names, **states}), ("values", {**names, **times, **features})):
        (folder / what).mkdir(parents=True)
        table = pa.table(columns)
        step = -(-n // _FILES)
        for part in range(_FILES):
            pq.write_table(table.slice(part * step, step), folder / what / f"{part}.parquet")


def _ours(spark: SparkSession, url: str, folder: Path) -> float:
    sink = RedisSink(url, "bench", (VIEW,), 4)
    started = time.perf_counter()
    states = spark.read.schema(states_schema(VIEW)).parquet(str(folder / "states"))
    load_states(states, VIEW, sink, 1)
    return time.perf_counter() - started


def _feast(url: str, folder: Path) -> float:
    config = RepoConfig(
        project="stock",
        provider="local",
        registry=str(folder / "stock.db"),
        offline_store={"type": f"{SparkOfflineStore.__module__}.{SparkOfflineStore.__name__}"},
        online_store={"type": "redis", "connection_string": url.removeprefix("redis://").replace("/", ",db=")},
        batch_engine={"type": "spark.engine"},
        entity_key_serialization_version=3,
    )
    entities = [Entity(name=name, value_type=ValueType.STRING) for name in ("tenant", "sender")]
    source = SparkSource(
        name=VIEW.name, path=str(folder / "values"), file_format="parquet", timestamp_field="event_timestamp"
    )
    table = FeatureView(
        name=VIEW.name,
        entities=entities,
        schema=[Field(name=feature.name, dtype=Float64) for feature in VIEW.features],
        source=source,
        ttl=timedelta(0),
    )
    store = FeatureStore(config=config)
    store.apply([*entities, table])
    started = time.perf_counter()
    # It tells of itself on both streams, whatever the level of its logs.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        store.materialize(_TIME - timedelta(days=1), _TIME + timedelta(days=1))
    return time.perf_counter() - started
