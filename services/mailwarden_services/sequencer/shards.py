"""Which process numbers which tenant, as one of them sees it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from mailwarden.settings import Settings
from mailwarden.stores.shards import shard_of
from mailwarden_services.sequencer.remote import There, answering, ping
from mailwarden_services.sequencer.sequencing import Here, Sequencing

PING_SECONDS = 0.5
"""In which another shard answers, or is named in /readyz."""


class Shards:
    """The sequencers of a home: this process's own, and the others by their sockets.

    settings: say which shard this process is, and of how many.
    """

    def __init__(self, settings: Settings, own: Here) -> None:
        self._settings, self._own = settings, own
        self._there = {
            shard: There(settings.sequencer_socket(shard), shard)
            for shard in range(settings.shards)
            if shard != settings.shard
        }

    def is_ours(self, tenant: str) -> bool:
        """Whether this process numbers the tenant's mail."""
        return shard_of(tenant, self._settings.shards) == self._settings.shard

    def of(self, tenant: str) -> Sequencing:
        """Who numbers the tenant's mail."""
        return self._there.get(shard_of(tenant, self._settings.shards), self._own) if self._there else self._own

    def checks(self) -> dict[str, Callable[[], None]]:
        """By the name of each other shard, what raises StoreUnavailable where it does not answer."""
        return {
            f"shard {shard}": partial(ping, self._settings.sequencer_socket(shard), PING_SECONDS)
            for shard in self._there
        }

    @contextlib.asynccontextmanager
    async def answering(self, also: Mapping[str, Callable[[], Awaitable[Any]]] | None = None) -> AsyncIterator[None]:
        """Answer other shards, and whoever hands history over, inside the block. also: see `remote.answering`."""
        try:
            async with answering(self._own, self._settings.sequencer_socket(self._settings.shard), also):
                yield
        finally:
            for there in self._there.values():
                await there.close()
