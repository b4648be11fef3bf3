"""A view's values counted again from raw events, slowly: what every faster path is held against.

It shares the definitions of events, windows and views with the rest, and none of their code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mailwarden.domain.events import Event
from mailwarden.domain.views import ActivityView, Age, Distinct, Extreme, History, Measure, Ratio, Total
from mailwarden.domain.windows import Window

_LATENESS_US = 24 * 3600 * 1_000_000
_DAY_US = 24 * 3600 * 1_000_000

_Row = tuple[Event, bool]


def recount(
    view: ActivityView, events: Iterable[Event], key: tuple[str, ...], tenant: str, at_us: int, seq: int
) -> dict[str, float | None]:
    """Each feature of a view for a key, as of a time and a sequence number; None for null.

    events: of any tenants, in any order, each once. key: the names after the tenant, in the order of `view.keys`.
    at_us: microseconds UTC. Only events with a smaller seq count. Distinct counts are exact here.
    """
    rows = [
        (event, forward)
        for event in events
        if event.tenant == tenant and event.seq < seq
        for forward in _ways(view, event, key)
    ]
    if not rows:
        return {feature.name: 0.0 if isinstance(feature.expression, History) else None for feature in view.features}
    newest = max(event.received_at_us for event, _ in rows)
    answered_for = max(at_us, newest - _LATENESS_US)
    measures = {measure.name: measure for measure in view.measures}
    distincts = {distinct.name: distinct for distinct in view.distincts}
    extremes = {extreme.name: extreme for extreme in view.extremes}

    def total(name: str, window: Window) -> int:
        inside = [row for row in rows if _inside(row[0].received_at_us, window, answered_for)]
        if name in measures:
            return sum(_change(measures[name], *row) for row in inside)
        return len({value for row in inside for value in _members(distincts[name], *row)})

    values: dict[str, float | None] = {}
    for feature in view.features:
        match feature.expression:
            case Total(aggregate, window):
                values[feature.name] = float(total(aggregate, window))
            case Ratio(numerator, denominator, window, (good, bad)):
                below = total(denominator, window) + (good + bad)
                values[feature.name] = (total(numerator, window) + good) / below if below else None
            case Age(extreme):
                moment = _moment(extremes[extreme], rows)
                values[feature.name] = None if moment is None else max(at_us - moment, 0) / _DAY_US
            case History():
                values[feature.name] = 1.0
    return values


def _ways(view: ActivityView, event: Event, key: tuple[str, ...]) -> list[bool]:
    ways = []
    if view.emission in ("participants", "participant_domains"):
        by_domain = view.emission == "participant_domains"
        (name,) = key
        if name and name == (event.sender_domain if by_domain else event.sender):
            ways.append(True)
        if event.direction == "outbound":
            written_to = event.recipient_domains if by_domain else event.recipients
            ways += [False for other in written_to if other == name]
    elif view.emission == "recipients":
        ways += [True for recipient in event.recipients if (recipient,) == key]
    elif event.sender:
        ways += [True for recipient in event.recipients if (event.sender, recipient) == key]
        ways += [False for recipient in event.recipients if (recipient, event.sender) == key]
    return ways


def _inside(time_us: int, window: Window, at_us: int) -> bool:
    def floor(moment: int) -> int:
        return moment - moment % window.hop_us

    if window.length_us is not None and time_us < floor(at_us - window.length_us):
        return False
    return not window.until_us or time_us < floor(at_us - window.until_us)


def _all_true(where: Sequence[str], event: Event, forward: bool) -> bool:
    for flag in where:
        match flag:
            case "forward":
                holds = forward
            case "reverse":
                holds = not forward
            case "inbound" | "outbound" | "internal":
                holds = event.direction == flag
            case "has_link":
                holds = event.has_link
            case "has_attachment":
                holds = event.has_attachment
            case "authenticated":
                holds = event.authenticated is not None and event.authenticated
            case "unauthenticated":
                holds = event.authenticated is not None and not event.authenticated
            case "reply_to_differs":
                holds = event.reply_to_differs is not None and event.reply_to_differs
            case _:
                raise AssertionError(flag)
        if not holds:
            return False
    return True


def _change(measure: Measure, event: Event, forward: bool) -> int:
    if event.kind != measure.on or not _all_true(measure.where, event, forward):
        return 0
    match measure.of:
        case "":
            return 1
        case "size_bytes":
            return event.size_bytes
        case "url_count":
            return event.url_count
        case "attachment_count":
            return event.attachment_count
        case "labelled_bad":
            return event.labelled_bad
        case "labelled_attack":
            return event.labelled_attack
        case "labelled_good":
            return event.labelled_good
        case _:
            raise AssertionError(measure.of)


def _members(distinct: Distinct, event: Event, forward: bool) -> set[str]:
    if event.kind != "message" or not _all_true(distinct.where, event, forward):
        return set()
    named = {event.sender} if distinct.of == "sender" else set(event.recipients)
    # A name that is empty is nobody's.
    return named - {""}


def _moment(extreme: Extreme, rows: Sequence[_Row]) -> int | None:
    moments = [
        event.received_at_us
        for event, forward in rows
        if event.kind == "message" and _all_true(extreme.where, event, forward)
    ]
    if not moments:
        return None
    return min(moments) if extreme.kind == "first" else max(moments)
