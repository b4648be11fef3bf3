"""Facts of the headers, apart from whom they name and from what names one site or mailer."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from mailwarden.domain.aggregates.windows import HOUR_US, SECOND_US
from mailwarden.domain.mail.addresses import normalise_host, registrable_domain
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Hop, Message

_ZONE = re.compile(r"([+-])(\d\d)(\d\d)\s*(?:\(|$)")
_ZONES_OFF_THE_HOUR = frozenset({570, 210, 270, 330, 345, 390, 525, 630, 765, -150, -210, -570})
_CLOCKS_APART_US = 5 * 60 * SECOND_US


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """What the headers show; pure, bounded, never raising."""
    # Of several of a name the first.
    headers = {name.lower(): value for name, value in reversed(message.headers)}
    precedence = headers.get("precedence", "").strip().lower()
    priority = headers.get("x-priority", "").strip()[:1]
    return {
        "header_count": len(message.headers),
        "x_header_count": sum(name[:2] in ("X-", "x-") for name, _ in message.headers),
        "has_list_unsubscribe": int("list-unsubscribe" in headers),
        "has_list_id": int("list-id" in headers),
        "has_x_mailer": int("x-mailer" in headers),
        "has_user_agent": int("user-agent" in headers),
        "precedence_bulk": int(precedence in ("bulk", "list", "junk")),
        "auto_submitted": int(headers.get("auto-submitted", "no").strip().lower()[:2] != "no"),
        "high_priority": int(priority in ("1", "2") or headers.get("importance", "").strip().lower() == "high"),
        "missing_date": int("date" not in headers),
        "missing_to": int("to" not in headers),
        "missing_message_id": int("message-id" not in headers),
        "has_references": int(bool(message.references or message.in_reply_to)),
        **_message_id(message),
        **_times(message, headers),
        **_hops(message.hops),
    }


@lru_cache(maxsize=16_384)
def _host_domain(host: str) -> str:
    return registrable_domain(normalise_host(host))


def _message_id(message: Message) -> dict[str, ContentValue]:
    value = message.message_id_header
    if not value:
        return dict.fromkeys(("message_id_len", "message_id_malformed", "message_id_domain_matches"))
    left, at, right = value.rpartition("@")
    domain = _host_domain(right) if at else ""
    return {
        "message_id_len": len(value),
        "message_id_malformed": int(not (at and left and right) or " " in value),
        "message_id_domain_matches": int(domain == message.sender.domain) if message.sender.domain else None,
    }


def _times(message: Message, headers: dict[str, str]) -> dict[str, ContentValue]:
    skew: float | None = None
    # Who hands over mail in bulk may have had no other time to give than the Date.
    apart = message.time_source != "date" and (message.received_at_us != message.date_us or bool(message.hops))
    if message.date_us is not None and message.received_at_us is not None and apart:
        skew = (message.date_us - message.received_at_us) / HOUR_US
    date = headers.get("date")
    return {
        "date_skew_hours": skew,
        "odd_time_zone": None if date is None else int(_is_odd_zone(date)),
    }


def _is_odd_zone(date: str) -> bool:
    zone = _ZONE.search(date[:100])
    if zone is None:
        return not date.rstrip().upper().endswith(("GMT", "UT", "UTC", "Z"))
    hours, minutes = int(zone[2]), int(zone[3])
    offset = (hours * 60 + minutes) * (-1 if zone[1] == "-" else 1)
    if not -720 <= offset <= 840:
        return True
    return minutes != 0 and offset not in _ZONES_OFF_THE_HOUR


def _hops(hops: tuple[Hop, ...]) -> dict[str, ContentValue]:
    times = [hop.received_at_us for hop in hops if hop.received_at_us is not None]
    handed_over = next((hop for hop in hops if hop.from_host), None)
    return {
        "hop_count": len(hops),
        "hop_span_hours": (max(times) - min(times)) / HOUR_US if len(times) > 1 else None,
        "hop_order_broken": int(any(b - a > _CLOCKS_APART_US for a, b in pairwise(times))) if times else None,
        "helo_unqualified": None if handed_over is None else int(_is_unqualified(handed_over.from_host)),
    }


def _is_unqualified(host: str) -> bool:
    return "." not in host or host.replace(".", "").isdigit()
