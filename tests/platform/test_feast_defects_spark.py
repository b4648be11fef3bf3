"""Feast's own Spark offline store: what its point-in-time join gets wrong, shown on it, and that ours does not.

Each test names a defect. The first part of a test asks Feast's `SparkOfflineStore`, the second asks ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, RequestSource, ValueType
from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkOfflineStore
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Extreme, Feature, History, Measure, Total
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, W_ALL
from mailwarden.domain.mail.events import Event
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.offline import MailwardenOfflineStore
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog

START = datetime(2024, 3, 9, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
PAIR = ActivityView(
    "pair", 1, "tests", "mail from one to the other", ("sender", "recipient"), "pairs",
    (Measure("got", where=("forward",)), Measure("bad", of="labelled_bad", where=("forward",), on="label")),
    (Extreme("last", "last", where=("forward",)),),
    (),
    (
        Feature("seen", History(), "seen before", "flag"),
        Feature("got_all", Total("got", W_ALL), "received", "messages"),
        Feature("bad_all", Total("bad", W_ALL), "labelled bad", "messages"),
        Feature("days_since", Age("last"), "since the last", "days"),
    ),
)  # fmt: skip

Stock = Callable[..., FeatureStore]


@pytest.fixture
def stock(spark: SparkSession, tmp_path: Path) -> Iterator[Stock]:
    """Makes a store of Feast's own over rows of one view `mail`: keys a and b, a value, and when it was created."""

    def make(rows: Sequence[tuple[Any, ...]], *, created: bool = False) -> FeatureStore:
        frame = pd.DataFrame(rows, columns=["a", "b", "event_timestamp", "value", *(["created"] if created else [])])
        path = str(tmp_path / "mail")
        Path(path).mkdir()
        frame.to_parquet(f"{path}/part.parquet", index=False, coerce_timestamps="us")
        source = SparkSource(
            name="mail",
            path=path,
            file_format="parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created" if created else "",
        )
        store = FeatureStore(config=stock_config(tmp_path))
        entities = [Entity(name=name, value_type=ValueType.STRING) for name in ("a", "b")]
        view = FeatureView(
            name="mail",
            entities=entities,
            schema=[Field(name="value", dtype=Float64)],
            source=source,
            ttl=timedelta(0),
        )
        store.apply([*entities, view])
        return store

    yield make
    # Feast turns this on for the whole session; under it a quoted column name is a pattern.
    spark.conf.set("spark.sql.parser.quotedRegexColumnNames", "false")
    spark.conf.set("spark.sql.session.timeZone", "UTC")


def stock_config(folder: Path) -> RepoConfig:
    return RepoConfig(
        project="stock",
        provider="local",
        registry=str(folder / "stock.db"),
        offline_store={"type": f"{SparkOfflineStore.__module__}.{SparkOfflineStore.__name__}"},
        online_store={"type": "sqlite", "path": str(folder / "stock-online.db")},
        entity_key_serialization_version=3,
    )


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def wanted(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame([(a, b, at(hours)) for a, b, hours in rows], columns=["a", "b", "event_timestamp"])


@pytest.fixture(scope="module")
def ours(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Our store over mail from `1` to `23` and from `12` to `3`, and one label that came a day late."""
    settings = Settings(home=tmp_path_factory.mktemp("ours"))
    mail = [
        message(1, "1", "23", 0),
        message(2, "12", "3", 1),
        message(3, "12", "3", 1),
        message(4, "12", "3", 1),
        label(5, "12", "3", 1),
    ]
    EventLog(settings.events_path).append(mail)
    return open_feature_store(settings, [*ENTITIES, feature_view_of(PAIR), *on_demand()])


def message(seq: int, sender: str, recipient: str, hours: float) -> Event:
    moment = START_US + int(hours * HOUR_US)
    return Event("t", seq, "message", f"{seq:032x}", moment, moment, "envelope", "inbound", sender, "far.test",
                 (recipient,), ("own.test",))  # fmt: skip


def label(seq: int, sender: str, recipient: str, hours: float) -> Event:
    moment = START_US + int(hours * HOUR_US)
    return Event("t", seq, "label", f"{seq - 1:032x}", moment, moment + DAY_US, "given", "inbound", sender,
                 "far.test", (recipient,), ("own.test",), label="spam", labelled_bad=1)  # fmt: skip


def ask(store: FeatureStore, rows: Sequence[tuple[str, str, float, int]], *refs: str, **more: Any) -> pd.DataFrame:
    frame = pd.DataFrame(
        [("t", a, b, at(hours), seq) for a, b, hours, seq in rows],
        columns=["tenant", "sender", "recipient", "event_timestamp", "seq"],
    )
    return store.get_historical_features(frame.assign(**more), list(refs)).to_df()


def test_keys_that_read_alike_when_glued_meet_each_others_values(stock: Stock, ours: FeatureStore) -> None:
    """Row ids are keys and time joined without a separator, so that who picks an address picks whose values it gets."""
    store = stock([("1", "23", at(0), 1.0), ("12", "3", at(0), 2.0)])
    found = store.get_historical_features(wanted(("1", "23", 5), ("12", "3", 5)), ["mail:value"]).to_df()
    assert len(found) > 2
    of_first = set(found[(found["a"] == "1")]["value"])
    assert of_first == {1.0, 2.0}

    got = ask(ours, [("1", "23", 5, 9), ("12", "3", 5, 9)], "pair:got_all")
    assert got["got_all"].tolist() == [1, 3]


def test_ties_in_time_multiply_rows(stock: Stock, ours: FeatureStore) -> None:
    store = stock([("a", "b", at(0), 1.0), ("a", "b", at(0), 2.0), ("a", "b", at(0), 3.0)])
    assert len(store.get_historical_features(wanted(("a", "b", 5)), ["mail:value"]).to_df()) == 3

    # Three messages of one moment are three events, told apart by their sequence numbers.
    got = ask(ours, [("12", "3", 5, seq) for seq in (2, 3, 4, 5)] * 2, "pair:got_all")
    assert got["got_all"].isna().tolist() == [True, False, False, False] * 2
    assert got["got_all"].dropna().tolist() == [1, 2, 3] * 2


@pytest.mark.parametrize(
    ("zone", "wrong"),
    [("America/New_York", [None, 1.0]), ("Asia/Kolkata", [2.0, 2.0])],
    ids=["stale_or_missing", "future"],
)
def test_the_sessions_zone_moves_what_is_seen(
    stock: Stock, ours: FeatureStore, spark: SparkSession, zone: str, wrong: list[float | None]
) -> None:
    """Times without a zone are the session's to Feast: a row of 03:00 is answered by one of 08:00 under Kolkata."""
    store = stock([("a", "b", at(hours).replace(tzinfo=None), value) for hours, value in ((0, 1.0), (8, 2.0))])
    for session_zone, expected in (("UTC", [1.0, 2.0]), (zone, wrong)):
        spark.conf.set("spark.sql.session.timeZone", session_zone)
        found = store.get_historical_features(wanted(("a", "b", 3), ("a", "b", 9)), ["mail:value"]).to_df()
        values = found.sort_values("event_timestamp")["value"]
        assert [None if pd.isna(value) else value for value in values] == expected

    spark.conf.set("spark.sql.session.timeZone", "UTC")
    frame = pd.DataFrame(
        [("t", "12", "3", at(hours), 9) for hours in (1, 2, 25)],
        columns=["tenant", "sender", "recipient", "event_timestamp", "seq"],
    )
    for times in (frame["event_timestamp"], frame["event_timestamp"].dt.tz_localize(None)):
        job = ours.get_historical_features(frame.assign(event_timestamp=times), ["pair:days_since"])
        frame_of_job = job.to_spark_df()
        spark.conf.set("spark.sql.session.timeZone", zone)
        assert sorted(row["days_since"] for row in frame_of_job.collect()) == [0.0, 1 / 24, 1.0]
        got = job.to_df()
        assert got["days_since"].tolist() == [0.0, 1 / 24, 1.0]
        assert list(got["event_timestamp"]) == list(frame["event_timestamp"])


def test_what_was_created_later_is_seen_before(stock: Stock, ours: FeatureStore) -> None:
    """A row written a day later is in the past's values, unless `filter_by_created_timestamp` is asked for."""
    store = stock([("a", "b", at(0), 1.0, at(0)), ("a", "b", at(1), 9.0, at(25))], created=True)
    rows = wanted(("a", "b", 2))
    assert store.get_historical_features(rows, ["mail:value"]).to_df()["value"].tolist() == [9.0]
    kept = store.get_historical_features(rows, ["mail:value"], filter_by_created_timestamp=True).to_df()
    assert kept["value"].tolist() == [1.0]

    # The label's event lies at the time of its message; it counts from its own sequence number on.
    for filtered in (False, True):
        asked = pd.DataFrame(
            [("t", "12", "3", at(30), seq) for seq in (5, 6)],
            columns=["tenant", "sender", "recipient", "event_timestamp", "seq"],
        )
        job = ours.get_historical_features(asked, ["pair:bad_all"], filter_by_created_timestamp=filtered)
        assert job.to_df()["bad_all"].tolist() == [0, 1]


def test_views_of_fixed_names_hand_one_threads_rows_to_another(stock: Stock, ours: FeatureStore) -> None:
    """Two jobs of one session: the second runs between the first one's statements, as a second thread's may."""
    store = stock([("a", "b", at(0), 1.0), ("c", "d", at(0), 2.0)])
    first = store.get_historical_features(wanted(("a", "b", 5)), ["mail:value"])
    second = store.get_historical_features(wanted(("c", "d", 5)), ["mail:value"])
    session = first.spark_session

    class Between:
        def sql(self, statement: str) -> Any:
            if "SELECT" in statement and "CREATE" not in statement:
                second.to_spark_df()
            return session.sql(statement)

    first.spark_session = Between()
    assert first.to_df()["a"].tolist() == ["c"]

    jobs = [
        ours.get_historical_features(
            pd.DataFrame(
                {"tenant": "t", "sender": [a], "recipient": [b], "event_timestamp": [at(5)], "seq": [9]},
            ),
            ["pair:got_all"],
        )
        for a, b in (("1", "23"), ("12", "3"))
    ]
    frames = [job.to_spark_df() for job in jobs]
    assert [frame.toPandas()["got_all"].tolist() for frame in frames] == [[1], [3]]


def on_demand() -> list[Any]:
    """Views that say in which process they ran: one by frames, one by lists."""
    asked = RequestSource(name="asked", schema=[Field(name="plus", dtype=Int64)])

    @on_demand_feature_view(
        sources=[feature_view_of(PAIR), asked],
        schema=[Field(name="pid", dtype=Int64), Field(name="sum", dtype=Int64)],
        mode="pandas",
    )
    def by_frame(inputs: pd.DataFrame) -> pd.DataFrame:
        import os

        import pandas as pd

        return pd.DataFrame({"pid": os.getpid(), "sum": inputs["got_all"] + inputs["plus"]})

    return [asked, by_frame]


def test_on_demand_views_run_on_the_driver(stock: Stock, ours: FeatureStore) -> None:
    store = stock([("a", "b", at(0), 1.0)])

    @on_demand_feature_view(
        sources=[store.get_feature_view("mail")], schema=[Field(name="pid", dtype=Int64)], mode="pandas"
    )
    def process(inputs: pd.DataFrame) -> pd.DataFrame:
        import os

        import pandas as pd

        return pd.DataFrame({"pid": [os.getpid()] * len(inputs)})

    store.apply([process])
    found = store.get_historical_features(wanted(("a", "b", 5)), ["process:pid", "mail:value"]).to_df()
    assert found["pid"].tolist() == [os.getpid()]

    got = ask(ours, [("1", "23", 5, 9), ("12", "3", 5, 9)], "by_frame:pid", "by_frame:sum", plus=[10, 20])
    assert os.getpid() not in set(got["pid"])
    assert got["sum"].tolist() == [11, 23]


def test_a_source_must_have_data_before_it_is_applied(tmp_path: Path, spark: SparkSession) -> None:
    source = SparkSource(name="s", path=str(tmp_path / "none"), file_format="parquet", timestamp_field="t")
    entity = Entity(name="a", value_type=ValueType.STRING)
    store = FeatureStore(config=stock_config(tmp_path))
    with pytest.raises(Exception, match="Unable to find table"):
        store.apply([entity, FeatureView(name="early", entities=[entity], source=source)])
    spark.conf.set("spark.sql.parser.quotedRegexColumnNames", "false")

    empty = open_feature_store(Settings(home=tmp_path / "home"), [*ENTITIES, feature_view_of(PAIR)])
    got = ask(empty, [("1", "23", 5, 9)], "pair:seen")
    assert got["seen"].tolist() == [0]


def test_a_rerun_appends_its_rows_again(stock: Stock, ours: FeatureStore) -> None:
    """Writing the same rows twice leaves them there twice; ours are written by no one but the event log."""
    rows = [("a", "b", at(0), 1.0)]
    store = stock(rows)
    view = store.get_feature_view("mail")
    table = pa.table(
        {
            "a": ["a"],
            "b": ["b"],
            "event_timestamp": pa.array([at(1)], pa.timestamp("us", tz="UTC")),
            "value": [2.0],
        }
    )
    for _ in range(2):
        SparkOfflineStore.offline_write_batch(store.config, view, table, None)
    assert sorted(pd.read_parquet(view.batch_source.path)["value"]) == [1.0, 2.0, 2.0]

    with pytest.raises(DataError, match="event log"):
        MailwardenOfflineStore.offline_write_batch(ours.config, ours.get_feature_view("pair"), table, None)
    log = EventLog(ours.config.offline_store.settings().events_path)
    before = log.count()
    log.append([message(1, "1", "23", 0)])
    assert log.count() == before
