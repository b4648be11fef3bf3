"""States of one activity view into its offline table: of all events, or of those that are new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import pyarrow.parquet as pq
import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.lake.fact_sets import FactSnapshot
from mailwarden.stores.spark.facts import read_facts
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.fold_rows import fold_rows, key_columns
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable
from mailwarden.stores.spark.states import merged, newest, states, states_schema
from mailwarden.stores.spark.tombstones import is_tombstone

PARTS = 8
"""Parts of a table from which on the next run writes it as one."""

_log = structlog.get_logger(__name__)

How = Literal["full", "incremental", "unchanged"]


@dataclass(frozen=True, slots=True)
class OfflineStates:
    """What the table holds after a run.

    states: a row a key; see `states_of_table`. keys: how many. computed: of how many this run wrote the state.
    """

    states: DataFrame
    how: How
    keys: int
    computed: int


def materialize_states(
    spark: SparkSession,
    settings: Settings,
    view: ActivityView,
    facts: FactSnapshot,
    last_seq: Mapping[str, int],
    *,
    afresh: bool = False,
) -> OfflineStates:
    """Write the states of all keys as of a snapshot of a fact set.

    last_seq: by tenant, the last one in the snapshot. afresh: compute every state, whatever the table holds. Where the
    log only gained files since, the states of keys in them are merged with the former ones; where it holds the same,
    nothing is computed; where it was rewritten, gained a tombstone, or another fact set is in force, everything is.
    Raises DataError where
    states were lost or doubled.
    """
    snapshot = facts.log
    table = OfflineTable(settings.offline_path, view.name, view.version)
    with table.writing(), translated(f"computing states of view {view.name}"):
        held = table.manifest()
        before = held
        if held is None or afresh or held.fingerprint != layout_of(view).fingerprint:
            before = None
        elif held.facts != facts.number:
            _log.info("another fact set is in force; all states are computed", view=view.name, facts=facts.number)
            before = None
        elif not set(held.source_files) <= set(snapshot.files):
            _log.info("the event log was rewritten; all states are computed", view=view.name)
            before = None
        job = _Job(spark, view, table, facts)
        added = () if before is None else tuple(sorted(set(snapshot.files) - set(before.source_files)))
        if before is not None and not added:
            return OfflineStates(states_of_table(spark, view, table, before), "unchanged", before.rows, 0)
        if added and not read_facts(spark, facts, log_files=added).where(is_tombstone()).isEmpty():
            _log.info("messages were taken out of the counts; all states are computed", view=view.name)
            before = None
        if before is not None:
            folders, rows, computed = job.add(before, added)
        else:
            folder, rows = job.fold(None)
            folders, computed = (folder,), rows
        manifest = Manifest(
            view=view.name,
            version=view.version,
            fingerprint=layout_of(view).fingerprint,
            rows=rows,
            source_version=snapshot.version,
            folders=folders,
            files=tuple(name for folder in folders for name in table.parts_in(folder)),
            source_files=snapshot.files,
            last_seq=dict(last_seq),
            before=held.folders if held is not None else (),
            facts=facts.number,
        )
        table.publish(manifest)
    how: How = "full" if before is None else "incremental"
    return OfflineStates(states_of_table(spark, view, table, manifest), how, rows, computed)


def states_of_table(spark: SparkSession, view: ActivityView, table: OfflineTable, manifest: Manifest) -> DataFrame:
    """The newest state of each key of a publication, lazily."""
    return _newest_of(spark, view, table, manifest.folders)


class _Job:
    """What one run writes into a table, each time into a folder that no manifest names yet."""

    def __init__(self, spark: SparkSession, view: ActivityView, table: OfflineTable, facts: FactSnapshot) -> None:
        self._spark, self._view, self._table, self._facts = spark, view, table, facts
        self._keys = list(key_columns(view))

    def fold(self, files: tuple[str, ...] | None) -> tuple[str, int]:
        """The states of the events in files of the log, or of all; folder and how many keys."""
        events = read_facts(self._spark, self._facts, log_files=files)
        expected = fold_rows(events, self._view).select(*self._keys).distinct().count()
        return self._write(states(events, self._view), expected), expected

    def add(self, before: Manifest, files: tuple[str, ...]) -> tuple[tuple[str, ...], int, int]:
        """The states of the events in new files merged with former ones; folders, all keys, and keys computed."""
        own, touched = self.fold(files)
        new = self._read(own)
        former = states_of_table(self._spark, self._view, self._table, before)
        known = former.join(new.select(*self._keys), self._keys, "left_semi").select(*new.columns)
        rows = before.rows + touched - known.count()
        folders = (*before.folders, self._write(merged(new.unionAll(known), self._view), touched))
        if len(folders) > PARTS:
            folders = (self._write(_newest_of(self._spark, self._view, self._table, folders), rows),)
        return folders, rows, touched

    def _write(self, rows: DataFrame, expected: int) -> str:
        folder = self._table.new_folder()
        rows.write.parquet(str(self._table.path / folder))
        written = sum(pq.read_metadata(self._table.path / name).num_rows for name in self._table.parts_in(folder))
        if written != expected:
            raise DataError(
                f"view {self._view.name}: {expected} keys went into a job and {written} states came out; nothing was "
                "published. Run `mailwarden materialize` again, and report it where it stays"
            )
        return folder

    def _read(self, folder: str) -> DataFrame:
        return self._spark.read.schema(states_schema(self._view)).parquet(str(self._table.path / folder))


def _newest_of(spark: SparkSession, view: ActivityView, table: OfflineTable, folders: tuple[str, ...]) -> DataFrame:
    schema = states_schema(view)
    parts = [
        spark.read.schema(schema).parquet(str(table.path / folder)).withColumn("_part", F.lit(part))
        for part, folder in enumerate(folders)
        if table.parts_in(folder)
    ]
    if not parts:
        return spark.createDataFrame([], schema)
    return parts[0].drop("_part") if len(parts) == 1 else newest(reduce(DataFrame.unionAll, parts), view, "_part")
