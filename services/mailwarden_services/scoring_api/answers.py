"""From what scoring found to what a caller is told, and from a tenant's record to what scoring wants of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from mailwarden.domain.detection.decision import Decision, TenantPolicy
from mailwarden.domain.mail.events import Event
from mailwarden.ingest.receive import Site
from mailwarden.scoring.scorer import Scored
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


def load_answer(response: str) -> Mapping[str, Any]:
    """The stored answer of an earlier call."""
    loaded: Mapping[str, Any] = orjson.loads(response)
    return loaded


def answer_of(
    scored: Scored, event: Event, reading: Reading, *, decision_id: str | None, age_seconds: float | None
) -> dict[str, Any]:
    """What the API answers for a message: plain JSON.

    age_seconds: from the newest time folded to the newest accepted, 0 where all was folded.
    """
    decision: Decision = scored.decision
    watermark = scored.watermark
    return {
        "decision_id": decision_id,
        "message_id": event.message_id,
        "seq": event.seq or None,
        "score": decision.score,
        "log_odds": decision.logit,
        "decision": decision.decision,
        "category": decision.category,
        "signals": [{"name": s.name, "words": s.words, "weight": round(s.weight, 4)} for s in decision.signals],
        "detectors": {
            name: {"score": score, "model_version": decision.models.get(name)}
            for name, score in decision.detectors.items()
        },
        "model_version": decision.models["bundle"],
        "features": {
            "as_of_seq": None if watermark is None else watermark.seq,
            "age_seconds": age_seconds,
        },
        "pending": list(event.pending),
        "degraded": decision.degraded,
        "flags": list(decision.flags),
        "direction": event.direction,
        "time_source": reading.time_source,
        "defects": reading.defects,
        "message_id_header": reading.message_id_header,
        "repeated": False,
    }
