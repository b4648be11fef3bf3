"""History beside live mail: what `ingest` read is numbered by the same sequencer, and gives way to what is scored.

One batch at a time, of all tenants of the shard:

1. While the logs lack more than `MOST_LAG_BYTES` of what was accepted, nothing is taken, and whoever asked waits.
2. While live mail comes, a batch waits until what the tenant has is folded, so that writers have little of it at once
   and other tenants' features stay fresh; without live mail it may be `AHEAD` events ahead. Where nothing is folded, as
   when Redis is away or the tenant waits for `materialize`, it is taken after `MOST_WAIT_SECONDS` all the same.
3. What is known is looked up at once; of the rest each message joins its campaign.
4. Messages, labels and signals are queued in their order as records that may wait (`Spool.append_made`): the thread
   that numbers makes them when no live draft waits, for 2 ms at a time, and some every 50 ms whatever comes.

Unlike live mail, history is refused where first contacts or campaigns cannot be read: it can be handed over again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import label_event_of, signal_event_of
from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.accepted import AcceptedHistory, AcceptedLabel, AcceptedSignal, encode_accepted
from mailwarden.stores.content_index import Content, Met
from mailwarden.stores.history import HistoryItem, HistoryLabel, HistoryMessage, HistorySignal, Numbered
from mailwarden.stores.online.streams import decode_event
from mailwarden_services.sequencer.numbering import NO_CONTACTS
from mailwarden_services.sequencer.order import Begun
from mailwarden_services.sequencer.sequencer import NO_CAMPAIGNS, Sequencer

log = structlog.get_logger(__name__)

MOST_LAG_BYTES = 32 << 20
"""Accepted and not logged, beyond which no history is taken."""

AHEAD = 256
"""Events of a tenant that may be numbered and not folded, while no live mail comes."""

LIVE_SECONDS = 2.0
"""For how long after a live record live mail counts as coming."""

MOST_WAIT_SECONDS = 1.0
LOOK_SECONDS = 0.02

_YIELD_EVERY = 8
"""Messages that join their campaigns before the event loop looks at other things."""


@dataclass(frozen=True, slots=True)
class HistoryTook:
    """What became of a batch: of each of its items, or in words why it should be handed over again, later."""

    numbered: tuple[Numbered, ...] = ()
    later: str = ""


@dataclass(slots=True)
class _Message:
    """A message of a batch on its way. event: numbered; None before that, and where it was known. counts_with: then as
    the message of that id."""

    item: HistoryMessage
    read: Event
    begun: Begun | None = None
    event: Event | None = None
    counts_with: str = ""


class _KnownMessage(StoreError):
    """The message of a label or a signal was known already, or reached no disk."""


class History:
    """See the module. lag_bytes: accepted and not logged yet. folded: up to which seq a tenant is, or StoreError.

    Both block.
    """

    def __init__(
        self, sequencer: Sequencer, *, lag_bytes: Callable[[], int], folded: Callable[[str], int | None]
    ) -> None:
        self._sequencer, self._lag_bytes, self._folded = sequencer, lag_bytes, folded
        self._turn = asyncio.Lock()

    async def take(self, tenant: str, items: Sequence[HistoryItem]) -> HistoryTook:
        """Number a batch, in its order; what was numbered is on disk then. Raises StoreError where it cannot be."""
        async with self._turn:
            await self._sequencer.meet(tenant)
            known = self._sequencer.order_of(tenant)
            if not known.acquainted or not known.clustered:
                raise StoreUnavailable(f"{NO_CONTACTS if not known.acquainted else NO_CAMPAIGNS}; see the API's log")
            lag = await asyncio.to_thread(self._lag_bytes)
            if lag > MOST_LAG_BYTES:
                return HistoryTook(later=f"{lag >> 20} MiB of accepted mail wait for the feature writer")
            await self._room(tenant)
            return HistoryTook(await self._number(tenant, items))

    async def _room(self, tenant: str) -> None:
        ends = time.monotonic() + MOST_WAIT_SECONDS
        while True:
            try:
                folded = await asyncio.to_thread(self._folded, tenant) or 0
            except StoreError:
                folded = 0
            live = self._sequencer.quiet_seconds < LIVE_SECONDS
            ahead = self._sequencer.stands_at(tenant)[0] - 1 - folded
            if ahead <= (0 if live else AHEAD) or time.monotonic() >= ends:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _number(self, tenant: str, items: Sequence[HistoryItem]) -> tuple[Numbered, ...]:
        messages: dict[int, _Message] = {}
        for place, item in enumerate(items):
            if isinstance(item, HistoryMessage):
                messages[place] = _Message(item, decode_event(item.event))
        known = await self._known([message.read for message in messages.values()])
        fresh = [one for one in messages.values() if one.read.message_id not in known]
        try:
            await self._join(fresh)
        except StoreError:
            self._abandon(fresh)
            raise
        # Each queues its record when it first runs, and tasks first run in the order in which they are made.
        tasks = [asyncio.create_task(self._one(tenant, place, item, messages)) for place, item in enumerate(items)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        self._abandon([one for one in fresh if one.event is None])
        numbered = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            numbered.append(outcome)
        return tuple(numbered)

    async def _join(self, messages: Sequence[_Message]) -> None:
        for count, message in enumerate(messages, 1):
            event = message.read
            message.begun = self._sequencer.begin(event.tenant, event.signature, observe=True)
            if message.begun.flags:
                raise StoreUnavailable(f"{NO_CAMPAIGNS}; see the API's log")
            if count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _abandon(self, messages: Sequence[_Message]) -> None:
        for message in messages:
            if message.begun is not None:
                self._sequencer.abandon(message.read.tenant, message.begun)

    def _one(
        self, tenant: str, place: int, item: HistoryItem, messages: dict[int, _Message]
    ) -> Coroutine[Any, Any, Numbered]:
        if isinstance(item, HistoryMessage):
            return self._message(messages[place])
        of = messages[item.of] if isinstance(item.of, int) else decode_event(item.of)
        return self._label(tenant, item, of) if isinstance(item, HistoryLabel) else self._signal(tenant, item, of)

    async def _message(self, message: _Message) -> Numbered:
        if message.begun is None:
            return Numbered(0, counts_with=message.read.message_id)
        sequencer, read, campaign = self._sequencer, message.read, message.begun.campaign

        def number() -> bytes | None:
            met = self._meet(read)
            if not met.counts:
                message.counts_with = read.message_id if met.copy is None else met.copy.first
                return None
            event = read if met.copy is None else met.copy.of(read)
            event = replace(
                event, seq=sequencer.order_of(read.tenant).take(), new_recipients=met.new, campaign=campaign
            )
            known = sequencer.order_of(read.tenant)
            known.newest_us = max(known.newest_us, read.received_at_us)
            sequencer.told.add_message(event)
            message.event, item = event, message.item
            return encode_accepted(AcceptedHistory(event, item.raw, item.mail_from, item.rcpt_to, item.reception))

        def undo() -> None:
            event, message.event = message.event, None
            if event is not None:
                sequencer.told.forget_message(event)
                sequencer.forget_contacts(event)

        await sequencer.append(number, undo, size=len(message.item.raw) + 4_096, later=True)
        if message.event is None:
            return Numbered(0, counts_with=message.counts_with)
        sequencer.due.accepted(read.tenant, message.event.seq)
        return Numbered(message.event.seq, campaign, message.event.new_recipients, counts_with=message.event.copy_of)

    async def _label(self, tenant: str, item: HistoryLabel, of: _Message | Event) -> Numbered:
        def make(seq: int, replaced: str | None) -> AcceptedLabel:
            event = label_event_of(
                _event(of, item),
                label=item.label,
                replaced=replaced,
                seq=seq,
                known_at_us=item.known_at_us,
                source=item.source,
                stands_for=item.stands_for,
            )
            return AcceptedLabel(event, item.source, "")

        try:
            return Numbered(await self._sequencer.label(tenant, _id(of), item.label, item.held, make, later=True))
        except _KnownMessage:
            return Numbered(0, waits=True)

    async def _signal(self, tenant: str, item: HistorySignal, of: _Message | Event) -> Numbered:
        def make(seq: int) -> AcceptedSignal:
            return AcceptedSignal(signal_event_of(_event(of, item), item.facts, seq=seq, known_at_us=item.known_at_us))

        try:
            return Numbered(await self._sequencer.signal(tenant, _id(of), item.facts.signal, make, later=True))
        except _KnownMessage:
            return Numbered(0, waits=True)

    async def _known(self, events: Sequence[Event]) -> set[str]:
        """Ids of those that were numbered before, by one look; what is numbered meanwhile is found by `_meet`."""
        sequencer, known = self._sequencer, set[str]()
        if events:
            tenant = events[0].tenant
            known = {one.message_id for one in events if sequencer.recent.find(tenant, one.message_id) is not None}
            asked = [one.message_id for one in events if one.message_id not in known]
            known.update(await sequencer.run(lambda: sequencer.contacts_of(tenant).held(tenant, asked), later=True))
        return known

    def _meet(self, event: Event) -> Met:
        """First contacts of a message that gets its tenant's next seq, in the thread that numbers."""
        sequencer = self._sequencer
        if sequencer.recent.find(event.tenant, event.message_id) is not None:
            return Met(known=True)
        seq, content = sequencer.order_of(event.tenant).next, Content.of(event)
        contacts = sequencer.contacts_of(event.tenant)
        return contacts.meet(event.tenant, event.sender, event.recipients, seq, event.message_id, content)


def _event(of: _Message | Event, item: HistoryLabel | HistorySignal) -> Event:
    event = of.event if isinstance(of, _Message) else of
    if event is None or event.copy_of or item.numbered:
        raise _KnownMessage("its message was known already")
    return event


def _id(of: _Message | Event) -> str:
    return of.read.message_id if isinstance(of, _Message) else of.message_id
