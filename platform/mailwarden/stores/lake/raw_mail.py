"""Raw mail, addressed by content: what messages are parsed from again, with a retention of its own."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import ColumnProperties, DeltaTable, WriterProperties

from mailwarden.domain.mail.message import Envelope, TimeSource
from mailwarden.domain.mail.reception import reception_of
from mailwarden.errors import NotFound, StoreError
from mailwarden.stores.disk import damaged
from mailwarden.stores.lake.delta import (
    MEND,
    PARTITIONS,
    DeltaLog,
    Snapshot,
    bucket_of,
    day_column,
    files_of,
    rows_of,
    within,
)

RAW_SCHEMA: pa.Schema = pa.schema(
    [
        ("tenant", pa.string()),
        ("content_sha256", pa.string()),
        ("message_id", pa.string()),
        ("received_at", pa.timestamp("us", tz="UTC")),
        ("mail_from", pa.string()),
        ("rcpt_to", pa.list_(pa.string())),
        ("time_source", pa.string()),
        ("reception", pa.string()),
        ("raw", pa.binary()),
        ("day", pa.date32()),
        ("bucket", pa.int32()),
    ]
)
"""received_at, mail_from, rcpt_to, time_source and reception make the Envelope with which `raw` parses as it did at
ingest. Files from before a column was added lack it: it is null in their rows."""

_SCAN_ROWS = 32
_STORED = [field.name for field in RAW_SCHEMA if field.name not in PARTITIONS]
# Small row groups: fetching one message must not read megabytes of its neighbours.
# No message comes twice, and nobody asks for the least one: neither needs copies of what may be megabytes.
_WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=3,
    max_row_group_size=256,
    column_properties={"raw": ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")},
)


@dataclass(frozen=True, slots=True)
class RawRow:
    """One message as it came. content_sha256: hex of `raw`; received_at_us: event time; the rest as in Envelope.

    reception: as `Reception.to_text` has it, None where it was not kept.
    """

    tenant: str
    content_sha256: str
    message_id: str
    received_at_us: int
    mail_from: str | None
    rcpt_to: tuple[str, ...]
    time_source: str
    raw: bytes
    reception: str | None = None

    @property
    def envelope(self) -> Envelope:
        """The envelope with which it reads as it did when it came; raises DataError where it is damaged."""
        source = cast(TimeSource, self.time_source)
        return Envelope.kept(self.received_at_us, self.mail_from, self.rcpt_to, source, reception_of(self.reception))


class RawMail:
    """The table of raw mail at `path`, partitioned by day of receipt and bucket of tenant."""

    def __init__(self, path: Path) -> None:
        self._delta = DeltaLog(
            path, RAW_SCHEMA, configuration={"delta.dataSkippingStatsColumns": "received_at"}, writer=_WRITER
        )

    def append(self, rows: Sequence[RawRow], *, batch_id: tuple[str, int] | None = None) -> int:
        """Add the rows whose (tenant, message_id) is new, in one commit; return how many were."""
        if not rows:
            return 0
        fresh: list[RawRow] = []

        def build(table: DeltaTable) -> pa.Table | None:
            fresh[:] = _new_rows(rows, table)
            return _to_table(fresh) if fresh else None

        guards = {f"bucket={bucket_of(row.tenant)}" for row in rows}
        return len(fresh) if self._delta.append(build, guards=guards, batch_id=batch_id, merge_schema=True) else 0

    def get(self, content_sha256: str, tenant: str, *, day: datetime.date | None = None) -> bytes:
        """The raw bytes of a message of the tenant; day: of its receipt where known, which spares most of the search.

        Raises NotFound, and StoreError where the bytes are no longer those of their hash.
        """
        table = self._delta.current()
        days = None if day is None else pa.array([day], pa.date32())
        files = [] if table is None else files_of(table, within([bucket_of(tenant)], days))
        for name in files:
            with _named(name):
                raw = _find(name, content_sha256, tenant)
            if raw is None:
                continue
            if hashlib.sha256(raw).hexdigest() != content_sha256:
                raise StoreError(f"Raw mail {content_sha256} in {name} is damaged. Restore the file from a copy.")
            return raw
        raise NotFound(
            f"Tenant {tenant!r} has no raw mail {content_sha256}"
            + (f" of {day}" if day is not None else "")
            + f" in {self._delta.path}: it was never ingested, or its retention is over."
        )

    def scan(self, tenant: str) -> Iterator[RawRow]:
        """All raw mail of a tenant, of one version, in no set order and a few messages at a time."""
        table = self._delta.current()
        for name in [] if table is None else files_of(table, within([bucket_of(tenant)])):
            with _named(name), pq.ParquetFile(name) as file:
                for group in range(file.num_row_groups):
                    tenants = file.read_row_group(group, columns=["tenant"]).column(0)
                    if not pc.any(pc.equal(tenants, tenant)).as_py():
                        continue
                    for batch in file.iter_batches(_SCAN_ROWS, row_groups=[group], columns=_STORED):
                        yield from _rows(batch.filter(pc.equal(batch["tenant"], tenant)))

    def of_messages(self, tenant: str, received_us: Mapping[str, int]) -> dict[str, RawRow]:
        """Raw rows of a tenant's messages, by message_id, those that are there still.

        received_us: by message_id the event time of each, microseconds UTC, which tells the days to search; of a day's
        files only the row groups that hold one of them are read whole.
        """
        table = self._delta.current()
        if table is None or not received_us:
            return {}
        times = pa.array(received_us.values(), pa.int64())
        wanted = pa.array(received_us, pa.string())
        found: dict[str, RawRow] = {}
        for name in files_of(table, within([bucket_of(tenant)], day_column(times), times)):
            with _named(name), pq.ParquetFile(name) as file:
                for group in range(file.num_row_groups):
                    keys = file.read_row_group(group, columns=["tenant", "message_id"])
                    here = pc.and_(pc.equal(keys["tenant"], tenant), pc.is_in(keys["message_id"], wanted))
                    if pc.any(here).as_py():
                        for batch in file.read_row_group(group, columns=_STORED).filter(here).to_batches():
                            found |= {row.message_id: row for row in _rows(batch)}
        return found

    def drop_before(self, day: datetime.date) -> None:
        """End the retention of mail received before that UTC day; `compact` removes the files themselves."""
        self._delta.drop(f"day < '{day.isoformat()}'")

    def snapshot(self) -> Snapshot:
        """The files of the newest version."""
        return self._delta.snapshot()

    def compact(self, *, retention_hours: int = 168) -> int:
        """Join small files; see `DeltaLog.compact`."""
        return self._delta.compact(retention_hours=retention_hours)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Raise StoreError naming a file of raw mail that is damaged or gone."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise damaged(name, "a file of the table raw", error, MEND) from error


def _rows(batch: pa.RecordBatch) -> Iterator[RawRow]:
    names = ("tenant", "content_sha256", "message_id", "mail_from", "time_source", "rcpt_to")
    columns = [batch[name].to_pylist() for name in names]
    kept = "reception" in batch.schema.names
    receptions = batch["reception"].to_pylist() if kept else [None] * batch.num_rows
    times = batch["received_at"].cast(pa.int64()).to_pylist()
    for index, (*facts, rcpt_to) in enumerate(zip(*columns, strict=True)):
        tenant, content_sha256, message_id, mail_from, time_source = facts
        raw = batch["raw"][index].as_py()
        yield RawRow(
            tenant,
            content_sha256,
            message_id,
            times[index],
            mail_from,
            tuple(rcpt_to or ()),
            time_source,
            raw,
            receptions[index],
        )


def _find(name: str, content_sha256: str, tenant: str) -> bytes | None:
    with pq.ParquetFile(name) as file:
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, columns=["tenant", "content_sha256"])
            found = pc.and_(pc.equal(keys["content_sha256"], content_sha256), pc.equal(keys["tenant"], tenant))
            row = pc.index(found, True).as_py()
            if row >= 0:
                return bytes(file.read_row_group(group, columns=["raw"]).column(0)[row].as_py())
    return None


def _new_rows(rows: Sequence[RawRow], table: DeltaTable) -> list[RawRow]:
    received = pa.array([row.received_at_us for row in rows], pa.int64())
    tenants = {row.tenant for row in rows}
    kept = rows_of(table, within(map(bucket_of, tenants), day_column(received), received))
    there: set[tuple[str, str]] = set()
    for batch in kept.scanner(
        columns=["tenant", "message_id"], filter=ds.field("tenant").isin(sorted(tenants))
    ).to_batches():
        there.update(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
    fresh = []
    for row in rows:
        if (row.tenant, row.message_id) not in there:
            there.add((row.tenant, row.message_id))
            fresh.append(row)
    return fresh


def _binary(values: Sequence[bytes]) -> pa.Array:
    """Bytes as a column; a lone message, as large ones are written, is not copied into it."""
    if len(values) != 1:
        return pa.array(values, pa.binary())
    ends = pa.array([0, len(values[0])], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), 1, [None, ends, pa.py_buffer(values[0])])


def _to_table(rows: Sequence[RawRow]) -> pa.Table:
    times = pa.array([row.received_at_us for row in rows], pa.int64())
    columns = {
        name: pa.array([getattr(row, name) for row in rows], RAW_SCHEMA.field(name).type)
        for name in (
            "tenant",
            "content_sha256",
            "message_id",
            "mail_from",
            "rcpt_to",
            "time_source",
            "reception",
        )
    }
    columns["raw"] = _binary([row.raw for row in rows])
    columns["received_at"] = times.cast(pa.timestamp("us", tz="UTC"))
    columns["day"] = day_column(times)
    columns["bucket"] = pa.array([bucket_of(row.tenant) for row in rows], pa.int32())
    return pa.table([columns[name] for name in RAW_SCHEMA.names], schema=RAW_SCHEMA)
