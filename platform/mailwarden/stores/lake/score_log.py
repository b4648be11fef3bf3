"""The score log: what each detector said when a decision was made, beside the vectors that it was asked with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mailwarden.stores.lake.delta import DeltaLog, Snapshot, rows_of_message, scan_of, with_partitions

SCORE_SCHEMA: pa.Schema = pa.schema(
    [
        ("tenant", pa.string()),
        ("seq", pa.int64()),
        ("message_id", pa.string()),
        ("recipient", pa.string()),
        ("received_at", pa.timestamp("us", tz="UTC")),
        ("decision_id", pa.string()),
        ("bundle", pa.int64()),
        ("detector", pa.string()),
        ("model", pa.int64()),
        ("raw", pa.float64()),
        ("calibrated", pa.float64()),
        ("milliseconds", pa.float64()),
        ("missing", pa.string()),
        ("day", pa.date32()),
        ("bucket", pa.int32()),
    ]
)
"""A row a decision, recipient and detector of the bundle that decided.

bundle, model: versions in the registry, null where none is known. raw: as the detector gave it. calibrated: log-odds as
the fusion that counted took it. milliseconds: the call for all recipients together. missing: why there is no score, of
`accepted.Missing`; null where there is one. `day` is that of `received_at`.
"""

_DERIVED = ("day", "bucket")


class ScoreLog:
    """The table of logged scores at `path`."""

    def __init__(self, path: Path) -> None:
        self._delta = DeltaLog(
            path, SCORE_SCHEMA, configuration={"delta.dataSkippingStatsColumns": "tenant,seq,received_at"}
        )

    def last_batch(self, application: str) -> int:
        """The greatest batch number that an application has committed, -1 where it has none."""
        return self._delta.last_batch(application)

    def append(self, rows: pa.Table, *, batch_id: tuple[str, int] | None = None) -> int:
        """Add rows of `SCORE_SCHEMA` but for `day` and `bucket` in one commit and return how many.

        batch_id: (application, number), so that a batch handed over again adds nothing.
        """
        if rows.num_rows == 0:
            return 0
        completed = with_partitions(rows, SCORE_SCHEMA)
        return completed.num_rows if self._delta.append(lambda _: completed, batch_id=batch_id) else 0

    def scan(self, tenant: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the rows of one version, in no set order; columns: all by default."""
        return scan_of(self._delta.current(), SCORE_SCHEMA, tenant, columns)

    def of_message(self, tenant: str, message_id: str, received_at_us: int) -> list[dict[str, Any]]:
        """The rows of one message, as plain values by column; none where it is not logged.

        received_at_us: its event time, which tells the files to look into.
        """
        return rows_of_message(self._delta.current(), tenant, message_id, received_at_us)

    def snapshot(self) -> Snapshot:
        """The files of the newest version."""
        return self._delta.snapshot()

    def compact(self, *, retention_hours: int = 168) -> int:
        """Join small files; see `DeltaLog.compact`."""
        return self._delta.compact(retention_hours=retention_hours)


def score_schema() -> pa.Schema:
    """What `ScoreLog.append` takes."""
    return pa.schema([field for field in SCORE_SCHEMA if field.name not in _DERIVED])
