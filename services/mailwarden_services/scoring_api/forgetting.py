"""Messages taken out of the counts: a tombstone for each, and one for what a signal counted under a link of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mailwarden.domain.mail.events import TOMBSTONE, Event
from mailwarden.errors import StoreError
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.sql import Decisions
from mailwarden_services.scoring_api.intake import no_message
from mailwarden_services.sequencer.sequencing import ByTenant

LOG_SECONDS = 20.0
"""How long a message that was accepted just now is waited for in the event log, which has it within seconds."""

LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Logged:
    """What the log holds of a message, with the facts in force. gone: signals whose tombstones it holds, "" for that of
    the message."""

    message: Event
    signals: tuple[Event, ...]
    gone: frozenset[str]

    @classmethod
    def find(
        cls, facts: FactSets, decisions: Decisions, tenant: str, message_id: str, received_at_us: int | None
    ) -> Logged | None:
        """A message; None where the log does not hold it. received_at_us: finds one that was ingested by its day."""
        stored = decisions.by_message(tenant, message_id)
        view = facts.view(tenant)
        message = view.find(tenant, message_id, received_at_us if stored is None else stored.received_at_us)
        if message is None:
            return None
        at_us = message.received_at_us
        return cls(
            message,
            tuple(view.about(tenant, message_id, at_us, "signal")),
            frozenset(event.signal for event in view.about(tenant, message_id, at_us, TOMBSTONE)),
        )

    def left(self) -> list[Event]:
        """What still needs a tombstone: the message first, and signals with keys that it does not have."""
        wanted = [self.message, *(s for s in self.signals if s.link_domain != self.message.link_domain)]
        return [event for event in wanted if (event.signal if event.kind == "signal" else "") not in self.gone]


class Forgetting:
    """Takes messages out of the counts, once each."""

    def __init__(self, sequencing: ByTenant, decisions: Decisions, facts: FactSets) -> None:
        self._sequencing, self._decisions, self._facts = sequencing, decisions, facts

    async def forget(self, tenant: str, message_id: str, received_at_us: int | None = None) -> dict[str, Any]:
        """Number a message's tombstone; a second time nothing is done but what a first one left undone.

        received_at_us: event time of the message, which finds an ingested one by its day. Raises NotFound where the
        message is not known, StoreError where it is not logged in time, or facts are being derived anew.
        """
        sequencing = self._sequencing(tenant)
        if not await sequencing.numbered(tenant, [message_id]):
            raise no_message(message_id)
        await asyncio.to_thread(check_no_reparse, self._facts)
        found = await self._logged(tenant, message_id, received_at_us, ())
        seq = 0 if "" in found.gone else await sequencing.forget(found.message)
        # From here on it gets no further signal.
        lately = await sequencing.lately(tenant, message_id)
        found = await self._logged(tenant, message_id, received_at_us, lately.signals)
        for event in found.left():
            if event.kind == "signal":
                await sequencing.forget(event)
        return {"message_id": message_id, "repeated": not seq} | ({"seq": seq} if seq else {})

    async def _logged(
        self, tenant: str, message_id: str, received_at_us: int | None, signals: Collection[str]
    ) -> Logged:
        """The message, once the log holds it and these signals of it."""
        ends = time.monotonic() + LOG_SECONDS
        while True:
            found = await asyncio.to_thread(
                Logged.find, self._facts, self._decisions, tenant, message_id, received_at_us
            )
            if found is not None and {*signals} <= {event.signal for event in found.signals}:
                return found
            if time.monotonic() > ends:
                raise StoreError(
                    f"message {message_id} is not in the event log yet; try again, and look at the feature writer"
                )
            await asyncio.sleep(LOOK_SECONDS)


def check_no_reparse(facts: FactSets) -> None:
    """Raise StoreError while facts are derived anew: a tombstone would bear those that are about to be replaced."""
    if facts.begun() is not None:
        raise StoreError("facts are being derived anew; forget the message when `mailwarden reparse` is done")
