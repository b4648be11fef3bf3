"""The online writers: events folded into packed states one key at a time, and states loaded whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from redis.cluster import RedisCluster

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.mail.events import TOMBSTONE, Event
from mailwarden.errors import StoreError
from mailwarden.stores.online.catalog import Catalog, Entry
from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.folding import Folding, FoldReport, Live, Through
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.keys import (
    STREAMS,
    KeyTemplate,
    fields_of,
    sketch_field,
    state_field,
)
from mailwarden.stores.online.rebuilding import KeyHistory, Rebuilding

_T = TypeVar("_T")

LOAD = """
local width = tonumber(ARGV[1])
local written, bytes = 0, 0
for i, key in ipairs(KEYS) do
  local first = (i - 1) * width + 2
  local state = redis.call('HGET', key, ARGV[first])
  if not state or struct.unpack('<i8', state, 9) < struct.unpack('<i8', ARGV[first + 1], 9) then
    redis.call('HSET', key, unpack(ARGV, first, first + width - 1))
    written = written + 1
    for j = first + 1, first + width - 1, 2 do bytes = bytes + #ARGV[j] end
  end
end
return {written, bytes}
"""
"""Script: writes the fields of each key where its stored state has folded less; returns how many keys and bytes.

KEYS: hashes. ARGV: how many follow for each key; then for each key its field and value pairs, the state's first."""

KEYS_A_SCRIPT = 50
"""Keys that one call of `LOAD` writes: few enough that readers wait well under a millisecond."""

_SCAN = 1_000


StateRow = tuple[str, tuple[str, ...], bytes, bytes]
"""Tenant, key in the order of the view's keys, state bytes, sketch bytes."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """keys: handed in. written: those that had folded less, or nothing. bytes: of states and sketches written."""

    keys: int
    written: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What a view's states take in Redis, a key, means over a sample.

    keys: sampled. state, sketches: bytes of the fields. total: bytes with the view's share of what Redis adds.
    """

    keys: int
    state: float
    sketches: float
    total: float


class OnlineWriter:
    """Writes packed states of activity views to Redis, in every generation that is live.

    A key's events must reach it in order of seq, from one writer at a time: what a key has folded is named by the
    last seq alone. Two writers handed the same events are safe, as is handing events over again.

    partitions: see `Generations`. history: what keys that a tombstone names are rebuilt from; None where none can come.
    """

    def __init__(
        self,
        client: Client,
        project: str,
        views: Sequence[ActivityView],
        partitions: int = STREAMS,
        history: KeyHistory | None = None,
    ) -> None:
        self.generations = Generations(client, project, views, partitions)
        self._client = client
        self._partitions = partitions
        self.views = tuple(views)
        """The views that are folded, where their states can be read."""
        self._templates = tuple(KeyTemplate(project, view.keys) for view in views)
        # A cluster runs a script only over keys of one slot.
        self._keys_a_script = 1 if isinstance(client, RedisCluster) else KEYS_A_SCRIPT
        self._folding = Folding(client, project, views, partitions, self.generations)
        self._rebuilding = Rebuilding(client, project, views, partitions, history, self._folding.wrote)
        self._live_of: Mapping[str, Entry] | None = None
        self._live: Live = ()

    @property
    def unreadable(self) -> dict[str, str]:
        """By view name, why its states cannot be folded any more; such a view is left out by this and later writers and
        by readers, and the others go on."""
        return self._folding.unreadable

    def fold(
        self, events: Sequence[Event], partitions: Collection[int] | None = None, catalog: Catalog | None = None
    ) -> FoldReport:
        """Fold events into every key that they take part in, in every live generation.

        partitions: those whose keys are folded; their marks are then the caller's to move, under its lease. None for
        who writes alone, without streams: all keys are folded, views without a generation get one, and the tenants'
        marks are moved. catalog: as read after the last `caught_up`, read now by default.
        Each state is read once and written once, however many of the events touch it. Raises StoreTimeout or
        StoreUnavailable, after which some may have been written: hand the same events over again.
        """
        if partitions is None:
            self.generations.register_empty()
        now = self.generations.catalog() if catalog is None else catalog
        self._folding.unreadable = {
            view.name: reason for view in self.views if (reason := now.of(view).unreadable) is not None
        }
        if now.entries != self._live_of:
            self._live_of = now.entries
            self._live = tuple(
                tuple(now.of(view).live(partition) for partition in range(self._partitions)) for view in self.views
            )
        through = {
            (index, generation): self.generations.through(facts)
            for index, view in enumerate(self.views)
            for generation, facts in now.of(view).facts.items()
        }
        sets = {
            (index, generation): facts
            for index, view in enumerate(self.views)
            for generation, facts in now.of(view).facts.items()
        }
        report = self._fold(events, self._live, through, sets, partitions)
        if partitions is None:
            self.generations.marks.advance(_newest(events))
        return report

    def fold_into(
        self,
        view: ActivityView,
        generation: int,
        events: Sequence[Event],
        partitions: Collection[int] | None = None,
        facts: int = 0,
    ) -> FoldReport:
        """Fold events into one generation of one view alone, to catch it up; see `fold`. facts: its fact set."""
        chosen = self._index(view)
        live = tuple(((generation,) if index == chosen else (),) * self._partitions for index in range(len(self.views)))
        through = {(chosen, generation): self.generations.through(facts)} if facts else {}
        return self._fold(events, live, through, {(chosen, generation): facts}, partitions)

    def _fold(
        self,
        events: Sequence[Event],
        live: Live,
        through: Through,
        facts: Mapping[tuple[int, int], int],
        partitions: Collection[int] | None,
    ) -> FoldReport:
        """Fold events; first the keys that tombstones among them name are rebuilt."""
        tombstones = [event for event in events if event.kind == TOMBSTONE]
        if not tombstones:
            return self._folding.fold(events, live, through, partitions)
        tombstones.sort(key=lambda event: event.seq)
        rebuilt, repeated = self._rebuilding.rebuild(tombstones, live, through, facts, partitions)
        others = [event for event in events if event.kind != TOMBSTONE]
        report = self._folding.fold(others, live, through, partitions)
        return FoldReport(len(events), report.keys + rebuilt, report.repeated + repeated, report.conflicts)

    def load(self, view: ActivityView, generation: int, rows: Iterable[StateRow], *, chunk: int = 2_000) -> LoadReport:
        """Write whole states into a generation, leaving alone each key that has folded as much already.

        chunk: keys a round trip. Marks stay: move them once everything is loaded.
        """
        template, fields = self._templates[self._index(view)], fields_of(view, generation)
        width = 2 * len(fields)
        keys = written = size = 0
        with translated(f"loading view {view.name}"):
            for part in _chunks(rows, chunk):
                commands: list[tuple[Any, ...]] = []
                for start in range(0, len(part), self._keys_a_script):
                    names: list[bytes] = []
                    pairs: list[bytes] = []
                    for tenant, key, state, sketches in part[start : start + self._keys_a_script]:
                        names.append(template.key(tenant, key))
                        pairs += (fields[0], state) if width == 2 else (fields[0], state, fields[1], sketches)
                    commands.append(("EVAL", LOAD, len(names), *names, width, *pairs))
                keys += len(part)
                # A script that compares costs Redis a microsecond a key more than HSET alone, and then a task that
                # was given up and still runs cannot write over what was folded since.
                for count, length in round_trip(self._client, commands):
                    written += count
                    size += length
        return LoadReport(keys, written, size)

    def drop(self, view: ActivityView, generations: Collection[int]) -> int:
        """Delete the fields of generations that are no longer folded; returns how many keys had some."""
        if not generations:
            return 0
        fields = [name for number in generations for name in fields_of(view, number)]
        found = 0
        with translated(f"dropping old states of view {view.name}"):
            for part in _chunks(self._keys(view), _SCAN):
                found += sum(1 for gone in round_trip(self._client, [("HDEL", key, *fields) for key in part]) if gone)
        return found

    def memory(self, view: ActivityView, sample: int = 200) -> MemoryUse | None:
        """What the states that a view serves take, over the first keys that Redis names; None where it has none."""
        serving = self.generations.catalog().of(view).serving
        if serving is None:
            return None
        fields = (state_field(view, serving), sketch_field(view, serving))
        state = sketches = count = 0
        total = 0.0
        with translated(f"measuring view {view.name}"):
            for key in islice(self._keys(view), 20 * sample):
                values, used = round_trip(self._client, [("HGETALL", key), ("MEMORY USAGE", key, "SAMPLES", 0)])
                own = [len(values.get(name, b"")) for name in fields]
                if not own[0]:
                    continue
                state, sketches, count = state + own[0], sketches + own[1], count + 1
                total += used * sum(own) / sum(map(len, values.values()))
                if count == sample:
                    break
        return MemoryUse(count, state / count, sketches / count, total / count) if count else None

    def delete_entity(self, tenant: str, names: Sequence[str], values: Sequence[str]) -> bool:
        """Delete everything kept online under one entity: all views over these keys, every version and generation.

        names: as in `ActivityView.keys`; values: in their order. Returns whether there was anything. What is in the
        event log and the streams stays: take the entity's events out of the log first, or it is folded again from
        there; a writer that folded it lately reads its streams once more.
        """
        for template in self._templates:
            if template.names == tuple(names):
                with translated("deleting an entity"):
                    return bool(self._client.unlink(template.key(tenant, values)))
        raise StoreError(
            f"no view has the keys ({', '.join(names)}); there are "
            + "; ".join(sorted({f"({', '.join(template.names)})" for template in self._templates}))
        )

    def _index(self, view: ActivityView) -> int:
        return next(index for index, known in enumerate(self.views) if known is view or known == view)

    def _keys(self, view: ActivityView) -> Iterator[bytes]:
        template = self._templates[self._index(view)]
        for key in self._client.scan_iter(match=template.scan_pattern(), count=_SCAN):
            if template.owns(key):
                yield key


def _newest(events: Sequence[Event]) -> dict[str, tuple[int, int]]:
    """By tenant, the last seq and the latest time at which an event became known."""
    newest: dict[str, tuple[int, int]] = {}
    for event in events:
        seq, time_us = newest.get(event.tenant, (0, NEVER))
        newest[event.tenant] = (max(seq, event.seq), max(time_us, event.known_at_us))
    return newest


def _chunks(rows: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(rows)
    while part := list(islice(iterator, size)):
        yield part
