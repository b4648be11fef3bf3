"""Content values of messages that have none yet, into the content view's offline table."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from mailwarden.domain.mail.content import ContentView
from mailwarden.errors import ContractError
from mailwarden.settings import Settings
from mailwarden.stores.lake.raw_mail import RawMail
from mailwarden.stores.spark.content import RAW_COLUMNS, Parse, content, content_schema
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable

CHUNK_BYTES = 256 * 2**20
"""Raw bytes, as stored, between two publications: what a crash may cost."""

_DAY = re.compile(r"day=([^/]+)")


def materialize_content(
    spark: SparkSession,
    settings: Settings,
    view: ContentView,
    parse: Parse,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Compute the view for raw messages not in its table; returns the raw table's version and how many were new.

    progress: called with the number of chunks before the first of them, then with 0 before each further one.
    """
    snapshot = RawMail(settings.raw_path).snapshot()
    table = OfflineTable(settings.offline_path, view.name, view.version)
    added = 0
    with table.writing(), translated(f"computing view {view.name}"):
        manifest = table.manifest() or _empty(view)
        if manifest.fingerprint != _fingerprint(view):
            raise ContractError(
                f"view {view.name} version {view.version} has other features than its files in {table.path}; "
                "raise its version"
            )
        done = set(manifest.source_files)
        chunks = _chunks([name for name in snapshot.files if name not in done])
        for index, chunk in enumerate(chunks):
            if progress is not None:
                progress(0 if index else len(chunks))
            new = _compute_chunk(spark, table, manifest, view, parse, chunk)
            manifest = _with(manifest, table, new, snapshot.version, (*manifest.source_files, *chunk))
            added += new[1]
            table.publish(manifest)
        gone = set(manifest.source_files) - set(snapshot.files)
        if gone:
            kept = tuple(name for name in manifest.source_files if name not in gone)
            table.publish(_with(manifest, table, ("", 0), snapshot.version, kept))
    return snapshot.version, added


def _compute_chunk(
    spark: SparkSession, table: OfflineTable, manifest: Manifest, view: ContentView, parse: Parse, files: Sequence[str]
) -> tuple[str, int]:
    """Name of the folder of new parts, and how many rows they hold."""
    raw = spark.read.schema(RAW_COLUMNS).parquet(*files)
    days = {_day(name) for name in files}
    held = [str(table.path / name) for name in manifest.files if _day(name) in days]
    keys = ["tenant", "message_id"]
    if held:
        known = spark.read.schema(content_schema(view.features)).parquet(*held).select(*keys)
        raw = raw.join(known, keys, "left_anti")
    folder = table.new_folder()
    path = str(table.path / folder)
    values = content(raw, view, parse)
    # A message has one day, so that one shuffle serves both one file a day and no message twice.
    once = values.repartition("day").dropDuplicates(["day", *keys])
    once.write.partitionBy("day").parquet(path)
    written = table.parts_in(folder)
    if not written:
        return "", 0
    return folder, spark.read.parquet(*[str(table.path / name) for name in written]).count()


def _with(
    manifest: Manifest, table: OfflineTable, new: tuple[str, int], source_version: int, source_files: tuple[str, ...]
) -> Manifest:
    folder, rows = new
    return Manifest(
        view=manifest.view,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        rows=manifest.rows + rows,
        source_version=source_version,
        folders=(*manifest.folders, folder) if folder else manifest.folders,
        files=(*manifest.files, *table.parts_in(folder)) if folder else manifest.files,
        source_files=source_files,
    )


def _empty(view: ContentView) -> Manifest:
    return Manifest(view.name, view.version, _fingerprint(view), 0, -1, (), ())


def _fingerprint(view: ContentView) -> int:
    text = repr([(feature.name, feature.dtype) for feature in view.features])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "little")


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
