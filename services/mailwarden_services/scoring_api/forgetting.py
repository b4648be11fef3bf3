"""Messages taken out of the counts: a tombstone for each, and one for what a signal counted under a link of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mailwarden.domain.mail.events import TOMBSTONE, Event
from mailwarden.errors import NotLogged
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.sql import Decisions
from mailwarden_services.scoring_api.labelling import no_message
from mailwarden_services.sequencer.sequencing import ByTenant, Lately

LOG_SECONDS = 20.0
"""How long a message that was accepted just now is waited for in the event log, which has it within seconds."""

LOOK_SECONDS = 0.2

LOOKING = 2
"""So many look into the log at once, however many messages are being forgotten: others' questions take turns."""

NOTHING = Lately(None, None, ())


@dataclass(frozen=True, slots=True)
class Logged:
    """What the log holds of a message, with the facts in force. copies: further ones of it. gone: message_id and signal
    of tombstones that it holds, "" for that of a message."""

    message: Event
    signals: tuple[Event, ...]
    copies: tuple[Event, ...]
    gone: frozenset[tuple[str, str]]

    @property
    def is_gone(self) -> bool:
        """Whether the log holds the tombstone of the message."""
        return (self.message.message_id, "") in self.gone

    @classmethod
    def find(
        cls, facts: FactSets, decisions: Decisions, tenant: str, message_id: str, received_at_us: int | None
    ) -> Logged | None:
        """A message, that of a further copy where one is asked; None where the log does not hold it. received_at_us:
        finds one that was ingested by its day."""
        stored = decisions.by_message(tenant, message_id)
        view = facts.view(tenant)
        message = view.find(tenant, message_id, received_at_us if stored is None else stored.received_at_us)
        if message is None and stored is None and received_at_us is not None:
            # A further copy has the time of its message, and may have come on another day.
            message = view.find(tenant, message_id)
        if message is None:
            return None
        if message.copy_of:
            message = view.find(tenant, message.copy_of)
            if message is None:
                return None
        copies = tuple(view.copies(tenant, message.message_id))
        told = [
            event
            for one in (message, *copies)
            for event in view.about(tenant, one.message_id, one.received_at_us, TOMBSTONE)
        ]
        signals = view.about(tenant, message.message_id, message.received_at_us, "signal")
        return cls(message, tuple(signals), copies, frozenset((event.message_id, event.signal) for event in told))

    def has(self, lately: Lately, through: int = 0) -> bool:
        """Whether signals and copies that were numbered lately are among these. through: up to which seq the log is
        whole, where that is known: a copy up to there that it lacks was set aside, and counts for nothing."""
        copies = {name for name, seq in lately.copies.items() if seq > through}
        signals = {event.signal for event in self.signals}
        return {*lately.signals} <= signals and copies <= {event.message_id for event in self.copies}

    def left(self) -> list[Event]:
        """What still needs a tombstone: the message first, its copies, and signals with a link domain.

        That may be the message's own now, and another one once facts are derived anew.
        """
        own = [s for s in self.signals if s.link_domain]
        wanted = [(self.message, ""), *((copy, "") for copy in self.copies), *((s, s.signal) for s in own)]
        return [event for event, signal in wanted if (event.message_id, signal) not in self.gone]


class Forgetting:
    """Takes messages out of the counts, once each."""

    def __init__(self, sequencing: ByTenant, decisions: Decisions, facts: FactSets) -> None:
        self._sequencing, self._decisions, self._facts = sequencing, decisions, facts
        self._looking = asyncio.Semaphore(LOOKING)

    async def forget(
        self,
        tenant: str,
        message_id: str,
        received_at_us: int | None = None,
        *,
        note: Callable[[int], Awaitable[None]],
    ) -> dict[str, Any]:
        """Number a message's tombstone; a second time nothing is done but what a first one left undone.

        received_at_us: event time of the message, which finds an ingested one by its day. note: is told the tombstone's
        seq once it counts, whatever follows. Raises NotFound where the message is not known, NotLogged where it or what
        was said of it is not logged in time, StoreError where facts are being derived anew.
        """
        numbered = await self._sequencing(tenant).numbered(tenant, [message_id])
        if message_id not in numbered:
            raise no_message(message_id)
        # A tombstone bears the facts, and so the keys, of its message: they must not be replaced before it is logged.
        held = contextlib.ExitStack()
        await asyncio.to_thread(held.enter_context, self._facts.in_force())
        try:
            return await self._forget(tenant, message_id, numbered[message_id], received_at_us, note)
        finally:
            await asyncio.to_thread(held.close)

    async def _forget(
        self,
        tenant: str,
        message_id: str,
        seq_of: int,
        received_at_us: int | None,
        note: Callable[[int], Awaitable[None]],
    ) -> dict[str, Any]:
        sequencing = self._sequencing(tenant)
        found = await self._logged(tenant, message_id, seq_of, received_at_us, NOTHING)
        message_id = found.message.message_id
        seq = 0 if found.is_gone else await sequencing.forget(found.message)
        if seq:
            await note(seq)
        # From here on it gets no further signal, and a copy that comes counts for its recipient.
        lately = await sequencing.lately(tenant, message_id)
        found = await self._logged(tenant, message_id, 0, received_at_us, lately)
        for event in found.left():
            if event.kind == "signal" or event.message_id != message_id:
                await sequencing.forget(event)
        return {"message_id": message_id, "repeated": not seq} | ({"seq": seq} if seq else {})

    async def _logged(
        self, tenant: str, message_id: str, seq_of: int, received_at_us: int | None, lately: Lately
    ) -> Logged:
        """The message, once the log holds it with the signals and copies of it that were numbered lately.

        seq_of: its own, 0 where it is not known; a message that the log has passed was set aside.
        """
        ends = time.monotonic() + LOG_SECONDS
        look = functools.partial(Logged.find, self._facts, self._decisions, tenant, message_id, received_at_us)
        while True:
            over, through = time.monotonic() > ends, 0
            async with self._looking:
                found = await asyncio.to_thread(look)
                if over and (bool(seq_of) if found is None else not found.has(lately)):
                    through = await asyncio.to_thread(self._facts.view(tenant).last_seq, tenant)
                    found = await asyncio.to_thread(look)
            if found is not None and found.has(lately, through):
                return found
            if over and found is None and 0 < seq_of <= through:
                raise no_message(message_id)
            if over:
                what = "" if found is None else ", or a signal or a further copy of it is not"
                raise NotLogged(
                    f"message {message_id} is not in the event log yet{what}; try again, and look at the feature writer"
                )
            await asyncio.sleep(LOOK_SECONDS)
