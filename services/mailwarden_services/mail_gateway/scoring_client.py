"""The scoring API as a gateway sees it: one question a message, answered within a deadline or not at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

import orjson
import structlog

from mailwarden.errors import MailwardenError
from mailwarden_services.mail_gateway.api_connections import ApiConnections, Broken
from mailwarden_services.mail_gateway.spooled import SpooledMessage

log = structlog.get_logger(__name__)

GatewayAction = Literal["accept", "banner", "junk", "quarantine", "reject"]

_NAME = re.compile(r"[!-9;-~]{1,200}")
_TOO_LARGE = 413

MAX_RECIPIENTS = 1_000
"""Of one envelope, as the API takes them; those beyond share the first ones' answer."""


class Away(MailwardenError):
    """The scoring API did not answer in time, or not in its words; the message is not scored."""


@dataclass(frozen=True, slots=True)
class MailEnvelope:
    """What the mail system said of a message. mail_from: "" for the null path; listener: a name that the API maps."""

    mail_from: str
    rcpt_tos: tuple[str, ...]
    listener: str
    client_ip: str = ""
    helo: str = ""
    auth_user: str = ""
    queue_id: str = ""

    def headers(self, received_at: datetime) -> list[tuple[bytes, bytes]]:
        """The request's headers; values are UTF-8, without control characters."""
        pairs = [
            *(("Rcpt-To", one) for one in self.rcpt_tos[:MAX_RECIPIENTS]),
            ("Client-Ip", self.client_ip),
            ("Helo", self.helo),
            ("Auth-User", self.auth_user),
            ("Queue-Id", self.queue_id),
            ("Received-At", received_at.isoformat().replace("+00:00", "Z")),
            ("Listener", self.listener),
        ]
        given = [(b"X-Mailwarden-" + name.encode(), _header_bytes(value)) for name, value in pairs if value]
        return [(b"X-Mailwarden-Mail-From", _header_bytes(self.mail_from)), *given]


@dataclass(frozen=True, slots=True)
class TenantDecision:
    """What one tenant's event came to. recipients: those of the envelope that are its own; empty where not said."""

    tenant: str
    message_id: str
    decision_id: str
    verdict: str
    category: str
    reason: str
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailAnswer:
    """What the API asks of the mail system.

    add_headers: in order, to stand at the top; a value of several lines is folded there by a line feed and a tab.
    remove_headers: names in lower case, of which all go. remove_fields: single ones, name and number, 1 the topmost.
    """

    action: GatewayAction
    verdict: str
    add_headers: tuple[tuple[str, str], ...]
    remove_headers: frozenset[str]
    tenants: tuple[TenantDecision, ...]
    remove_fields: frozenset[tuple[str, int]] = frozenset()

    @property
    def refusal(self) -> str:
        """What the sender's server is told of a refusal: a reference, and no word of what gave the message away."""
        reference = next((re.sub(r"[^\w.-]", "", one.decision_id) for one in self.tenants if one.decision_id), "")
        return f"Refused as unwanted mail ({reference})" if reference else "Refused as unwanted mail"


def not_scored(why: str) -> MailAnswer:
    """The answer where a message goes on without a score; a header says why."""
    return MailAnswer("accept", "", (("X-Mailwarden-Not-Scored", why),), frozenset(), ())


class ScoringClient:
    """Asks `POST /v1/mail` over connections that are kept. Raises ConfigError on an address that cannot be read.

    api: `http://HOST:PORT`, `https://...` or `unix:PATH`. key: of role gateway, or of the one tenant whose mail it is.
    deadline_seconds: for one message, connecting and asking again where a kept connection had ended included.
    """

    def __init__(self, api: str, key: str, *, deadline_seconds: float) -> None:
        self.deadline_seconds = deadline_seconds
        self._connections = ApiConnections(api)
        self._headers = [(b"Content-Type", b"message/rfc822"), (b"Accept", b"application/json")]
        if key:
            self._headers.append((b"Authorization", b"Bearer " + _header_bytes(key)))

    async def ask(self, envelope: MailEnvelope, message: SpooledMessage) -> MailAnswer:
        """Score one message; raises Away where no answer of the API's was had within the deadline."""
        if message.too_large:
            return not_scored("too large")
        try:
            async with asyncio.timeout(self.deadline_seconds):
                return await self._ask(envelope, message)
        except TimeoutError as error:
            raise Away(f"the scoring API did not answer within {self.deadline_seconds:g} s") from error
        except (OSError, Broken) as error:
            raise Away(f"the scoring API cannot be reached: {error or type(error).__name__}") from error

    async def _ask(self, envelope: MailEnvelope, message: SpooledMessage) -> MailAnswer:
        headers = [*self._headers, *envelope.headers(datetime.now(UTC))]
        connections = self._connections
        answered = await connections.post("/v1/mail", headers, message.chunks(), message.size)
        if answered is None:
            # A kept connection had ended as it was used again. Asking twice is safe: the same message counts once.
            connections.forget_idle()
            answered = await connections.post("/v1/mail", headers, message.chunks(), message.size)
        if answered is None:
            raise Away("the scoring API ends its connections")
        status, body = answered
        if status == _TOO_LARGE:
            return not_scored("too large")
        if status != 200:
            raise Away(f"the scoring API answered {status}: {body[:300].decode('utf-8', 'replace')}")
        try:
            return read_answer(orjson.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            raise Away(f"the scoring API's answer cannot be read: {type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """End the connections."""
        self._connections.forget_idle()


def read_answer(body: Any) -> MailAnswer:
    """The answer of a JSON body; raises ValueError, KeyError or TypeError where it is not of the contract."""
    if body["action"] not in get_args(GatewayAction):
        raise ValueError(f"action {body['action']!r}")
    return MailAnswer(
        action=cast(GatewayAction, body["action"]),
        verdict=str(body.get("verdict") or ""),
        add_headers=tuple((_name(name), _value(value)) for name, value in body.get("add_headers", ())),
        remove_headers=frozenset(_name(name).lower() for name in body.get("remove_headers", ())),
        tenants=tuple(_decision(one) for one in body.get("tenants", ())),
        remove_fields=frozenset((_name(name).lower(), int(at)) for name, at in body.get("remove_fields", ())),
    )


def _decision(one: Mapping[str, Any]) -> TenantDecision:
    signals = one.get("signals") or ()
    words = [
        str(signal.get("words") or signal.get("name")) if isinstance(signal, dict) else str(signal)
        for signal in signals
    ]
    return TenantDecision(
        tenant=str(one["tenant"]),
        message_id=str(one["message_id"] or ""),
        decision_id=str(one["decision_id"] or ""),
        verdict=str(one.get("verdict") or ""),
        category=str(one.get("category") or ""),
        reason="; ".join(one.rstrip(".") for one in words)[:1000],
        recipients=tuple(str(recipient) for recipient in one.get("recipients", ())),
    )


def _name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"header name {name!r}")
    return name


def _value(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"header value {value!r}")
    lines = (" ".join(line.split()) for line in re.split(r"\r?\n[ \t]+", value))
    return "\n\t".join(line for line in lines if line)


def _header_bytes(value: str) -> bytes:
    # MAIL and RCPT come from strangers: nothing of them may end a header or begin another.
    data = value.encode("utf-8", "surrogateescape")
    return bytes(byte if byte >= 0x20 and byte != 0x7F else 0x3F for byte in data).strip()
