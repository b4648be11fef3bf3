"""rspamd's protocol over HTTP, on the API's own port or on a listener of its own; errors are in rspamd's form."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from fastapi import APIRouter, FastAPI, Request, Response

from mailwarden import __version__
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import MailwardenError, NotFound, StoreError
from mailwarden.stores.sql import Tenant
from mailwarden_services.scoring_api import problems
from mailwarden_services.scoring_api.access import Keys
from mailwarden_services.scoring_api.bodies import json_answer
from mailwarden_services.scoring_api.gateway_access import Scope, bearer_of, same, scope_of_key
from mailwarden_services.scoring_api.in_flight import Accounts, account_of
from mailwarden_services.scoring_api.labelling import Said
from mailwarden_services.scoring_api.mail_headers import first_field
from mailwarden_services.scoring_api.problems import Problem, Refusals
from mailwarden_services.scoring_api.requests import body_within
from mailwarden_services.scoring_api.rspamd import (
    answer_in_its_words,
    envelope_of_headers,
    flags_of,
    path_of,
)
from mailwarden_services.scoring_api.service import Service
from mailwarden_services.scoring_api.zstd_body import opened

router = APIRouter(include_in_schema=False)

GIVEN_BY = "rspamd"
"""Who gives a label that is learnt by this protocol, which names nobody."""

_DIGITS = 19
"""Of a length that may be meant: what has more is over any limit."""

log = structlog.get_logger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


def create_rspamd_app(service: Service) -> FastAPI:
    """rspamd's protocol alone, over a service that another application runs; open to all where no password is set."""
    app = FastAPI(title="Mailwarden, rspamd's protocol", openapi_url=None)
    app.state.refusals = Refusals(service.metrics)
    app.state.service = service
    app.state.keys = Keys(service.tenants)
    app.state.open = not service.rspamd.password
    app.include_router(router)
    app.add_middleware(Accounts, held=service.in_flight)
    return app


async def _scope(request: Request) -> Scope:
    """Whose mail the caller may hand over: by rspamd's password, or by a key in its place; raises Problem (401)."""
    given = request.headers.get("password") or request.query_params.get("password") or bearer_of(request)
    if same(given, request.app.state.service.rspamd.password):
        if (account := account_of(request)) is not None:
            account.of_gateway()
        return Scope(None, "rspamd:password")
    scope = await scope_of_key(request, given)
    if scope is not None:
        return scope
    if getattr(request.app.state, "open", False):
        return Scope(None, "rspamd:listener")
    raise problems.not_authorised()


def _check_no_browser(request: Request) -> None:
    """Raise Problem (403) where a page in a browser asks: any page may post here from the machine of who opened it.

    Mail systems send neither field. A page of another port counts as of the same site.
    """
    headers = request.headers
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Problem(
            403,
            "cross-site",
            "Asked by a web page",
            "A web page asked this (`Origin`, `Sec-Fetch-Site`), and rspamd's protocol is for mail systems; have them "
            "ask, or use the API with a key.",
        )


def _spoken(handler: Handler) -> Handler:
    """A handler for mail systems alone, whose errors are told as rspamd tells them: `{"error": words}`."""

    @functools.wraps(handler)
    async def told(request: Request) -> Response:
        try:
            _check_no_browser(request)
            return await handler(request)
        except (Problem, MailwardenError) as exc:
            problem = problems.refuse(request, exc)
            answer = json_answer({"error": problem.detail}, problem.status)
            answer.headers.update(problem.headers or {})
            return answer

    return told


async def _message(request: Request) -> bytes:
    """The message: opened where it is compressed, without the control block that `Message-Length` tells of."""
    service: Service = request.app.state.service
    limit = service.max_message_bytes
    headers = request.headers
    if any(headers.get(name) for name in ("file", "path", "shm")) or "file" in request.query_params:
        raise Problem(
            400, "bad-request", "Bad request", "Files and shared memory are not read; send the message as the body."
        )
    body = await body_within(request, limit)
    coding = (headers.get("compression") or headers.get("content-encoding") or "").strip().lower()
    if coding == "zstd":
        body = await opened(body, limit, account_of(request))
    elif coding not in ("", "identity", "none"):
        raise Problem(415, "unsupported-type", "Unsupported type", f"{coding!r} is not opened; send zstd or plain.")
    length = headers.get("message-length", "")
    if length.isascii() and length.isdigit():
        if len(length) > _DIGITS or int(length) > len(body):
            raise Problem(400, "bad-request", "Bad request", "`Message-Length` is more than the body has.")
        body = body[len(body) - int(length) :]
    if not body:
        raise Problem(400, "bad-request", "Bad request", "The body is empty; send the message.")
    return body


@router.api_route("/checkv2", methods=["GET", "POST"])
@router.api_route("/check", methods=["GET", "POST"])
@router.api_route("/symbols", methods=["GET", "POST"])
@_spoken
async def check(request: Request) -> Response:
    """Decide on a message. GET too: rspamd's proxy asks so, with a body."""
    started = time.perf_counter()
    service: Service = request.app.state.service
    scope = await _scope(request)
    raw = await _message(request)
    outcome = await service.flow.take(
        raw,
        envelope_of_headers(request.headers),
        listener=request.headers.get("settings-id", ""),
        only=scope.tenant,
        observe="no_log" not in flags_of(request.headers),
    )
    answer = answer_in_its_words(outcome, raw, service.rspamd, time.perf_counter() - started)
    service.rspamd.counts[answer["action"]] += 1
    return json_answer(answer)


async def _take_in(service: Service, tenant: Tenant, raw: bytes, envelope: Envelope) -> str:
    """Score a message that nobody handed over before; at the time that it bears, else now. Our id of it."""
    try:
        answer = await service.intake.score(tenant, raw, envelope)
    except Problem as problem:
        if problem.slug != problems.NOT_A_MESSAGE:
            raise
        answer = await service.intake.score(tenant, raw, replace(envelope, received_at_us=service.flow.clock()))
    message_id: str = answer["message_id"]
    return message_id


async def _note(service: Service, tenant: Tenant, scope: Scope, message_id: str, label: str) -> None:
    """Write a label down in the audit log; it is taken already, and counts without."""
    try:
        await asyncio.to_thread(
            service.audit.add,
            at_us=service.flow.clock(),
            tenant=tenant.name,
            who=scope.who,
            what="label.give",
            target=message_id,
            details={"label": label, "source": "user", "given_by": GIVEN_BY},
        )
    except StoreError as exc:
        log.error("a label is not in the audit log", who=scope.who, error=str(exc))


async def _learn(request: Request, label: str) -> Response:
    service: Service = request.app.state.service
    scope = await _scope(request)
    if not scope.may_label:
        raise problems.lacks_role("label", ["score"])
    raw = await _message(request)
    envelope = envelope_of_headers(request.headers)
    if not envelope.rcpt_to and (delivered := first_field(raw, "delivered-to")) is not None:
        envelope = replace(envelope, rcpt_to=(path_of(delivered.decode("utf-8", "replace")),))
    listener = request.headers.get("settings-id", "")
    routed = await service.flow.route(envelope, listener=listener, only=scope.tenant)
    if not routed.parts:
        raise NotFound("no tenant is known whose message it is; name a recipient with `-r`, or use a tenant's key")
    repeated = []
    for part in routed.parts:
        key = await service.shower.content_key(raw, part.tenant.name)
        message_id = await service.labelling.find_by_content(part.tenant, raw, part.envelope, key)
        if message_id is None:
            message_id = await _take_in(service, part.tenant, raw, part.envelope)
        said = Said(message_id, service.flow.clock(), "user", GIVEN_BY)
        taken = await service.labelling.label(part.tenant, label, said)
        repeated.append(taken["repeated"])
        if not taken["repeated"]:
            service.metrics.labels.labels(label).inc()
            await _note(service, part.tenant, scope, message_id, label)
    if all(repeated):
        return json_answer({"error": f"the message has been learned as {label} already; it counts once"}, 208)
    service.rspamd.learned[label] += 1
    return json_answer({"success": True})


@router.post("/learnspam")
@_spoken
async def learn_spam(request: Request) -> Response:
    """Label a message spam; one that is not known is taken in first."""
    return await _learn(request, "spam")


@router.post("/learnham")
@_spoken
async def learn_ham(request: Request) -> Response:
    """Label a message good; one that is not known is taken in first."""
    return await _learn(request, "ham")


@router.get("/ping")
async def ping() -> Response:
    """The process answers."""
    return Response("pong\r\n", media_type="text/plain")


@router.get("/stat")
@_spoken
async def stat(request: Request) -> Response:
    """What was scanned and learned by this protocol since the start; of all tenants, so not for the key of one."""
    service: Service = request.app.state.service
    if (await _scope(request)).tenant is not None:
        raise Problem(403, "forbidden", "Forbidden", "Statistics are of all tenants; ask with the gateway's key.")
    counts, learned = service.rspamd.counts, service.rspamd.learned
    ham = counts["no action"]
    return json_answer(
        {
            "version": __version__,
            "scanned": counts.total(),
            "learned": learned.total(),
            "actions": dict(counts),
            "spam_count": counts.total() - ham,
            "ham_count": ham,
            "total_learns": learned.total(),
            "read_only": False,
            "connections": 0,
            "control_connections": 0,
            "statfiles": [],
        }
    )
