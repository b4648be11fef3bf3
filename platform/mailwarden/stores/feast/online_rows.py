"""Rows of Feast's online read: the states behind them in one round trip, and the values that they finalise to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import structlog
from feast import FeatureView
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import Asked, joined_alone
from mailwarden.domain.aggregates.recent import Members
from mailwarden.stores.feast.source import view_of
from mailwarden.stores.online.catalog import VERSION
from mailwarden.stores.online.client import Client, round_trip
from mailwarden.stores.online.keys import catalog_key, marks_key, partition_of, state_field
from mailwarden.stores.online.serving import Serving, version_of
from mailwarden.stores.online.watermark import FOLDED, Watermark

_log = structlog.get_logger(__name__)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Row = tuple[datetime | None, dict[str, Value] | None]
Answer = tuple[Row, Any]
"""A row, and the `FieldStatus` of all its values where it does not follow from them."""

INVALID: Answer = (None, None), FieldStatus.INVALID


@dataclass(frozen=True, slots=True)
class RowsAsked:
    """Rows of one view: keys, times, what should be folded, the features wanted, None for all, and own sets.

    own: of each row by fact of `MEMBERS` its message's own set; empty where rows are of no message.
    """

    table: FeatureView
    keys: list[EntityKey]
    times: list[int]
    dues: list[int]
    features: list[str] | None
    own: Sequence[Mapping[str, Members]]


@dataclass(frozen=True, slots=True)
class Replies:
    """By view and row the state and how far its partition has folded, and the catalog's version."""

    states: Mapping[tuple[int, int], bytes | None]
    folded: Mapping[tuple[int, int], int]
    version: bytes


def replies_to(client: Client, project: str, serving: Serving, asked: Sequence[RowsAsked]) -> Replies:
    """What Redis answers for rows of several views, in one round trip; raises redis errors."""
    commands: dict[tuple[Any, ...], int] = {}
    states: dict[tuple[int, int], int] = {}
    marks: dict[tuple[int, int], int] = {}
    for index, one in enumerate(asked):
        view = view_of(one.table)
        generation = serving.generation(view)
        if generation is None:
            continue
        field = state_field(view, generation)
        for row, (proto, due) in enumerate(zip(one.keys, one.dues, strict=True)):
            key = _redis_key(project, proto, 3)
            states[index, row] = commands.setdefault(("HGET", key, field), len(commands))
            if due:
                tenant = proto.entity_values[list(proto.join_keys).index("tenant")].string_val
                mark = ("HGET", marks_key(project, partition_of(key, serving.partitions)), FOLDED + tenant.encode())
                marks[index, row] = commands.setdefault(mark, len(commands))
    *replies, version = round_trip(client, [*commands, ("HGET", catalog_key(project), VERSION)])
    folded = dict.fromkeys(states, 0)
    for place, reply in marks.items():
        found = Watermark.read(replies[reply])
        folded[place] = 0 if found is None else found.seq
    return Replies({place: replies[reply] for place, reply in states.items()}, folded, version_of(version))


def answers(
    view: ActivityView,
    states: Sequence[bytes | None],
    times: Sequence[int],
    requested: list[str] | None,
    own: Sequence[Mapping[str, Members]] = (),
) -> list[Answer]:
    """Feast's rows of a view: newest event time and values, or (None, None) for a key that was never seen.

    times: of each read, microseconds UTC. requested: names of features, None for all. own: as in `RowsAsked`; where it
    is empty, features that compare a message with the past are null.
    """
    layout = layout_of(view)
    at_us = np.array(times, dtype=np.int64)
    held = own or [{}] * len(times)
    reads = joined_alone(layout).read(
        Asked(at, sets, ((state,),)) for at, sets, state in zip(times, held, states, strict=True)
    )
    seen = reads.seen[:, 0]
    values = finalise(layout, reads.slots, reads.times, reads.matches, seen, at_us)
    wanted = [
        (index, feature.name, feature.dtype == "int64")
        for index, feature in enumerate(view.features)
        if requested is None or feature.name in requested
    ]
    rows: list[Answer] = []
    for row, state in enumerate(states):
        problem = reads.problems.get((row, 0))
        if problem is not None:
            _log.error("state of a view cannot be read", view=view.name, error=problem)
            rows.append(INVALID)
            continue
        if state is None or not seen[row]:
            rows.append(((None, None), None))
            continue
        found = {name: _value(float(values[row, index]), is_integer) for index, name, is_integer in wanted}
        newest_us = int(np.frombuffer(state, dtype="<i8", count=3)[2])
        rows.append(((EPOCH + newest_us * MICROSECOND, found), None))
    return rows


def _value(value: float, is_integer: bool) -> Value:
    if np.isnan(value):
        return Value()
    return Value(int64_val=int(value)) if is_integer else Value(double_val=value)
