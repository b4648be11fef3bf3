"""Feast's registry in a SQL database, found alike by the `feast` command, Feast's SDK and our programs."""

from __future__ import annotations

import uuid
from pathlib import Path

import sqlalchemy as sa
from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig
from feast.utils import _utc_now

from mailwarden.settings import Settings
from mailwarden.stores.sql.engine import open_engine, reading, serialise, writing

_METADATA = sa.MetaData()
_REGISTRY = sa.Table(
    "feast_registry",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version_id", sa.Text, nullable=False),
    sa.Column("proto", sa.LargeBinary, nullable=False),
)
_ID = 1


class SqlRegistryStore(RegistryStore):  # type: ignore[misc]
    """Keeps the registry as one row of a SQLite file or a PostgreSQL database, made where it is not there.

    Feast's own `sql` registry takes a URL alone, and a relative one means another file from every folder that
    `feast` is called from. Here `path` in feature_store.yaml may be a plain one, against the repository's folder; it
    is the default, which MAILWARDEN_FEAST_REGISTRY_URL and MAILWARDEN_HOME overrule. A URL is taken as it is.
    Of two writers at a time the later wins, as with Feast's registry in a file.
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:
        self._engine = open_engine(_url(registry_config.path, repo_path))
        with writing(self._engine) as connection:
            serialise(connection, "mailwarden", "feast_registry")
            _METADATA.create_all(connection)

    def get_registry_proto(self) -> RegistryProto:
        """The registry; raises FileNotFoundError, as Feast expects, where nothing was applied yet."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(_REGISTRY.c.proto).where(_REGISTRY.c.id == _ID)).scalar()
        if found is None:
            raise FileNotFoundError("nothing was applied to the Feast registry yet; run `feast -c feature_repo apply`")
        proto = RegistryProto()
        proto.ParseFromString(found)
        return proto

    def update_registry_proto(self, registry_proto: RegistryProto) -> None:
        """Put another in its place."""
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(_utc_now())
        row = {"version_id": registry_proto.version_id, "proto": registry_proto.SerializeToString()}
        with writing(self._engine) as connection:
            serialise(connection, "mailwarden", "feast_registry")
            if connection.execute(sa.update(_REGISTRY).where(_REGISTRY.c.id == _ID).values(row)).rowcount == 0:
                connection.execute(sa.insert(_REGISTRY).values(id=_ID, **row))

    def teardown(self) -> None:
        """Forget all that was applied."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(_REGISTRY))


def _url(path: str, repo_path: Path | None) -> str:
    if "://" in path:
        return path
    settings = Settings()
    if not path or settings.model_fields_set & {"home", "feast_registry_url"}:
        return settings.feast_registry
    return f"sqlite:///{((repo_path or Path.cwd()) / path).resolve()}"
