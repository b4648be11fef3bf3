"""The content view over raw mail: the one compute function, by Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.errors import ContractError

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
        T.StructField("raw", T.BinaryType()),
    ]
)
"""What content is computed from, out of the raw mail table's columns."""

_SPARK_TYPES = {"int64": T.LongType(), "float64": T.DoubleType(), "string": T.StringType()}
_ARROW_TYPES = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def content_schema(features: Sequence[ContentFeature]) -> T.StructType:
    """Schema of a content view's files: tenant, message_id, event_timestamp, then its features."""
    fields = [T.StructField("tenant", T.StringType()), T.StructField("message_id", T.StringType())]
    fields.append(T.StructField("event_timestamp", T.TimestampType()))
    fields += [T.StructField(feature.name, _SPARK_TYPES[feature.dtype]) for feature in features]
    return T.StructType(fields)


def content(raw: DataFrame, view: ContentView, parse: Parse) -> DataFrame:
    """Content values of raw messages, lazily, a row a message: `content_schema`, and `day`, the UTC date of receipt.

    raw: columns `RAW_COLUMNS`.
    """
    schema = T.StructType([*content_schema(view.features), T.StructField("at_us", T.LongType())])
    narrow = raw.select(
        "tenant",
        "message_id",
        F.unix_micros("received_at").alias("at_us"),
        "mail_from",
        "rcpt_to",
        "time_source",
        "raw",
    )
    values = narrow.mapInArrow(_compute(view, parse), schema)
    day = F.date_from_unix_date(F.floor(F.col("at_us") / F.lit(86_400_000_000)).cast("int"))
    return values.withColumn("day", day).drop("at_us")


def _compute(view: ContentView, parse: Parse) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns: list[list[Any]] = [[] for _ in view.features]
            for tenant, message_id, at_us, mail_from, rcpt_to, time_source, raw in _rows(batch):
                envelope = Envelope(at_us, mail_from, tuple(rcpt_to or ()), time_source)
                values = view.compute(parse(tenant, raw, envelope))
                for column, feature in zip(columns, view.features, strict=True):
                    if feature.name not in values:
                        raise ContractError(f"view {view.name}: compute left out {feature.name} on {message_id}")
                    column.append(values[feature.name])
            at = batch.column("at_us")
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column("tenant"),
                    batch.column("message_id"),
                    at.cast(pa.timestamp("us", tz="UTC")),
                    *[_column(view, f, column) for f, column in zip(view.features, columns, strict=True)],
                    at,
                ],
                names=["tenant", "message_id", "event_timestamp", *[f.name for f in view.features], "at_us"],
            )

    return compute


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    # Row by row, since a batch of raw mail as Python objects would hold it twice.
    for index in range(batch.num_rows):
        yield tuple(column[index].as_py() for column in batch.columns)


def _column(view: ContentView, feature: ContentFeature, values: list[Any]) -> pa.Array:
    try:
        if feature.dtype == "int64":
            values = [None if value is None else int(value) for value in values]
        return pa.array(values, _ARROW_TYPES[feature.dtype], from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as exc:
        raise ContractError(f"view {view.name}, feature {feature.name}: not all values are {feature.dtype}") from exc
