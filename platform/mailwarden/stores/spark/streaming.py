"""Events of a stream, folded online by Spark Structured Streaming: for those whose events pass through Kafka.

The fold is that of the partitions' writers, `OnlineWriter.fold`, and what a reader finds is the same. A project is
folded by those writers or by this job, never by both: leases see to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.streaming import StreamingQuery

from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.lake.event_log import EventLog, table_to_events
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.catalog import Catalog
from mailwarden.stores.online.catch_up import REPAIR_LIMIT, CatchUp, Joining
from mailwarden.stores.online.client import open_client
from mailwarden.stores.online.leases import LEASE_MS, Leases
from mailwarden.stores.online.rebuilding import KeyHistory
from mailwarden.stores.online.streams import Routes, Streams
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.online.writer import OnlineWriter
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.fold_rows import EVENT_COLUMNS
from mailwarden.stores.spark.load import RedisSink, newest_events
from mailwarden.stores.spark.tombstones import is_tombstone

LOG_SECONDS = 60.0
"""How long a batch waits for the event log to hold what comes before a tombstone in it."""

EVENTS_A_FOLD = 1_000
"""Events that an executor folds in one go: each of their keys is read and written once."""

_PARTITION = "partition"
_ROUTED = T.StructField(_PARTITION, T.IntegerType(), False)

log = structlog.get_logger(__name__)

_TIMES = {"received_at": "received_at_us", "known_at": "known_at_us"}
_JSON = T.StructType(
    [T.StructField(_TIMES[field.name], T.LongType()) if field.name in _TIMES else field for field in EVENT_COLUMNS]
)


def parquet_events(spark: SparkSession, folder: Path, *, files_a_batch: int = 16) -> DataFrame:
    """A stream of the events in Parquet files of the event log's schema, as files are added to a folder.

    Files must be added whole (written elsewhere, then moved in).
    """
    return spark.readStream.schema(EVENT_COLUMNS).option("maxFilesPerTrigger", files_a_batch).parquet(str(folder))


def kafka_events(spark: SparkSession, servers: str, topic: str, options: Mapping[str, str] | None = None) -> DataFrame:
    """A stream of the events in a Kafka topic; values are events as JSON, keys their tenants.

    The topic must be keyed by tenant, so that a tenant's events are in one partition and in order of seq, and written
    by an idempotent producer with acks=all. options: of Spark's Kafka source (`maxOffsetsPerTrigger`,
    `kafka.security.protocol`, ...). Lost offsets end the job rather than being passed over (`failOnDataLoss`), and a
    job without a checkpoint begins with the oldest event that the topic has. Needs the package
    `org.apache.spark:spark-sql-kafka-0-10_2.13` of Spark's own version, which is not part of the installation.
    """
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers).option("subscribe", topic)
    reader = reader.option("failOnDataLoss", "true").option("startingOffsets", "earliest")
    return json_events(reader.options(**dict(options or {})).load())


def json_events(rows: DataFrame) -> DataFrame:
    """Events out of a column `value` with one JSON object an event, by the names of `Event`; see `encode_event`.

    A value that is no such object ends the job: a message passed over would be missing from every state.
    """
    read = F.from_json(F.col("value").cast("string"), _JSON, {"mode": "FAILFAST"})
    event = rows.select(read.alias("event")).select("event.*")
    return event.select(
        *[
            F.timestamp_micros(_TIMES[field.name]).alias(field.name) if field.name in _TIMES else F.col(field.name)
            for field in EVENT_COLUMNS
        ]
    )


@dataclass(frozen=True)
class OnlineFold:
    """Folds batches of events into the online store, on the executors, a partition of the entity keys a task.

    A batch that is handed in again changes nothing. Where a batch does not go on from what is folded, what lies
    between is taken from the event log, so that no state is folded over a gap; numbers that the log lacks too are
    taken for ones that were never given. Raises StoreError where another writer holds a partition, and while a new
    generation lacks more than `limit` events.

    sink: the online store. events_path, facts_path: of the event log, which must hold what comes before a tombstone
    soon after it came, and of the fact sets.
    """

    sink: RedisSink
    events_path: Path
    facts_path: Path
    limit: int = REPAIR_LIMIT

    def start(
        self, events: DataFrame, checkpoint: Path, *, every: str = "1 second", only_what_is_there: bool = False
    ) -> StreamingQuery:
        """Start folding a stream of events.

        checkpoint: folder that remembers what was folded. only_what_is_there: end once all of it is.
        """
        writer = events.writeStream.foreachBatch(self.fold).option("checkpointLocation", str(checkpoint))
        trigger = writer.trigger(availableNow=True) if only_what_is_there else writer.trigger(processingTime=every)
        return trigger.start()

    def fold(self, batch: DataFrame, batch_id: int) -> None:
        """Fold one batch, whose rows are `EVENT_COLUMNS` in any order, then move the tenants' marks."""
        batch = batch.persist()
        try:
            with translated(f"folding batch {batch_id} of a stream"):
                newest = newest_events(batch)
                if newest:
                    self._fold(batch, newest, batch_id)
        finally:
            batch.unpersist()

    def _fold(self, batch: DataFrame, newest: dict[str, tuple[int, int]], batch_id: int) -> None:
        partitions = tuple(range(self.sink.partitions))
        with open_client(self.sink.url, timeout_seconds=self.sink.timeout_seconds) as client:
            leases = Leases(client, self.sink.project, ttl_ms=3 * LEASE_MS)
            online = OnlineWriter(client, self.sink.project, self.sink.views, self.sink.partitions, self.history())
            online.generations.register_empty()
            with _held(leases, partitions):
                streams = Streams(client, self.sink.project, self.sink.partitions)
                catalog = self._caught_up(online, streams, leases.token)
                folded = _everywhere(online.generations.marks.folded_everywhere())
                rows = self._whole(batch, newest, folded)
                self._wait_for_log(rows)
                done = (
                    rows.mapInArrow(_routed(self.sink), T.StructType([*EVENT_COLUMNS, _ROUTED]))
                    .repartition(self.sink.partitions, _PARTITION)
                    .sortWithinPartitions(_PARTITION, "tenant", "seq")
                    .mapInArrow(_folded(self, catalog), "keys long, repeated long")
                    .agg(F.sum("keys"), F.sum("repeated"))
                    .first()
                )
                if set(partitions) != leases.hold(partitions):
                    raise StoreError("another writer took partitions while they were folded; let one of the two run")
                online.generations.marks.advance(newest)
        log.info("batch_folded", batch=batch_id, tenants=len(newest), keys=done and done[0], repeated=done and done[1])

    def history(self) -> KeyHistory:
        """What keys are rebuilt from."""
        events = EventLog(self.events_path)
        return KeyHistory(events, FactSets(self.facts_path, events))

    def _wait_for_log(self, rows: DataFrame) -> None:
        """Wait until the log holds the tombstones of a batch; raises StoreError where it does not in time."""
        tombstones = rows.where(is_tombstone()).groupBy("tenant").agg(F.max("seq").alias("seq")).collect()
        history, ends = self.history(), time.monotonic() + LOG_SECONDS
        for row in tombstones:
            while not history.holds(row["tenant"], row["seq"]):
                if time.monotonic() > ends:
                    raise StoreError(
                        f"seq {row['seq']} of tenant {row['tenant']} takes a message out of the counts, and the event "
                        "log does not hold it; look at the process that writes it"
                    )
                time.sleep(0.2)

    def _caught_up(self, online: OnlineWriter, streams: Streams, token: bytes) -> Catalog:
        """The catalog, once every generation that was loaded is folded with the rest."""
        events = EventLog(self.events_path)
        while True:
            catalog = online.generations.catalog()
            by_view: dict[tuple[str, int], Joining] = {}
            for partition in range(self.sink.partitions):
                for pending in online.generations.pending(partition, catalog):
                    name = pending.view.name, pending.generation
                    before = by_view[name].partitions if name in by_view else ()
                    by_view[name] = Joining(pending, (*before, partition))
            if not by_view:
                return catalog
            catch_up = CatchUp(online, streams, events, tuple(by_view.values()), self.limit)
            while catch_up.step(token):
                if not any(online.generations.pending(p) for p in range(self.sink.partitions)):
                    break
            if catch_up.waits or catch_up.starved:
                why = "; ".join(catch_up.waits.values()) or "the event log lacks events that are folded already"
                raise StoreError(f"a new generation cannot be caught up: {why}")

    def _whole(self, batch: DataFrame, newest: dict[str, tuple[int, int]], folded: Mapping[str, int]) -> DataFrame:
        """The batch, with the event log's rows where it leaves out numbers between what is folded and its end."""
        marks = batch.sparkSession.createDataFrame(
            [(tenant, folded.get(tenant, 0)) for tenant in newest], "tenant string, _folded long"
        )
        fresh = batch.join(F.broadcast(marks), "tenant").where(F.col("seq") > F.col("_folded"))
        counts = fresh.groupBy("tenant").agg(F.count_distinct("seq").alias("n")).toLocalIterator()
        missing = [
            (row["tenant"], folded.get(row["tenant"], 0), newest[row["tenant"]][0])
            for row in counts
            if row["n"] < newest[row["tenant"]][0] - folded.get(row["tenant"], 0)
        ]
        files = EventLog(self.events_path).snapshot().files if missing else ()
        if not files:
            return batch
        log.warning("a batch does not go on from what is folded; the event log fills in", tenants=len(missing))
        between = batch.sparkSession.createDataFrame(missing, "tenant string, _from long, _to long")
        logged = batch.sparkSession.read.schema(EVENT_COLUMNS).parquet(*files)
        filled = logged.join(F.broadcast(between), "tenant").where("seq > _from and seq <= _to")
        return batch.unionByName(filled.select(*EVENT_COLUMNS.names)).dropDuplicates(["tenant", "seq"])


def _everywhere(marks: list[dict[str, Watermark]]) -> dict[str, int]:
    """By tenant, the last seq that every partition has folded."""
    tenants = set.intersection(*(set(found) for found in marks))
    return {tenant: min(found[tenant].seq for found in marks) for tenant in tenants}


@contextmanager
def _held(leases: Leases, partitions: tuple[int, ...]) -> Iterator[None]:
    """Hold all partitions inside the block; raises StoreError where another writer does."""
    taken = leases.hold(partitions)
    done = threading.Event()

    def renew() -> None:
        while not done.wait(leases.ttl_ms / 3_000):
            try:
                leases.hold(partitions)
            except StoreError as exc:
                log.warning("leases could not be renewed", error=str(exc))

    renewing = threading.Thread(target=renew, daemon=True)
    try:
        if len(taken) < len(partitions):
            others = ", ".join(str(p) for p in partitions if p not in taken)
            raise StoreError(
                f"partitions {others} are folded by another writer; stop it (`mailwarden serve` or a feature writer), "
                "or this job"
            )
        renewing.start()
        yield
    finally:
        done.set()
        if renewing.is_alive():
            renewing.join()
        leases.release(tuple(taken))


def _routed(sink: RedisSink) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Each event once for every partition that one of its keys lies in, with that partition's number."""

    def routed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        routes = Routes(sink.project, sink.views, sink.partitions)
        for batch in batches:
            places = [
                (row, partition)
                for row, event in enumerate(table_to_events(pa.Table.from_batches([batch])))
                for partition in sorted(routes.of(event))
            ]
            rows = pa.array([row for row, _ in places], pa.int64())
            numbers = pa.array([partition for _, partition in places], pa.int32())
            yield pa.RecordBatch.from_arrays(
                [*batch.take(rows).columns, numbers], names=[*batch.schema.names, _PARTITION]
            )

    return routed


def _folded(fold: OnlineFold, catalog: Catalog) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Fold rows sorted by partition, tenant and seq; one row out with states written and events known already."""

    def folded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keys, repeated, sink = 0, 0, fold.sink
        with open_client(sink.url, timeout_seconds=sink.timeout_seconds) as client:
            online = OnlineWriter(client, sink.project, sink.views, sink.partitions, fold.history())
            for partition, events in _portions(batches):
                report = online.fold(events, (partition,), catalog)
                keys, repeated = keys + report.keys, repeated + report.repeated
        yield pa.RecordBatch.from_arrays([pa.array([keys]), pa.array([repeated])], names=["keys", "repeated"])

    return folded


def _portions(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, list[Event]]]:
    """Runs of rows of one partition and tenant, at most `EVENTS_A_FOLD` of them at a time."""
    for batch in batches:
        for start in range(0, batch.num_rows, EVENTS_A_FOLD):
            rows = batch.slice(start, EVENTS_A_FOLD)
            by_partition: dict[int, list[Event]] = {}
            events = table_to_events(pa.Table.from_batches([rows]))
            for partition, event in zip(rows.column(_PARTITION).to_pylist(), events, strict=True):
                by_partition.setdefault(partition, []).append(event)
            yield from by_partition.items()
