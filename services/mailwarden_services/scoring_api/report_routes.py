"""Reports: mail that people forward since it should not have reached them, taken as their labels on the original."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from mailwarden.domain.mail.addresses import normalise_address
from mailwarden.errors import NotFound
from mailwarden.stores.sql import DecisionFilter, DecisionRecord, Tenant
from mailwarden_services.reading.reported import Reported
from mailwarden_services.scoring_api.access import MayLabel
from mailwarden_services.scoring_api.answer_models import ReportTaken
from mailwarden_services.scoring_api.bodies import json_answer
from mailwarden_services.scoring_api.labelling import Said
from mailwarden_services.scoring_api.openapi import declared, mail_body
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import PRINTABLE, body_within
from mailwarden_services.scoring_api.service import Served, Service
from mailwarden_services.scoring_api.times import Time, microseconds

router = APIRouter(tags=["labels"])

ALIKE_MOST = 10
"""Messages of one Message-ID that a report labels: a list's mail to several people here bears one."""

Reportable = Literal["ham", "spam", "CP", "MW", "BE", "VF", "LA", "EA", "CB", "EX", "RC", "SC", "SP"]


@router.post(
    "/v1/reports",
    summary="Report a message by forwarding it",
    **declared(
        {200: (ReportTaken, "the originals, labelled")},
        "not-found",
        "not-logged",
        "too-large",
        "unsupported-type",
        "bad-data",
        role="label",
        body=mail_body(),
    ),
)
async def report(
    request: Request,
    service: Served,
    caller: MayLabel,
    label: Reportable = "spam",
    known_at: Annotated[Time | None, Query(description="when it was reported; now where it is left out")] = None,
    reporter: Annotated[str, Query(max_length=200, pattern=PRINTABLE, description="address of who reports")] = "",
) -> Response:
    """The forwarded mail as it is: with the original attached, or quoted with its Message-ID, or as an answer to it.

    The original is found by its Message-ID, and by its sender where that is attached; where several are alike, by the
    reporter among its recipients. It gets the label as a user's. A reporter of another domain than the tenant's reports
    only what they received: whoever knows a Message-ID could else have others' mail labelled.
    """
    kind = request.headers.get("content-type", "message/rfc822").partition(";")[0].strip().lower()
    if kind != "message/rfc822":
        raise Problem(415, "unsupported-type", "Unsupported type", f"{kind} is no report; send message/rfc822.")
    raw = await body_within(request, service.max_message_bytes)
    named = await service.shower.reported(raw, caller.tenant.name)
    if not named:
        raise NotFound("the report names no message: attach the original, or quote its Message-ID")
    found = await asyncio.to_thread(_originals, service, caller.tenant, named, reporter)
    if not found:
        raise NotFound("no message that the report names was scored here; one that came just now is found in seconds")
    known_at_us = time.time_ns() // 1_000 if known_at is None else microseconds(known_at)
    taken = []
    for record in found:
        said_us = max(known_at_us, record.received_at_us) if known_at is None else known_at_us
        said = Said(record.message_id, said_us, "user", reporter, record.received_at_us)
        answer = await service.labelling.label(caller.tenant, label, said)
        service.metrics.labels.labels(label).inc()
        taken.append(answer)
    acts = [(one["message_id"], {"label": label, "given_by": reporter}) for one in taken if not one["repeated"]]
    await service.note_all(caller, "label.report", acts)
    return json_answer({"reported": taken})


def _originals(
    service: Service, tenant: Tenant, named: tuple[Reported, ...], reporter: str
) -> tuple[DecisionRecord, ...]:
    found: dict[str, DecisionRecord] = {}
    address = normalise_address(reporter) if reporter else ""
    one_of_us = not address or address.rpartition("@")[2] in tenant.domains
    for one in named:
        wanted = DecisionFilter(message_id_header=one.message_id_header)
        alike = service.decisions.page(tenant.name, wanted, limit=ALIKE_MOST).records
        # Whoever writes a message chooses its Message-ID, which may be another's.
        alike = tuple(record for record in alike if not one.sender or record.sender == one.sender)
        mine = tuple(record for record in alike if address and address in record.recipients)
        found |= {record.message_id: record for record in mine or (alike if one_of_us else ())}
    return tuple(found.values())[:ALIKE_MOST]
