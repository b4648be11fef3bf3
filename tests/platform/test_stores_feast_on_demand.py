"""On-demand views over Arrow batches: what their functions are given, and what becomes of what they give."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, OnDemandFeatureView, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float64, Int64, String, UnixTimestamp

from mailwarden.errors import ContractError
from mailwarden.stores.feast.on_demand import Transform, apply_transform, transform_of

SENDER = Entity(name="sender", value_type=ValueType.STRING)
BATCH = pa.RecordBatch.from_pydict(
    {
        "sender": ["a", "b", "c"],
        "plus": pa.array([10, 20, None], pa.int64()),
        "rates__n": pa.array([1, None, 3], pa.int64()),
        "rates__same": pa.array([0.5, 0.25, 0.125]),
        "ranks__same": pa.array([1.0, 2.0, 3.0]),
        "at": pa.array([0, 1, 2], pa.timestamp("us", tz="Asia/Kolkata")),
    }
)
COLUMNS = ("sender", "plus", "at")


def source(name: str, *features: str) -> FeatureView:
    return FeatureView(
        name=name,
        entities=[SENDER],
        schema=[Field(name=feature, dtype=Int64 if feature == "n" else Float64) for feature in features],
        source=FileSource(name=f"{name}_source", path="none.parquet", timestamp_field="event_timestamp"),
        ttl=timedelta(0),
    )


def view(function: Callable[..., Any], mode: str = "pandas", singleton: bool = False) -> OnDemandFeatureView:
    fields = {"sum": Int64, "text": String, "flag": Bool, "parts": Array(Int64), "when": UnixTimestamp}
    return on_demand_feature_view(
        sources=[
            source("rates", "n", "same"),
            source("ranks", "same"),
            RequestSource(name="asked", schema=[Field(name="plus", dtype=Int64)]),
        ],
        schema=[Field(name=name, dtype=dtype) for name, dtype in fields.items()],
        mode=mode,
        singleton=singleton,
    )(function)


def transform(function: Callable[..., Any], *outputs: str, mode: str = "pandas", singleton: bool = False) -> Transform:
    return transform_of(view(function, mode, singleton), outputs, COLUMNS, full_feature_names=True)


def run(function: Callable[..., Any], *outputs: str, mode: str = "pandas", singleton: bool = False) -> list[list[Any]]:
    found = apply_transform(transform(function, *outputs, mode=mode, singleton=singleton), BATCH)
    return [column.to_pylist() for column in found]


def test_every_mode_gives_each_row_its_own() -> None:
    def frame(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"sum": inputs["n"] + inputs["plus"], "text": inputs["sender"] + "!"})

    def lists(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        pairs = zip(inputs["rates__n"], inputs["plus"], strict=True)
        return {"sum": [None if None in (n, plus) else n + plus for n, plus in pairs], "text": inputs["sender"]}

    def row(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"sum": (inputs["n"] or 0) + (inputs["plus"] or 0), "text": inputs["sender"] * 2}

    assert run(frame, "sum", "text") == [[11, None, None], ["a!", "b!", "c!"]]
    assert run(lists, "sum", "text", mode="python") == [[11, None, None], ["a", "b", "c"]]
    assert run(row, "sum", "text", mode="python", singleton=True) == [[11, 20, 3], ["aa", "bb", "cc"]]


def test_a_function_may_read_what_it_declares_and_no_more() -> None:
    seen: dict[str, Any] = {}

    def look(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        seen.update(inputs)
        return {"sum": [1, 2, 3]}

    made = view(look, "python")
    full, short = (transform_of(made, ("sum",), COLUMNS, full_feature_names=names) for names in (True, False))
    apply_transform(full, BATCH)
    # A name that two sources share is none of its own: only with its view does it say whose it is.
    assert set(seen) == {*COLUMNS, "n", "rates__n", "rates__same", "ranks__same"}
    assert short.inputs["rates__n"] == short.inputs["n"] == "n"
    assert [column for _, column, _ in short.outputs] == ["sum"]
    assert [column for _, column, _ in full.outputs] == ["look__sum"]


@pytest.fixture(params=["Pacific/Apia", "UTC"])
def process_zone(request: pytest.FixtureRequest) -> Iterator[str]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def test_times_are_utc_whatever_zone_spark_or_the_process_writes_on_them(process_zone: str) -> None:
    def frame(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"when": inputs["at"], "text": inputs["at"].astype(str), "sum": inputs["at"].dt.hour})

    when, text, hour = run(frame, "when", "text", "sum")
    assert [moment.timestamp() for moment in when] == [0.0, 1e-6, 2e-6]
    assert text[0] == "1970-01-01 00:00:00+00:00"
    assert hour == [0, 0, 0]


def test_values_become_what_the_view_declares() -> None:
    def frame(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "view__sum": [1.0, None, 3.0],
                "sum": [1.0, None, 3.0],
                "flag": [True, None, False],
                "parts": [[1, 2], None, []],
                "text": [None, None, None],
            }
        )

    assert run(frame, "sum", "flag", "parts", "text") == [
        [1, None, 3],
        [True, None, False],
        [[1, 2], None, []],
        [None, None, None],
    ]


@pytest.mark.parametrize(
    ("function", "mode", "says"),
    [
        (lambda inputs: inputs.iloc[:2], "pandas", "gave 2 rows for 3"),
        (lambda inputs: inputs.iloc[::-1], "pandas", "in another order"),
        (lambda inputs: {"sum": [1, 2]}, "python", "has 2 values for 3 rows"),
        (lambda inputs: {"other": [1, 2, 3]}, "python", "sum is not among what the function gave: other"),
        (lambda inputs: {"sum": ["x", "y", "z"]}, "python", "declared int64"),
        (lambda inputs: {"sum": [1.5, 2.5, 3.5]}, "python", "declared int64"),
        (lambda inputs: [1, 2, 3], "pandas", "give a DataFrame"),
    ],
)
def test_what_breaks_the_contract_is_said(function: Callable[..., Any], mode: str, says: str) -> None:
    made = transform(lambda inputs: inputs, "sum", mode=mode)
    broken = Transform(made.view, made.mode, made.rowwise, function, made.inputs, made.outputs)
    with pytest.raises(ContractError, match=says):
        apply_transform(broken, BATCH)


def test_what_cannot_be_computed_is_refused_before_anything_runs() -> None:
    def frame(inputs: pd.DataFrame) -> pd.DataFrame:
        return inputs

    made = view(frame)
    with pytest.raises(ContractError, match="has no feature 'other'"):
        transform_of(made, ("other",), COLUMNS, full_feature_names=True)
    made.mode = "substrait"
    with pytest.raises(ContractError, match="use pandas or python"):
        transform_of(made, ("sum",), COLUMNS, full_feature_names=True)


def test_no_rows_give_columns_of_the_declared_types() -> None:
    def frame(inputs: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError("a function is not called for nothing")

    found = apply_transform(transform(frame, "sum", "parts"), BATCH.slice(0, 0))
    assert [column.type for column in found] == [pa.int64(), pa.list_(pa.int64())]
