"""Whether the process answers, whether it can decide, and its metrics."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from mailwarden.errors import MailwardenError, NotFound, StoreError
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.scoring_api.access import bearer_if_any
from mailwarden_services.scoring_api.answer_models import Alive, Ready
from mailwarden_services.scoring_api.bodies import json_answer
from mailwarden_services.scoring_api.openapi import declared
from mailwarden_services.scoring_api.service import Served, Service

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process answers", **declared({200: (Alive, "always")}))
async def healthz() -> Response:
    """Asks nobody and nothing."""
    return json_answer({"status": "ok"})


@router.get(
    "/readyz",
    summary="The process can decide",
    **declared(
        {200: (Ready, "ready, or degraded"), 503: (Ready, "not ready: nothing can be decided")}, optional_key=True
    ),
)
async def readyz(request: Request, service: Served) -> Response:
    """Without a key only the status; a tenant's admin and an operator are told what is down."""
    body = await asyncio.to_thread(_readiness, service)
    status = 503 if body["status"] == "not ready" else 200
    return json_answer(body if await _may_see(request) else {"status": body["status"]}, status)


async def _may_see(request: Request) -> bool:
    try:
        principal = await bearer_if_any(request)
    except StoreError:
        return False
    return principal is not None and not principal.roles.isdisjoint(("admin", "operator"))


def _readiness(service: Service) -> dict[str, Any]:
    down: dict[str, str] = {}
    for name, check in service.checks.items():
        try:
            check()
        except MailwardenError as error:
            down[name] = type(error).__name__
    try:
        version: int | None = service.champion_version()
        away, starter = dict(service.detectors_away()), service.starter()
    except NotFound:
        version, away, starter, down["models"] = None, {}, None, "NotFound"
    blocked = any(name in service.essential or name == "models" for name in down)
    lag = service.writer_lag() if service.writer_lag is not None else None
    status = "not ready" if blocked else "degraded" if down or away or (lag is not None and lag.words) else "ready"
    body: dict[str, Any] = {"status": status, "model_version": version, "down": down}
    if starter is not None:
        body["starter"] = starter
    if away:
        body["detectors_away"] = away
    if lag is not None and (lag.status is not None or lag.words):
        body["feature_writer"] = _writer_facts(lag)
    return body


@router.get("/metrics", summary="Prometheus metrics", include_in_schema=False)
async def metrics(service: Served) -> Response:
    """The text exposition; where there are several shards, of all of them."""
    return Response(await service.exposition.whole(), media_type=service.metrics.media_type)


def _writer_facts(lag: WriterLag) -> dict[str, Any]:
    status = lag.status
    return {
        "lag_bytes": lag.lag_bytes,
        "oldest_not_folded_seconds": round(lag.seconds, 3),
        "records_not_sent": None if status is None else status.not_sent,
        "records_not_logged": None if status is None else status.not_logged,
        "records_rejected": None if status is None else status.rejected,
        "streams": [] if status is None else [asdict(stream) for stream in status.streams],
        "words": list(lag.words),
    }
