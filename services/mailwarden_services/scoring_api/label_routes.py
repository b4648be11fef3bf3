"""Labels given: what messages were, as people found."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from mailwarden.errors import MailwardenError
from mailwarden.stores.sql import Tenant
from mailwarden_services.scoring_api import problems
from mailwarden_services.scoring_api.access import Caller
from mailwarden_services.scoring_api.bodies import json_answer, read_json
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import LabelBody, LabelsBody, body_within, microseconds
from mailwarden_services.scoring_api.service import Served, Service

router = APIRouter()


@router.post("/v1/labels", summary="Say what a message was")
async def label(request: Request, service: Served, tenant: Caller) -> Response:
    """Body: `LabelBody`."""
    taken = await _take(service, tenant, read_json(LabelBody, await body_within(request, 65_536)))
    return json_answer(taken, 200 if taken["repeated"] else 201)


@router.post("/v1/labels/batch", summary="Say what several messages were")
async def label_batch(request: Request, service: Served, tenant: Caller) -> Response:
    """Body: `LabelsBody`. Each result is what was taken or a problem; one bad label does not spoil the others."""
    batch = read_json(LabelsBody, await body_within(request, 1 << 20))

    async def one(body: LabelBody) -> dict[str, Any]:
        try:
            return await _take(service, tenant, body)
        except (Problem, MailwardenError) as error:
            return {"problem": orjson.loads((await problems.any_problem(request, error)).body)}

    return json_answer({"results": await asyncio.gather(*(one(body) for body in batch.labels))})


async def _take(service: Service, tenant: Tenant, body: LabelBody) -> dict[str, Any]:
    taken = await service.intake.label(
        tenant,
        message_id=body.target(),
        label=body.label,
        known_at_us=microseconds(body.known_at),
        source=body.source,
        given_by=body.given_by,
        received_at_us=None if body.received_at is None else microseconds(body.received_at),
    )
    service.metrics.labels.labels(body.label).inc()
    return taken
