"""From what scoring found to what a caller is told, and from a tenant's record to what scoring wants of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from mailwarden.domain.detection.action import ActionPolicy
from mailwarden.domain.detection.decision import Decision, TenantPolicy
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.message import Authentication
from mailwarden.ingest.receive import Site
from mailwarden.scoring.scorer import Scored
from mailwarden.stores.accepted import verdict_of
from mailwarden.stores.sql import Tenant
from mailwarden_services.reading.read import Reading


def site_of(tenant: Tenant) -> Site:
    """The tenant as one that mail is received for."""
    return Site(tenant.name, frozenset(tenant.domains), trust=tenant.trusts)


def policy_of(tenant: Tenant) -> TenantPolicy:
    """The tenant's lists and false-positive budget as the scorer takes them."""
    return TenantPolicy(
        frozenset(tenant.policy.get("allow_senders", ())),
        frozenset(tenant.policy.get("block_senders", ())),
        tenant.policy.get("false_positive_budget"),
        tenant.policy.get("unread", "banner"),
    )


def load_answer(response: str | bytes) -> Mapping[str, Any]:
    """The stored answer of an earlier call."""
    loaded: Mapping[str, Any] = orjson.loads(response)
    return loaded


def in_todays_words(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as it was given, in the form of now: former releases called the verdict `decision`, asked for nothing
    and did not say who vouched for the sender."""
    known = {name: value for name, value in answer.items() if name != "decision"}
    return {"action": "accept", "authentication": None, **known, "verdict": verdict_of(answer)}


def told_again(answer: Mapping[str, Any], actions: ActionPolicy, *, submitted: bool) -> dict[str, Any]:
    """An answer that was given before, to be given again: its verdict stands, what is asked is by the policy of now."""
    again = in_todays_words(answer)
    action = actions.action(again["verdict"], answer["direction"], submitted=submitted)
    return {**again, "action": action, "repeated": True}


def submitted_by(tenant: Tenant, reading: Reading) -> bool:
    """Whether the mail system says that the tenant itself sends the message."""
    return reading.envelope.submitted_by(frozenset(tenant.domains))


def answer_of(scored: Scored, event: Event, reading: Reading, tenant: Tenant) -> dict[str, Any]:
    """What the API answers for a message of a tenant, but for its end (`draft.ending`): plain JSON."""
    decision: Decision = scored.decision
    submitted = submitted_by(tenant, reading)
    return {
        "message_id": event.message_id,
        "score": decision.score,
        "log_odds": decision.logit,
        "verdict": decision.decision,
        "action": tenant.actions.action(decision.decision, event.direction, submitted=submitted),
        "category": decision.category,
        "signals": [{"name": s.name, "words": s.words, "weight": round(s.weight, 4)} for s in decision.signals],
        "detectors": {
            name: {"score": score, "model_version": decision.models.get(name)}
            for name, score in decision.detectors.items()
        },
        "model_version": decision.models["bundle"],
        "pending": list(event.pending),
        "direction": event.direction,
        "authentication": _authentication(reading.authentication),
        "time_source": reading.time_source,
        "defects": reading.defects,
        "message_id_header": reading.message_id_header,
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
