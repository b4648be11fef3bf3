"""The campaigns of a log's messages by their signatures alone: what the numbering process gave must be this."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mailwarden.domain.mail.clusters import CAPACITY, Clusters
from mailwarden.stores.spark.fold_rows import side_by_side


def campaigns(events: DataFrame, capacity: int = CAPACITY) -> DataFrame:
    """The campaign of every message that took part, lazily: tenant, seq, campaign.

    events: of the log; kind, campaign and signature besides tenant and seq. A message that was given none, since it
    has no signature or its campaign could not be found out, takes no part. A tenant's messages are gone through in
    order of seq by one task, in memory that `capacity` bounds: each depends on those before it.
    """
    took_part = (F.col("kind") == "message") & (F.col("campaign") != "") & (F.col("signature") != "")
    rows = events.where(took_part).select("tenant", "seq", "signature")
    schema = "tenant string, seq bigint, campaign string"
    return side_by_side(rows, ["tenant"], ["seq"]).mapInArrow(_Joined(capacity), schema)


class _Joined:
    """Goes through the messages of one tenant after another."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        of, clusters = "", Clusters(self._capacity)
        for batch in batches:
            found = []
            for tenant, seq, signature in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if tenant != of:
                    of, clusters = tenant, Clusters(self._capacity)
                found.append(clusters.join(seq, signature))
            yield pa.record_batch(
                {"tenant": batch["tenant"], "seq": batch["seq"], "campaign": pa.array(found, pa.string())}
            )
