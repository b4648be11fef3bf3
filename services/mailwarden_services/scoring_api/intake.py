"""The way in: messages are scored by workers and numbered by a sequencer; labels and signals are numbered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import orjson
import structlog

from mailwarden.domain.mail.events import LABELS, WITHDRAWN, Event, message_identity
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.ingest.dates import is_believable
from mailwarden.ingest.receive import unwrapped
from mailwarden.stores.accepted import verdict_of
from mailwarden.stores.draft import Draft
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.sql import Decisions, Labels, Tenant
from mailwarden.stores.sql.decisions import DecisionRecord
from mailwarden_services.observability.stages import NO_STAGES, StageClock, StageSeconds, added
from mailwarden_services.scoring_api.answers import load_answer, told_again
from mailwarden_services.scoring_api.counted import check_counts, is_forgotten
from mailwarden_services.scoring_api.look_ups import look_up
from mailwarden_services.scoring_api.problems import no_model, not_a_message
from mailwarden_services.scoring_worker.work import Found, Order, ScoredDraft
from mailwarden_services.scoring_worker.workers import ScoringWorkers
from mailwarden_services.sequencer.sequencing import Asked, Begin, ByTenant, Lately, Took
from mailwarden_services.signals.found import FoundSignal

log = structlog.get_logger(__name__)

INGESTED = "ingested before: not counted again"
COUNTED = "counted before: not counted again"
UNCHECKED = "duplicate check unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told of a message, as JSON, with what metrics count of it.

    seconds: by stage, as far as it passed any.
    """

    body: bytes
    verdict: str
    category: str | None
    degraded: bool
    repeated: bool = False
    seconds: StageSeconds = NO_STAGES

    def loaded(self) -> dict[str, Any]:
        """The body as plain values."""
        answer: dict[str, Any] = orjson.loads(self.body)
        return answer


@dataclass(slots=True)
class _Course:
    """What came up while a message was being scored. signature: that it was begun with. stop: why it needs no score."""

    begin: Begin | None = None
    signature: str = ""
    stop: Callable[[], Answer] | None = None


class Intake:
    """Decides on messages, once each; a message is on disk before it is answered.

    version: of the bundle that serves; raises NotFound where none does. clock: now, microseconds UTC, behind which a
    message's time is set back; None for mail of another time.
    """

    def __init__(
        self,
        *,
        workers: ScoringWorkers,
        sequencing: ByTenant,
        version: Callable[[], int],
        decisions: Decisions,
        labels: Labels,
        events: EventLog,
        facts: FactSets,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._workers, self._sequencing, self._version = workers, sequencing, version
        self._decisions, self._labels = decisions, labels
        self._events, self._facts, self._clock = events, facts, clock

    async def score(
        self,
        tenant: Tenant,
        raw: bytes,
        envelope: Envelope,
        *,
        idempotency_key: str | None = None,
        observe: bool = True,
    ) -> dict[str, Any]:
        """`decide` as plain JSON values."""
        return (await self.decide(tenant, raw, envelope, idempotency_key=idempotency_key, observe=observe)).loaded()

    async def decide(
        self,
        tenant: Tenant,
        raw: bytes,
        envelope: Envelope,
        *,
        idempotency_key: str | None = None,
        observe: bool = True,
    ) -> Answer:
        """Decide on one message; a repeat of it (content and envelope, or idempotency key) gets the same answer.

        observe: False leaves no trace: nothing is logged and no later feature knows of the message.
        Raises Problem where the bytes are no message, DataError where an idempotency key is used for another one.
        """
        sequencing = self._sequencing(tenant.name)
        await sequencing.meet(tenant.name)
        try:
            version = self._version()
        except NotFound as exc:
            raise no_model() from exc
        if self._clock is not None:
            envelope = replace(envelope, clock_us=self._clock())
        key = idempotency_key if observe else None
        flags: list[str] = []
        stored = await self._stored_under(tenant.name, key, flags) if key is not None else None
        course = _Course()

        async def consult(found: Found) -> Order | None:
            try:
                self._check(found, observe=observe)
                if stored is not None:
                    _check_same_message(not await self._is_same(stored, found), key)
                    course.stop = _giving(self._again(tenant, envelope, load_answer(stored.response)))
                    return None
                if course.begin is None:
                    asked = Asked(found.message_id, found.signature, key, observe, found.content)
                    begin = await sequencing.begin(tenant.name, asked)
                    if begin.known is not None:
                        _check_same_message(begin.known.other, key)
                        course.stop = _giving(self._again(tenant, envelope, load_answer(begin.known.answer)))
                        return None
                    course.begin, course.signature = begin, found.signature
            except Exception as exc:
                # Raised once the worker is free again: none is ended for what it did not do.
                course.stop = _raising(exc)
                return None
            begun = course.begin.begun
            return Order(begun.campaign, course.signature, begun.due_seq, (*begun.flags, *flags))

        try:
            scored = await self._workers.score(tenant, raw, envelope, version, consult)
            if scored is None:
                assert course.stop is not None
                return course.stop()
        except NotFound as exc:
            raise no_model() from exc
        assert course.begin is not None
        if not observe:
            return _answer(scored, scored.draft.answer_json(None, course.begin.age_seconds(scored.draft.as_of)))
        return await self._accept(tenant, raw, envelope, key, scored, course.begin)

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
        give = await self.prepare_label(
            tenant,
            message_id=message_id,
            label=label,
            known_at_us=known_at_us,
            source=source,
            given_by=given_by,
            received_at_us=received_at_us,
        )
        return await give()

    async def prepare_label(
        self,
        tenant: Tenant,
        *,
        message_id: str,
        label: str,
        known_at_us: int,
        source: Literal["analyst", "user"],
        given_by: str,
        received_at_us: int | None = None,
    ) -> Callable[[], Awaitable[dict[str, Any]]]:
        """All of `label` but the numbering, which what is returned does: so many are looked up at once and numbered in
        order."""
        if label not in LABELS:
            raise DataError(f"unknown label {label!r}; use one of {', '.join(LABELS)}")
        return await self._prepare(tenant, message_id, label, known_at_us, source, given_by, received_at_us)

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
        give = await self._prepare(tenant, message_id, WITHDRAWN, known_at_us, source, given_by, received_at_us)
        return await give()

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

    async def _prepare(
        self,
        tenant: Tenant,
        message_id: str,
        label: str,
        known_at_us: int,
        source: Literal["analyst", "user"],
        given_by: str,
        received_at_us: int | None,
    ) -> Callable[[], Awaitable[dict[str, Any]]]:
        sequencing = self._sequencing(tenant.name)
        lately = await sequencing.lately(tenant.name, message_id)
        # A label counts where its message does, which may be under other facts by now than it was accepted with.
        target = await self._target(tenant.name, message_id, received_at_us, lately)
        if target.copy_of:
            # It counts where its message does, whichever copy somebody saw.
            first, time_us = target.copy_of, target.received_at_us
            return await self._prepare(tenant, first, label, known_at_us, source, given_by, time_us)
        await asyncio.to_thread(check_counts, self._events, target, lately)
        if known_at_us < target.received_at_us or not is_believable(known_at_us):
            raise DataError("`known_at` is before the message came, or after 2099; say when the label was given")
        held = lately.label
        if held is None:
            held = await asyncio.to_thread(self._label_given, tenant.name, message_id)
        if label == WITHDRAWN and held in (None, WITHDRAWN):
            raise NotFound(f"message {message_id} bears no label that could be withdrawn")

        async def give() -> dict[str, Any]:
            seq = await sequencing.label(target, label, held, known_at_us=known_at_us, source=source, given_by=given_by)
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

    async def unknown(self, tenant: Tenant, message_ids: list[str]) -> set[str]:
        """Those of the ids that no message of the tenant has, by one look into the index."""
        return set(message_ids) - await self._sequencing(tenant.name).numbered(tenant.name, message_ids)

    async def _accept(
        self, tenant: Tenant, raw: bytes, envelope: Envelope, key: str | None, scored: ScoredDraft, begin: Begin
    ) -> Answer:
        draft, member, sequencing = scored.draft, begin.begun.member, self._sequencing(tenant.name)
        clock = StageClock()
        took = await sequencing.accept(draft, raw, key=key, member=member)
        if took.unsure:
            if await asyncio.to_thread(self._earlier, draft):
                took = Took(before=draft.message_id)
            else:
                took = await sequencing.accept(draft, raw, key=key, member=member, sure=True)
        if took.known is not None:
            _check_same_message(bool(took.other), key)
            return self._again(tenant, envelope, load_answer(took.known.answer))
        if took.before:
            return await self._numbered_before(tenant, envelope, scored, begin, took.before)
        if took.anew:
            return _answer(scored, draft.answer_json(None, begin.age_seconds(draft.as_of), [COUNTED]))
        clock.end("accept")
        if took.copy:
            return self._again(tenant, envelope, load_answer(took.answer))
        return _answer(scored, took.answer, clock.seconds, degraded=took.degraded)

    async def _numbered_before(
        self, tenant: Tenant, envelope: Envelope, scored: ScoredDraft, begin: Begin, message_id: str
    ) -> Answer:
        """The answer that a message got long ago; a new one, without a trace, where it was ingested."""
        draft, flags = scored.draft, [INGESTED]
        try:
            stored = await look_up(partial(self._decisions.by_message, tenant.name, message_id))
            if stored is not None:
                return self._again(tenant, envelope, load_answer(stored.response))
        except StoreError as exc:
            log.warning(UNCHECKED, error=type(exc).__name__)
            flags.append(UNCHECKED)
        return _answer(scored, draft.answer_json(None, begin.age_seconds(draft.as_of), flags))

    def _earlier(self, draft: Draft) -> bool:
        """Whether decisions or the event log hold the message; where the index cannot be read."""
        try:
            if self._decisions.by_message(draft.tenant, draft.message_id) is not None:
                return True
            return self._events.find(draft.tenant, draft.message_id, draft.received_at_us) is not None
        except StoreError as exc:
            log.warning(UNCHECKED, error=type(exc).__name__)
            return False

    async def _stored_under(self, tenant: str, key: str, flags: list[str]) -> DecisionRecord | None:
        try:
            return await look_up(partial(self._decisions.by_idempotency_key, tenant, key))
        except StoreError as exc:
            log.warning(UNCHECKED, error=type(exc).__name__)
            flags.append(UNCHECKED)
            return None

    async def _is_same(self, stored: DecisionRecord, found: Found) -> bool:
        """Whether a message is the one that was decided on, for nobody else: its carriers may have added to it."""
        if stored.message_id == found.message_id:
            return True
        content = found.content
        if content is None or not set(content.recipients) <= set(stored.recipients):
            return False
        event = await asyncio.to_thread(self._events.find, stored.tenant, stored.message_id, stored.received_at_us)
        return event is not None and event.content_key == content.key

    def _again(self, tenant: Tenant, envelope: Envelope, answer: Mapping[str, Any]) -> Answer:
        submitted = envelope.submitted_by(frozenset(tenant.domains))
        told = told_again(answer, tenant.actions, submitted=submitted)
        return Answer(orjson.dumps(told), verdict_of(told), told["category"], told["degraded"], repeated=True)

    def _check(self, found: Found, *, observe: bool) -> None:
        """Raise Problem where this is no message, or its time is of its sender's own choosing."""
        if not found.has_headers:
            raise not_a_message("No header was found in the body; send a whole RFC 5322 message, headers first.")
        if found.borne_us is None:
            raise not_a_message(
                "The message bears no time and none was given; send `received_at` (RFC 3339) with the envelope."
            )
        if observe and found.time_source == "date":
            raise not_a_message(
                "The message bears no time but its sender's own Date; send `received_at` (RFC 3339) with the envelope."
            )

    def _label_given(self, tenant: str, message_id: str) -> str | None:
        """The label that the counts hold: the one of the greatest seq, whatever time it was given for."""
        history = self._labels.history(tenant, message_id)
        return max(history, key=lambda record: record.seq).label if history else None

    async def _target(self, tenant: str, message_id: str, received_at_us: int | None, lately: Lately) -> Event:
        """The event of a message that is to be labelled, under the facts in force."""
        if lately.event is None and not await self._sequencing(tenant).numbered(tenant, [message_id]):
            raise no_message(message_id)
        return await asyncio.to_thread(self._event, tenant, message_id, received_at_us, lately.event)

    def _event(self, tenant: str, message_id: str, received_at_us: int | None, lately: Event | None) -> Event:
        if lately is not None:
            return self._facts.current(lately)
        stored = self._decisions.by_message(tenant, message_id)
        # The decision finds the day; the log has all facts of a message.
        logged = self._events.find(tenant, message_id, received_at_us if stored is None else stored.received_at_us)
        if logged is None:
            raise no_message(message_id)
        return self._facts.current(logged)


def _answer(scored: ScoredDraft, body: bytes, accept: StageSeconds = NO_STAGES, *, degraded: bool = False) -> Answer:
    draft = scored.draft
    worse = draft.degraded or degraded
    return Answer(body, draft.verdict, draft.category, worse, False, added(scored.seconds, accept))


def _raising(exc: Exception) -> Callable[[], Answer]:
    def stop() -> Answer:
        raise exc

    return stop


def _giving(answer: Answer) -> Callable[[], Answer]:
    return lambda: answer


def no_message(message_id: str) -> NotFound:
    """The error for an id that no message of the tenant has."""
    return NotFound(
        f"no message {message_id} is known; give the id that scoring answered, and `received_at` "
        "where the message was ingested"
    )


def _check_same_message(other: bool, key: str | None) -> None:
    if other:
        raise DataError(f"idempotency key {key!r} was used for another message; use a key of its own for each message")
