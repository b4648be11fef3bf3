"""What a content filter does with a message: hand it on, hold it, or leave it with the mail system for now."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal

import structlog

from mailwarden.errors import MailwardenError
from mailwarden.stores.quarantine import Held
from mailwarden_services.mail_gateway.header_fields import rewritten
from mailwarden_services.mail_gateway.holding import QuarantineHolder
from mailwarden_services.mail_gateway.next_hop import HopSession, Reply
from mailwarden_services.mail_gateway.places import NextHop
from mailwarden_services.mail_gateway.scoring_client import Away, MailAnswer, MailEnvelope, not_scored
from mailwarden_services.mail_gateway.spooled import SpooledMessage

log = structlog.get_logger(__name__)

MAX_PASSES = 5
"""How often a message may come through this filter; the next time it is held, as it goes in a circle."""

_IDENT = "(Mailwarden content filter)"
_HEADER_BYTES = 1 << 18

HELD = Reply(250, ("2.0.0 Ok: held by Mailwarden",))
TRY_LATER = Reply(451, ("4.7.1 The mail filter does not answer; try again later",))
NOT_KEPT = Reply(451, ("4.3.0 What was to be held could not be kept; try again later",))


@dataclass(frozen=True)
class FilterSettings:
    """How a content filter decides.

    hostname: what it calls itself. before_queue: it speaks with the sender's own server, so that it may refuse; behind
    the queue a refusal would be a bounce, to whoever the envelope names. max_bytes: of a message that is scored;
    hard_bytes: of one that is taken at all. hop_seconds: for each reply of the next hop.
    """

    ask: Callable[[MailEnvelope, SpooledMessage], Awaitable[MailAnswer]]
    holder: QuarantineHolder
    next_hop: NextHop
    hostname: str
    listener: str
    protocol: Literal["smtp", "lmtp"]
    when_away: Literal["tempfail", "accept"] = "tempfail"
    before_queue: bool = False
    max_bytes: int = 26_214_400
    hard_bytes: int = 209_715_200
    hop_seconds: float = 120.0
    read_seconds: float = 300.0


async def decide(
    settings: FilterSettings, envelope: MailEnvelope, message: SpooledMessage, hop: HopSession
) -> list[Reply]:
    """Do what is asked for with a message, and give the replies: one, or by LMTP one for each recipient.

    A good reply is given once the next hop took the message, or once it is held on disk. Raises HopAway.
    """
    count = len(envelope.rcpt_tos) if settings.protocol == "lmtp" else 1
    if passes(message, settings.hostname) >= MAX_PASSES:
        why = f"It came by {MAX_PASSES} times: it goes in a circle."
        return [await _held(settings, not_scored("loop"), envelope, message, why)] * count
    try:
        answer = await _asked(settings, envelope, message)
    except Away as error:
        log.warning("not scored", queue_id=envelope.queue_id, then=settings.when_away, error=str(error))
        if settings.when_away == "tempfail":
            return [TRY_LATER] * count
        answer = not_scored("filter away")
    released: Held | None = None
    if answer.action in ("quarantine", "reject"):
        try:
            released = await settings.holder.released(message, envelope.rcpt_tos)
        except MailwardenError as error:
            log.warning("not looked up among released mail", queue_id=envelope.queue_id, error=str(error))
        if released is None and answer.action == "reject" and settings.before_queue:
            return [Reply(550, (f"5.7.1 {answer.refusal}",))] * count
        if released is None:
            return [await _held(settings, answer, envelope, message, "")] * count
    chunks = handed_on(settings, answer, envelope, message, original=released is not None)
    replies = await hop.data(chunks, len(envelope.rcpt_tos))
    if released is not None and all(reply.is_good for reply in replies):
        try:
            await settings.holder.passed(released, envelope.rcpt_tos)
        except MailwardenError as error:
            log.warning("not noted that it passed", held_id=released.held_id, error=str(error))
    return replies * count if len(replies) == 1 else replies


async def _asked(settings: FilterSettings, envelope: MailEnvelope, message: SpooledMessage) -> MailAnswer:
    if message.size > settings.max_bytes:
        return not_scored("too large")
    try:
        return await settings.ask(envelope, message)
    except MailwardenError:
        raise
    except Exception as error:
        log.exception("not decided", queue_id=envelope.queue_id)
        raise Away(f"{type(error).__name__}: {error}") from error


async def _held(
    settings: FilterSettings, answer: MailAnswer, envelope: MailEnvelope, message: SpooledMessage, why: str
) -> Reply:
    try:
        await settings.holder.hold(answer, envelope, message, why)
    except MailwardenError as error:
        log.error("not held", queue_id=envelope.queue_id, error=str(error))
        return NOT_KEPT
    return HELD


def handed_on(
    settings: FilterSettings, answer: MailAnswer, envelope: MailEnvelope, message: SpooledMessage, *, original: bool
) -> Iterator[bytes]:
    """The message as the next hop gets it: our trace field and ours on top, forged ones out. original: ours alone."""
    top = trace_field(settings, envelope)
    if original:
        return _with_top(top, message)
    return rewritten(message.chunks(), answer.add_headers, answer.remove_headers, answer.remove_fields, top)


def _with_top(top: bytes, message: SpooledMessage) -> Iterator[bytes]:
    yield top
    yield from message.chunks()


def trace_field(settings: FilterSettings, envelope: MailEnvelope) -> bytes:
    """The Received field of this filter, on one line."""
    client = f"[{envelope.client_ip}]" if envelope.client_ip else "unknown"
    queue_id = re.sub(r"[^A-Za-z0-9.-]", "", envelope.queue_id)[:64]
    with_id = f" id {queue_id}" if queue_id else ""
    protocol = "LMTP" if settings.protocol == "lmtp" else "ESMTP"
    now = format_datetime(datetime.now(UTC))
    return f"Received: from {client} by {settings.hostname} {_IDENT} with {protocol}{with_id}; {now}\r\n".encode()


def passes(message: SpooledMessage, hostname: str) -> int:
    """How often a message says that it came through this filter."""
    head = b""
    for chunk in message.chunks():
        head += chunk
        if b"\r\n\r\n" in head or len(head) > _HEADER_BYTES:
            break
    head = head.partition(b"\r\n\r\n")[0]
    own = f" by {hostname} {_IDENT} ".encode().lower()
    return sum(line.startswith(b"received:") and own in line for line in head.lower().split(b"\r\n"))


def for_each(replies: Sequence[Reply]) -> str:
    """Replies one after the other, as they go over the wire, without the last line end."""
    return "\r\n".join(str(reply) for reply in replies)
