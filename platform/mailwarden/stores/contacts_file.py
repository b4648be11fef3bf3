"""The SQLite file of first contacts and numbered messages: its tables, and what is read and written there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.dataset as ds

from mailwarden.errors import StoreError
from mailwarden.stores.lake.delta import bucket_of, within
from mailwarden.stores.lake.event_log import EventView

VERSION = 3
_ASKED = 900
_BUSY_SECONDS = 5.0
TABLES = """
create table secret (salt blob not null);
create table tenants (
    id integer primary key, name text not null unique, seq integer not null, facts integer not null default 0
);
create table pairs (
    tenant integer not null, pair integer not null, seq integer not null, primary key (tenant, pair)
) without rowid;
"""
KEEP = (
    "insert into pairs values (?, ?, ?) on conflict (tenant, pair) "
    "do update set seq = excluded.seq where excluded.seq < seq"
)
MARK = "update tenants set seq = max(seq, ?) where id = ?"


Sent = tuple[str, Sequence[str], int, str]
"""A message's sender, recipients, seq and id."""


def known_in(file: sqlite3.Connection, number: int, pairs: Sequence[int]) -> dict[int, int]:
    """The first seq of those pairs of a tenant that are in the file."""
    known: dict[int, int] = {}
    for at in range(0, len(pairs), _ASKED):
        part = pairs[at : at + _ASKED]
        marks = ",".join("?" * len(part))
        known.update(
            file.execute(f"select pair, seq from pairs where tenant = ? and pair in ({marks})", (number, *part))
        )
    return known


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may be used from any one thread at a time; commits are whole, and seldom wait for the disk."""
    file = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        file.execute("pragma journal_mode = wal")
        # A power cut may lose the newest pairs, which the log has; it damages nothing.
        file.execute("pragma synchronous = normal")
        file.execute("pragma cache_size = -65536")
    except BaseException:
        file.close()
        raise
    return file


def logged(log: EventView, tenant: str, beyond: int) -> Iterator[list[Sent]]:
    """A tenant's messages beyond a seq as the event log holds them, in no order."""
    wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "message") & (ds.field("seq") > beyond)
    for batch in log.read(["sender", "recipients", "seq", "message_id"], wanted, within([bucket_of(tenant)])):
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreError where the file cannot be read or written inside the block."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError(
            f"contacts in {path} failed: {exc}; check the disk, or remove the file: it is made again from the event log"
        ) from exc
