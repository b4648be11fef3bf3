"""Tenants' directories: one a tenant, replaced as a whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mailwarden.domain.mail.directory import NO_DIRECTORY, Directory, Entry
from mailwarden.errors import NotFound, StoreError
from mailwarden.stores.sql.engine import reading, writing
from mailwarden.stores.sql.tables import directories, tenants


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """What is there. set_us: when it was given, microseconds UTC."""

    fingerprint: str
    entries: int
    set_us: int


class Directories:
    """The directories of tenants; `engine` comes from `open_engine`, migrated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def replace(self, tenant: str, entries: Iterable[Entry], set_us: int) -> Directory:
        """Make these the tenant's directory, whole and at once; none clears it. Returns it; raises NotFound."""
        directory = Directory.of(entries)
        content = zlib.compress(orjson.dumps(directory.to_json()), 1)
        with writing(self._engine) as connection:
            named = connection.execute(
                sa.update(tenants)
                .where(tenants.c.name == tenant, tenants.c.removed_us.is_(None))
                .values(directory=directory.fingerprint)
            )
            if named.rowcount == 0:
                raise NotFound(f"There is no tenant {tenant!r}. `mailwarden tenant list` names them.")
            erase(connection, tenant)
            if len(directory):
                row = {"tenant": tenant, "fingerprint": directory.fingerprint, "entries": len(directory)}
                connection.execute(sa.insert(directories), row | {"content": content, "set_us": set_us})
        return directory

    def get(self, tenant: str) -> Directory:
        """The tenant's directory, one without entries where none was given; raises StoreError where it is damaged."""
        query = sa.select(directories.c.content).where(directories.c.tenant == tenant)
        with reading(self._engine) as connection:
            content = connection.execute(query).scalar()
        if content is None:
            return NO_DIRECTORY
        try:
            return Directory.from_json(orjson.loads(zlib.decompress(content)))
        except (zlib.error, ValueError, KeyError, TypeError) as exc:
            raise StoreError(f"The directory of tenant {tenant!r} is damaged ({exc}). Give it again.") from exc

    def record(self, tenant: str) -> DirectoryRecord | None:
        """What there is, without reading it; None where none was given."""
        listed = (directories.c.fingerprint, directories.c.entries, directories.c.set_us)
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(*listed).where(directories.c.tenant == tenant)).first()
        return None if row is None else DirectoryRecord(*row)


def erase(connection: Connection, tenant: str) -> None:
    """Delete a tenant's directory, in a transaction of the caller's."""
    connection.execute(sa.delete(directories).where(directories.c.tenant == tenant))
