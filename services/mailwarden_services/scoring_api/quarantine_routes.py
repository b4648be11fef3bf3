"""Held mail over HTTP: what is held, and its way out."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from mailwarden.errors import NotLogged
from mailwarden.stores.quarantine import Held, State
from mailwarden_services.scoring_api.access import MayAdmin, MayRead
from mailwarden_services.scoring_api.bodies import json_answer, read_json
from mailwarden_services.scoring_api.labelling import Said
from mailwarden_services.scoring_api.openapi import declared, json_body
from mailwarden_services.scoring_api.pages import After, Limit, place_text, read_place
from mailwarden_services.scoring_api.requests import ReleaseBody, body_within
from mailwarden_services.scoring_api.service import Served
from mailwarden_services.scoring_api.times import Time, rfc3339

router = APIRouter(tags=["quarantine"])

HeldId = Annotated[str, Path(pattern=r"^q[0-9a-f]{32}$", description="`id` of the held message")]


class HeldMessage(BaseModel):
    """A held message."""

    id: str
    message_id: str
    decision_id: str
    mail_from: str = Field(description="SMTP reverse path; empty for the null path")
    recipients: list[str]
    left: list[str] = Field(description="recipients who do not have it yet")
    header_from: str
    subject: str
    reason: str
    category: str
    client_ip: str
    place: Literal["store", "postfix_hold"] = Field(description="postfix_hold: Postfix has it, under `queue_id`")
    queue_id: str
    size: int = Field(description="bytes")
    sha256: str
    held_at: Time
    expires_at: Time
    state: State
    may_be_delivered: bool = Field(description="a release is at work, or ended nobody knows how")
    error: str = Field(description="how the last release ended; empty where well")


class HeldPage(BaseModel):
    """Held messages, the newest first."""

    held: list[HeldMessage]
    next: str | None = Field(description="of the next page; null on the last")


class Released(BaseModel):
    """What became of a held message. label_taken: whether it was labelled as good mail."""

    held: HeldMessage
    label_taken: bool


@router.get("/v1/quarantine", summary="List held mail", **declared({200: (HeldPage, "a page")}, role="read"))
async def listing(
    service: Served,
    caller: MayRead,
    state: Annotated[Literal["all"] | State, Query(description="in which state")] = "held",
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """The newest first."""
    before = None
    if after is not None:
        (held_us,), held_id = read_place(after, 1)
        before = (held_us, held_id)
    found = await asyncio.to_thread(
        service.releases.quarantine.page,
        caller.tenant.name,
        state=None if state == "all" else state,
        before=before,
        limit=limit + 1,
    )
    following = place_text(found[limit - 1].held_us, found[limit - 1].held_id) if len(found) > limit else None
    return json_answer({"held": [_shown(held) for held in found[:limit]], "next": following})


@router.get(
    "/v1/quarantine/{held_id}",
    summary="One held message",
    **declared({200: (HeldMessage, "what is known of it")}, "not-found", role="read"),
)
async def show(held_id: HeldId, service: Served, caller: MayRead) -> Response:
    """Its bytes are read by `mailwarden quarantine show --raw`."""
    return json_answer(_shown(await asyncio.to_thread(service.releases.quarantine.get, held_id, caller.tenant.name)))


@router.post(
    "/v1/quarantine/{held_id}/release",
    summary="Deliver a held message",
    **declared(
        {200: (Released, "delivered")},
        "not-found",
        "bad-data",
        "too-large",
        role="admin",
        body=json_body(ReleaseBody, {"label": "ham"}),
    ),
)
async def release(held_id: HeldId, request: Request, service: Served, caller: MayAdmin) -> Response:
    """As it came, once, and written down in the audit log. A body that is empty is `{}`.

    422 where its state does not let it, 503 where the next hop did not take it: it is held as before.
    """
    raw = await body_within(request, 65_536)
    asked = read_json(ReleaseBody, raw) if raw else ReleaseBody()
    held = await asyncio.to_thread(
        lambda: service.releases.release(held_id, who=caller.who, tenant=caller.tenant.name, again=asked.again)
    )
    labelled = asked.label is not None and bool(held.message_id)
    if labelled:
        said = Said(held.message_id, time.time_ns() // 1_000, "analyst", caller.who)
        try:
            await service.labelling.label(caller.tenant, "ham", said)
            await service.note(caller, "label.give", held.message_id, {"label": "ham", "released": held.held_id})
        except NotLogged:
            # It is delivered all the same; `/v1/labels` takes the label later.
            labelled = False
    return json_answer({"held": _shown(held), "label_taken": labelled})


@router.post(
    "/v1/quarantine/{held_id}/settle",
    summary="Say that a held message was delivered",
    **declared({200: (HeldMessage, "taken for delivered")}, "not-found", "bad-data", role="admin"),
)
async def settle(held_id: HeldId, service: Served, caller: MayAdmin) -> Response:
    """Of a release that ended nobody knows how: the next hop's log says that it has the message."""
    held = await asyncio.to_thread(lambda: service.releases.settle(held_id, who=caller.who, tenant=caller.tenant.name))
    return json_answer(_shown(held))


@router.delete(
    "/v1/quarantine/{held_id}",
    summary="Delete a held message",
    **declared({200: (HeldMessage, "deleted")}, "not-found", "bad-data", role="admin"),
)
async def delete(held_id: HeldId, service: Served, caller: MayAdmin) -> Response:
    """For good; nobody gets it."""
    held = await asyncio.to_thread(lambda: service.releases.delete(held_id, who=caller.who, tenant=caller.tenant.name))
    return json_answer(_shown(held))


def _shown(held: Held) -> dict[str, Any]:
    return {
        "id": held.held_id,
        "message_id": held.message_id,
        "decision_id": held.decision_id,
        "mail_from": held.mail_from,
        "recipients": held.recipients,
        "left": held.left,
        "header_from": held.header_from,
        "subject": held.subject,
        "reason": held.reason,
        "category": held.category,
        "client_ip": held.client_ip,
        "place": held.place,
        "queue_id": held.queue_id,
        "size": held.size,
        "sha256": held.sha256,
        "held_at": rfc3339(held.held_us),
        "expires_at": rfc3339(held.expires_us),
        "state": held.state,
        "may_be_delivered": held.sending,
        "error": held.error,
    }
