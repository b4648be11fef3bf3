"""Which keys work at all, known from one look for all of them: whoever guesses keys costs the database nothing."""

from __future__ import annotations

import asyncio
import time

from mailwarden.errors import StoreError
from mailwarden.stores.sql import Tenants
from mailwarden.stores.sql.keys import Issued, digest, is_key
from mailwarden_services.scoring_api.look_ups import look_up

NEW_KEY_SECONDS = 1.0
"""How long such a look holds: a key that another process just made may be refused for that long."""


class KnownKeys:
    """The digests of all keys that work, read again where a key is asked for that none was and the last look is old.

    Keys that this process made are known at once. A look that failed is not repeated for as long as one holds.
    """

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._digests: frozenset[str] = frozenset()
        self._error: StoreError | None = None
        self._read_at, self._issued = float("-inf"), 0
        self._reading: asyncio.Lock | None = None

    async def may_work(self, key: str) -> bool:
        """Whether a key works, or did at the last look; raises StoreError where nobody can look."""
        if not is_key(key):
            return False
        if not self._holds():
            if self._reading is None:
                self._reading = asyncio.Lock()
            async with self._reading:
                if not self._holds():
                    await self._read()
        if self._error is not None:
            raise self._error
        return digest(key) in self._digests

    def _holds(self) -> bool:
        return self._issued == Issued.times and time.monotonic() - self._read_at < NEW_KEY_SECONDS

    async def _read(self) -> None:
        issued = Issued.times
        try:
            self._digests, self._error = await look_up(self._tenants.working_keys), None
        except StoreError as exc:
            self._error = exc
        self._read_at, self._issued = time.monotonic(), issued
