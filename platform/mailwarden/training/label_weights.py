"""`domain.mail.label_sources` as Spark's columns."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

from mailwarden.domain.mail.label_sources import RANKS, STANDS_FOR_MOST, UNSAID, WEIGHTS


def rank_column() -> Column:
    """How much a label event's source is trusted."""
    return _by_source(RANKS)


def weight_column() -> Column:
    """What a label event weighs: 1.0 for an analyst's word."""
    drawn = F.greatest(F.lit(1), F.least(F.coalesce("stands_for", F.lit(0)), F.lit(STANDS_FOR_MOST)))
    return _by_source(WEIGHTS) * F.when(F.col("label_source") == "audit", drawn).otherwise(F.lit(1))


def _by_source(values: Mapping[str, float] | Mapping[str, int]) -> Column:
    found = F.lit(values[UNSAID])
    for source, value in values.items():
        found = F.when(F.col("label_source") == source, F.lit(value)).otherwise(found)
    return found
