"""The online writers: events folded into packed states one key at a time, and states loaded whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog
from redis.cluster import RedisCluster

from mailwarden.domain.events import Event, keys_of
from mailwarden.domain.layout import Layout, layout_of
from mailwarden.domain.state import NEVER, EntityState
from mailwarden.domain.views import ActivityView
from mailwarden.errors import DataError, StoreError
from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import (
    KeyTemplate,
    check_views,
    sketch_field,
    state_field,
    unreadable_field,
    watermark_key,
)
from mailwarden.stores.online.watermark import ADVANCE, Watermark

_log = structlog.get_logger(__name__)

SWAP = """
local state = redis.call('HGET', KEYS[1], ARGV[2])
if (state and string.sub(state, 9, 16) or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
"""
"""Script: writes fields where the stored state has still folded the seq that was read.

KEYS: the hash. ARGV: the 8 bytes of that seq, empty where there was no state; then field and value pairs, the
state's first."""

LOAD = """
local width = tonumber(ARGV[1])
local written = 0
for i, key in ipairs(KEYS) do
  local first = (i - 1) * width + 2
  local state = redis.call('HGET', key, ARGV[first])
  if not state or struct.unpack('<i8', state, 9) < struct.unpack('<i8', ARGV[first + 1], 9) then
    redis.call('HSET', key, unpack(ARGV, first, first + width - 1))
    written = written + 1
  end
end
return written
"""
"""Script: writes the fields of each key where its stored state has folded less; returns how many were written.

KEYS: hashes. ARGV: how many follow for each key; then for each key its field and value pairs, the state's first."""

KEYS_A_SCRIPT = 50
"""Keys that one call of `LOAD` writes: few enough that readers wait well under a millisecond."""

ATTEMPTS = 10
"""How often a key is folded again because another writer wrote it in between."""

_LAST_SEQ = slice(8, 16)


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What a fold did: events handed in, keys written, events times keys already folded, keys folded again."""

    events: int
    keys: int
    repeated: int
    conflicts: int


@dataclass(slots=True)
class _Target:
    """One key of one view, with the events to fold into it in order of seq, each with its directions."""

    view: int
    key: bytes
    events: list[tuple[Event, list[bool]]] = field(default_factory=list)


class OnlineWriter:
    """Writes packed states of activity views to Redis.

    A key's events must reach it in order of seq, from one writer at a time: what a key has folded is named by the
    last seq alone. Two writers handed the same events are safe, as is handing events over again.

    unreadable: by view name, why its states cannot be folded any more. Such a view is left out from then on, and
    marked in Redis so that readers and later writers leave it out too; the other views go on.
    """

    def __init__(self, client: Client, project: str, views: Sequence[ActivityView]) -> None:
        check_views(views)
        self._client = client
        self._views = tuple(views)
        self._layouts: tuple[Layout, ...] = tuple(layout_of(view) for view in views)
        self._templates = tuple(KeyTemplate(project, view.keys) for view in views)
        # Views without distincts have no sketches, and then the field is neither read nor written.
        self._fields = tuple(
            (state_field(view), sketch_field(view)) if view.distincts else (state_field(view),) for view in views
        )
        self._watermarks = watermark_key(project)
        # A cluster runs a script only over keys of one slot.
        self._keys_a_script = 1 if isinstance(client, RedisCluster) else KEYS_A_SCRIPT
        self._marks = [unreadable_field(view) for view in self._views]
        self._skipped: set[int] = set()
        self.unreadable: dict[str, str] = {}

    def fold(self, events: Sequence[Event]) -> FoldReport:
        """Fold events into every key that they take part in, then move their tenants' watermarks forward.

        Each key is read once and written once, however many of the events touch it. Raises StoreTimeout or
        StoreUnavailable, after which some keys may have been written: hand the same events over again.
        """
        events = sorted(events, key=lambda event: event.seq)
        pending = self._targets(events)
        keys = repeated = conflicts = 0
        with translated("folding events"):
            for _ in range(ATTEMPTS):
                written, again, missed = self._fold_once(pending)
                keys += written
                repeated += again
                if not missed:
                    break
                conflicts += len(missed)
                pending = missed
            else:
                raise StoreError(
                    f"{len(pending)} keys were written by another writer {ATTEMPTS} times while they were folded; "
                    "give each key one writer"
                )
            self._advance(events)
        return FoldReport(len(events), keys, repeated, conflicts)

    def watermarks(self, tenants: Sequence[str]) -> list[Watermark | None]:
        """How far each tenant is folded, None where nothing was; learns of unreadable views on the way.

        Raises StoreTimeout or StoreUnavailable.
        """
        with translated("reading watermarks"):
            found = round_trip(self._client, [("HMGET", self._watermarks, *tenants, *self._marks)])[0]
        for index, reason in enumerate(found[len(tenants) :]):
            if reason is not None and index not in self._skipped:
                self._skip(index, reason.decode(errors="replace"))
        return [Watermark.read(value) for value in found[: len(tenants)]]

    def load(
        self,
        view: ActivityView,
        rows: Iterable[tuple[str, tuple[str, ...], bytes, bytes]],
        *,
        chunk: int = 1000,
    ) -> int:
        """Write whole states, leaving alone each key that has folded as much already; returns how many were written.

        rows: tenant, key in the order of `view.keys`, state bytes, sketch bytes. chunk: keys a round trip. Watermarks
        stay: set them by `set_watermark` once everything is loaded.
        """
        index = self._views.index(view)
        template, fields = self._templates[index], self._fields[index]
        written = 0
        with translated(f"loading view {view.name}"):
            for part in _chunks(rows, chunk):
                commands: list[tuple[Any, ...]] = []
                for start in range(0, len(part), self._keys_a_script):
                    keys: list[bytes] = []
                    pairs: list[bytes] = []
                    for tenant, key, state, sketches in part[start : start + self._keys_a_script]:
                        keys.append(template.key(tenant, key))
                        pairs += (fields[0], state) if len(fields) == 1 else (fields[0], state, fields[1], sketches)
                    commands.append(("EVAL", LOAD, len(keys), *keys, 2 * len(fields), *pairs))
                written += sum(round_trip(self._client, commands))
        return written

    def set_watermark(self, tenant: str, seq: int, time_us: int) -> bool:
        """Move a tenant's watermark forward; False where it stood there or further already."""
        with translated("moving a watermark"):
            replies = round_trip(self._client, [("EVAL", ADVANCE, 1, self._watermarks, tenant, seq, time_us)])
        return bool(replies[0])

    def delete_entity(self, tenant: str, names: Sequence[str], values: Sequence[str]) -> bool:
        """Delete everything kept online under one entity: all views over these keys, of every version.

        names: as in `ActivityView.keys`; values: in their order. Returns whether there was anything.
        """
        for template in self._templates:
            if template.names == tuple(names):
                with translated("deleting an entity"):
                    return bool(self._client.unlink(template.key(tenant, values)))
        raise StoreError(
            f"no view has the keys ({', '.join(names)}); there are "
            + "; ".join(sorted({f"({', '.join(template.names)})" for template in self._templates}))
        )

    def _targets(self, events: Sequence[Event]) -> list[_Target]:
        targets: dict[tuple[int, str, tuple[str, ...]], _Target] = {}
        for event in events:
            for index, view in enumerate(self._views):
                if index in self._skipped:
                    continue
                for key, forward in keys_of(view.emission, event):
                    name = (index, event.tenant, key)
                    target = targets.get(name)
                    if target is None:
                        target = targets[name] = _Target(index, self._templates[index].key(event.tenant, key))
                    # A message from an address to itself reaches one key in both directions and is folded once.
                    if target.events and target.events[-1][0] is event:
                        target.events[-1][1].append(forward)
                    else:
                        target.events.append((event, [forward]))
        return list(targets.values())

    def _fold_once(self, targets: Sequence[_Target]) -> tuple[int, int, list[_Target]]:
        """Read, fold and write each target: how many were written, repeated events, and targets to do again."""
        if not targets:
            return 0, 0, []
        stored = round_trip(self._client, [("HMGET", t.key, *self._fields[t.view]) for t in targets])
        folded: list[_Target] = []
        commands: list[tuple[Any, ...]] = []
        repeated = 0
        for target, values in zip(targets, stored, strict=True):
            layout, fields, before = self._layouts[target.view], self._fields[target.view], values[0]
            if target.view in self._skipped:
                continue
            try:
                state = (
                    EntityState(layout)
                    if before is None
                    else EntityState.from_bytes(layout, before, values[1] if len(values) > 1 and values[1] else b"")
                )
            except (DataError, ValueError, IndexError, TypeError, StopIteration) as exc:
                self._mark_unreadable(target.view, str(exc) or type(exc).__name__)
                continue
            fresh = sum(state.fold(event, directions) for event, directions in target.events)
            repeated += len(target.events) - fresh
            if not fresh:
                continue
            folded.append(target)
            pairs = [fields[0], state.to_bytes()]
            if len(fields) > 1 and state.sketches_changed:
                pairs += [fields[1], state.sketch_bytes()]
            guard = b"" if before is None else before[_LAST_SEQ]
            commands.append(("EVAL", SWAP, 1, target.key, guard, *pairs))
        replies = round_trip(self._client, commands) if commands else []
        missed = [target for target, reply in zip(folded, replies, strict=True) if not reply]
        if missed:
            _log.info("keys were written in between and are folded again", keys=len(missed))
        return len(folded) - len(missed), repeated, missed

    def _mark_unreadable(self, index: int, reason: str) -> None:
        # In Redis before the watermark moves: a view that misses events must never pass for whole again.
        round_trip(self._client, [("HSET", self._watermarks, self._marks[index], reason)])
        self._skip(index, reason)

    def _skip(self, index: int, reason: str) -> None:
        view = self._views[index]
        self._skipped.add(index)
        self.unreadable[view.name] = reason
        _log.error("a view is folded no more; the others go on", view=view.name, version=view.version, reason=reason)

    def _advance(self, events: Sequence[Event]) -> None:
        newest: dict[str, tuple[int, int]] = {}
        for event in events:
            _, time_us = newest.get(event.tenant, (0, NEVER))
            newest[event.tenant] = (event.seq, max(time_us, event.known_at_us))
        commands = [
            ("EVAL", ADVANCE, 1, self._watermarks, tenant, seq, time_us) for tenant, (seq, time_us) in newest.items()
        ]
        if commands:
            round_trip(self._client, commands)


def _chunks(
    rows: Iterable[tuple[str, tuple[str, ...], bytes, bytes]], size: int
) -> Iterator[list[tuple[str, tuple[str, ...], bytes, bytes]]]:
    iterator = iter(rows)
    while part := list(islice(iterator, size)):
        yield part
