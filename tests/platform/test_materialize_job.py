from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.content import ContentFeature, ContentSet, ContentView
from mailwarden.domain.mail.events import message_identity
from mailwarden.domain.mail.lists import NO_LISTS
from mailwarden.domain.mail.message import Message
from mailwarden.errors import ConfigError, NotFound, StoreError
from mailwarden.materialize import materialize
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.raw_mail import RawMail, RawRow
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.keys import KeyTemplate, state_field
from mailwarden.stores.spark.offline_table import OfflineTable, one_at_a_time
from mailwarden.testing.messages import message_of

DAY_US = 86_400_000_000


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(home=tmp_path / "home", redis_url=redis_url)  # type: ignore[arg-type]


def online(client: Client, settings: Settings, view: ActivityView, keys: Iterable[Any]) -> dict[Any, Any]:
    """What the view's serving generation holds of keys."""
    template = KeyTemplate(settings.project, view.keys)
    generation = Generations(client, settings.project, [view]).catalog().of(view).serving
    assert generation is not None
    return {key: client.hget(template.key(key[0], key[1:]), state_field(view, generation)) for key in keys}  # type: ignore[arg-type]


def views_of(*views: ContentView, made_by: int = 1) -> ContentSet:
    return ContentSet(views, NO_LISTS, {view.name: made_by for view in views})


@pytest.fixture
def words() -> ContentView:
    # Nested, so that it travels to the workers by value.
    def compute(message: Message, lists: Any) -> dict[str, Any]:
        if message.subject == "wrong":
            return {"size": "many", "rate": None, "text": ""}
        return {"size": message.size, "rate": float("nan"), "text": message.subject}

    features = (
        ContentFeature("size", "int64", "", "bytes", "never"),
        ContentFeature("rate", "float64", "", "", "never"),
        ContentFeature("text", "string", "", "", "never", text=True),
    )
    return ContentView("words", 1, "o", "d", features, compute, ("text",), 1.0)


@pytest.fixture
def length() -> ContentView:
    def compute(message: Message, lists: Any) -> dict[str, Any]:
        return {"length": len(message.subject)}

    features = (ContentFeature("length", "int64", "", "characters", "never"),)
    return ContentView("length", 1, "o", "d", features, compute, ("headers",), 1.0)


@pytest.fixture
def content(words: ContentView) -> ContentSet:
    return views_of(words)


@pytest.fixture
def parser() -> Any:
    def by_value(tenant: str, raw: bytes, envelope: Any) -> Message:
        said = raw.decode() if raw == b"wrong" else f"{tenant} {envelope.mail_from} {envelope.rcpt_to}"
        return message_of(subject=said, size=len(raw))

    return by_value


def raw_rows(n: int, start: int = 0) -> list[RawRow]:
    rows = []
    for i in range(start, start + n):
        raw = f"mail {i}".encode()
        sha, at = hashlib.sha256(raw).hexdigest(), 1_200_000_000_000_000 + i * DAY_US // 5
        identity = message_identity("t1", sha, at, None, ("x@y.test",))
        rows.append(RawRow("t1", sha, identity, at, None, ("x@y.test",), "received", raw))
    return rows


def test_everything_is_written_once_and_repeating_changes_nothing(
    spark: SparkSession, histories: Any, settings: Settings, content: Any, parser: Any, redis_client: Client
) -> None:
    events = histories.events(120, seed=21)
    views = [histories.view(), replace(histories.view("pairs", distincts=False), name="pair")]
    EventLog(settings.events_path).append(events)
    rows = raw_rows(17)
    RawMail(settings.raw_path).append(rows)
    steps: list[tuple[str, int, int]] = []
    report = materialize(spark, settings, views, content, parser, lambda *step: steps.append(step))
    expected = {view.name: histories.states(view, events) for view in views}
    for view in views:
        wanted = {key: state.to_bytes() for key, state in expected[view.name].items()}
        assert online(redis_client, settings, view, wanted) == wanted
    assert [(v.view, v.how, v.rows, v.computed, v.loaded) for v in report.views] == [
        ("words", "incremental", 17, 17, 0),
        *[(name, "full", len(found), len(found), len(found)) for name, found in expected.items()],
    ]
    assert [v.online and (v.online.how, v.online.generation, v.online.waits) for v in report.views[1:]] == [
        ("new generation", 1, ""),
        ("new generation", 2, ""),
    ]
    last = {tenant: max(e.seq for e in events if e.tenant == tenant) for tenant in ("t1", "t2")}
    marks = Generations(redis_client, settings.project, views).marks.folded_everywhere()
    assert [{tenant: mark.seq for tenant, mark in each.items()} for each in marks] == [last] * 4
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert steps[-1][1] == steps[-1][2]
    assert any(f"{len(expected['who']):,} written online" in words for words, _, _ in steps)

    table = OfflineTable(settings.offline_path, "words", 1)
    manifest = table.manifest()
    assert manifest is not None and manifest.rows == 17
    found = {row["message_id"]: row for row in spark.read.parquet(*table.files(manifest)).collect()}
    for row in rows:
        values = found[row.message_id]
        assert (values["size"], values["rate"]) == (len(row.raw), None)
        assert values["text"] == "t1 None ('x@y.test',)"
    assert all("day=2008-01-" in name for name in manifest.files)
    states = OfflineTable(settings.offline_path, "who", 1).manifest()
    assert states is not None and states.last_seq == last

    again = materialize(spark, settings, views, content, parser)
    assert [(v.how, v.rows, v.computed, v.loaded, v.unchanged) for v in again.views] == [
        ("incremental", 17, 0, 0, 0),
        *[("unchanged", len(expected[view.name]), 0, 0, len(expected[view.name])) for view in views],
    ]
    assert table.manifest() == manifest

    RawMail(settings.raw_path).append(raw_rows(5, start=15))
    more = [replace(e, seq=e.seq + 500, message_id=f"m{e.seq}") for e in events[:20]]
    EventLog(settings.events_path).append(more)
    third = materialize(spark, settings, views, content, parser)
    assert (third.views[0].rows, third.views[0].computed) == (20, 3)
    for view, done in zip(views, third.views[1:], strict=True):
        after, touched = histories.states(view, [*events, *more]), histories.states(view, more)
        assert (done.how, done.rows, done.computed, done.loaded) == (
            "incremental", len(after), len(touched), len(touched),
        )  # fmt: skip
        assert online(redis_client, settings, view, after) == {key: state.to_bytes() for key, state in after.items()}
    newest = table.manifest()
    assert newest is not None and newest.rows == 20
    ids = [row["message_id"] for row in spark.read.parquet(*table.files(newest)).select("message_id").collect()]
    assert len(ids) == len(set(ids)) == 20
    kept = OfflineTable(settings.offline_path, "who", 1).manifest()
    assert kept is not None and kept.folders[:1] == states.folders
    assert all(Path(path).exists() for path in OfflineTable(settings.offline_path, "who", 1).files(states))


def values(spark: SparkSession, settings: Settings, view: ContentView) -> dict[str, dict[str, Any]]:
    """What the view's offline table holds, by message; no message twice."""
    table = OfflineTable(settings.offline_path, view.name, view.version)
    manifest = table.manifest()
    assert manifest is not None
    rows = [row.asDict() for row in spark.read.parquet(*table.files(manifest)).collect()]
    assert len({row["message_id"] for row in rows}) == len(rows) == manifest.rows
    return {row["message_id"]: row for row in rows}


def test_a_crash_in_the_middle_leaves_what_was_there(
    spark: SparkSession, settings: Settings, content: Any, parser: Any
) -> None:
    RawMail(settings.raw_path).append(raw_rows(4))
    materialize(spark, settings, [], content, parser)
    table = OfflineTable(settings.offline_path, "words", 1)
    before = table.manifest()
    (table.path / "parts" / "orphan").mkdir()
    RawMail(settings.raw_path).append(raw_rows(2, start=10))

    def broken(tenant: str, raw: bytes, envelope: Any) -> Message:
        raise ValueError("a parser that is broken")

    with pytest.raises(StoreError, match="computing content views"):
        materialize(spark, settings, [], content, broken)
    assert table.manifest() == before
    assert [path.name for path in settings.offline_path.glob("scratch-*")] == []

    report = materialize(spark, settings, [], content, parser)
    assert report.views[0].computed == 2
    assert not (table.path / "parts" / "orphan").exists()


def test_a_view_that_fails_on_a_message_is_null_there_and_the_others_go_on(
    spark: SparkSession, settings: Settings, words: ContentView, length: ContentView, parser: Any
) -> None:
    bad = replace(raw_rows(1)[0], raw=b"wrong", content_sha256=hashlib.sha256(b"wrong").hexdigest(), message_id="b")
    RawMail(settings.raw_path).append([bad, *raw_rows(2)])
    materialize(spark, settings, [], views_of(words, length), parser)
    found = values(spark, settings, words)
    assert (found["b"]["size"], found["b"]["text"]) == (None, None)
    assert [row["size"] for name, row in found.items() if name != "b"] == [6, 6]
    assert values(spark, settings, length)["b"]["length"] == len("wrong")


def test_other_code_or_lists_under_the_same_version_are_computed_anew_and_never_mixed(
    spark: SparkSession, settings: Settings, words: ContentView, length: ContentView, parser: Any
) -> None:
    raw = RawMail(settings.raw_path)
    rows = raw_rows(9)
    raw.append(rows[:6])
    assert materialize(spark, settings, [], views_of(words, length), parser).changed == ()
    raw.append(rows[6:])
    # The eldest message, the only one of its day, is gone: other code cannot compute it.
    raw.drop_before(date(2008, 1, 11))

    def otherwise(message: Message, lists: Any) -> dict[str, Any]:
        return {"size": -message.size, "rate": 0.5, "text": ""}

    changed = replace(words, compute=otherwise)
    views = ContentSet((changed, length), NO_LISTS, {"words": 2, "length": 1})
    report = materialize(spark, settings, [], views, parser)
    by_view = {view.view: view for view in report.views}
    assert (by_view["length"].computed, by_view["length"].changed) == (3, "")
    found = values(spark, settings, changed)
    assert {row["rate"] for row in found.values()} == {0.5} and {row["size"] for row in found.values()} == {-6}
    held = values(spark, settings, length)
    assert set(held) - set(found) == {rows[0].message_id} and len(held) == 9
    assert len(report.changed) == 1 and "words is made by other code" in report.changed[0]
    assert "mailwarden train" in report.changed[0] and "1 whose raw mail is gone" in report.changed[0]
    manifest = OfflineTable(settings.offline_path, "words", 1).manifest()
    assert manifest is not None and manifest.fingerprint == 2

    # Back among the others: both lack the same files from now on, and are computed together.
    raw.append(raw_rows(2, start=20))
    again = materialize(spark, settings, [], views, parser)
    assert [(view.computed, view.changed) for view in again.views] == [(2, ""), (2, "")]


def test_a_view_that_is_new_is_computed_for_all_mail_and_the_others_for_what_is_new(
    spark: SparkSession, settings: Settings, words: ContentView, length: ContentView, parser: Any
) -> None:
    RawMail(settings.raw_path).append(raw_rows(5))
    materialize(spark, settings, [], views_of(words), parser)
    RawMail(settings.raw_path).append(raw_rows(2, start=30))
    report = materialize(spark, settings, [], views_of(words, length), parser)
    assert {view.view: (view.rows, view.computed) for view in report.views} == {"words": (7, 2), "length": (7, 7)}
    only = materialize(spark, settings, [], views_of(words, replace(length, version=2)), parser, only=["length"])
    assert [(view.view, view.computed) for view in only.views] == [("length", 7)]


def test_one_writer_at_a_time_and_no_redis_are_said_in_words(
    spark: SparkSession, settings: Settings, content: Any, parser: Any
) -> None:
    with (
        OfflineTable(settings.offline_path, "words", 1).writing(),
        pytest.raises(StoreError, match="another process"),
    ):
        materialize(spark, settings, [], content, parser)
    with one_at_a_time(settings.offline_path), pytest.raises(StoreError, match="another process"):
        materialize(spark, settings, [], content, parser)
    with pytest.raises(ConfigError, match="MAILWARDEN_REDIS_URL"):
        materialize(spark, settings.model_copy(update={"redis_url": SecretStr("")}), [], content, parser)
    with pytest.raises(NotFound, match="no view 'nobody'"):
        materialize(spark, settings, [], content, parser, only=["nobody"])


def test_nothing_in_is_nothing_out(
    spark: SparkSession, histories: Any, settings: Settings, content: Any, parser: Any
) -> None:
    report = materialize(spark, settings, [histories.view()], content, parser)
    assert (report.rows, report.event_log_version, report.raw_version, report.tenants) == (0, -1, -1, 0)


def test_feast_materialize_loads_redis(
    spark: SparkSession, histories: Any, tmp_path: Path, redis_url: str, redis_client: Client
) -> None:
    settings = Settings(home=tmp_path, redis_url=redis_url)  # type: ignore[arg-type]
    view = histories.view()
    events = histories.events(60, seed=41)
    EventLog(settings.events_path).append(events)
    store = open_feature_store(settings, [*ENTITIES, feature_view_of(view)])
    store.materialize(datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    wanted = {key: state.to_bytes() for key, state in histories.states(view, events).items()}
    assert online(redis_client, settings, view, wanted) == wanted
    last = {tenant: max(e.seq for e in events if e.tenant == tenant) for tenant in ("t1", "t2")}
    marks = Generations(redis_client, settings.project, [view]).marks.folded_everywhere()
    assert [{tenant: mark.seq for tenant, mark in each.items()} for each in marks] == [last] * 4
