"""Dates as mail writes them, to microseconds; never beyond what a calendar or a reader can believe."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_tz

EARLIEST_US = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
LATEST_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
    "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_USUAL = re.compile(
    r"(?:[A-Za-z]{3}, *)?(\d{1,2}) +([A-Za-z]{3}) +(\d{4}) +(\d\d):(\d\d):(\d\d) +([+-])(\d\d)([0-5]\d)(?: *\(|$)"
)
_MBOX = re.compile(
    r"(?:[A-Za-z]{3} +)?([A-Za-z]{3}) +(\d{1,2}) +(\d\d):(\d\d)(?::(\d\d))? +(?:[A-Z]{3,4} +)?(\d{4})"
    r"(?: +([+-])(\d\d)([0-5]\d))?"
)
_EPOCH = datetime(1970, 1, 1)
_DAY_S = 86_400


def is_believable(time_us: int) -> bool:
    """Whether a time lies in 1990..2099, outside of which no mail was received."""
    return EARLIEST_US <= time_us < LATEST_US


def read_date(text: str) -> int | None:
    """Microseconds since the epoch, UTC, of an RFC 5322 date; None where it cannot be read or is no calendar day.

    A date without a zone is taken as UTC (RFC 5322 section 4.3, "-0000"). The result may be unbelievable.
    """
    text = text[:200]
    usual = _USUAL.match(text)
    if usual is not None:
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = usual.groups()
        number = _MONTHS.get(month.lower())
        if number is None:
            return None
        offset = (int(zone_hours) * 60 + int(zone_minutes)) * (-1 if sign == "-" else 1)
        return _instant(int(year), number, int(day), int(hour), int(minute), int(second), offset * 60)
    try:
        fields = parsedate_tz(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None  # the standard parser stumbles over some of what senders make up
    if fields is None:
        return None
    return _instant(*fields[:6], fields[9] or 0)


def read_zone(text: str) -> int:
    """Seconds east of UTC that a date's zone says, 0 where it says none."""
    usual = _USUAL.match(text[:200])
    if usual is None:
        return 0
    seconds = int(usual[8]) * 3600 + int(usual[9]) * 60
    return -seconds if usual[7] == "-" else seconds


def read_mbox_date(text: str, zone: int) -> int | None:
    """Microseconds since the epoch of an mbox `From ` line's date, which is local time.

    zone: seconds east of UTC to read it in where it names none itself (RFC 4155 wants UTC, writers use their own).
    """
    match = _MBOX.search(text[:400])
    if match is None:
        return None
    month, day, hour, minute, second, year, sign, zone_hours, zone_minutes = match.groups()
    number = _MONTHS.get(month.lower())
    if number is None:
        return None
    if sign is not None:
        zone = (int(zone_hours) * 3600 + int(zone_minutes) * 60) * (-1 if sign == "-" else 1)
    return _instant(int(year), number, int(day), int(hour), int(minute), int(second or 0), zone)


def _instant(year: int, month: int, day: int, hour: int, minute: int, second: int, zone: int) -> int | None:
    leap = second == 60
    if not -_DAY_S < zone < _DAY_S:
        return None
    try:
        # Without a zone of its own: a datetime that bears one takes three times as long.
        since = datetime(year, month, day, hour, minute, 59 if leap else second) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return (since.days * _DAY_S + since.seconds - zone + leap) * 1_000_000
