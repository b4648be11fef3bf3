"""Feast's offline store over the event log: point-in-time values by Spark, exactly one row out for one row in."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

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
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.errors import DataError, StoreError
from mailwarden.settings import Settings
from mailwarden.stores.feast.entity_rows import ROW, EntityFrame, Kind, entity_rows
from mailwarden.stores.feast.on_demand import transform_of, with_transforms
from mailwarden.stores.feast.source import TIMESTAMP_FIELD, ContentDefinition, definition_of
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.spark.as_of import ROW_ID, as_of, own_column
from mailwarden.stores.spark.content import content_schema
from mailwarden.stores.spark.facts import read_facts
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.fold_rows import SEQ, TENANT, TIME, key_columns
from mailwarden.stores.spark.offline_table import OfflineTable
from mailwarden.stores.spark.session import spark_session

_NTZ_EPOCH = "timestamp_ntz'1970-01-01 00:00:00'"


class Refused(DataError, FeastError):  # type: ignore[misc]
    """A request of Feast's that this store does not answer, in words."""


class MailwardenOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The offline store's part of feature_store.yaml; what is left out comes from the environment (`MAILWARDEN_*`).

    home: as in `Settings`; the event log and the offline files lie below it. staging_location: folder, or a URI that
    Spark can write to, for `to_remote_storage`. fact_set: number of the one that values are computed
    from; by default the newest, as of the call.
    """

    type: StrictStr = "mailwarden.stores.feast.offline.MailwardenOfflineStore"
    home: StrictStr | None = None
    spark_master: StrictStr | None = None
    spark_driver_memory: StrictStr | None = None
    spark_shuffle_partitions: int | None = None
    staging_location: StrictStr | None = None
    fact_set: int | None = None

    def settings(self) -> Settings:
        """Settings with what this configuration says."""
        given = {
            name: value
            for name, value in self.model_dump(exclude={"type", "staging_location", "fact_set"}).items()
            if value is not None
        }
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
        """A job over the newest fact set and the event log as they are now; see `SparkRetrievalJob`.

        Nothing runs in Spark before it is asked.

        entity_df: a pandas or Spark frame, or the path of Parquet: the views' join keys, `event_timestamp` (UTC
        where it has no zone), `seq`, the request sources of on-demand views, `own__<fact>` (lists of strings: what
        the message itself holds in a fact, for features that compare it with the past), and any other column, which
        is passed through. Values of a key that is null or empty are null. `filter_by_created_timestamp` changes
        nothing: what was not known yet at a seq never counts. Raises DataError where a column is missing.
        """
        if entity_df is None:
            raise Refused("get_historical_features needs an entity_df: values exist for a message's keys, time and seq")
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        wanted, computed = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, on_demand)
        # Feast names what on-demand views read in the order of a set, which is another in every process.
        wanted = {view: [field.name for field in view.features if field.name in wanted[view]] for view in wanted}
        settings = config.offline_store.settings()
        rows = entity_rows(entity_df, lambda: spark_session(settings, f"feast {project}"))
        _check_columns(rows.columns, wanted, computed, full_feature_names)
        transforms = [
            transform_of(view, names, rows.columns, full_feature_names=full_feature_names)
            for view, names in computed.items()
        ]
        # Whatever is written from here on does not show in this job.
        facts = FactSets(settings.facts_path, EventLog(settings.events_path)).snapshot(config.offline_store.fact_set)
        content = {
            view: _content_files(settings, definition)
            for view in wanted
            if isinstance(definition := definition_of(view), ContentDefinition)
        }

        def plan() -> tuple[DataFrame, DataFrame]:
            spark = rows.session()
            asked = rows.frame(spark)
            result = asked
            for view, names in wanted.items():
                definition = definition_of(view)
                keys = _columns_of_keys(view, definition)
                if isinstance(definition, ActivityView):
                    values = _activity_values(asked, definition, keys, read_facts(spark, facts))
                else:
                    values = _content_values(asked, definition, keys, content[view])
                columns = [F.col(name).alias(_column(view, name, full_feature_names)) for name in names]
                # Not a left join: a row without values would be an error of ours, and must not pass for nulls.
                result = result.join(values.select(F.col(ROW_ID).alias(ROW), *columns), ROW)
            return asked, with_transforms(result, transforms)

        return SparkRetrievalJob(plan, feature_refs, full_feature_names, config.offline_store.staging_location)

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
    """A point-in-time read that has not run yet: the rows asked with the values beside them, one out for one in.

    `to_arrow`, `to_df` and `in_order=True` give the rows in the order that they were asked in, by a number that each
    row carries inside; all else leaves their order open, which costs no sort. Whatever runs checks that as many rows
    come out as went in, and raises StoreError where not.
    """

    def __init__(
        self,
        plan: Callable[[], tuple[DataFrame, DataFrame]],
        feature_refs: list[str],
        full_feature_names: bool,
        staging_location: str | None,
    ) -> None:
        self._plan = plan
        self._planned: tuple[DataFrame, DataFrame] | None = None
        self._planning = Lock()
        self._refs = feature_refs
        self._full_feature_names = full_feature_names
        self._staging_location = staging_location

    def to_spark_df(self, *, in_order: bool = False) -> DataFrame:
        """The rows as a Spark frame: a plan, which runs when it is read.

        Of a Spark frame given as entity_df the shuffles run before, since its rows must be numbered once for all.
        """
        rows = self._frames()[1]
        return (rows.orderBy(ROW) if in_order else rows).drop(ROW)

    def to_parquet(self, path: str | Path, *, allow_overwrite: bool = False, in_order: bool = False) -> int:
        """Write the rows to a folder of Parquet from the executors, and return how many there are.

        Raises DataError where the folder exists already.
        """
        with translated("computing historical features"):
            try:
                frame = self.to_spark_df(in_order=in_order)
                frame.write.mode("overwrite" if allow_overwrite else "error").parquet(str(path))
            except PySparkException as exc:
                if exc.getCondition() != "PATH_ALREADY_EXISTS":
                    raise
                raise DataError(f"{path} exists; choose another folder or allow_overwrite=True") from exc
            return self._checked(frame.sparkSession.read.parquet(str(path)).count())

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the rows where a `SavedDatasetFileStorage` says."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise Refused(f"cannot persist to {type(storage).__name__}; use feast's SavedDatasetFileStorage")
        self.to_parquet(storage.file_options.uri, allow_overwrite=allow_overwrite)

    def supports_remote_storage_export(self) -> bool:
        """Whether offline_store.staging_location is set."""
        return self._staging_location is not None

    def to_remote_storage(self) -> list[str]:
        """Write the rows to a new folder below offline_store.staging_location; returns its Parquet files."""
        if self._staging_location is None:
            raise Refused("set offline_store.staging_location in feature_store.yaml to export there")
        folder = f"{self._staging_location.rstrip('/')}/{uuid.uuid4()}"
        self.to_parquet(folder)
        files: list[str] = self._frames()[1].sparkSession.read.parquet(folder).inputFiles()
        return files

    def _frames(self) -> tuple[DataFrame, DataFrame]:
        with self._planning:
            if self._planned is None:
                self._planned = self._plan()
            return self._planned

    def _checked(self, n: int) -> int:
        asked = self._frames()[0].count()
        if n != asked:
            raise StoreError(f"{n} rows of historical features came out for {asked} that were asked; do not use them")
        return n

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with translated("computing historical features"):
            table = self.to_spark_df(in_order=True).toArrow()
            self._checked(table.num_rows)
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
        """None that are left for Feast to apply on the driver: the executors have applied them."""
        return []

    @property
    def metadata(self) -> RetrievalMetadata:
        """The features asked, and the columns that were there before."""
        return RetrievalMetadata(features=self._refs, keys=[TENANT, SEQ, TIMESTAMP_FIELD])


def _check_columns(
    columns: Mapping[str, Kind],
    wanted: Mapping[FeatureView, list[str]],
    computed: Mapping[OnDemandFeatureView, list[str]],
    full_feature_names: bool,
) -> None:
    keys = {TENANT: TENANT}
    for view in wanted:
        keys |= {column: column for column in _columns_of_keys(view, definition_of(view)).values()}
    requests = {name: view.name for view in computed for name in view.get_request_data_schema()}
    missing = sorted({SEQ, TIMESTAMP_FIELD, *keys, *requests} - set(columns))
    if missing:
        asked_by = "".join(f"; {name} is a request source of {requests[name]}" for name in missing if name in requests)
        raise DataError(
            f"entity_df has no column {', '.join(missing)}; it needs the join keys of its views, {TIMESTAMP_FIELD}, "
            f"and {SEQ}: values use events with a sequence number below it{asked_by}"
        )
    kinds: dict[str, Kind] = {TIMESTAMP_FIELD: "timestamp", SEQ: "integer", **dict.fromkeys(keys, "string")}
    for name, kind in kinds.items():
        if columns[name] != kind:
            raise DataError(f"entity_df: {name} is of another type than {kind}; make it one")
    taken = set(columns)
    for view, names in [*wanted.items(), *computed.items()]:
        for name in names:
            column = _column(view, name, full_feature_names)
            if column in taken:
                raise DataError(f"column {column} would be there twice; use full_feature_names=True or rename yours")
            taken.add(column)


def _columns_of_keys(view: FeatureView, definition: ActivityView | ContentDefinition) -> dict[str, str]:
    names = key_columns(definition) if isinstance(definition, ActivityView) else (TENANT, "message_id")
    return {name: view.projection.join_key_map.get(name, name) for name in names}


def _column(view: FeatureView | OnDemandFeatureView, feature: str, full_feature_names: bool) -> str:
    return f"{view.projection.name_to_use()}__{feature}" if full_feature_names else feature


def _activity_values(rows: DataFrame, view: ActivityView, keys: dict[str, str], events: DataFrame) -> DataFrame:
    if isinstance(rows.schema[TIMESTAMP_FIELD].dataType, T.TimestampNTZType):
        at_us = F.expr(f"timestampdiff(MICROSECOND, {_NTZ_EPOCH}, {TIMESTAMP_FIELD})")
    else:
        at_us = F.unix_micros(TIMESTAMP_FIELD)
    own = sorted({own_column(recent.of) for recent in view.recents} & set(rows.columns))
    requests = rows.select(
        F.col(ROW).alias(ROW_ID),
        *[F.col(column).alias(key) for key, column in keys.items()],
        F.col(SEQ).cast("long").alias(SEQ),
        at_us.alias(TIME),
        *[F.col(name).cast("array<string>").alias(name) for name in own],
    )
    return as_of(events, requests, view)


def _content_files(settings: Settings, definition: ContentDefinition) -> tuple[str, ...]:
    table = OfflineTable(settings.offline_path, definition.name, definition.version)
    manifest = table.manifest()
    return tuple(table.files(manifest)) if manifest is not None else ()


def _content_values(
    rows: DataFrame, definition: ContentDefinition, keys: dict[str, str], files: tuple[str, ...]
) -> DataFrame:
    asked = rows.select(F.col(ROW).alias(ROW_ID), *[F.col(column).alias(key) for key, column in keys.items()])
    schema = content_schema(definition.features)
    spark = rows.sparkSession
    values = spark.read.schema(schema).parquet(*files) if files else spark.createDataFrame([], schema)
    return asked.join(values, list(keys), "left")
