"""Events as the rows that a view folds, in Spark's own columns: what `events.keys_of` and `EntityState.fold` say."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.views import ActivityView, Distinct, Measure

TENANT, SEQ, TIME = "tenant", "seq", "time_us"

EVENT_COLUMNS = T.StructType(
    [
        T.StructField("tenant", T.StringType()),
        T.StructField("seq", T.LongType()),
        T.StructField("kind", T.StringType()),
        T.StructField("received_at", T.TimestampType()),
        T.StructField("known_at", T.TimestampType()),
        T.StructField("direction", T.StringType()),
        T.StructField("sender", T.StringType()),
        T.StructField("sender_domain", T.StringType()),
        T.StructField("recipients", T.ArrayType(T.StringType())),
        T.StructField("recipient_domains", T.ArrayType(T.StringType())),
        T.StructField("size_bytes", T.LongType()),
        T.StructField("url_count", T.LongType()),
        T.StructField("attachment_count", T.LongType()),
        T.StructField("has_link", T.BooleanType()),
        T.StructField("has_attachment", T.BooleanType()),
        T.StructField("authenticated", T.BooleanType()),
        T.StructField("reply_to_differs", T.BooleanType()),
        T.StructField("labelled_bad", T.LongType()),
        T.StructField("labelled_attack", T.LongType()),
        T.StructField("labelled_good", T.LongType()),
    ]
)
"""What fold rows are made of, out of the event log's columns."""


def read_events(spark: SparkSession, files: tuple[str, ...]) -> DataFrame:
    """The events of a snapshot's data files; an empty frame of the same columns where there are none."""
    if not files:
        return spark.createDataFrame([], EVENT_COLUMNS)
    return spark.read.schema(EVENT_COLUMNS).parquet(*files)


def measure_column(index: int) -> str:
    """Name of the column that holds a measure's change."""
    return f"m{index}"


def extreme_column(index: int) -> str:
    """Name of the column that says whether a row counts for an extreme."""
    return f"x{index}"


def distinct_column(index: int) -> str:
    """Name of the column that lists the values of a distinct."""
    return f"d{index}"


def aggregate_columns(view: ActivityView) -> list[tuple[str, T.DataType]]:
    """Names and types of the columns that a fold row carries after its keys, seq and time."""
    columns: list[tuple[str, T.DataType]] = []
    columns += [(measure_column(i), T.LongType()) for i in range(len(view.measures))]
    columns += [(extreme_column(i), T.BooleanType()) for i in range(len(view.extremes))]
    columns += [(distinct_column(i), T.ArrayType(T.StringType())) for i in range(len(view.distincts))]
    return columns


def key_columns(view: ActivityView) -> tuple[str, ...]:
    """The columns that identify a key of a view: the tenant first."""
    return (TENANT, *view.keys)


def fold_rows(events: DataFrame, view: ActivityView) -> DataFrame:
    """One row for each (event, key, direction): tenant, the view's keys, seq, time_us, then `aggregate_columns`."""
    parts = [_finish(rows, view, keys, forward) for rows, keys, forward in _emitted(events, view)]
    return reduce(DataFrame.unionAll, parts)


def _emitted(events: DataFrame, view: ActivityView) -> list[tuple[DataFrame, tuple[Column, ...], Column]]:
    """Frames of exploded events with their key columns (without tenant) and whether the row is forward."""
    outbound = F.col("direction") == "outbound"
    yes, no = F.lit(True), F.lit(False)
    if view.emission in ("participants", "participant_domains"):
        of = "sender" if view.emission == "participants" else "sender_domain"
        to = "recipients" if view.emission == "participants" else "recipient_domains"
        reverse = events.where(outbound).withColumn("_other", F.explode(to))
        return [
            (events.where(F.col(of) != ""), (F.col(of),), yes),
            (reverse, (F.col("_other"),), no),
        ]
    if view.emission == "recipients":
        return [(events.withColumn("_other", F.explode("recipients")), (F.col("_other"),), yes)]
    both = (
        events.where(F.col("sender") != "")
        .withColumn("_other", F.explode("recipients"))
        .withColumn("_forward", F.explode(F.array(yes, no)))
    )
    forward = F.col("_forward")
    sender, other = F.col("sender"), F.col("_other")
    first, second = F.when(forward, sender).otherwise(other), F.when(forward, other).otherwise(sender)
    return [(both, (first, second), forward)]


def _finish(rows: DataFrame, view: ActivityView, keys: tuple[Column, ...], forward: Column) -> DataFrame:
    direction = F.col("direction")
    authenticated = F.col("authenticated")
    flags = {
        "forward": forward,
        "reverse": ~forward,
        "inbound": direction == "inbound",
        "outbound": direction == "outbound",
        "internal": direction == "internal",
        "has_link": F.coalesce("has_link", F.lit(False)),
        "has_attachment": F.coalesce("has_attachment", F.lit(False)),
        "authenticated": F.coalesce(authenticated, F.lit(False)),
        "unauthenticated": F.coalesce(~authenticated, F.lit(False)),
        "reply_to_differs": F.coalesce("reply_to_differs", F.lit(False)),
    }

    def counts(kind: str, where: tuple[str, ...]) -> Column:
        return reduce(Column.__and__, [flags[name] for name in where], F.col("kind") == kind)

    def change(measure: Measure) -> Column:
        quantity = F.col(measure.of) if measure.of else F.lit(1)
        return F.when(counts(measure.on, measure.where), quantity.cast("long")).otherwise(F.lit(0).cast("long"))

    def values(distinct: Distinct) -> Column:
        of = F.array("sender") if distinct.of == "sender" else F.col("recipients")
        return F.when(counts("message", distinct.where), of)

    return rows.select(
        F.col(TENANT),
        *[key.alias(name) for name, key in zip(view.keys, keys, strict=True)],
        F.col(SEQ),
        F.unix_micros("received_at").alias(TIME),
        *[change(measure).alias(measure_column(i)) for i, measure in enumerate(view.measures)],
        *[counts("message", extreme.where).alias(extreme_column(i)) for i, extreme in enumerate(view.extremes)],
        *[values(distinct).alias(distinct_column(i)) for i, distinct in enumerate(view.distincts)],
    )
