"""Events as the rows that a view folds, in Spark's own columns: what `events.keys_of` and `EntityState.fold` say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_schema

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Distinct,
    Extreme,
    Measure,
    Peak,
    Recent,
)
from mailwarden.domain.aggregates.fact_specs import FLAGS
from mailwarden.domain.mail.events import KINDS, TOMBSTONE, Kind
from mailwarden.stores.lake.delta import PARTITIONS
from mailwarden.stores.lake.event_log import EVENT_SCHEMA
from mailwarden.stores.spark.fact_columns import flag_column, names_value, quantity_value

TENANT, SEQ, TIME = "tenant", "seq", "time_us"
MESSAGE_ID = "message_id"
_HASH = "_hash"

EVENT_COLUMNS = T.StructType([field for field in from_arrow_schema(EVENT_SCHEMA) if field.name not in PARTITIONS])
"""The event log's columns, without those that only place a row in its files."""


def read_events(spark: SparkSession, files: tuple[str, ...]) -> DataFrame:
    """The events of a snapshot's data files; an empty frame of the same columns where there are none."""
    if not files:
        return spark.createDataFrame([], EVENT_COLUMNS)
    return spark.read.schema(EVENT_COLUMNS).parquet(*files)


FLAGS_COLUMN = "flags"
"""Column of a fold row: its flags as bits (int64, as `fact_specs.flag_mask`), and one of `KIND_BITS`."""

KIND_BITS: Mapping[Kind, int] = {kind: 1 << len(FLAGS) + place for place, kind in enumerate((*KINDS, TOMBSTONE))}
"""Set where a fold row is of an event of the kind."""


def quantity_column(name: str) -> str:
    """Name of the column that holds a quantity of `fact_specs.QUANTITIES`."""
    return f"q_{name}"


def names_column(fact: str) -> str:
    """Name of the column that lists the names in a fact of `fact_specs.MEMBERS`; null and empty ones are nobody's."""
    return f"n_{fact}"


def fact_columns(view: ActivityView) -> list[tuple[str, T.DataType]]:
    """Names and types of the columns that a fold row carries after its keys, seq and time: facts, each once.

    What the aggregates make of them is computed where the rows are read (`batches`), so that a view of many
    aggregates moves no more than one of few.
    """
    columns: list[tuple[str, T.DataType]] = [(FLAGS_COLUMN, T.LongType())]
    columns += [(quantity_column(name), T.LongType()) for name in _quantities(view)]
    columns += [(names_column(fact), T.ArrayType(T.StringType())) for fact in _named(view)]
    return columns


def _quantities(view: ActivityView) -> list[str]:
    aggregates: tuple[Measure | Peak | Extreme, ...] = (*view.measures, *view.peaks, *view.extremes)
    return sorted({aggregate.of for aggregate in aggregates if aggregate.of})


def _named(view: ActivityView) -> dict[str, list[tuple[str, ...]]]:
    """Facts whose names are counted or kept, with the filters of those that do."""
    found: dict[str, list[tuple[str, ...]]] = {}
    aggregates: tuple[Distinct | Recent, ...] = (*view.distincts, *view.recents)
    for aggregate in aggregates:
        found.setdefault(aggregate.of, []).append(aggregate.where)
    return found


def key_columns(view: ActivityView) -> tuple[str, ...]:
    """The columns that identify a key of a view: the tenant first."""
    return (TENANT, *view.keys)


def side_by_side(
    rows: DataFrame, by: Sequence[str], order: Sequence[str | Column] = (), alone: Column | None = None
) -> DataFrame:
    """The rows of one key in one partition and next to each other, in an order; keys are in none.

    alone: of rows that need not stand with others of their key an integer to spread them by, null for the rest. A sort
    compares numbers faster than texts, and texts of one tenant begin alike: so a hash goes first, and the texts after
    it, since hashes collide, by chance or by somebody's choice.
    """
    place = F.xxhash64(*by) if alone is None else F.coalesce(alone, F.xxhash64(*by))
    hashed = rows.withColumn(_HASH, place).repartition(_HASH)
    return hashed.sortWithinPartitions(_HASH, *by, *order).drop(_HASH)


def fold_rows(events: DataFrame, view: ActivityView, *, with_ids: bool = False) -> DataFrame:
    """One row for each (event, key, direction): tenant, the view's keys, seq, time_us, then `fact_columns`.

    with_ids: `MESSAGE_ID` as well, last.
    """
    parts = [_finish(rows, view, keys, *way, with_ids=with_ids) for rows, keys, *way in _emitted(events, view)]
    return reduce(DataFrame.unionAll, parts)


_Emitted = tuple[DataFrame, tuple[Column, ...], Column, Column]
"""Exploded events, their key columns (without tenant), whether the row is forward, whether it is a first contact."""


def _emitted(events: DataFrame, view: ActivityView) -> list[_Emitted]:
    new = F.coalesce("new_recipients", F.array().cast(T.ArrayType(T.StringType())))
    any_new = F.size(new) > 0
    # A further copy reaches the keys of its recipients alone.
    first = F.coalesce("copy_of", F.lit("")) == ""
    yes, no = F.lit(True), F.lit(False)
    if view.emission == "facts":
        named = [(F.coalesce(F.col(name), F.lit("")) != "") for name in view.keys]
        kept = events.where(reduce(Column.__and__, named, first))
        return [(kept, tuple(F.col(name) for name in view.keys), yes, any_new)]
    if view.emission in ("participants", "participant_domains"):
        of = "sender" if view.emission == "participants" else "sender_domain"
        to = "recipients" if view.emission == "participants" else "recipient_domains"
        reverse = events.where(F.col("direction") == "outbound").withColumn("_other", F.explode(to))
        return [
            (events.where((F.col(of) != "") & first), (F.col(of),), yes, any_new),
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
    one, another = F.when(forward, sender).otherwise(other), F.when(forward, other).otherwise(sender)
    return [(both, (one, another), forward, is_new)]


def _bits(view: ActivityView, flags: dict[str, Column]) -> Column:
    """The flags that the view's aggregates ask for, as bits, and the kind's; the others are 0."""
    aggregates: tuple[Measure | Peak | Extreme | Distinct | Recent, ...] = (
        *view.measures, *view.peaks, *view.extremes, *view.distincts, *view.recents
    )  # fmt: skip
    wanted = {flag for aggregate in aggregates for flag in aggregate.where}
    bits = [F.when(flags[flag], F.lit(1 << FLAGS.index(flag))).otherwise(0) for flag in FLAGS if flag in wanted]
    bits += [F.when(F.col("kind") == kind, F.lit(bit)).otherwise(0) for kind, bit in KIND_BITS.items()]
    return reduce(Column.bitwiseOR, bits).cast("long")


def _finish(
    rows: DataFrame,
    view: ActivityView,
    keys: tuple[Column, ...],
    forward: Column,
    first_contact: Column,
    *,
    with_ids: bool,
) -> DataFrame:
    flags = {name: flag_column(name, forward, first_contact) for name in FLAGS}
    is_message = F.col("kind") == "message"

    def names(fact: str, filters: list[tuple[str, ...]]) -> Column:
        counts = [reduce(Column.__and__, [flags[name] for name in where], is_message) for where in filters]
        return F.when(reduce(Column.__or__, counts), names_value(fact))

    return rows.select(
        F.col(TENANT),
        *[key.alias(name) for name, key in zip(view.keys, keys, strict=True)],
        F.col(SEQ),
        F.unix_micros("received_at").alias(TIME),
        _bits(view, flags).alias(FLAGS_COLUMN),
        *[quantity_value(name).alias(quantity_column(name)) for name in _quantities(view)],
        *[names(fact, filters).alias(names_column(fact)) for fact, filters in _named(view).items()],
        *([F.col(MESSAGE_ID)] if with_ids else []),
    )
