"""Decisions asked for: on one message, and on several in order."""

from __future__ import annotations

import time
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from mailwarden.errors import MailwardenError
from mailwarden_services.scoring_api import problems
from mailwarden_services.scoring_api.access import Caller
from mailwarden_services.scoring_api.bodies import json_answer, read_json
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import (
    BatchBody,
    MessageBody,
    body_within,
    envelope_of,
    idempotency_key_of,
)
from mailwarden_services.scoring_api.service import Served

router = APIRouter()


@router.post("/v1/score", summary="Decide on one message")
async def score(request: Request, service: Served, tenant: Caller, observe: bool = True) -> Response:
    """Body: `message/rfc822` with the envelope in headers or query, or JSON (`MessageBody`)."""
    started = time.perf_counter()
    limit = service.max_message_bytes
    kind = request.headers.get("content-type", "message/rfc822").partition(";")[0].strip().lower()
    key = idempotency_key_of(request)
    if kind == "application/json":
        body = read_json(MessageBody, await body_within(request, limit * 4 // 3 + 65_536))
        raw, envelope, key = body.raw(limit), body.envelope(), body.idempotency_key or key
    elif kind in ("message/rfc822", "application/octet-stream", "message/global"):
        raw, envelope = await body_within(request, limit), envelope_of(request)
    else:
        raise Problem(
            415,
            "unsupported-type",
            "Unsupported type",
            f"{kind} cannot be scored; send message/rfc822, or application/json with the message as base64.",
        )
    answer = await service.intake.score(tenant, raw, envelope, idempotency_key=key, observe=observe)
    service.metrics.scored(answer, time.perf_counter() - started)
    return json_answer(answer)


@router.post("/v1/score/batch", summary="Decide on several messages, in order")
async def score_batch(request: Request, service: Served, tenant: Caller) -> Response:
    """Body: `BatchBody`. Each result is an answer or a problem; one bad message does not spoil the others."""
    limit = service.max_message_bytes
    batch = read_json(BatchBody, await body_within(request, 4 * limit))
    results: list[dict[str, Any]] = []
    for body in batch.messages:
        started = time.perf_counter()
        try:
            answer = await service.intake.score(
                tenant,
                body.raw(limit),
                body.envelope(),
                idempotency_key=body.idempotency_key,
                observe=batch.observe,
            )
            service.metrics.scored(answer, time.perf_counter() - started)
            results.append(answer)
        except (Problem, MailwardenError) as error:
            results.append({"problem": orjson.loads((await problems.any_problem(request, error)).body)})
    return json_answer({"results": results})
