from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.stores.spark.states import states


@pytest.mark.parametrize("emission", ["participants", "pairs"])
def test_states_are_those_of_a_fold(spark: SparkSession, histories: Any, emission: str) -> None:
    view = histories.view(emission)
    events = histories.events(250, seed=7)
    before = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "9")
    try:
        rows = states(spark.createDataFrame(histories.table(events)), view).collect()  # type: ignore[type-var]
    finally:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(before))
    expected = histories.states(view, events)
    assert len(rows) == len(expected)
    for row in rows:
        key = tuple(row[: 1 + len(view.keys)])
        assert row["last_seq"] == expected[key].last_seq
        assert bytes(row["state"]) == expected[key].to_bytes(), key
        again = EntityState.from_bytes(layout_of(view), bytes(row["state"]), bytes(row["sketches"]))
        assert [s.estimate() for s in again.sketches] == [s.estimate() for s in expected[key].sketches]
