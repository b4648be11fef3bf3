"""The audit log, as a tenant's admin sees it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from mailwarden_services.scoring_api.access import MayAdmin
from mailwarden_services.scoring_api.answer_models import AuditPage
from mailwarden_services.scoring_api.bodies import json_answer
from mailwarden_services.scoring_api.openapi import declared
from mailwarden_services.scoring_api.pages import Limit
from mailwarden_services.scoring_api.service import Served
from mailwarden_services.scoring_api.times import rfc3339

router = APIRouter(tags=["audit"])


@router.get("/v1/audit", summary="List acts, the newest first", **declared({200: (AuditPage, "a page")}, role="admin"))
async def audit(
    service: Served,
    caller: MayAdmin,
    what: Annotated[
        str | None, Query(pattern=r"^[a-z]+([.][a-z]+)?$", max_length=100, description="as `label`, or `label.give`")
    ] = None,
    limit: Limit = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="`next` of the page before")] = None,
) -> Response:
    """Who changed policies and keys, gave and withdrew labels, released mail and read it; nothing is ever taken out."""
    found = await asyncio.to_thread(service.audit.page, caller.tenant.name, before=before, limit=limit + 1, what=what)
    entries = [
        {
            "number": entry.number,
            "at": rfc3339(entry.at_us),
            "tenant": entry.tenant,
            "who": entry.who,
            "what": entry.what,
            "target": entry.target,
            "details": dict(entry.details),
        }
        for entry in found[:limit]
    ]
    return json_answer({"entries": entries, "next": found[limit - 1].number if len(found) > limit else None})
