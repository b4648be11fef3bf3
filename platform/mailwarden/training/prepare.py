"""Training sets as Feast gives them: each detector's FeatureService, point-in-time correct, by way of Parquet."""

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

from mailwarden.domain.detector import Detector, FeatureTable
from mailwarden.errors import DataError
from mailwarden.training.dataset import LabelledRows, labelled_rows

_ROW_COLUMNS = ("tenant", "message_id", "recipient", "seq", "event_timestamp", "label", "weight")
_BATCH_ROWS = 16_384


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
    """Ask the feature store for each detector's values at its rows, and read them.

    store: a Feast FeatureStore that has a FeatureService named as each detector. entity_rows: Parquet as
    `training.rows` writes it. folder: a new one, that holds one set a detector afterwards. Raises DataError where the
    sets do not hold the same rows, or a feature is absent.
    """
    found: dict[str, tuple[LabelledRows, FeatureTable]] = {}
    for name, kind in detectors.items():
        progress(f"features of {name}")
        job = store.get_historical_features(
            entity_df=str(entity_rows), features=store.get_feature_service(name), full_feature_names=True
        )
        job.to_parquet(str(folder / name))
        found[name] = read_set(folder / name, kind.features)
    if not found:
        raise DataError("No detector was named to prepare a training set for.")
    first = next(iter(found.values()))[0]
    for name, (rows, _) in found.items():
        if rows.fingerprint() != first.fingerprint():
            raise DataError(f"The feature store gave other rows for {name} than for the others. Materialize again.")
    return TrainingInput(first, {name: table for name, (_, table) in found.items()})


def read_set(path: Path, features: Sequence[str]) -> tuple[LabelledRows, FeatureTable]:
    """Rows and features of a set in Parquet whose feature columns are named `view__feature`, in order of arrival.

    Raises DataError naming a column that is absent, or where there are no rows.
    """
    dataset = ds.dataset(str(path), format="parquet")
    columns = {name: name.replace(":", "__", 1) for name in features}
    absent = sorted({*_ROW_COLUMNS, *columns.values()} - set(dataset.schema.names))
    if absent:
        raise DataError(f"The training set {path} has no column {absent[0]}. Apply the feature repository again.")
    n = dataset.count_rows()
    if n == 0:
        raise DataError(f"The training set {path} has no rows. Label mail before the cut-off.")
    own = dataset.to_table(columns=list(_ROW_COLUMNS))
    rows, order = labelled_rows(
        tenant=own["tenant"].to_pylist(),
        message_id=own["message_id"].to_pylist(),
        recipient=[value or "" for value in own["recipient"].to_pylist()],
        seq=_integers(own["seq"]),
        at_us=_integers(own["event_timestamp"].cast(pa.timestamp("us", own["event_timestamp"].type.tz))),
        labels=own["label"].to_pylist(),
        weight=own["weight"].to_numpy().astype(np.float64),
    )
    kinds = {name: _is_text(dataset.schema.field(column).type) for name, column in columns.items()}
    values: dict[str, NDArray[Any]] = {
        name: np.empty(n, dtype=object if text else np.float64) for name, text in kinds.items()
    }
    start = 0
    # Batch by batch, so that texts are never in memory twice over as a whole.
    for batch in dataset.to_batches(columns=list(columns.values()), batch_size=_BATCH_ROWS):
        end = start + batch.num_rows
        for name, column in columns.items():
            values[name][start:end] = _values(batch.column(column), text=kinds[name])
        start = end
    return rows, FeatureTable({name: column[order] for name, column in values.items()}, n)


def _integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _values(column: pa.Array, *, text: bool) -> Any:
    if text:
        return column.to_pylist()
    return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
