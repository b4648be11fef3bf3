from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Distinct,
    Extreme,
    Measure,
    Peak,
    Recent,
)
from mailwarden.domain.aggregates.fact_specs import FLAGS, MEMBERS, QUANTITIES, QUANTITY_FACTS
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.windows import NOTHING
from mailwarden.domain.mail.events import Emission, Event, Way, keys_of, members_of
from mailwarden.stores.lake.event_log import events_to_table
from mailwarden.stores.spark.batches import KeyedBatches
from mailwarden.stores.spark.fold_rows import fold_rows, key_columns, read_events
from mailwarden.testing.histories import PIECE_BITS, history_of
from mailwarden.testing.naive_facts import all_true, quantity

EMISSIONS: list[tuple[Emission, tuple[str, ...]]] = [
    ("participants", ("sender",)), ("participant_domains", ("sender_domain",)), ("recipients", ("recipient",)),
    ("pairs", ("sender", "recipient")), ("facts", ()), ("facts", ("thread",)), ("facts", ("sender", "display_name")),
]  # fmt: skip


def every_aggregate(emission: Emission, keys: tuple[str, ...]) -> ActivityView:
    """Every flag, quantity and set of names once."""
    return ActivityView(
        name="all", version=1, owner="tests", description="", keys=keys, emission=emission,
        measures=(
            *(Measure(f"is_{flag}", where=(flag,)) for flag in FLAGS),
            *(Measure(f"sum_{fact.name}", fact.name, on=fact.on) for fact in QUANTITY_FACTS),
        ),
        extremes=tuple(Extreme(f"last_{of}", "last", ("forward",), of) for of in QUANTITIES),
        distincts=tuple(Distinct(f"n_{of}", of, ("inbound",)) for of in MEMBERS),
        features=(),
        peaks=(*(Peak(f"top_{of}", "max", of) for of in QUANTITIES), Peak("low", "min", "size_bytes", ("has_link",))),
        recents=tuple(Recent(f"r_{of}", of, 4) for of in MEMBERS),
    )  # fmt: skip


@pytest.mark.parametrize(("emission", "keys"), EMISSIONS)
def test_rows_are_those_of_the_domain(
    spark: SparkSession, emission: Emission, keys: tuple[str, ...], tmp_path: Any
) -> None:
    events = history_of([piece * (2**PIECE_BITS // 317) for piece in range(300)])
    view = every_aggregate(emission, keys)
    pq.write_table(events_to_table(events), tmp_path / "e.parquet")
    keyed = KeyedBatches(layout_of(view), None)
    found: Counter[Any] = Counter()
    for batch in fold_rows(read_events(spark, (str(tmp_path / "e.parquet"),)), view).toArrow().to_batches():
        rows, _ = keyed.read(batch)
        numbers = np.hstack(
            [rows.seq[:, None], rows.time_us[:, None], rows.deltas, rows.peaks, rows.extremes, rows.held]
        )
        named = [
            [tuple(sorted(names.of_row(i))) for i in range(len(rows.key))] for names in (*rows.distincts, *rows.recents)
        ]
        keys_of_rows = [batch.column(name).to_pylist() for name in key_columns(view)]
        for key, row, names in zip(
            zip(*keys_of_rows, strict=True), numbers.tolist(), zip(*named, strict=True), strict=True
        ):
            found[*key, *row, *names] += 1
    expected: Counter[Any] = Counter()
    for event in events:
        for key, way in keys_of(emission, event, keys):
            message = event.kind == "message"

            def counts(where: tuple[str, ...], event: Event = event, way: Way = way) -> bool:
                return all_true(where, event, way)

            measures = [
                (quantity(event, m.of) if m.of else 1) if m.on == event.kind and counts(m.where) else 0
                for m in view.measures
            ]
            peaks = [
                (-1 if p.kind == "min" else 1) * quantity(event, p.of) if message and counts(p.where) else NOTHING
                for p in view.peaks
            ]
            extremes = [message and counts(x.where) for x in view.extremes]
            held = [quantity(event, x.of) for x in view.extremes]
            names = [
                tuple(sorted(members_of(event, a.of))) if message and counts(a.where) else ()
                for a in (*view.distincts, *view.recents)
            ]
            row = (event.tenant, *key, event.seq, event.received_at_us, *measures, *peaks, *extremes, *held, *names)
            expected[row] += 1
    assert found == expected


def test_no_files_are_no_rows(spark: SparkSession, histories: Any) -> None:
    assert fold_rows(read_events(spark, ()), histories.view("pairs")).count() == 0
