"""Logged vectors scored by a bundle with Spark: a message's rows together, detectors loaded once a Python worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import cloudpickle
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from mailwarden.domain.detection.assets import hold
from mailwarden.domain.detection.detector import Detector
from mailwarden.errors import ContractError
from mailwarden.scoring.champion import Champion
from mailwarden.scoring.logged import KEYS, RESCORED, LoggedPlan, score_logged, starts_of
from mailwarden.stores.bundle import Bundle, Member
from mailwarden.stores.spark.fold_rows import side_by_side

_NAME, _VALUE = "text__column", "text__value"
"""Columns of a row that is a text: which it is, and what it says. They are null in rows of the vector log."""


@dataclass(frozen=True, slots=True)
class SentBundle:
    """A bundle as it is sent to Spark's workers, which need neither registry nor store.

    version: in the registry. manifest: its bytes there. contents: bytes of its detectors by name; those that have none
    are away. classes: by name. content_views: names of the views of the message alone. assets: what detectors share.
    """

    version: int
    manifest: bytes
    contents: Mapping[str, bytes]
    classes: Mapping[str, type[Detector]]
    content_views: frozenset[str]
    assets: tuple[bytes, ...] = ()

    def champion(self) -> Champion:
        """The bundle, loaded; raises ContractError where a detector that was sent does not load."""
        for content in self.assets:
            hold(content)
        bundle = Bundle.from_bytes(self.manifest)
        there = {name: member for name, member in bundle.members.items() if name in self.contents}
        by_digest = {there[name].sha256: content for name, content in self.contents.items()}

        def fetch(member: Member) -> bytes:
            return by_digest[member.sha256]

        loaded = Champion.of(
            replace(bundle, members=there), self.classes, fetch, version=self.version, content_views=self.content_views
        )
        for name, why in loaded.away.items():
            raise ContractError(f"detector {name} loads where Spark is started, and not in its workers: {why}")
        return replace(loaded, away={name: "it was not sent" for name in bundle.members if name not in there})


def rescored(
    vectors: DataFrame, texts: DataFrame, bundle: SentBundle, plan: LoggedPlan, *, asked: bool = False
) -> DataFrame:
    """What a bundle says of logged vectors, lazily: a row a logged row and detector, columns `logged.RESCORED`.

    vectors: as `skew.read_vectors` gives them; all rows of a message or none. texts: of the table of texts, those of
    other messages among them or not. asked: the costly detectors are asked about every message, else about none.
    """
    present = [name for name in plan.columns if name in vectors.columns]
    rows = vectors.select(*KEYS, *present)
    if plan.texts:
        name = F.concat_ws("__", "view", "feature").alias(_NAME)
        said = texts.select("tenant", "seq", name, F.col("value").alias(_VALUE)).where(F.col(_NAME).isin(*plan.texts))
        # Beside a message's rows and not in each of them: a text is moved once, however many it was sent to.
        rows = rows.unionByName(said, allowMissingColumns=True)
    ordered = side_by_side(rows, ("tenant", "seq"), ["recipient"])
    shared = vectors.sparkSession.sparkContext.broadcast(cloudpickle.dumps((bundle, plan)))
    return ordered.mapInArrow(_scoring(shared, asked), from_arrow_schema(RESCORED))


def _scoring(shared: Any, asked: bool) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        champion, plan = _loaded(shared.value)
        for rows in whole_messages(batches):
            yield from score_logged(with_texts(rows, plan.texts), champion, plan, asked=asked).to_batches()

    return score


_LOADED: dict[str, tuple[Champion, LoggedPlan]] = {}
"""What this worker has at hand, by the digest of what was sent: the last one alone."""


def _loaded(sent: bytes) -> tuple[Champion, LoggedPlan]:
    digest = sha256(sent).hexdigest()
    if digest not in _LOADED:
        _LOADED.clear()
        bundle, plan = cloudpickle.loads(sent)
        _LOADED[digest] = bundle.champion(), plan
    return _LOADED[digest]


def whole_messages(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows of sorted batches, cut between messages and nowhere else."""
    held: pa.Table | None = None
    for batch in batches:
        if batch.num_rows == 0:
            continue
        found = pa.Table.from_batches([batch])
        rows = found if held is None else pa.concat_tables([held, found])
        last = int(starts_of(rows)[-2])
        held = rows.slice(last)
        if last:
            yield rows.slice(0, last)
    if held is not None:
        yield held


def with_texts(rows: pa.Table, texts: Sequence[str]) -> pa.Table:
    """The rows of vectors alone, with the texts that stand beside them in columns of these names.

    rows: whole messages. Each text is there once, and the rows of its message refer to it.
    """
    if _NAME not in rows.schema.names:
        return rows
    rows = rows.combine_chunks()
    starts = starts_of(rows)
    of_row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    which = pc.fill_null(pc.index_in(rows[_NAME], value_set=pa.array(texts, pa.string())), -1).to_numpy()
    is_text = pc.is_valid(rows[_NAME]).to_numpy()
    vectors = rows.filter(pa.array(~is_text)).drop_columns([_NAME, _VALUE])
    for number, name in enumerate(texts):
        at = np.flatnonzero(which == number)
        place = np.full(len(starts) - 1, -1, dtype=np.int32)
        place[of_row[at]] = np.arange(len(at), dtype=np.int32)
        own = place[of_row[~is_text]]
        values = rows[_VALUE].combine_chunks().take(pa.array(at))
        column = pa.DictionaryArray.from_arrays(pa.array(own, mask=own < 0), values)
        vectors = vectors.append_column(name, column)
    return vectors
