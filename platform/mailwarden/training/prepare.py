"""Training sets as Feast gives them: what the detectors' FeatureServices name, point-in-time, by way of Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError
from mailwarden.training.dataset import LabelledRows, labelled_rows
from mailwarden.training.split import split_by_time

_ROW_COLUMNS = ("tenant", "message_id", "recipient", "seq", "event_timestamp", "label", "weight")
_BATCH_ROWS = 16_384

SET = "set"
"""Folder of the Parquet that holds every feature that the detectors read."""


@dataclass(frozen=True, slots=True)
class TrainingInput:
    """rows: the labelled rows, in order of arrival. features: each detector's table over these same rows."""

    rows: LabelledRows
    features: Mapping[str, FeatureTable]


def prepare(
    store: Any,
    entity_rows: Path,
    detectors: Mapping[str, type[Detector]],
    folder: Path,
    *,
    progress: Callable[[str], None] = lambda stage: None,
) -> TrainingInput:
    """Ask the feature store once for all that the detectors read, and give each detector its own part.

    store: a Feast FeatureStore that has a FeatureService named as each detector. entity_rows: Parquet as
    `training.rows` writes it. folder: holds the set afterwards, as `SET` below it. Raises DataError where other rows
    came back than were asked for, or a feature is absent.
    """
    if not detectors:
        raise DataError("No detector was named to prepare a training set for.")
    # A view that several detectors read is computed once, and all see the same rows.
    refs = dict.fromkeys(
        f"{projection.name_to_use()}:{feature.name}"
        for name in detectors
        for projection in store.get_feature_service(name).feature_view_projections
        for feature in projection.features
    )
    progress(f"features of {', '.join(detectors)}")
    path = folder / SET
    ask(store, entity_rows, list(refs), path)
    found: dict[str, FeatureTable] = {}
    for name, kind in detectors.items():
        rows, found[name] = read_set(path, kind.features)
    return TrainingInput(rows, found)


def check_rows(entity_rows: Path) -> None:
    """See that rows as `training.rows` writes them can be trained on, before their features are asked for, which takes
    minutes; raises DataError, saying what is there and what it takes, where they cannot."""
    found = ds.dataset(str(entity_rows), format="parquet").to_table(columns=list(_ROW_COLUMNS))
    rows, _ = _labelled(found)
    first = rows.of_messages()
    split_by_time(rows.bad[first], rows.tenant[first])


def ask(store: Any, entity_rows: Path, features: Sequence[str], path: Path) -> None:
    """Write the values of features, and why what is null is null, of these rows as a set in Parquet at `path`.

    features: full names. Raises DataError where other rows came back than were asked for.
    """
    job = store.get_historical_features(entity_df=str(entity_rows), features=list(features), full_feature_names=True)
    # Why what is null is null reaches the detectors, in training as in serving.
    job = job.with_statuses()
    job.to_parquet(str(path))
    asked, given = (ds.dataset(str(where), format="parquet").count_rows() for where in (entity_rows, path))
    if asked != given:
        raise DataError(f"The feature store gave {given} rows for {asked} that were asked. Do not use them.")


def feature_table(rows: pa.Table, features: Sequence[str]) -> FeatureTable:
    """Rows of a set as detectors read them, in the order that they are in; raises KeyError on an absent column."""
    columns: dict[str, NDArray[Any]] = {}
    for name in features:
        column = rows[name.replace(":", "__", 1)].combine_chunks()
        text = _is_text(column.type)
        columns[name] = np.array(column.to_pylist(), dtype=object) if text else _values(column, text=False)
    views = dict.fromkeys(name.partition(":")[0] for name in features)
    statuses = {view: _codes(rows[f"{view}__status"].combine_chunks()) for view in views}
    return FeatureTable(columns, rows.num_rows, statuses)


def read_set(path: Path, features: Sequence[str]) -> tuple[LabelledRows, FeatureTable]:
    """Rows and features of a set in Parquet, in order of arrival.

    Feature columns are named `view__feature`, and those of a view's status `view__status`. Raises DataError naming a
    column that is absent, or where there are no rows.
    """
    dataset = ds.dataset(str(path), format="parquet")
    columns = {name: name.replace(":", "__", 1) for name in features}
    views = dict.fromkeys(name.partition(":")[0] for name in features)
    told = {view: f"{view}__status" for view in views}
    absent = sorted({*_ROW_COLUMNS, *columns.values(), *told.values()} - set(dataset.schema.names))
    if absent:
        raise DataError(f"The training set {path} has no column {absent[0]}. Apply the feature repository again.")
    n = dataset.count_rows()
    if n == 0:
        raise DataError(f"The training set {path} has no rows. Label mail before the cut-off.")
    rows, order = _labelled(dataset.to_table(columns=list(_ROW_COLUMNS)))
    kinds = {name: _is_text(dataset.schema.field(column).type) for name, column in columns.items()}
    values: dict[str, NDArray[Any]] = {
        name: np.empty(n, dtype=object if text else np.float64) for name, text in kinds.items()
    }
    statuses = {view: np.zeros(n, dtype=np.uint8) for view in views}
    start = 0
    # Batch by batch, so that texts are never in memory twice over as a whole.
    for batch in dataset.to_batches(columns=[*columns.values(), *told.values()], batch_size=_BATCH_ROWS):
        end = start + batch.num_rows
        for name, column in columns.items():
            values[name][start:end] = _values(batch.column(column), text=kinds[name])
        for view, column in told.items():
            statuses[view][start:end] = _codes(batch.column(column))
        start = end
    return rows, FeatureTable(
        {name: column[order] for name, column in values.items()},
        n,
        {view: codes[order] for view, codes in statuses.items()},
    )


def _labelled(own: pa.Table) -> tuple[LabelledRows, NDArray[np.intp]]:
    return labelled_rows(
        tenant=own["tenant"].to_pylist(),
        message_id=own["message_id"].to_pylist(),
        recipient=[value or "" for value in own["recipient"].to_pylist()],
        seq=_integers(own["seq"]),
        at_us=_integers(own["event_timestamp"].cast(pa.timestamp("us", own["event_timestamp"].type.tz))),
        labels=own["label"].to_pylist(),
        weight=own["weight"].to_numpy().astype(np.float64),
    )


def _integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _codes(column: pa.Array) -> NDArray[np.uint8]:
    found = column.dictionary_encode()
    try:
        numbers = [CODES[Status(value)] for value in found.dictionary.to_pylist()]
    except ValueError as error:
        raise DataError(f"The training set has a status that is none ({error}). Make it again.") from error
    if found.indices.null_count:
        raise DataError("The training set has rows without a status. Make it again.")
    return np.asarray(np.array(numbers, dtype=np.uint8)[found.indices.to_numpy(zero_copy_only=False)])


def _values(column: pa.Array, *, text: bool) -> Any:
    if text:
        return column.to_pylist()
    return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
