"""Training rows from the event log: messages whose label was known by a cut-off, one row a recipient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.fact_specs import FACTS, MEMBERS
from mailwarden.domain.mail.events import WITHDRAWN
from mailwarden.errors import DataError
from mailwarden.stores.asked import own_column
from mailwarden.stores.lake.fact_sets import FactSnapshot
from mailwarden.stores.spark.facts import read_facts
from mailwarden.stores.spark.failures import translated
from mailwarden.stores.spark.message_facts import own_names
from mailwarden.stores.spark.tombstones import is_tombstone
from mailwarden.training.label_weights import rank_column, weight_column
from mailwarden.training.split import NO_LABELS_NEEDED

_SAMPLES = 1_000_000
_NO_OTHERS: Mapping[str, int] = MappingProxyType({})


def training_rows(
    events: DataFrame,
    *,
    cutoff_us: int,
    tenant_cutoffs_us: Mapping[str, int] = _NO_OTHERS,
    tenant: str | None = None,
    from_us: int | None = None,
    until_us: int | None = None,
    unlabelled: bool = False,
) -> DataFrame:
    """One row a recipient of each labelled message, "" where none is known; nothing runs yet. Further copies have none.

    Messages that a tombstone takes out of the counts are left out, whatever the cut-off.

    events: `fold_rows.EVENT_COLUMNS`. cutoff_us: microseconds UTC; labels known later are not seen. of several that of
    the most trusted source counts, of one source the one known last, and none from before a withdrawal
    (`domain.mail.label_sources`). tenant_cutoffs_us: the cut-offs of tenants that have one of their own, whose mail may
    lie in another time altogether. tenant: None for all. from_us, until_us: messages received in that time, its end not
    in it, None for open. unlabelled: messages without a label as well, with a null one. Columns: tenant, the facts of
    `events.FACTS` and the recipient ("" where there is none), message_id, event_timestamp, seq, label, weight
    (1/recipients, times what the label's source weighs), and for each fact of `fact_specs.MEMBERS` the names that the
    message holds in it (`own_column`, array<string>).
    """
    if tenant is not None:
        events = events.where(F.col("tenant") == tenant)
    labels = settled(events, _cutoff(cutoff_us, tenant_cutoffs_us)).select(
        "tenant", "message_id", "label", weight_column().alias("label_weight")
    )
    names = dict.fromkeys(("tenant", "recipients", "message_id", "received_at", "seq", *FACTS, *MEMBERS))
    gone = events.where(is_tombstone()).select("tenant", "message_id")
    once = (F.col("kind") == "message") & (F.coalesce("copy_of", F.lit("")) == "")
    messages = events.where(once).select(*names).join(gone, ["tenant", "message_id"], "left_anti")
    received_us = F.unix_micros("received_at")
    if from_us is not None:
        messages = messages.where(received_us >= from_us)
    if until_us is not None:
        messages = messages.where(received_us < until_us)
    addressed = F.when(F.size("recipients") > 0, F.col("recipients")).otherwise(F.array(F.lit("")))
    return (
        messages.join(labels, ["tenant", "message_id"], "left" if unlabelled else "inner")
        .withColumn("addressed", addressed)
        .withColumn("weight", F.coalesce("label_weight", F.lit(1.0)) / F.size("addressed"))
        .select(
            "tenant",
            # Events from before a fact was kept hold a null there.
            *(F.coalesce(F.col(name), F.lit("")).alias(name) for name in FACTS),
            F.explode("addressed").alias("recipient"),
            "message_id",
            F.col("received_at").alias("event_timestamp"),
            "seq",
            "label",
            "weight",
            *(own_names(name).alias(own_column(name)) for name in MEMBERS),
        )
    )


def settled(events: DataFrame, cutoff: Column) -> DataFrame:
    """The label event that counts of each message, of those known by a time: see `training_rows`."""
    of_message = Window.partitionBy("tenant", "message_id")
    withdrawn_seq = F.max(F.when(F.col("label") == WITHDRAWN, F.col("seq"))).over(of_message)
    best = of_message.orderBy(rank_column().desc(), F.col("known_at").desc(), F.col("seq").desc())
    return (
        events.where((F.col("kind") == "label") & (F.unix_micros("known_at") <= cutoff))
        .withColumn("_withdrawn", withdrawn_seq)
        .where(F.col("seq") > F.coalesce("_withdrawn", F.lit(0)))
        .withColumn("_age", F.row_number().over(best))
        .where(F.col("_age") == 1)
    )


def _cutoff(cutoff_us: int, tenant_cutoffs_us: Mapping[str, int]) -> Column:
    found = F.lit(cutoff_us)
    for tenant, own_us in tenant_cutoffs_us.items():
        found = F.when(F.col("tenant") == tenant, F.lit(own_us)).otherwise(found)
    return found


def _known_later(events: DataFrame, cutoff_us: int, tenant_cutoffs_us: Mapping[str, int], tenant: str | None) -> str:
    """In words, how many labels became known after the cut-off, and when the first of them did; "" for none."""
    known_us = F.unix_micros("known_at")
    later = events.where((F.col("kind") == "label") & (known_us > _cutoff(cutoff_us, tenant_cutoffs_us)))
    if tenant is not None:
        later = later.where(F.col("tenant") == tenant)
    (found,) = later.agg(F.count("*").alias("n"), F.min("known_at").alias("first")).collect()
    if not found["n"]:
        return ""
    return f": {found['n']:,} labels were given later, the first on {found['first']:%Y-%m-%d %H:%M} (Spark's time zone)"


def write_training_rows(
    spark: SparkSession,
    facts: FactSnapshot,
    out: Path,
    *,
    cutoff_us: int,
    tenant_cutoffs_us: Mapping[str, int] = _NO_OTHERS,
    tenant: str | None = None,
    from_us: int | None = None,
    until_us: int | None = None,
    unlabelled: bool = False,
    limit: int | None = None,
) -> int:
    """Write `training_rows` of a snapshot of a fact set to a new folder of Parquet, and return how many there are.

    limit: at most about this many rows, whole messages drawn by a hash of their id: the same ones each time. Raises
    DataError where no message is labelled, StoreError where Spark fails.
    """
    if not facts.log.files:
        raise DataError(f"The event log is empty. Ingest mail with labels first; {NO_LABELS_NEEDED}.")
    with translated("reading training rows"):
        events = read_facts(spark, facts)
        rows = training_rows(
            events,
            cutoff_us=cutoff_us,
            tenant_cutoffs_us=tenant_cutoffs_us,
            tenant=tenant,
            from_us=from_us,
            until_us=until_us,
            unlabelled=unlabelled,
        )
        if limit is not None:
            n = rows.count()
            if n > limit:
                draw = F.pmod(F.xxhash64("tenant", "message_id"), F.lit(_SAMPLES))
                rows = rows.where(draw < int(_SAMPLES * limit / n))
        rows.write.mode("error").parquet(str(out))
        written: int = spark.read.parquet(str(out)).count()
        if written == 0:
            later = _known_later(events, cutoff_us, tenant_cutoffs_us, tenant)
    if written == 0 and (from_us is not None or until_us is not None):
        raise DataError(
            f"No message of that time and tenant is there, with a label known by the cut-off{later}. Widen them."
        )
    if written == 0:
        raise DataError(f"No message has a label that was known by the cut-off{later}. Label mail; {NO_LABELS_NEEDED}.")
    return written
