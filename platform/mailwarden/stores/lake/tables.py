"""The lake and the offline store as tables for pandas, DuckDB and Spark SQL: pinned files, partitions as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from mailwarden.errors import NotFound, did_you_mean
from mailwarden.settings import Settings
from mailwarden.stores.lake.delta import PARTITIONS, Snapshot
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden.stores.lake.score_log import ScoreLog
from mailwarden.stores.lake.texts import Texts
from mailwarden.stores.lake.vector_log import VectorLog
from mailwarden.stores.spark.offline_table import OfflineTable

_DAY = pa.field("day", pa.date32())


@dataclass(frozen=True, slots=True)
class LakeTable:
    """One version of a table. root: absolute folder; files: below it, in folders `day=...` and perhaps `bucket=...`.

    schema: of all columns that are shown, the partitions last. A file may lack columns that came after it.
    """

    name: str
    version: int
    root: str
    files: tuple[str, ...]
    schema: pa.Schema

    @property
    def partitions(self) -> pa.Schema:
        """The columns that the folders' names hold."""
        return pa.schema([field for field in self.schema if field.name in PARTITIONS])

    def partition_of(self, file: str) -> dict[str, str]:
        """Values of a file's partition columns, as its folders say."""
        parts = [part.partition("=") for part in Path(file).parent.parts]
        return {name: unquote(value) for name, equals, value in parts if equals and name in self.partitions.names}

    def dataset(self) -> ds.Dataset:
        """The rows as an Arrow dataset: `.scanner(columns=..., filter=...)` reads what is asked for."""
        return ds.FileSystemDataset.from_paths(
            list(self.files),
            schema=self.schema,
            format=ds.ParquetFileFormat(),
            filesystem=pa_fs.LocalFileSystem(),
            partitions=[self._expression(file) for file in self.files],
        )

    def to_pandas(
        self, columns: Sequence[str] | None = None, where: ds.Expression | None = None, *, limit: int | None = None
    ) -> pd.DataFrame:
        """Rows as a frame; columns: all by default. where: of `pyarrow.dataset.field`. limit: at most so many."""
        scanner = self.dataset().scanner(columns=None if columns is None else list(columns), filter=where)
        return (scanner.to_table() if limit is None else scanner.head(limit)).to_pandas()

    def _expression(self, file: str) -> ds.Expression:
        found = ds.scalar(True)
        for name, value in self.partition_of(file).items():
            kind = self.partitions.field(name).type
            found = found & (ds.field(name) == pa.scalar(value).cast(kind))
        return found


def tables(settings: Settings) -> dict[str, LakeTable]:
    """Every table there is, by name, each at its newest version.

    `events` (messages, labels and signals, with their facts as accepted), `vectors` (what each decision was made with),
    `scores` (what each detector said then), `texts` (what people wrote, as features saw it, a row a message and
    feature), `raw_mail` (without the mail itself), and each content view's values by its own name. States of activity
    views are packed and no table: `mailwarden dataset export` gives their values. Decisions lie in the SQL database.
    """
    found = {
        "events": _of_snapshot("events", EventLog(settings.events_path).snapshot()),
        "vectors": _of_snapshot("vectors", VectorLog(settings.vectors_path).snapshot()),
        "scores": _of_snapshot("scores", ScoreLog(settings.scores_path).snapshot()),
        "texts": _of_snapshot("texts", Texts(settings.texts_path).snapshot()),
        "raw_mail": _of_snapshot("raw_mail", RawMail(settings.raw_path).snapshot(), without=("raw",)),
    }
    return found | {table.name: table for table in _content(settings.offline_path)}


def table(settings: Settings, name: str) -> LakeTable:
    """One of `tables`; raises NotFound naming the nearest."""
    known: Mapping[str, LakeTable] = tables(settings)
    if name not in known:
        hint = did_you_mean(name, known) or f" There are {', '.join(known)}."
        raise NotFound(f"there is no table {name!r}.{hint}")
    return known[name]


def _of_snapshot(name: str, snapshot: Snapshot, without: Sequence[str] = ()) -> LakeTable:
    own = [field for field in snapshot.schema if field.name not in (*PARTITIONS, *without)]
    parts = [snapshot.schema.field(name) for name in PARTITIONS]
    return LakeTable(name, snapshot.version, snapshot.root, snapshot.files, pa.schema([*own, *parts]))


def _content(offline: Path) -> Iterator[LakeTable]:
    """Values of content views: of each view the highest version that was computed."""
    for folder in sorted(offline.iterdir()) if offline.is_dir() else ():
        versions = [int(path.name[1:]) for path in folder.glob("v*") if path.name[1:].isdigit()]
        for version in sorted(versions, reverse=True):
            offline_table = OfflineTable(offline, folder.name, version)
            manifest = offline_table.manifest()
            if manifest is None or not manifest.files:
                continue
            files = tuple(offline_table.files(manifest))
            schema = pq.read_schema(files[0])
            # States of activity views have keys and no message.
            if "message_id" in schema.names:
                schema = schema.remove_metadata()
                yield LakeTable(folder.name, version, str(offline_table.path), files, schema.append(_DAY))
                break
