"""What a gateway does with mail that is held: into the quarantine, noted in it, or let through once it was released."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from email import policy
from email.parser import BytesHeaderParser

from mailwarden.stores.quarantine import Held, HeldMail, Quarantine
from mailwarden_services.mail_gateway.scoring_client import MailAnswer, MailEnvelope, TenantDecision
from mailwarden_services.mail_gateway.spooled import SpooledMessage

MAX_TRACE_FIELDS = 12
"""Fields that mail systems may have put on top of a message since it was released."""

_TRACE = re.compile(
    rb"(?:received|return-path|delivered-to|x-original-to)[ \t]*:[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*", re.I
)
_HEADER_BYTES = 1 << 16


class QuarantineHolder:
    """The quarantine as the gateways use it; the database and the disk are waited for off the event loop.

    next_hop: where a release hands mail of the store on, as an operator writes it.
    """

    def __init__(self, quarantine: Quarantine, next_hop: str = "") -> None:
        self._quarantine, self._next_hop = quarantine, next_hop

    async def hold(self, answer: MailAnswer, envelope: MailEnvelope, message: SpooledMessage, why: str = "") -> None:
        """Keep a message; it is on disk when this returns. why: where the answer does not say. Raises StoreError."""
        mails = self._mails(answer, envelope, message, why)
        await asyncio.to_thread(self._quarantine.hold, mails, message.chunks, _now_us())

    async def hold_in_mta(self, answer: MailAnswer, envelope: MailEnvelope, message: SpooledMessage) -> None:
        """Note that the mail system holds a message under its queue id. Raises StoreError."""
        mails = self._mails(answer, envelope, message, "")

        def note() -> None:
            self._quarantine.note(
                mails, queue_id=envelope.queue_id, sha256=message.sha256(), size=message.size, now_us=_now_us()
            )

        await asyncio.to_thread(note)

    async def released(self, message: SpooledMessage, recipients: Sequence[str]) -> Held | None:
        """The released message that this is, where it has not passed for these recipients since; else None.

        What is added on top of a message by those who hand it on is left aside. Raises StoreError.
        """
        return await asyncio.to_thread(
            lambda: self._quarantine.passing(hashes_below_trace(message), recipients, _now_us())
        )

    async def passed(self, held: Held, recipients: Sequence[str]) -> None:
        """Note that a released message went through; the same bytes do not pass a second time. Raises StoreError."""
        await asyncio.to_thread(self._quarantine.passed, held, recipients)

    def _mails(self, answer: MailAnswer, envelope: MailEnvelope, message: SpooledMessage, why: str) -> list[HeldMail]:
        subject, header_from = shown_fields(next(message.chunks(), b"")[:_HEADER_BYTES])
        return [
            HeldMail(
                tenant=decision.tenant,
                message_id=decision.message_id,
                decision_id=decision.decision_id,
                mail_from=envelope.mail_from,
                recipients=own,
                reason=why or decision.reason or decision.verdict,
                category=decision.category,
                client_ip=envelope.client_ip,
                subject=subject,
                header_from=header_from,
                next_hop=self._next_hop,
            )
            for decision, own in shared_out(answer.tenants, envelope.rcpt_tos)
        ]


def shared_out(
    tenants: Sequence[TenantDecision], recipients: tuple[str, ...]
) -> Iterator[tuple[TenantDecision, tuple[str, ...]]]:
    """Each tenant with those of the recipients that are its own; every recipient is somebody's, once.

    Whom no tenant names is the first one's, or nobody's where the API named no tenant at all.
    """
    left = list(recipients)
    shares: list[tuple[TenantDecision, list[str]]] = []
    for tenant in tenants or (TenantDecision("", "", "", "", "", ""),):
        named = {one.lower() for one in tenant.recipients}
        shares.append((tenant, [one for one in left if one.lower() in named]))
        left = [one for one in left if one.lower() not in named]
    shares[0][1].extend(left)
    return ((tenant, tuple(own)) for tenant, own in shares if own)


def shown_fields(head: bytes) -> tuple[str, str]:
    """Subject and From of a message's first bytes, decoded, for lists of held mail; "" where there is none."""
    try:
        fields = BytesHeaderParser(policy=policy.default).parsebytes(head)
        return str(fields["subject"] or "")[:300], str(fields["from"] or "")[:300]
    except Exception:
        # The standard library's parser raises what it likes on hostile fields, and these are for show alone.
        return "", ""


def hashes_below_trace(message: SpooledMessage) -> list[str]:
    """SHA-256 of a message as it is, and without one, two, ... of the trace fields on top of it."""
    content = message.content()
    at, hashes = 0, [hashlib.sha256(content).hexdigest()]
    while len(hashes) <= MAX_TRACE_FIELDS and (found := _TRACE.match(content, at)) is not None:
        at = found.end()
        hashes.append(hashlib.sha256(memoryview(content)[at:]).hexdigest())
    return hashes


def _now_us() -> int:
    return time.time_ns() // 1_000
