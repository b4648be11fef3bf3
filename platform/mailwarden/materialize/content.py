"""Content values of messages that have none yet, into the offline table of each content view."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.settings import Settings
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden.stores.spark.content import RAW_COLUMNS, STATUS, Parse, column_of, content, content_schema
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable

CHUNK_BYTES = 256 * 2**20
"""Raw bytes, as stored, between two publications: what a crash may cost."""

_DAY = re.compile(r"day=([^/]+)")
_KEYS = ["tenant", "message_id"]


@dataclass(frozen=True, slots=True)
class ContentReport:
    """What was done to one content view.

    rows: that its table holds. computed: of this run. anew: its code, lists or parser changed under the version that
    it has, and all was computed anew. left_behind: rows of the former code that could not be, their raw mail being
    gone; they are no longer read.
    """

    view: str
    rows: int
    computed: int
    anew: bool = False
    left_behind: int = 0


def materialize_content(
    spark: SparkSession,
    settings: Settings,
    views: ContentSet,
    parse: Parse,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, tuple[ContentReport, ...]]:
    """Compute the views for raw messages not in their tables; returns the raw table's version and a report a view.

    A table holds values of one fingerprint. Where the view's is another now, a new set of parts is computed from all
    raw mail there is, and takes the former one's place when it is whole. Views that lack the same files are computed
    together, so that a message is parsed once. progress: called with the number of chunks before the first of them,
    then with 0 before each further one.
    """
    snapshot = RawMail(settings.raw_path).snapshot()
    settings.offline_path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        tables = [_Table(settings, view, views.fingerprints[view.name]) for view in views.views]
        for table in tables:
            stack.enter_context(table.files.writing())
            table.open()
        # Executors write there, as they do to the tables.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.offline_path, prefix="scratch-")))
        stack.enter_context(translated("computing content views"))
        work = [(group, chunk) for group in _alike(tables) for chunk in _chunks(group[0].lacking(snapshot.files))]
        for index, (group, chunk) in enumerate(work):
            if progress is not None:
                progress(0 if index else len(work))
            together = views.only(table.view.name for table in group)
            _compute_chunk(spark, group, together, parse, chunk, snapshot.version, scratch / str(index))
        for table in tables:
            table.finish(spark, snapshot.files, snapshot.version)
    return snapshot.version, tuple(table.report() for table in tables)


class _Table:
    """The offline table of one view while it is brought up to date. Of a changed view nothing shows before `finish`."""

    def __init__(self, settings: Settings, view: ContentView, fingerprint: int) -> None:
        self.view = view
        self.files = OfflineTable(settings.offline_path, view.name, view.version)
        self._fingerprint = fingerprint
        self._former: Manifest | None = None
        self._computed = self._left_behind = 0

    def open(self) -> None:
        """Read what is there."""
        held = self.files.manifest()
        if held is not None and held.fingerprint != self._fingerprint:
            self._former, held = held, None
        self.manifest = held or Manifest(self.view.name, self.view.version, self._fingerprint, 0, -1, (), ())

    def lacking(self, files: Sequence[str]) -> list[str]:
        """Of raw files, those that it was not computed from."""
        done = set(self.manifest.source_files)
        return [name for name in files if name not in done]

    def held(self, days: set[str]) -> list[str]:
        """Its own files of those days."""
        return [str(self.files.path / name) for name in self.manifest.files if _day(name) in days]

    def add(self, folder: str, source_files: Sequence[str], source_version: int) -> None:
        """Take the parts of a folder in, computed from those raw files."""
        parts = self.files.parts_in(folder)
        rows = sum(pq.read_metadata(self.files.path / name).num_rows for name in parts)
        self._computed += rows
        held = self.manifest
        self.manifest = replace(
            held,
            rows=held.rows + rows,
            source_version=source_version,
            folders=(*held.folders, folder) if parts else held.folders,
            files=(*held.files, *parts),
            source_files=(*held.source_files, *source_files),
            before=(),
        )
        if self._former is None:
            self.files.publish(self.manifest)

    def finish(self, spark: SparkSession, files: Sequence[str], source_version: int) -> None:
        """Forget raw files that are gone, and publish a changed view's new parts, now whole."""
        if self._former is not None:
            former, now = (self._keys(spark, manifest) for manifest in (self._former, self.manifest))
            self._left_behind = former.join(now, _KEYS, "left_anti").count()
        kept = set(files)
        source_files = tuple(name for name in self.manifest.source_files if name in kept)
        if self._former is not None or source_files != self.manifest.source_files:
            before = () if self._former is None else self._former.folders
            self.manifest = replace(
                self.manifest, source_files=source_files, source_version=source_version, before=before
            )
            (self.files.path / "parts").mkdir(exist_ok=True)
            self.files.publish(self.manifest)

    def report(self) -> ContentReport:
        """What was done."""
        return ContentReport(
            self.view.name, self.manifest.rows, self._computed, self._former is not None, self._left_behind
        )

    def _keys(self, spark: SparkSession, manifest: Manifest) -> DataFrame:
        schema = content_schema(())
        files = self.files.files(manifest)
        rows = spark.read.schema(schema).parquet(*files) if files else spark.createDataFrame([], schema)
        return rows.select(*_KEYS)


def _alike(tables: Sequence[_Table]) -> list[list[_Table]]:
    """Tables by what they were computed from: those of a group hold the same messages."""
    groups: dict[frozenset[str], list[_Table]] = {}
    for table in tables:
        groups.setdefault(frozenset(table.manifest.source_files), []).append(table)
    return list(groups.values())


def _compute_chunk(
    spark: SparkSession,
    group: Sequence[_Table],
    views: ContentSet,
    parse: Parse,
    files: Sequence[str],
    source_version: int,
    scratch: Path,
) -> None:
    raw = spark.read.schema(RAW_COLUMNS).parquet(*files)
    held = group[0].held({_day(name) for name in files})
    if held:
        known = spark.read.schema(content_schema(group[0].view.features)).parquet(*held).select(*_KEYS)
        raw = raw.join(known, _KEYS, "left_anti")
    # A message has one day, so that one shuffle serves both one file a day and no message twice.
    once = content(raw, views, parse).repartition("day").dropDuplicates(["day", *_KEYS])
    once.write.partitionBy("day").parquet(str(scratch))
    written = spark.read.parquet(str(scratch)) if any(scratch.rglob("*.parquet")) else None
    for table in group:
        folder = table.files.new_folder()
        if written is not None:
            _of_view(written, table.view).write.partitionBy("day").parquet(str(table.files.path / folder))
        table.add(folder, files, source_version)


def _of_view(wide: DataFrame, view: ContentView) -> DataFrame:
    features = [F.col(column_of(view.name, feature.name)).alias(feature.name) for feature in view.features]
    status = F.col(column_of(view.name, STATUS)).alias(STATUS)
    return wide.select(*_KEYS, "event_timestamp", *features, status, "day")


def _day(name: str) -> str:
    found = _DAY.search(name)
    return found.group(1) if found else ""


def _chunks(files: Sequence[str]) -> list[tuple[str, ...]]:
    """Files in order of day, in runs of about `CHUNK_BYTES`."""
    chunks: list[list[str]] = []
    size = CHUNK_BYTES
    for name in sorted(files, key=_day):
        if size >= CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(name)
        size += Path(name).stat().st_size
    return [tuple(chunk) for chunk in chunks]
