"""What one event means for one key, read off the definitions: the ground that `naive_recount` counts on.

It shares the data classes of events, windows and views with the rest, and none of their code.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from mailwarden.domain.aggregates.definitions import ActivityView
from mailwarden.domain.mail.events import Event, Way

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def ways_to(view: ActivityView, event: Event, key: tuple[str, ...]) -> list[Way]:
    """Each way in which an event reaches a key (the names after the tenant) of a view; none for most."""
    to_anybody_new = len(event.new_recipients) > 0
    if view.emission == "facts":
        if len(event.copy_of) > 0:
            return []
        named = [getattr(event, fact) for fact in view.keys]
        return [Way(True, to_anybody_new)] if list(key) == named and "" not in named else []
    if view.emission in ("participants", "participant_domains"):
        (name,) = key
        if not name:
            return []
        by_domain = view.emission == "participant_domains"
        ways = []
        if not len(event.copy_of) and name == (event.sender_domain if by_domain else event.sender):
            ways.append(Way(True, to_anybody_new))
        if event.direction == "outbound":
            written_to = event.recipient_domains if by_domain else event.recipients
            ways += [Way(False, to_anybody_new) for other in written_to if other == name]
        return ways
    if view.emission == "recipients":
        (name,) = key
        return [Way(True, name in event.new_recipients) for recipient in event.recipients if recipient == name]
    if not event.sender:
        return []
    left, right = key
    ways = []
    for recipient in event.recipients:
        is_new = recipient in event.new_recipients
        if (event.sender, recipient) == (left, right):
            ways.append(Way(True, is_new))
        if (event.sender, recipient) == (right, left):
            ways.append(Way(False, is_new))
    return ways


def all_true(where: Sequence[str], event: Event, way: Way) -> bool:
    """Whether every flag of a filter holds for an event as a key sees it."""
    return all(_holds(flag, event, way) for flag in where)


def _holds(flag: str, event: Event, way: Way) -> bool:
    if flag.startswith("hour_"):
        first_hour = int(flag.removeprefix("hour_"))
        return first_hour <= _received(event).hour < first_hour + 3
    if flag in _WEEKDAYS:
        return weekday_name(event.received_at_us) == flag
    match flag:
        case "forward":
            return way.forward
        case "reverse":
            return not way.forward
        case "first_contact":
            return way.first_contact
        case "inbound" | "outbound" | "internal":
            return event.direction == flag
        case "has_link":
            return event.has_link
        case "has_attachment":
            return event.has_attachment
        case "authenticated":
            return event.authenticated is not None and event.authenticated
        case "unauthenticated":
            return event.authenticated is not None and not event.authenticated
        case "reply_to_differs":
            return event.reply_to_differs is not None and event.reply_to_differs
        case "reply":
            return event.reply
    raise AssertionError(flag)


def _received(event: Event) -> datetime:
    return _EPOCH + timedelta(microseconds=event.received_at_us)


def weekday_name(time_us: int) -> str:
    """The weekday of a time, UTC, in English."""
    return _WEEKDAYS[(_EPOCH + timedelta(microseconds=time_us)).isoweekday() - 1]


def hour_name(time_us: int) -> str:
    """The flag of the three hours of the day that a time falls into, UTC."""
    hour = (_EPOCH + timedelta(microseconds=time_us)).hour
    return f"hour_{hour - hour % 3:02}"


def quantity(event: Event, name: str) -> int:
    """An integer fact of an event by its name."""
    match name:
        case "size_bytes":
            return event.size_bytes
        case "url_count":
            return event.url_count
        case "attachment_count":
            return event.attachment_count
        case "recipient_count":
            return len(event.recipients)
        case "new_recipient_count":
            return len(event.new_recipients)
        case "authentication":
            return {None: 0, True: 1, False: -1}[event.authenticated]
        case "labelled_bad":
            return event.labelled_bad
        case "labelled_attack":
            return event.labelled_attack
        case "labelled_good":
            return event.labelled_good
        case "qr_code_count" | "late_qr_code_count":
            return event.qr_code_count
        case "qr_url_count" | "late_qr_url_count":
            return event.qr_url_count
    raise AssertionError(name)


def members(event: Event, fact: str) -> frozenset[str]:
    """The names that an event holds in a fact; an empty one is nobody's."""
    value = getattr(event, fact)
    return frozenset([value] if isinstance(value, str) else value) - {""}


def stand_in(names: Iterable[str]) -> frozenset[int]:
    """What stands for a set of names where overlap is measured: their hashes, of more than 64 the 64 smallest."""
    hashes = {
        int.from_bytes(hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest(), "little", signed=True)
        for name in names
        if name
    }
    return frozenset(heapq.nsmallest(64, hashes))
