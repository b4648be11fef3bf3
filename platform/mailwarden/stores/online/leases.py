"""Leases: which writer serves a partition at a time."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from mailwarden.stores.online.client import Client, round_trip, translated
from mailwarden.stores.online.keys import lease_key

LEASE_MS = 5_000
"""How long a partition waits for a writer that has died before another, already running, serves it."""

_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and ARGV[3] == '0' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
"""Script: takes or renews a lease. KEYS: the lease. ARGV: token, milliseconds, 1 to take it from its holder."""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Leases:
    """One writer's leases of partitions.

    A lease keeps two writers from doing the same work. Totals do not rest on it alone: states know the last seq that
    they folded, and what moves a partition's marks asks for the token in the same script.

    token: this holder's own. Every method raises StoreTimeout or StoreUnavailable.
    """

    def __init__(self, client: Client, project: str, *, ttl_ms: int = LEASE_MS) -> None:
        self._client, self._project = client, project
        self.ttl_ms = ttl_ms
        self.token = secrets.token_hex(8).encode()

    def take(self, partitions: Sequence[int]) -> set[int]:
        """Take leases from whoever holds them: the newest writer of a partition replaces the former."""
        return self._hold(partitions, by_force=True)

    def hold(self, partitions: Sequence[int]) -> set[int]:
        """Renew leases, or take those that nobody holds; returns the partitions that are ours now."""
        return self._hold(partitions, by_force=False)

    def release(self, partitions: Sequence[int]) -> None:
        """Let go of what is ours."""
        with translated("releasing leases"):
            keys = [lease_key(self._project, partition) for partition in partitions]
            round_trip(self._client, [("EVAL", _RELEASE, 1, key, self.token) for key in keys])

    def _hold(self, partitions: Sequence[int], *, by_force: bool) -> set[int]:
        if not partitions:
            return set()
        with translated("holding leases"):
            keys = [lease_key(self._project, partition) for partition in partitions]
            replies = round_trip(
                self._client, [("EVAL", _HOLD, 1, key, self.token, self.ttl_ms, int(by_force)) for key in keys]
            )
        return {partition for partition, ours in zip(partitions, replies, strict=True) if ours}
