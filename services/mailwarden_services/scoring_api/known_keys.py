"""Which keys work at all, known from one look for all of them: whoever guesses keys costs the database nothing."""

from __future__ import annotations

import asyncio
import time

from mailwarden.errors import StoreError
from mailwarden.stores.sql import Tenants
from mailwarden.stores.sql.keys import Issued, digest, is_key
from mailwarden_services.scoring_api.look_ups import look_up

LOOK_SECONDS = 1.0
"""From one such look to the next: for so long whoever bears an unknown key waits at most."""


class KnownKeys:
    """The digests of all keys that work, read again for a key that is not among them, once a `LOOK_SECONDS` for all.

    1. A key that a look of late has found may work.
    2. Any other is refused only after a look that began when it was there already, so that a new key works at once,
       whoever made it. That look is due `LOOK_SECONDS` after the one before, or at once where this process made a key.
    3. A look that failed is not repeated for as long.
    """

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._digests: frozenset[str] = frozenset()
        self._error: StoreError | None = None
        self._looked_at, self._issued = float("-inf"), 0
        self._looking: asyncio.Lock | None = None

    async def may_work(self, key: str) -> bool:
        """Whether a key works, or did at the last look; raises StoreError where nobody can look."""
        if not is_key(key):
            return False
        wanted, asked = digest(key), time.monotonic()
        if self._wait() <= 0.0 or (self._error is None and wanted not in self._digests):
            if self._looking is None:
                self._looking = asyncio.Lock()
            async with self._looking:
                if self._looked_at < asked:
                    await asyncio.sleep(max(0.0, self._wait()))
                    await self._look()
        if self._error is not None:
            raise self._error
        return wanted in self._digests

    def _wait(self) -> float:
        """Seconds until the next look is due."""
        return 0.0 if self._issued != Issued.times else self._looked_at + LOOK_SECONDS - time.monotonic()

    async def _look(self) -> None:
        issued, began = Issued.times, time.monotonic()
        try:
            self._digests, self._error = await look_up(self._tenants.working_keys), None
        except StoreError as exc:
            self._error = exc
        self._looked_at, self._issued = began, issued
