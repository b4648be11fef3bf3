"""The scoring API: what mail flows, analysts and monitors call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from mailwarden import __version__
from mailwarden.errors import MailwardenError, NotFound
from mailwarden.stores.sql import Tenant, Tenants
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.scoring_api import problems
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_api.metrics import Metrics
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import (
    BatchBody,
    LabelBody,
    LabelsBody,
    MessageBody,
    body_within,
    envelope_of,
    idempotency_key_of,
    microseconds,
)

KEY_CACHE_SECONDS = 10.0
"""How long a key's tenant is remembered: a revoked key may work for that much longer."""


@dataclass
class Service:
    """What the API needs. champion_version: of the bundle that serves, raises NotFound where there is none.

    checks: by store name, raising MailwardenError where it is down; `essential` of them make the API not ready.
    lifespan: runs beside the API from its start to its stop. writer_lag: how far the feature writer is behind; its
    words make the API degraded.
    """

    intake: Intake
    tenants: Tenants
    champion_version: Callable[[], int]
    checks: dict[str, Callable[[], None]]
    essential: frozenset[str]
    max_message_bytes: int
    lifespan: Callable[[], AbstractAsyncContextManager[None]]
    metrics: Metrics = field(default_factory=Metrics)
    writer_lag: Callable[[], WriterLag] | None = None


class _Keys:
    """Tenants by API key, remembered for a short while so that a request need not ask the database."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._known: dict[str, tuple[float, Tenant]] = {}

    def tenant(self, key: str) -> Tenant | None:
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < KEY_CACHE_SECONDS:
            return known[1]
        name = self._tenants.authenticate(key)
        if name is None:
            self._known.pop(key, None)
            return None
        tenant = self._tenants.get(name)
        self._known[key] = (now, tenant)
        return tenant


async def caller(request: Request) -> Tenant:
    """The tenant whose key the request bears; raises Problem (401) without a working one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    keys: _Keys = request.app.state.keys
    tenant = keys.tenant(key.strip()) if scheme.lower() == "bearer" and key else None
    if tenant is None:
        raise problems.not_authorised()
    return tenant


Caller = Annotated[Tenant, Depends(caller)]
_Body = TypeVar("_Body", bound=BaseModel)


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


def _read(model: type[_Body], body: bytes) -> _Body:
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        errors = [{"loc": ("body", *e["loc"]), "msg": e["msg"], "type": e["type"]} for e in exc.errors()]
        raise RequestValidationError(errors) from exc


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


def create_app(service: Service) -> FastAPI:
    """The FastAPI application over a wired service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.lifespan():
            yield

    app = FastAPI(title="Mailwarden scoring API", version=__version__, lifespan=lifespan)
    app.add_exception_handler(Problem, problems.handle_problem)
    app.add_exception_handler(MailwardenError, problems.handle_mailwarden_error)
    app.add_exception_handler(RequestValidationError, problems.handle_validation_error)
    app.add_exception_handler(HTTPException, problems.handle_http_error)
    app.add_exception_handler(Exception, problems.handle_unexpected)
    app.state.keys = _Keys(service.tenants)

    @app.post("/v1/score", summary="Decide on one message")
    async def score(request: Request, tenant: Caller, observe: bool = True) -> Response:
        """Body: `message/rfc822` with the envelope in headers or query, or JSON (`MessageBody`)."""
        started = time.perf_counter()
        limit = service.max_message_bytes
        kind = request.headers.get("content-type", "message/rfc822").partition(";")[0].strip().lower()
        key = idempotency_key_of(request)
        if kind == "application/json":
            body = _read(MessageBody, await body_within(request, limit * 4 // 3 + 65_536))
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
        return _json(answer)

    @app.post("/v1/score/batch", summary="Decide on several messages, in order")
    async def score_batch(request: Request, tenant: Caller) -> Response:
        """Body: `BatchBody`. Each result is an answer or a problem; one bad message does not spoil the others."""
        limit = service.max_message_bytes
        batch = _read(BatchBody, await body_within(request, 4 * limit))
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
        return _json({"results": results})

    async def take(tenant: Tenant, body: LabelBody) -> dict[str, Any]:
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

    @app.post("/v1/labels", summary="Say what a message was")
    async def label(request: Request, tenant: Caller) -> Response:
        """Body: `LabelBody`."""
        taken = await take(tenant, _read(LabelBody, await body_within(request, 65_536)))
        return _json(taken, 200 if taken["repeated"] else 201)

    @app.post("/v1/labels/batch", summary="Say what several messages were")
    async def label_batch(request: Request, tenant: Caller) -> Response:
        """Body: `LabelsBody`. Each result is what was taken or a problem; one bad label does not spoil the others."""
        batch = _read(LabelsBody, await body_within(request, 1 << 20))

        async def one(body: LabelBody) -> dict[str, Any]:
            try:
                return await take(tenant, body)
            except (Problem, MailwardenError) as error:
                return {"problem": orjson.loads((await problems.any_problem(request, error)).body)}

        return _json({"results": await asyncio.gather(*(one(body) for body in batch.labels))})

    @app.get("/healthz", summary="The process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="The process can decide")
    async def readyz() -> Response:
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
        return _json(body, 503 if blocked else 200)

    @app.get("/metrics", summary="Prometheus metrics", include_in_schema=False)
    async def metrics() -> Response:
        if service.writer_lag is not None:
            service.metrics.writer_is_behind(service.writer_lag())
        return Response(service.metrics.render(), media_type=service.metrics.media_type)

    return app
