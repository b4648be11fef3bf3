"""The table of texts: what people wrote, as features saw it, kept no longer than raw mail."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from mailwarden.stores.lake.delta import DeltaLog, Snapshot, rows_of, with_partitions

TEXT_SCHEMA: pa.Schema = pa.schema(
    [
        ("tenant", pa.string()),
        ("seq", pa.int64()),
        ("message_id", pa.string()),
        ("received_at", pa.timestamp("us", tz="UTC")),
        ("view", pa.string()),
        ("version", pa.int64()),
        ("fingerprint", pa.int64()),
        ("feature", pa.string()),
        ("value", pa.string()),
        ("day", pa.date32()),
        ("bucket", pa.int32()),
    ]
)
"""A row a message and text feature that has a value; version and fingerprint as logged with the vector."""


class Texts:
    """The table of texts at `path`, partitioned as raw mail is: by day of receipt and bucket of tenant."""

    def __init__(self, path: Path) -> None:
        self._delta = DeltaLog(
            path, TEXT_SCHEMA, configuration={"delta.dataSkippingStatsColumns": "tenant,seq,received_at"}
        )

    def last_batch(self, application: str) -> int:
        """The greatest batch number that an application has committed, -1 where it has none."""
        return self._delta.last_batch(application)

    def append(self, rows: pa.Table, *, batch_id: tuple[str, int] | None = None) -> int:
        """Add rows (`TEXT_SCHEMA` without `day` and `bucket`, which are worked out) in one commit; how many.

        batch_id: (application, number), so that a batch handed over again adds nothing.
        """
        if rows.num_rows == 0:
            return 0
        completed = with_partitions(rows, TEXT_SCHEMA)
        return completed.num_rows if self._delta.append(lambda _: completed, batch_id=batch_id) else 0

    def scan(self, view: str, feature: str) -> pa.RecordBatchReader:
        """Stream tenant, message_id and value of one text feature, in no set order."""
        columns = ["tenant", "message_id", "value"]
        table = self._delta.current()
        if table is None:
            return pa.schema([TEXT_SCHEMA.field(name) for name in columns]).empty_table().to_reader()
        wanted = (ds.field("view") == view) & (ds.field("feature") == feature)
        return rows_of(table).scanner(columns=columns, filter=wanted).to_reader()

    def drop_before(self, day: datetime.date) -> None:
        """End the retention of texts received before that UTC day; `compact` removes the files themselves."""
        self._delta.drop(f"day < '{day.isoformat()}'")

    def snapshot(self) -> Snapshot:
        """The files of the newest version."""
        return self._delta.snapshot()

    def compact(self, *, retention_hours: int = 168) -> int:
        """Join small files; see `DeltaLog.compact`."""
        return self._delta.compact(retention_hours=retention_hours)
