"""What the event log holds for a view: rows, keys, and a sample of keys with their events, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import Layout, layout_of
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.windows import LATENESS_US
from mailwarden.domain.mail.events import Event, keys_of
from mailwarden.stores.lake.event_log import EventLog, table_to_events

COUNTED_KEYS = 4_096
"""Keys of the smallest hashes that are kept: all of them where there are no more, else an estimate within 2%
(one standard error) of how many there are."""

FOLDED_KEYS = 256
"""Of those, how many are folded to see how large a state becomes."""

FOLDED_EVENTS = 200
"""Events that are folded a key; of more, as many at even distances, and one in every bucket that its state keeps."""

_HASHES = float(2**64)
_JOINT = "\x00"
_TIME = "received_at"

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LogSample:
    """events: in the log. rows: events times keys that they reach. keys: different ones, estimated where many.

    key_bytes, state_bytes, sketch_bytes: means a key over `sampled` keys.
    """

    events: int
    rows: int
    keys: int
    sampled: int
    key_bytes: float
    state_bytes: float
    sketch_bytes: float


def sample_log(log: EventLog, view: ActivityView) -> LogSample:
    """Read the log twice, once for the columns of the view's keys and once for the events of sampled keys.

    The same log gives the same sample.
    """
    events, counts = 0, _Smallest()
    for batch in log.scan(columns=[*_columns(view), _TIME]):
        events += batch.num_rows
        rows, keys = _joined(batch, view)
        counts.add(_hashes(keys), _times(batch)[rows])
    if not counts.rows:
        return LogSample(events, 0, 0, 0, 0.0, 0.0, 0.0)
    states = list(_states(log, view, _Thinned(layout_of(view), *counts.smallest(FOLDED_KEYS))))
    sizes = np.array([(len(key), len(state.to_bytes()), _sketches(state)) for key, state in states])
    key_bytes, state_bytes, sketch_bytes = sizes.mean(axis=0)
    return LogSample(
        events, counts.rows, counts.keys(), len(states), float(key_bytes), float(state_bytes), float(sketch_bytes)
    )


def count_rows(log: EventLog, view: ActivityView) -> int:
    """Events times keys of the view that they reach, from the columns of its keys."""
    return sum(len(_joined(batch, view)[0]) for batch in log.scan(columns=_columns(view)))


class _Smallest:
    """Rows by hash of their key, for the keys of the smallest hashes: a sample of keys, each as likely as another."""

    def __init__(self) -> None:
        self.rows = 0
        self._hashes: Hashes = np.empty(0, dtype=np.uint64)
        self._counts: Ints = np.empty(0, dtype=np.int64)
        self._newest: Ints = np.empty(0, dtype=np.int64)
        self._whole = True

    def add(self, hashes: Hashes, times: Ints) -> None:
        """Count rows of these keys, with their event times."""
        self.rows += len(hashes)
        if not self._whole:
            small = hashes <= self._hashes[-1]
            hashes, times = hashes[small], times[small]
        both, place = np.unique(np.concatenate([self._hashes, hashes]), return_inverse=True)
        ones = np.ones(len(hashes), dtype=np.int64)
        counts = np.bincount(place, np.concatenate([self._counts, ones])).astype(np.int64)
        newest = np.full(len(both), np.iinfo(np.int64).min)
        np.maximum.at(newest, place, np.concatenate([self._newest, times]))
        self._whole = self._whole and len(both) <= COUNTED_KEYS
        self._hashes, self._counts, self._newest = both[:COUNTED_KEYS], counts[:COUNTED_KEYS], newest[:COUNTED_KEYS]

    def keys(self) -> int:
        """How many different keys there were."""
        if self._whole:
            return len(self._hashes)
        return round((COUNTED_KEYS - 1) * _HASHES / float(self._hashes[-1]))

    def smallest(self, n: int) -> tuple[Hashes, Ints, Ints]:
        """Of the first n keys: hashes, ascending, rows, and the time of the newest event."""
        return self._hashes[:n], self._counts[:n], self._newest[:n]


class _Thinned:
    """Chooses events of sampled keys: of a busy key few, with one in every bucket that its state would keep."""

    def __init__(self, layout: Layout, hashes: Hashes, counts: Ints, newest: Ints) -> None:
        self._layout, self._hashes, self._newest = layout, hashes, newest
        self._step = -(-counts // FOLDED_EVENTS)
        self._passed = np.zeros(len(hashes), dtype=np.int64)
        self._filled: set[tuple[int, int, int]] = set()

    def choose(self, hashes: Hashes, times: Ints) -> Ints:
        """Places of the rows to fold, ascending."""
        taken = np.flatnonzero(np.isin(hashes, self._hashes))
        key = np.searchsorted(self._hashes, hashes[taken])
        # The how-manieth of its key each row is.
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, np.int64)
        rank = np.empty(len(key), dtype=np.int64)
        rank[order] = np.arange(len(key)) - np.repeat(starts, np.diff(np.r_[starts, len(key)]))
        chosen = (rank + self._passed[key]) % self._step[key] == 0
        self._passed += np.bincount(key, minlength=len(self._hashes))
        for index, level in enumerate(self._layout.levels):
            bucket = times[taken] // level.hop_us
            oldest = (self._newest[key] - LATENESS_US - level.length_us) // level.hop_us
            _, first = np.unique(np.stack([key, bucket]), axis=1, return_index=True)
            for at in first[(bucket >= oldest)[first]].tolist():
                place = index, int(key[at]), int(bucket[at])
                if place not in self._filled:
                    self._filled.add(place)
                    chosen[at] = True
        places: Ints = taken[chosen]
        return places


def _states(log: EventLog, view: ActivityView, thinned: _Thinned) -> Iterator[tuple[str, EntityState]]:
    found: dict[str, dict[int, Event]] = {}
    for batch in log.scan():
        rows, keys = _joined(batch, view)
        chosen = thinned.choose(_hashes(keys), _times(batch)[rows])
        if len(chosen):
            events = table_to_events(pa.Table.from_batches([batch.take(pa.array(rows[chosen]))]))
            for event, key in zip(events, keys.take(pa.array(chosen)).to_pylist(), strict=True):
                found.setdefault(key, {})[event.seq] = event
    for key, events_of_key in found.items():
        yield key, _folded(view, key, [events_of_key[seq] for seq in sorted(events_of_key)])


def _folded(view: ActivityView, key: str, events: Sequence[Event]) -> EntityState:
    state = EntityState(layout_of(view))
    for event in events:
        ways = [
            way
            for values, way in keys_of(view.emission, event, view.keys)
            if _JOINT.join((event.tenant, *values)) == key
        ]
        state.fold(event, ways)
    return state


def _sketches(state: EntityState) -> int:
    return len(state.sketch_bytes()) if state.layout.distinct_names else 0


def _columns(view: ActivityView) -> list[str]:
    match view.emission:
        case "facts":
            return ["tenant", *view.keys]
        case "participants":
            return ["tenant", "direction", "sender", "recipients"]
        case "participant_domains":
            return ["tenant", "direction", "sender_domain", "recipient_domains"]
        case "recipients":
            return ["tenant", "recipients"]
        case _:
            return ["tenant", "sender", "recipients"]


def _joined(batch: pa.RecordBatch, view: ActivityView) -> tuple[NDArray[np.int64], pa.Array]:
    """For every row of a key that `events.keys_of` names: the event's place in the batch, and tenant and key joined."""
    everyone = pa.array(np.arange(batch.num_rows))
    parts: list[tuple[pa.Array, list[pa.Array]]] = []
    if view.emission == "facts":
        parts.append((everyone, [batch.column(name) for name in view.keys]))
    elif view.emission in ("participants", "participant_domains"):
        suffix = "_domain" if view.emission == "participant_domains" else ""
        parts.append((everyone, [batch.column(f"sender{suffix}")]))
        outbound = batch.filter(pc.equal(batch.column("direction"), "outbound"))
        places = everyone.filter(pc.equal(batch.column("direction"), "outbound"))
        row, many = _spread(outbound.column(f"recipient{suffix}s"))
        parts.append((places.take(row), [many]))
    else:
        row, many = _spread(batch.column("recipients"))
        if view.emission == "recipients":
            parts.append((row, [many]))
        else:
            senders = batch.column("sender").take(row)
            parts += [(row, [senders, many]), (row, [many, senders])]
    rows, keys = [], []
    for row, columns in parts:
        whole = _whole(row, columns)
        row, columns = row.filter(whole), [column.filter(whole) for column in columns]
        rows.append(row.to_numpy(zero_copy_only=False))
        tenants = batch.column("tenant").take(row)
        keys.append(pc.binary_join_element_wise(tenants, *columns, _JOINT) if columns else tenants)
    return np.concatenate(rows), pa.concat_arrays(keys)


def _whole(row: pa.Array, columns: Sequence[pa.Array]) -> pa.Array:
    """Where no part of the key is missing; files older than a column have nulls there."""
    held = pa.array(np.ones(len(row), dtype=bool))
    for column in columns:
        held = pc.and_(held, pc.fill_null(pc.not_equal(column, ""), False))
    return held


def _spread(lists: pa.Array) -> tuple[pa.Array, pa.Array]:
    return pc.list_parent_indices(lists), pc.list_flatten(lists)


def _times(batch: pa.RecordBatch) -> Ints:
    found: Ints = batch.column(_TIME).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return found


def _hashes(keys: pa.Array) -> Hashes:
    found: Hashes = pd.util.hash_array(keys.to_numpy(zero_copy_only=False), categorize=False)
    return found
