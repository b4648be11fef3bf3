"""Loading states into the online store from the executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mailwarden.domain.views import ActivityView
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.spark.fold_rows import key_columns

StateRow = tuple[str, tuple[str, ...], bytes, bytes]
"""Tenant, key in the order of the view's keys, state bytes, sketch bytes."""


class StateSink(Protocol):
    """Where states go; pickled to the executors, so it opens its connections there."""

    def load(self, view: ActivityView, rows: Iterable[StateRow]) -> int:
        """Write states that are newer than what is there; returns how many were written."""
        ...

    def set_watermark(self, tenant: str, seq: int, time_us: int) -> None:
        """Say that all events of a tenant up to a seq are in; `time_us`: when the newest of them was known."""
        ...


@dataclass(frozen=True, slots=True)
class RedisSink:
    """The online store in Redis. url: as `open_client` takes it; timeout_seconds: of a round trip of a chunk."""

    url: str
    project: str
    views: tuple[ActivityView, ...]
    timeout_seconds: float = 30.0

    def load(self, view: ActivityView, rows: Iterable[StateRow]) -> int:
        """Write states of keys that have folded less; see `OnlineWriter.load`."""
        with open_client(self.url, timeout_seconds=self.timeout_seconds) as client:
            return OnlineWriter(client, self.project, self.views).load(view, rows)

    def set_watermark(self, tenant: str, seq: int, time_us: int) -> None:
        """Move a tenant's watermark forward, never back."""
        with open_client(self.url, timeout_seconds=self.timeout_seconds) as client:
            OnlineWriter(client, self.project, self.views).set_watermark(tenant, seq, time_us)


def load_states(states: DataFrame, view: ActivityView, sink: StateSink) -> int:
    """Write a view's states to a sink, a partition at a time on the executors; returns how many were written.

    states: as `states.states` gives them. Loading again writes nothing, so that a task may be tried again.
    """
    written = states.mapInArrow(_load(view, sink), "written long")
    return int(written.agg(F.sum("written")).first()[0] or 0)


def newest_events(events: DataFrame) -> dict[str, tuple[int, int]]:
    """By tenant, the last seq and the latest microsecond at which an event became known.

    events: with columns tenant, seq and known_at.
    """
    newest = events.groupBy("tenant").agg(F.max("seq").alias("seq"), F.unix_micros(F.max("known_at")).alias("known_us"))
    return {row["tenant"]: (row["seq"], row["known_us"]) for row in newest.toLocalIterator()}


def _load(view: ActivityView, sink: StateSink) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    names = key_columns(view)

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[StateRow]:
        for batch in batches:
            keys = zip(*[batch.column(name).to_pylist() for name in names], strict=True)
            packed = zip(batch.column("state").to_pylist(), batch.column("sketches").to_pylist(), strict=True)
            for (tenant, *key), (state, sketches) in zip(keys, packed, strict=True):
                yield tenant, tuple(key), state, sketches

    def load(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_arrays([pa.array([sink.load(view, rows(batches))])], names=["written"])

    return load
