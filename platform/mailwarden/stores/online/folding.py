"""Folding a batch of events into the states of their keys in Redis: each is read once and written once.

1. Each event's keys are found, view by view, and the rows of a key are put next to each other.
2. The states of all keys are read in one round trip and folded in one call (`packed_fold`); what counts names is
   brought forward key by key (`key_sketches`).
3. States that changed are written in one round trip, each only where Redis still holds what was read; sketches only
   where they changed. What another writer wrote in between goes back to 2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Self, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray
from redis.cluster import RedisCluster

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.aggregates.fact_specs import event_bits, way_bits
from mailwarden.domain.aggregates.layout import Layout, layout_of
from mailwarden.domain.aggregates.online.key_sketches import KeySketches, SketchPlan
from mailwarden.domain.aggregates.online.packed_fold import (
    NOWHERE,
    Folded,
    FoldEvents,
    FoldTables,
    compile_fold,
    fold_packed,
)
from mailwarden.domain.aggregates.online.packed_reads import NEVER_SEEN, PRESENT
from mailwarden.domain.aggregates.online.reads import NEVER, unreadable
from mailwarden.domain.mail.events import Event, keys_of, members_of
from mailwarden.errors import DataError, StoreError
from mailwarden.stores.online.client import Client, exchange, pack, translated
from mailwarden.stores.online.generations import Generations
from mailwarden.stores.online.keys import KeyTemplate, fields_of, partition_of
from mailwarden.stores.online.recall import Recall

_log = structlog.get_logger(__name__)

SWAP = b"""
local replies, i = {}, 1
for k, key in ipairs(KEYS) do
  local words = tonumber(ARGV[i + 1])
  local state = redis.call('HGET', key, ARGV[i + 2])
  if (state and string.sub(state, 9, 16) or '') == ARGV[i] then
    redis.call('HSET', key, unpack(ARGV, i + 2, i + 1 + words))
    replies[k] = 1
  else
    replies[k] = 0
  end
  i = i + 2 + words
end
return replies
"""
"""Script: writes fields of each hash where the stored state has still folded the seq that was read; 1 for each that was
written, else 0.

KEYS: hashes. ARGV: for each of them the 8 bytes of that seq, empty where there was no state; how many words follow; and
field and value pairs, the state's first."""

_KEYS_A_SCRIPT = 50
"""Keys that one call of `SWAP` writes: few enough that readers wait well under a millisecond."""

ATTEMPTS = 10
"""How often a key is folded again because another writer wrote it in between."""

_LAST_SEQ = slice(8, 16)
_WORD = 8

Ints = NDArray[np.int64]
_Events: TypeAlias = Sequence[Event]


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What a fold did.

    events: handed in. keys: states written, each key's generations apart. repeated: events times states that had
    folded them already. conflicts: states folded again because another writer came between.
    """

    events: int
    keys: int
    repeated: int
    conflicts: int


@dataclass(slots=True)
class _Target:
    """One key's state of one view and generation. rows: event, as a place in the batch, and flags, by seq; one for each
    way in which an event reaches the key."""

    view: int
    generation: int
    key: bytes
    beyond: int
    """The seq up to which this generation is loaded and never folded; see `generations`."""
    rows: list[tuple[int, int]] = field(default_factory=list)


Live = Sequence[Sequence[Sequence[int]]]
"""By view and partition, the generations to fold."""

Through = Mapping[tuple[int, int], Mapping[str, int]]
"""By view and generation, where these are of another fact set than 0, and tenant: the seq that the set goes through."""


class Folding:
    """Folds events into states that it reads from Redis and writes there again; `OnlineWriter` says which generations.

    unreadable: by view name, why its states cannot be folded; whoever finds one that cannot puts it here. wrote: to be
    told of a state that somebody else in this process wrote, and the seq that it has folded.
    """

    def __init__(
        self, client: Client, project: str, views: Sequence[ActivityView], partitions: int, generations: Generations
    ) -> None:
        self._client, self._generations = client, generations
        self._views = tuple(views)
        self._partitions = partitions
        self._layouts = tuple(layout_of(view) for view in views)
        self._tables = FoldTables.of(self._layouts)
        self._plans = tuple(SketchPlan(layout) for layout in self._layouts)
        self._templates = tuple(KeyTemplate(project, view.keys) for view in views)
        # A cluster runs a script only over keys of one slot.
        self._keys_a_script = 1 if isinstance(client, RedisCluster) else _KEYS_A_SCRIPT
        self._recall = Recall()
        self.wrote = self._recall.wrote
        self.unreadable: dict[str, str] = {}
        compile_fold()

    def fold(
        self, events: Sequence[Event], live: Live, through: Through, partitions: Collection[int] | None
    ) -> FoldReport:
        """Fold events into the keys of these partitions, all for None; see `OnlineWriter.fold`."""
        events = sorted({(event.tenant, event.seq): event for event in reversed(events)}.values(), key=_seq)
        facts = FoldEvents.of(events, self._tables)
        pending = self._targets(events, live, through, partitions)
        keys = repeated = conflicts = 0
        with translated("folding events"):
            for _ in range(ATTEMPTS):
                written, again, missed = self._fold_once(events, facts, pending)
                keys += written
                repeated += again
                if not missed:
                    return FoldReport(len(events), keys, repeated, conflicts)
                conflicts += len(missed)
                pending = missed
        raise StoreError(
            f"{len(pending)} keys were written by another writer {ATTEMPTS} times while they were folded; "
            "give each key one writer"
        )

    def _targets(
        self, events: Sequence[Event], live: Live, through: Through, partitions: Collection[int] | None
    ) -> list[_Target]:
        targets: dict[tuple[int, str, tuple[str, ...]], list[_Target]] = {}
        for number, event in enumerate(events):
            shared, tenant, seq = event_bits(event), event.tenant, event.seq
            for index, view in enumerate(self._views):
                for values, way in keys_of(view.emission, event, view.keys):
                    name = (index, tenant, values)
                    of_key = targets.get(name)
                    if of_key is None:
                        key = self._templates[index].key(tenant, values)
                        partition = partition_of(key, self._partitions)
                        ours = partitions is None or partition in partitions
                        of_key = targets[name] = [
                            _Target(index, generation, key, through.get((index, generation), {}).get(tenant, 0))
                            for generation in (live[index][partition] if ours else ())
                        ]
                    for target in of_key:
                        if seq > target.beyond:
                            target.rows.append((number, shared | way_bits(way)))
        return [target for of_key in targets.values() for target in of_key if target.rows]

    def _fold_once(
        self, events: Sequence[Event], facts: FoldEvents, targets: Sequence[_Target]
    ) -> tuple[int, int, list[_Target]]:
        """Read, fold and write each target: how many were written, repeated events, and targets to do again."""
        if not targets:
            return 0, 0, []
        named = {
            (view, generation): fields_of(self._views[view], generation)
            for view, generation in {(target.view, target.generation) for target in targets}
        }
        fields = [named[target.view, target.generation] for target in targets]
        stored = exchange(
            self._client, [(t.key, pack(b"HMGET", t.key, *names)) for t, names in zip(targets, fields, strict=True)]
        )
        batch = _Batch.of(targets, [values[0] for values in stored], facts, self._tables)
        changed: list[_Target] = []
        commands: list[tuple[bytes, Sequence[bytes]]] = []
        repeated = 0
        skipped: set[tuple[int, int]] = set()
        for i, (target, names, values) in enumerate(zip(targets, fields, stored, strict=True)):
            if (target.view, target.generation) in skipped:
                continue
            self._recall.check((target.key, target.view, target.generation), batch.last_seq(i))
            try:
                fresh = batch.fresh(i, self._layouts[target.view])
                if len(fresh) < len(target.rows):
                    repeated += len({number for number, _ in target.rows[: len(target.rows) - len(fresh)]})
                if not fresh:
                    continue
                # Sketches are read as late as here, and may turn out to be damaged.
                pairs = self._sketches(batch, i, values[1:], fresh, events)
            except (DataError, ValueError, IndexError, TypeError, RuntimeError) as exc:
                # In Redis before any mark moves: what misses events must never pass for whole again.
                self._mark_unreadable(target, str(exc) or type(exc).__name__)
                skipped.add((target.view, target.generation))
                continue
            written = [word for pair in zip(names, (batch.after(i).tobytes(), *pairs), strict=False) for word in pair]
            changed.append(target)
            commands.append((target.key, (batch.guard(i), b"%d" % len(written), *written)))
        missed = []
        for target, reply in zip(changed, self._swap(commands), strict=True):
            if reply:
                name = target.key, target.view, target.generation
                self._recall.wrote(name, events[target.rows[-1][0]].seq)
            else:
                missed.append(target)
        if missed:
            _log.info("keys were written in between and are folded again", keys=len(missed))
        return len(changed) - len(missed), repeated, missed

    def _sketches(
        self, batch: _Batch, i: int, stored: Sequence[bytes | None], rows: Sequence[tuple[int, int]], events: _Events
    ) -> tuple[bytes, ...]:
        """A target's sketches as they are to be written, none where they did not change; counts go into its state."""
        plan = self._plans[batch.targets[i].view]
        layout = plan.layout
        if not layout.distinct_names:
            return ()
        sketches = KeySketches(plan, batch.before(i), (stored[0] if stored else None) or b"")
        for number, of_event in groupby(rows, key=itemgetter(0)):
            event = events[number]
            names: list[dict[str, None]] = [{} for _ in layout.distinct_names]
            if event.kind == "message":
                for _, bits in of_event:
                    for index, of, mask in layout.distinct_rules:
                        if bits & mask == mask:
                            names[index] |= dict.fromkeys(members_of(event, of))
            sketches.fold(event.received_at_us, names)
        sketches.write(batch.after(i))
        return (sketches.to_bytes(),) if sketches.changed else ()

    def _swap(self, commands: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[int]:
        """Write states where they are still what was read; commands: key and words of `SWAP`, each."""
        scripts = []
        for start in range(0, len(commands), self._keys_a_script):
            part = commands[start : start + self._keys_a_script]
            words = [word for _, of_key in part for word in of_key]
            keys = [key for key, _ in part]
            scripts.append((keys[0], pack(b"EVAL", SWAP, b"%d" % len(part), *keys, *words)))
        # What was written though the answer was lost has another last seq: sent again, it is refused.
        return [done for replies in exchange(self._client, scripts) for done in replies] if scripts else []

    def _mark_unreadable(self, target: _Target, reason: str) -> None:
        view = self._views[target.view]
        self._generations.mark_unreadable(view, target.generation, reason)
        if self._generations.catalog().of(view).unreadable is not None:
            self.unreadable[view.name] = reason


class _Batch:
    """Targets with their states before and after."""

    def __init__(self, targets: Sequence[_Target], before: Sequence[bytes | None], words: Ints, folded: Folded) -> None:
        self.targets = targets
        self._before, self._words = before, words
        self._out = folded.words
        self._states = folded.states.tolist()

    @classmethod
    def of(
        cls, targets: Sequence[_Target], before: Sequence[bytes | None], facts: FoldEvents, tables: FoldTables
    ) -> Self:
        """Fold the rows of targets into their states."""
        parts, places = [], []
        rows: list[tuple[int, int]] = []
        at = 0
        for target, state in zip(targets, before, strict=True):
            first, start, size = len(rows), NOWHERE, 0
            rows += target.rows
            if state is not None:
                size, odd = divmod(len(state), _WORD)
                start, size = at, -1 if odd else size
                if not odd:
                    parts.append(state)
                    at += size
            places.append((target.view, first, len(rows), start, size))
        words = np.frombuffer(b"".join(parts), dtype=np.int64)
        return cls(targets, before, words, fold_packed(words, places, np.array(rows, dtype=np.int64), facts, tables))

    def last_seq(self, i: int) -> int:
        """The last seq that a target had folded."""
        state = self._before[i]
        return NEVER if state is None else int.from_bytes(state[_LAST_SEQ], "little", signed=True)

    def guard(self, i: int) -> bytes:
        """The bytes of it, empty where there was no state."""
        state = self._before[i]
        return b"" if state is None else state[_LAST_SEQ]

    def fresh(self, i: int, layout: Layout) -> list[tuple[int, int]]:
        """The rows that were new to a target; raises DataError where its state cannot be read."""
        found, _, _, repeated = self._states[i]
        if found not in (NEVER_SEEN, PRESENT):
            raise DataError(unreadable(layout, found))
        return self.targets[i].rows[repeated:]

    def before(self, i: int) -> Ints | None:
        """The words of a target's state as it was read, None where there was none."""
        state = self._before[i]
        return None if state is None else np.frombuffer(state, dtype=np.int64)

    def after(self, i: int) -> Ints:
        """The words of its new state, to be written to."""
        _, start, end, _ = self._states[i]
        return self._out[start:end]


def _seq(event: Event) -> int:
    return event.seq
