"""The events of a fact set as a Spark frame: its tables' rows, and the log's beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mailwarden.stores.lake.fact_sets import FactSnapshot
from mailwarden.stores.spark.fold_rows import EVENT_COLUMNS


def read_facts(
    spark: SparkSession,
    facts: FactSnapshot,
    *,
    log_files: Sequence[str] | None = None,
) -> DataFrame:
    """Every event of a tenant once, with the facts of a set; nothing runs yet.

    Columns as of `read_events`. log_files: of these files of the log alone what the set has from them; by default all
    that it has, from its own tables too.
    """
    parts = []
    files = facts.log.files if log_files is None else tuple(log_files)
    if files:
        logged = spark.read.schema(EVENT_COLUMNS).parquet(*files)
        if facts.through:
            through = spark.createDataFrame(list(facts.through.items()), "tenant string, _through long")
            logged = logged.join(F.broadcast(through), "tenant", "left")
            logged = logged.where(F.col("seq") > F.coalesce("_through", F.lit(0))).select(EVENT_COLUMNS.names)
        parts.append(logged)
    for table in facts.tables if log_files is None else ():
        if table.files:
            own = spark.createDataFrame([(tenant,) for tenant in table.tenants], "tenant string")
            rows = spark.read.schema(EVENT_COLUMNS).parquet(*table.files).join(F.broadcast(own), "tenant", "left_semi")
            parts.append(rows.select(EVENT_COLUMNS.names))
    return reduce(DataFrame.unionAll, parts) if parts else spark.createDataFrame([], EVENT_COLUMNS)
