"""The way in: messages are scored by workers and numbered by a sequencer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
import structlog

from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import NotFound, StoreError
from mailwarden.stores.accepted import verdict_of
from mailwarden.stores.draft import Draft
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.sql import Decisions, Tenant
from mailwarden.stores.sql.decisions import DecisionRecord
from mailwarden_services.observability.stages import NO_STAGES, StageClock, StageSeconds, added
from mailwarden_services.scoring_api.answers import load_answer, told_again
from mailwarden_services.scoring_api.idempotency import check_same_message, is_handed_again
from mailwarden_services.scoring_api.look_ups import look_up
from mailwarden_services.scoring_api.problems import no_model, not_a_message
from mailwarden_services.scoring_worker.work import Found, Order, ScoredDraft
from mailwarden_services.scoring_worker.workers import ScoringWorkers
from mailwarden_services.sequencer.sequencing import Asked, Begin, ByTenant, Took

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
        events: EventLog,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._workers, self._sequencing, self._version = workers, sequencing, version
        self._decisions, self._events, self._clock = decisions, events, clock

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
        explained: bool = False,
    ) -> Answer:
        """Decide on one message; a repeat of it (content and envelope, or idempotency key) gets the same answer.

        observe: False leaves no trace: nothing is logged and no later feature knows of the message. explained: say what
        would have changed the verdict; of what leaves no trace.
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
                    same = await asyncio.to_thread(is_handed_again, self._events, stored, found)
                    check_same_message(not same, key)
                    course.stop = _giving(self._again(tenant, envelope, load_answer(stored.response)))
                    return None
                if course.begin is None:
                    asked = Asked(found.message_id, found.signature, key, observe, found.content)
                    begin = await sequencing.begin(tenant.name, asked)
                    if begin.known is not None:
                        check_same_message(begin.known.other, key)
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
            scored = await self._workers.score(tenant, raw, envelope, version, consult, explained=explained)
            if scored is None:
                assert course.stop is not None
                return course.stop()
        except NotFound as exc:
            raise no_model() from exc
        assert course.begin is not None
        if not observe:
            return _answer(scored, scored.draft.answer_json(None, course.begin.age_seconds(scored.draft.as_of)))
        return await self._accept(tenant, raw, envelope, key, scored, course.begin)

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
            check_same_message(bool(took.other), key)
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
