"""Content views over raw mail: the one way to their values, by Arrow batches, each message parsed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import structlog
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.mail.content import ContentFeature, ContentSet
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.reception import reception_of
from mailwarden.logs import FailureLog

Parse = Callable[[str, bytes, Envelope], Message]
"""Tenant, raw bytes and envelope to the same Message as at ingest; a module-level function, or one that pickles."""

RAW_COLUMNS = T.StructType(
    [
        T.StructField("tenant", T.StringType()),
        T.StructField("message_id", T.StringType()),
        T.StructField("received_at", T.TimestampType()),
        T.StructField("mail_from", T.StringType()),
        T.StructField("rcpt_to", T.ArrayType(T.StringType())),
        T.StructField("time_source", T.StringType()),
        T.StructField("reception", T.StringType()),
        T.StructField("raw", T.BinaryType()),
    ]
)
"""What content is computed from, out of the raw mail table's columns."""

_SPARK_TYPES = {"int64": T.LongType(), "float64": T.DoubleType(), "string": T.StringType()}
_ARROW_TYPES = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


STATUS = "status"
"""Column of a content view's files that says why its nulls are null, a `domain.status.Status`."""


def content_schema(features: Sequence[ContentFeature]) -> T.StructType:
    """Schema of a content view's files: tenant, message_id, event_timestamp, then its features."""
    fields = [T.StructField("tenant", T.StringType()), T.StructField("message_id", T.StringType())]
    fields.append(T.StructField("event_timestamp", T.TimestampType()))
    fields += [T.StructField(feature.name, _SPARK_TYPES[feature.dtype]) for feature in features]
    return T.StructType(fields)


def column_of(view: str, name: str) -> str:
    """Column of a view's feature, or of its `status`, in what `content` gives and in the vector log."""
    return f"{view}__{name}"


def content(raw: DataFrame, views: ContentSet, parse: Parse) -> DataFrame:
    """Content values of raw messages, lazily, a row a message.

    raw: columns `RAW_COLUMNS`. Columns: tenant, message_id, event_timestamp, for each view `<view>__<feature>` and
    `<view>__status`, and `day`, the UTC date of receipt. A view whose function fails on a message is null there, with
    status damaged, as at scoring.
    """
    keys = content_schema(())
    fields = [
        field
        for view in views.views
        for field in (
            *(T.StructField(column_of(view.name, f.name), _SPARK_TYPES[f.dtype]) for f in view.features),
            T.StructField(column_of(view.name, "status"), T.StringType()),
        )
    ]
    schema = T.StructType([*keys, *fields, T.StructField("at_us", T.LongType())])
    narrow = raw.select(
        "tenant",
        "message_id",
        F.unix_micros("received_at").alias("at_us"),
        "mail_from",
        "rcpt_to",
        "time_source",
        "reception",
        "raw",
    )
    values = narrow.mapInArrow(_compute(views, parse), schema)
    day = F.date_from_unix_date(F.floor(F.col("at_us") / F.lit(86_400_000_000)).cast("int"))
    return values.withColumn("day", day).drop("at_us")


def _compute(views: ContentSet, parse: Parse) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        failures = FailureLog(structlog.get_logger(__name__), "a content view failed", "view")
        for batch in batches:
            rows: dict[str, list[Sequence[Any]]] = {view.name: [] for view in views.views}
            statuses: dict[str, list[str]] = {view.name: [] for view in views.views}
            for tenant, _, at_us, mail_from, rcpt_to, time_source, reception, raw in _rows(batch):
                kept = reception_of(reception)
                envelope = Envelope(at_us, mail_from, tuple(rcpt_to or ()), time_source, kept)
                found = views.values_of(parse(tenant, raw, envelope), lambda view, exc: failures.add(view.name, exc))
                for name, values in found.values.items():
                    rows[name].append(values)
                    statuses[name].append(found.status[name].value)
            at = batch.column("at_us")
            columns = {
                "tenant": batch.column("tenant"),
                "message_id": batch.column("message_id"),
                "event_timestamp": at.cast(pa.timestamp("us", tz="UTC")),
            }
            for view in views.views:
                for index, feature in enumerate(view.features):
                    column = [row[index] for row in rows[view.name]]
                    columns[column_of(view.name, feature.name)] = pa.array(column, _ARROW_TYPES[feature.dtype])
                columns[column_of(view.name, "status")] = pa.array(statuses[view.name], pa.string())
            yield pa.RecordBatch.from_pydict({**columns, "at_us": at})

    return compute


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    # Row by row, since a batch of raw mail as Python objects would hold it twice.
    for index in range(batch.num_rows):
        yield tuple(column[index].as_py() for column in batch.columns)
