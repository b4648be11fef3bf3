"""Bringing a database to the schema that this version of Mailwarden needs."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import Connection

from mailwarden.errors import ConfigError
from mailwarden.stores.sql.engine import open_engine, serialise, writing


def upgrade(url: str) -> None:
    """Migrate the database at `url` to the newest schema; does nothing where it is there already.

    All steps run in one transaction under a lock, so that processes that start together wait for the
    first of them and a failure leaves the schema as it was.
    Raises ConfigError where the database was migrated by a newer Mailwarden, StoreError where it fails.
    """
    engine = open_engine(url)
    try:
        with writing(engine) as connection:
            if connection.dialect.name == "postgresql":
                # Waiting for another process's migration may rightly outlast a statement's time.
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            serialise(connection, "mailwarden", "migrations")
            command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        place = engine.url.render_as_string(hide_password=True)
        raise ConfigError(
            f"{place} cannot be migrated: {error}. A newer Mailwarden wrote it: install that version."
        ) from error
    finally:
        engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for the migrations in this package, run on `connection`."""
    config = Config()
    # Alembic's options go through configparser, which reads % as its own.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    return config
