"""Skew: every logged feature value against what Spark recomputes from the event log."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from mailwarden.domain.state import NEVER
from mailwarden.domain.views import ActivityView, History
from mailwarden.stores.delta import Snapshot
from mailwarden.stores.spark.as_of import ROW_ID, as_of
from mailwarden.stores.spark.fold_rows import SEQ, TIME, key_columns

IDEAL = 1
"""Odd row ids ask for the ideal (all events before the message), even ones for what the store had folded."""


@dataclass(frozen=True, slots=True)
class FeatureSkew:
    """One feature's comparison.

    compared: values held against the recomputed one at the logged seq. with_history: of these, how many had an
    event of their key behind them. mismatches: not equal to the last bit, or null on one side only.
    stale: values that an up-to-date store would have given otherwise (freshness loss, not skew).
    """

    view: str
    feature: str
    compared: int
    with_history: int
    mismatches: int
    stale: int


@dataclass(frozen=True, slots=True)
class SkewReport:
    """The comparison of all logged vectors, a line a feature.

    vectors: rows of the vector log. unavailable: view rows that were logged without an online store, not compared.
    other_versions: by view, how many rows were logged under each of its other versions, not compared: the view of
    today cannot recompute them. Version 0 stands for rows that do not say.
    examples: a few mismatches, with the row's seq, logged and recomputed values; no address.
    """

    vectors: int
    unavailable: int
    features: tuple[FeatureSkew, ...]
    other_versions: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    examples: tuple[dict[str, Any], ...] = field(default=())

    @property
    def compared_values(self) -> int:
        """Values compared, all views and features."""
        return sum(line.compared for line in self.features)

    @property
    def values_with_history(self) -> int:
        """Values compared whose key had history."""
        return sum(line.with_history for line in self.features)

    @property
    def mismatches(self) -> int:
        """Values that differ."""
        return sum(line.mismatches for line in self.features)

    @property
    def stale_values(self) -> int:
        """Values that lagging writers changed."""
        return sum(line.stale for line in self.features)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, totals first."""
        return {
            "vectors": self.vectors,
            "unavailable": self.unavailable,
            "compared_values": self.compared_values,
            "values_with_history": self.values_with_history,
            "mismatches": self.mismatches,
            "stale_values": self.stale_values,
            "rows_of_other_versions": {
                view: {str(version): rows for version, rows in found.items()}
                for view, found in self.other_versions.items()
            },
            "features": [asdict(line) for line in self.features],
            "examples": list(self.examples),
        }


def read_vectors(spark: SparkSession, logged: Snapshot) -> DataFrame:
    """The rows of the vector log; a column that came after a row was logged is null there."""
    schema = from_arrow_schema(logged.schema)
    # Delta keeps partition columns in the folders' names, not in the files.
    within = [field for field in schema.fields if field.name not in ("day", "bucket")]
    return spark.read.schema(StructType(within)).parquet(*logged.files)


def measure_skew(
    events: DataFrame,
    vectors: DataFrame,
    views: Sequence[ActivityView],
    scratch: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> SkewReport:
    """Recompute every logged vector at its logged seq and compare; also at the ideal seq, for freshness.

    events: of the event log. vectors: as `read_vectors` gives them. scratch: folder for the staged rows, removed
    after. Only rows that were logged under a view's present version are compared.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="skew-") as folder:
        staged_path = str(Path(folder) / "vectors")
        # The row id must mean the same row in both branches of the join: it is written down before it is used.
        vectors.withColumn(ROW_ID, F.monotonically_increasing_id() * 2).write.parquet(staged_path)
        staged = vectors.sparkSession.read.parquet(staged_path)
        count = staged.count()
        lines: list[FeatureSkew] = []
        examples: list[dict[str, Any]] = []
        unavailable = 0
        others: dict[str, Mapping[int, int]] = {}
        for view in views:
            progress(view.name)
            versions = _versions(staged, view)
            others[view.name] = {version: rows for version, rows in versions.items() if version != view.version}
            if view.version not in versions:
                continue
            current = staged.where(F.col(f"{view.name}__version") == view.version)
            status = F.col(f"{view.name}__status")
            unavailable += current.where(status == "unavailable").count()
            found, some = _compare(events, current.where(status != "unavailable"), view)
            lines += found
            examples += some
    return SkewReport(count, unavailable, tuple(lines), {v: found for v, found in others.items() if found},
                      tuple(examples))  # fmt: skip


def _versions(staged: DataFrame, view: ActivityView) -> dict[int, int]:
    name = f"{view.name}__version"
    if name not in staged.columns:
        return {0: staged.count()}
    counted = staged.groupBy(F.coalesce(F.col(name), F.lit(0)).alias("version")).count().collect()
    return {int(row["version"]): int(row["count"]) for row in counted}


def _requests(logged: DataFrame, view: ActivityView) -> DataFrame:
    keys = [F.col(name) for name in key_columns(view)]
    as_of_seq = F.col(f"{view.name}__as_of_seq")
    time_us = F.unix_micros("received_at").alias(TIME)
    folded = F.when(as_of_seq == F.lit(NEVER), F.lit(0)).otherwise(as_of_seq + 1)
    at_logged = logged.select(F.col(ROW_ID), *keys, time_us, folded.cast("long").alias(SEQ))
    at_ideal = logged.select((F.col(ROW_ID) + IDEAL).alias(ROW_ID), *keys, time_us, F.col("seq").alias(SEQ))
    return at_logged.unionAll(at_ideal)


def _compare(
    events: DataFrame, logged: DataFrame, view: ActivityView
) -> tuple[list[FeatureSkew], list[dict[str, Any]]]:
    answers = as_of(events, _requests(logged, view), view)
    names = [feature.name for feature in view.features]
    truth = answers.where(F.col(ROW_ID) % 2 == 0).select(
        ROW_ID, *[F.col(name).cast("double").alias(f"truth_{name}") for name in names]
    )
    ideal = answers.where(F.col(ROW_ID) % 2 == IDEAL).select(
        (F.col(ROW_ID) - IDEAL).alias(ROW_ID), *[F.col(name).cast("double").alias(f"ideal_{name}") for name in names]
    )
    joined = logged.join(truth, ROW_ID, "left").join(ideal, ROW_ID, "left").cache()
    history = next((f.name for f in view.features if isinstance(f.expression, History)), None)
    behind = F.col(f"truth_{history}") == 1.0 if history else F.lit(False)
    sums: list[Column] = [F.count("*").alias("compared"), F.sum(behind.cast("long")).alias("with_history")]
    for index, name in enumerate(names):
        value = F.col(f"{view.name}__{name}").cast("double")
        sums.append(F.sum((~value.eqNullSafe(F.col(f"truth_{name}"))).cast("long")).alias(f"m{index}"))
        sums.append(F.sum((~value.eqNullSafe(F.col(f"ideal_{name}"))).cast("long")).alias(f"s{index}"))
    row = joined.agg(*sums).collect()[0]
    lines = [
        FeatureSkew(
            view.name, name, row["compared"], row["with_history"] or 0, row[f"m{index}"] or 0, row[f"s{index}"] or 0
        )
        for index, name in enumerate(names)
    ]
    examples: list[dict[str, Any]] = []
    for line in lines:
        if line.mismatches and len(examples) < 5:
            value = F.col(f"{view.name}__{line.feature}").cast("double")
            recomputed = F.col(f"truth_{line.feature}")
            wrong = joined.where(~value.eqNullSafe(recomputed)).select(
                "seq",
                F.col(f"{view.name}__as_of_seq").alias("as_of_seq"),
                value.alias("logged"),
                recomputed.alias("truth"),
            )
            examples += [{"view": view.name, "feature": line.feature, **w.asDict()} for w in wrong.limit(2).collect()]
    joined.unpersist()
    return lines, examples
