"""Loading states into the online store from the executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.writer import LoadReport, OnlineWriter, StateRow
from mailwarden.stores.spark.fold_rows import key_columns


@dataclass(frozen=True, slots=True)
class RedisSink:
    """Where states go: the online store in Redis. Pickled to the executors, so it opens its connections there.

    url: as `open_client` takes it. partitions: see `Generations`. timeout_seconds: of a round trip of a chunk.
    """

    url: str
    project: str
    views: tuple[ActivityView, ...]
    partitions: int
    timeout_seconds: float = 30.0

    def load(self, view: ActivityView, generation: int, rows: Iterable[StateRow]) -> LoadReport:
        """Write states into a generation; see `OnlineWriter.load`."""
        with open_client(self.url, timeout_seconds=self.timeout_seconds) as client:
            writer = OnlineWriter(client, self.project, self.views, self.partitions)
            return writer.load(view, generation, rows)


def load_states(states: DataFrame, view: ActivityView, sink: RedisSink, generation: int) -> LoadReport:
    """Write a view's states into one of its generations, a partition at a time on the executors.

    states: as `states.states` gives them. A task that is tried again writes nothing.
    """
    loaded = states.mapInArrow(_load(view, sink, generation), "keys long, written long, bytes long")
    total = loaded.agg(F.sum("keys"), F.sum("written"), F.sum("bytes")).first()
    assert total is not None
    return LoadReport(*(int(value or 0) for value in total))


def lacking(states: DataFrame, folded: Mapping[str, int]) -> DataFrame:
    """The states that hold events beyond what was folded. folded: by tenant, the last seq; others have none."""
    known = states.sparkSession.createDataFrame(list(folded.items()), "tenant string, _folded long")
    with_marks = states.join(F.broadcast(known), "tenant", "left")
    return with_marks.where(F.col("last_seq") > F.coalesce("_folded", F.lit(0))).select(*states.columns)


def newest_events(events: DataFrame) -> dict[str, tuple[int, int]]:
    """By tenant, the last seq and the latest microsecond at which an event became known.

    events: with columns tenant, seq and known_at.
    """
    newest = events.groupBy("tenant").agg(F.max("seq").alias("seq"), F.unix_micros(F.max("known_at")).alias("known_us"))
    return {row["tenant"]: (row["seq"], row["known_us"]) for row in newest.toLocalIterator()}


def _load(
    view: ActivityView, sink: RedisSink, generation: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    names = key_columns(view)

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[StateRow]:
        for batch in batches:
            tenants, *keys = (batch.column(name).to_pylist() for name in names)
            packed = batch.column("state").to_pylist(), batch.column("sketches").to_pylist()
            yield from zip(tenants, zip(*keys, strict=True) if keys else [()] * len(tenants), *packed, strict=True)

    def load(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        report = sink.load(view, generation, rows(batches))
        columns = [pa.array([number]) for number in (report.keys, report.written, report.bytes)]
        yield pa.RecordBatch.from_arrays(columns, names=["keys", "written", "bytes"])

    return load
