"""Feast's offline store over the event log: point-in-time values by Spark, exactly one row out for one row in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureView, OnDemandFeatureView, RepoConfig
from feast.errors import FeastError
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.saved_dataset import SavedDatasetStorage
from feast.utils import _get_requested_feature_views_to_features_dict
from pydantic import StrictStr
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.views import ActivityView
from mailwarden.errors import DataError
from mailwarden.settings import Settings
from mailwarden.stores.event_log import EventLog
from mailwarden.stores.feast.source import TIMESTAMP_FIELD, ContentDefinition, definition_of
from mailwarden.stores.spark.as_of import ROW_ID, as_of
from mailwarden.stores.spark.content import content_schema
from mailwarden.stores.spark.fold_rows import SEQ, TENANT, TIME, key_columns, read_events
from mailwarden.stores.spark.offline_table import OfflineTable
from mailwarden.stores.spark.session import spark_session

EntityFrame: TypeAlias = pd.DataFrame | DataFrame | str

_ROW = "__row_id"
_NTZ_EPOCH = "timestamp_ntz'1970-01-01 00:00:00'"


class Refused(DataError, FeastError):  # type: ignore[misc]
    """A request of Feast's that this store does not answer, in words."""


class MailwardenOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The offline store's part of feature_store.yaml; what is left out comes from the environment (`MAILWARDEN_*`).

    home: as in `Settings`; the event log and the offline files lie below it.
    """

    type: StrictStr = "mailwarden.stores.feast.offline.MailwardenOfflineStore"
    home: StrictStr | None = None
    spark_master: StrictStr | None = None
    spark_driver_memory: StrictStr | None = None
    spark_shuffle_partitions: int | None = None

    def settings(self) -> Settings:
        """Settings with what this configuration says."""
        given = {name: value for name, value in self.model_dump(exclude={"type"}).items() if value is not None}
        return Settings(**given)


class MailwardenOfflineStore(OfflineStore):  # type: ignore[misc]
    """Values of views as they were when a message was accepted.

    Rows are asked with a sequence number: an event counts where its own lies below it. A label is an event at the
    time that it was given, so no value holds a label that was not known yet: there is nothing to switch on.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: EntityFrame | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> SparkRetrievalJob:
        """A job over the event log as it is now; see `SparkRetrievalJob`.

        entity_df: a pandas or Spark frame, or the path of Parquet: the views' join keys, `event_timestamp` (UTC
        where it has no zone), `seq`, and any other column, which is passed through. Values of a key that is null or
        empty are null. Raises DataError where a column is missing.
        """
        if entity_df is None:
            raise Refused("get_historical_features needs an entity_df: values exist for a message's keys, time and seq")
        if OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry):
            raise Refused("on-demand feature views have no offline values here; ask for the views that they read")
        settings = config.offline_store.settings()
        wanted, _ = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, [])
        spark = spark_session(settings, f"feast {project}")
        rows = _entity_rows(spark, entity_df)
        _check_columns(rows, wanted, full_feature_names)
        # Whatever is written from here on does not show in this job.
        files = EventLog(settings.events_path).snapshot().files
        result = rows
        for view, names in wanted.items():
            definition = definition_of(view)
            keys = {key: view.projection.join_key_map.get(key, key) for key in _join_keys(definition)}
            if isinstance(definition, ActivityView):
                values = _activity_values(rows, definition, keys, read_events(spark, files))
            else:
                values = _content_values(rows, definition, keys, settings)
            columns = {_column(view, name, full_feature_names): F.col(name) for name in names}
            chosen = values.select(F.col(ROW_ID).alias(_ROW), *[c.alias(name) for name, c in columns.items()])
            result = result.join(chosen, _ROW, "left")
        return SparkRetrievalJob(result, feature_refs, full_feature_names)

    @staticmethod
    def pull_latest_from_table_or_query(*args: Any, **kwargs: Any) -> RetrievalJob:
        """Refused: states are loaded by the batch engine, values are never pulled."""
        raise Refused("states are loaded by the batch engine; configure batch_engine as feature_store.yaml does")

    @staticmethod
    def pull_all_from_table_or_query(*args: Any, **kwargs: Any) -> RetrievalJob:
        """Refused: a view has a value at any moment, so all of its values cannot be listed."""
        raise Refused("a view has a value at every moment; ask get_historical_features for those that you need")

    @staticmethod
    def offline_write_batch(*args: Any, **kwargs: Any) -> None:
        """Refused: values are computed from the event log and never written to it."""
        raise Refused("values come from the event log; add messages by `mailwarden ingest` or the scoring API")

    @staticmethod
    def write_logged_features(*args: Any, **kwargs: Any) -> None:
        """Refused: vectors are logged with each decision."""
        raise Refused("feature vectors are logged with each decision by the scoring API")


class SparkRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A point-in-time read that has not run yet: the rows asked, in their order, with the values beside them."""

    def __init__(self, rows: DataFrame, feature_refs: list[str], full_feature_names: bool) -> None:
        self._rows = rows
        self._refs = feature_refs
        self._full_feature_names = full_feature_names

    def to_spark_df(self) -> DataFrame:
        """The rows as a Spark frame, in no set order; nothing runs yet."""
        return self._rows.drop(_ROW)

    def to_parquet(self, path: str | Path, *, allow_overwrite: bool = False) -> None:
        """Write the rows to a folder of Parquet from the executors; raises DataError where it exists already."""
        try:
            self.to_spark_df().write.mode("overwrite" if allow_overwrite else "error").parquet(str(path))
        except PySparkException as exc:
            if exc.getCondition() != "PATH_ALREADY_EXISTS":
                raise
            raise DataError(f"{path} exists; choose another folder or allow_overwrite=True") from exc

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the rows where a `SavedDatasetFileStorage` says."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise Refused(f"cannot persist to {type(storage).__name__}; use feast's SavedDatasetFileStorage")
        self.to_parquet(storage.file_options.uri, allow_overwrite=allow_overwrite)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        table = self._rows.orderBy(_ROW).drop(_ROW).toArrow()
        for index, field in enumerate(table.schema):
            # Spark writes its session's zone on every timestamp.
            if pa.types.is_timestamp(field.type) and field.type.tz is not None:
                utc = pa.timestamp(field.type.unit, tz="UTC")
                table = table.set_column(index, field.name, table.column(index).cast(utc))
        return table

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """None: they are refused before."""
        return []

    @property
    def metadata(self) -> RetrievalMetadata:
        """The features asked, and the columns that were there before."""
        return RetrievalMetadata(features=self._refs, keys=[TENANT, SEQ, TIMESTAMP_FIELD])


def _entity_rows(spark: SparkSession, entity_df: EntityFrame) -> DataFrame:
    """The rows asked with a row id that does not change however often they are read."""
    if isinstance(entity_df, pd.DataFrame):
        return spark.createDataFrame(_arrow_of(entity_df))
    if isinstance(entity_df, str):
        if not Path(entity_df).exists():
            raise DataError(f"entity_df: no Parquet at {entity_df}; pass a path, a pandas frame or a Spark frame")
        entity_df = spark.read.parquet(entity_df)
    # Without a checkpoint each branch of the plan would number the rows anew, perhaps otherwise.
    return entity_df.withColumn(_ROW, F.monotonically_increasing_id()).localCheckpoint(eager=False)


def _arrow_of(frame: pd.DataFrame) -> pa.Table:
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as exc:
        raise DataError(f"entity_df: a column mixes types ({exc}); give each column one type") from exc
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = table.column(index).cast(pa.timestamp("us", tz=field.type.tz), safe=False)
            if field.type.tz is None and field.name == TIMESTAMP_FIELD:
                column = column.cast(pa.int64()).cast(pa.timestamp("us", tz="UTC"))
            table = table.set_column(index, field.name, column)
        elif pa.types.is_null(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.string()))
    return table.append_column(_ROW, pa.array(np.arange(len(frame), dtype=np.int64)))


def _check_columns(rows: DataFrame, wanted: dict[FeatureView, list[str]], full_feature_names: bool) -> None:
    needed = {SEQ, TIMESTAMP_FIELD}
    for view in wanted:
        needed |= {view.projection.join_key_map.get(key, key) for key in _join_keys(definition_of(view))}
    missing = sorted(needed - set(rows.columns))
    if missing:
        raise DataError(
            f"entity_df has no column {', '.join(missing)}; it needs the join keys of its views, {TIMESTAMP_FIELD}, "
            f"and {SEQ}: values use events with a sequence number below it"
        )
    if not isinstance(rows.schema[TIMESTAMP_FIELD].dataType, (T.TimestampType, T.TimestampNTZType)):
        raise DataError(f"entity_df: {TIMESTAMP_FIELD} is {rows.schema[TIMESTAMP_FIELD].dataType}; make it a timestamp")
    taken = set(rows.columns)
    for view, names in wanted.items():
        for name in names:
            column = _column(view, name, full_feature_names)
            if column in taken:
                raise DataError(f"column {column} would be there twice; use full_feature_names=True or rename yours")
            taken.add(column)


def _join_keys(definition: ActivityView | ContentDefinition) -> tuple[str, ...]:
    return key_columns(definition) if isinstance(definition, ActivityView) else (TENANT, "message_id")


def _column(view: FeatureView, feature: str, full_feature_names: bool) -> str:
    return f"{view.projection.name_to_use()}__{feature}" if full_feature_names else feature


def _activity_values(rows: DataFrame, view: ActivityView, keys: dict[str, str], events: DataFrame) -> DataFrame:
    moment = F.col(TIMESTAMP_FIELD)
    if isinstance(rows.schema[TIMESTAMP_FIELD].dataType, T.TimestampNTZType):
        at_us = F.expr(f"timestampdiff(MICROSECOND, {_NTZ_EPOCH}, {TIMESTAMP_FIELD})")
    else:
        at_us = F.unix_micros(moment)
    requests = rows.select(
        F.col(_ROW).alias(ROW_ID),
        *[F.col(column).alias(key) for key, column in keys.items()],
        F.col(SEQ).cast("long").alias(SEQ),
        at_us.alias(TIME),
    )
    return as_of(events, requests, view)


def _content_values(
    rows: DataFrame, definition: ContentDefinition, keys: dict[str, str], settings: Settings
) -> DataFrame:
    asked = rows.select(F.col(_ROW).alias(ROW_ID), *[F.col(column).alias(key) for key, column in keys.items()])
    table = OfflineTable(settings.offline_path, definition.name, definition.version)
    manifest = table.manifest()
    schema = content_schema(definition.features)
    spark = rows.sparkSession
    if manifest is None or not manifest.files:
        values = spark.createDataFrame([], schema)
    else:
        values = spark.read.schema(schema).parquet(*table.files(manifest))
    return asked.join(values, list(keys), "left")
