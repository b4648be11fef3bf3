"""Labels given, listed and withdrawn: what messages were, as people found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from mailwarden.domain.mail.identity_text import message_id_of
from mailwarden.errors import MailwardenError
from mailwarden_services.scoring_api import problems
from mailwarden_services.scoring_api.access import Caller, MayLabel, MayRead
from mailwarden_services.scoring_api.answer_models import LabelsPage, LabelsTaken, LabelTaken
from mailwarden_services.scoring_api.bodies import json_answer, read_json
from mailwarden_services.scoring_api.in_flight import handed_over
from mailwarden_services.scoring_api.labelling import Give, Said, no_message
from mailwarden_services.scoring_api.openapi import declared, json_body
from mailwarden_services.scoring_api.pages import After, Limit, place_text, read_place
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import PRINTABLE, LabelBody, LabelsBody, body_within
from mailwarden_services.scoring_api.service import Served, Service
from mailwarden_services.scoring_api.times import EXAMPLE, Time, microseconds, rfc3339

router = APIRouter(tags=["labels"])

ID = r"^d?[0-9a-f]{32}$"
"""A message id or a decision id."""

MessageId = Annotated[str, Path(pattern=ID, description="`message_id` or `decision_id` of the message")]

_EXAMPLE = {"message_id": "fbd181f038c3364114496ff3b5474c59", "label": "VF", "known_at": EXAMPLE}


@router.post(
    "/v1/labels",
    summary="Say what a message was",
    **declared(
        {200: (LabelTaken, "the message bore that label already"), 201: (LabelTaken, "taken")},
        "not-found",
        "not-logged",
        "too-large",
        "bad-data",
        role="label",
        body=json_body(LabelBody, _EXAMPLE),
    ),
)
async def label(request: Request, service: Served, caller: MayLabel) -> Response:
    """The same label twice counts once; another one takes the earlier one back."""
    body = read_json(LabelBody, await body_within(request, 65_536))
    taken = await _take(service, caller, body)
    await _note(service, caller, [(body, taken)])
    return json_answer(taken, 200 if taken["repeated"] else 201)


@router.post(
    "/v1/labels/batch",
    summary="Say what several messages were",
    **declared(
        {200: (LabelsTaken, "what was taken, or a problem, for each label")},
        "too-large",
        role="label",
        body=json_body(LabelsBody, {"labels": [_EXAMPLE]}),
    ),
)
async def label_batch(request: Request, service: Served, caller: MayLabel) -> Response:
    """Each result is what was taken or a problem; one bad label does not spoil the others."""
    batch = read_json(LabelsBody, await body_within(request, 1 << 20))
    handed_over(request, len(batch.labels))

    targets = [body.message_id or message_id_of(body.decision_id or "") for body in batch.labels]
    unknown = await service.labelling.unknown(caller.tenant, [name for name in targets if name])

    async def looked_up(body: LabelBody) -> Give | Exception:
        try:
            if (target := body.target()) in unknown:
                raise no_message(target)
            return await _prepared(service, caller, body)
        except (Problem, MailwardenError) as error:
            return error

    async def one(body: LabelBody, give: Give | Exception) -> dict[str, Any]:
        try:
            if isinstance(give, Exception):
                raise give
            taken = await give()
        except (Problem, MailwardenError) as error:
            return {"problem": problems.refuse(request, error).document()}
        service.metrics.labels.labels(body.label).inc()
        return taken

    # Looked up all at once, then numbered in their order.
    gives = await asyncio.gather(*(looked_up(body) for body in batch.labels))
    results = await asyncio.gather(*map(one, batch.labels, gives))
    await _note(service, caller, zip(batch.labels, results, strict=True))
    return json_answer({"results": results})


@router.get(
    "/v1/labels",
    summary="List labels, the newest first",
    **declared({200: (LabelsPage, "a page")}, role="read"),
)
async def labels(
    service: Served,
    caller: MayRead,
    message_id: Annotated[str | None, Query(pattern=ID, description="of one message")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """Corrections and withdrawals stand beside what they took back; of a message the newest counts.

    A label is listed once the feature writer has logged it, within seconds.
    """
    place = None
    if after is not None:
        (seq,), label_id = read_place(after, 1)
        place = (seq, label_id)
    found = await asyncio.to_thread(
        service.labels.page,
        caller.tenant.name,
        message_id=None if message_id is None else message_id_of(message_id),
        after=place,
        limit=limit + 1,
    )
    rows = [asdict(record) for record in found[:limit]]
    for row in rows:
        row["known_at"] = rfc3339(row.pop("known_at_us"))
        del row["tenant"]
    following = place_text(found[limit - 1].seq, found[limit - 1].label_id) if len(found) > limit else None
    return json_answer({"labels": rows, "next": following})


@router.delete(
    "/v1/messages/{message_id}/label",
    summary="Withdraw the label of a message",
    **declared({200: (LabelTaken, "withdrawn")}, "not-found", "not-logged", "bad-data", role="label"),
)
async def withdraw(
    service: Served,
    caller: MayLabel,
    message_id: MessageId,
    known_at: Annotated[Time | None, Query(description="when it was withdrawn; now where it is left out")] = None,
    received_at: Annotated[Time | None, Query(description="of the message; needed where it was ingested")] = None,
    source: Literal["analyst", "user"] = "analyst",
    given_by: Annotated[str, Query(max_length=200, pattern=PRINTABLE)] = "",
) -> Response:
    """The label that counts now is taken back, whoever gave it; the history keeps both."""
    taken = await service.labelling.withdraw(
        caller.tenant,
        Said(
            message_id_of(message_id),
            time.time_ns() // 1_000 if known_at is None else microseconds(known_at),
            source,
            given_by,
            None if received_at is None else microseconds(received_at),
        ),
    )
    service.metrics.labels.labels("withdrawn").inc()
    await service.note(caller, "label.withdraw", taken["message_id"], {"given_by": given_by} if given_by else {})
    return json_answer(taken)


async def _take(service: Service, caller: Caller, body: LabelBody) -> dict[str, Any]:
    taken = await (await _prepared(service, caller, body))()
    service.metrics.labels.labels(body.label).inc()
    return taken


async def _prepared(service: Service, caller: Caller, body: LabelBody) -> Give:
    said = Said(
        body.target(),
        microseconds(body.known_at),
        body.source,
        body.given_by,
        None if body.received_at is None else microseconds(body.received_at),
        body.stands_for,
    )
    return await service.labelling.prepare_label(caller.tenant, body.label, said)


async def _note(service: Service, caller: Caller, taken: Iterable[tuple[LabelBody, Mapping[str, Any]]]) -> None:
    acts = [
        (answer["message_id"], {"label": body.label, "source": body.source, "given_by": body.given_by})
        for body, answer in taken
        if answer.get("repeated") is False
    ]
    if acts:
        await service.note_all(caller, "label.give", acts)
