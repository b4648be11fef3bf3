from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.events import keys_of
from mailwarden.domain.views import flags_of
from mailwarden.stores.spark.fold_rows import fold_rows, read_events


@pytest.mark.parametrize("emission", ["participants", "participant_domains", "recipients", "pairs"])
def test_rows_are_those_of_keys_of(spark: SparkSession, histories: Any, emission: str, tmp_path: Any) -> None:
    events = histories.events(300, seed=3)
    view = histories.view(emission)
    pq.write_table(histories.table(events), tmp_path / "e.parquet")
    found = Counter(
        (
            row["tenant"],
            tuple(row[1 : 1 + len(view.keys)]),
            row["seq"],
            row["time_us"],
            *(row[f"m{i}"] for i in range(5)),
            *(row[f"x{i}"] for i in range(2)),
            tuple(row["d0"] or ()),
        )
        for row in fold_rows(read_events(spark, (str(tmp_path / "e.parquet"),)), view).collect()
    )
    expected: Counter[Any] = Counter()
    for event in events:
        for key, forward in keys_of(view.emission, event):
            flags = flags_of(event, forward)
            message = event.kind == "message"
            measures = tuple(
                (getattr(event, m.of) if m.of else 1)
                if m.on == event.kind and all(flags[flag] for flag in m.where)
                else 0
                for m in view.measures
            )
            extremes = tuple(message and all(flags[flag] for flag in x.where) for x in view.extremes)
            people = event.recipients if message and forward else ()
            expected[(event.tenant, key, event.seq, event.received_at_us, *measures, *extremes, people)] += 1
    assert found == expected


def test_no_files_are_no_rows(spark: SparkSession, histories: Any) -> None:
    assert fold_rows(read_events(spark, ()), histories.view("pairs")).count() == 0
