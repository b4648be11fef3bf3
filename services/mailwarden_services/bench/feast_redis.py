"""Feast's own Redis online store with as many features as the views have."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import StoreError

_VALUE = 1234.5678


@contextmanager
def quiet_feast() -> Iterator[None]:
    """Keep Feast's deprecation notices out of a benchmark's output."""
    level = logging.getLogger("feast").level
    logging.getLogger("feast").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("feast").setLevel(level)


def feast_reads(redis_url: str, views: Sequence[ActivityView], folder: Path) -> dict[str, Callable[[], object]]:
    """Two ways to read one row of every view from Feast's Redis store, written to it before.

    `feast_sdk` is `get_online_features`, as its users call it; `feast_store` is the store below it alone, a call a
    view. redis_url: TCP, since its connection string knows no unix socket. Raises StoreError where it does not give
    back what was written.
    """
    parts = urlsplit(redis_url)
    config = RepoConfig(
        project="stock",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={
            "type": "redis",
            "connection_string": f"{parts.hostname}:{parts.port},db={parts.path.strip('/') or 0}",
        },
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    names = ["tenant", *dict.fromkeys(name for view in views for name in view.keys)]
    entities = {name: Entity(name=name, value_type=ValueType.STRING) for name in names}
    source = FileSource(path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    tables = [
        FeatureView(
            name=view.name,
            entities=[entities["tenant"], *(entities[name] for name in view.keys)],
            schema=[Field(name=feature.name, dtype=Float64) for feature in view.features],
            source=source,
        )
        for view in views
    ]
    store.apply([*entities.values(), *tables])
    row = {name: f"{name}@example" for name in names}
    below = RedisOnlineStore()
    keys = []
    for view, table in zip(views, tables, strict=True):
        join_keys = ["tenant", *view.keys]
        keys.append(EntityKey(join_keys=join_keys, entity_values=[Value(string_val=row[name]) for name in join_keys]))
        values = {feature.name: Value(double_val=_VALUE) for feature in view.features}
        below.online_write_batch(config, table, [(keys[-1], values, datetime.now(UTC), None)], None)
    wanted = [[feature.name for feature in view.features] for view in views]
    refs = [f"{view.name}:{name}" for view, features in zip(views, wanted, strict=True) for name in features]

    def by_sdk() -> dict[str, list[float]]:
        read: dict[str, list[float]] = store.get_online_features(refs, [row], full_feature_names=True).to_dict()
        return read

    def by_store() -> list[object]:
        return [
            below.online_read(config, table, [key], features)
            for table, key, features in zip(tables, keys, wanted, strict=True)
        ]

    given = by_sdk()
    if [given[ref.replace(":", "__")] for ref in refs] != [[_VALUE]] * len(refs):
        raise StoreError("Feast's own Redis store did not give back what was written to it")
    return {"feast_sdk": by_sdk, "feast_store": by_store}
