"""Times as callers write them and read them: RFC 3339 and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXAMPLE = "2026-01-31T08:30:00Z"

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_time(value: Any) -> datetime:
    """The time that a text states, to the microsecond; raises ValueError, with the form that it must have.

    Seconds since an epoch are refused, and so is a time without a zone: which second and whose clock they mean is a
    guess. A leap second is the last microsecond before it.
    """
    if isinstance(value, datetime):
        return value
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"write an RFC 3339 time with its zone, as {EXAMPLE}")
    day, minute, second, fraction, zone = found.groups()
    if second == "60":
        second, fraction = "59", ".999999"
    micros = (fraction or ".")[1:7].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{day}T{minute}:{second}.{micros}{zone.upper()}")
    except ValueError as exc:
        raise ValueError(f"there is no such time; write it as {EXAMPLE}") from exc


Time = Annotated[
    AwareDatetime,
    BeforeValidator(read_time),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": [EXAMPLE]}),
]
"""An RFC 3339 time in a body; numbers, which the library would take for seconds, are refused."""


def microseconds(time: datetime) -> int:
    """Microseconds since the epoch, UTC, of an aware time."""
    delta = time - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def rfc3339(time_us: int) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC, as 2026-01-31T08:30:00.000000Z."""
    return (EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
