"""From the spool of found signals to the intake, which numbers them: beside the API, on its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from mailwarden.errors import MailwardenError, NotFound
from mailwarden.stores.spool_reader import SpoolReader, retire
from mailwarden_services.signals.found import FoundSignal, decode_found

log = structlog.get_logger(__name__)

READER_NAME = "intake"

LOOK_SECONDS = 0.25
RETRY_SECONDS = 2.0


class Handover:
    """Takes found signals in, each until it is on disk among the accepted; the place moves behind them.

    take: gives a signal its seq, once however often it is handed over.
    """

    def __init__(self, found: Path, take: Callable[[FoundSignal], Awaitable[None]]) -> None:
        self._folder, self._take = found, take
        self._reader = SpoolReader(found, READER_NAME)

    async def step(self) -> bool:
        """Take in what there is now; True where there was something.

        Raises StoreError where a store is away, DataError where fact sets cannot be read.
        """
        records = self._reader.poll(limit=100)
        for position, payload in records:
            found = decode_found(payload)
            try:
                await self._take(found)
            except NotFound as exc:
                # The message was never accepted: its spool was lost, or moved away.
                log.error("a signal's message is not known; dropped", tenant=found.tenant, error=str(exc))
            self._reader.commit(position)
        if records:
            retire(self._folder, [READER_NAME])
        return bool(records)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                wait = 0.0 if await self.step() else LOOK_SECONDS
            except MailwardenError as exc:
                log.error("found signals wait; trying again", error=str(exc))
                # Polled and not taken: read again from the checkpoint.
                self._reader.close()
                self._reader = SpoolReader(self._folder, READER_NAME)
                wait = RETRY_SECONDS
            await asyncio.sleep(wait)
