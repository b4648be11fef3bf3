"""The way in: messages are scored by workers and numbered by a sequencer; labels and signals are numbered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
import structlog

from mailwarden.domain.mail.events import LABELS, WITHDRAWN, Event, message_identity
from mailwarden.domain.mail.facts import label_event_of, signal_event_of
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.ingest.dates import is_believable
from mailwarden.ingest.receive import unwrapped
from mailwarden.stores.accepted import Accepted, AcceptedLabel, AcceptedSignal, verdict_of
from mailwarden.stores.draft import Draft
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.lake.fact_sets import FactSets
from mailwarden.stores.sql import Decisions, Labels, Tenant
from mailwarden.stores.sql.decisions import DecisionRecord
from mailwarden_services.scoring_api.answers import load_answer, told_again
from mailwarden_services.scoring_api.problems import no_model, not_a_message
from mailwarden_services.scoring_worker.work import Found, Order, ScoredDraft
from mailwarden_services.scoring_worker.workers import ScoringWorkers
from mailwarden_services.sequencer.sequencer import Begun, Outcome, Sequencer
from mailwarden_services.signals.found import FoundSignal

log = structlog.get_logger(__name__)

INGESTED = "ingested before: not counted again"
UNCHECKED = "duplicate check unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told of a message, as JSON, with what metrics count of it.

    seconds: clock seconds by stage: read, score, accept.
    """

    body: bytes
    verdict: str
    category: str | None
    degraded: bool
    repeated: bool = False
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def loaded(self) -> dict[str, Any]:
        """The body as plain values."""
        answer: dict[str, Any] = orjson.loads(self.body)
        return answer


@dataclass(slots=True)
class _Course:
    """What came up while a message was being scored. signature: that it was begun with. stop: why it needs no score."""

    begun: Begun | None = None
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
        sequencer: Sequencer,
        version: Callable[[], int],
        decisions: Decisions,
        labels: Labels,
        events: EventLog,
        facts: FactSets,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._workers, self._sequencer, self._version = workers, sequencer, version
        self._decisions, self._labels = decisions, labels
        self._events, self._facts, self._clock = events, facts, clock

    def restore(self, record: Accepted) -> None:
        """Take in a record that the spool still held when the process started."""
        self._sequencer.restore(record)

    def learn(self, tenants: Iterable[str]) -> None:
        """Read the event log for who wrote to whom and what, so that a tenant's first message need not wait for it."""
        self._sequencer.learn(tenants)

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
        await self._sequencer.meet(tenant.name)
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

        def consult(found: Found) -> Order | None:
            try:
                known = self._known(tenant, envelope, found, key, stored) if observe else None
                self._check(found, observe=observe)
                if known is not None:
                    course.stop = _giving(known)
                    return None
                if course.begun is None:
                    course.begun = self._sequencer.begin(tenant.name, found.signature, observe=observe)
                    course.signature = found.signature
            except Exception as exc:
                # Raised once the worker is free again: none is ended for what it did not do.
                course.stop = _raising(exc)
                return None
            begun = course.begun
            return Order(begun.campaign, course.signature, begun.due_seq, (*begun.flags, *flags))

        try:
            scored = await self._workers.score(tenant, raw, envelope, version, consult)
            if scored is None:
                assert course.stop is not None
                return course.stop()
        except BaseException as exc:
            if course.begun is not None:
                self._sequencer.abandon(tenant.name, course.begun)
            if isinstance(exc, NotFound):
                raise no_model() from exc
            raise
        if not observe:
            age = self._sequencer.age_seconds(tenant.name, scored.draft.as_of)
            return _answer(scored, scored.draft.answer_json(None, age))
        assert course.begun is not None
        try:
            return await self._accept(tenant, raw, envelope, key, scored)
        except Exception:
            self._sequencer.abandon(tenant.name, course.begun)
            raise

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

    async def find_by_content(self, tenant: Tenant, raw: bytes, envelope: Envelope) -> str | None:
        """Our id of a message that is known by its content, or by content and envelope; None where it is not."""
        raw, envelope = unwrapped(raw, envelope)
        content = hashlib.sha256(raw).hexdigest()
        recent = self._sequencer.recent.find_content(tenant.name, content)
        if recent is not None:
            return recent.message_id
        if envelope.received_at_us is None:
            return None
        wanted = message_identity(tenant.name, content, envelope.received_at_us, envelope.mail_from, envelope.rcpt_to)
        return wanted if await self._sequencer.numbered(tenant.name, [wanted]) else None

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
        await self._sequencer.meet(tenant.name)
        # A label counts where its message does, which may be under other facts by now than it was accepted with.
        target = await self._target(tenant.name, message_id, received_at_us)
        if known_at_us < target.received_at_us or not is_believable(known_at_us):
            raise DataError("`known_at` is before the message came, or after 2099; say when the label was given")
        held = self._sequencer.label_of(tenant.name, message_id)
        if held is None:
            held = await asyncio.to_thread(self._label_given, tenant.name, message_id)
        if label == WITHDRAWN and held in (None, WITHDRAWN):
            raise NotFound(f"message {message_id} bears no label that could be withdrawn")

        def make(seq: int, replaced: str | None) -> AcceptedLabel:
            event = label_event_of(target, label=label, replaced=replaced, seq=seq, known_at_us=known_at_us)
            return AcceptedLabel(event, source, given_by)

        seq = await self._sequencer.label(tenant.name, message_id, label, held, make)
        taken: dict[str, Any] = {"message_id": message_id, "label": label}
        return taken | ({"seq": seq, "repeated": False} if seq else {"repeated": True})

    async def signal(self, found: FoundSignal) -> None:
        """Take in what was found out about an accepted message; a message has each signal once.

        It is known at the time of the tenant's newest mail, the clock that all else here goes by. Raises NotFound
        where the message is not known.
        """
        name, message_id, signal = found.tenant, found.message_id, found.facts.signal
        if self._sequencer.signalled(name, message_id, signal):
            return
        if signal in await asyncio.to_thread(self._events.signals, name, message_id, found.received_at_us):
            return
        await self._sequencer.meet(name)
        target = await self._target(name, message_id, found.received_at_us)

        def make(seq: int) -> AcceptedSignal:
            known_at_us = max(self._sequencer.newest_us(name), target.received_at_us)
            return AcceptedSignal(signal_event_of(target, found.facts, seq=seq, known_at_us=known_at_us))

        await self._sequencer.signal(name, message_id, signal, make)

    async def unknown(self, tenant: Tenant, message_ids: list[str]) -> set[str]:
        """Those of the ids that no message of the tenant has, by one look into the index."""
        lately = {name for name in message_ids if self._sequencer.recent.find(tenant.name, name) is not None}
        asked = [name for name in dict.fromkeys(message_ids) if name not in lately]
        return set(asked) - await self._sequencer.numbered(tenant.name, asked) if asked else set()

    def _known(
        self, tenant: Tenant, envelope: Envelope, found: Found, key: str | None, stored: DecisionRecord | None
    ) -> Answer | None:
        """The answer that was given for a message, where it is on disk and at hand."""
        name = tenant.name
        recent = self._sequencer.recent.find_key(name, key) if key is not None else None
        recent = recent or self._sequencer.recent.find(name, found.message_id)
        if recent is not None:
            _check_same_message(recent.message_id, found.message_id, key)
            # What is not on disk yet is answered behind it, by the sequencer.
            return self._again(tenant, envelope, load_answer(recent.answer)) if recent.on_disk else None
        if stored is not None:
            _check_same_message(stored.message_id, found.message_id, key)
            return self._again(tenant, envelope, load_answer(stored.response))
        return None

    async def _accept(
        self, tenant: Tenant, raw: bytes, envelope: Envelope, key: str | None, scored: ScoredDraft
    ) -> Answer:
        draft = scored.draft
        outcome = await self._sequencer.accept(draft, raw, key=key)
        if outcome.unsure:
            earlier = await asyncio.to_thread(self._earlier, draft)
            outcome = Outcome(before=True) if earlier else await self._sequencer.accept(draft, raw, key=key, sure=True)
        if outcome.repeated:
            assert outcome.recent is not None
            _check_same_message(outcome.recent.message_id, draft.message_id, key)
            return self._again(tenant, envelope, load_answer(outcome.recent.answer))
        if outcome.before:
            return await self._numbered_before(tenant, envelope, scored)
        return _answer(scored, outcome.answer)

    async def _numbered_before(self, tenant: Tenant, envelope: Envelope, scored: ScoredDraft) -> Answer:
        """The answer that a message got long ago; a new one, without a trace, where it was ingested."""
        draft, flags = scored.draft, [INGESTED]
        try:
            stored = await asyncio.to_thread(self._decisions.by_message, tenant.name, draft.message_id)
            if stored is not None:
                return self._again(tenant, envelope, load_answer(stored.response))
        except StoreError as exc:
            log.warning(UNCHECKED, error=type(exc).__name__)
            flags.append(UNCHECKED)
        age = self._sequencer.age_seconds(tenant.name, draft.as_of)
        return _answer(scored, draft.answer_json(None, age, flags))

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
        if self._sequencer.recent.find_key(tenant, key) is not None:
            return None
        try:
            return await asyncio.to_thread(self._decisions.by_idempotency_key, tenant, key)
        except StoreError as exc:
            log.warning(UNCHECKED, error=type(exc).__name__)
            flags.append(UNCHECKED)
            return None

    def _again(self, tenant: Tenant, envelope: Envelope, answer: Mapping[str, Any]) -> Answer:
        submitted = envelope.submitted_by(frozenset(tenant.domains))
        told = told_again(answer, tenant.actions, submitted=submitted)
        return Answer(orjson.dumps(told), verdict_of(told), told["category"], told["degraded"], repeated=True)

    @staticmethod
    def _check(found: Found, *, observe: bool) -> None:
        """Raise Problem where this is no message, or its time is of its sender's own choosing."""
        if not found.has_headers:
            raise not_a_message("No header was found in the body; send a whole RFC 5322 message, headers first.")
        if found.received_at_us is None:
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

    async def _target(self, tenant: str, message_id: str, received_at_us: int | None) -> Event:
        """The event of a message that is to be labelled, under the facts in force."""
        recent = self._sequencer.recent.find(tenant, message_id)
        if recent is None and not await self._sequencer.numbered(tenant, [message_id]):
            raise _no_message(message_id)
        return await asyncio.to_thread(self._event, tenant, message_id, received_at_us)

    def _event(self, tenant: str, message_id: str, received_at_us: int | None) -> Event:
        recent = self._sequencer.recent.find(tenant, message_id)
        if recent is not None:
            return self._facts.current(recent.event)
        stored = self._decisions.by_message(tenant, message_id)
        # The decision finds the day; the log has all facts of a message.
        logged = self._events.find(tenant, message_id, received_at_us if stored is None else stored.received_at_us)
        if logged is None:
            raise _no_message(message_id)
        return self._facts.current(logged)


def _answer(scored: ScoredDraft, body: bytes) -> Answer:
    draft = scored.draft
    return Answer(body, draft.verdict, draft.category, draft.degraded, False, (*scored.seconds, 0.0))


def _raising(exc: Exception) -> Callable[[], Answer]:
    def stop() -> Answer:
        raise exc

    return stop


def _giving(answer: Answer) -> Callable[[], Answer]:
    return lambda: answer


def _no_message(message_id: str) -> NotFound:
    return NotFound(
        f"no message {message_id} is known; give the id that scoring answered, and `received_at` "
        "where the message was ingested"
    )


def _check_same_message(known: str, asked: str, key: str | None) -> None:
    if known != asked:
        raise DataError(f"idempotency key {key!r} was used for another message; use a key of its own for each message")
