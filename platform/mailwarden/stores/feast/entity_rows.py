"""The rows that values are asked for, of whatever form, numbered so that each gets its own values back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.errors import DataError
from mailwarden.stores.asked import OWN
from mailwarden.stores.feast.source import TIMESTAMP_FIELD
from mailwarden.stores.spark.fold_rows import SEQ

EntityFrame: TypeAlias = pd.DataFrame | DataFrame | str
Kind: TypeAlias = Literal["string", "integer", "timestamp", "other"]

ROW = "__row_id"


@dataclass(frozen=True, slots=True)
class EntityRows:
    """Rows asked, not read yet.

    columns: name and kind of each. session: the Spark session to read them in. frame: gives them there, with an
    int64 `ROW` beside that ascends in the order of the rows and is the same however often the frame is read.
    """

    columns: Mapping[str, Kind]
    session: Callable[[], SparkSession]
    frame: Callable[[SparkSession], DataFrame]


def entity_rows(entity_df: EntityFrame, session: Callable[[], SparkSession]) -> EntityRows:
    """Entity rows of a pandas frame, a Spark frame, or the path of Parquet; runs nothing in Spark.

    Raises DataError on what cannot be rows: a path without Parquet, a column of mixed types, text with lone
    surrogates, a seq that is no whole number.
    """
    if isinstance(entity_df, pd.DataFrame):
        table = _table_of(entity_df)
        kinds = {field.name: _kind(field.type) for field in table.schema if field.name != ROW}
        return EntityRows(kinds, session, lambda spark: spark.createDataFrame(table))
    if isinstance(entity_df, str):
        schema = _schema_at(entity_df)
        kinds = {field.name: _kind(field.type) for field in schema}
        return EntityRows(kinds, session, lambda spark: _numbered(spark.read.parquet(entity_df)))
    frame = entity_df
    kinds = {field.name: _spark_kind(field.dataType) for field in frame.schema}
    return EntityRows(kinds, lambda: frame.sparkSession, lambda spark: _numbered(frame))


def _numbered(frame: DataFrame) -> DataFrame:
    # Without a checkpoint each branch of the plan would number the rows anew, perhaps otherwise.
    # On disk: what is held in memory for it is kept from sorts, as long as somebody keeps the job.
    numbered = frame.withColumn(ROW, F.monotonically_increasing_id())
    return numbered.localCheckpoint(eager=False, storageLevel=StorageLevel.DISK_ONLY)


def _schema_at(path: str) -> pa.Schema:
    if not Path(path).exists():
        raise DataError(f"entity_df: no Parquet at {path}; pass a path, a pandas frame or a Spark frame")
    try:
        schema: pa.Schema = ds.dataset(path, format="parquet").schema
    except (pa.ArrowInvalid, OSError) as exc:
        raise DataError(f"entity_df: {path} cannot be read as Parquet: {exc}") from exc
    for field in schema:
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            raise DataError(
                f"entity_df: {field.name} in {path} counts nanoseconds, which Spark cannot read; "
                "write it with to_parquet(..., coerce_timestamps='us')"
            )
    return schema


def _table_of(frame: pd.DataFrame) -> pa.Table:
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as exc:
        raise DataError(f"entity_df: a column mixes types ({exc}); give each column one type") from exc
    except UnicodeEncodeError as exc:
        raise DataError(
            f"entity_df: a text holds a lone surrogate ({exc.reason}), which no stored key does; "
            "take keys from parsed messages"
        ) from exc
    for index, field in enumerate(table.schema):
        column = table.column(index)
        if pa.types.is_timestamp(field.type):
            column = column.cast(pa.timestamp("us", tz=field.type.tz), safe=False)
            if field.type.tz is None and field.name == TIMESTAMP_FIELD:
                column = column.cast(pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        elif pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        elif pa.types.is_null(field.type):
            column = column.cast(pa.list_(pa.string()) if field.name.startswith(OWN) else pa.string())
        elif field.name == SEQ and pa.types.is_floating(field.type):
            # What pandas makes of whole numbers with a null among them.
            try:
                column = column.cast(pa.int64())
            except pa.ArrowInvalid as exc:
                raise DataError(f"entity_df: {SEQ} is no whole number ({exc})") from exc
        table = table.set_column(index, field.name, column)
    return table.append_column(ROW, pa.array(np.arange(len(frame), dtype=np.int64)))


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_integer(kind):
        return "integer"
    return "timestamp" if pa.types.is_timestamp(kind) else "other"


def _spark_kind(kind: T.DataType) -> Kind:
    match kind:
        case T.StringType() | T.NullType():
            return "string"
        case T.LongType() | T.IntegerType() | T.ShortType() | T.ByteType():
            return "integer"
        case T.TimestampType() | T.TimestampNTZType():
            return "timestamp"
        case _:
            return "other"
