"""How far each partition was handed, and has folded, each tenant's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import lease_key, marks_key

FOLDED = b"folded "
"""Before a tenant's name, a field of a partition's marks: `folded <tenant>` -> `seq:time`, up to which every live state
of the partition's keys is whole. Beside it, `sent <tenant>` -> seq is the last one handed into its stream."""

_ADVANCE = """
local sent = redis.call('HGET', KEYS[1], 'sent ' .. ARGV[1])
if not sent or tonumber(sent) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'sent ' .. ARGV[1], ARGV[2])
end
local old = redis.call('HGET', KEYS[1], 'folded ' .. ARGV[1])
local at = ARGV[3]
if old then
  local seq, time = string.match(old, '^(%-?%d+):(%-?%d+)$')
  if tonumber(seq) >= tonumber(ARGV[2]) then return 0 end
  if tonumber(time) > tonumber(at) then at = time end
end
redis.call('HSET', KEYS[1], 'folded ' .. ARGV[1], ARGV[2] .. ':' .. at)
return 1
"""
"""Script: moves both fields of a tenant forward, never back; 1 where `folded` moved. KEYS: marks. ARGV: tenant, seq,
event time."""

_HELD = """
return {redis.call('GET', KEYS[2]) or '', redis.call('HGETALL', KEYS[1])}
"""
"""Script: a lease's token and all marks, of one moment. KEYS: marks, lease."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """The last sequence number folded for a tenant, and the latest time at which a folded event became known.

    seq: 0 where nothing was folded. time_us: microseconds UTC.
    """

    seq: int
    time_us: int

    @classmethod
    def read(cls, value: bytes | None) -> Self | None:
        """Of a field's value; None where the tenant has none."""
        if value is None:
            return None
        seq, _, time_us = value.partition(b":")
        return cls(int(seq), int(time_us))


class Marks:
    """The marks of a project's partitions.

    A writer's own move of `folded`, which checks its lease in the same script, is `Streams.settle`.
    """

    def __init__(self, client: Client, project: str, partitions: int) -> None:
        self._client = client
        self._partitions = partitions
        self._marks = [marks_key(project, partition) for partition in range(partitions)]
        self._leases = [lease_key(project, partition) for partition in range(partitions)]

    def folded(self, partition: int) -> dict[str, Watermark]:
        """By tenant, how far a partition has folded."""
        with translated("reading marks"):
            return _folded(round_trip(self._client, [("HGETALL", self._marks[partition])])[0])

    def folded_everywhere(self) -> list[dict[str, Watermark]]:
        """By partition and tenant, how far it has folded."""
        with translated("reading marks"):
            return [_folded(reply) for reply in round_trip(self._client, [("HGETALL", key) for key in self._marks])]

    def lease_and_folded(self, partition: int) -> tuple[bytes, dict[str, Watermark]]:
        """Of one moment: the token that holds a partition, empty for none, and how far it has folded."""
        with translated("reading marks"):
            owner, marks = round_trip(
                self._client, [("EVAL", _HELD, 2, self._marks[partition], self._leases[partition])]
            )[0]
        return owner, _folded(dict(zip(marks[::2], marks[1::2], strict=True)))

    def whole(self, tenant: str) -> Watermark | None:
        """How far every partition has folded a tenant's events; None where one has none."""
        with translated("reading marks"):
            values = round_trip(self._client, [("HGET", key, FOLDED + tenant.encode()) for key in self._marks])
        found = [Watermark.read(value) for value in values]
        known = [mark for mark in found if mark is not None]
        if len(known) < len(found):
            return None
        return Watermark(min(mark.seq for mark in known), min(mark.time_us for mark in known))

    def advance(self, newest: Mapping[str, tuple[int, int]], partitions: Sequence[int] | None = None) -> int:
        """Say that live states hold each tenant's events up to (seq, time), and need not be handed them any more.

        partitions: all by default. Never moves a mark back. Returns how many `folded` marks moved.
        """
        chosen = range(self._partitions) if partitions is None else partitions
        commands = [
            ("EVAL", _ADVANCE, 1, self._marks[partition], tenant, seq, time_us)
            for partition in chosen
            for tenant, (seq, time_us) in newest.items()
        ]
        if not commands:
            return 0
        with translated("moving marks"):
            return sum(round_trip(self._client, commands))


def _folded(marks: Mapping[bytes, bytes]) -> dict[str, Watermark]:
    found = {}
    for name, value in marks.items():
        if name.startswith(FOLDED):
            mark = Watermark.read(value)
            assert mark is not None
            found[name.removeprefix(FOLDED).decode()] = mark
    return found
