"""Feast's FeatureStore over our settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feast import FeatureStore, RepoConfig

from mailwarden.settings import Settings


def repo_config(settings: Settings, *, fact_set: int | None = None, content_reader: str = "") -> RepoConfig:
    """What feature_store.yaml would say for these settings.

    fact_set: see `MailwardenOfflineStoreConfig`. content_reader: see `RedisStateOnlineStoreConfig`.
    """
    settings.root.mkdir(parents=True, exist_ok=True)
    return RepoConfig(
        project=settings.project,
        provider="local",
        registry={
            "registry_store_type": "mailwarden.stores.feast.registry.SqlRegistryStore",
            "path": settings.feast_registry,
            "cache_ttl_seconds": 60,
        },
        offline_store={
            "type": "mailwarden.stores.feast.offline.MailwardenOfflineStore",
            "home": str(settings.root),
            "spark_master": settings.spark_master,
            "spark_driver_memory": settings.spark_driver_memory,
            "spark_shuffle_partitions": settings.spark_shuffle_partitions,
            "fact_set": fact_set,
        },
        online_store={
            "type": "mailwarden.stores.feast.online.RedisStateOnlineStore",
            "redis_url": settings.redis_url.get_secret_value(),
            "content_reader": content_reader,
        },
        batch_engine={"type": "mailwarden.stores.feast.engine.MailwardenComputeEngine"},
        entity_key_serialization_version=3,
    )


def open_feature_store(
    settings: Settings, objects: Sequence[Any] = (), *, fact_set: int | None = None, content_reader: str = ""
) -> FeatureStore:
    """A store on these settings, with objects (entities, feature views, feature services) applied where given.

    fact_set: the one that historical values are computed from, the newest by default. content_reader: dotted name of
    who computes content online; without one, content is read offline alone. Needs neither data nor a JVM.
    """
    store = FeatureStore(config=repo_config(settings, fact_set=fact_set, content_reader=content_reader))
    if objects:
        store.apply(list(objects))
    return store
