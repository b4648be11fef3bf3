"""States of one activity view into its offline table."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession

from mailwarden.domain.layout import layout_of
from mailwarden.domain.views import ActivityView
from mailwarden.settings import Settings
from mailwarden.stores.delta import Snapshot
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.fold_rows import read_events
from mailwarden.stores.spark.offline_table import Manifest, OfflineTable
from mailwarden.stores.spark.states import states, states_schema


def materialize_states(
    spark: SparkSession,
    settings: Settings,
    view: ActivityView,
    snapshot: Snapshot,
    newest: Mapping[str, tuple[int, int]],
) -> tuple[DataFrame, int]:
    """Write the states of all keys as of an event log snapshot; returns them read back, and how many there are.

    newest: by tenant, the last seq in the snapshot first. Where the table holds that snapshot already, nothing is
    computed.
    """
    table = OfflineTable(settings.offline_path, view.name, view.version)
    fingerprint = layout_of(view).fingerprint
    with table.writing(), translated(f"computing states of view {view.name}"):
        before = table.manifest()
        if before is not None and (before.source_version, before.fingerprint) == (snapshot.version, fingerprint):
            return _read(spark, view, table, before), before.rows
        folder = table.new_folder()
        found = states(read_events(spark, snapshot.files), view)
        found.write.parquet(str(table.path / folder))
        files = table.parts_in(folder)
        manifest = Manifest(
            view=view.name,
            version=view.version,
            fingerprint=fingerprint,
            rows=spark.read.parquet(str(table.path / folder)).count(),
            source_version=snapshot.version,
            folders=(folder,),
            files=files,
            last_seq={tenant: seq for tenant, (seq, _) in newest.items()},
            before=before.folders if before is not None else (),
        )
        table.publish(manifest)
    return _read(spark, view, table, manifest), manifest.rows


def _read(spark: SparkSession, view: ActivityView, table: OfflineTable, manifest: Manifest) -> DataFrame:
    if not manifest.files:
        return spark.createDataFrame([], states_schema(view))
    return spark.read.schema(states_schema(view)).parquet(*table.files(manifest))
