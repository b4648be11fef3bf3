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
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

import orjson
import structlog

from mailwarden.domain.mail.clusters import Member
from mailwarden.domain.mail.events import SIGNALS
from mailwarden.errors import StoreError
from mailwarden.stores.accepted import Accepted, AcceptedLabel, AcceptedMessage, AcceptedSignal, encode_accepted
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.draft import Draft
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.online.streams import encode_event
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.spool import Spool
from mailwarden_services.sequencer.order import Begun, Outcome, age_seconds
from mailwarden_services.sequencer.recent import DueSeq, Recent, RecentMessages

log = structlog.get_logger(__name__)

NO_CONTACTS = "first contacts unavailable"
NO_CAMPAIGNS = "campaigns unavailable"

RETRY_SECONDS = 2.0
"""How long the index is left alone after it could not be read: what it lacks is many messages' to gather."""

REMEMBERED = 200_000
"""Labels and signals that are kept in memory, so that the same one is known before the log has it."""

_T = TypeVar("_T")
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class _Tenant:
    """next: seq. newest_us: of its mail. logged, acquainted, clustered: what is learnt. again: when learning contacts,
    which failed, is tried again."""

    next: int = 1
    newest_us: int = 0
    logged: bool = False
    acquainted: bool = False
    clustered: bool = False
    again: float = float("-inf")
    learning: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sequencer:
    """See the module. Lives with one event loop; `learn` and `restore` come before it.

    spool: the shard's own. stale_after_seconds: the lag from which features count as stale.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        events: EventLog,
        contacts: Contacts,
        campaigns: Campaigns,
        stale_after_seconds: float,
    ) -> None:
        self._spool, self._events = spool, events
        self._contacts, self._campaigns = contacts, campaigns
        self._due = DueSeq(stale_after_seconds)
        self._tenants: dict[str, _Tenant] = {}
        self._given: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._signalled: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._lock = Lock()
        self.recent = RecentMessages()

    def restore(self, record: Accepted) -> None:
        """Take in a record that the spool still held when the process started."""
        event = record.event
        tenant = self._tenant(event.tenant)
        tenant.next = max(tenant.next, event.seq + 1)
        tenant.newest_us = max(tenant.newest_us, event.received_at_us)
        if isinstance(record, AcceptedLabel):
            _keep(self._given, (event.tenant, event.message_id), event.label)
        elif isinstance(record, AcceptedSignal):
            _keep(self._signalled, (event.tenant, event.message_id, event.signal), None)
        else:
            self._contacts.restore(event.tenant, event.sender, event.recipients, event.seq, event.message_id)
            if event.campaign and event.signature:
                self._campaigns.restore(event.tenant, Member(event.seq, event.campaign, event.signature))
            if isinstance(record, AcceptedMessage):
                self.recent.add(_recent(record))

    def learn(self, tenants: Iterable[str]) -> None:
        """Read the event log for who wrote to whom and what, so that a tenant's first message need not wait for it."""
        view = self._events.view()
        for name in tenants:
            tenant = self._tenant(name)
            self._count(name, tenant)
            self._contacts.prepare(name, view)
            tenant.acquainted = True
            self._campaigns.prepare(name, view)
            tenant.clustered = True

    def newest_us(self, tenant: str) -> int:
        """The time of a tenant's newest message, microseconds UTC; 0 for none, or where it is not known yet."""
        return self._tenant(tenant).newest_us

    def age_seconds(self, tenant: str, as_of: Watermark | None) -> float | None:
        """How far features lag behind what was accepted, in the mail's own time; None where nothing was folded."""
        return age_seconds(as_of, *self.stands_at(tenant))

    def stands_at(self, tenant: str) -> tuple[int, int]:
        """A tenant's next seq, and the time of its newest message."""
        known = self._tenant(tenant)
        return known.next, known.newest_us

    async def meet(self, tenant: str) -> None:
        """Learn once what the log holds of a tenant; nobody else adds to it while this process has the spool."""
        known = self._tenant(tenant)
        if known.logged and known.acquainted and known.clustered:
            return
        async with known.learning:
            if not known.logged:
                await self._run(lambda: self._count(tenant, known))
            if not known.acquainted and time.monotonic() >= known.again:
                known.again = time.monotonic() + RETRY_SECONDS
                try:
                    await self._run(lambda: self._acquaint(tenant, known))
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
        known = self._tenant(tenant)
        due = self._due.seq(tenant)
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
                self._due.accepted(draft.tenant, outcome.seq)
            if not done.done():
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

        self._spool.append_made(
            lambda: self._number(draft, raw, key, flags, sure, outcome),
            settle,
            size=len(raw) + 16_384,
            undo=lambda: self._undo(draft, outcome),
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
        """Number a label; its seq, 0 where the message has that label already.

        held: the label that the log holds. make: from seq and the label that is replaced to the record; where it raises
        StoreError, nothing is numbered. later: what may not wait goes first.
        """
        seq = 0
        replaced = held

        def number() -> bytes | None:
            nonlocal seq, replaced
            replaced = self._given.get((tenant, message_id), held)
            if replaced == label:
                return None
            record = encode_accepted(make(self._tenant(tenant).next, replaced))
            seq = self._take(tenant)
            _keep(self._given, (tenant, message_id), label)
            return record

        def undo() -> None:
            if replaced is None:
                self._given.pop((tenant, message_id), None)
            else:
                _keep(self._given, (tenant, message_id), replaced)

        await self._append(number, undo, later=later)
        return seq

    def label_of(self, tenant: str, message_id: str) -> str | None:
        """The label given lately; None where none is remembered."""
        return self._given.get((tenant, message_id))

    async def signal(
        self,
        tenant: str,
        message_id: str,
        signal: str,
        make: Callable[[int], AcceptedSignal],
        *,
        later: bool = False,
    ) -> int:
        """Number a signal; its seq, 0 where the message has it already. make, later: see `label`."""
        key = (tenant, message_id, signal)
        seq = 0

        def number() -> bytes | None:
            nonlocal seq
            if key in self._signalled:
                return None
            record = encode_accepted(make(self._tenant(tenant).next))
            seq = self._take(tenant)
            _keep(self._signalled, key, None)
            return record

        await self._append(number, lambda: self._signalled.pop(key, None), later=later)
        return seq

    async def numbered(self, tenant: str, message_ids: list[str]) -> set[str]:
        """Those of the ids that have a seq, by one look into the index; all of them where nobody can look."""
        await self.meet(tenant)
        if not self._tenant(tenant).acquainted:
            return set(message_ids)
        try:
            return await self._run(lambda: self._contacts.held(tenant, message_ids))
        except StoreError as exc:
            log.warning("index of messages unavailable", error=str(exc))
            return set(message_ids)

    def signalled(self, tenant: str, message_id: str, signal: str) -> bool:
        """Whether the signal was numbered lately."""
        return (tenant, message_id, signal) in self._signalled

    def signals_of(self, tenant: str, message_id: str) -> tuple[str, ...]:
        """The signals of a message that were numbered lately."""
        return tuple(signal for signal in SIGNALS if (tenant, message_id, signal) in self._signalled)

    def _tenant(self, name: str) -> _Tenant:
        known = self._tenants.get(name)
        if known is None:
            with self._lock:
                known = self._tenants.setdefault(name, _Tenant())
        return known

    async def _append(
        self, number: Callable[[], bytes | None], undo: Callable[[], object], *, size: int = 4_096, later: bool = False
    ) -> None:
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

    async def _run(self, act: Callable[[], _T], *, later: bool = False) -> _T:
        """Have the thread that numbers do something, in its turn; later: in that of what may wait."""
        found: list[_T] = []

        def make() -> None:
            found.append(act())

        await self._append(make, lambda: None, later=later)
        return found[0]

    def _count(self, name: str, tenant: _Tenant) -> None:
        view = self._events.view()
        tenant.next = max(tenant.next, view.last_seq(name) + 1)
        tenant.newest_us = max(tenant.newest_us, view.newest_us(name))
        tenant.logged = True

    def _acquaint(self, name: str, tenant: _Tenant) -> None:
        # What was numbered while this failed may be in no log yet.
        for recent in self.recent.of(name):
            event = recent.event
            self._contacts.restore(name, event.sender, event.recipients, event.seq, event.message_id)
        self._contacts.prepare(name, self._events.view())
        tenant.acquainted = True

    def _take(self, tenant: str) -> int:
        known = self._tenant(tenant)
        seq, known.next = known.next, known.next + 1
        return seq

    def _number(
        self, draft: Draft, raw: bytes, key: str | None, flags: tuple[str, ...], sure: bool, outcome: Outcome
    ) -> bytes | None:
        """One record, in its turn, in the thread that writes."""
        tenant = self._tenant(draft.tenant)
        recent = self.recent.find_key(draft.tenant, key) if key is not None else None
        recent = recent or self.recent.find(draft.tenant, draft.message_id)
        if recent is not None:
            outcome.recent, outcome.repeated = recent, True
            return None
        new: tuple[str, ...] | None = ()
        lost = True
        if tenant.acquainted:
            try:
                new = self._contacts.meet(
                    draft.tenant, draft.sender, draft.recipients, tenant.next, draft.message_id, again=sure
                )
                lost = False
            except StoreError as exc:
                log.error(NO_CONTACTS, error=str(exc))
        if new is None:
            outcome.before = True
            return None
        if lost:
            if not sure:
                outcome.unsure = True
                return None
            flags = (*flags, NO_CONTACTS)
        # Before it has its seq: it is none of those that its own features lack.
        age = self.age_seconds(draft.tenant, draft.as_of)
        outcome.seq = seq = self._take(draft.tenant)
        event = draft.event_json(seq, new)
        outcome.degraded = bool(flags)
        outcome.answer = draft.answer_json(seq, age, flags, degraded=bool(flags))
        outcome.recent = Recent(draft.tenant, draft.message_id, seq, event, outcome.answer, draft.content_sha256, key)
        self.recent.add(outcome.recent)
        tenant.newest_us = max(tenant.newest_us, draft.received_at_us)
        return draft.payload(event, outcome.answer, key, raw)

    def _undo(self, draft: Draft, outcome: Outcome) -> None:
        if outcome.seq and outcome.recent is not None:
            self.recent.forget(outcome.recent)
            if self._tenant(draft.tenant).acquainted:
                event = outcome.recent.event
                self._contacts.forget(draft.tenant, event.sender, event.new_recipients, outcome.seq, draft.message_id)


def void(_: object) -> None:
    """Nothing, whatever the value."""


def _recent(record: AcceptedMessage) -> Recent:
    event = record.event
    answer = orjson.dumps(record.answer)
    return Recent(
        event.tenant,
        event.message_id,
        event.seq,
        encode_event(event),
        answer,
        event.content_sha256,
        record.idempotency_key,
        True,
    )


def _keep(kept: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    kept[key] = value
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
