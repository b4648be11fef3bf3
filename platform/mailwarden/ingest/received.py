"""Received headers, as far as each can be read (RFC 5321 section 4.4)."""

from __future__ import annotations

import re

from mailwarden.domain.mail.addresses import normalise_address, normalise_host
from mailwarden.domain.mail.message import Hop
from mailwarden.ingest.dates import is_believable, read_date
from mailwarden.ingest.defects import DefectLog

MAX_HOPS = 100
MAX_TEXT = 2_000

_FROM = re.compile(r"\s*from\s+([^\s;()]+)", re.IGNORECASE)
_BY = re.compile(r"(?:^|[\s)])by\s+([^\s;()]+)", re.IGNORECASE)
_FOR = re.compile(r"[\s)]for\s+<?([^\s<>;()]+@[^\s<>;()]+)>?", re.IGNORECASE)
_IP = re.compile(r"\[(?:IPv6:)?([0-9a-fA-F:.]{2,45})\]|[(\s]((?:\d{1,3}\.){3}\d{1,3})(?=[)\s])")


def read_hops(values: list[str], defects: DefectLog) -> tuple[Hop, ...]:
    """The hops of Received header values, topmost first."""
    if len(values) > MAX_HOPS:
        defects.add("too_many_hops", f"{len(values)}")
    return tuple(read_hop(value, defects) for value in values[:MAX_HOPS])


def read_hop(value: str, defects: DefectLog) -> Hop:
    """One Received value; what it does not say is "" or None."""
    text = value[:MAX_TEXT]
    clauses, _, date = text.rpartition(";")
    if not clauses:
        clauses, date = text, ""
    received_at_us = read_date(date.strip()) if date else None
    if received_at_us is None:
        defects.add("received_date_unreadable")
    elif not is_believable(received_at_us):
        defects.add("received_date_absurd")
        received_at_us = None
    sent_from = _FROM.match(clauses)
    by = _BY.search(clauses)
    # What stands before "by" is the other side's say; only the receiving side may name whom it is for.
    before = clauses[: by.start()] if by else clauses
    whom = _FOR.search(clauses, by.end() if by else 0)
    ip = _IP.search(before, sent_from.end() if sent_from else 0) or _IP.search(before)
    return Hop(
        from_host=normalise_host(sent_from[1].strip("[]")) if sent_from else "",
        from_ip=(ip[1] or ip[2]).lower() if ip else "",
        by_host=normalise_host(by[1]) if by else "",
        for_address=normalise_address(whom[1]) if whom else "",
        received_at_us=received_at_us,
    )
