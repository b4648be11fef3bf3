"""Mail handed over by gateways: `POST /v1/mail`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from mailwarden_services.scoring_api.answer_models import MailAnswer
from mailwarden_services.scoring_api.bodies import json_answer
from mailwarden_services.scoring_api.gateway_access import gateway
from mailwarden_services.scoring_api.openapi import declared, mail_body, parameter
from mailwarden_services.scoring_api.problems import not_a_message
from mailwarden_services.scoring_api.requests import body_within, envelope_of, observe_of
from mailwarden_services.scoring_api.score_routes import ENVELOPE, OBSERVE
from mailwarden_services.scoring_api.service import Service

router = APIRouter(tags=["scoring"])

_TEXT = {"type": "string"}


@router.post(
    "/v1/mail",
    summary="Decide on a message for every tenant that it concerns",
    **declared(
        {200: (MailAnswer, "what is asked of the mail system")},
        "too-large",
        "not-a-message",
        "bad-data",
        "no-model",
        role="score",
        body=mail_body("message/rfc822", "message/global", "application/octet-stream"),
        parameters=(
            *ENVELOPE,
            OBSERVE,
            parameter("query", "listener", _TEXT, "where it came in, as MAILWARDEN_LISTENERS names it"),
            parameter("header", "X-Mailwarden-Listener", _TEXT, "as `listener`"),
        ),
    ),
)
async def mail(request: Request) -> Response:
    """The message as it is, with the envelope in headers or query; without `received_at` it came now.

    A gateway's key hands over mail of all tenants: each decides on its own recipients, mail of nobody is accepted. A
    tenant's key, with the role `score`, hands over that one's. Bytes that are no message are decided on as mail that
    could not be read.
    """
    # See `direct`: nothing of the framework's stands before this.
    service: Service = request.app.state.service
    scope, envelope, observe = await gateway(request), envelope_of(request), observe_of(request)
    listener = request.query_params.get("listener") or request.headers.get("x-mailwarden-listener", "")
    raw = await body_within(request, service.max_message_bytes)
    if not raw:
        raise not_a_message("The body is empty; send the whole message, headers first.")
    outcome = await service.flow.take(raw, envelope, listener=listener, only=scope.tenant, observe=observe)
    return json_answer(outcome.to_json())
