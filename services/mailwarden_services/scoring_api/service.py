"""What the API is wired to: one value that bootstrap makes and every route is given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request

from mailwarden.errors import StoreError
from mailwarden.stores.sql import Audit, Decisions, Labels, Tenants
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.mail_gateway.release import Releases
from mailwarden_services.observability.exposition import Exposition
from mailwarden_services.observability.observer import Observer
from mailwarden_services.reading.show import Shower
from mailwarden_services.scoring_api.access import Caller
from mailwarden_services.scoring_api.connections import ConnectionLimits
from mailwarden_services.scoring_api.forgetting import Forgetting
from mailwarden_services.scoring_api.found_messages import FoundMessages
from mailwarden_services.scoring_api.in_flight import InFlight
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_api.labelling import Labelling
from mailwarden_services.scoring_api.mail_flow import MailFlow
from mailwarden_services.scoring_api.metrics import Metrics
from mailwarden_services.scoring_api.rspamd import Rspamd
from mailwarden_services.starter.kinds import Starter

log = structlog.get_logger(__name__)


@dataclass
class Service:
    """What the API needs. champion_version: of the bundle that serves, raises NotFound where there is none.
    starter: which kind of starter it is, None where it was trained.
    detectors_away: those of that bundle that did not load, with why; they make the API degraded.

    checks: by store name, raising MailwardenError where it is down; `essential` of them make the API not ready.
    lifespan: runs beside the API from its start to its stop. labelling: of known messages. flow: mail of all tenants.
    rspamd: how rspamd's protocol is spoken. exposition: what Prometheus is told. observer: told of every message that
    is scored. releases: of held mail. found: messages looked up again. shower: reads messages for people, in processes
    of its own. writer_lag: how far the feature writer is behind; its words make the API degraded. in_flight: what
    requests hold, over all listeners. connections: limits of a listener's.
    """

    intake: Intake
    labelling: Labelling
    forgetting: Forgetting
    tenants: Tenants
    decisions: Decisions
    labels: Labels
    audit: Audit
    releases: Releases
    found: FoundMessages
    shower: Shower
    champion_version: Callable[[], int]
    checks: dict[str, Callable[[], None]]
    essential: frozenset[str]
    max_message_bytes: int
    lifespan: Callable[[], AbstractAsyncContextManager[None]]
    flow: MailFlow
    rspamd: Rspamd
    metrics: Metrics
    exposition: Exposition
    observer: Observer
    in_flight: InFlight
    connections: ConnectionLimits
    writer_lag: Callable[[], WriterLag] | None = None
    detectors_away: Callable[[], Mapping[str, str]] = dict
    starter: Callable[[], Starter | None] = lambda: None

    async def note(
        self,
        caller: Caller,
        what: str,
        target: str = "",
        details: Mapping[str, Any] | None = None,
        *,
        must: bool = False,
    ) -> None:
        """Write an act down in the audit log, off the event loop; see `AuditEntry`.

        must: raise StoreError where it cannot be kept, for acts that may not be done without; others are done already.
        """
        await self.note_all(caller, what, [(target, details or {})], must=must)

    async def note_all(
        self, caller: Caller, what: str, acts: Sequence[tuple[str, Mapping[str, Any]]], *, must: bool = False
    ) -> None:
        """`note` of several acts of a kind, (target, details) each, written together."""
        now_us = time.time_ns() // 1_000
        try:
            await asyncio.to_thread(
                self.audit.add_many, at_us=now_us, tenant=caller.tenant.name, who=caller.who, what=what, acts=acts
            )
        except StoreError as exc:
            if must:
                raise
            log.error("acts are not in the audit log", what=what, acts=len(acts), who=caller.who, error=str(exc))


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_service)]
"""The service of the application that a route is part of."""
