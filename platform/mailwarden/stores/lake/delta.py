"""The mechanics of a Delta table without a JVM: guarded appends, pinned snapshots, upkeep."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import structlog
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import (
    CommitFailedError,
    DeltaError,
    DeltaProtocolError,
    SchemaMismatchError,
    TableNotFoundError,
)

from mailwarden.errors import ConfigError, DataError, StoreError, StoreTimeout
from mailwarden.stores.disk import damaged, full_disk, is_full

BUCKETS = 16
PARTITIONS = ("day", "bucket")
MICROSECONDS_A_DAY = 86_400_000_000

_ATTEMPTS = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONFIGURATION = {
    # Spark reads the files as plain Parquet, so that no row in them may be deleted by a note beside them.
    "delta.enableDeletionVectors": "false",
    "delta.checkpointInterval": "50",
}

Filters = list[tuple[str, str, Any]]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of a table as plain Parquet.

    version: -1 where the table does not exist yet. root: absolute folder. files: absolute paths below it, whose
    folders `day=.../bucket=...` hold the partition columns, which are not in the files: read with
    `spark.read.schema(...).option("basePath", root).parquet(*files)`. schema: of the table, partition columns too.
    """

    version: int
    root: str
    files: tuple[str, ...]
    schema: pa.Schema


class DeltaLog:
    """A Delta table that grows by appends; made at the first one.

    path: its folder. schema: columns at the start. configuration: table properties besides the usual.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        partition_by: Sequence[str] = PARTITIONS,
        configuration: Mapping[str, str] | None = None,
        writer: WriterProperties | None = None,
    ) -> None:
        self.path = path.expanduser().resolve()
        if "%" in str(self.path):
            raise ConfigError(
                f"Delta table {self.path}: a folder with '%' in its name cannot hold one. Choose another."
            )
        self._schema = schema
        self._partition_by = list(partition_by)
        self._configuration = {**_CONFIGURATION, **(configuration or {})}
        self._writer = writer or WriterProperties(compression="ZSTD", compression_level=3)
        self._table: DeltaTable | None = None
        self._lock = Lock()

    def current(self) -> DeltaTable | None:
        """The table at its newest version, None where it does not exist yet; treat it as read-only."""
        with self._lock, self._translated():
            return self._refresh()

    def snapshot(self) -> Snapshot:
        """The newest version, pinned: its files stay until `compact` drops those older than its retention."""
        with self._lock, self._translated():
            table = self._refresh()
            if table is None:
                return Snapshot(-1, str(self.path), (), self._schema)
            schema = pa.schema(table.schema().to_arrow())
            return Snapshot(table.version(), str(self.path), tuple(sorted(files_of(table))), schema)

    def last_batch(self, application: str) -> int:
        """The greatest batch number that an application has committed, -1 where it has none."""
        table = self.current()
        committed = None if table is None else table.transaction_version(application)
        return -1 if committed is None else committed

    def append(
        self,
        build: Callable[[DeltaTable], pa.Table | pa.RecordBatchReader | None],
        *,
        guards: Iterable[str] = (),
        batch_id: tuple[str, int] | None = None,
        merge_schema: bool = False,
    ) -> bool:
        """Add the rows that `build` makes of the newest version, in one commit; True where a commit was made.

        guards: names such that of two appends with a name in common, the later one is built again on what the
        earlier one wrote. batch_id: (application, number) committed with the rows; a number no greater than
        the one committed last adds nothing. Raises DataError on rows of another schema, StoreTimeout where
        other writers win again and again.
        """
        names = sorted(set(guards))
        for attempt in range(_ATTEMPTS):
            # Between processes only: within this one the lock takes turns.
            time.sleep(0.01 * min(attempt, 20))
            with self._lock, self._translated():
                table = self._refresh() or self._create()
                if batch_id is not None:
                    committed = table.transaction_version(batch_id[0])
                    if committed is not None and committed >= batch_id[1]:
                        return False
                rows = build(table)
                if rows is None:
                    return False
                marks = [Transaction(f"append:{name}", table.version() + 1) for name in names]
                if batch_id is not None:
                    marks.append(Transaction(*batch_id))
                try:
                    write_deltalake(
                        table,
                        rows,
                        mode="append",
                        schema_mode="merge" if merge_schema else None,
                        writer_properties=self._writer,
                        commit_properties=CommitProperties(app_transactions=marks),
                    )
                except CommitFailedError:
                    self._table = None
                    continue
                return True
        raise StoreTimeout(
            f"Delta table {self.path}: other writers won {_ATTEMPTS} times running. Run the append again, "
            "or let fewer processes write to the table."
        )

    def drop(self, predicate: str) -> None:
        """Drop the rows that a SQL predicate over partition columns names."""
        with self._lock, self._translated():
            table = self._refresh()
            if table is not None:
                table.delete(predicate)

    def compact(self, *, retention_hours: int = 168, target_bytes: int = 128 << 20) -> int:
        """Join small files, write a checkpoint, and remove files that no version of the retention needs.

        retention_hours: how long a snapshot taken earlier stays readable. Returns how many files were joined.
        """
        with self._lock, self._translated():
            table = self._refresh()
            if table is None:
                return 0
            joined = int(
                table.optimize.compact(target_size=target_bytes, writer_properties=self._writer)["numFilesRemoved"]
            )
            table = self._refresh() or table
            table.create_checkpoint()
            # `full` also finds files of writers that died or lost before their commit.
            table.vacuum(retention_hours, dry_run=False, enforce_retention_duration=False, full=True)
            _log.info("delta_compacted", table=self.path.name, joined=joined, version=table.version())
            return joined

    def _refresh(self) -> DeltaTable | None:
        if self._table is None:
            try:
                self._table = DeltaTable(self.path)
            except TableNotFoundError:
                return None
        else:
            self._table.update_incremental()
        return self._table

    def _create(self) -> DeltaTable:
        try:
            self._table = DeltaTable.create(
                self.path,
                schema=self._schema,
                mode="error",
                partition_by=self._partition_by,
                configuration=self._configuration,
            )
        except DeltaError:
            # Another process was first; where that is not the cause, opening says so.
            self._table = DeltaTable(self.path)
        return self._table

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SchemaMismatchError as error:
            raise DataError(
                f"Delta table {self.path}: the rows' columns are not the table's ({error}). "
                "Write them with the table's own schema."
            ) from error
        except (DeltaError, DeltaProtocolError, OSError, pa.ArrowException) as error:
            self._table = None
            if is_full(error):
                raise full_disk(self.path, f"Delta table {self.path.name} cannot be written") from error
            raise StoreError(
                f"Delta table {self.path} failed: {error}. Check that the folder is readable and writable "
                "and that nothing but Mailwarden changes it."
            ) from error


MEND = (
    "Stop what runs, put the file back from a backup (docs/operations.md), and start again; other files, and other "
    "tenants' days, are read as before."
)
"""What to do about a damaged file of a table."""


@contextmanager
def reading(table: DeltaTable) -> Iterator[None]:
    """Raise StoreError naming the file where one of a table's, read outside of `DeltaLog`, is damaged or gone."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        root = folder_of(table)
        file = next((name for name in files_of(table) if not _is_sound(name)), None)
        raise damaged(file or root, f"a file of the table {root.name}", error, MEND) from error


def _is_sound(name: str) -> bool:
    """Whether a Parquet file's ends are there; rows in the middle are not looked at."""
    try:
        with pq.ParquetFile(name) as file:
            return file.metadata is not None
    except (OSError, pa.ArrowException):
        return False


def rows_of(table: DeltaTable, files: Filters | None = None) -> ds.Dataset:
    """The rows of a table's version, or of those files of it; see `within`."""
    # Arrow's own file system: the one that deltalake hands over calls Python from Arrow's threads, and one that is
    # still reading ahead when the interpreter ends aborts the process.
    folder = pa_fs.SubTreeFileSystem(str(folder_of(table)), pa_fs.LocalFileSystem())
    return table.to_pyarrow_dataset(filesystem=folder, file_pruning_predicate=files)


def scan_of(
    table: DeltaTable | None, empty: pa.Schema, tenant: str | None, columns: Sequence[str] | None
) -> pa.RecordBatchReader:
    """Stream the rows of one version, in no set order.

    empty: the columns where there is no table. tenant, columns: None for all.
    """
    if table is None:
        return empty.empty_table().to_reader()
    files = None if tenant is None else within([bucket_of(tenant)])
    wanted = None if tenant is None else ds.field("tenant") == tenant
    return rows_of(table, files).scanner(columns=None if columns is None else list(columns), filter=wanted).to_reader()


def rows_of_message(
    table: DeltaTable | None, tenant: str, message_id: str, received_at_us: int
) -> list[dict[str, Any]]:
    """The rows of one message as plain values by column; none where the table has none, or there is no table.

    received_at_us: its event time, which tells the files to look into.
    """
    if table is None:
        return []
    times = pa.array([received_at_us], pa.int64())
    kept = rows_of(table, within([bucket_of(tenant)], day_column(times), times))
    wanted = (ds.field("tenant") == tenant) & (ds.field("message_id") == message_id)
    rows: list[dict[str, Any]] = kept.to_table(filter=wanted).to_pylist()
    return rows


def columns_of(
    table: DeltaTable,
    schema: pa.Schema,
    columns: Sequence[str],
    wanted: ds.Expression | None,
    files: Filters | None,
    having: str,
) -> Iterator[pa.RecordBatch]:
    """Batches of some columns of a schema, null where the table is from before them. wanted: which rows; files: see
    `within`. having: a column that `wanted` names, without which a table has no such row."""
    rows = rows_of(table, files)
    if having not in rows.schema.names:
        return
    held = [name for name in columns if name in rows.schema.names]
    with reading(table):
        for batch in rows.scanner(columns=held, filter=wanted).to_batches():
            yield batch if len(held) == len(columns) else _with_nulls(batch, schema, columns)


def _with_nulls(batch: pa.RecordBatch, schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
    chosen = pa.schema([schema.field(name) for name in columns])
    held = set(batch.schema.names)
    return pa.record_batch(
        [batch[name] if name in held else pa.nulls(batch.num_rows, chosen.field(name).type) for name in columns],
        schema=chosen,
    )


def files_of(table: DeltaTable, files: Filters | None = None) -> list[str]:
    """Absolute paths of a table's files, or of those that the filters leave; see `within`."""
    return [unquote(name.removeprefix("file://")) for name in table.file_uris(file_pruning_predicate=files)]


def folder_of(table: DeltaTable) -> Path:
    """Where a table lies."""
    return Path(unquote(table.table_uri.removeprefix("file://")))


def bucket_of(tenant: str) -> int:
    """The partition that a tenant's rows lie in: 0..15, by CRC-32 of its name."""
    return zlib.crc32(tenant.encode()) % BUCKETS


def with_partitions(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with `tenant` and `received_at`, with `day` and `bucket` worked out, as the schema has them."""
    times = rows["received_at"].combine_chunks().cast(pa.int64())
    buckets = pa.array([bucket_of(tenant) for tenant in rows["tenant"].to_pylist()], pa.int32())
    return (
        rows.append_column("day", day_column(times)).append_column("bucket", buckets).select(schema.names).cast(schema)
    )


def day_column(times_us: pa.Array) -> pa.Array:
    """The UTC days, date32, of int64 microseconds since the epoch."""
    # By floor, not by integer division of Arrow, which rounds times before 1970 up.
    days = times_us.to_numpy(zero_copy_only=False) // MICROSECONDS_A_DAY
    return pa.array(days.astype("int32")).cast(pa.date32())


def within(buckets: Iterable[int], days: pa.Array | None = None, received_us: pa.Array | None = None) -> Filters:
    """Which files can hold rows of those buckets, days (date32) and span of `received_at` (int64); None: any."""
    chosen: Filters = [("bucket", "in", [str(bucket) for bucket in sorted(set(buckets))])]
    if days is not None:
        chosen.append(("day", "in", [str(day) for day in days.unique().to_pylist()]))
    if received_us is not None:
        span = pc.min_max(received_us).as_py()
        # Statistics may be cut to milliseconds.
        chosen.append(("received_at", ">=", _EPOCH + timedelta(microseconds=span["min"] - 1_000_000)))
        chosen.append(("received_at", "<=", _EPOCH + timedelta(microseconds=span["max"] + 1_000_000)))
    return chosen
