"""Scoring processes, as the event loop sees them: a message goes in, its draft comes out, whatever the message does.

1. A process reads and scores the whole message. Where that takes too long the process is ended (`reading.child`), and
   where it fails the same follows as if it had taken too long. A process that ended by itself, as one that was killed
   for other reasons, is no sign against the message: it is tried once more.
2. Another reads the header fields alone; all else has status `deadline`.
3. Where that takes too long too, what the envelope says is all that is scored.
4. Where nobody comes to an end with even that, the answer is cautious and says that nothing was scored.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache

import structlog

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.detection.decision import Decision
from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.mail.content import ContentSet
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import MailwardenError
from mailwarden.scoring.scorer import Scored
from mailwarden.settings import Settings
from mailwarden.stores.accepted import LoggedContent
from mailwarden.stores.sql import Tenant
from mailwarden_services.observability.stages import NO_STAGES
from mailwarden_services.reading.child import CLOCK_FOR_CPU, Died, NotReady, TookTooLong
from mailwarden_services.reading.lanes import Lane, Lanes, lanes_of
from mailwarden_services.reading.read import HEADERS_MOST, Reader
from mailwarden_services.scoring_api.answers import site_of
from mailwarden_services.scoring_worker.work import (
    Ask,
    Found,
    How,
    Load,
    Loaded,
    Order,
    ScoredDraft,
    ScoringWork,
    draft_of,
)

VECTOR_BYTES = 1_024
"""What a recipient counts as of a message's size (`lanes`): its vector is read, scored and written out."""

NOT_SCORED = "no detector came to an end with this message"

_WAYS: Mapping[How, How | None] = {"whole": "headers", "headers": "envelope", "envelope": None}
"""What follows on each way of scoring a message that came to no end."""

_LATELY_SECONDS = 10.0
"""For how long what a message found of the store is told, where no other follows."""

_log = structlog.get_logger(__name__)

Consult = Callable[[Found], Awaitable[Order | None]]
"""Answers what a process found with what the tenant's order says; None where the message needs no score."""


class ScoringWorkers:
    """The scoring processes of one event loop; they run from `start`, or a first message, to `stop`.

    trouble: why no process starts, "" where they do. activity, content: the views. lanes: by default as the settings
    say.
    """

    def __init__(
        self,
        settings: Settings,
        activity: tuple[ActivityView, ...],
        content: ContentSet,
        *,
        lanes: tuple[Lane, ...] | None = None,
    ) -> None:
        self._content = content
        self.trouble = ""
        self._store = "", 0.0
        self._work = ScoringWork(settings, activity, content)
        self._lanes = Lanes(
            self._work,
            cpu_seconds=settings.reading_seconds,
            wall_seconds=CLOCK_FOR_CPU * settings.reading_seconds,
            lanes=lanes_of(settings.workers) if lanes is None else lanes,
        )

    async def score(
        self,
        tenant: Tenant,
        raw: bytes,
        envelope: Envelope,
        version: int,
        consult: Consult,
        *,
        explained: bool = False,
    ) -> ScoredDraft | None:
        """The draft of a message; None where `consult` said so.

        version: of the bundle. explained: the answer says what would have changed the verdict. Raises NotFound,
        StoreError, DataError or ContractError where the bundle cannot be had.
        """
        sent = _pickled(_Held(tenant))

        async def heard(found: Found) -> Order | None:
            nonlocal envelope
            if envelope.received_at_us is None:
                # Whoever sees less of the message has its time, and so its id, from whoever saw more.
                envelope = replace(envelope, received_at_us=found.borne_us, time_source=found.time_source)
            return await consult(found)

        # Without an envelope the addresses of header fields count, and few bodies name as many.
        vectors = len(envelope.rcpt_to) or raw.count(b"@", 0, HEADERS_MOST)
        how: How | None = "whole"
        died = False
        while how is not None:
            # Header fields are few bytes, whatever the message's size.
            size = len(raw) if how == "whole" else min(len(raw), HEADERS_MOST)
            size += vectors * VECTOR_BYTES
            try:
                scored: ScoredDraft | None = await self._lanes.ask(
                    Ask(how, raw, envelope, sent, version, explained), tenant=tenant.name, size=size, consult=heard
                )
                self.trouble = ""
                if scored is not None:
                    self._store = scored.store, time.monotonic()
                return scored
            except (TookTooLong, Died) as exc:
                _log.warning("a message was not scored", tenant=tenant.name, what=how, bytes=len(raw), why=str(exc))
                if isinstance(exc, Died) and not died:
                    died = True
                    continue
            except MailwardenError as exc:
                if isinstance(exc, NotReady):
                    self.trouble = str(exc)
                raise
            except Exception as exc:
                # What reads mail raises nothing that is known; a message that shows otherwise is decided on too.
                _log.error("scoring a message failed", tenant=tenant.name, what=how, bytes=len(raw), why=repr(exc))
            how = _WAYS[how]
        return await self._cautious(tenant, raw, envelope, version, consult)

    async def look(self, version: int) -> Loaded:
        """What a bundle is like, by a process that has it at hand; raises as `load`."""
        loaded: Loaded = await self._lanes.ask(Load(version), tenant="", size=0)
        return loaded

    async def load(self, version: int) -> Loaded:
        """Have a bundle at hand in every process, while messages go on being scored with another.

        Raises NotFound, StoreError, DataError or ContractError where it cannot be had.
        """
        loaded: Loaded = (await self._lanes.each(Load(version)))[-1]
        self._lanes.work_with(self._work.with_version(version))
        return loaded

    def start(self, version: int | None) -> None:
        """Have the processes run before the first message comes; version: of the bundle that serves."""
        self._lanes.work_with(self._work.with_version(version))
        self._lanes.start()

    def stop(self) -> None:
        """End the processes."""
        self._lanes.stop()

    @property
    def store_trouble(self) -> str:
        """Why history was not asked for lately, "" where it was."""
        words, at = self._store
        return words if time.monotonic() - at < _LATELY_SECONDS else ""

    @property
    def ended(self) -> int:
        """How many processes ended, or were ended, in the middle of a message."""
        return self._lanes.ended

    async def _cautious(
        self, tenant: Tenant, raw: bytes, envelope: Envelope, version: int, consult: Consult
    ) -> ScoredDraft | None:
        # A long message is hashed.
        reading = await asyncio.to_thread(Reader(self._content).envelope_only, raw, envelope, site_of(tenant, None))
        event = reading.event
        found = Found(event.message_id, "", reading.has_headers, reading.borne_us, reading.time_source)
        order = await consult(found)
        if order is None:
            return None
        event = replace(event, campaign=order.campaign, signature=order.signature)
        words = "The message could not be scored: no detector came to an end with it."
        decision = Decision(
            score=0.5,
            logit=0.0,
            decision="banner",
            category=None,
            signals=[Signal("not_scored", words, 0.0)],
            detectors={},
            models={"bundle": version},
            degraded=True,
            flags=[NOT_SCORED],
        )
        scored = Scored(decision, (), LoggedContent.of(self._content, reading.content), None)
        return ScoredDraft(draft_of(scored, event, reading, tenant, order.flags), NO_STAGES)


class _Held:
    """A tenant by identity: it is not hashable, and keeps being the same object until it is read anew."""

    __slots__ = ("tenant",)

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def __hash__(self) -> int:
        return id(self.tenant)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.tenant is self.tenant


@lru_cache(maxsize=4_096)
def _pickled(held: _Held) -> bytes:
    return pickle.dumps(held.tenant, protocol=5)
