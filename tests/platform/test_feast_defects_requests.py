"""Feast's own online read where a request is wrong: what it answers without an error, and that ours refuses it.

As in `test_feast_defects_online`: the first part of a test asks Feast's store, the second ours, on one Redis server.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_source import RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History, Match, Measure, Recent, Total
from mailwarden.domain.aggregates.windows import W_7D, W_ALL
from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.errors import ConfigError, DataError
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.store import open_feature_store
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.writer import OnlineWriter

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
MEASURES = (Measure("got", where=("forward",)),)
FEATURES = (Feature("seen", History(), "seen", "flag"), Feature("got_7d", Total("got", W_7D), "received", "messages"))
RECENTS = (Recent("links", "link_domain", 4), Recent("audiences", "recipients", 4))
MATCHES = (
    Feature("link_match", Match("links", W_ALL), "overlap", "0..1", "no link"),
    Feature("recipient_set_jaccard", Match("audiences", W_ALL), "overlap", "0..1", "no recipient"),
)
VIEWS = (
    ActivityView("senders", 1, "tests", "by sender", ("sender",), "participants", MEASURES, (), (),
                 (*FEATURES, *MATCHES), recents=RECENTS),
    ActivityView("pairs", 1, "tests", "by pair", ("sender", "recipient"), "pairs", MEASURES, (), (), FEATURES),
)  # fmt: skip
WORDS = ContentView(
    "words", 1, "tests", "of the text",
    (ContentFeature("n", "int64", "n", "words", "never"), ContentFeature("s", "string", "s", "", "no subject")),
    lambda message, lists: {}, ("text",), 1.0,
)  # fmt: skip
ROW: dict[str, Any] = {"tenant": "t", "sender": "a@x.test", "recipient": "u@own.test", "event_timestamp": NOW}


def read_words(settings: Settings) -> Any:
    """A content reader of the tests' own: the raw mail of odd messages is gone."""

    def read(versions: Any, events: Any) -> Any:
        assert versions == {"words": 1}
        return [{"words": {"n": event.seq, "s": None}} if event.seq % 2 == 0 else None for event in events]

    return read


def functions() -> dict[str, Any]:
    """What on-demand views compute, made anew for each: Feast moves a function that it is given to another module."""

    def plain(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"sum": inputs["seen"].astype(float).fillna(0.0) + inputs["more"]})

    def long(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"sum": inputs["senders__seen"].astype(float) + inputs["pairs__seen"]})

    def short(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"sum": inputs["seen"].astype(float)})

    return {"plain": plain, "long": long, "short": short}


def on_demand(name: str, sources: list[Any], function: str) -> Any:
    made = on_demand_feature_view(name=name, sources=sources, schema=[Field(name="sum", dtype=Float64)], mode="pandas")
    return made(functions()[function])


def message(seq: int, link: str = "") -> Event:
    return Event("t", seq, "message", f"{seq:032x}", NOW_US - 10, NOW_US - 10, "envelope", "inbound", "a@x.test",
                 "x.test", ("u@own.test",), ("own.test",), link_domain=link)  # fmt: skip


@pytest.fixture
def ours(redis_url: str, redis_client: Client, tmp_path: Path) -> FeatureStore:
    """Our store with two messages logged and folded, and on-demand views that may clash."""
    settings = Settings(home=tmp_path / "home", project="mail", redis_url=redis_url)  # type: ignore[arg-type]
    events = [message(1, "l.test"), message(2)]
    EventLog(settings.events_path).append([*events, message(3, "l.test")])
    OnlineWriter(redis_client, "mail", VIEWS).fold(events)
    views = {view.name: feature_view_of(view) for view in (*VIEWS, WORDS)}
    keyed = RequestSource(name="keyed", schema=[Field(name="sender", dtype=String), Field(name="more", dtype=Int64)])
    more = RequestSource(name="asked", schema=[Field(name="more", dtype=Int64)])
    return open_feature_store(
        settings,
        [
            *ENTITIES,
            *views.values(),
            on_demand("plain", [views["senders"][["seen"]], more], "plain"),
            on_demand("takes_a_key", [views["senders"][["seen"]], keyed], "plain"),
            on_demand("clashes", [views["senders"][["seen"]], views["pairs"][["seen"]]], "short"),
            on_demand("long", [views["senders"][["seen"]], views["pairs"][["seen"]]], "long"),
            FeatureService(name="everything", features=list(views.values())),
        ],
        content_reader=f"{__name__}.read_words",
    )


@pytest.fixture
def stock(redis_server: RedisServer, redis_url: str, tmp_path: Path) -> FeatureStore:
    """Feast's own: `senders` by tenant and sender, `pairs` by these and the recipient, and on-demand views."""
    config = RepoConfig(
        project="stock",
        provider="local",
        registry=str(tmp_path / "stock.db"),
        online_store={"type": "redis", "connection_string": f"localhost:0,unix_socket_path={redis_server.socket_path}"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entities = {name: Entity(name=name, value_type=ValueType.STRING) for name in ("tenant", "sender", "recipient")}
    views = {}
    for name, keys in {"senders": ("tenant", "sender"), "pairs": ("tenant", "sender", "recipient")}.items():
        source = FileSource(name=f"{name}_s", path=str(tmp_path / f"{name}.parquet"), timestamp_field="event_timestamp")
        fields = [Field(name="seen", dtype=Float64)]
        views[name] = FeatureView(name=name, entities=[entities[key] for key in keys], schema=fields, source=source)
    keyed = RequestSource(name="keyed", schema=[Field(name="recipient", dtype=String), Field(name="more", dtype=Int64)])
    demands = [
        on_demand("takes_a_key", [views["pairs"], keyed], "plain"),
        on_demand("clashes", [views["senders"], views["pairs"]], "short"),
    ]
    store.apply([*entities.values(), *views.values(), *demands])
    for name, value in (("senders", 5.0), ("pairs", 7.0)):
        rows = pd.DataFrame([{**ROW, "seen": value}])
        store.write_to_online_store(name, rows.drop(columns=[] if name == "pairs" else ["recipient"]))
    return store


def of_stock(store: FeatureStore, refs: list[str], **row: Any) -> dict[str, Any]:
    keys = {name: ROW[name] for name in ("tenant", "sender", "recipient")}
    rows = [{name: value for name, value in {**keys, **row}.items() if value is not None}]
    found: dict[str, Any] = store.get_online_features(refs, rows).to_dict()
    return found


def ask(store: FeatureStore, refs: Any, full: bool = False, **row: Any) -> dict[str, Any]:
    """A column of one row each; a value of ... leaves the column out."""
    rows = [{name: value for name, value in {**ROW, **row}.items() if value is not ...}]
    found = store.get_online_features(refs, rows, full_feature_names=full).to_dict()
    return {name: values[0] for name, values in found.items()}


def test_a_join_key_left_out_or_misspelt_reads_as_none(stock: FeatureStore, ours: FeatureStore) -> None:
    """feast#3270: only a row without any key of a view is an error."""
    assert of_stock(stock, ["pairs:seen"])["seen"] == [7.0]
    assert of_stock(stock, ["pairs:seen"], recipient=None)["seen"] == [None]
    assert of_stock(stock, ["pairs:seen"], recipient=None, recipiant="u@own.test")["seen"] == [None]

    assert ask(ours, ["pairs:seen"])["seen"] == 1
    with pytest.raises(DataError, match="have no recipient, which view pairs is keyed by"):
        ask(ours, ["pairs:seen"], recipient=...)
    with pytest.raises(DataError, match="Did you mean it by 'recipiant'"):
        ask(ours, ["senders:seen", "pairs:got_7d"], recipient=..., recipiant="u@own.test")
    with pytest.raises(DataError, match="have no tenant \\(nor sender\\), which view senders"):
        ask(ours, ["senders:seen"], tenant=..., sender=...)
    with pytest.raises(DataError, match=r"'event_timestmp', which nothing reads\. Did you mean 'event_timestamp'"):
        ask(ours, ["senders:seen"], event_timestamp=..., event_timestmp=NOW)
    assert ask(ours, ["senders:seen"], weight=1.0)["seen"] == 1
    found = asyncio.run(ours.get_online_features_async(["senders:seen"], [ROW])).to_dict()
    assert found["seen"] == [1]
    with pytest.raises(DataError, match="no sender"):
        asyncio.run(ours.get_online_features_async(["senders:seen"], [{"tenant": "t"}]))


def test_a_request_field_takes_a_join_keys_value(stock: FeatureStore, ours: FeatureStore) -> None:
    """feast#6790: the value goes to the on-demand view, and the key is as if it were not there: 0.0 by its function."""
    assert of_stock(stock, ["takes_a_key:sum"], more=3)["sum"] == [3.0]

    assert ask(ours, ["plain:sum"], more=3)["sum"] == 4.0
    with pytest.raises(DataError, match="request field sender is named as a join key of view senders"):
        ask(ours, ["takes_a_key:sum"], more=3)


def test_a_source_that_clashes_is_told_from_nothing(stock: FeatureStore, ours: FeatureStore) -> None:
    """feast#3165: of two values of one short name, an on-demand view is given either."""
    assert of_stock(stock, ["clashes:sum"])["sum"] in ([5.0], [7.0])

    for full in (False, True):
        with pytest.raises(DataError, match="on-demand view clashes has seen from pairs and from senders"):
            ask(ours, ["clashes:sum"], full)
    with pytest.raises(DataError, match=r"views \w+ and \w+ both have seen"):
        ask(ours, ["plain:sum", "pairs:seen"], more=3)
    assert ask(ours, ["plain:sum", "pairs:seen"], True, more=3)["plain__sum"] == 4.0
    with pytest.raises(DataError, match="on-demand view long"):
        ask(ours, ["long:sum"])
    assert ask(ours, ["long:sum"], True)["long__sum"] == 2.0


def test_a_null_key_is_nobodys(ours: FeatureStore) -> None:
    rows = [ROW, {**ROW, "recipient": None}, {**ROW, "recipient": ""}]
    assert ours.get_online_features(["pairs:seen"], rows).to_dict()["seen"] == [1, None, None]


def test_what_the_message_holds_comes_with_the_rows_or_by_its_id(ours: FeatureStore) -> None:
    refs = ["senders:link_match", "senders:recipient_set_jaccard"]
    own = {"own__link_domain": ["l.test"], "own__recipients": ["u@own.test", "v@own.test"]}
    found = ask(ours, refs, **own)
    assert (found["link_match"], found["recipient_set_jaccard"]) == (1.0, 0.5)
    found = ask(ours, refs, message_id=message(3).message_id)
    assert (found["link_match"], found["recipient_set_jaccard"]) == (1.0, 1.0)
    found = ask(ours, refs, message_id=message(3).message_id, own__link_domain=[])
    assert (found["link_match"], found["recipient_set_jaccard"]) == (None, 1.0)
    assert ask(ours, [*refs, "senders:seen"], message_id=message(3).message_id, sender=...)["seen"] == 1
    with pytest.raises(DataError, match=r"senders:link_match, senders:recipient_set_jaccard: .* entity rows do not"):
        ask(ours, refs)
    with pytest.raises(DataError, match="senders:recipient_set_jaccard: what"):
        ask(ours, refs, own__link_domain=["l.test"])
    with pytest.raises(DataError, match="1 messages are not in the event log"):
        ask(ours, refs, message_id="nobody")
    with pytest.raises(DataError, match="own__recipients is a str"):
        ask(ours, refs, own__link_domain=[], own__recipients="u@own.test")


def test_a_service_that_reads_content_is_read_by_message(ours: FeatureStore) -> None:
    service = ours.get_feature_service("everything")
    found = ask(ours, service, True, message_id=message(2).message_id)
    assert (found["words__n"], found["words__s"], found["pairs__seen"]) == (2, None, 1)
    rows = [{**ROW, "message_id": message(seq).message_id} for seq in (1, 2)]
    proto = ours.get_online_features(["words:n"], [*rows, {**ROW, "message_id": None}]).proto
    place = list(proto.metadata.feature_names.val).index("n")
    names = {0: "INVALID", 1: "PRESENT", 2: "NULL_VALUE", 3: "NOT_FOUND"}
    assert [names[status] for status in proto.results[place].statuses] == ["NOT_FOUND", "PRESENT", "NOT_FOUND"]
    with pytest.raises(DataError, match="have no message_id, which view words is keyed by"):
        ask(ours, service, True)
    config = ours.config.model_copy(deep=True)
    config.online_store.content_reader = ""
    with pytest.raises(ConfigError, match=r"view words is computed from the message alone.*content_reader"):
        ask(FeatureStore(config=config), ["words:n"], message_id=message(2).message_id)


def test_reads_are_bounded(ours: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailwarden.stores.feast.messages_asked.MOST_MESSAGES", 1)
    rows = [{**ROW, "message_id": message(seq).message_id} for seq in (1, 2)]
    with pytest.raises(DataError, match="2 messages are named in one online read, which may name 1"):
        ours.get_online_features(["words:n"], rows)
