"""How much a tenant may hand over: messages and labels a second, with some seconds' worth at once.

A tenant's account is one number: the time at which all that it handed over would be worked off at its rate. While that
lies less than `BURST_SECONDS` ahead, more is taken. The numbers of all shards' processes lie in one file that each
maps; two that write at once may lose one of the two, so that the limit is approximate there.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from mailwarden_services.scoring_api.problems import Problem

BURST_SECONDS = 10.0
"""How many seconds' worth may come at once."""

SLOTS = 4_096
_NEAR = 8
_SLOT = struct.Struct("=Qq")
_BYTES = SLOTS * _SLOT.size


class Rates:
    """Limits of all tenants alike. per_second: 0 for none. memory: of accounts, one's own by default.

    clock: nanoseconds, the same for all who share the memory.
    """

    def __init__(
        self,
        per_second: float,
        memory: mmap.mmap | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._each_ns = int(1e9 / per_second) if per_second > 0 else 0
        self._memory: mmap.mmap | bytearray = bytearray(_BYTES) if memory is None else memory
        self._burst_ns = int(BURST_SECONDS * 1e9)
        self._clock = clock
        self._per_second = per_second

    def take(self, tenant: str, count: int = 1) -> None:
        """Count so many messages or labels of a tenant; raises Problem (429) where these are too many.

        One call for more than a burst is taken by whoever has handed over nothing lately, and is on account then.
        """
        if not self._each_ns:
            return
        now, name = self._clock(), _name(tenant)
        slot = self._slot(name, now)
        found, until = _SLOT.unpack_from(self._memory, slot)
        ahead = max(until - now, 0) if found == name else 0
        cost = count * self._each_ns
        over = ahead + min(cost, self._burst_ns) - self._burst_ns
        if over > 0:
            raise Problem(
                429,
                "too-many",
                "Too many",
                f"This tenant hands over more than {self._per_second:g} messages and labels a second "
                "(MAILWARDEN_TENANT_RATE); go on after the seconds that Retry-After says.",
                {"Retry-After": str(math.ceil(over / 1e9))},
            )
        _SLOT.pack_into(self._memory, slot, name, now + ahead + cost)

    def _slot(self, name: int, now: int) -> int:
        """Where a tenant's account is, or may be opened: an account that is worked off is as good as none."""
        first, free = name % SLOTS, -1
        for at in range(first, first + _NEAR):
            place = at % SLOTS * _SLOT.size
            found, until = _SLOT.unpack_from(self._memory, place)
            if found == name:
                return place
            if free < 0 and until <= now:
                free = place
        return free if free >= 0 else first * _SLOT.size


def shared_memory(path: Path, *, anew: bool) -> mmap.mmap:
    """The accounts that the processes of a `serve` share, in a file. anew: begun by this process, before others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if anew:
        path.unlink(missing_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size != _BYTES:
            os.ftruncate(fd, _BYTES)
        return mmap.mmap(fd, _BYTES)
    finally:
        os.close(fd)


@lru_cache(maxsize=10_000)
def _name(tenant: str) -> int:
    return int.from_bytes(blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
