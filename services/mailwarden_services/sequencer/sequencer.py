"""The sequencer: one a shard of tenants. It numbers what was scored, once each, in order, on disk before it answers.

The event loop never waits for a file. What needs one is done by the thread that writes the spool, right before it
writes, for all that waited while it wrote the last time:

1. `begin` (event loop): a message that was read is looked up among the newest; its campaign is settled and joined.
2. It is scored elsewhere, for as long as it takes; others are begun and accepted meanwhile.
3. `accept` (event loop) queues the draft. In its turn the thread looks whether the message was numbered before, gives
   it the tenant's next seq and its first contacts (one look into the index), completes its JSON and keeps it among
   the newest; then it writes the whole group, and the loop is told.
4. A group that could not be written is taken back, last first, and its callers hear of it; seqs are not given again.

Invariants:

- Records stand in the spool in the order of their tenants' seqs, since one thread gives these and writes.
- A message that is found numbered is answered after the record that it repeats is on disk: both are of one group, or
  that one was written before.
- Campaigns are the loop's alone, contacts and seqs the thread's; `_newest_us` and the newest messages are written by
  the thread and read by both.
- A message joins its campaign where it begins, so that near copies that come at once are of one campaign.
- A message that came before, by its content and a recipient or its queue id, gets no seq; where it has recipients that
  it was not for yet it gets one as a further copy, for these alone (`docs/adr/0027`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from threading import Lock
from typing import TypeVar

import structlog

from mailwarden.domain.mail.clusters import Member
from mailwarden.domain.mail.events import Event
from mailwarden.errors import StoreError
from mailwarden.stores.accepted import (
    Accepted,
    AcceptedLabel,
    AcceptedMessage,
    AcceptedSignal,
    AcceptedTombstone,
    encode_accepted,
)
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.draft import Draft
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.spool import Spool
from mailwarden_services.sequencer.learning import ContactsLearning
from mailwarden_services.sequencer.numbering import NO_CONTACTS, Numbering, recent_of
from mailwarden_services.sequencer.order import Begun, Outcome, TenantOrder, age_seconds
from mailwarden_services.sequencer.recent import DueSeq, RecentMessages
from mailwarden_services.sequencer.told import Newest, Told

log = structlog.get_logger(__name__)

NO_CAMPAIGNS = "campaigns unavailable"

_T = TypeVar("_T")


class Sequencer:
    """See the module. Lives with one event loop; `learn` and `restore` come before it.

    spool: the shard's own. stale_after_seconds: the lag from which features count as stale. unlogged: what the spool
    holds and the event log may not, in order.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        events: EventLog,
        contacts: Contacts,
        campaigns: Campaigns,
        stale_after_seconds: float,
        unlogged: Callable[[], Iterable[Accepted]] = lambda: (),
    ) -> None:
        self._spool, self._events = spool, events
        self._campaigns = campaigns
        self.due = DueSeq(stale_after_seconds)
        self._tenants: dict[str, TenantOrder] = {}
        self._lock = Lock()
        self.recent = RecentMessages()
        self.told = Told()
        self.numbering = Numbering(self.recent, self.told, contacts, self.order_of)
        self._learning = ContactsLearning(
            contacts, events, unlogged, self.recent, lambda: list(self._tenants.copy().values())
        )

    def restore(self, record: Accepted) -> None:
        """Take in a record that the spool still held when the process started."""
        event = record.event
        tenant = self.order_of(event.tenant)
        tenant.next = max(tenant.next, event.seq + 1)
        tenant.newest_us = max(tenant.newest_us, event.received_at_us)
        self.told.restore(record)
        if event.kind == "message":
            self._learning.restore(event)
            if event.campaign and event.signature:
                self._campaigns.restore(event.tenant, Member(event.seq, event.campaign, event.signature))
            if isinstance(record, AcceptedMessage):
                self.recent.add(recent_of(record))

    def learn(self, tenants: Iterable[str]) -> None:
        """Read the event log for who wrote to whom and what, so that a tenant's first message need not wait for it."""
        view = self._events.view()
        for name in tenants:
            tenant = self.order_of(name)
            self._count(name, tenant)
            self._learning.learn(name, tenant, view)
            self._campaigns.prepare(name, view)
            tenant.clustered = True
        self._learning.started()

    def newest_us(self, tenant: str) -> int:
        """The time of a tenant's newest message, microseconds UTC; 0 for none, or where it is not known yet."""
        return self.order_of(tenant).newest_us

    def age_seconds(self, tenant: str, as_of: Watermark | None) -> float | None:
        """How far features lag behind what was accepted, in the mail's own time; None where nothing was folded."""
        return age_seconds(as_of, *self.stands_at(tenant))

    def stands_at(self, tenant: str) -> tuple[int, int]:
        """A tenant's next seq, and the time of its newest message."""
        known = self.order_of(tenant)
        return known.next, known.newest_us

    async def meet(self, tenant: str) -> None:
        """Learn once what the log holds of a tenant; nobody else adds to it while this process has the spool."""
        known = self.order_of(tenant)
        if known.logged and known.clustered and self._learning.is_known(known):
            return
        async with known.learning:
            if not known.logged:
                await self.run(lambda: self._count(tenant, known))
            if self._learning.is_due(known):
                try:
                    await self.run(lambda: self._learning.learn_again(tenant, known))
                except StoreError as exc:
                    log.error(NO_CONTACTS, error=str(exc))
            if not known.clustered:
                try:
                    await asyncio.to_thread(lambda: self._campaigns.prepare(tenant, self._events.view()))
                    known.clustered = True
                except StoreError as exc:
                    log.error(NO_CAMPAIGNS, error=str(exc))

    def begin(self, tenant: str, signature: str, *, observe: bool) -> Begun:
        """What a message that was read is to be scored with; the tenant was met. observe: it will be numbered."""
        known = self.order_of(tenant)
        due = self.due.seq(tenant)
        if not known.clustered:
            return Begun("", due, flags=(NO_CAMPAIGNS,))
        try:
            campaign = self._campaigns.find(tenant, signature)
            if not campaign or not observe:
                return Begun(campaign, due)
            # What comes next must find it; its own seq, settled later, is greater. So what is kept as known up to a
            # seq holds nothing that the log does not, and lacks nothing below it.
            member = Member(max(known.next - 1, 1), campaign, signature)
            self._campaigns.take(tenant, member)
            return Begun(campaign, due, member)
        except StoreError as exc:
            log.error(NO_CAMPAIGNS, error=str(exc))
            return Begun("", due, flags=(NO_CAMPAIGNS,))

    def abandon(self, tenant: str, begun: Begun) -> None:
        """Take back what `begin` did of a message that the disk refused."""
        if begun.member is not None:
            try:
                self._campaigns.forget(tenant, begun.member)
            except StoreError as exc:
                log.error(NO_CAMPAIGNS, error=str(exc))

    async def accept(
        self, draft: Draft, raw: bytes, *, key: str | None, flags: tuple[str, ...] = (), sure: bool = False
    ) -> Outcome:
        """Number a draft unless it was numbered before, and wait until it is on disk.

        sure: it was not. Raises StoreError where the disk refused it.
        """
        outcome = Outcome()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(position: int | None, error: StoreError | None) -> None:
            if error is None and position is not None and outcome.recent is not None:
                outcome.recent.on_disk = True
                self.due.accepted(draft.tenant, outcome.seq)
            if not done.done():
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

        self._spool.append_made(
            lambda: self.numbering.make(draft, raw, key, flags, outcome, sure=sure),
            settle,
            size=len(raw) + 16_384,
            undo=lambda: self.numbering.undo(draft, outcome),
            loop=loop,
        )
        # Whoever waits may go away; the record is written all the same.
        await asyncio.shield(done)
        return outcome

    async def label(
        self,
        tenant: str,
        message_id: str,
        label: str,
        held: str | None,
        make: Callable[[int, str | None], AcceptedLabel],
        *,
        later: bool = False,
    ) -> int:
        """Number a label; its seq, 0 where the message has that label already, or counts no more.

        held: the label that the log holds. make: from seq and the label that is replaced to the record; where it raises
        StoreError, nothing is numbered. later: what may not wait goes first.
        """
        seq = 0
        replaced = held

        def number() -> bytes | None:
            nonlocal seq, replaced
            given = self.told.labels.get((tenant, message_id))
            replaced = held if given is None else given
            if replaced == label or self.told.is_forgotten(tenant, message_id):
                return None
            record = encode_accepted(make(self.order_of(tenant).next, replaced))
            seq = self.order_of(tenant).take()
            self.told.labels.keep((tenant, message_id), label)
            return record

        def undo() -> None:
            if replaced is None:
                self.told.labels.drop((tenant, message_id))
            else:
                self.told.labels.keep((tenant, message_id), replaced)

        await self.append(number, undo, later=later)
        return seq

    async def signal(
        self,
        tenant: str,
        message_id: str,
        signal: str,
        make: Callable[[int], AcceptedSignal],
        *,
        later: bool = False,
    ) -> int:
        """Number a signal; its seq, 0 where the message has it already, or counts no more. make, later: see `label`."""
        return await self._number_once(
            self.told.signals,
            (tenant, message_id, signal),
            make,
            later=later,
            unless=lambda: self.told.is_forgotten(tenant, message_id),
        )

    async def forget(self, tenant: str, message_id: str, signal: str, make: Callable[[int], AcceptedTombstone]) -> int:
        """Number a tombstone of a message, or of a signal of it; its seq, 0 where it has one. make: see `signal`."""
        return await self._number_once(self.told.tombstones, (tenant, message_id, signal), make)

    async def numbered(self, tenant: str, message_ids: list[str]) -> dict[str, int]:
        """Those of the ids that have a seq, with it, by one look into the index; all of them, with 0, where nobody can
        look."""
        await self.meet(tenant)
        if not self.order_of(tenant).acquainted:
            return dict.fromkeys(message_ids, 0)
        try:
            return await self.run(lambda: self.contacts_of(tenant).held(tenant, message_ids))
        except StoreError as exc:
            log.warning("index of messages unavailable", error=str(exc))
            return dict.fromkeys(message_ids, 0)

    async def newest_of(self, tenant: str, content: str) -> str | None:
        """The id of the newest message of that content key; None where none is known, or nobody can look."""
        await self.meet(tenant)
        if not self.order_of(tenant).acquainted:
            return None
        try:
            return await self.run(lambda: self.contacts_of(tenant).newest_of(tenant, content))
        except StoreError as exc:
            log.warning("index of messages unavailable", error=str(exc))
            return None

    def order_of(self, name: str) -> TenantOrder:
        """How far a tenant is."""
        known = self._tenants.get(name)
        if known is None:
            with self._lock:
                known = self._tenants.setdefault(name, TenantOrder())
        return known

    async def _number_once(
        self,
        told: Newest[tuple[str, str, str], None],
        key: tuple[str, str, str],
        make: Callable[[int], Accepted],
        *,
        later: bool = False,
        unless: Callable[[], bool] = lambda: False,
    ) -> int:
        """Number what is said once of a message; its seq, 0 where it was said, or is not to be. key: tenant first."""
        seq = 0

        def number() -> bytes | None:
            nonlocal seq
            if key in told or unless():
                return None
            record = encode_accepted(make(self.order_of(key[0]).next))
            seq = self.order_of(key[0]).take()
            told.keep(key, None)
            return record

        await self.append(number, lambda: told.drop(key), later=later)
        return seq

    async def append(
        self, number: Callable[[], bytes | None], undo: Callable[[], object], *, size: int = 4_096, later: bool = False
    ) -> None:
        """Write what `number` makes of its turn, in the thread that numbers, and wait until it is on disk.

        number: to a record's bytes, or None for nothing. undo: takes back what it did where the disk refused the group.
        later: what may not wait goes first. Raises what `number` raises, and StoreError where the disk refused.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(_: int | None, error: StoreError | None) -> None:
            if not done.done():
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

        self._spool.append_made(number, settle, size=size, undo=lambda: void(undo()), loop=loop, later=later)
        await asyncio.shield(done)

    def contacts_of(self, tenant: str) -> Contacts:
        """The contacts, for the thread that numbers; raises StoreUnavailable where a tenant's are to be learnt."""
        return self._learning.of(self.order_of(tenant))

    def forget_contacts(self, event: Event) -> None:
        """Take back, in that thread, what numbering a message told the index."""
        self._learning.forget(event, self.order_of(event.tenant))

    @property
    def quiet_seconds(self) -> float:
        """Since something was numbered that may not wait."""
        return self._spool.quiet_seconds

    async def run(self, act: Callable[[], _T], *, later: bool = False) -> _T:
        """Have the thread that numbers do something, in its turn; later: in that of what may wait."""
        found: list[_T] = []

        def make() -> None:
            found.append(act())

        await self.append(make, lambda: None, later=later)
        return found[0]

    def _count(self, name: str, tenant: TenantOrder) -> None:
        view = self._events.view()
        tenant.next = max(tenant.next, view.last_seq(name) + 1)
        tenant.newest_us = max(tenant.newest_us, view.newest_us(name))
        tenant.logged = True


def void(_: object) -> None:
    """Nothing, whatever the value."""
