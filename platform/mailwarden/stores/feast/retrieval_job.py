"""A point-in-time read that has not run yet, as Feast's users hold it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import pandas as pd
import pyarrow as pa
from feast import OnDemandFeatureView
from feast.errors import FeastError
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.saved_dataset import SavedDatasetStorage
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from mailwarden.errors import DataError, StoreError
from mailwarden.stores.feast.entity_rows import ROW
from mailwarden.stores.feast.source import TIMESTAMP_FIELD
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.fold_rows import SEQ, TENANT

Plan: TypeAlias = Callable[[bool], tuple[DataFrame, DataFrame]]
"""Given whether statuses are wanted: the rows asked, and the same rows with the values beside."""


class Refused(DataError, FeastError):  # type: ignore[misc]
    """A request of Feast's that this store does not answer, in words."""


class SparkRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A point-in-time read that has not run yet: the rows asked with the values beside them, one out for one in.

    `to_arrow`, `to_df` and `in_order=True` give the rows in the order that they were asked in, by a number that each
    row carries inside; all else leaves their order open, which costs no sort. Whatever runs checks that as many rows
    come out as went in, and raises StoreError where not.
    """

    def __init__(
        self,
        plan: Plan,
        feature_refs: list[str],
        full_feature_names: bool,
        staging_location: str | None,
        statuses: bool = False,
    ) -> None:
        self._plan = plan
        self._statuses = statuses
        self._planned: tuple[DataFrame, DataFrame] | None = None
        self._planning = Lock()
        self._refs = feature_refs
        self._full_feature_names = full_feature_names
        self._staging_location = staging_location

    def with_statuses(self) -> SparkRetrievalJob:
        """The same read with a column `<view>__status` a view, one of `domain.status.Status`: why its nulls are null.

        Of activity views also `<view>__as_of_seq`, the last seq behind the values. It counts two aggregates more.
        """
        return SparkRetrievalJob(self._plan, self._refs, self._full_feature_names, self._staging_location, True)

    def to_spark_df(self, *, in_order: bool = False) -> DataFrame:
        """The rows as a Spark frame: a plan, which runs when it is read.

        Of a Spark frame given as entity_df the shuffles run before, since its rows must be numbered once for all.
        """
        rows = self._frames()[1]
        return (rows.orderBy(ROW) if in_order else rows).drop(ROW)

    def to_parquet(
        self, path: str | Path, *, allow_overwrite: bool = False, in_order: bool = False, leave_out: str = ""
    ) -> int:
        """Write the rows to a folder of Parquet from the executors, and return how many there are.

        leave_out: how the names of columns begin that are not written; "" for none. Raises DataError where the folder
        exists already.
        """
        with translated("computing historical features"):
            try:
                frame = self.to_spark_df(in_order=in_order)
                if leave_out:
                    frame = frame.drop(*[name for name in frame.columns if name.startswith(leave_out)])
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
                self._planned = self._plan(self._statuses)
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
