"""Feast's own Redis online store and its SDK: what they get wrong, shown on them, and that ours do not.

Each test names a defect. The first part of a test asks Feast's `RedisOnlineStore`, the second asks ours, on one
Redis server. What cannot be shown in a process of a test: `feast serve` and its permissions. They are a server of
Feast's that nothing here starts; the last test holds us to that, and shows the danger that stands behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dill
import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Float64

from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History, Measure, Total
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.windows import DAY_US, W_7D, W_ALL
from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.domain.mail.events import Event
from mailwarden.errors import ConfigError, ContractError
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.feast.source import ViewSource
from mailwarden.stores.online.client import Client
from mailwarden.stores.online.reader import OnlineReader, ReadRequest
from mailwarden.stores.online.server import RedisServer
from mailwarden.stores.online.writer import OnlineWriter

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
PRESENT, NOT_FOUND, NULL = FieldStatus.PRESENT, FieldStatus.NOT_FOUND, FieldStatus.NULL_VALUE
PROJECT = "mail"
MEASURES = (Measure("got", where=("forward",)), Measure("bad", of="labelled_bad", where=("forward",), on="label"))
FEATURES = (
    Feature("seen", History(), "seen before", "flag"),
    Feature("got_7d", Total("got", W_7D), "received", "messages"),
    Feature("bad_all", Total("bad", W_ALL), "labelled bad", "messages"),
)
VIEWS = (
    ActivityView("senders", 1, "tests", "by sender", ("sender",), "participants", MEASURES, (), (), FEATURES),
    ActivityView("pairs", 1, "tests", "by pair", ("sender", "recipient"), "pairs", MEASURES, (), (), FEATURES),
)
CONTENT = ContentView(
    "words", 1, "tests", "of the text", (ContentFeature("n", "int64", "n", "words", "never"),),
    lambda message, lists: {"n": 1}, ("text",), 1.0,
)  # fmt: skip

Stock = Callable[..., FeatureStore]


@pytest.fixture
def stock(redis_server: RedisServer, redis_url: str, tmp_path: Path) -> Stock:
    """Makes a store of Feast's own on an empty Redis: views over one key `sender`, each with a value of its name."""

    def make(*views: str, project: str = PROJECT, ttl: timedelta = timedelta(0), **more: Any) -> FeatureStore:
        config = RepoConfig(
            project=project,
            provider="local",
            registry=str(tmp_path / f"{project}.db"),
            online_store={"type": "redis", "connection_string": connection(redis_server), **more},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        sender = Entity(name="sender", value_type=ValueType.STRING)
        store.apply([sender, *(stock_view(name, sender, tmp_path, ttl) for name in views or ("rates",))])
        return store

    return make


def stock_view(name: str, sender: Entity, folder: Path, ttl: timedelta = timedelta(0)) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=str(folder / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    schema = [Field(name=f"{name}_value", dtype=Float64)]
    return FeatureView(name=name, entities=[sender], schema=schema, source=source, ttl=ttl)


def connection(server: RedisServer) -> str:
    return f"localhost:0,unix_socket_path={server.socket_path}"


def put(store: FeatureStore, view: str, value: float, at: datetime, sender: str = "a@x.test") -> None:
    rows = {"sender": [sender], "event_timestamp": [at], "created": [at], f"{view}_value": [value]}
    store.write_to_online_store(view, pd.DataFrame(rows))


def read(store: FeatureStore, ref: str, **row: Any) -> tuple[Any, int]:
    """Value and status of one feature for one row."""
    found = store.get_online_features([ref], [row or {"sender": "a@x.test"}]).proto
    place = list(found.metadata.feature_names.val).index(ref.partition(":")[2])
    vector = found.results[place]
    held = vector.values[0].WhichOneof("val")
    return (getattr(vector.values[0], held) if held else None), vector.statuses[0]


@pytest.fixture
def ours(redis_url: str, tmp_path: Path) -> FeatureStore:
    """Our store on the same empty Redis."""
    return our_store(redis_url, tmp_path / "ours.db")


def our_store(url: str, registry: Path, project: str = PROJECT) -> FeatureStore:
    config = RepoConfig(
        project=project,
        provider="local",
        registry={"registry_type": "sql", "path": f"sqlite:///{registry}"},
        online_store={"type": "mailwarden.stores.feast.online.RedisStateOnlineStore", "redis_url": url},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply([*ENTITIES, *(feature_view_of(view) for view in (*VIEWS, CONTENT))])
    return store


def message(seq: int = 1, days_ago: float = 0.0) -> Event:
    at_us = NOW_US - int(days_ago * DAY_US)
    return Event("t", seq, "message", f"{seq:032x}", at_us, at_us, "envelope", "inbound", "a@x.test", "x.test",
                 ("u@own.test",), ("own.test",))  # fmt: skip


def label(seq: int, of: Event) -> Event:
    return Event("t", seq, "label", of.message_id, of.received_at_us, NOW_US, "given", "inbound", of.sender,
                 of.sender_domain, of.recipients, of.recipient_domains, label="spam", labelled_bad=1)  # fmt: skip


def ask(store: FeatureStore, feature: str, at: datetime = NOW, **more: Any) -> tuple[Any, int]:
    row = {"tenant": "t", "sender": "a@x.test", "event_timestamp": at, **more}
    return read(store, f"senders:{feature}", **row)


def fold(client: Client, events: Sequence[Event], project: str = PROJECT) -> OnlineWriter:
    writer = OnlineWriter(client, project, VIEWS)
    writer.fold(events)
    return writer


def test_a_value_outlives_its_views_ttl(stock: Stock, ours: FeatureStore, redis_client: Client) -> None:
    store = stock(ttl=timedelta(days=1))
    put(store, "rates", 5.0, datetime.now(UTC) - timedelta(days=6 * 365))
    assert read(store, "rates:rates_value") == (5.0, PRESENT)

    fold(redis_client, [message(days_ago=3)])
    assert ask(ours, "got_7d") == (1, PRESENT)
    assert ask(ours, "got_7d", NOW + timedelta(days=6 * 365)) == (0, PRESENT)


def test_a_key_never_seen_reads_as_present(stock: Stock, ours: FeatureStore, redis_client: Client) -> None:
    store = stock()
    put(store, "rates", 5.0, NOW)
    assert read(store, "rates:rates_value", sender="nobody@x.test") == (None, PRESENT)
    found = store.get_online_features(["rates:rates_value"], [{"sender": "nobody@x.test"}]).proto
    assert found.results[1].event_timestamps[0].seconds == 0

    fold(redis_client, [message()])
    assert ask(ours, "got_7d", sender="nobody@x.test") == (None, NOT_FOUND)
    assert ask(ours, "seen") == (1, PRESENT)


def test_a_correction_of_the_same_time_is_dropped(stock: Stock, ours: FeatureStore, redis_client: Client) -> None:
    """Offline Feast takes the row that was created last, so that the two sides differ: see the tests of Spark."""
    store = stock()
    put(store, "rates", 5.0, NOW)
    put(store, "rates", 6.0, NOW)
    assert read(store, "rates:rates_value") == (5.0, PRESENT)

    first = message(1)
    writer = fold(redis_client, [first])
    writer.fold([label(2, first)])
    assert ask(ours, "bad_all") == (1, PRESENT)


def test_writing_one_view_keeps_a_stale_one_alive(stock: Stock, redis_client: Client) -> None:
    """`key_ttl_seconds` is the whole entity's: each write of any view starts it anew. Our keys expire by no clock."""
    store = stock("rates", "ranks", key_ttl_seconds=100)
    put(store, "rates", 5.0, NOW)
    (key,) = [key for key in redis_client.scan_iter() if key.endswith(PROJECT.encode())]
    redis_client.expire(key, 1)
    put(store, "ranks", 1.0, NOW)
    assert redis_client.ttl(key) > 1

    redis_client.flushall()
    fold(redis_client, [message()])
    assert {redis_client.ttl(key) for key in redis_client.scan_iter()} == {-1}


def test_teardown_takes_another_projects_keys(
    stock: Stock, redis_client: Client, redis_url: str, tmp_path: Path
) -> None:
    """Keys are found by `prefix*project`, which the keys of project `prodmail` match too."""
    mail, prod = stock(project="mail"), stock(project="prodmail")
    for store in (mail, prod):
        put(store, "rates", 5.0, NOW)
    mail.teardown()
    assert read(prod, "rates:rates_value") == (None, PRESENT)

    redis_client.flushall()
    stores = {name: our_store(redis_url, tmp_path / f"our-{name}.db", name) for name in ("mail", "prodmail")}
    for name in stores:
        fold(redis_client, [message()], name)
    stores["mail"].teardown()
    assert ask(stores["prodmail"], "seen") == (1, PRESENT)
    mail_again = our_store(redis_url, tmp_path / "our-again.db", "mail")
    value, status = ask(mail_again, "seen")
    assert value is None and status != PRESENT


def test_columns_come_in_the_order_of_a_set(
    stock: Stock, ours: FeatureStore, redis_client: Client, tmp_path: Path
) -> None:
    """Their places change with PYTHONHASHSEED. So nothing of ours reads a column by its place: names say which."""
    store = stock()
    names = [f"f{i}" for i in range(20)]
    wide = stock_view("wide", store.get_entity("sender"), tmp_path)
    wide = FeatureView(
        name="wide",
        entities=[store.get_entity("sender")],
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=wide.batch_source,
    )
    store.apply([wide])
    rows = {"sender": ["a@x.test"], "event_timestamp": [NOW], "created": [NOW]}
    store.write_to_online_store("wide", pd.DataFrame({**rows, **{name: [float(name[1:])] for name in names}}))
    found = store.get_online_features([f"wide:{name}" for name in names], [{"sender": "a@x.test"}]).to_dict()
    assert [name for name in found if name != "sender"] != names
    assert all(found[name] == [float(name[1:])] for name in names)

    fold(redis_client, [message()])
    row = {"tenant": "t", "sender": "a@x.test", "event_timestamp": NOW}
    got = ours.get_online_features([f"senders:{feature.name}" for feature in reversed(FEATURES)], [row]).to_dict()
    assert (got["seen"], got["got_7d"], got["bad_all"]) == ([1], [1], [0])
    # Where values lie in arrays, on the path of a message, their places are the definition's.
    assert layout_of(VIEWS[0]).feature_names == tuple(feature.name for feature in FEATURES)


def test_precomputed_vectors_need_long_names(stock: Stock, ours: FeatureStore, redis_client: Client) -> None:
    """A service with `precompute_online` raises where it is read by short names; ours has nothing to precompute."""
    store = stock()
    service = FeatureService(name="s", features=[store.get_feature_view("rates")], precompute_online=True)
    store.apply([service])
    put(store, "rates", 5.0, NOW)
    store.precompute_feature_service("s")
    rows = [{"sender": "a@x.test"}]
    assert store.get_online_features(service, rows, full_feature_names=True).to_dict()["rates__rates_value"] == [5.0]
    with pytest.raises(RuntimeError, match="pre-computed vectors could not be read"):
        store.get_online_features(service, rows)

    fold(redis_client, [message()])
    rows = [{"tenant": "t", "sender": "a@x.test", "event_timestamp": NOW}]
    for full, name in ((False, "seen"), (True, "senders__seen")):
        assert ours.get_online_features(["senders:seen"], rows, full_feature_names=full).to_dict()[name] == [1]


def test_a_null_key_is_a_type_error(stock: Stock, redis_client: Client) -> None:
    """On the path of a message a key that it does not name is told apart from one never seen, and raises nothing."""
    store = stock()
    put(store, "rates", 5.0, NOW)
    with pytest.raises(TypeError):
        store.get_online_features(["rates:rates_value"], [{"sender": "a@x.test"}, {"sender": None}])

    fold(redis_client, [message()])
    reader = OnlineReader(redis_client, PROJECT, VIEWS)
    nameless, known = reader.read([ReadRequest(replace(message(2), sender="")), ReadRequest(message(2))])
    assert (nameless.status["senders"], known.status["senders"]) == (("not_computable",), ("present",))


def test_one_person_cannot_be_forgotten(stock: Stock, ours: FeatureStore, redis_client: Client) -> None:
    """Feast's store deletes a view's or a set of join keys' values, never one entity's."""
    store = stock()
    put(store, "rates", 5.0, NOW, "a@x.test")
    put(store, "rates", 6.0, NOW, "b@x.test")
    assert not [name for name in dir(OnlineStore) if "delete" in name or "forget" in name or "remove" in name]
    RedisOnlineStore().delete_entity_values(store.config, ["sender"])
    assert [read(store, "rates:rates_value", sender=f"{name}@x.test")[0] for name in "ab"] == [None, None]

    writer = fold(redis_client, [message(1), replace(message(2), sender="b@x.test")])
    assert writer.delete_entity("t", ("sender",), ("a@x.test",))
    assert ask(ours, "seen") == (None, NOT_FOUND)
    assert ask(ours, "seen", sender="b@x.test") == (1, PRESENT)
    assert not writer.delete_entity("t", ("sender",), ("a@x.test",))


def test_rows_that_come_late_never_get_online(
    stock: Stock, ours: FeatureStore, redis_client: Client, tmp_path: Path
) -> None:
    """`materialize_incremental` asks for what happened since it ran last, so that what came since is not asked for."""
    store = stock()
    path, start = tmp_path / "rates.parquet", datetime.now(UTC) - timedelta(days=10)
    rows = pd.DataFrame({"sender": ["a@x.test"], "event_timestamp": [start], "created": [start], "rates_value": [1.0]})
    rows.to_parquet(path)
    store.materialize(start - timedelta(days=1), start + timedelta(days=5))
    late = rows.assign(event_timestamp=start + timedelta(days=1), created=start + timedelta(days=6), rates_value=2.0)
    pd.concat([rows, late]).to_parquet(path)
    store.materialize_incremental(start + timedelta(days=8))
    assert read(store, "rates:rates_value") == (1.0, PRESENT)

    writer = fold(redis_client, [message(1, days_ago=1)])
    writer.fold([message(2, days_ago=3)])
    assert ask(ours, "got_7d") == (2, PRESENT)


def test_an_entity_of_several_join_keys_is_refused(ours: FeatureStore, redis_client: Client) -> None:
    """One entity a key, several entities a view: so ours are keyed by tenant, sender and recipient."""
    with pytest.raises(ValueError, match="single join key"):
        Entity(name="pair", join_keys=["sender", "recipient"], value_type=ValueType.STRING)

    fold(redis_client, [message()])
    row = {"tenant": "t", "sender": "a@x.test", "event_timestamp": NOW}
    assert read(ours, "pairs:got_7d", **row, recipient="u@own.test") == (1, PRESENT)
    assert read(ours, "pairs:got_7d", **row, recipient="v@own.test") == (None, NOT_FOUND)


def test_a_view_that_is_never_online_reads_as_present(stock: Stock, ours: FeatureStore, tmp_path: Path) -> None:
    store = stock()
    hidden = stock_view("hidden", store.get_entity("sender"), tmp_path)
    hidden.online = False
    store.apply([hidden])
    assert read(store, "hidden:hidden_value") == (None, PRESENT)

    with pytest.raises(ConfigError, match="computed from the message alone"):
        ours.get_online_features(["words:n"], [{"tenant": "t", "message_id": "m", "event_timestamp": NOW}])


class _Bomb:
    """What a registry may hold as a function: unpickling it runs what its writer chose."""

    def __reduce__(self) -> Any:
        return exec, ("import builtins; builtins.feast_ran = True",)


def test_reading_a_registry_runs_its_code(stock: Stock) -> None:
    """Who can write Feast's registry runs code in whoever reads it; `feast serve` is one more way to write it.

    Our views are data: reading one runs nothing. And no program of ours is Feast's server.
    """
    import builtins

    store = stock()
    rates = store.get_feature_view("rates")

    @on_demand_feature_view(sources=[rates], schema=[Field(name="x", dtype=Float64)], mode="pandas")
    def harmless(inputs: pd.DataFrame) -> pd.DataFrame:
        return inputs

    proto = harmless.to_proto()
    function = proto.spec.feature_transformation.user_defined_function
    function.body, function.body_text = dill.dumps(_Bomb()), "not python"
    try:
        with pytest.raises(Exception):  # noqa: B017 - what comes of None as a function differs
            OnDemandFeatureView.from_proto(proto)
        assert builtins.__dict__.get("feast_ran")
    finally:
        builtins.__dict__.pop("feast_ran", None)

    source = ViewSource(VIEWS[0]).to_proto()
    source.custom_options.configuration = dill.dumps(_Bomb())
    with pytest.raises(ContractError, match="feast apply"):
        ViewSource.from_proto(source)
    assert "feast_ran" not in builtins.__dict__
    root = Path(__file__).parents[2]
    code = [path for name in ("platform", "services", "feature_repo") for path in (root / name).rglob("*.py")]
    assert code
    code += [path for path in (root / "infra").rglob("*") if path.is_file()] + [root / "Makefile"]
    assert not [path for path in code if re.search(rb"feast serve|feast\.feature_server", path.read_bytes())]
