"""Received headers, as far as each can be read (RFC 5321 section 4.4)."""

from __future__ import annotations

import re
from functools import partial

from mailwarden.domain.mail.message import Hop
from mailwarden.ingest.budget import HOPS
from mailwarden.ingest.dates import is_believable, read_date
from mailwarden.ingest.hosts import read_address, read_host
from mailwarden.ingest.reading import Reading

MAX_HOPS = 100
MAX_TEXT = 2_000
"""Characters of one Received value."""

_UNREADABLE = Hop("", "", "", "", None)

_FROM = re.compile(r"\s*from\s+([^\s;()]+)", re.IGNORECASE)
_BY = re.compile(r"(?:^|[\s)])by\s+([^\s;()]+)", re.IGNORECASE)
_FOR = re.compile(r"[\s)]for\s+<?([^\s<>;()]+@[^\s<>;()]+)>?", re.IGNORECASE)
_IP = re.compile(r"\[(?:IPv6:)?([0-9a-fA-F:.]{2,45})\]|[(\s]((?:\d{1,3}\.){3}\d{1,3})(?=[)\s])")


def read_hops(values: list[str], reading: Reading) -> tuple[Hop, ...]:
    """The hops of Received header values, topmost first."""
    if len(values) > MAX_HOPS:
        reading.cut(("headers",), "too_many_hops", f"{len(values)}")
    most = reading.take(HOPS, min(len(values), MAX_HOPS))
    return tuple(reading.attempt("headers", partial(read_hop, value, reading), _UNREADABLE) for value in values[:most])


def by_host_of(value: str) -> str:
    """The host that a Received value says it was written by, in lower case; "" where it does not say."""
    by = _BY.search(value[:MAX_TEXT])
    return by[1].lower().strip(".") if by else ""


def read_hop(value: str, reading: Reading) -> Hop:
    """One Received value; what it does not say is "" or None."""
    text = value[:MAX_TEXT]
    clauses, _, date = text.rpartition(";")
    if not clauses:
        clauses, date = text, ""
    received_at_us = read_date(date.strip()) if date else None
    if received_at_us is None:
        reading.defect("received_date_unreadable")
    elif not is_believable(received_at_us):
        reading.defect("received_date_absurd")
        received_at_us = None
    sent_from = _FROM.match(clauses)
    by = _BY.search(clauses)
    # What stands before "by" is the other side's say; only the receiving side may name whom it is for.
    before = clauses[: by.start()] if by else clauses
    whom = _FOR.search(clauses, by.end() if by else 0)
    ip = _IP.search(before, sent_from.end() if sent_from else 0) or _IP.search(before)
    return Hop(
        from_host=read_host(sent_from[1].strip("[]"), reading, "headers") if sent_from else "",
        from_ip=(ip[1] or ip[2]).lower() if ip else "",
        by_host=read_host(by[1], reading, "headers") if by else "",
        for_address=read_address(whom[1], reading) if whom else "",
        received_at_us=received_at_us,
    )
