"""Messages and decisions looked up again: what was decided, why, by what, and what people must see to judge it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response

from mailwarden.domain.mail.addresses import normalise_address
from mailwarden.domain.mail.events import CATEGORIES, WITHDRAWN
from mailwarden.domain.mail.identity_text import message_id_of
from mailwarden.stores.sql import DecisionFilter, DecisionRecord
from mailwarden_services.scoring_api.access import MayAdmin, MayRead, MayReadContent
from mailwarden_services.scoring_api.answer_models import (
    ContentAnswer,
    DecisionsPage,
    Forgotten,
    MessageAnswer,
)
from mailwarden_services.scoring_api.bodies import json_answer
from mailwarden_services.scoring_api.label_routes import MessageId
from mailwarden_services.scoring_api.openapi import declared
from mailwarden_services.scoring_api.pages import After, Limit, place_text, read_place
from mailwarden_services.scoring_api.reason_models import Verdict
from mailwarden_services.scoring_api.service import Served
from mailwarden_services.scoring_api.times import Time, microseconds, rfc3339

router = APIRouter(tags=["messages"])

_NAME = 1_000
"""Characters of an address or a Message-ID that are searched for."""


@router.get(
    "/v1/messages/{message_id}",
    summary="What is known of a message",
    **declared(
        {200: (MessageAnswer, "the decision, the label that counts, vectors and scores")}, "not-found", role="read"
    ),
)
async def message(service: Served, caller: MayRead, message_id: MessageId) -> Response:
    """The decision as it was answered, the features that it was made with, and what each detector said of them: its
    version, scores and time, or why there is none."""
    found = await asyncio.to_thread(service.found.message, caller.tenant.name, message_id_of(message_id))
    newest = await asyncio.to_thread(service.labels.latest, caller.tenant.name, found["message_id"])
    found["label"] = None if newest is None or newest.label == WITHDRAWN else newest.label
    return json_answer(found)


@router.get(
    "/v1/messages/{message_id}/content",
    summary="A message as people may look at it",
    **declared({200: (ContentAnswer, "plain text, never live HTML")}, "not-found", "bad-data", role="content"),
)
async def content(
    service: Served,
    caller: MayReadContent,
    message_id: MessageId,
    received_at: Annotated[Time | None, Query(description="of a message that was ingested and never scored")] = None,
) -> Response:
    """What its reader sees and what is hidden from them, headers, links that nothing opens, and the parts.

    Each reading is in the audit log before anything is shown.
    """
    asked = message_id_of(message_id)
    time_us = None if received_at is None else microseconds(received_at)
    row = await asyncio.to_thread(service.found.content, caller.tenant.name, asked, time_us)
    await service.note(caller, "content.read", asked, must=True)
    shown = await service.shower.show(row.raw, row.envelope, caller.tenant.name)
    envelope = {"mail_from": row.mail_from, "rcpt_to": list(row.rcpt_to)}
    return json_answer({"message_id": asked, "received_at": rfc3339(row.received_at_us), "envelope": envelope} | shown)


@router.post(
    "/v1/messages/{message_id}/forget",
    summary="Take a message out of the counts",
    **declared({200: (Forgotten, "it counts no more")}, "not-found", "not-logged", role="admin"),
)
async def forget(
    service: Served,
    caller: MayAdmin,
    message_id: MessageId,
    received_at: Annotated[Time | None, Query(description="of the message; finds one that was ingested sooner")] = None,
) -> Response:
    """For what should never have been counted: a test, a loop, mail that was sent to spoil somebody's history.

    Neither the message nor its labels count for what is numbered later, and it is no training row. What was decided
    stays as it was. No erasure: raw mail, decision and log keep it. A second time does nothing more.
    """
    asked = message_id_of(message_id)
    time_us = None if received_at is None else microseconds(received_at)

    async def note(seq: int) -> None:
        await service.note(caller, "message.forget", asked, {"seq": seq})

    return json_answer(await service.forgetting.forget(caller.tenant.name, asked, time_us, note=note))


@router.get(
    "/v1/decisions",
    summary="List decisions, the newest first",
    **declared({200: (DecisionsPage, "a page")}, role="read"),
)
async def decisions(
    service: Served,
    caller: MayRead,
    verdict: Verdict | None = None,
    category: Annotated[str | None, Query(json_schema_extra={"enum": [*CATEGORIES]}, pattern="^[A-Z]{2}$")] = None,
    sender: Annotated[str | None, Query(max_length=_NAME, description="an address, or a registrable domain")] = None,
    recipient: Annotated[str | None, Query(max_length=_NAME, description="an address")] = None,
    since: Annotated[Time | None, Query(alias="from", description="received at that time or later")] = None,
    until: Annotated[Time | None, Query(alias="to", description="received before that time")] = None,
    message_id_header: Annotated[
        str | None, Query(max_length=_NAME, description="the message's own Message-ID, with or without its brackets")
    ] = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """By the message's time. A decision is listed once the feature writer has logged it, within seconds.

    Go on while `next` is there: a page looks at a bounded number of decisions and may hold none of those wanted.
    """
    place = None
    if after is not None:
        (time_us, seq), last = read_place(after, 2)
        place = (time_us, seq, last)
    wanted = DecisionFilter(
        verdict=verdict,
        category=category,
        sender=_name(sender),
        recipient=_name(recipient),
        from_us=None if since is None else microseconds(since),
        to_us=None if until is None else microseconds(until),
        message_id_header=None if message_id_header is None else _unbracketed(message_id_header),
    )
    page = await asyncio.to_thread(service.decisions.page, caller.tenant.name, wanted, after=place, limit=limit)
    listed = [_listed(record) for record in page.records]
    return json_answer({"decisions": listed, "next": None if page.next is None else place_text(*page.next)})


def _name(given: str | None) -> str | None:
    if given is None:
        return None
    return normalise_address(given) if "@" in given else given.strip().lower()


def _unbracketed(header: str) -> str:
    return header.strip().removeprefix("<").removesuffix(">")


def _listed(record: DecisionRecord) -> dict[str, Any]:
    return {
        "decision_id": record.decision_id,
        "message_id": record.message_id,
        "seq": record.seq,
        "received_at": rfc3339(record.received_at_us),
        "sender": record.sender,
        "sender_domain": record.sender_domain,
        "recipients": list(record.recipients),
        "direction": record.direction,
        "message_id_header": record.message_id_header,
        "score": record.score,
        "verdict": record.decision,
        "category": record.category,
        "degraded": record.degraded,
        "model_version": record.decided_model,
        "signals": orjson.loads(record.response)["signals"],
    }
