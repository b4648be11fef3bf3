"""What messages say of themselves, out of the event log: their keys, time and seq, and the names that they hold."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.fact_specs import FACTS, MEMBERS
from mailwarden.stores.asked import own_column
from mailwarden.stores.spark.fact_columns import names_value


def own_names(fact: str) -> Column:
    """The names that a message holds in a fact of one or of many, none of them empty; as `events.members_of`."""
    return F.coalesce(F.filter(names_value(fact), lambda name: name != ""), F.array().cast("array<string>"))


def message_columns() -> dict[str, Column]:
    """By the name that a request gives it, what a message's row of the event log answers: keys, seq, time, names."""
    return {
        # Events from before a fact was kept hold a null there.
        **{name: F.coalesce(F.col(name), F.lit("")) for name in FACTS},
        "seq": F.col("seq"),
        "event_timestamp": F.col("received_at"),
        **{own_column(fact): own_names(fact) for fact in MEMBERS},
    }
