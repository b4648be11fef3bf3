"""How far writers have folded each tenant's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

ADVANCE = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
local at = ARGV[3]
if old then
  local seq, time = string.match(old, '^(%-?%d+):(%-?%d+)$')
  if tonumber(seq) >= tonumber(ARGV[2]) then return 0 end
  if tonumber(time) > tonumber(at) then at = time end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. at)
return 1
"""
"""Script: moves a tenant's watermark forward, never back. KEYS: the hash. ARGV: tenant, seq, event time."""


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
