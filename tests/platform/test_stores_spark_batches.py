"""Arrow batches as fold rows, without Spark: what its columns may hold."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mailwarden.domain.aggregates.definitions import ActivityView, Distinct, Feature, Match, Recent, Total
from mailwarden.domain.aggregates.fact_specs import flag_mask
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.stores.spark.batches import KeyedBatches
from mailwarden.stores.spark.fold_rows import KIND_BITS

VIEW = ActivityView(
    name="one", version=1, owner="tests", description="", keys=("sender",), emission="participants",
    measures=(),
    extremes=(),
    distincts=(Distinct("people", "recipients", where=("inbound",)),),
    recents=(Recent("sets", "recipients", 3),),
    features=(
        Feature("people", Total("people", W_ALL), "", "people"),
        Feature("sets", Match("sets"), "", "0..1"),
    ),
)  # fmt: skip
INBOUND = flag_mask(("inbound",))


def batch_of(names: list[list[str | None] | None], flags: int = INBOUND) -> pa.RecordBatch:
    n = len(names)
    columns = {
        "tenant": pa.array(["t"] * n),
        "sender": pa.array(["a@x.test"] * n),
        "seq": pa.array(range(n), pa.int64()),
        "time_us": pa.array([0] * n, pa.int64()),
        "row_id": pa.array([i if i % 2 else -1 for i in range(n)], pa.int64()),
        "flags": pa.array([0 if i % 2 else flags | KIND_BITS["message"] for i in range(n)], pa.int64()),
        "n_recipients": pa.array(names, pa.list_(pa.string())),
    }
    return pa.RecordBatch.from_pydict(columns)


def read(batch: pa.RecordBatch) -> tuple[list[list[str]], list[list[str]]]:
    rows, _ = KeyedBatches(layout_of(VIEW), "row_id").read(batch)
    n = batch.num_rows
    return [rows.distincts[0].of_row(i) for i in range(n)], [rows.recents[0].of_row(i) for i in range(n)]


ODD = [["x", "y"], [None], [], ["x", None, ""], None, [""], ["y", "z"], ["x"]]


def test_names_that_are_missing_or_empty_are_nobodys() -> None:
    counted, kept = read(batch_of(ODD))
    assert counted == [["x", "y"], [], [], [], [], [], ["y", "z"], []]
    assert kept == [["x", "y"], [], [], ["x"], [], [], ["y", "z"], ["x"]]


@pytest.mark.parametrize("start", range(len(ODD)))
def test_a_part_of_a_batch_reads_as_it_does_in_the_whole(start: int) -> None:
    whole = read(batch_of(ODD))
    part = read(batch_of(ODD).slice(start, 4))
    assert part == (whole[0][start : start + 4], whole[1][start : start + 4])


def test_an_event_that_its_filter_passes_over_adds_no_names_and_a_request_brings_its_own() -> None:
    counted, kept = read(batch_of([["x"], ["y"]], flags=0))
    assert (counted, kept) == ([[], []], [["x"], ["y"]])
