"""The vector log: the feature values that each decision was made with, as the online store gave them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from mailwarden.errors import DataError
from mailwarden.stores.lake.delta import DeltaLog, Snapshot, bucket_of, day_column, rows_of_message, scan_of

VECTOR_KEYS: pa.Schema = pa.schema(
    [
        ("tenant", pa.string()),
        ("seq", pa.int64()),
        ("message_id", pa.string()),
        ("recipient", pa.string()),
        ("sender", pa.string()),
        ("sender_domain", pa.string()),
        ("received_at", pa.timestamp("us", tz="UTC")),
        ("decision_id", pa.string()),
        ("day", pa.date32()),
        ("bucket", pa.int32()),
    ]
)
"""What every row has; `day` is that of `received_at`. The views' columns come with the first row that holds them."""

_DERIVED = ("day", "bucket")


class VectorLog:
    """The table of logged vectors at `path`: one row a message and recipient.

    Beside `VECTOR_KEYS`, for each view `<view>__status` string, `<view>__version` int64 (of the view as it was read)
    and `<view>__<feature>`: float64 of activity views, the feature's own type of content views, whose texts are not
    here but in `stores.lake.texts`. Activity views have `<view>__as_of_seq` int64 and `<view>__facts` int64 too (the
    number of the fact set that was read; null in older rows is 0), content views `<view>__fingerprint` int64, and those
    with texts `<view>__texts` int64, how many of the message lie there (null in older rows: not known); what they say
    is alike in all rows of a message. A column that a later row brings is null in the rows before it.
    """

    def __init__(self, path: Path) -> None:
        self._delta = DeltaLog(
            path, VECTOR_KEYS, configuration={"delta.dataSkippingStatsColumns": "tenant,seq,received_at"}
        )

    def last_batch(self, application: str) -> int:
        """The greatest batch number that an application has committed, -1 where it has none."""
        return self._delta.last_batch(application)

    def append(self, rows: pa.Table, *, batch_id: tuple[str, int] | None = None) -> int:
        """Add rows in one commit and return how many; `day` and `bucket` are worked out here.

        batch_id: (application, number), so that a batch handed over again adds nothing. Raises DataError on a
        column that is missing, or of another type than the log has it.
        """
        completed = _completed(rows)

        def build(table: DeltaTable) -> pa.Table:
            _check_types(completed.schema, pa.schema(table.schema().to_arrow()), self._delta.path)
            return completed

        if completed.num_rows == 0 or not self._delta.append(build, batch_id=batch_id, merge_schema=True):
            return 0
        return int(completed.num_rows)

    def scan(self, tenant: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the rows of one version, in no set order; columns: all by default."""
        return scan_of(self._delta.current(), VECTOR_KEYS, tenant, columns)

    def of_message(self, tenant: str, message_id: str, received_at_us: int) -> list[dict[str, Any]]:
        """The rows of one message, one a recipient, as plain values by column; none where it is not logged.

        received_at_us: its event time, which tells the files to look into.
        """
        return rows_of_message(self._delta.current(), tenant, message_id, received_at_us)

    def snapshot(self) -> Snapshot:
        """The files of the newest version; a file lacks the columns that came after it."""
        return self._delta.snapshot()

    def compact(self, *, retention_hours: int = 168) -> int:
        """Join small files; see `DeltaLog.compact`."""
        return self._delta.compact(retention_hours=retention_hours)


def _completed(rows: pa.Table) -> pa.Table:
    missing = [name for name in VECTOR_KEYS.names if name not in rows.column_names and name not in _DERIVED]
    if missing:
        raise DataError(f"Vector log: rows lack the columns {missing}. Add them, null where unknown.")
    rest = [name for name in rows.column_names if name not in VECTOR_KEYS.names]
    keys = rows.select([name for name in VECTOR_KEYS.names if name not in _DERIVED])
    try:
        keys = keys.cast(pa.schema([VECTOR_KEYS.field(name) for name in keys.column_names]))
    except pa.ArrowInvalid as error:
        raise DataError(f"Vector log: a key column has the wrong type ({error}). Types: {VECTOR_KEYS}.") from error
    times = keys["received_at"].combine_chunks().cast(pa.int64())
    if keys["tenant"].null_count or times.null_count:
        raise DataError("Vector log: a row lacks its tenant or received_at. Fill both in every row.")
    buckets = [bucket_of(tenant) for tenant in keys["tenant"].to_pylist()]
    columns = [*keys.columns, day_column(times), pa.array(buckets, pa.int32()), *rows.select(rest).columns]
    fields = [*keys.schema, *(VECTOR_KEYS.field(name) for name in _DERIVED), *rows.select(rest).schema]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _check_types(new: pa.Schema, old: pa.Schema, path: Path) -> None:
    types = {field.name: field.type for field in old}
    for field in new:
        if types.get(field.name, field.type) != field.type:
            raise DataError(
                f"Vector log {path}: column {field.name!r} is {field.type}, and {types[field.name]} in the log. "
                "Keep the type, or log it under a new version's name."
            )
