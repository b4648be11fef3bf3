"""Logged vectors scored again by the call that serving makes: rows of the vector log in, rows of the score log out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection.rows import FeatureTable, MatrixColumns
from mailwarden.domain.mail.content import ContentView
from mailwarden.domain.status import CODES, Status
from mailwarden.errors import DataError
from mailwarden.scoring.batch import FAILED, MISSING, RowScores
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.consulting import consult
from mailwarden.scoring.scorer import places_of
from mailwarden.stores.lake.score_log import score_schema

Unanswered = Literal["texts gone", "other version"]
"""Why a detector cannot be asked about a logged row: a text that it reads is kept no longer, or a view that it reads is
of another version."""

RESCORED: pa.Schema = score_schema().append(pa.field("unanswered", pa.string()))
"""Rows of the score log, and why there is no answer where there is none: of `Unanswered`, null where there is one."""

KEYS = ("tenant", "seq", "message_id", "recipient", "received_at", "decision_id")
"""Columns of the vector log that stand in the score log too."""

_UNANSWERED: tuple[Unanswered, ...] = get_args(Unanswered)
_GONE, _OTHER = (1 + _UNANSWERED.index(why) for why in ("texts gone", "other version"))

_Bools = NDArray[np.bool_]
_ANY_VERSION: Mapping[str, int] = MappingProxyType({})


class LoggedPlan:
    """Where the vector log's columns go among what detectors read, laid out as `scorer.RowPlan` does in serving.

    views, content: those of this code. features: full names that are read, all by default; views that none of them is
    of are left out. learned: by view, the version that a bundle learned from, whose rows of other versions it cannot
    answer; none for rows that the bundle decided on itself, since it saw what was logged. It may be sent to another
    process.
    """

    def __init__(
        self,
        views: Sequence[ActivityView],
        content: Sequence[ContentView],
        *,
        features: Collection[str] | None = None,
        learned: Mapping[str, int] = _ANY_VERSION,
    ) -> None:
        self._places = places_of(views, content, features)
        read = {_view(name) for name in (*self._places.numeric, *self._places.texts)}
        versions = {view.name: view.version for view in content} | {view.name: view.version for view in views}
        self._versions = {view: version for view, version in versions.items() if view in read}
        self._learned = {view: version for view, version in learned.items() if view in read}
        written = {view.name: [feature.name for feature in view.features if feature.text] for view in content}
        self._texts = {
            view: [f"{view}__{name}" for name in names] for view, names in written.items() if names and view in read
        }
        self.texts = tuple(name for names in self._texts.values() for name in names)
        """Columns that lie in the table of texts, `<view>__<feature>`."""
        self._written = frozenset(self.texts)

    @property
    def features(self) -> frozenset[str]:
        """Full names of all that is read."""
        return frozenset((*self._places.numeric, *self._places.texts))

    @property
    def columns(self) -> list[str]:
        """Columns of the vector log that are read, `KEYS` apart; it may lack some of them."""
        told = [f"{view}__{what}" for view in self._versions for what in ("status", "version")]
        told += [f"{view}__texts" for view in self._texts]
        return [*told, *(name for name in map(_column, self.features) if name not in self._written)]

    def table(self, rows: pa.Table) -> FeatureTable:
        """Rows of the vector log as detectors read them, texts in columns of their own beside the others.

        A view that a row does not have is unavailable. Raises DataError on a status that this release does not know.
        """
        n = rows.num_rows
        matrix = np.full((n, len(self._places.numeric)), np.nan)
        for name, at in self._places.numeric.items():
            if (column := _read(rows, _column(name))) is not None:
                matrix[:, at] = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        texts = np.full((n, len(self._places.texts)), None, dtype=object)
        for name, at in self._places.texts.items():
            if (column := _read(rows, _column(name))) is not None:
                texts[:, at] = _strings(column)
        statuses = {view: _codes(rows, f"{view}__status") for view in self._versions}
        return FeatureTable(MatrixColumns(self._places, matrix, texts), n, statuses)

    def other_version(self, rows: pa.Table) -> dict[str, _Bools]:
        """By view, (n,) where its values are of another version than this code's, or the one learned from."""
        found = {}
        for view, version in self._versions.items():
            there = _codes(rows, f"{view}__status", absent=-1) >= 0
            logged = _integers(rows, f"{view}__version")
            found[view] = there & ((logged != version) | (logged != self._learned.get(view, version)))
        return found

    def texts_gone(self, rows: pa.Table) -> dict[str, _Bools]:
        """By view, (n,) where a text that it had is there no longer."""
        found = {}
        for view, names in self._texts.items():
            kept = np.zeros(rows.num_rows, dtype=np.int64)
            for name in names:
                if (column := _read(rows, name)) is not None:
                    kept += pc.is_valid(column).to_numpy(zero_copy_only=False)
            wanted = _integers(rows, f"{view}__texts")
            there = _codes(rows, f"{view}__status", absent=-1) >= 0
            # A row that does not say how many had one at least, as nearly all mail has.
            found[view] = there & (kept < np.where(wanted < 0, 1, wanted))
        return found

    def reads_texts_of(self, features: Collection[str]) -> set[str]:
        """Views whose texts are among these features."""
        return {_view(name) for name in features if _column(name) in self._written}


def score_logged(rows: pa.Table, champion: Champion, plan: LoggedPlan, *, asked: bool = False) -> pa.Table:
    """What a bundle's detectors say of logged rows, as `RESCORED` has it: a row a logged row and detector.

    rows: of the vector log, with the texts of `plan.texts` beside them (strings, plain or by dictionary), the rows of
    one message one behind the other. asked: the costly detectors too. A message's scores are those that serving gives
    it, to the last bit.
    """
    if rows.num_rows == 0:
        return RESCORED.empty_table()
    rows = rows.combine_chunks()
    starts = starts_of(rows)
    table = plan.table(rows)
    tenant = _array(rows["tenant"]).take(pa.array(starts[:-1]))
    batch = champion.score(table, starts, tenant.to_pylist())
    if asked:
        batch = consult(champion, table, batch, np.ones(len(starts) - 1, dtype=np.bool_))
    scores = batch.by_row()
    why = _unanswered(rows, starts, scores, champion, plan)
    parts = [_part(rows, one, why[one.detector], champion) for one in scores]
    return pa.concat_tables(parts)


def starts_of(rows: pa.Table) -> NDArray[np.intp]:
    """(messages + 1,) where each message's rows begin, and where the last ones end."""
    n = rows.num_rows
    if n == 0:
        return np.zeros(1, dtype=np.intp)
    first = np.ones(n, dtype=np.bool_)
    tenant = _array(rows["tenant"]).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    seq = rows["seq"].to_numpy()
    first[1:] = (tenant[1:] != tenant[:-1]) | (seq[1:] != seq[:-1])
    return np.append(np.flatnonzero(first), n).astype(np.intp)


def _unanswered(
    rows: pa.Table, starts: NDArray[np.intp], scores: Sequence[RowScores], champion: Champion, plan: LoggedPlan
) -> dict[str, NDArray[np.int8]]:
    """By detector, (n,) 0 where its answer holds, else 1 + the place in `Unanswered`."""
    other, gone = plan.other_version(rows), plan.texts_gone(rows)
    found: dict[str, NDArray[np.int8]] = {}
    spoilt = np.zeros(rows.num_rows, dtype=np.int8)
    for one in scores:
        why = found[one.detector] = np.zeros(rows.num_rows, dtype=np.int8)
        if one.detector not in champion.detectors:
            continue
        seen = {name for name in champion.detectors[one.detector].features if _view(name) not in champion.withheld}
        for view in plan.reads_texts_of(seen):
            why[gone[view]] = _GONE
        for view in {_view(name) for name in seen} & other.keys():
            why[other[view]] = _OTHER
        # One that fails on what it lacks would be away, and the others calibrated without it.
        failed = np.where(one.missing == FAILED, why, 0)
        if failed.any():
            of_message = np.maximum.reduceat(failed, starts[:-1])
            spoilt = np.maximum(spoilt, np.repeat(of_message, np.diff(starts)))
    return {name: np.where(why == 0, spoilt, why) for name, why in found.items()}


def _part(rows: pa.Table, one: RowScores, why: NDArray[np.int8], champion: Champion) -> pa.Table:
    n = rows.num_rows
    nothing = (one.missing != 0) | (why != 0)
    said = {
        "bundle": pa.repeat(pa.scalar(champion.version, pa.int64()), n),
        "detector": pa.repeat(pa.scalar(one.detector), n),
        "model": pa.repeat(pa.scalar(champion.detector_versions.get(one.detector), pa.int64()), n),
        "raw": pa.array(one.raw, pa.float64(), mask=nothing),
        "calibrated": pa.array(one.calibrated, pa.float64(), mask=nothing),
        "milliseconds": pa.array(one.milliseconds, pa.float64()),
        "missing": _worded(np.where(why == 0, one.missing, 0), MISSING),
        "unanswered": _worded(why, _UNANSWERED),
    }
    columns = [rows[field.name].cast(field.type) if field.name in KEYS else said[field.name] for field in RESCORED]
    return pa.table(columns, schema=RESCORED)


def _worded(codes: NDArray[Any], words: Sequence[str]) -> pa.Array:
    return pa.array([None, *words], pa.string()).take(pa.array(codes))


def _view(full_name: str) -> str:
    return full_name.partition(":")[0]


def _column(full_name: str) -> str:
    return full_name.replace(":", "__", 1)


def _array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _read(rows: pa.Table, name: str) -> pa.Array | None:
    return _array(rows[name]) if name in rows.schema.names else None


def _integers(rows: pa.Table, name: str) -> NDArray[np.int64]:
    """(n,) numbers from 0, -1 for null."""
    column = _read(rows, name)
    if column is None:
        return np.full(rows.num_rows, -1, dtype=np.int64)
    found: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return found


def _strings(column: pa.Array) -> NDArray[np.object_]:
    """(n,) str or None; one object for all rows that share it, where they do so by a dictionary."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    values: NDArray[Any] = np.empty(len(column.dictionary) + 1, dtype=object)
    values[:-1] = column.dictionary.to_numpy(zero_copy_only=False)
    values[-1] = None
    return np.asarray(values[pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)])


def _codes(rows: pa.Table, name: str, *, absent: int = CODES[Status.UNAVAILABLE]) -> NDArray[Any]:
    """(n,) `status.CODES`; absent: where a row does not have the view."""
    column = _read(rows, name)
    kind = np.uint8 if absent >= 0 else np.int16
    if column is None:
        return np.full(rows.num_rows, absent, dtype=kind)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    try:
        numbers = [absent if value is None else CODES[Status(value)] for value in encoded.dictionary.to_pylist()]
    except ValueError as error:
        raise DataError(
            f"The vector log's {name} has a status that this release does not know ({error}). A newer one wrote it: "
            "read it with that."
        ) from error
    at = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.asarray(np.array([*numbers, absent], dtype=kind)[at])
