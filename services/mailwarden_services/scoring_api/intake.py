"""Accepting messages, labels and signals: once each, in order, and on disk before the answer goes out."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import structlog

from mailwarden.domain.aggregates.windows import DAY_US
from mailwarden.domain.mail.clusters import Member
from mailwarden.domain.mail.events import LABELS, WITHDRAWN, Event, message_identity
from mailwarden.domain.mail.facts import label_event_of, signal_event_of
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.ingest.dates import is_believable
from mailwarden.ingest.receive import unwrapped
from mailwarden.scoring.scorer import Scorer
from mailwarden.stores.accepted import Accepted, AcceptedLabel, AcceptedMessage, AcceptedSignal, encode_accepted
from mailwarden.stores.campaigns import Campaigns
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.online.watermark import Watermark
from mailwarden.stores.sql import Decisions, Labels, Tenant
from mailwarden_services.reading.read import MailReader
from mailwarden_services.scoring_api.answers import answer_of, load_answer, policy_of, site_of, submitted_by, told_again
from mailwarden_services.scoring_api.problems import no_model, not_a_message
from mailwarden_services.scoring_api.recent import RECENT_MESSAGES, DueSeq, Recent, RecentMessages
from mailwarden_services.signals.found import FoundSignal

log = structlog.get_logger(__name__)

MAX_LEAP_US = 30 * DAY_US
"""How far a time that only the message itself bears may lie beyond the tenant's newest message."""


class Intake:
    """One process's way in: scores a message, gives it its seq, and has it on disk before it answers."""

    def __init__(
        self,
        *,
        scorer: Scorer,
        mail: MailReader,
        append: Callable[[bytes], asyncio.Future[int]],
        decisions: Decisions,
        labels: Labels,
        events: EventLog,
        facts: FactSets,
        contacts: Contacts,
        campaigns: Campaigns,
        stale_after_seconds: float,
    ) -> None:
        self._scorer = scorer
        self._mail = mail
        self._append = append
        self._decisions = decisions
        self._labels = labels
        self._events = events
        self._facts = facts
        self._contacts = contacts
        self._campaigns = campaigns
        self._due = DueSeq(stale_after_seconds)
        self._next: dict[str, int] = {}
        self._newest_us: dict[str, int] = {}
        self._logged: set[str] = set()
        self._acquainted: set[str] = set()
        self._clustered: set[str] = set()
        self._given: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._signalled: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self.recent = RecentMessages()

    def restore(self, record: Accepted) -> None:
        """Take in a record that the spool still held when the process started."""
        event = record.event
        self._next[event.tenant] = max(self._next.get(event.tenant, 1), event.seq + 1)
        self._newest_us[event.tenant] = max(self._newest_us.get(event.tenant, 0), event.received_at_us)
        if isinstance(record, AcceptedLabel):
            self._remember_label(event.tenant, event.message_id, event.label)
            return
        if isinstance(record, AcceptedSignal):
            self._remember_signal(event)
            return
        self._contacts.restore(event.tenant, event.sender, event.recipients, event.seq, event.message_id)
        if event.campaign and event.signature:
            self._campaigns.restore(event.tenant, _member(event))
        self.recent.add(Recent(event, record.answer, record.idempotency_key, None))

    def learn(self, tenants: Iterable[str]) -> None:
        """Read the event log for who wrote to whom and what, so that a tenant's first message need not wait for it."""
        view = self._events.view()
        for tenant in tenants:
            self._contacts.prepare(tenant, view)
            self._acquainted.add(tenant)
            self._campaigns.prepare(tenant, view)
            self._clustered.add(tenant)

    def _take_seq(self, tenant: str) -> int:
        # Called without an await before the append that follows it, so that the spool is in order of seq.
        seq = max(self._next.get(tenant, 1), 1)
        self._next[tenant] = seq + 1
        return seq

    def _prepare_tenant(self, tenant: str) -> None:
        """Learn once what the log holds of a tenant; nobody else adds to it while this process has the spool."""
        if tenant not in self._logged:
            view = self._events.view()
            self._next[tenant] = max(self._next.get(tenant, 1), view.last_seq(tenant) + 1)
            self._newest_us[tenant] = max(self._newest_us.get(tenant, 0), view.newest_us(tenant))
            self._logged.add(tenant)

    def _acquaint(self, tenant: str) -> None:
        if tenant not in self._acquainted:
            # What was numbered while this failed may be in no log yet.
            for event in self.recent.events_of(tenant):
                self._contacts.restore(tenant, event.sender, event.recipients, event.seq, event.message_id)
            self._contacts.prepare(tenant, self._events.view())
            self._acquainted.add(tenant)

    def _may_be_numbered(self, event: Event) -> bool:
        """False where no message of that id has a seq; True also where nobody can tell.

        The time is part of what a message is: nothing accepted before can be the same as one that is newer than all.
        """
        if event.received_at_us > self._newest_us[event.tenant]:
            return False
        try:
            self._acquaint(event.tenant)
            return self._contacts.holds(event.tenant, event.message_id)
        except StoreError as exc:
            log.warning("index of messages unavailable", error=str(exc))
            return True

    def _new_recipients(self, event: Event, flags: list[str]) -> tuple[str, ...]:
        """To whom the sender writes for the first time; mail goes on without, and says so, where nobody can tell."""
        try:
            self._acquaint(event.tenant)
            return self._contacts.first(event.tenant, event.sender, event.recipients, event.seq, event.message_id)
        except StoreError as exc:
            log.error("first contacts unavailable", error=str(exc))
            flags.append("first contacts unavailable")
            return ()

    def _campaign(self, event: Event, flags: list[str]) -> str:
        """The campaign that the message would be of, were it numbered now; as with first contacts where that fails."""
        try:
            if event.tenant not in self._clustered:
                self._campaigns.prepare(event.tenant, self._events.view())
                self._clustered.add(event.tenant)
            return self._campaigns.find(event.tenant, event.signature)
        except StoreError as exc:
            log.error("campaigns unavailable", error=str(exc))
            flags.append("campaigns unavailable")
            return ""

    async def score(
        self,
        tenant: Tenant,
        raw: bytes,
        envelope: Envelope,
        *,
        idempotency_key: str | None = None,
        observe: bool = True,
    ) -> dict[str, Any]:
        """Decide on one message; a repeat of it (content and envelope, or idempotency key) gets the same answer.

        observe: False leaves no trace: nothing is logged and no later feature knows of the message.
        Raises Problem where the bytes are no message, DataError where an idempotency key is used for another one.
        """
        reading = await self._mail.read(raw, envelope, site_of(tenant))
        event = reading.event
        if not reading.has_headers:
            raise not_a_message("No header was found in the body; send a whole RFC 5322 message, headers first.")
        if reading.received_at_us is None:
            raise not_a_message(
                "The message bears no time and none was given; send `received_at` (RFC 3339) with the envelope."
            )
        self._prepare_tenant(tenant.name)
        flags: list[str] = []
        if observe:
            self._check_time(event)
            known = await self._known(event, idempotency_key, flags)
            if known is not None:
                return told_again(known, tenant.actions, submitted=submitted_by(tenant, reading))
            if self._was_ingested(event):
                # It counts already: what it gets is a decision that leaves no trace.
                observe = False
                flags.append("ingested before: not counted again")
        # No await from here to the message's seq: what is found now is what the message is numbered with.
        event = replace(event, campaign=self._campaign(event, flags))
        try:
            scored = self._scorer.score(
                reading.content,
                event,
                policy_of(tenant),
                failed=reading.failed,
                due_seq=self._due.seq(tenant.name),
            )
        except NotFound as exc:
            raise no_model() from exc
        age_seconds = self._age_seconds(tenant.name, scored.watermark)
        if observe:
            event = replace(event, seq=self._take_seq(tenant.name))
            event = replace(event, new_recipients=self._new_recipients(event, flags))
            if event.campaign:
                self._campaigns.take(tenant.name, _member(event))
        if flags:
            scored = replace(
                scored,
                decision=replace(
                    scored.decision,
                    degraded=scored.decision.degraded or observe,
                    flags=[*scored.decision.flags, *flags],
                ),
            )
        if not observe:
            return answer_of(scored, event, reading, tenant, decision_id=None, age_seconds=age_seconds)
        answer = answer_of(scored, event, reading, tenant, decision_id="d" + event.message_id, age_seconds=age_seconds)
        envelope = reading.envelope
        record = AcceptedMessage(
            event,
            raw[reading.raw_from :],
            envelope.mail_from,
            envelope.rcpt_to,
            scored.rows,
            answer,
            idempotency_key,
            scored.content,
            None if envelope.reception is None else envelope.reception.to_text(),
        )
        on_disk = self._append(encode_accepted(record))
        recent = Recent(event, answer, idempotency_key, on_disk)
        self.recent.add(recent)
        self._newest_us[tenant.name] = max(self._newest_us[tenant.name], event.received_at_us)
        self._due.accepted(tenant.name, event.seq)
        try:
            await asyncio.shield(on_disk)
        except StoreError:
            self.recent.forget(recent)
            try:
                if event.campaign:
                    self._campaigns.forget(tenant.name, event.seq)
            finally:
                if tenant.name in self._acquainted:
                    self._contacts.forget(tenant.name, event.sender, event.new_recipients, event.seq, event.message_id)
            raise
        recent.on_disk = None
        return answer

    def _check_time(self, event: Event) -> None:
        """Raise Problem where a sender could have put the message at a time of its own choosing.

        A time far ahead would make all later mail of its keys look older than their windows.
        """
        if event.time_source == "envelope":
            return
        if event.time_source == "date":
            raise not_a_message(
                "The message bears no time but its sender's own Date; send `received_at` (RFC 3339) with the envelope."
            )
        newest_us = self._newest_us[event.tenant]
        if newest_us and event.received_at_us > newest_us + MAX_LEAP_US:
            raise not_a_message(
                f"The time that the message itself bears is over {MAX_LEAP_US // DAY_US} days after your newest "
                "message; send `received_at` (RFC 3339) with the envelope where it is right."
            )

    def _age_seconds(self, tenant: str, watermark: Watermark | None) -> float | None:
        """How far the features lag behind what was accepted, in the mail's own time; None where nothing was folded."""
        if watermark is None:
            return None
        if watermark.seq + 1 >= self._next[tenant]:
            return 0.0
        return max(0.0, (self._newest_us[tenant] - watermark.time_us) / 1e6)

    async def _known(self, event: Event, key: str | None, flags: list[str]) -> Mapping[str, Any] | None:
        """The answer already given for this message, awaited until it is on disk; None where it is new."""
        recent = self.recent.find_key(event.tenant, key) if key is not None else None
        if recent is None:
            recent = self.recent.find(event.tenant, event.message_id)
        if recent is not None:
            _check_same_message(recent.event.message_id, event.message_id, key)
            if recent.on_disk is not None:
                await asyncio.shield(recent.on_disk)
            return recent.answer
        if key is None and not self._may_be_numbered(event):
            return None
        try:
            stored = self._decisions.by_idempotency_key(event.tenant, key) if key is not None else None
            if stored is None:
                stored = self._decisions.by_message(event.tenant, event.message_id)
        except StoreError as exc:
            log.warning("duplicate check unavailable", error=type(exc).__name__)
            flags.append("duplicate check unavailable")
            return None
        if stored is None:
            return None
        _check_same_message(stored.message_id, event.message_id, key)
        return load_answer(stored.response)

    def _was_ingested(self, event: Event) -> bool:
        return (
            self._may_be_numbered(event)
            and self._events.find(event.tenant, event.message_id, event.received_at_us) is not None
        )

    async def find_by_content(self, tenant: Tenant, raw: bytes, envelope: Envelope) -> str | None:
        """Our id of a message that is known by its content, or by content and envelope; None where it is not."""
        raw, envelope = unwrapped(raw, envelope)
        content = hashlib.sha256(raw).hexdigest()
        recent = self.recent.find_content(tenant.name, content)
        if recent is not None:
            return recent.event.message_id
        if envelope.received_at_us is None:
            return None
        wanted = message_identity(tenant.name, content, envelope.received_at_us, envelope.mail_from, envelope.rcpt_to)
        stored = await asyncio.to_thread(self._decisions.by_message, tenant.name, wanted)
        return None if stored is None else wanted

    async def label(
        self,
        tenant: Tenant,
        *,
        message_id: str,
        label: str,
        known_at_us: int,
        source: Literal["analyst", "user"],
        given_by: str,
        received_at_us: int | None = None,
    ) -> dict[str, Any]:
        """Take a label for a message that was scored or ingested; the same label twice counts once.

        known_at_us: when it was given, microseconds UTC. received_at_us: event time of the message, which finds an
        ingested one by its day. Raises NotFound where the message is not known, DataError where the label is not
        one of `events.LABELS` or was given before the message came.
        """
        if label not in LABELS:
            raise DataError(f"unknown label {label!r}; use one of {', '.join(LABELS)}")
        return await self._give(tenant, message_id, label, known_at_us, source, given_by, received_at_us)

    async def withdraw(
        self,
        tenant: Tenant,
        *,
        message_id: str,
        known_at_us: int,
        source: Literal["analyst", "user"],
        given_by: str,
        received_at_us: int | None = None,
    ) -> dict[str, Any]:
        """Take back the label that a message bears, whoever gave it, so that it counts for nothing from then on.

        known_at_us, received_at_us: see `label`. Raises NotFound where the message is not known, or bears no label.
        """
        return await self._give(tenant, message_id, WITHDRAWN, known_at_us, source, given_by, received_at_us)

    async def _give(
        self,
        tenant: Tenant,
        message_id: str,
        label: str,
        known_at_us: int,
        source: Literal["analyst", "user"],
        given_by: str,
        received_at_us: int | None,
    ) -> dict[str, Any]:
        # A label counts where its message does, which may be under other facts by now than it was accepted with.
        target = self._facts.current(self._target(tenant.name, message_id, received_at_us))
        if known_at_us < target.received_at_us or not is_believable(known_at_us):
            raise DataError("`known_at` is before the message came, or after 2099; say when the label was given")
        replaced = self._given.get((tenant.name, message_id))
        if replaced is None:
            replaced = self._label_given(tenant.name, message_id)
        if label == WITHDRAWN and replaced in (None, WITHDRAWN):
            raise NotFound(f"message {message_id} bears no label that could be withdrawn")
        if replaced == label:
            return {"message_id": message_id, "label": label, "repeated": True}
        self._prepare_tenant(tenant.name)
        seq = self._take_seq(tenant.name)
        event = label_event_of(target, label=label, replaced=replaced, seq=seq, known_at_us=known_at_us)
        record = AcceptedLabel(event, source, given_by)
        on_disk = self._append(encode_accepted(record))
        self._remember_label(tenant.name, message_id, label)
        on_disk.add_done_callback(lambda done: self._settle_label(event, replaced, done))
        await asyncio.shield(on_disk)
        return {"message_id": message_id, "label": label, "seq": event.seq, "repeated": False}

    def _settle_label(self, event: Event, replaced: str | None, done: asyncio.Future[int]) -> None:
        if not done.cancelled() and done.exception() is None:
            return
        if replaced is None:
            self._given.pop((event.tenant, event.message_id), None)
        else:
            self._remember_label(event.tenant, event.message_id, replaced)

    def _remember_label(self, tenant: str, message_id: str, label: str) -> None:
        self._given[tenant, message_id] = label
        while len(self._given) > RECENT_MESSAGES:
            self._given.popitem(last=False)

    async def signal(self, found: FoundSignal) -> None:
        """Take in what was found out about an accepted message; a message has each signal once.

        It is known at the time of the tenant's newest mail, the clock that all else here goes by. Raises NotFound
        where the message is not known.
        """
        key = (found.tenant, found.message_id, found.facts.signal)
        if key in self._signalled:
            return
        logged = await asyncio.to_thread(self._events.signals, found.tenant, found.message_id, found.received_at_us)
        if found.facts.signal in logged:
            return
        target = self._facts.current(self._target(found.tenant, found.message_id, found.received_at_us))
        self._prepare_tenant(found.tenant)
        event = signal_event_of(
            target,
            found.facts,
            seq=self._take_seq(found.tenant),
            known_at_us=max(self._newest_us[found.tenant], target.received_at_us),
        )
        on_disk = self._append(encode_accepted(AcceptedSignal(event)))
        await asyncio.shield(on_disk)
        self._remember_signal(event)

    def _remember_signal(self, event: Event) -> None:
        self._signalled[event.tenant, event.message_id, event.signal] = None
        while len(self._signalled) > RECENT_MESSAGES:
            self._signalled.popitem(last=False)

    def _label_given(self, tenant: str, message_id: str) -> str | None:
        """The label that the counts hold: the one of the greatest seq, whatever time it was given for."""
        history = self._labels.history(tenant, message_id)
        return max(history, key=lambda record: record.seq).label if history else None

    def _target(self, tenant: str, message_id: str, received_at_us: int | None) -> Event:
        """The event of a message that is to be labelled, scored or ingested in bulk."""
        recent = self.recent.find(tenant, message_id)
        if recent is not None:
            return recent.event
        stored = self._decisions.by_message(tenant, message_id)
        # The decision finds the day; the log has all facts of a message.
        logged = self._events.find(tenant, message_id, received_at_us if stored is None else stored.received_at_us)
        if logged is None:
            raise NotFound(
                f"no message {message_id} is known; give the id that scoring answered, and `received_at` "
                "where the message was ingested"
            )
        return logged


def _member(event: Event) -> Member:
    return Member(event.seq, event.campaign, event.signature)


def _check_same_message(known: str, asked: str, key: str | None) -> None:
    if known != asked:
        raise DataError(f"idempotency key {key!r} was used for another message; use a key of its own for each message")
