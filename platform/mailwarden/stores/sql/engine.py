"""Database engines, transactions, and the translation of a driver's errors into ours."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from mailwarden.errors import (
    ConfigError,
    DataError,
    MailwardenError,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from mailwarden.stores.disk import full_disk, is_full

BUSY_TIMEOUT_MS = 15_000
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000
_WAL_ATTEMPTS = 200

# Class 40 (rolled back to be tried again), 55P03 lock_not_available, 57014 query_canceled:
# https://www.postgresql.org/docs/15/errcodes-appendix.html
_TRY_AGAIN_SQLSTATES = frozenset({"40001", "40P01", "55P03", "57014"})


_DAMAGED = ("file is not a database", "database disk image is malformed")
"""How SQLite says that a file is none of its own any more."""


def open_engine(url: str) -> Engine:
    """Open an engine on a SQLite file (`sqlite:///path`) or a PostgreSQL database (`postgresql://...`).

    No connection is made yet; call `upgrade` before the first use. SQLite runs in WAL mode with foreign
    keys enforced and waits up to 15 s for another writer; PostgreSQL statements end after 30 s unless
    the URL's own `options` say otherwise. An engine is safe to share among threads, not across a fork.
    Raises ConfigError on a URL that cannot be read, another dialect, SQLite in memory, or a missing driver.
    """
    parsed = _read_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return _postgresql(parsed)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection for reading; a driver's errors leave as StoreError or DataError.

    On PostgreSQL each statement sees what is committed when it starts, and needs no BEGIN and ROLLBACK
    round trips of its own; on SQLite all of them see the same.
    """
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    with translating(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection inside one write transaction, committed on leaving and rolled back on an error.

    SQLite takes the write lock at the start: a transaction that reads first and then writes would
    otherwise fail at once, without waiting, whenever another writer came between.
    """
    immediate = engine.execution_options(sqlite_begin="IMMEDIATE")
    with translating(engine), immediate.begin() as connection:
        yield connection


def serialise(connection: Connection, *names: str) -> None:
    """Let one transaction at a time run for `names`, until this transaction ends.

    On SQLite the write lock that `writing` took does this already.
    """
    if connection.dialect.name == "postgresql":
        digest = hashlib.blake2b("\x1f".join(names).encode(), digest_size=8).digest()
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(int.from_bytes(digest, "big", signed=True))))


@contextmanager
def translating(engine: Engine) -> Iterator[None]:
    """Turn SQLAlchemy's exceptions into Mailwarden's, with the place (password hidden) and the mend."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        if engine.dialect.name == "sqlite" and is_full(error):
            raise full_disk(Path(str(engine.url.database)), "The database cannot be written") from error
        raise _translated(error, _place(engine)) from error
    except OverflowError as error:
        # The SQLite driver's own way to refuse an integer that no column can hold.
        raise DataError(f"A value cannot be stored in {_place(engine)}: {error}.") from error


def _place(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def _read_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        backend = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError) as error:
        # The URL itself may hold a password, so it is not repeated here.
        raise ConfigError(
            "The database URL cannot be read. Write sqlite:///path/to/file.db or "
            "postgresql://user:password@host/database."
        ) from error
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"The database URL names {backend!r}; only sqlite and postgresql are supported.")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError("The database URL names no file. Write sqlite:///path/to/file.db.")
    return parsed


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The folder {path.parent} of the SQLite database cannot be made: {error}") from error
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        json_serializer=_to_json,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    arguments: dict[str, Any] = {}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT_S
    if "options" not in url.query:
        arguments["options"] = f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
    try:
        return sa.create_engine(
            url,
            hide_parameters=True,
            json_serializer=_to_json,
            pool_pre_ping=True,
            connect_args=arguments,
        )
    except (ModuleNotFoundError, exc.NoSuchModuleError) as error:
        raise ConfigError(
            f"The driver of {url.drivername!r} is not installed. Run: pip install 'mailwarden[postgresql]'."
        ) from error


def _to_json(value: object) -> str:
    try:
        # NaN is not JSON, and PostgreSQL refuses what SQLite would let by.
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataError(f"A value cannot be stored as JSON: {error}. Write None for NaN.") from error


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    # None hands BEGIN to `_begin_sqlite`: by itself the driver starts transactions late and never round DDL.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _set_wal(cursor)
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _set_wal(cursor: Any) -> None:
    for attempt in range(_WAL_ATTEMPTS):
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return
            cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            # SQLite does not wait by its busy timeout for this change when two processes start together.
            if "locked" not in str(error) or attempt == _WAL_ATTEMPTS - 1:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _translated(error: exc.SQLAlchemyError, place: str) -> MailwardenError:
    original = getattr(error, "orig", None)
    words = str(original or error).strip().replace("\n", " ")
    lower = words.lower()
    sqlstate = getattr(original, "sqlstate", None)
    if isinstance(original, MailwardenError):
        return type(original)(words)
    if isinstance(error, exc.TimeoutError):
        return StoreTimeout(f"No free connection to {place} in the time allowed; try again.")
    if isinstance(error, exc.IntegrityError | exc.DataError):
        return DataError(f"{place} refuses the row: {_without_values(words)}")
    if any(word in lower for word in _DAMAGED):
        return StoreError(
            f"{place} is damaged: {words}. Stop what runs, put the file back from a backup (docs/operations.md), and "
            "start again."
        )
    if "no such table" in lower or sqlstate == "42P01":
        return StoreError(f"{place} lacks Mailwarden's tables: {words}. Migrate it first (`upgrade`).")
    if isinstance(error, exc.OperationalError):
        slow = any(word in lower for word in ("locked", "timeout", "timed out"))
        if slow or sqlstate in _TRY_AGAIN_SQLSTATES:
            return StoreTimeout(f"{place} did not answer in the time allowed: {words}. Try again.")
        return StoreUnavailable(f"{place} cannot be used: {words}. See that it runs and may be written.")
    if isinstance(error, exc.StatementError) and not isinstance(error, exc.DBAPIError):
        return DataError(f"A value cannot be stored in {place}: {_without_values(words)}")
    return StoreError(f"{place} failed: {words}")


def _without_values(words: str) -> str:
    # PostgreSQL adds "DETAIL: Key (...)=(...)", which may hold addresses.
    return words.partition("DETAIL:")[0].strip()
