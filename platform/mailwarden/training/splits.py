"""Parts of an exported data set: by time or by tenant, never by chance, so that no message is in two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

from mailwarden.errors import DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TENANTS = "tenant:"


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a data set: messages of a time, or of tenants where these are named.

    from_us, until_us: microseconds UTC, the end not in it; None for open.
    """

    name: str
    from_us: int | None = None
    until_us: int | None = None
    tenants: tuple[str, ...] = ()

    @property
    def holds(self) -> Column:
        """Whether a row with `tenant` and `event_timestamp` is in it."""
        return F.col("tenant").isin(*self.tenants) if self.tenants else received_within(self.from_us, self.until_us)


def parse_splits(texts: Sequence[str]) -> tuple[Split, ...]:
    """Splits as they are written: `NAME=FROM..UNTIL`, either end open, or `NAME=tenant:ONE+TWO`.

    Raises DataError on what is none of these, on a mix of both, and where two hold the same message.
    """
    splits = tuple(_parse(text) for text in texts)
    names = [split.name for split in splits]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"split {name!r} is given twice; give each a name of its own")
    if len({bool(split.tenants) for split in splits}) > 1:
        raise DataError("splits are by time or by tenant; give all of them by one")
    for one, other in ((one, other) for index, one in enumerate(splits) for other in splits[:index]):
        if _overlap(one, other):
            raise DataError(f"splits {other.name!r} and {one.name!r} hold the same messages; have none do")
    return splits


def moment_us(text: str) -> int:
    """Microseconds UTC of an ISO 8601 date or time, UTC where it says no zone; raises DataError on another text."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise DataError(f"{text!r} is no time; write it as 2026-01-31 or 2026-01-31T08:30:00Z") from exc
    return ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def received_within(from_us: int | None, until_us: int | None) -> Column:
    """Whether `event_timestamp` lies in a time, its end not in it; None for an open end."""
    at_us, found = F.unix_micros("event_timestamp"), F.lit(True)
    if from_us is not None:
        found = found & (at_us >= from_us)
    return found if until_us is None else found & (at_us < until_us)


def _parse(text: str) -> Split:
    name, equals, body = text.partition("=")
    if not name.isidentifier() or not equals:
        raise DataError(f"split {text!r} has no name; write it as train=2026-01-01..2026-02-01 or test=tenant:acme")
    if body.startswith(_TENANTS):
        tenants = tuple(part for part in body.removeprefix(_TENANTS).split("+") if part)
        if not tenants:
            raise DataError(f"split {text!r} names no tenant; write it as {name}=tenant:one+two")
        return Split(name, tenants=tenants)
    begin, dots, end = body.partition("..")
    if not dots:
        raise DataError(f"split {text!r} is no time; write it as {name}=FROM..UNTIL, either end may be left out")
    split = Split(name, moment_us(begin) if begin else None, moment_us(end) if end else None)
    if split.from_us is not None and split.until_us is not None and split.from_us >= split.until_us:
        raise DataError(f"split {text!r} ends before it begins")
    return split


def _overlap(one: Split, other: Split) -> bool:
    if one.tenants:
        return bool({*one.tenants} & {*other.tenants})
    later = max((s.from_us for s in (one, other) if s.from_us is not None), default=None)
    earlier = min((s.until_us for s in (one, other) if s.until_us is not None), default=None)
    return later is None or earlier is None or later < earlier
