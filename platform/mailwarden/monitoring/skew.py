"""Skew: every logged feature value against what Spark recomputes from the event log."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.definitions import ActivityView, Feature
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.status import Status
from mailwarden.errors import ContractError, DataError
from mailwarden.monitoring.skew_report import FeatureSkew, SkewReport, ViewSkew
from mailwarden.stores.asked import own_column
from mailwarden.stores.lake.delta import Snapshot
from mailwarden.stores.spark.as_of import ROW_ID, as_of, as_of_seq_column
from mailwarden.stores.spark.fold_rows import SEQ, TENANT, TIME
from mailwarden.stores.spark.snapshots import read_rows
from mailwarden.stores.spark.statuses import THERE, status_of, with_presence

IDEAL = 1
"""Odd row ids ask for the ideal (all events before the message), even ones for what the store had folded."""

Histories = Callable[[int], DataFrame]
"""The events of a fact set, by its number."""

_FACTS = "facts"
_ANSWERS = "answers"
"""How many answers a row got: two, the truth and the ideal."""

_EXAMPLES = 5


def read_vectors(spark: SparkSession, logged: Snapshot) -> DataFrame:
    """The rows of the vector log; a column that came after a row was logged is null there."""
    return read_rows(spark, logged)


def measure_skew(
    events: Histories,
    vectors: DataFrame,
    views: Sequence[ActivityView],
    scratch: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> SkewReport:
    """Recompute every logged vector at its logged seq and compare; also at the ideal seq, for freshness.

    events: of a fact set by its number. A vector is recomputed from the set that served it; its message's own keys and
    sets are those of set 0, the event log, by (tenant, seq), since they were asked with as it was accepted.
    vectors: as `read_vectors` gives them. scratch: folder for the staged rows, removed after. Only rows that were
    logged under a view's present version are compared. Raises DataError where the event log holds two messages of one
    (tenant, seq), NotFound where a set is gone that served a vector, ContractError where a row is lost or doubled on
    the way.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="skew-") as folder:
        path = str(Path(folder) / "vectors")
        # The row id must mean the same row in both branches of the join: it is written down before it is used.
        _with_message(events(0), vectors, views).write.parquet(path)
        staged = vectors.sparkSession.read.parquet(path)
        count, written = vectors.count(), staged.count()
        if count != written:
            raise DataError(
                f"{count} logged vectors meet {written} messages by (tenant, seq): the event log holds a seq twice; "
                "compare its rows of one tenant and seq"
            )
        lines: list[FeatureSkew] = []
        found: list[ViewSkew] = []
        examples: list[dict[str, Any]] = []
        for view in views:
            progress(view.name)
            comparison = _Comparison(events, staged, view)
            found.append(comparison.view_line)
            lines += comparison.feature_lines
            examples += comparison.examples(_EXAMPLES)
    return SkewReport(count, tuple(found), tuple(lines), tuple(examples))


def _fact(name: str) -> str:
    return f"message__{name}"


def _is_known() -> Column:
    return F.col(_fact("seq")).isNotNull()


def _with_message(events: DataFrame, vectors: DataFrame, views: Sequence[ActivityView]) -> DataFrame:
    """Vectors with an even row id, and what their messages say of keys, sets and time; null where there is none."""
    keys = {key for view in views for key in view.keys} - {"recipient"}
    facts = sorted(keys | {recent.of for view in views for recent in view.recents})
    messages = events.where(F.col("kind") == "message").select(
        F.col("tenant").alias(_fact("tenant")),
        F.col("seq").alias(_fact("seq")),
        F.unix_micros("received_at").alias(_fact(TIME)),
        *[F.col(name).alias(_fact(name)) for name in facts],
    )
    same = (F.col("tenant") == F.col(_fact("tenant"))) & (F.col("seq") == F.col(_fact("seq")))
    numbered = vectors.withColumn(ROW_ID, F.monotonically_increasing_id() * 2)
    return numbered.join(messages, same, "left")


class _Comparison:
    """One view's logged rows beside what history says of them."""

    def __init__(self, events: Histories, staged: DataFrame, view: ActivityView) -> None:
        self.view = view
        logged = self._split(staged)
        now = logged.pop(view.version, None)
        known, unavailable, unknown = now or (0, 0, 0)
        self._joined: DataFrame | None = None
        by_status: dict[str, Row] = {}
        by_facts: dict[int, int] = {}
        if known:
            current = F.col(f"{view.name}__version") == view.version
            served = staged.where(current & _is_known() & self._is_reachable).withColumn(_FACTS, self._facts(staged))
            by_facts = {int(row[_FACTS]): int(row["count"]) for row in served.groupBy(_FACTS).count().collect()}
            beside = [
                self._beside_history(events(number), served.where(F.col(_FACTS) == number)) for number in by_facts
            ]
            self._joined = reduce(DataFrame.unionByName, beside)
            by_status = {str(row["status"]): row for row in self._count(self._joined)}
        compared = sum(int(row["compared"]) for row in by_status.values())
        if compared != known or sum(int(row["rows"]) for row in by_status.values()) != known:
            raise ContractError(
                f"skew of {view.name}: {known} rows went into Spark and {compared} came out; report it, the figures "
                "cannot be trusted"
            )

        def number(name: str) -> int:
            return sum(int(row[name] or 0) for row in by_status.values())

        others = {version: sum(rows) for version, rows in sorted(logged.items())}
        self.view_line = ViewSkew(
            view.name,
            sum(others.values()) + known + unavailable + unknown,
            compared,
            unavailable,
            unknown,
            others,
            {status: int(row["rows"]) for status, row in sorted(by_status.items())},
            number("status_mismatches"),
            number("behind"),
            facts=dict(sorted(by_facts.items())),
        )
        self.feature_lines = [
            FeatureSkew(
                view.name,
                feature.name,
                compared,
                number("with_history"),
                *(number(f"{kind}{index}") for kind in ("m", "l", "r", "s")),
            )
            for index, feature in enumerate(view.features)
            if now is not None
        ]

    @property
    def _is_reachable(self) -> Column:
        return F.col(f"{self.view.name}__status") != Status.UNAVAILABLE.value

    def _facts(self, staged: DataFrame) -> Column:
        """The number of the fact set that a row was served from."""
        name = f"{self.view.name}__facts"
        return F.coalesce(F.col(name), F.lit(0)) if name in staged.columns else F.lit(0)

    def _split(self, staged: DataFrame) -> dict[int, tuple[int, int, int]]:
        """By version, rows that can be compared, that were unavailable, and whose message is unknown."""
        name = f"{self.view.name}__version"
        if name not in staged.columns:
            return {0: (staged.count(), 0, 0)}
        counted = staged.groupBy(F.coalesce(F.col(name), F.lit(0)).alias("version")).agg(
            F.sum((_is_known() & F.coalesce(self._is_reachable, F.lit(True))).cast("long")),
            F.sum((_is_known() & ~F.coalesce(self._is_reachable, F.lit(True))).cast("long")),
            F.sum((~_is_known()).cast("long")),
        )
        return {int(row[0]): (int(row[1]), int(row[2]), int(row[3])) for row in counted.collect()}

    def _beside_history(self, events: DataFrame, logged: DataFrame) -> DataFrame:
        """Logged rows with the recomputed values (`truth_`), kind of missing, and the ideal values (`ideal_`)."""
        view = self.view
        answers = as_of(events, self._requests(logged), with_presence(view))
        last_seq = as_of_seq_column(view)

        def either(name: str, remainder: int) -> list[Column]:
            wanted = F.col(ROW_ID) % 2 == remainder
            columns = {last_seq: f"{name}_seq", **{there: f"{name}_{there}" for there in THERE}}
            columns |= {feature.name: f"{name}_{feature.name}" for feature in view.features}
            return [F.max(F.when(wanted, F.col(column))).alias(alias) for column, alias in columns.items()]

        row_id = (F.col(ROW_ID) - F.col(ROW_ID) % 2).alias(ROW_ID)
        both = answers.groupBy(row_id).agg(F.count("*").alias(_ANSWERS), *either("truth", 0), *either("ideal", IDEAL))
        return logged.join(both, ROW_ID, "left").withColumn("truth_status", _status(view))

    def _requests(self, logged: DataFrame) -> DataFrame:
        view = self.view
        keys = [F.col(TENANT), *[_key(name).alias(name) for name in view.keys]]
        own = [_names(logged, fact).alias(own_column(fact)) for fact in {recent.of for recent in view.recents}]
        as_of_seq = F.col(as_of_seq_column(view))
        folded = F.when(as_of_seq == F.lit(NEVER), F.lit(0)).otherwise(as_of_seq + 1)
        at_us = F.col(_fact(TIME)).alias(TIME)
        at_logged = logged.select(F.col(ROW_ID), *keys, at_us, folded.cast("long").alias(SEQ), *own)
        at_ideal = logged.select((F.col(ROW_ID) + IDEAL).alias(ROW_ID), *keys, at_us, F.col("seq").alias(SEQ), *own)
        return at_logged.unionAll(at_ideal)

    def _count(self, joined: DataFrame) -> list[Row]:
        """What there is and what is wrong, a row a logged kind of missing."""
        last_seq, status = F.col(as_of_seq_column(self.view)), F.col(f"{self.view.name}__status")
        # A lagging writer's row says only that; what it had folded must still be what it says.
        same_kind = (status == F.col("truth_status")) | (
            (status == Status.STALE.value) & (F.col("truth_status") != Status.NOT_COMPUTABLE.value)
        )
        wrong = {
            "status_mismatches": ~same_kind | ~last_seq.eqNullSafe(F.col("truth_seq")),
            "behind": F.col("truth_seq") != F.col("ideal_seq"),
            "with_history": F.col("truth_seq") != F.lit(NEVER),
        }
        for index, feature in enumerate(self.view.features):
            logged = self._logged(feature)
            truth, ideal = self._found("truth", feature), self._found("ideal", feature)
            wrong[f"m{index}"] = ~logged.eqNullSafe(truth)
            wrong[f"l{index}"] = logged.isNull() & truth.isNotNull()
            wrong[f"r{index}"] = logged.isNotNull() & truth.isNull()
            wrong[f"s{index}"] = ~logged.eqNullSafe(ideal)
        both = (F.col(_ANSWERS) == 2) & F.col("truth_seq").isNotNull() & F.col("ideal_seq").isNotNull()
        sums: list[Column] = [F.count("*").alias("rows"), F.sum(both.cast("long")).alias("compared")]
        sums += [F.sum(where.cast("long")).alias(name) for name, where in wrong.items()]
        counted: list[Row] = joined.groupBy(status.alias("status")).agg(*sums).collect()
        return counted

    def _logged(self, feature: Feature) -> Column:
        return F.col(f"{self.view.name}__{feature.name}").cast("double")

    @staticmethod
    def _found(side: str, feature: Feature) -> Column:
        return F.col(f"{side}_{feature.name}").cast("double")

    def examples(self, most: int) -> list[dict[str, Any]]:
        """A few of the mismatches of this view: seqs, values and kinds of missing, no names."""
        if self._joined is None:
            return []
        found: list[dict[str, Any]] = []
        seqs = [F.col("seq"), F.col(as_of_seq_column(self.view)).alias("as_of_seq"), F.col("truth_seq")]
        status = F.col(f"{self.view.name}__status")
        if self.view_line.status_mismatches:
            wrong = ((status != F.col("truth_status")) & (status != Status.STALE.value)) | (
                ~F.col(as_of_seq_column(self.view)).eqNullSafe(F.col("truth_seq"))
            )
            shown = self._joined.where(wrong).select(
                *seqs, status.alias("logged"), F.col("truth_status").alias("truth")
            )
            found += [{"view": self.view.name, "feature": "", **row.asDict()} for row in shown.limit(2).collect()]
        for feature, line in zip(self.view.features, self.feature_lines, strict=True):
            if line.mismatches and len(found) < most:
                logged, truth = self._logged(feature), self._found("truth", feature)
                shown = self._joined.where(~logged.eqNullSafe(truth)).select(
                    *seqs, logged.alias("logged"), truth.alias("truth")
                )
                found += [
                    {"view": self.view.name, "feature": feature.name, **row.asDict()}
                    for row in shown.limit(2).collect()
                ]
        return found


def _key(name: str) -> Column:
    return F.col("recipient" if name == "recipient" else _fact(name))


def _names(logged: DataFrame, fact: str) -> Column:
    """A message's names in a fact of one or of many, as a list."""
    column = F.col(_fact(fact))
    return column if logged.schema[_fact(fact)].dataType.typeName() == "array" else F.array(column)


def _status(view: ActivityView) -> Column:
    """The kind of missing that history says, of a row with the truth beside it."""
    lacks = F.lit(False)
    for name in view.keys:
        lacks = lacks | F.coalesce(_key(name) == "", F.lit(True))
    return status_of(lacks, F.col("truth_seq"), *(F.col(f"truth_{there}") for there in THERE))
