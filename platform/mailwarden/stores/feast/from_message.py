"""Columns that entity rows leave out and that the message itself answers, by (tenant, message_id)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.errors import DataError
from mailwarden.stores.asked import MESSAGE_KEYS, own_column
from mailwarden.stores.feast.entity_rows import Kind
from mailwarden.stores.feast.own_facts import refuse_without_own
from mailwarden.stores.feast.source import TIMESTAMP_FIELD
from mailwarden.stores.spark.fold_rows import SEQ
from mailwarden.stores.spark.message_facts import message_columns

_KINDS: dict[str, Kind] = {**dict.fromkeys(FACTS, "string"), SEQ: "integer", TIMESTAMP_FIELD: "timestamp"}
_SAID, _UNKNOWN = "__said", "__unknown"


@dataclass(frozen=True, slots=True)
class FromMessage:
    """What is looked up for entity rows. shown: columns that the rows get; own: columns for the computation alone."""

    shown: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kind of each shown column."""
        return {name: _KINDS[name] for name in self.shown}

    @classmethod
    def of(
        cls, columns: Mapping[str, Kind], keys: Collection[str], facts: Mapping[str, Collection[str]]
    ) -> FromMessage:
        """What rows with these columns leave to the event log.

        keys: columns that views are keyed by. facts: as `own_facts_of` gives them. Raises DataError where own names
        are needed that the rows neither hold nor let look up; other columns that are missing are for others to tell.
        """
        absent = {fact: names for fact, names in facts.items() if own_column(fact) not in columns}
        if any(columns.get(name) != "string" for name in MESSAGE_KEYS):
            refuse_without_own(absent, "the columns of entity_df")
            return cls((), ())
        answered = {*FACTS} & {*keys} | {SEQ, TIMESTAMP_FIELD}
        return cls(
            tuple(name for name in _KINDS if name in answered and name not in columns),
            tuple(sorted(map(own_column, absent))),
        )

    def into(self, asked: DataFrame, events: Callable[[], DataFrame]) -> DataFrame:
        """The rows with those columns beside, one out for one in; the join runs here, once for all views.

        events: gives those of the event log, with the facts that values are computed from. A row whose message_id is
        null gets nulls. Raises DataError, with how many there are, where a message_id is not in the log.
        """
        if not self.shown and not self.own:
            return asked
        messages = events().where(F.col("kind") == "message")
        told = message_columns()
        names = [*self.shown, *self.own]
        wanted = asked.select(*MESSAGE_KEYS).distinct()
        # A tenant has a message once. Were it there twice, rows must not double: the earlier one counts.
        said = (
            messages.select(*MESSAGE_KEYS, F.struct(*[told[name].alias(name) for name in names]).alias(_SAID), "seq")
            .join(wanted, list(MESSAGE_KEYS), "left_semi")
            .groupBy(*MESSAGE_KEYS)
            .agg(F.min_by(_SAID, "seq").alias(_SAID))
        )
        unknown = F.col("message_id").isNotNull() & F.col(_SAID).isNull()
        beside = asked.join(said, list(MESSAGE_KEYS), "left").select(
            *asked.columns, *[F.col(f"{_SAID}.{name}").alias(name) for name in names], unknown.alias(_UNKNOWN)
        )
        found = beside.localCheckpoint(eager=False, storageLevel=StorageLevel.DISK_ONLY)
        missing = found.where(_UNKNOWN).count()
        if missing:
            raise DataError(
                f"entity_df: {missing} rows name a message_id that the event log does not hold for their tenant; ask "
                "for messages that were ingested or scored, or give every column yourself (null for no message)"
            )
        return found.drop(_UNKNOWN)
