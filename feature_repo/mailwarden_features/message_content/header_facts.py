"""Facts of the envelope and the headers, apart from what names one site or mailer."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from mailwarden.domain.aggregates.windows import HOUR_US, SECOND_US
from mailwarden.domain.mail.addresses import is_freemail, normalise_host, registrable_domain
from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Hop, Message

_ADDRESS_IN_NAME = re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63}){1,8})")
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)\s*(?:\(|$)")
_DIGIT = re.compile(r"\d")
_ZONES_OFF_THE_HOUR = frozenset({570, 210, 270, 330, 345, 390, 525, 630, 765, -150, -210, -570})
_CLOCKS_APART_US = 5 * 60 * SECOND_US
_PASS = "pass"
_FAILS = frozenset({"fail", "softfail"})


def header_facts(message: Message, headers: dict[str, str]) -> dict[str, ContentValue]:
    """What the headers show. headers: the first value of each, by name in lower case."""
    sender = message.sender
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
        "sender_freemail": int(is_freemail(sender.domain)) if sender.domain else None,
        "sender_local_digits": len(_DIGIT.findall(sender.address.partition("@")[0])) if sender.address else None,
        "sender_domain_len": len(sender.domain) if sender.domain else None,
        "sender_domain_digits": len(_DIGIT.findall(sender.domain)) if sender.domain else None,
        "sender_domain_hyphens": sender.domain.count("-") if sender.domain else None,
        "display_name_missing": int(not sender.display_name) if sender.address else None,
        "display_name_other_address": _name_has_other_address(message),
        **_addressing(message),
        **_message_id(message),
        **_times(message, headers),
        **_hops(message.hops),
    }


def authentication_facts(message: Message) -> dict[str, ContentValue]:
    """Trusted verdicts, as the words of RFC 8601 and as numbers; null where nothing trusted speaks of the method."""
    found = message.authentication
    values: dict[str, ContentValue] = {
        "dkim_aligned": None if found.dkim_aligned is None else int(found.dkim_aligned),
    }
    for method, verdict in (("spf", found.spf), ("dkim", found.dkim), ("dmarc", found.dmarc), ("arc", found.arc)):
        values[method] = verdict
        values[f"{method}_pass"] = None if verdict is None else int(verdict == _PASS)
        values[f"{method}_fail"] = None if verdict is None else int(verdict in _FAILS)
    return values


def _addressing(message: Message) -> dict[str, ContentValue]:
    sender = message.sender
    named = {box.address for box in message.to} | {box.address for box in message.cc}
    recipients = message.recipients
    reply_domains = [box.domain for box in message.reply_to if box.domain]
    return_domain = _address_domain(message.return_path) if message.return_path else ""
    return {
        "recipient_count": len(recipients),
        "to_count": len(message.to),
        "cc_count": len(message.cc),
        "all_bcc": int(named.isdisjoint(recipients)) if recipients else None,
        "self_addressed": int(sender.address in named or sender.address in recipients) if sender.address else None,
        "reply_to_differs": int(any(domain != sender.domain for domain in reply_domains)) if reply_domains else None,
        "reply_to_freemail": int(any(map(is_freemail, reply_domains))) if reply_domains else None,
        "return_path_empty": None if message.return_path is None else int(not message.return_path),
        "return_path_differs": int(return_domain != sender.domain) if return_domain and sender.domain else None,
    }


def _address_domain(address: str) -> str:
    return _host_domain(address.rpartition("@")[2])


@lru_cache(maxsize=16_384)
def _host_domain(host: str) -> str:
    return registrable_domain(normalise_host(host))


def _name_has_other_address(message: Message) -> int | None:
    name = message.sender.display_name
    if not name:
        return None
    if "@" not in name:
        return 0
    found = _ADDRESS_IN_NAME.search(name[:500])
    return int(found is not None and _host_domain(found[1]) != message.sender.domain)


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
