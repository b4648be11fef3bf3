"""Jobs of the offline store: when they run, in what order rows come, on-demand columns, and keys of any bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore, Field, RequestSource
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Int64
from pyspark.sql import DataFrame, SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History, Match, Measure, Recent, Total
from mailwarden.domain.aggregates.windows import HOUR_US, W_ALL
from mailwarden.domain.mail.events import Event
from mailwarden.errors import ContractError, DataError, StoreError
from mailwarden.settings import Settings
from mailwarden.stores.feast import offline
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog

START_US = 1_700_000_000_000_000
HOSTILE = ("a\x00b@x.test", "a\x00", "a", "1|2", "1\x1f2", "l" * 400 + "@y.test", "ä☃𝕏@ü.test", " ", "'; drop--")
SENDERS = ActivityView(
    "senders", 1, "tests", "by sender", ("sender",), "participants",
    (Measure("got", where=("forward",)),), (), (),
    (
        Feature("seen", History(), "seen before", "flag"),
        Feature("got_all", Total("got", W_ALL), "received", "messages"),
        Feature("alike", Match("groups"), "recipients as before", "share"),
    ),
    recents=(Recent("groups", "recipients", 5, ("forward",)),),
)  # fmt: skip
PAIRS = ActivityView(
    "pairs", 1, "tests", "by pair", ("sender", "recipient"), "pairs", (Measure("got", where=("forward",)),), (), (),
    (Feature("got_all", Total("got", W_ALL), "received", "messages"),),
)  # fmt: skip


def mail() -> list[Event]:
    """Three messages of each hostile sender, to each other one in turn."""
    n = len(HOSTILE)
    return [
        Event(
            "t", seq + 1, "message", f"{seq:032x}", START_US + seq * HOUR_US, START_US + seq * HOUR_US, "envelope",
            "inbound", HOSTILE[seq % n], "x.test", (HOSTILE[(seq + 1) % n],), ("own.test",),
        )
        for seq in range(3 * n)
    ]  # fmt: skip


def on_demand() -> list[Any]:
    asked = RequestSource(name="asked", schema=[Field(name="plus", dtype=Int64)])
    sources = [feature_view_of(SENDERS), feature_view_of(PAIRS), asked]

    @on_demand_feature_view(
        sources=sources, schema=[Field(name="pid", dtype=Int64), Field(name="sum", dtype=Int64)], mode="pandas"
    )
    def by_frame(inputs: pd.DataFrame) -> pd.DataFrame:
        import os

        import pandas as pd

        total = inputs["senders__got_all"] + inputs["pairs__got_all"].fillna(0) + inputs["plus"]
        return pd.DataFrame({"pid": os.getpid(), "sum": total})

    @on_demand_feature_view(sources=sources, schema=[Field(name="double", dtype=Int64)], mode="python", singleton=True)
    def by_row(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"double": 2 * inputs["plus"]}

    @on_demand_feature_view(sources=sources, schema=[Field(name="bad", dtype=Int64)], mode="pandas")
    def broken(inputs: pd.DataFrame) -> pd.DataFrame:
        return inputs.iloc[::-1].assign(bad=1)

    return [asked, by_frame, by_row, broken]


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    settings = Settings(home=tmp_path_factory.mktemp("jobs"))
    EventLog(settings.events_path).append(mail())
    views = [feature_view_of(SENDERS), feature_view_of(PAIRS)]
    return open_feature_store(settings, [*ENTITIES, *views, *on_demand()])


def asked(count: int = 3, **more: Any) -> pd.DataFrame:
    """Rows for each hostile pair, in an order that no key has; `want` is what each has got before."""
    n = len(HOSTILE)
    rows = [
        ("t", HOSTILE[i], HOSTILE[(i + 1) % n], START_US + 100 * HOUR_US, 1 + i + n * step, float(step))
        for step in reversed(range(count))
        for i in range(n)
    ]
    frame = pd.DataFrame(rows, columns=["tenant", "sender", "recipient", "event_timestamp", "seq", "want"])
    frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], unit="us", utc=True)
    return frame.assign(**more)


def jobs_run(spark: SparkSession) -> int:
    return int(spark.sparkContext._jsc.sc().dagScheduler().numTotalJobs())


def test_keys_of_any_bytes_get_their_own_values_in_the_order_asked(store: FeatureStore) -> None:
    rows = asked()
    found = store.get_historical_features(rows, ["senders:got_all", "pairs:got_all"], full_feature_names=True).to_df()
    for name in rows.columns:
        assert found[name].tolist() == rows[name].tolist(), name
    # Of the first of each sender there is nothing before, which is null and not 0.
    for name in ("senders__got_all", "pairs__got_all"):
        assert found[name].fillna(0).tolist() == rows["want"].tolist()
    with pytest.raises(DataError, match="lone surrogate"):
        store.get_historical_features(rows.assign(sender="\ud800@x.test"), ["senders:seen"])


def test_what_is_no_key_or_time_is_refused_and_what_is_missing_is_null(store: FeatureStore) -> None:
    rows = asked(2)
    with pytest.raises(DataError, match="sender is of another type"):
        store.get_historical_features(rows.assign(sender=1), ["senders:seen"])
    with pytest.raises(DataError, match="event_timestamp is of another type"):
        store.get_historical_features(rows.assign(event_timestamp="2024-01-01"), ["senders:seen"])
    with pytest.raises(DataError, match="no whole number"):
        store.get_historical_features(rows.assign(seq=1.5), ["senders:seen"])
    n = len(HOSTILE)
    some = rows.iloc[: n + 3].copy()
    some["seq"] = some["seq"].astype("float64")
    some.loc[1, "sender"] = None
    some.loc[2, "sender"] = ""
    some.loc[3, "seq"] = None
    some.loc[4, "event_timestamp"] = None
    found = store.get_historical_features(some, ["senders:seen"]).to_df()
    assert found["seen"].isna().tolist() == [False, True, True, True, True, *[False] * (n - 2)]


def test_nothing_runs_before_it_is_asked_for(store: FeatureStore, spark: SparkSession, tmp_path: Path) -> None:
    rows = asked(1, plus=1, own__recipients=[["x@x.test"]] * len(HOSTILE))
    path = str(tmp_path / "rows.parquet")
    rows.to_parquet(path, coerce_timestamps="us", index=False)
    shuffled = spark.createDataFrame(pa.Table.from_pandas(rows, preserve_index=False)).repartition(3, "sender")
    before = jobs_run(spark)
    refs = ["senders:got_all", "by_frame:sum"]
    jobs = [store.get_historical_features(frame, refs, full_feature_names=True) for frame in (rows, path, shuffled)]
    assert jobs_run(spark) == before
    plan = jobs[0].to_spark_df()
    # Whether a view's events hold a tombstone is looked for in what Parquet says of row groups, and decides the plan.
    looked = jobs_run(spark)
    assert looked <= before + len(refs)
    assert plan.count() == len(rows)
    assert jobs_run(spark) > looked
    assert jobs[2].to_parquet(tmp_path / "out") == len(rows)


def test_a_job_that_is_kept_holds_no_memory(store: FeatureStore, spark: SparkSession, tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        storage = spark.sparkContext._jsc.sc().getRDDStorageInfo()
        return sum(info.memSize() for info in storage), sum(info.diskSize() for info in storage)

    rows = spark.createDataFrame(asked())
    before = held()
    job = store.get_historical_features(rows, ["senders:got_all"])
    assert job.to_parquet(tmp_path / "out") == rows.count()
    after = held()
    assert after[0] <= before[0] and after[1] > before[1]


def test_threads_do_not_meet_each_others_rows(store: FeatureStore) -> None:
    parts = [asked(3).iloc[start::3].reset_index(drop=True) for start in range(3)]

    def run(rows: pd.DataFrame) -> tuple[list[Any], list[Any]]:
        found = store.get_historical_features(rows, ["senders:got_all"]).to_df()
        return found["sender"].tolist(), found["got_all"].fillna(0).tolist()

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(run, parts))
    assert found == [(rows["sender"].tolist(), rows["want"].tolist()) for rows in parts]


def test_on_demand_columns_are_computed_on_the_executors(store: FeatureStore, tmp_path: Path) -> None:
    many = 2 * len(HOSTILE)
    # What an on-demand view is made of is asked for whole, features that compare the message with the past too.
    rows = asked(2, plus=range(many), own__recipients=[["x@x.test"]] * many)
    path = str(tmp_path / "rows.parquet")
    rows.to_parquet(path, coerce_timestamps="us", index=False)
    refs = ["by_row:double", "by_frame:sum", "by_frame:pid", "senders:seen"]
    job = store.get_historical_features(path, refs, full_feature_names=True)
    job.persist(SavedDatasetFileStorage(str(tmp_path / "out")))
    found = pd.read_parquet(tmp_path / "out").sort_values("plus").reset_index(drop=True)
    assert found["by_row__double"].tolist() == [2 * i for i in range(len(rows))]
    assert found["by_frame__sum"].fillna(-1).tolist() == [
        2 * want + plus if want else -1 for want, plus in zip(rows["want"], rows["plus"], strict=True)
    ]
    assert os.getpid() not in set(found["by_frame__pid"])
    # What on-demand views read stands beside them, in the order that its view defines.
    assert list(found)[len(rows.columns) :][:3] == ["senders__seen", "senders__got_all", "senders__alike"]
    with pytest.raises(DataError, match=r"no column plus.*request source of by_row"):
        store.get_historical_features(rows.drop(columns="plus").pipe(_saved, tmp_path / "less"), ["by_row:double"])
    with pytest.raises(ContractError, match="on-demand feature view broken gave"):
        store.get_historical_features(rows, ["broken:bad"], full_feature_names=True).to_df()


def _saved(frame: pd.DataFrame, path: Path) -> str:
    frame.to_parquet(path, coerce_timestamps="us", index=False)
    return str(path)


def test_a_message_is_matched_by_the_names_that_it_holds_itself(store: FeatureStore) -> None:
    rows = asked(2).iloc[: len(HOSTILE)]
    own = [[row.recipient] if i % 2 else [row.recipient, "other@x.test"] for i, row in enumerate(rows.itertuples())]
    found = store.get_historical_features(rows.assign(own__recipients=own), ["senders:alike"]).to_df()
    assert found["alike"].tolist() == [1.0 if i % 2 else 0.5 for i in range(len(rows))]
    nothing = store.get_historical_features(rows.assign(own__recipients=None), ["senders:alike"]).to_df()
    assert nothing["alike"].isna().all()
    with pytest.raises(DataError, match=r"senders:alike.*Give tenant and message_id.*own__recipients"):
        store.get_historical_features(rows, ["senders:alike"])


@pytest.mark.parametrize("wrong", ["twice", "lost"])
def test_other_rows_out_than_in_are_an_error(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    real = offline.as_of

    def broken(*given: Any) -> DataFrame:
        values = real(*given)
        return values.union(values) if wrong == "twice" else values.where("row_id > 0")

    monkeypatch.setattr(offline, "as_of", broken)
    job = store.get_historical_features(asked(1), ["senders:got_all"])
    with pytest.raises(StoreError, match="came out for 9 that were asked"):
        job.to_df()
    with pytest.raises(StoreError, match="came out for 9 that were asked"):
        job.to_parquet(tmp_path / "out")


def test_parquet_in_order_and_far_away(store: FeatureStore, tmp_path: Path) -> None:
    rows = asked(2)
    job = store.get_historical_features(rows, ["senders:got_all"])
    assert job.to_parquet(tmp_path / "out", in_order=True) == len(rows)
    parts = [pd.read_parquet(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert pd.concat(parts)["seq"].tolist() == rows["seq"].tolist()
    assert not job.supports_remote_storage_export()
    with pytest.raises(DataError, match="staging_location"):
        job.to_remote_storage()
    config = store.config.model_copy(deep=True)
    config.offline_store.staging_location = str(tmp_path / "staged")
    files = FeatureStore(config=config).get_historical_features(rows, ["senders:got_all"]).to_remote_storage()
    assert sum(len(pd.read_parquet(file.removeprefix("file://"))) for file in files) == len(rows)


def test_parquet_in_nanoseconds_is_refused_in_words(store: FeatureStore, tmp_path: Path) -> None:
    rows = asked(1)
    rows["event_timestamp"] = rows["event_timestamp"].astype("datetime64[ns, UTC]")
    rows.to_parquet(tmp_path / "ns.parquet")
    with pytest.raises(DataError, match=r"counts nanoseconds.*coerce_timestamps='us'"):
        store.get_historical_features(str(tmp_path / "ns.parquet"), ["senders:seen"])


IN_ANOTHER_ZONE = """
import sys, time
from pathlib import Path
import pandas as pd
from mailwarden.settings import Settings
from mailwarden.stores.feast.store import open_feature_store
assert time.tzname[0] != "UTC"
store = open_feature_store(Settings(home=Path(sys.argv[1]), spark_driver_memory="1g", spark_shuffle_partitions=1))
store.get_historical_features(sys.argv[2], ["senders:got_all"]).to_df().to_parquet(sys.argv[3])
"""


@pytest.mark.verify
def test_the_zone_of_the_process_changes_nothing(store: FeatureStore, tmp_path: Path) -> None:
    """A process of its own, since a JVM takes its zone when it starts."""
    rows = asked(2)
    home = store.config.offline_store.home
    path = _saved(rows, tmp_path / "rows.parquet")
    run = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_ZONE, home, path, str(tmp_path / "out.parquet")],
        env={**os.environ, "TZ": "America/New_York"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found = pd.read_parquet(tmp_path / "out.parquet")
    expected = store.get_historical_features(rows, ["senders:got_all"]).to_df()
    assert found["got_all"].fillna(-1).tolist() == expected["got_all"].fillna(-1).tolist()
    assert found["event_timestamp"].tolist() == rows["event_timestamp"].tolist()


def test_what_is_written_later_does_not_show(store: FeatureStore, tmp_path: Path) -> None:
    copy = Settings(home=tmp_path)
    log = EventLog(copy.events_path)
    log.append(mail()[:9])
    own = open_feature_store(copy, [*ENTITIES, feature_view_of(SENDERS)])
    job = own.get_historical_features(asked(3), ["senders:got_all"])
    log.append([replace(event, seq=event.seq + 9) for event in mail()[9:]])
    assert job.to_df()["got_all"].fillna(0).max() == 1
