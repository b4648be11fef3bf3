"""A year of made-up mail events of any size, made by Spark itself as files of the event log's schema."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from mailwarden.domain.aggregates.windows import DAY_US, SECOND_US
from mailwarden.domain.mail.events import SCHEMA_VERSION
from mailwarden.stores.lake.event_log import EVENT_SCHEMA

TENANT = "acme"
HOT_DOMAIN = "hot.example"
START_US = 1_700_000_000 * SECOND_US
SPAN_US = 365 * DAY_US

_EVENTS_A_FILE = 1_000_000
_FRACTION = 1 << 20


def write_history(spark: SparkSession, events: int, folder: Path) -> tuple[str, ...]:
    """Write that many events of one tenant over a year; returns the data files.

    A tenth of all events come from `HOT_DOMAIN`, however many there are; the other domains, and all addresses, grow
    in number with the events, the first ones writing more than the last. A twelfth is outbound, 2% are labels, 2%
    come up to two days late. The same number gives the same events.
    """
    parts = max(2, -(-events // _EVENTS_A_FILE))
    _history(spark.range(1, events + 1, numPartitions=parts), events).write.parquet(str(folder))
    return tuple(sorted(str(path) for path in folder.glob("*.parquet")))


def _draw(salt: int) -> Column:
    """A number of 0..1 that the event's id and the salt settle."""
    return F.pmod(F.xxhash64(F.lit(salt), F.col("id")), F.lit(_FRACTION)) / F.lit(float(_FRACTION))


def _name(letter: str, salt: int, count: int) -> Column:
    """One of `count` names, the first ones more often."""
    index = F.floor(_draw(salt) * _draw(salt) * F.lit(max(count, 1)))
    return F.concat(F.lit(letter), index.cast("string"))


def _history(ids: DataFrame, events: int) -> DataFrame:
    outbound = _draw(1) < 1 / 12
    label = _draw(2) < 0.02
    domain = F.when(_draw(3) < 0.1 * 12 / 11, F.lit(HOT_DOMAIN)).otherwise(
        F.concat(_name("d", 4, events // 200), F.lit(".example"))
    )
    outside = F.concat(_name("s", 5, events // 500), F.lit("@"), domain)
    inside = F.concat(_name("u", 6, events // 1_000), F.lit("@own.example"))
    second = F.concat(_name("u", 7, events // 1_000), F.lit("@own.example"))
    own = F.lit("own.example")
    insiders = F.when(_draw(8) < 0.2, F.array_distinct(F.array(inside, second))).otherwise(F.array(inside))
    known_us = F.lit(START_US) + F.floor(F.col("id") * F.lit(SPAN_US / events)).cast("long")
    late = F.when(_draw(9) < 0.02, F.floor(_draw(10) * F.lit(2 * DAY_US)).cast("long")).otherwise(F.lit(0))
    received_us = known_us - F.when(label, F.lit(7 * DAY_US)).otherwise(late)
    bad = F.when(label & (_draw(11) < 0.3), 1).otherwise(0).cast("long")
    columns: dict[str, Column] = {
        "tenant": F.lit(TENANT),
        "seq": F.col("id"),
        "kind": F.when(label, "label").otherwise("message"),
        "message_id": F.lpad(F.lower(F.hex("id")), 32, "0"),
        "received_at": F.timestamp_micros(received_us),
        "known_at": F.timestamp_micros(F.when(label, known_us).otherwise(received_us)),
        "time_source": F.lit("given"),
        "direction": F.when(outbound, "outbound").otherwise("inbound"),
        "sender": F.when(outbound, inside).otherwise(outside),
        "sender_domain": F.when(outbound, own).otherwise(domain),
        "recipients": F.when(outbound, F.array(outside)).otherwise(insiders),
        "recipient_domains": F.array(F.when(outbound, domain).otherwise(own)),
        "size_bytes": F.floor(_draw(12) * 50_000).cast("long"),
        "url_count": F.floor(_draw(13) * 4).cast("long"),
        "has_link": _draw(13) >= 0.25,
        "authenticated": F.when(_draw(14) < 0.8, _draw(14) < 0.7),
        "display_name": _name("name ", 5, events // 500),
        "thread": _name("t", 15, events // 3),
        "campaign": _name("c", 16, events // 20),
        "link_domain": F.when(_draw(13) >= 0.25, F.concat(_name("l", 17, events // 300), F.lit(".example"))),
        "reply": _draw(15) < 0.4,
        "label": F.when(~label, "").when(bad == 1, "spam").otherwise("ham"),
        "labelled_bad": bad,
        "labelled_good": F.when(label, 1 - bad).otherwise(0).cast("long"),
        "schema_version": F.lit(SCHEMA_VERSION).cast("long"),
    }
    made = []
    for field in from_arrow_schema(EVENT_SCHEMA):
        nothing = {"string": F.lit(""), "bigint": F.lit(0), "boolean": F.lit(False)}.get(
            field.dataType.simpleString(), F.lit(None)
        )
        made.append(F.coalesce(columns.get(field.name, nothing), nothing).cast(field.dataType).alias(field.name))
    return ids.select(*made)
