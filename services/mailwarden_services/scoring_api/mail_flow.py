"""Mail as a mail system hands it over: to the tenants that it concerns, and one action for all of them back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mailwarden.domain.detection.action import Action, least_strict, mildest
from mailwarden.domain.detection.decision import Verdict
from mailwarden.domain.mail.message import Envelope
from mailwarden.stores.sql import Tenant
from mailwarden_services.observability.observer import Observer
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_api.listeners import Listener
from mailwarden_services.scoring_api.mail_headers import HeaderChanges, changes_for
from mailwarden_services.scoring_api.mail_routing import Part, Routed, route
from mailwarden_services.scoring_api.metrics import Metrics
from mailwarden_services.scoring_api.problems import NOT_A_MESSAGE, Problem
from mailwarden_services.scoring_api.rates import Rates
from mailwarden_services.scoring_api.requests import MAX_RECIPIENTS
from mailwarden_services.scoring_api.tenant_directory import TenantDirectory

TOLD = (
    "decision_id",
    "message_id",
    "verdict",
    "action",
    "category",
    "signals",
    "starter",
    "degraded",
    "flags",
    "repeated",
    "recipients",
)
"""What a mail system is told of each tenant's answer."""


def clock_us() -> int:
    """When live mail is received that bears no time: now, in microseconds UTC."""
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a message. action, verdict: the strictest that all its tenants accept. answers: by tenant.

    submitted: names of tenants that send it themselves. unknown_domains: of recipients, that are no tenant's.
    """

    action: Action
    verdict: Verdict
    answers: tuple[tuple[Tenant, Mapping[str, Any]], ...]
    submitted: frozenset[str]
    changes: HeaderChanges
    unknown_domains: int

    def to_json(self) -> dict[str, Any]:
        """As `POST /v1/mail` answers it."""
        return {
            "action": self.action,
            "verdict": self.verdict,
            "add_headers": [list(pair) for pair in self.changes.add],
            "remove_headers": self.changes.remove,
            "remove_fields": [list(pair) for pair in self.changes.remove_at],
            "tenants": [{"tenant": t.name, **{name: a[name] for name in TOLD}} for t, a in self.answers],
            "unknown_domains": self.unknown_domains,
        }


class MailFlow:
    """Scores a message for each tenant that it concerns.

    listeners: see `listeners.listeners_of`. authserv_id: of results that are added. rates: of tenants, none by default.
    clock: microseconds UTC of now.
    """

    def __init__(
        self,
        intake: Intake,
        directory: TenantDirectory,
        metrics: Metrics,
        observer: Observer,
        *,
        listeners: Mapping[str, Listener],
        authserv_id: str,
        rates: Rates | None = None,
        clock: Callable[[], int] = clock_us,
    ) -> None:
        self.intake = intake
        self.directory = directory
        self.clock = clock
        self._metrics, self._observer = metrics, observer
        self._listeners = listeners
        self._authserv_id = authserv_id
        self._rates = Rates(0.0) if rates is None else rates

    async def route(self, envelope: Envelope, *, listener: str = "", only: Tenant | None = None) -> Routed:
        """Which tenants a message concerns; see `mail_routing.route`. A listener that is not known tells nothing."""
        directory = await self.directory.current()
        if only is not None:
            # The policy of now, and not of when the caller's key was looked up.
            only = directory.by_name.get(only.name, only)
        return route(envelope, directory, self._listeners.get(listener), only)

    async def take(
        self,
        raw: bytes,
        envelope: Envelope,
        *,
        listener: str = "",
        only: Tenant | None = None,
        observe: bool = True,
    ) -> Outcome:
        """Have every tenant concerned decide; none waits for another, and what is nobody's is accepted and counted.

        Where one of them cannot decide (no model, a store away, over its rate) nobody's action is answered: raises what
        that raised, and the same message handed over again is each tenant's only once.
        """
        if envelope.received_at_us is None:
            envelope = replace(envelope, received_at_us=self.clock())
        routed = await self.route(envelope, listener=listener, only=only)
        if routed.unknown:
            self._metrics.not_scored.labels("unknown_domain").inc()
        elif not routed.parts:
            self._metrics.not_scored.labels("no_tenant").inc()
        if only is None:
            # What a tenant's own key hands over was counted with the request.
            for part in routed.parts:
                self._rates.take(part.tenant.name)
        scored = await asyncio.gather(
            *(self._score(raw, part, observe) for part in routed.parts), return_exceptions=True
        )
        answers: list[tuple[Tenant, Mapping[str, Any]]] = []
        for part, answer in zip(routed.parts, scored, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            answers.append((part.tenant, {**answer, "recipients": part.envelope.rcpt_to}))
        submitted = frozenset(
            part.tenant.name for part in routed.parts if part.envelope.submitted_by(frozenset(part.tenant.domains))
        )
        told = [(tenant, tenant.name in submitted, answer) for tenant, answer in answers]
        return Outcome(
            least_strict(answer["action"] for _, answer in answers),
            mildest(answer["verdict"] for _, answer in answers),
            tuple(answers),
            submitted,
            changes_for(raw, told, authserv_id=self._authserv_id),
            routed.unknown,
        )

    async def _score(self, raw: bytes, part: Part, observe: bool) -> Mapping[str, Any]:
        envelope = part.envelope
        more = len(envelope.rcpt_to) - MAX_RECIPIENTS
        if more > 0:
            envelope = replace(envelope, rcpt_to=envelope.rcpt_to[:MAX_RECIPIENTS])
        try:
            with self._observer.message(part.tenant.name) as seen:
                decided = seen.answer = await self.intake.decide(part.tenant, raw, envelope, observe=observe)
        except Problem as problem:
            if problem.slug != NOT_A_MESSAGE:
                raise
            # A mail system cannot mend what was sent to it, and is not to hand it over for ever.
            self._metrics.not_scored.labels("not_a_message").inc()
            return _unscored(part, problem.detail)
        answer = decided.loaded()
        if more > 0:
            answer = {**answer, "flags": [*answer["flags"], f"{more} recipients more than are looked at"]}
        return answer


def _unscored(part: Part, why: str) -> Mapping[str, Any]:
    """The answer for bytes that are no message: what the tenant has done with mail that could not be read."""
    tenant = part.tenant
    verdict: Verdict = tenant.policy.get("unread", "banner")
    direction = "outbound" if part.envelope.flow == "outbound" else "inbound"
    submitted = part.envelope.submitted_by(frozenset(tenant.domains))
    return {
        "decision_id": None,
        "message_id": None,
        "score": None,
        "log_odds": None,
        "verdict": verdict,
        "action": tenant.actions.action(verdict, "outbound" if submitted else "inbound", submitted=submitted),
        "direction": direction,
        "category": None,
        "signals": [],
        "starter": None,
        "authentication": None,
        "degraded": True,
        "flags": [why],
        "repeated": False,
    }
