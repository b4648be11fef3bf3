"""Labels and signals: what people and later looks say of messages that were accepted, each numbered once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from mailwarden.domain.mail.events import LABELS, WITHDRAWN, Event, message_identity
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, NotFound, NotLogged
from mailwarden.ingest.dates import is_believable
from mailwarden.ingest.receive import unwrapped
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.sql import Decisions, Labels, Tenant
from mailwarden_services.scoring_api.counted import check_counts, is_forgotten
from mailwarden_services.sequencer.sequencing import ByTenant, Lately, Source
from mailwarden_services.signals.found import FoundSignal

Give = Callable[[], Awaitable[dict[str, Any]]]
"""Numbers a label that was looked up."""


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of a message, when and who.

    known_at_us: when it was said, microseconds UTC. received_at_us: event time of the message, which finds an ingested
    one by its day. stands_for: see `Event`.
    """

    message_id: str
    known_at_us: int
    source: Source
    given_by: str
    received_at_us: int | None = None
    stands_for: int = 0


class Labelling:
    """Takes labels and signals for messages that are known by their id."""

    def __init__(
        self, sequencing: ByTenant, *, decisions: Decisions, labels: Labels, events: EventLog, facts: FactSets
    ) -> None:
        self._sequencing = sequencing
        self._decisions, self._labels, self._events, self._facts = decisions, labels, events, facts

    async def label(self, tenant: Tenant, label: str, said: Said) -> dict[str, Any]:
        """Take a label for a message that was scored or ingested; the same label twice counts once.

        Raises NotFound where the message is not known, NotLogged where it was accepted and cannot be looked up yet,
        DataError where the label is not one of `events.LABELS` or was given before the message came.
        """
        return await (await self.prepare_label(tenant, label, said))()

    async def prepare_label(self, tenant: Tenant, label: str, said: Said) -> Give:
        """All of `label` but the numbering, which what is returned does: so many are looked up at once and numbered in
        order."""
        if label not in LABELS:
            raise DataError(f"unknown label {label!r}; use one of {', '.join(LABELS)}")
        return await self._prepare(tenant, label, said)

    async def withdraw(self, tenant: Tenant, said: Said) -> dict[str, Any]:
        """Take back the label that a message bears, whoever gave it, so that it counts for nothing from then on.

        Raises as `label`, and NotFound where the message bears no label.
        """
        return await (await self._prepare(tenant, WITHDRAWN, said))()

    async def unknown(self, tenant: Tenant, message_ids: list[str]) -> set[str]:
        """Those of the ids that no message of the tenant has, by one look into the index."""
        return set(message_ids) - (await self._sequencing(tenant.name).numbered(tenant.name, message_ids)).keys()

    async def find_by_content(self, tenant: Tenant, raw: bytes, envelope: Envelope, content_key: str) -> str | None:
        """Our id of a message that is known by its content, or by content and envelope; None where it is not.

        content_key: the message's, "" where it has none.
        """
        raw, envelope = unwrapped(raw, envelope)
        content = hashlib.sha256(raw).hexdigest()
        sequencing = self._sequencing(tenant.name)
        known = await sequencing.find_content(tenant.name, content_key or content)
        if known is not None or envelope.received_at_us is None:
            return known
        wanted = message_identity(tenant.name, content, envelope.received_at_us, envelope.mail_from, envelope.rcpt_to)
        return wanted if await sequencing.numbered(tenant.name, [wanted]) else None

    async def _prepare(self, tenant: Tenant, label: str, said: Said) -> Give:
        message_id, known_at_us = said.message_id, said.known_at_us
        sequencing = self._sequencing(tenant.name)
        lately = await sequencing.lately(tenant.name, message_id)
        # A label counts where its message does, which may be under other facts by now than it was accepted with.
        target = await self._target(tenant.name, message_id, said.received_at_us, lately)
        if target.copy_of:
            # It counts where its message does, whichever copy somebody saw.
            of_first = replace(said, message_id=target.copy_of, received_at_us=target.received_at_us)
            return await self._prepare(tenant, label, of_first)
        await asyncio.to_thread(check_counts, self._events, target, lately)
        if known_at_us < target.received_at_us or not is_believable(known_at_us):
            raise DataError("`known_at` is before the message came, or after 2099; say when the label was given")
        held = lately.label
        if held is None:
            held = await asyncio.to_thread(self._label_given, tenant.name, message_id)
        if label == WITHDRAWN and held in (None, WITHDRAWN):
            raise NotFound(f"message {message_id} bears no label that could be withdrawn")

        async def give() -> dict[str, Any]:
            seq = await sequencing.label(
                target,
                label,
                held,
                known_at_us=known_at_us,
                source=said.source,
                given_by=said.given_by,
                stands_for=said.stands_for,
            )
            taken: dict[str, Any] = {"message_id": message_id, "label": label}
            return taken | ({"seq": seq, "repeated": False} if seq else {"repeated": True})

        return give

    async def signal(self, found: FoundSignal) -> None:
        """Take in what was found out about an accepted message; a message has each signal once.

        It is known at the time of the tenant's newest mail, the clock that all else here goes by. Raises NotFound
        where the message is not known.
        """
        name, message_id, signal = found.tenant, found.message_id, found.facts.signal
        sequencing = self._sequencing(name)
        lately = await sequencing.lately(name, message_id)
        if signal in lately.signals:
            return
        if signal in await asyncio.to_thread(self._events.signals, name, message_id, found.received_at_us):
            return
        if await asyncio.to_thread(is_forgotten, self._events, name, message_id, found.received_at_us):
            return
        await sequencing.signal(await self._target(name, message_id, found.received_at_us, lately), found.facts)

    def _label_given(self, tenant: str, message_id: str) -> str | None:
        """The label that the counts hold: the one of the greatest seq, whatever time it was given for."""
        history = self._labels.history(tenant, message_id)
        return max(history, key=lambda record: record.seq).label if history else None

    async def _target(self, tenant: str, message_id: str, received_at_us: int | None, lately: Lately) -> Event:
        """The event of a message that is to be labelled, under the facts in force."""
        if lately.event is not None:
            return await asyncio.to_thread(self._facts.current, lately.event)
        numbered = await self._sequencing(tenant).numbered(tenant, [message_id])
        if message_id not in numbered:
            raise no_message(message_id)
        return await asyncio.to_thread(self._logged, tenant, message_id, received_at_us, numbered[message_id])

    def _logged(self, tenant: str, message_id: str, received_at_us: int | None, seq: int) -> Event:
        """The event of a message that is not among the newest. seq: its own, 0 where nobody could look."""
        logged = self._find(tenant, message_id, received_at_us)
        if logged is None:
            through = self._events.view().last_seq(tenant)
            # It may have been logged in between.
            logged = self._find(tenant, message_id, received_at_us)
            if logged is None and seq > through:
                raise NotLogged(f"message {message_id} was accepted and is in no log yet; try again in some seconds")
            if logged is None and not seq:
                raise NotLogged(
                    f"no log holds message {message_id}, and the index of those that were accepted cannot be read; "
                    "try again, and see the API's log"
                )
        if logged is None:
            raise no_message(message_id)
        return self._facts.current(logged)

    def _find(self, tenant: str, message_id: str, received_at_us: int | None) -> Event | None:
        stored = self._decisions.by_message(tenant, message_id)
        # The decision finds the day; the log has all facts of a message.
        logged = self._events.find(tenant, message_id, received_at_us if stored is None else stored.received_at_us)
        if logged is None and stored is None and received_at_us is not None:
            # A further copy has the time of its message, and may have come on another day.
            logged = self._events.find(tenant, message_id)
        return logged


def no_message(message_id: str) -> NotFound:
    """The error for an id that no message of the tenant has."""
    return NotFound(
        f"no message {message_id} is known; give the id that scoring answered, and `received_at` "
        "where the message was ingested"
    )
