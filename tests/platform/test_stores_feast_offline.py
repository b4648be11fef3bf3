from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService, FeatureStore
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.errors import ContractError, DataError
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, entity_names, feature_view_of
from mailwarden.stores.feast.source import ContentDefinition, ViewSource, from_json, to_json, view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog

CONTENT = ContentView(
    name="words",
    version=1,
    owner="tests",
    description="for tests",
    features=(ContentFeature("n", "int64", "n", "words", "never"), ContentFeature("s", "string", "s", "", "never")),
    compute=lambda message, lists: {"n": 1, "s": message.subject},
    reads=("text",),
    cost_us=1.0,
)


@pytest.fixture(scope="module")
def events(histories: Any) -> Any:
    return histories.events(200, seed=11)


@pytest.fixture(scope="module")
def pair(histories: Any) -> Any:
    return replace(histories.view("pairs", distincts=False), name="pair")


@pytest.fixture(scope="module")
def store(spark: SparkSession, histories: Any, events: Any, pair: Any, tmp_path_factory: Any) -> FeatureStore:
    settings = Settings(home=tmp_path_factory.mktemp("feast"))
    EventLog(settings.events_path).append(events)
    views = [feature_view_of(view) for view in (histories.view(), pair, CONTENT)]
    service = FeatureService(name="all", features=views)
    return open_feature_store(settings, [*ENTITIES, *views, service])


@pytest.fixture(scope="module")
def asked(events: Any) -> pd.DataFrame:
    rows = [
        {
            "weight": i * 0.5,
            "tenant": e.tenant,
            "sender": e.sender or None,
            "recipient": recipient,
            "message_id": e.message_id,
            "event_timestamp": pd.Timestamp(e.received_at_us, unit="us", tz="UTC"),
            "seq": e.seq,
        }
        for i, e in enumerate(events[:150])
        for recipient in (e.recipients or ("",))
    ]
    return pd.DataFrame(rows + rows[:40])


def test_a_definition_survives_the_registry(store: FeatureStore, histories: Any, pair: Any) -> None:
    for view in (histories.view(), pair):
        assert from_json(to_json(view)) == view
        assert view_of(store.get_feature_view(view.name)) == view
    definition = ContentDefinition.of(CONTENT)
    assert from_json(to_json(definition)) == definition
    assert ViewSource.from_proto(ViewSource(definition).to_proto()) == ViewSource(definition)
    assert ViewSource(definition) != ViewSource(replace(definition, version=2))
    with pytest.raises(ContractError, match="computed from the message alone"):
        view_of(store.get_feature_view("words"))
    assert entity_names(CONTENT) == ("tenant", "message")


def test_a_field_says_what_it_is(store: FeatureStore) -> None:
    view = store.get_feature_view("who")
    field = next(field for field in view.features if field.name == "bad_rate")
    assert field.tags["unit"] == "share"
    assert field.tags["window"] == "matured"
    assert field.tags["hop"] == "86400 s"
    assert view.online and not store.get_feature_view("words").online


def test_rows_come_back_as_they_were_with_values_as_of_each(
    store: FeatureStore, histories: Any, events: Any, pair: Any, asked: pd.DataFrame, spark: SparkSession
) -> None:
    job = store.get_historical_features(asked, store.get_feature_service("all"), full_feature_names=True)
    job.to_spark_df()
    try:
        # Once the plan stands: asking for a session sets its zone to UTC.
        spark.conf.set("spark.sql.session.timeZone", "America/New_York")
        found = job.to_df()
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert len(found) == len(asked)
    for name in asked.columns:
        left, right = found[name], asked[name]
        assert ((left == right) | (left.isna() & right.isna())).all(), name
    assert found["words__n"].isna().all()
    who = histories.view()
    for index in range(0, len(asked), 3):
        row = asked.iloc[index]
        at = int(row["event_timestamp"].value // 1000)
        for view, key in ((who, (row["tenant"], row["sender"])), (pair, tuple(row[["tenant", "sender", "recipient"]]))):
            values: list[float | None] = [None] * len(view.features)
            if all(key):
                state = histories.states(view, events, before=row["seq"]).get(key)
                values, _ = histories.values(view, state, at)
            got = [found[f"{view.name}__{feature.name}"].iloc[index] for feature in view.features]
            assert [None if pd.isna(value) else value for value in got] == values


def test_a_spark_frame_a_path_and_pandas_give_the_same_and_what_comes_later_does_not_show(
    store: FeatureStore, events: Any, asked: pd.DataFrame, spark: SparkSession, tmp_path: Path
) -> None:
    refs = ["who:got_30d", "who:bytes_1d", "who:people_all"]
    expected = store.get_historical_features(asked, refs)
    path = str(tmp_path / "asked.parquet")
    asked.to_parquet(path, index=False, coerce_timestamps="us")
    frame = spark.read.parquet(path).withColumn("event_timestamp", F.col("event_timestamp").cast("timestamp_ntz"))
    jobs = [store.get_historical_features(entity_df, refs) for entity_df in (frame, path)]
    settings = store.config.offline_store.settings()
    late = [replace(e, seq=e.seq + 1000, message_id=f"late{e.seq}") for e in events[:3]]
    early = [replace(e, seq=0, tenant=e.tenant, message_id="early", kind="message") for e in events[:1]]
    EventLog(settings.events_path).append([*late, *early])
    order = ["message_id", "recipient", "weight"]
    wanted = expected.to_df().sort_values(order).reset_index(drop=True)
    for job in jobs:
        found = job.to_df().sort_values(order).reset_index(drop=True)
        pd.testing.assert_frame_equal(
            found.drop(columns="event_timestamp"), wanted.drop(columns="event_timestamp"), check_dtype=False
        )
    out = tmp_path / "out"
    expected.persist(SavedDatasetFileStorage(str(out)))
    assert spark.read.parquet(str(out)).count() == len(asked)
    with pytest.raises(DataError, match="exists"):
        expected.to_parquet(out)


def test_what_cannot_be_asked_is_refused_in_words(store: FeatureStore, asked: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no column seq"):
        store.get_historical_features(asked.drop(columns=["seq", "message_id"]), ["who:seen"])
    with pytest.raises(DataError, match="no column recipient"):
        store.get_historical_features(asked.drop(columns="recipient"), ["pair:seen"])
    with pytest.raises(DataError, match="twice"):
        store.get_historical_features(asked.assign(seen=1), ["who:seen"])
    with pytest.raises(DataError, match="entity_df"):
        store.get_historical_features(features=["who:seen"])
    with pytest.raises(DataError, match="no Parquet at"):
        store.get_historical_features("/nowhere.parquet", ["who:seen"])


def test_apply_needs_neither_data_nor_java(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
view = ActivityView("v", 1, "o", "d", ("sender",), "participants", (), (), (), (Feature("seen", History(), "d", "u"),))
store = open_feature_store(Settings(home=Path(sys.argv[1])), [*ENTITIES, feature_view_of(view)])
store.apply([*ENTITIES, feature_view_of(view)])
print([v.name for v in store.list_feature_views()])
"""
    env = {"PATH": "/nonexistent", "JAVA_HOME": "/nonexistent", "HOME": str(tmp_path), "FEAST_USAGE": "False"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == "['v']"
