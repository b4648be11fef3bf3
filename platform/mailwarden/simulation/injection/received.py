"""Received fields: what they say, and the same form filled with another message's path."""

from __future__ import annotations

import random
import re
from calendar import timegm
from dataclasses import dataclass
from email.utils import parsedate_tz

from mailwarden.simulation.mime import US_PER_S, date_header

_FROM = re.compile(r"\s*from\s+(\S+)", re.IGNORECASE)
_BY = re.compile(r"(?:^|[\s)])by\s+([^\s;()]+)", re.IGNORECASE)
_FOR = re.compile(r"(\sfor\s+<?)([^\s<>;()]+@[^\s<>;()]+)(>?)", re.IGNORECASE)
_ENVELOPE = re.compile(r"(envelope-from\s*<?)([^\s<>;()]*)(>?)", re.IGNORECASE)
_ID = re.compile(r"(\sid\s+)([^\s;()]{4,})", re.IGNORECASE)
_IP = re.compile(r"(\[(?:IPv6:)?|(?<=[\s(]))([0-9a-fA-F]{0,4}:[0-9a-fA-F:.]+|(?:\d{1,3}\.){3}\d{1,3})(?=[\])\s])")
_HOST = re.compile(r"(?<![\w@.-])(?:[A-Za-z0-9_-]+\.)+[A-Za-z]{2,}(?![\w@.-])|\bunknown\b")
_LOCAL_IP = re.compile(r"(?:127|10|0)\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cde]", re.IGNORECASE)
_LOGGED_IN = re.compile(r"authenticated|ESMTPS?A\b|\blocal\b|\bHTTPS?\b", re.IGNORECASE)
_DATE = re.compile(r"(;\s*)([^;]*)$")


@dataclass(frozen=True, slots=True)
class Hop:
    """What one Received value says. at_us: None where no date can be read; others "" where it does not say."""

    from_host: str
    from_ip: str
    by_host: str
    recipient: str
    at_us: int | None

    @property
    def outside(self) -> bool:
        """Whether it came from a host with a public address."""
        return bool(self.from_ip) and not _LOCAL_IP.match(self.from_ip)


def read_received(value: str) -> Hop:
    """Read a Received value, unfolded."""
    clauses, _, date = value.rpartition(";")
    sent, by = _FROM.match(value), _BY.search(value)
    before = value[: by.start()] if by else value
    ip, whom = _IP.search(before), _FOR.search(clauses or value)
    return Hop(
        sent[1].strip("[]").lower() if sent else "",
        ip[2].lower() if ip else "",
        by[1].lower().strip(".") if by else "",
        whom[2].lower() if whom else "",
        time_of(date),
    )


def time_of(date: str) -> int | None:
    """Microseconds UTC of an RFC 5322 date, None where it cannot be read."""
    found = _moment(date)
    return None if found is None else found[0]


def moved(date: str, by_us: int) -> str:
    """The date so much later, in its own zone; as it is where it cannot be read."""
    found = _moment(date)
    return date if found is None else date_header(found[0] + by_us, found[1])


def dated(date: str, at_us: int) -> str:
    """A date of that time in the zone of the given one, UTC where that cannot be read."""
    found = _moment(date)
    comment = re.search(r"\s\([A-Z]{2,5}\)\s*$", date)
    return date_header(at_us, found[1] if found else 0) + (comment[0] if comment and found else "")


def with_date(value: str, change: str) -> str:
    """A Received value with another date."""
    return _DATE.sub(lambda m: m[1] + change, value)


def date_of(value: str) -> str:
    """The date at the end of a Received value."""
    return value.rpartition(";")[2].strip()


def is_form(value: str) -> bool:
    """Whether the value shows how a border host writes down mail from outside."""
    hop = read_received(value)
    return hop.outside and bool(hop.by_host) and hop.at_us is not None and not _LOGGED_IN.search(value)


def filled(
    form: str, rng: random.Random, *, helo: str, name: str, ip: str, mail_from: str, recipient: str, at_us: int
) -> str:
    """A Received value of the same host and form for another message; folding stands as it stood.

    helo, name: what the handing host calls itself, and its confirmed name, "" for none. recipient: put where the form
    has a `for`.
    """
    by = _BY.search(form)
    cut = by.start() if by else 0
    sent, rest = form[:cut], form[cut:]
    lead = _FROM.match(sent)
    if lead is not None:
        first = f"[{ip}]" if lead[1].startswith("[") else helo
        tail = sent[lead.end() :]
        bracketed = re.search(r"(?i)(helo|ehlo)[ =]", tail)
        names = iter((helo, helo, helo) if bracketed else (name or "unknown", helo, helo))
        tail = _HOST.sub(lambda m: next(names, helo), tail)
        tail = _IP.sub(lambda m: m[1].replace("IPv6:", "") + ip, tail)
        sent = sent[: lead.start(1)] + first + tail
    rest = _ENVELOPE.sub(lambda m: m[1] + mail_from + m[3], rest)
    rest = _FOR.sub(lambda m: m[1] + recipient + m[3], rest)
    rest = _ID.sub(lambda m: m[1] + reshuffled(rng, m[2]), rest)
    return with_date(sent + rest, dated(date_of(form), at_us))


def reshuffled(rng: random.Random, token: str) -> str:
    """Another token of the same make: digits for digits, letters for letters of their case."""

    def other(char: str) -> str:
        if char.isdigit():
            return rng.choice("0123456789")
        if "a" <= char <= "z":
            return rng.choice("abcdef" if char <= "f" else "ghijklmnopqrstuvwxyz")
        return rng.choice("ABCDEF" if char <= "F" else "GHIJKLMNOPQRSTUVWXYZ") if "A" <= char <= "Z" else char

    return "".join(map(other, token))


def _moment(date: str) -> tuple[int, int] | None:
    """Microseconds UTC, and the zone's minutes."""
    try:
        parts = parsedate_tz(date[:200])
        if parts is None:
            return None
        year, month, day, hour, minute, second = parts[:6]
        zone = parts[9] or 0
        return _seconds(year, month, day, hour, minute, second, zone) * US_PER_S, zone // 60
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int, zone: int) -> int:
    if not (1970 <= year < 2100 and 1 <= month <= 12 and 1 <= day <= 31 and abs(zone) < 86_400):
        raise ValueError(f"no day of ours: {year}-{month}-{day}")
    return timegm((year, month, day, hour, minute, second, 0, 0, 0)) - zone
