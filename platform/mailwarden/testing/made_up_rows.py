"""Events and reads as the rows that the vectorised read takes, made one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.offline.fold_rows import FoldRows
from mailwarden.domain.aggregates.offline.names import Names
from mailwarden.domain.aggregates.windows import NOTHING
from mailwarden.domain.mail.events import Event, Way, keys_of
from mailwarden.testing.histories import Request
from mailwarden.testing.naive_facts import all_true, members, quantity

_Key = tuple[str, ...]


class _Row(NamedTuple):
    key: tuple[str, ...]
    seq: int
    is_event: bool
    at_us: int
    source: tuple[Event, Way] | Request


def keys_in(view: ActivityView, events: Sequence[Event]) -> list[tuple[str, _Key]]:
    """The (tenant, key) pairs that events fold into, sorted."""
    return sorted({(event.tenant, key) for event in events for key, _ in keys_of(view.emission, event, view.keys)})


def fold_rows_of(
    view: ActivityView, events: Sequence[Event], requests: Sequence[Request]
) -> tuple[FoldRows, list[Request]]:
    """Events and reads as the rows that `AsOf` takes, keys in the order of their names; the reads in row order."""
    happened = [
        _Row((event.tenant, *key), event.seq, True, event.received_at_us, (event, way))
        for event in events
        for key, way in keys_of(view.emission, event, view.keys)
    ]
    asked = [_Row((r.tenant, *r.key), r.seq, False, r.at_us, r) for r in requests]
    rows = sorted([*happened, *asked], key=lambda row: row[:3])
    n = len(rows)
    names = {name: index for index, name in enumerate(sorted({row.key for row in rows}))}
    held = [extreme for extreme in view.extremes if extreme.of]
    deltas = np.zeros((n, len(view.measures)), dtype=np.int64)
    peaks = np.full((n, len(view.peaks)), NOTHING, dtype=np.int64)
    extremes = np.zeros((n, len(view.extremes)), dtype=np.bool_)
    kept = np.zeros((n, len(held)), dtype=np.int64)
    distincts: tuple[list[list[str] | None], ...] = tuple([None] * n for _ in view.distincts)
    recents: tuple[list[list[str] | None], ...] = tuple([None] * n for _ in view.recents)
    for i, row in enumerate(rows):
        if isinstance(row.source, Request):
            for j, recent in enumerate(view.recents):
                recents[j][i] = list(row.source.own.get(recent.of, ()))
            continue
        event, way = row.source

        def counts(where: tuple[str, ...], event: Event = event, way: Way = way) -> bool:
            return all_true(where, event, way)

        for j, measure in enumerate(view.measures):
            if measure.on == event.kind and counts(measure.where):
                deltas[i, j] = quantity(event, measure.of) if measure.of else 1
        kept[i] = [quantity(event, extreme.of) for extreme in held]
        if event.kind != "message":
            continue
        for j, peak in enumerate(view.peaks):
            if counts(peak.where):
                peaks[i, j] = quantity(event, peak.of) * (-1 if peak.kind == "min" else 1)
        extremes[i] = [counts(extreme.where) for extreme in view.extremes]
        for j, distinct in enumerate(view.distincts):
            if counts(distinct.where):
                distincts[j][i] = sorted(members(event, distinct.of))
        for j, recent in enumerate(view.recents):
            if counts(recent.where):
                recents[j][i] = sorted(members(event, recent.of))
    fold_rows = FoldRows(
        key=np.array([names[row.key] for row in rows], dtype=np.int64),
        seq=np.array([row.seq for row in rows], dtype=np.int64),
        time_us=np.array([row.at_us for row in rows], dtype=np.int64),
        request=np.array([not row.is_event for row in rows], dtype=np.bool_),
        deltas=deltas,
        peaks=peaks,
        extremes=extremes,
        held=kept,
        distincts=tuple(map(Names.of, distincts)),
        recents=tuple(map(Names.of, recents)),
    )
    return fold_rows, [row.source for row in rows if isinstance(row.source, Request)]
