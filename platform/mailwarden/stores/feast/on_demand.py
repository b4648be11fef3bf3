"""On-demand feature views applied by Arrow batches on Spark's executors: the function that Feast applies online."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import OnDemandFeatureView
from feast.types import from_feast_to_pyarrow_type
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import StructField, StructType

from mailwarden.errors import ContractError


@dataclass(frozen=True, slots=True)
class Transform:
    """What an executor needs of an on-demand feature view, without Feast.

    rowwise: the function takes one row as plain values, as Feast's `singleton` does. inputs: the names that the
    function may read, each with the column that holds it. outputs: name of the feature, of its column, and its type.
    """

    view: str
    mode: str
    rowwise: bool
    function: Callable[[Any], Any]
    inputs: Mapping[str, str]
    outputs: tuple[tuple[str, str, pa.DataType], ...]


def transform_of(
    view: OnDemandFeatureView, features: Sequence[str], columns: Iterable[str], *, full_feature_names: bool
) -> Transform:
    """The transform that computes some features of a view.

    columns: those of the entity rows, which the function may read, request sources among them. It may also read its
    sources' features by `view__feature` and, where only one source has a feature of that name, by `feature`. Raises
    ContractError where the view's mode or a feature is unknown.
    """
    if view.mode not in ("pandas", "python") or view.feature_transformation is None:
        raise ContractError(
            f"on-demand feature view {view.name}: mode {view.mode!r} has no values here; use pandas or python"
        )
    kinds = {field.name: from_feast_to_pyarrow_type(field.dtype) for field in view.features}
    unknown = [name for name in features if name not in kinds]
    if unknown:
        raise ContractError(f"on-demand feature view {view.name} has no feature {unknown[0]!r}")
    inputs = {name: name for name in columns}
    short: dict[str, list[str]] = {}
    for source in view.source_feature_view_projections.values():
        for field in source.features:
            full = f"{source.name_to_use()}__{field.name}"
            column = full if full_feature_names else field.name
            inputs[full] = inputs[f"{source.name}__{field.name}"] = column
            short.setdefault(field.name, []).append(column)
    inputs |= {name: found[0] for name, found in short.items() if len(found) == 1}
    prefix = f"{view.projection.name_to_use()}__"
    return Transform(
        view=view.name,
        mode=view.mode,
        rowwise=bool(view.singleton),
        function=view.feature_transformation.udf,
        inputs=inputs,
        outputs=tuple((name, prefix + name if full_feature_names else name, kinds[name]) for name in features),
    )


def with_transforms(frame: DataFrame, transforms: Sequence[Transform]) -> DataFrame:
    """The frame with the columns of all transforms beside its own, computed in one pass by Arrow; nothing runs yet.

    A function that gives other rows than it was given, leaves a feature out or gives it another type ends the job
    with ContractError.
    """
    if not transforms:
        return frame
    added = [
        StructField(column, from_arrow_type(kind)) for transform in transforms for _, column, kind in transform.outputs
    ]
    return frame.mapInArrow(_applied(tuple(transforms)), StructType([*frame.schema.fields, *added]))


def _applied(transforms: tuple[Transform, ...]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns, names = list(batch.columns), list(batch.schema.names)
            for transform in transforms:
                columns += apply_transform(transform, batch)
                names += [column for _, column, _ in transform.outputs]
            yield pa.RecordBatch.from_arrays(columns, names=names)

    return apply


def apply_transform(transform: Transform, batch: pa.RecordBatch) -> list[pa.Array]:
    """The columns of a transform's outputs over a batch, row by row the batch's own; ContractError as above."""
    if not batch.num_rows:
        return [pa.array([], kind) for _, _, kind in transform.outputs]
    inputs = pa.table({name: _utc(batch.column(column)) for name, column in transform.inputs.items()})
    if transform.mode == "pandas":
        found = _of_frame(transform, inputs.to_pandas())
    elif transform.rowwise:
        rows = [transform.function(row) for row in inputs.to_pylist()]
        found = {name: [row.get(name) for row in rows] for name, _, _ in transform.outputs}
    else:
        found = transform.function(inputs.to_pydict())
    return [_column(transform, found, name, kind, batch.num_rows) for name, _, kind in transform.outputs]


def _utc(column: pa.Array) -> pa.Array:
    # Spark writes its session's zone on every timestamp.
    zoned = pa.types.is_timestamp(column.type) and column.type.tz is not None
    return column.cast(pa.timestamp(column.type.unit, tz="UTC")) if zoned else column


def _of_frame(transform: Transform, given: pd.DataFrame) -> Mapping[str, Any]:
    index = given.index.copy()
    found = transform.function(given)
    if not isinstance(found, pd.DataFrame):
        raise ContractError(f"on-demand feature view {transform.view} gave a {type(found).__name__}; give a DataFrame")
    if not found.index.equals(index):
        raise ContractError(
            f"on-demand feature view {transform.view} gave {len(found)} rows for {len(index)}, or in another order; "
            "give each row its values, in the order given"
        )
    return {str(name): found[name] for name in found.columns}


def _column(transform: Transform, found: Mapping[str, Any], name: str, kind: pa.DataType, rows: int) -> pa.Array:
    where = f"on-demand feature view {transform.view}: {name}"
    # Feast lets a function name its outputs either way.
    values = found.get(name, found.get(f"{transform.view}__{name}"))
    if values is None:
        raise ContractError(f"{where} is not among what the function gave: {', '.join(found)}")
    if len(values) != rows:
        raise ContractError(f"{where} has {len(values)} values for {rows} rows; give each row its own")
    try:
        column = pa.array(values, from_pandas=True) if isinstance(values, pd.Series) else pa.array(values)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as exc:
        raise ContractError(f"{where} is declared {kind}, and the function gave something else: {exc}") from exc
