"""Whether the process answers, whether it can decide, and its metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from mailwarden.errors import MailwardenError, NotFound
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.scoring_api.bodies import json_answer
from mailwarden_services.scoring_api.service import Served

router = APIRouter()


@router.get("/healthz", summary="The process answers")
async def healthz() -> dict[str, str]:
    """Always 200."""
    return {"status": "ok"}


@router.get("/readyz", summary="The process can decide")
async def readyz(service: Served) -> Response:
    """503 where it cannot decide at all; a missing online store only degrades decisions, and is named."""
    down: dict[str, str] = {}
    for name, check in service.checks.items():
        try:
            check()
        except MailwardenError as error:
            down[name] = type(error).__name__
    try:
        version: int | None = service.champion_version()
    except NotFound:
        version, down["models"] = None, "NotFound"
    blocked = any(name in service.essential or name == "models" for name in down)
    lag = service.writer_lag() if service.writer_lag is not None else None
    status = "not ready" if blocked else "degraded" if down or (lag is not None and lag.words) else "ready"
    body: dict[str, Any] = {"status": status, "model_version": version, "down": down}
    if lag is not None and (lag.status is not None or lag.words):
        body["feature_writer"] = _writer_facts(lag)
    return json_answer(body, 503 if blocked else 200)


@router.get("/metrics", summary="Prometheus metrics", include_in_schema=False)
async def metrics(service: Served) -> Response:
    """The text exposition."""
    if service.writer_lag is not None:
        service.metrics.writer_is_behind(service.writer_lag())
    return Response(service.metrics.render(), media_type=service.metrics.media_type)


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
