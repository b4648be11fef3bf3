"""One Feast registry for programs, Feast's SDK and the `feast` command, in SQLite or PostgreSQL."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from feast import Entity, FeatureStore, ValueType
from pydantic import SecretStr

from mailwarden.settings import Settings
from mailwarden.stores.feast.store import open_feature_store

REPOSITORY = Path(__file__).parents[2] / "feature_repo"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MAILWARDEN_HOME", "MAILWARDEN_REDIS_URL", "MAILWARDEN_FEAST_REGISTRY_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "clone" / "feature_repo").mkdir(parents=True)
    shutil.copy(REPOSITORY / "feature_store.yaml", tmp_path / "clone" / "feature_repo")
    return tmp_path / "clone" / "feature_repo"


def entity(name: str) -> Entity:
    return Entity(name=name, join_keys=[name], value_type=ValueType.STRING)


def names(store: FeatureStore) -> set[str]:
    return {found.name for found in store.list_entities()}


def test_what_a_program_applies_is_what_the_sdk_on_the_repository_finds_from_any_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.parent)
    open_feature_store(Settings(), [entity("program")])
    monkeypatch.chdir(tmp_path)
    store = FeatureStore(repo_path=str(repository))
    assert names(store) == {"program"}
    store.apply(entity("sdk"))
    monkeypatch.chdir(repository.parent)
    assert names(open_feature_store(Settings())) == {"program", "sdk"}
    assert [path.name for path in repository.parent.glob(".mailwarden/*.db")] == ["feast.db"]


def test_the_environments_home_moves_the_registry_of_both(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILWARDEN_HOME", str(tmp_path / "elsewhere"))
    FeatureStore(repo_path=str(repository)).apply(entity("sdk"))
    assert names(open_feature_store(Settings())) == {"sdk"}
    assert (tmp_path / "elsewhere" / "feast.db").exists() and not (repository.parent / ".mailwarden").exists()


def test_the_registry_may_be_in_any_database_of_ours(
    repository: Path, sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILWARDEN_FEAST_REGISTRY_URL", sql_url)
    FeatureStore(repo_path=str(repository)).apply(entity("sdk"))
    assert names(open_feature_store(Settings(), [entity("program")])) == {"sdk", "program"}
    assert not (repository.parent / ".mailwarden").exists()
    store = FeatureStore(repo_path=str(repository))
    store.registry.teardown()
    assert names(FeatureStore(repo_path=str(repository))) == set()


def test_the_sdk_on_the_repository_reads_the_redis_of_the_environment(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILWARDEN_REDIS_URL", "redis://cache.example:6379/3")
    config = FeatureStore(repo_path=str(repository)).config
    assert config.online_store.redis_url == SecretStr("redis://cache.example:6379/3")
