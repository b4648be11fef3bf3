"""Rows of the lake's tables as Spark reads them: plain Parquet files of one version."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from mailwarden.stores.lake.delta import PARTITIONS, Snapshot


def read_rows(spark: SparkSession, table: Snapshot) -> DataFrame:
    """The rows but for `day` and `bucket`; a column that came after a row was written is null there."""
    schema = from_arrow_schema(table.schema)
    # Delta keeps partition columns in the folders' names, not in the files.
    within = StructType([field for field in schema.fields if field.name not in PARTITIONS])
    return spark.read.schema(within).parquet(*table.files) if table.files else spark.createDataFrame([], within)
