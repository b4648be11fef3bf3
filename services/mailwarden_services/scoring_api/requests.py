"""What callers send: a message as it is, with its envelope in headers or query, or as JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
from io import BytesIO
from typing import Annotated, Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import FailFast, Field, IPvAnyAddress, TypeAdapter, ValidationError

from mailwarden.domain.mail.events import LABELS
from mailwarden.domain.mail.identity_text import message_id_of
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.reception import Reception
from mailwarden_services.scoring_api.bodies import Body
from mailwarden_services.scoring_api.in_flight import account_of
from mailwarden_services.scoring_api.problems import Problem, bad_request, not_a_message, too_large
from mailwarden_services.scoring_api.times import Time, microseconds, read_time

_ADDRESS = TypeAdapter(IPvAnyAddress)
_TRUTH = TypeAdapter(bool)
_PREFIX = b"x-mailwarden-"

MAX_BATCH = 100
"""Messages in one batch request."""

MAX_RECIPIENTS = 1_000
"""SMTP recipients of one message: each of them is a vector to read and to log."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""Text without control characters: a database refuses NUL, and with it all that stands beside it."""

MAX_HELO = 255
"""Characters of a greeting."""

MAX_USER = 320
"""Characters of an authenticated user's name."""

MAX_QUEUE_ID = 100
"""Characters of the mail system's own name of a message."""

MAX_KEY = 200
"""Characters of an idempotency key."""


MAX_PATH = 1_000
"""Characters of a sender or recipient of the envelope: SMTP has 256 octets, and some systems more."""

BODY_SECONDS = 60.0
"""In which a body is here, whole."""

DECODED_AT_ONCE = 4 << 20
"""Characters of base64, some ten milliseconds' work; a multiple of four."""

MAX_LABELS = 1_000
"""Labels in one batch request."""


class MessageBody(Body):
    """One message as JSON. message: base64 of the raw RFC 5322 bytes."""

    message: str = Field(description="base64 of the raw RFC 5322 bytes")
    received_at: Time | None = Field(None, description="when the mail system received it (RFC 3339)")
    mail_from: str | None = Field(None, max_length=MAX_PATH, description="SMTP reverse path; empty for the null path")
    rcpt_to: Annotated[list[Annotated[str, Field(max_length=MAX_PATH)]], FailFast()] = Field(
        default_factory=list, max_length=MAX_RECIPIENTS, description="SMTP recipients"
    )
    client_ip: IPvAnyAddress | None = Field(None, description="address of the host that handed the message over")
    helo: str = Field("", max_length=MAX_HELO, pattern=PRINTABLE, description="what that host called itself")
    auth_user: str | None = Field(None, max_length=MAX_USER, pattern=PRINTABLE, description="who logged in to send it")
    queue_id: str | None = Field(None, max_length=MAX_QUEUE_ID, pattern=PRINTABLE, description="the mail system's id")
    idempotency_key: str | None = Field(None, min_length=1, max_length=MAX_KEY, pattern=PRINTABLE)

    async def raw(self, limit: int) -> bytes:
        """The message's bytes; raises Problem where they are not base64 or over the limit.

        A large one is decoded piece by piece, between which others' requests are seen to.
        """
        text = self.message
        if len(text) > limit * 4 // 3 + 4:
            raise too_large(limit)
        pieces: list[bytes] = []
        try:
            for at in range(0, len(text), DECODED_AT_ONCE):
                piece = text[at : at + DECODED_AT_ONCE]
                if at:
                    await asyncio.sleep(0)
                    if text[at - 1] == "=":
                        raise ValueError("what is behind the end is none of it")
                pieces.append(base64.b64decode(piece, validate=True))
        except (binascii.Error, ValueError) as exc:
            raise not_a_message("`message` is not base64; encode the raw bytes of the message.") from exc
        return b"".join(pieces)

    def envelope(self) -> Envelope:
        """The envelope given beside the message."""
        received = None if self.received_at is None else microseconds(self.received_at)
        reception = _reception(str(self.client_ip or ""), self.helo)
        return Envelope(
            received,
            self.mail_from,
            tuple(self.rcpt_to),
            reception=reception,
            auth_user=self.auth_user or None,
            queue_id=self.queue_id or None,
        )


class BatchBody(Body):
    """Several messages, decided in order."""

    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=MAX_BATCH)]
    observe: bool = True


class LabelBody(Body):
    """Feedback on a message, by its decision id or message id."""

    decision_id: str | None = Field(None, max_length=200, pattern=PRINTABLE)
    message_id: str | None = Field(None, max_length=200, pattern=PRINTABLE)
    label: str = Field(description="ham, spam, or a category code", json_schema_extra={"enum": [*LABELS]})
    known_at: Time = Field(description="when it was given (RFC 3339)")
    received_at: Time | None = Field(None, description="of the message; needed where it was ingested in bulk")
    source: Literal["analyst", "audit", "user"] = Field(
        "analyst", description="how it came about; audit: of a message that was drawn by chance"
    )
    stands_for: int = Field(
        0, ge=0, le=1_000_000, description="of an audit: as one of how many it was drawn; 0 where nobody knows"
    )
    given_by: str = Field("", max_length=200, pattern=PRINTABLE)

    def target(self) -> str:
        """Our id of the message; raises Problem where neither id is given."""
        if self.message_id:
            return self.message_id
        if self.decision_id:
            return message_id_of(self.decision_id)
        raise bad_request("Give `decision_id` or `message_id` of the message.")


class LabelsBody(Body):
    """Several labels at once."""

    labels: Annotated[list[LabelBody], Field(min_length=1, max_length=MAX_LABELS)]


class ReleaseBody(Body):
    """How to release a held message."""

    again: bool = Field(default=False, description="also where an earlier release may have delivered it")
    label: Literal["ham"] | None = Field(default=None, description="`ham`: it was good mail, which is taken as a label")


async def body_within(request: Request, limit: int) -> bytes:
    """The body, read no further than `limit` bytes and no longer than `BODY_SECONDS`; raises Problem beyond, and where
    no more is held at once (`in_flight`)."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    account = account_of(request)
    # Its value is the buffer that it was written to, so that a long body is not held twice.
    body = BytesIO()
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                if account is not None:
                    account.take(len(chunk))
                body.write(chunk)
    except TimeoutError as exc:
        raise Problem(
            408,
            "too-slow",
            "Too slow",
            f"The body did not come within {BODY_SECONDS:.0f} s; send it faster.",
            {"Connection": "close"},
        ) from exc
    return body.getvalue()


def envelope_of(request: Request) -> Envelope:
    """The envelope from query parameters (`received_at`, `mail_from`, `rcpt_to`, `client_ip`, `helo`, `auth_user`,
    `queue_id`), or where these are not there from `X-Mailwarden-*` headers; raises Problem."""
    asked, told = _asked(request), _told(request)

    def first(name: str) -> str | None:
        values = asked.get(name) or told.get(name)
        return values[0] if values else None

    received = None
    if times := [*asked.get("received_at", ()), *told.get("received_at", ())]:
        try:
            received, *_ = [microseconds(read_time(time)) for time in times]
        except ValueError as exc:
            raise bad_request(
                "`received_at` is not an RFC 3339 time with a zone; write it as 2026-01-31T08:30:00Z."
            ) from exc
    sender = first("mail_from")
    paths = asked.get("rcpt_to") or told.get("rcpt_to") or []
    recipients = tuple(r for value in paths for part in value.split(",") if (r := part.strip()))
    if len(recipients) > MAX_RECIPIENTS:
        raise bad_request(
            f"`rcpt_to` names {len(recipients)} recipients; hand a message over in parts of {MAX_RECIPIENTS} at most."
        )
    if any(len(path) > MAX_PATH for path in (sender or "", *recipients)):
        raise bad_request(f"`mail_from` and each of `rcpt_to` have at most {MAX_PATH} characters.")
    client = ""
    if (address := first("client_ip")) is not None:
        try:
            client = str(_ADDRESS.validate_strings(address))
        except ValidationError as exc:
            raise bad_request(
                "`client_ip` is no address; write that of the host that handed the message over, as 192.0.2.7."
            ) from exc

    def word(name: str, limit: int) -> str:
        found = first(name)
        return found[:limit] if found and found.isprintable() else ""

    return Envelope(
        received,
        sender,
        recipients,
        reception=_reception(client, word("helo", MAX_HELO)),
        auth_user=word("auth_user", MAX_USER) or None,
        queue_id=word("queue_id", MAX_QUEUE_ID) or None,
    )


def observe_of(request: Request) -> bool:
    """The query parameter `observe`, true where it is not there; raises RequestValidationError."""
    given = request.query_params.get("observe")
    if given is None:
        return True
    try:
        return _TRUTH.validate_strings(given)
    except ValidationError as exc:
        errors = [{"loc": ("query", "observe"), "msg": e["msg"], "type": e["type"]} for e in exc.errors()]
        raise RequestValidationError(errors) from exc


def explain_of(request: Request, *, observe: bool) -> bool:
    """Whether the query parameter `explain` asks for all; raises RequestValidationError on another value than `full`,
    and where the message is observed."""
    given = request.query_params.get("explain")
    if given is None:
        return False
    if given == "full" and not observe:
        return True
    words = "write full" if given != "full" else "what is explained leaves no trace: write observe=false too"
    raise RequestValidationError([{"loc": ("query", "explain"), "msg": words, "type": "value_error"}])


def _asked(request: Request) -> dict[str, list[str]]:
    """The query's parameters by name; none where there is no query."""
    found: dict[str, list[str]] = {}
    if request.scope["query_string"]:
        for name, value in request.query_params.multi_items():
            found.setdefault(name, []).append(value)
    return found


def _told(request: Request) -> dict[str, list[str]]:
    """The values of `X-Mailwarden-*` headers by what they tell, named as the query's parameters are."""
    found: dict[str, list[str]] = {}
    for name, value in request.scope["headers"]:
        if name.startswith(_PREFIX):
            parameter = name[len(_PREFIX) :].decode("latin-1").replace("-", "_")
            found.setdefault(parameter, []).append(header_text(value.decode("latin-1")))
    return found


def header_text(value: str) -> str:
    """A header's value, which frameworks read as latin-1, as the UTF-8 that an address in it is written in."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _reception(client_ip: str, helo: str) -> Reception | None:
    return Reception(client_ip=client_ip, helo=helo) if client_ip or helo else None


def idempotency_key_of(request: Request) -> str | None:
    """The key in the `Idempotency-Key` header, None without one; raises Problem where it cannot be kept."""
    key = request.headers.get("idempotency-key")
    if not key:
        return None
    if len(key) > MAX_KEY or not key.isprintable():
        raise bad_request(f"`Idempotency-Key` must be at most {MAX_KEY} characters, none of them a control character.")
    return key
