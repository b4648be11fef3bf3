"""From what scoring found to what a caller is told, and from a tenant's record to what scoring wants of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from mailwarden.domain.detection.action import ActionPolicy
from mailwarden.domain.detection.decision import Decision, TenantPolicy
from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.detection.tenant_budget import TenantBudget
from mailwarden.domain.mail.directory import NO_DIRECTORY, Directory
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Authentication
from mailwarden.ingest.receive import Site
from mailwarden.scoring.explanation import as_json
from mailwarden.scoring.scorer import Scored
from mailwarden.stores.accepted import verdict_of
from mailwarden.stores.sql import Tenant
from mailwarden_services.reading.read import Reading
from mailwarden_services.starter.kinds import Starter


def site_of(tenant: Tenant, directory: Directory | None = NO_DIRECTORY) -> Site:
    """The tenant as one that mail is received for. directory: its own, None where it cannot be had."""
    return Site(tenant.name, frozenset(tenant.domains), trust=tenant.trusts, directory=directory)


def policy_of(tenant: Tenant) -> TenantPolicy:
    """The tenant's lists and false-positive budget as the scorer takes them."""
    return TenantPolicy(
        frozenset(tenant.policy.get("allow_senders", ())),
        frozenset(tenant.policy.get("block_senders", ())),
        budget_of(tenant),
        tenant.policy.get("unread", "banner"),
    )


def budget_of(tenant: Tenant) -> TenantBudget:
    """Of its good mail that may be held back."""
    policy = tenant.policy
    return TenantBudget.of(policy.get("false_positive_budget"), policy.get("category_budgets", {}))


def load_answer(response: str | bytes) -> Mapping[str, Any]:
    """The stored answer of an earlier call."""
    loaded: Mapping[str, Any] = orjson.loads(response)
    return loaded


def in_todays_words(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as it was given, in the form of now: former releases called the verdict `decision`, asked for nothing
    and did not say who vouched for the sender."""
    known = {name: value for name, value in answer.items() if name != "decision"}
    return {"action": "accept", "authentication": None, "starter": None, **known, "verdict": verdict_of(answer)}


def told_again(answer: Mapping[str, Any], actions: ActionPolicy, *, submitted: bool) -> dict[str, Any]:
    """An answer that was given before, to be given again: its verdict stands, what is asked is by the policy of now."""
    again = in_todays_words(answer)
    action = actions.action(again["verdict"], answer["direction"], submitted=submitted)
    return {**again, "action": action, "repeated": True}


def submitted_by(tenant: Tenant, reading: Reading) -> bool:
    """Whether the mail system says that the tenant itself sends the message."""
    return reading.envelope.submitted_by(frozenset(tenant.domains))


def answer_of(
    scored: Scored, event: Event, reading: Reading, tenant: Tenant, starter: Starter | None = None
) -> dict[str, Any]:
    """What the API answers for a message of a tenant, but for its end (`draft.ending`): plain JSON.

    starter: which kind the bundle that decided is of.
    """
    decision: Decision = scored.decision
    submitted = submitted_by(tenant, reading)
    return {
        "message_id": event.message_id,
        "score": decision.score,
        "log_odds": decision.logit,
        "verdict": decision.decision,
        "action": tenant.actions.action(decision.decision, event.direction, submitted=submitted),
        "category": decision.category,
        "signals": [signal_answer(signal) for signal in decision.signals],
        "detectors": {
            name: {"score": score, "model_version": decision.models.get(name)}
            for name, score in decision.detectors.items()
        },
        "not_asked": list(decision.not_asked),
        "model_version": decision.models["bundle"],
        "starter": starter,
        "pending": list(event.pending),
        "direction": event.direction,
        "authentication": _authentication(reading.authentication),
        "time_source": reading.time_source,
        "defects": reading.defects,
        "message_id_header": reading.message_id_header,
        **({} if scored.explanation is None else {"explanation": as_json(scored.explanation)}),
    }


def signal_answer(signal: Signal) -> dict[str, Any]:
    """One reason, with the values that it rests on and what is usual of them in good mail."""
    return {
        "name": signal.name,
        "words": signal.words,
        "weight": round(signal.weight, 4),
        "evidence": [
            {
                "feature": found.feature,
                "value": found.value,
                "usual": None if found.usual is None else [found.usual.low, found.usual.median, found.usual.high],
            }
            for found in signal.evidence
        ],
    }


def _authentication(found: Authentication) -> dict[str, str | None] | None:
    """By whom a message's sender was vouched for, and what was said; None where nobody who is believed spoke."""
    if not found.source or not found.speaks:
        return None
    return {
        "by": "verified here" if found.source == "own" else "trusted header",
        "spf": found.spf,
        "spf_domain": found.spf_domain,
        "dkim": found.dkim,
        "dkim_domain": found.dkim_domain,
        "dmarc": found.dmarc,
        "dmarc_domain": found.dmarc_domain,
    }
