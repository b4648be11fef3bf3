"""Decisions asked for: on one message, and on several in order."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from mailwarden.errors import MailwardenError
from mailwarden_services.scoring_api import problems
from mailwarden_services.scoring_api.access import MayScore, bearer, caller_with
from mailwarden_services.scoring_api.answer_models import ScoreAnswer, ScoresAnswer
from mailwarden_services.scoring_api.bodies import json_answer, read_json
from mailwarden_services.scoring_api.in_flight import handed_over
from mailwarden_services.scoring_api.openapi import declared, json_body, mail_body, parameter
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import (
    MAX_KEY,
    BatchBody,
    MessageBody,
    body_within,
    envelope_of,
    explain_of,
    idempotency_key_of,
    observe_of,
)
from mailwarden_services.scoring_api.service import Served, Service
from mailwarden_services.scoring_api.times import EXAMPLE

router = APIRouter(tags=["scoring"])

MAIL_TYPES = ("message/rfc822", "message/global", "application/octet-stream")

_TEXT = {"type": "string"}
_IN_JSON = {"message": "RnJvbTogYUBwYXJ0bmVyLmV4YW1wbGUNCg0KaGVsbG8NCg==", "received_at": EXAMPLE}
ENVELOPE = (
    parameter("query", "received_at", {"type": "string", "format": "date-time"}, "when the mail system received it"),
    parameter("query", "mail_from", _TEXT, "SMTP reverse path; empty for the null path"),
    parameter("query", "rcpt_to", {"type": "array", "items": _TEXT}, "SMTP recipients, repeated or with commas"),
    parameter("query", "client_ip", {"anyOf": [{"type": "string", "format": "ipv4"},
                                               {"type": "string", "format": "ipv6"}]}, "who handed it over"),
    parameter("query", "helo", _TEXT, "what that host called itself"),
    parameter("query", "auth_user", _TEXT, "who logged in to send it"),
    parameter("query", "queue_id", _TEXT, "what the mail system calls it"),
    parameter("header", "X-Mailwarden-Received-At", {"type": "string", "format": "date-time"}, "as `received_at`"),
    parameter("header", "X-Mailwarden-Mail-From", _TEXT, "as `mail_from`"),
    parameter("header", "X-Mailwarden-Rcpt-To", _TEXT, "as `rcpt_to`"),
    parameter("header", "X-Mailwarden-Client-Ip", _TEXT, "as `client_ip`"),
    parameter("header", "X-Mailwarden-Helo", _TEXT, "as `helo`"),
    parameter("header", "X-Mailwarden-Auth-User", _TEXT, "as `auth_user`"),
    parameter("header", "X-Mailwarden-Queue-Id", _TEXT, "as `queue_id`"),
)  # fmt: skip
"""What a mail system tells beside a message."""

OBSERVE = parameter(
    "query", "observe", {"type": "boolean", "default": True}, "false: nothing is logged, and nothing learnt"
)

_EXPLAIN = parameter(
    "query",
    "explain",
    {"type": "string", "enum": ["full"]},
    "full: what would have changed the verdict, in `explanation`; with `observe=false` alone",
)

_KEY = parameter(
    "header",
    "Idempotency-Key",
    {"type": "string", "maxLength": MAX_KEY},
    "a repeated call with the same key gets the same answer",
)


@router.post(
    "/v1/score",
    summary="Decide on one message",
    **declared(
        {200: (ScoreAnswer, "the decision")},
        "too-large",
        "unsupported-type",
        "not-a-message",
        "bad-data",
        "no-model",
        role="score",
        body=mail_body(*MAIL_TYPES) | json_body(MessageBody, _IN_JSON),
        parameters=(*ENVELOPE, OBSERVE, _EXPLAIN, _KEY),
    ),
)
async def score(request: Request) -> Response:
    """The message as it is, with the envelope in headers or query; or JSON with both.

    `observe=false` leaves no trace: nothing is logged and no later decision knows of the message. With it,
    `explain=full` says what each detector added, and what would have changed the verdict.
    """
    # See `direct`: nothing of the framework's stands before this.
    service: Service = request.app.state.service
    caller = await caller_with(request, await bearer(request), "score")
    limit = service.max_message_bytes
    kind = request.headers.get("content-type", "message/rfc822").partition(";")[0].strip().lower()
    key, envelope, observe = idempotency_key_of(request), envelope_of(request), observe_of(request)
    explained = explain_of(request, observe=observe)
    if kind == "application/json":
        body = read_json(MessageBody, await body_within(request, limit * 4 // 3 + 65_536))
        raw, envelope, key = await body.raw(limit), body.envelope(), body.idempotency_key or key
        # Its base64 is not held while the message is scored.
        del body
    elif kind in MAIL_TYPES:
        raw = await body_within(request, limit)
    else:
        raise Problem(
            415,
            "unsupported-type",
            "Unsupported type",
            f"{kind} cannot be scored; send message/rfc822, or application/json with the message as base64.",
        )
    with service.observer.message(caller.tenant.name, request.headers) as seen:
        answer = await service.intake.decide(
            caller.tenant, raw, envelope, idempotency_key=key, observe=observe, explained=explained
        )
        seen.answer = answer
    return Response(answer.body, media_type="application/json")


@router.post(
    "/v1/score/batch",
    summary="Decide on several messages, in order",
    **declared(
        {200: (ScoresAnswer, "a decision or a problem for each message")},
        "too-large",
        role="score",
        body=json_body(BatchBody, {"messages": [_IN_JSON], "observe": True}),
    ),
)
async def score_batch(request: Request, service: Served, caller: MayScore) -> Response:
    """Each result is an answer or a problem; one bad message does not spoil the others."""
    limit = service.max_message_bytes
    batch = read_json(BatchBody, await body_within(request, 4 * limit))
    handed_over(request, len(batch.messages))
    results: list[dict[str, Any]] = []
    for body in batch.messages:
        try:
            with service.observer.message(caller.tenant.name, request.headers) as seen:
                answer = await service.intake.decide(
                    caller.tenant,
                    await body.raw(limit),
                    body.envelope(),
                    idempotency_key=body.idempotency_key,
                    observe=batch.observe,
                )
                seen.answer = answer
            results.append(answer.loaded())
        except (Problem, MailwardenError) as error:
            results.append({"problem": problems.refuse(request, error).document()})
    return json_answer({"results": results})
