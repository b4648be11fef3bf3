"""Keys rebuilt from the event log, where a tombstone says that a message which they had folded counts no more.

What a state folded cannot be taken out of it again: a peak, an extreme or a sketch does not say what it would be
without one event. So, for each state of a key that tombstones name, the last of them of seq q, which has not folded q:

1. All that the log holds of the tenant up to q, with the facts of the state's generation, is gone through in order, a
   chunk at a time; what reaches the key is folded into a state begun anew, unless a tombstone up to q that names the
   key is of its message. All keys of all tombstones that are handed in share one pass, since a tenant's log is long.
2. The state, which has folded q, is written where Redis still holds what was read; where another writer came between,
   it is looked at again.

Invariants:

- Before q is folded, what is read is the state with the message; after it, the one without. Nothing is between, and a
  crash at any moment leaves one of the two: the tombstone is handed in again, and names what is still to be done.
- The log holds everything up to q first; whoever hands tombstones in sees to that.
- What else is handed in with them may be folded before or after: a rebuilt state has folded all of it up to q.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import NEVER
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.mail.events import TOMBSTONE, Event, Way, keys_of
from mailwarden.errors import StoreError
from mailwarden.stores.lake.event_log import EventLog, EventView
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import KeyTemplate, partition_of, sketch_field, state_field

log = structlog.get_logger(__name__)

CHUNK = 10_000
"""Events of the log that are held in memory at a time."""

ATTEMPTS = 10
"""How often a key is looked at again because another writer wrote it in between."""

_SWAP = """
local state = redis.call('HGET', KEYS[1], ARGV[2])
if (state and string.sub(state, 9, 16) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
"""
"""Script: writes fields where the stored state has still folded the seq that was read.

KEYS: the hash. ARGV: the 8 bytes of that seq, empty where there was no state; then field and value pairs, the
state's first."""

_LAST_SEQ = slice(8, 16)

_Name = tuple[int, tuple[str, ...]]
"""A view's place, and a key of it without the tenant."""


@dataclass(frozen=True, slots=True)
class _State:
    """One state that tombstones are about. key: of its hash. until: the seq of the last of them."""

    name: _Name
    key: bytes
    generation: int
    facts: int
    until: int


class KeyHistory:
    """What the lake holds of a tenant, with the facts of a set; raises StoreError where it cannot be read."""

    def __init__(self, events: EventLog, facts: FactSets) -> None:
        self._events, self._facts = events, facts

    def holds(self, tenant: str, seq: int) -> bool:
        """Whether everything up to a seq of a tenant is logged."""
        return self._events.last_seq(tenant) >= seq

    def view(self, tenant: str, facts: int) -> EventView:
        """A tenant's events with the facts of a set, by its number."""
        return self._facts.view(tenant, facts)


class Rebuilding:
    """Rebuilds states, see the module. history: None where no tombstone may come."""

    def __init__(
        self,
        client: Client,
        project: str,
        views: Sequence[ActivityView],
        partitions: int,
        history: KeyHistory | None,
        wrote: Callable[[tuple[bytes, int, int], int], None],
    ) -> None:
        self._client, self._history, self._wrote = client, history, wrote
        self._views, self._partitions = tuple(views), partitions
        self._templates = tuple(KeyTemplate(project, view.keys) for view in views)

    def rebuild(
        self,
        tombstones: Sequence[Event],
        live: Sequence[Sequence[Sequence[int]]],
        through: Mapping[tuple[int, int], Mapping[str, int]],
        facts: Mapping[tuple[int, int], int],
        partitions: Collection[int] | None,
    ) -> tuple[int, int]:
        """How many states were rebuilt, and how many had folded their tombstones before.

        tombstones: in order of seq. live: by view and partition, the generations that are folded. through: by view and
        generation, and tenant, the seq up to which these are loaded and never folded. facts: by view and generation,
        the number of its fact set where that is not 0. partitions: those whose keys are looked at, None for all. Raises
        StoreError where the log does not hold everything up to a tombstone, or a store is away.
        """
        by_tenant: dict[str, list[Event]] = defaultdict(list)
        for tombstone in tombstones:
            by_tenant[tombstone.tenant].append(tombstone)
        rebuilt = repeated = 0
        for tenant, told in by_tenant.items():
            states = self._named(told, live, through, facts, partitions)
            written = self._rebuild(tenant, states)
            rebuilt, repeated = rebuilt + written, repeated + len(states) - written
        return rebuilt, repeated

    def _rebuild(self, tenant: str, states: Sequence[_State]) -> int:
        written = 0
        with translated("rebuilding states"):
            for _ in range(ATTEMPTS):
                due = self._due(states)
                if not due:
                    return written
                written += self._write(due, tenant)
        raise StoreError(
            f"keys of tenant {tenant} were written by another writer {ATTEMPTS} times while they were rebuilt; give "
            "each key one writer"
        )

    def _named(
        self,
        tombstones: Sequence[Event],
        live: Sequence[Sequence[Sequence[int]]],
        through: Mapping[tuple[int, int], Mapping[str, int]],
        facts: Mapping[tuple[int, int], int],
        partitions: Collection[int] | None,
    ) -> list[_State]:
        found: dict[tuple[_Name, int], _State] = {}
        for tombstone in tombstones:
            tenant, seq = tombstone.tenant, tombstone.seq
            for index, view in enumerate(self._views):
                for values in dict.fromkeys(values for values, _ in keys_of(view.emission, tombstone, view.keys)):
                    key = self._templates[index].key(tenant, values)
                    partition = partition_of(key, self._partitions)
                    if partitions is not None and partition not in partitions:
                        continue
                    for generation in live[index][partition]:
                        of = index, generation
                        if seq > through.get(of, {}).get(tenant, 0):
                            name = index, values
                            found[name, generation] = _State(name, key, generation, facts.get(of, 0), seq)
        return list(found.values())

    def _due(self, states: Sequence[_State]) -> list[tuple[_State, bytes]]:
        """The states that have not folded their tombstones, with the seq that each has as stored, b"" for none."""
        fields = [state_field(self._views[state.name[0]], state.generation) for state in states]
        commands = [("HGET", state.key, name) for state, name in zip(states, fields, strict=True)]
        stored = round_trip(self._client, commands) if commands else []
        folded = [b"" if value is None else value[_LAST_SEQ] for value in stored]
        return [
            (state, guard)
            for state, guard in zip(states, folded, strict=True)
            if (int.from_bytes(guard, "little", signed=True) if guard else NEVER) < state.until
        ]

    def _write(self, due: Sequence[tuple[_State, bytes]], tenant: str) -> int:
        by_facts: dict[int, list[tuple[_State, bytes]]] = defaultdict(list)
        for one in due:
            by_facts[one[0].facts].append(one)
        written = 0
        for number, mine in by_facts.items():
            found = self._states({state.name: state.until for state, _ in mine}, tenant, number)
            commands = []
            for state, guard in mine:
                view, rebuilt = self._views[state.name[0]], found[state.name]
                pairs = [state_field(view, state.generation), rebuilt.to_bytes()]
                if view.distincts:
                    pairs += [sketch_field(view, state.generation), rebuilt.sketch_bytes()]
                commands.append(("EVAL", _SWAP, 1, state.key, guard, *pairs))
            for (state, _), done in zip(mine, round_trip(self._client, commands), strict=True):
                if done:
                    self._wrote((state.key, state.name[0], state.generation), state.until)
                    written += 1
        until = max(state.until for state, _ in due)
        log.info("states rebuilt without what was forgotten", tenant=tenant, seq=until, states=written)
        return written

    def _states(self, until: Mapping[_Name, int], tenant: str, facts: int) -> dict[_Name, EntityState]:
        """Keys after everything that still counts, each up to a seq of its own."""
        last = max(until.values())
        if self._history is None or not self._history.holds(tenant, last):
            raise StoreError(
                f"the event log does not hold everything of tenant {tenant} up to seq {last}, where a message is "
                "taken out of the counts; look at the process that writes it"
            )
        states = {name: EntityState(layout_of(self._views[name[0]])) for name in until}
        views = [(index, self._views[index]) for index in sorted({index for index, _ in until})]
        history = self._history.view(tenant, facts)
        gone: dict[_Name, set[str]] = defaultdict(set)
        for event in history.tombstones(tenant, last):
            for index, view in views:
                for values, _ in keys_of(view.emission, event, view.keys):
                    if event.seq <= until.get((index, values), NEVER):
                        gone[index, values].add(event.message_id)
        for events in history.in_order(tenant, 0, last, limit=CHUNK):
            for event in events:
                if event.kind == TOMBSTONE:
                    continue
                for index, view in views:
                    ways: dict[_Name, list[Way]] = {}
                    for values, way in keys_of(view.emission, event, view.keys):
                        name = index, values
                        if event.seq <= until.get(name, NEVER) and event.message_id not in gone[name]:
                            ways.setdefault(name, []).append(way)
                    for name, each in ways.items():
                        states[name].fold(event, each)
        for name, state in states.items():
            state.last_seq = until[name]
        return states
