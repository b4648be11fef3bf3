"""The SQLite file of first contacts and numbered messages: its tables, and what is read and written there."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from mailwarden.errors import StoreError
from mailwarden.stores.content_index import CONTENTS, Content
from mailwarden.stores.lake.delta import bucket_of, within
from mailwarden.stores.lake.event_log import EventView

VERSION = 4
_ASKED = 900
_BUSY_SECONDS = 5.0
TABLES = (
    """
create table secret (salt blob not null);
create table tenants (
    id integer primary key, name text not null unique, seq integer not null, facts integer not null default 0
);
create table pairs (
    tenant integer not null, pair integer not null, seq integer not null, primary key (tenant, pair)
) without rowid;
"""
    + CONTENTS
)
KEEP = (
    "insert into pairs values (?, ?, ?) on conflict (tenant, pair) "
    "do update set seq = excluded.seq where excluded.seq < seq"
)
MARK = "update tenants set seq = max(seq, ?) where id = ?"


_LOGGED = (
    "sender", "recipients", "seq", "message_id", "content_key", "recipient_domains", "direction", "queue_id", "copy_of",
    "received_at",
)  # fmt: skip

Sent = tuple[str, Sequence[str], int, str]
"""A message's sender, recipients, seq and id."""


class Digests:
    """What stands for pairs and ids in the file: 64 bits, keyed, so that nobody can look for an address whose pair is
    one that is known already."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def pairs(self, sender: str, recipients: Iterable[str]) -> dict[str, int]:
        """The pair of each recipient; none where nobody sent or nobody is named."""
        if not sender:
            return {}
        start = hashlib.blake2b(
            f"{len(sender)}:{sender}".encode("utf-8", "surrogatepass"), digest_size=8, key=self._salt
        )
        found: dict[str, int] = {}
        for name in recipients:
            if name and name not in found:
                digest = start.copy()
                digest.update(name.encode("utf-8", "surrogatepass"))
                found[name] = int.from_bytes(digest.digest(), "little", signed=True)
        return found

    def message(self, message_id: str) -> int:
        """A message's id in the place of a pair: no sender's length begins with a letter."""
        digest = hashlib.blake2b(f"id:{message_id}".encode(), digest_size=8, key=self._salt)
        return int.from_bytes(digest.digest(), "little", signed=True)


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


def logged(
    log: EventView, tenant: str, beyond: int
) -> Iterator[list[tuple[str, Sequence[str], int, str, Content | None]]]:
    """A tenant's messages beyond a seq as the event log holds them, in no order: as `Sent`, and what they hold."""
    wanted = (ds.field("tenant") == tenant) & (ds.field("kind") == "message") & (ds.field("seq") > beyond)
    for batch in log.read(_LOGGED, wanted, within([bucket_of(tenant)])):
        times = batch["received_at"].cast(pa.int64()).to_pylist()
        rows = zip(*(batch[name].to_pylist() for name in _LOGGED if name != "received_at"), times, strict=True)
        yield [
            (sender, recipients, seq, message_id, _content(key, time_us, recipients, domains, direction, *more))
            for sender, recipients, seq, message_id, key, domains, direction, *more, time_us in rows
        ]


def _content(
    key: str | None,
    time_us: int,
    recipients: Sequence[str],
    domains: Sequence[str],
    direction: str,
    queue_id: str,
    copy_of: str,
) -> Content | None:
    if not key:
        return None
    return Content(key, time_us, recipients, domains if direction == "outbound" else (), queue_id, copy_of)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreError where the file cannot be read or written inside the block."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError(
            f"contacts in {path} failed: {exc}; check the disk, or remove the file: it is made again from the event log"
        ) from exc
