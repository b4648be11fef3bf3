"""Messages that count no more, in the point-in-time read and in states: keys that no tombstone names pay nothing.

A key that some tombstones name has *epochs*: a request is of the epoch that counts how many of them have a smaller seq,
and an event stands in each epoch in which it counts, that it can be seen in, and that some request is of: a thousand
tombstones that stand together are one or two. So what is read of a key in one epoch
is a history without tombstones, and what cannot be taken out of an aggregate (peaks, extremes, sketches) need not be.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.mail.events import TOMBSTONE
from mailwarden.stores.spark.fold_rows import MESSAGE_ID, SEQ, fold_rows, key_columns

EPOCH = "_epoch"
LAST_CUT = "_last_cut"
"""Of a request, the seq of the last tombstone of its key below it; `NEVER` for none."""

_CUTS, _ASKED, _FIRST, _LAST = "_cuts", "_asked", "_first", "_last"


def is_tombstone() -> Column:
    """Whether an event takes a message out of the counts."""
    return F.col("kind") == TOMBSTONE


def cuts_of(events: DataFrame, view: ActivityView) -> DataFrame | None:
    """The keys that tombstones name, with an array of (seq, message_id) each; None where there is no tombstone.

    Looks for one at once: Parquet says of each row group whether it can hold any.
    """
    tombstones = events.where(is_tombstone())
    if tombstones.isEmpty():
        return None
    named = fold_rows(tombstones, view, with_ids=True).select(*key_columns(view), SEQ, MESSAGE_ID)
    return named.groupBy(*key_columns(view)).agg(F.collect_set(F.struct(SEQ, MESSAGE_ID)).alias(_CUTS))


def without_gone(rows: DataFrame, cuts: DataFrame, view: ActivityView) -> DataFrame:
    """Fold rows, with ids, that still count after all tombstones."""
    keys = list(key_columns(view))
    gone = cuts.select(*keys, F.explode(_CUTS).alias("_cut")).select(*keys, f"_cut.{MESSAGE_ID}").distinct()
    return rows.join(F.broadcast(gone), [*keys, MESSAGE_ID], "left_anti")


def events_by_epoch(rows: DataFrame, cuts: DataFrame, view: ActivityView, requests: DataFrame) -> DataFrame:
    """Fold rows, with ids, once for each epoch of their key that they count in and that some request is of.

    requests: as `requests_by_epoch` gives them.
    """
    keys = list(key_columns(view))
    of_cut_keys = requests.join(F.broadcast(cuts.select(*keys)), keys, "left_semi")
    asked = of_cut_keys.groupBy(*keys).agg(F.collect_set(EPOCH).alias(_ASKED))
    none = F.array().cast(T.ArrayType(T.IntegerType()))
    mine = F.filter(_CUTS, lambda cut: cut[MESSAGE_ID] == F.col(MESSAGE_ID))
    first = _below(F.col(SEQ))
    gone_at = F.array_min(F.transform(mine, lambda cut: cut[SEQ]))
    last = F.when(gone_at.isNull(), F.size(_CUTS)).otherwise(_below(gone_at))
    only = F.array(F.lit(0))
    marked = _marked(rows, cuts.join(asked, keys, "left").withColumn(_ASKED, F.coalesce(_ASKED, none)), view)
    bounded = marked.withColumn(_FIRST, first).withColumn(_LAST, last)
    epochs = F.filter(_ASKED, lambda epoch: (epoch >= F.col(_FIRST)) & (epoch <= F.col(_LAST)))
    exploded = bounded.withColumn(EPOCH, F.explode(F.when(F.col(_CUTS).isNull(), only).otherwise(epochs)))
    return exploded.drop(_CUTS, _ASKED, _FIRST, _LAST)


def requests_by_epoch(rows: DataFrame, cuts: DataFrame, view: ActivityView) -> DataFrame:
    """Requests with `EPOCH` and `LAST_CUT`."""
    before = F.filter(_CUTS, lambda cut: cut[SEQ] < F.col(SEQ))
    last = F.array_max(F.transform(before, lambda cut: cut[SEQ]))
    found = _marked(rows, cuts, view).withColumn(EPOCH, F.when(F.col(_CUTS).isNull(), 0).otherwise(F.size(before)))
    return found.withColumn(LAST_CUT, F.coalesce(last, F.lit(NEVER)).cast("long")).drop(_CUTS)


def _marked(rows: DataFrame, cuts: DataFrame, view: ActivityView) -> DataFrame:
    return rows.join(F.broadcast(cuts), list(key_columns(view)), "left")


def _below(seq: Column) -> Column:
    return F.size(F.filter(_CUTS, lambda cut: cut[SEQ] < seq))
