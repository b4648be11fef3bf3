"""States of all keys of a view from the event log: what materialisation writes and loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.offline.states_of import states_through
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.stores.spark.batches import Key, KeyedBatches
from mailwarden.stores.spark.fold_rows import SEQ, fold_rows, key_columns, side_by_side
from mailwarden.stores.spark.tombstones import cuts_of, is_tombstone, without_gone

_ROWS_OUT = 10_000


def states(events: DataFrame, view: ActivityView) -> DataFrame:
    """The state of each key after all events, a row a key, those whose messages all count no more too; lazily, but
    for a look for tombstones.

    events: columns `EVENT_COLUMNS`. Returns the view's `key_columns`, last_seq int64, state binary and sketches
    binary, as `EntityState.to_bytes` and `sketch_bytes` write them.
    """
    layout_of(view)
    keys = key_columns(view)
    cuts = cuts_of(events, view)
    rows = fold_rows(events, view)
    if cuts is not None:
        counted = without_gone(fold_rows(events.where(~is_tombstone()), view, with_ids=True), cuts, view)
        # They count for nothing, but a state has folded them.
        rows = counted.select(rows.columns).unionAll(fold_rows(events.where(is_tombstone()), view))
    ordered = side_by_side(rows, keys, [SEQ])
    return ordered.mapInArrow(_fold(view), states_schema(view))


def merged(states: DataFrame, view: ActivityView) -> DataFrame:
    """One state a key out of several that were folded from different events, lazily.

    states: as `states` gives them, in any order.
    """
    keys = key_columns(view)
    ordered = side_by_side(states, keys)
    return ordered.mapInArrow(_merge(view), states_schema(view))


def newest(states: DataFrame, view: ActivityView, part: str) -> DataFrame:
    """Of each key's states the one of the highest `part`, an integer column, which is dropped."""
    keys = key_columns(view)
    values = [field.name for field in states_schema(view).fields if field.name not in keys]
    best = states.groupBy(*keys).agg(F.max_by(F.struct(*values), part).alias("_best"))
    return best.select(*keys, *[f"_best.{name}" for name in values])


def states_schema(view: ActivityView) -> T.StructType:
    """Schema of the states of a view."""
    fields = [T.StructField(name, T.StringType(), False) for name in key_columns(view)]
    fields.append(T.StructField("last_seq", T.LongType(), False))
    fields.append(T.StructField("state", T.BinaryType(), False))
    fields.append(T.StructField("sketches", T.BinaryType(), False))
    return T.StructType(fields)


def _fold(view: ActivityView) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def fold(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        layout = layout_of(view)
        keyed = KeyedBatches(layout, None)
        names = key_columns(view)
        held: tuple[Key, EntityState] | None = None
        for batch in batches:
            if not batch.num_rows:
                continue
            rows, continues = keyed.read(batch)
            found = states_through(layout, rows)
            starts = rows.key.searchsorted(range(len(found)))
            columns = [batch.column(name).take(pa.array(starts)).to_pylist() for name in names]
            pairs = list(zip(zip(*columns, strict=True), found, strict=True))
            if held is not None:
                if continues:
                    pairs[0][1].merge(held[1])
                else:
                    pairs.insert(0, held)
            held = pairs.pop()
            for start in range(0, len(pairs), _ROWS_OUT):
                yield _packed(view, pairs[start : start + _ROWS_OUT])
        if held is not None:
            yield _packed(view, [held])

    return fold


def _merge(view: ActivityView) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    names = key_columns(view)

    def merge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        layout = layout_of(view)
        held: tuple[Key, EntityState] | None = None
        done: list[tuple[Key, EntityState]] = []
        for batch in batches:
            keys = zip(*[batch.column(name).to_pylist() for name in names], strict=True)
            packed = zip(batch.column("state").to_pylist(), batch.column("sketches").to_pylist(), strict=True)
            for key, (state, sketches) in zip(keys, packed, strict=True):
                read = EntityState.from_bytes(layout, state, sketches)
                if held is not None and held[0] == key:
                    held[1].merge(read)
                    continue
                if held is not None:
                    done.append(held)
                held = key, read
                if len(done) == _ROWS_OUT:
                    yield _packed(view, done)
                    done = []
        if held is not None:
            yield _packed(view, [*done, held])

    return merge


def _packed(view: ActivityView, pairs: list[tuple[Key, EntityState]]) -> pa.RecordBatch:
    names = [*key_columns(view), "last_seq", "state", "sketches"]
    keys = list(zip(*[key for key, _ in pairs], strict=True))
    columns = [pa.array(column, pa.string()) for column in keys]
    columns.append(pa.array([state.last_seq for _, state in pairs], pa.int64()))
    columns.append(pa.array([state.to_bytes() for _, state in pairs], pa.binary()))
    columns.append(pa.array([state.sketch_bytes() for _, state in pairs], pa.binary()))
    return pa.RecordBatch.from_arrays(columns, names=names)
