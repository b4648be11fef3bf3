"""The point-in-time read: for each request (keys, time, seq) the view's values over the events before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.offline.as_of import AsOf
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.stores.asked import own_column
from mailwarden.stores.spark.batches import KeyedBatches
from mailwarden.stores.spark.fold_rows import (
    SEQ,
    TIME,
    fact_columns,
    fold_rows,
    key_columns,
    names_column,
    side_by_side,
)
from mailwarden.stores.spark.tombstones import (
    EPOCH,
    LAST_CUT,
    cuts_of,
    events_by_epoch,
    is_tombstone,
    requests_by_epoch,
)

ROW_ID = "row_id"


def as_of_seq_column(view: ActivityView) -> str:
    """Name of the column that holds the last seq behind a value."""
    return f"{view.name}__as_of_seq"


def as_of(events: DataFrame, requests: DataFrame, view: ActivityView) -> DataFrame:
    """Feature values of a view at each request: one row out for each row in; lazily, but for a look for tombstones.

    events: columns `EVENT_COLUMNS`. requests: row_id int64 (unique, 0 or more), the view's `key_columns`, time_us int64
    microseconds UTC, and seq int64: a value uses events with a seq below it, less those that
    tombstones with a seq below it name. For views with recent sets also the
    message's own names, `own_column` of each fact; where such a column is missing the message has none.
    Returns row_id, one column a feature (int64 or float64, null for null) and `<view>__as_of_seq` int64, `NEVER`
    where nothing was seen. Of a request with a null or empty key, time or seq every value is null: not computable.
    """
    layout_of(view)
    keys = key_columns(view)
    asked = [F.col(name).isNotNull() & (F.col(name) != "") for name in keys]
    asked += [F.col(name).isNotNull() for name in (SEQ, TIME)]
    can_ask = reduce(Column.__and__, asked)
    own = {
        names_column(recent.of): F.col(own_column(recent.of))
        for recent in view.recents
        if own_column(recent.of) in requests.columns
    }
    # No event has a null key, so a request that cannot be asked meets none; its row id spreads it over partitions.
    wanted = requests.select(
        *[F.when(can_ask, F.col(name)).alias(name) for name in keys],
        F.coalesce(SEQ, F.lit(0)).cast("long").alias(SEQ),
        F.coalesce(TIME, F.lit(0)).cast("long").alias(TIME),
        F.col(ROW_ID).cast("long").alias(ROW_ID),
        *[own.get(name, _nothing(dtype)).alias(name) for name, dtype in fact_columns(view)],
    )
    cuts = cuts_of(events, view)
    counted = fold_rows(events.where(~is_tombstone()), view, with_ids=cuts is not None)
    columns: list[str | Column] = [*keys, SEQ, TIME, F.lit(-1).cast("long").alias(ROW_ID)]
    columns += [name for name, _ in fact_columns(view)]
    by: tuple[str, ...] = ()
    if cuts is None:
        rows = counted.select(*columns).unionAll(wanted)
    else:
        by = (EPOCH,)
        asked_for = requests_by_epoch(wanted, cuts, view)
        happened = events_by_epoch(counted, cuts, view, asked_for)
        happened = happened.select(*columns, EPOCH, F.lit(NEVER).cast("long").alias(LAST_CUT))
        rows = happened.unionByName(asked_for)
    alone = F.when(F.col(keys[0]).isNull(), F.col(ROW_ID))
    # At one seq requests come first: events have no row id, which is a negative one.
    ordered = side_by_side(rows, (*keys, *by), [SEQ, F.col(ROW_ID).desc()], alone)
    return ordered.mapInArrow(_answer(view, by), _result_schema(view))


def _nothing(dtype: T.DataType) -> Column:
    if isinstance(dtype, T.LongType):
        return F.lit(0).cast(dtype)
    return F.lit(None).cast(dtype)


def _result_schema(view: ActivityView) -> T.StructType:
    fields = [T.StructField(ROW_ID, T.LongType(), False)]
    for feature in view.features:
        fields.append(T.StructField(feature.name, T.LongType() if feature.dtype == "int64" else T.DoubleType()))
    fields.append(T.StructField(as_of_seq_column(view), T.LongType(), False))
    return T.StructType(fields)


def _answer(view: ActivityView, by: tuple[str, ...]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        layout = layout_of(view)
        reader, keyed = AsOf(layout), KeyedBatches(layout, ROW_ID, by)
        names = [ROW_ID, *layout.feature_names, as_of_seq_column(view)]
        for batch in batches:
            if not batch.num_rows:
                continue
            rows, continues = keyed.read(batch)
            reads = reader.process(rows, continues=continues)
            values = finalise(layout, reads.slots, reads.times, reads.matches, reads.seen, reads.at_us)
            for name in key_columns(view):
                # What the message does not name cannot be computed; that is not the same as never seen.
                values[batch.column(name).is_null().to_numpy(zero_copy_only=False)[rows.request]] = np.nan
            columns = [pa.array(batch.column(ROW_ID).to_numpy()[rows.request])]
            for index, feature in enumerate(view.features):
                column = values[:, index]
                null = np.isnan(column)
                if feature.dtype == "int64":
                    column = np.where(null, 0, column).astype(np.int64)
                columns.append(pa.array(column, mask=null))
            last_seq = reads.last_seq
            if by:
                # Where nothing counts any more, nothing was ever seen.
                cut = batch.column(LAST_CUT).to_numpy()[rows.request]
                last_seq = np.where(last_seq == NEVER, NEVER, np.maximum(last_seq, cut))
            columns.append(pa.array(last_seq))
            yield pa.RecordBatch.from_arrays(columns, names=names)

    return answer
