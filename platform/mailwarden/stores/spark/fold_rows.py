"""Events as the rows that a view folds, in Spark's own columns: what `events.keys_of` and `EntityState.fold` say."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.views import (
    HOUR_FLAGS,
    HOURS_A_BIN,
    WEEKDAY_FLAGS,
    ActivityView,
    Distinct,
    Measure,
    Peak,
    Recent,
)
from mailwarden.domain.windows import DAY_US, HOUR_US, NOTHING

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
        T.StructField("display_name", T.StringType()),
        T.StructField("thread", T.StringType()),
        T.StructField("campaign", T.StringType()),
        T.StructField("link_domain", T.StringType()),
        T.StructField("attachment", T.StringType()),
        T.StructField("structure", T.StringType()),
        T.StructField("reply", T.BooleanType()),
        T.StructField("new_recipients", T.ArrayType(T.StringType())),
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


def peak_column(index: int) -> str:
    """Name of the column that holds what a row gives a peak, `NOTHING` where it does not count."""
    return f"p{index}"


def extreme_column(index: int) -> str:
    """Name of the column that says whether a row counts for an extreme."""
    return f"x{index}"


def held_column(index: int) -> str:
    """Name of the column with the quantity that an extreme keeps; index: of the extreme."""
    return f"h{index}"


def distinct_column(index: int) -> str:
    """Name of the column that lists the values of a distinct."""
    return f"d{index}"


def recent_column(index: int) -> str:
    """Name of the column that lists the names of a recent set."""
    return f"r{index}"


def aggregate_columns(view: ActivityView) -> list[tuple[str, T.DataType]]:
    """Names and types of the columns that a fold row carries after its keys, seq and time."""
    names = T.ArrayType(T.StringType())
    columns: list[tuple[str, T.DataType]] = []
    columns += [(measure_column(i), T.LongType()) for i in range(len(view.measures))]
    columns += [(peak_column(i), T.LongType()) for i in range(len(view.peaks))]
    columns += [(extreme_column(i), T.BooleanType()) for i in range(len(view.extremes))]
    columns += [(held_column(i), T.LongType()) for i, extreme in enumerate(view.extremes) if extreme.of]
    columns += [(distinct_column(i), names) for i in range(len(view.distincts))]
    columns += [(recent_column(i), names) for i in range(len(view.recents))]
    return columns


def key_columns(view: ActivityView) -> tuple[str, ...]:
    """The columns that identify a key of a view: the tenant first."""
    return (TENANT, *view.keys)


def fold_rows(events: DataFrame, view: ActivityView) -> DataFrame:
    """One row for each (event, key, direction): tenant, the view's keys, seq, time_us, then `aggregate_columns`."""
    parts = [_finish(rows, view, keys, *way) for rows, keys, *way in _emitted(events, view)]
    return reduce(DataFrame.unionAll, parts)


_Emitted = tuple[DataFrame, tuple[Column, ...], Column, Column]
"""Exploded events, their key columns (without tenant), whether the row is forward, whether it is a first contact."""


def _emitted(events: DataFrame, view: ActivityView) -> list[_Emitted]:
    new = F.coalesce("new_recipients", F.array().cast(T.ArrayType(T.StringType())))
    any_new = F.size(new) > 0
    yes, no = F.lit(True), F.lit(False)
    if view.emission == "facts":
        named = [(F.coalesce(F.col(name), F.lit("")) != "") for name in view.keys]
        kept = events.where(reduce(Column.__and__, named, yes))
        return [(kept, tuple(F.col(name) for name in view.keys), yes, any_new)]
    if view.emission in ("participants", "participant_domains"):
        of = "sender" if view.emission == "participants" else "sender_domain"
        to = "recipients" if view.emission == "participants" else "recipient_domains"
        reverse = events.where(F.col("direction") == "outbound").withColumn("_other", F.explode(to))
        return [
            (events.where(F.col(of) != ""), (F.col(of),), yes, any_new),
            (reverse, (F.col("_other"),), no, any_new),
        ]
    other = F.col("_other")
    is_new = F.array_contains(new, other)
    if view.emission == "recipients":
        return [(events.withColumn("_other", F.explode("recipients")), (other,), yes, is_new)]
    both = (
        events.where(F.col("sender") != "")
        .withColumn("_other", F.explode("recipients"))
        .withColumn("_forward", F.explode(F.array(yes, no)))
    )
    forward, sender = F.col("_forward"), F.col("sender")
    first, second = F.when(forward, sender).otherwise(other), F.when(forward, other).otherwise(sender)
    return [(both, (first, second), forward, is_new)]


def _flags(forward: Column, first_contact: Column) -> dict[str, Column]:
    direction, authenticated = F.col("direction"), F.col("authenticated")
    # Integers from end to end, as in the domain: no session zone has a say in the hour, and no rounding.
    time_us, day = "unix_micros(received_at)", f"pmod(unix_micros(received_at), {DAY_US})"
    hour = F.expr(f"{day} div {HOURS_A_BIN * HOUR_US}")
    weekday = F.expr(f"pmod(({time_us} - {day}) div {DAY_US} + 3, 7)")
    return {
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
        "reply": F.coalesce("reply", F.lit(False)),
        "first_contact": first_contact,
        **{flag: hour == i for i, flag in enumerate(HOUR_FLAGS)},
        **{flag: weekday == i for i, flag in enumerate(WEEKDAY_FLAGS)},
    }


def _quantity(name: str) -> Column:
    match name:
        case "recipient_count":
            found = _size("recipients")
        case "new_recipient_count":
            found = _size("new_recipients")
        case "authentication":
            passed = F.col("authenticated")
            found = F.when(passed.isNull(), 0).when(passed, 1).otherwise(-1)
        case _:
            found = F.coalesce(F.col(name), F.lit(0))
    return found.cast("long")


def _size(name: str) -> Column:
    return F.when(F.col(name).isNull(), 0).otherwise(F.size(name))


def _finish(
    rows: DataFrame, view: ActivityView, keys: tuple[Column, ...], forward: Column, first_contact: Column
) -> DataFrame:
    flags = _flags(forward, first_contact)

    def counts(kind: str, where: tuple[str, ...]) -> Column:
        return reduce(Column.__and__, [flags[name] for name in where], F.col("kind") == kind)

    def change(measure: Measure) -> Column:
        quantity = _quantity(measure.of) if measure.of else F.lit(1).cast("long")
        return F.when(counts(measure.on, measure.where), quantity).otherwise(F.lit(0).cast("long"))

    def top(peak: Peak) -> Column:
        quantity = _quantity(peak.of)
        value = -quantity if peak.kind == "min" else quantity
        return F.when(counts("message", peak.where), value).otherwise(F.lit(NOTHING).cast("long"))

    def names(aggregate: Distinct | Recent) -> Column:
        many = aggregate.of in ("recipients", "recipient_domains")
        of = F.col(aggregate.of) if many else F.array(F.coalesce(F.col(aggregate.of), F.lit("")))
        return F.when(counts("message", aggregate.where), F.filter(of, lambda name: name != ""))

    return rows.select(
        F.col(TENANT),
        *[key.alias(name) for name, key in zip(view.keys, keys, strict=True)],
        F.col(SEQ),
        F.unix_micros("received_at").alias(TIME),
        *[change(measure).alias(measure_column(i)) for i, measure in enumerate(view.measures)],
        *[top(peak).alias(peak_column(i)) for i, peak in enumerate(view.peaks)],
        *[counts("message", extreme.where).alias(extreme_column(i)) for i, extreme in enumerate(view.extremes)],
        *[_quantity(extreme.of).alias(held_column(i)) for i, extreme in enumerate(view.extremes) if extreme.of],
        *[names(distinct).alias(distinct_column(i)) for i, distinct in enumerate(view.distincts)],
        *[names(recent).alias(recent_column(i)) for i, recent in enumerate(view.recents)],
    )
