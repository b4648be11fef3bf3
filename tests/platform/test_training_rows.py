from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.events import Event
from mailwarden.domain.windows import DAY_US
from mailwarden.stores.event_log import events_to_table
from mailwarden.training.rows import training_rows

START = 1_772_409_600_000_000


def _labelled(tenant: str, day: int) -> list[Event]:
    at_us = START + day * DAY_US
    message = Event(tenant, 1, "message", f"{1:032x}", at_us, at_us, "envelope", "inbound", "a@far.example",
                    "far.example", ("u@own.example",), ("own.example",))  # fmt: skip
    label = Event(tenant, 2, "label", f"{1:032x}", at_us, at_us + DAY_US, "given", "inbound", "a@far.example",
                  "far.example", ("u@own.example",), ("own.example",), label="SP", labelled_bad=1)  # fmt: skip
    return [message, label]


@pytest.mark.parametrize(("own", "tenants"), [
    ({}, ["here"]),
    ({"later": START + 400 * DAY_US}, ["here", "later"]),
    ({"later": START + 400 * DAY_US, "here": START}, ["later"]),
    ({"later": START + 360 * DAY_US}, ["here"]),
])  # fmt: skip
def test_a_tenant_may_have_a_cutoff_of_its_own(spark: SparkSession, own: dict[str, int], tenants: list[str]) -> None:
    """Labels of another site count by that site's time: it may be a year ahead of the one that is replayed."""
    table = events_to_table([*_labelled("here", 0), *_labelled("later", 360)])
    events = spark.createDataFrame(table.to_pandas())
    rows = training_rows(events, cutoff_us=START + 5 * DAY_US, tenant_cutoffs_us=own).collect()
    assert sorted(row["tenant"] for row in rows) == tenants
