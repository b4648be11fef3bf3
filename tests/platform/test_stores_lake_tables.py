"""The lake's tables open alike in pandas, DuckDB and Spark SQL, with partitions, and pinned to a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mailwarden.domain.mail.facts import tombstone_of
from mailwarden.errors import NotFound
from mailwarden.settings import Settings
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.raw_mail import RawMail, RawRow
from mailwarden.stores.lake.score_log import ScoreLog, score_schema
from mailwarden.stores.lake.sql_views import view_statements
from mailwarden.stores.lake.tables import table, tables
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable

QUERIES = (
    "SELECT count(*), count(DISTINCT day), count(DISTINCT bucket), sum(seq) FROM events",
    "SELECT tenant, count(*) FROM messages GROUP BY tenant ORDER BY tenant",
    "SELECT count(*), sum(seq) FROM signals",
    "SELECT label, count(*) FROM labels GROUP BY label ORDER BY label",
    "SELECT count(*) FROM raw_mail WHERE day = DATE '2024-01-02'",
    "SELECT n, s FROM words ORDER BY n",
    "SELECT count(*) FROM vectors",
    "SELECT detector, model, raw, calibrated, missing FROM scores WHERE bundle = 4 AND day = DATE '2024-01-01' "
    "ORDER BY seq, detector",
    "SELECT count(*) FROM events WHERE sender_domain = 'own.test' AND bucket >= 0",
)


@pytest.fixture(scope="module")
def settings(histories: Any, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home whose path has a quote in it, with two commits of events and two parts of content."""
    settings = Settings(home=tmp_path_factory.mktemp("it's home"))
    events = histories.events(120, seed=3)
    EventLog(settings.events_path).append(events[:60])
    EventLog(settings.events_path).append(events[60:])
    RawMail(settings.raw_path).append(
        [
            RawRow("t1", f"{n:064x}", f"{n:032x}", 1_704_153_600_000_000 + n, None, (), "envelope", b"x")
            for n in range(3)
        ]
    )
    ScoreLog(settings.scores_path).append(pa.Table.from_pylist([score(1, "one"), score(2, "two")], score_schema()))
    words = OfflineTable(settings.offline_path, "words", 2)
    files = [_part(words, f"parts/{name}/day=2024-01-0{day}", day) for name, day in (("a", 1), ("b", 2), ("b", 3))]
    words.publish(Manifest("words", 2, 0, 3, 0, ("parts/a", "parts/b"), tuple(files)))
    return settings


def _part(words: OfflineTable, folder: str, n: int) -> str:
    (words.path / folder).mkdir(parents=True)
    rows = pa.table({"tenant": ["t1"], "message_id": [f"{n:032x}"], "n": pa.array([n], pa.int64()), "s": ["ä'\"☃"]})
    pq.write_table(rows, words.path / folder / "part.parquet")
    return f"{folder}/part.parquet"


def score(seq: int, detector: str) -> dict[str, Any]:
    spoke = seq == 1
    return {
        "tenant": "t1", "seq": seq, "message_id": f"{seq:032x}", "recipient": "a@own.test",
        "received_at": 1_704_067_200_000_000 + seq, "decision_id": f"d{seq}", "bundle": 4, "detector": detector,
        "model": 2, "raw": 0.1 if spoke else None, "calibrated": -0.3 if spoke else None, "milliseconds": 0.5,
        "missing": None if spoke else "abstained",
    }  # fmt: skip


def in_duckdb(settings: Settings) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for statement in view_statements(tables(settings).values(), "duckdb"):
        connection.execute(statement)
    return connection


def rows(found: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in found]


def test_pandas_has_the_partitions_and_reads_what_is_asked(settings: Settings) -> None:
    events = table(settings, "events")
    frame = events.to_pandas()
    assert len(frame) == 120 and frame["day"].notna().all() and frame["bucket"].between(0, 15).all()
    part = events.to_pandas(["seq", "bucket"], (ds.field("tenant") == "t2") & (ds.field("kind") == "message"))
    assert [*part.columns] == ["seq", "bucket"]
    assert sorted(part["seq"]) == sorted(frame[(frame["tenant"] == "t2") & (frame["kind"] == "message")]["seq"])
    assert "raw" not in table(settings, "raw_mail").schema.names
    assert table(settings, "words").to_pandas()[["n", "day"]].sort_values("n")["n"].tolist() == [1, 2, 3]
    assert len(events.to_pandas(limit=7)) == 7 and table(settings, "vectors").to_pandas().empty
    with pytest.raises(NotFound, match=r"no table 'event'\. Did you mean 'events'"):
        table(settings, "event")


def test_duckdb_sees_what_pandas_sees(settings: Settings) -> None:
    connection = in_duckdb(settings)
    frame = table(settings, "events").to_pandas()
    (counted,) = connection.execute(QUERIES[0]).fetchall()
    assert counted == (len(frame), frame["day"].nunique(), frame["bucket"].nunique(), frame["seq"].sum())
    found = connection.execute("SELECT * FROM events").df()
    assert [*found.columns] == [*frame.columns]
    assert connection.execute("SELECT n, s FROM words ORDER BY n").fetchall() == [(n, "ä'\"☃") for n in (1, 2, 3)]
    times = connection.execute("SELECT epoch_us(received_at) FROM events ORDER BY seq").fetchall()
    assert [row[0] for row in times] == [at.value // 1_000 for at in frame.sort_values("seq")["received_at"]]


def test_scores_are_there_with_why_they_are_missing(settings: Settings) -> None:
    found = in_duckdb(settings).execute(next(query for query in QUERIES if "scores" in query)).fetchall()
    assert found == [("one", 2, 0.1, -0.3, None), ("two", 2, None, None, "abstained")]


def test_views_are_pinned_and_a_column_that_no_file_has_is_null(settings: Settings, histories: Any) -> None:
    connection = in_duckdb(settings)
    before = connection.execute("SELECT count(*) FROM events").fetchone()
    more = [replace(event, seq=event.seq + 1_000, message_id=f"x{event.seq}") for event in histories.events(5, seed=3)]
    EventLog(settings.events_path).append(more)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == before
    events = table(settings, "events")
    newer = replace(events, schema=events.schema.insert(3, pa.field("later", pa.list_(pa.string()))))
    (statement, *_) = view_statements([newer], "duckdb")
    connection.execute(statement)
    assert connection.execute("SELECT count(*), count(later) FROM events").fetchone() == (125, 0)
    assert newer.to_pandas(["later"])["later"].isna().all()


def test_spark_answers_as_duckdb_does(settings: Settings, spark: Any) -> None:
    connection = in_duckdb(settings)
    for statement in view_statements(tables(settings).values(), "spark"):
        spark.sql(statement)
    try:
        for query in QUERIES:
            assert rows(spark.sql(query).collect()) == rows(connection.execute(query).fetchall()), query
    finally:
        for name in spark.catalog.listTables():
            spark.catalog.dropTempView(name.name)


def test_a_home_without_anything_has_empty_views(tmp_path: Path) -> None:
    connection = in_duckdb(Settings(home=tmp_path))
    assert connection.execute("SELECT count(*) FROM labels").fetchone() == (0,)


def test_each_kind_of_event_has_a_view_of_its_own(tmp_path: Path, histories: Any) -> None:
    message = next(event for event in histories.events(5, seed=3) if event.kind == "message")
    label = replace(message, kind="label", seq=101, label="SP")
    signal = replace(message, kind="signal", seq=102, signal="qr", qr_url_count=1, link_domain="far.example")
    settings = Settings(home=tmp_path)
    told = tombstone_of(signal, seq=103, known_at_us=signal.known_at_us)
    EventLog(settings.events_path).append([message, label, signal, told])
    connection = in_duckdb(settings)
    assert connection.execute("SELECT seq FROM messages").fetchall() == [(message.seq,)]
    assert connection.execute("SELECT seq, label FROM labels").fetchall() == [(101, "SP")]
    found = connection.execute("SELECT seq, signal, qr_url_count, link_domain FROM signals").fetchall()
    assert found == [(102, "qr", 1, "far.example")]
    found = connection.execute("SELECT seq, message_id, signal FROM tombstones").fetchall()
    assert found == [(103, message.message_id, "qr")]
