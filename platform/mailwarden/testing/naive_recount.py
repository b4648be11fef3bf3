"""A view's values counted again from raw events, slowly: what every faster path is held against.

It shares the data classes of events, windows and views with the rest, and none of their code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Decayed,
    Distinct,
    Extreme,
    Feature,
    Held,
    History,
    Match,
    Measure,
    Peak,
    Ratio,
    Recent,
    Surge,
    Total,
    Unusual,
)
from mailwarden.domain.aggregates.windows import Window
from mailwarden.domain.mail.events import Event, Way
from mailwarden.testing.naive_facts import all_true, hour_name, members, quantity, stand_in, ways_to, weekday_name

_DAY_US = 24 * 3600 * 1_000_000
_LATENESS_US = _DAY_US
_HOURS = [f"hour_{hour:02}" for hour in range(0, 24, 3)]
_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

_Row = tuple[Event, Way]


def recount(
    view: ActivityView,
    events: Iterable[Event],
    key: tuple[str, ...],
    tenant: str,
    at_us: int,
    seq: int,
    own: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, float | None]:
    """Each feature of a view for a key, as of a time and a sequence number; None for null.

    events: of any tenants, in any order, each once. key: the names after the tenant, in the order of `view.keys`.
    at_us: microseconds UTC. Only events with a smaller seq count. own: by fact of `MEMBERS`, the set of the message
    that asks, for matches. Distinct counts are exact here. Of a message that a tombstone at the key
    names nothing counts.
    """
    rows = [
        (event, way)
        for event in events
        if event.tenant == tenant and event.seq < seq
        for way in ways_to(view, event, key)
    ]
    gone = {event.message_id for event, _ in rows if event.kind == "tombstone"}
    rows = [row for row in rows if row[0].message_id not in gone]
    if not rows:
        return {feature.name: 0.0 if isinstance(feature.expression, History) else None for feature in view.features}
    counting = _Counting(view, rows, at_us, own or {})
    return {feature.name: counting.value(feature) for feature in view.features}


class _Counting:
    """The rows of one key that a read may see, counted again for each thing that is asked of them."""

    def __init__(self, view: ActivityView, rows: Sequence[_Row], at_us: int, own: Mapping[str, Iterable[str]]) -> None:
        self.view, self.rows, self.at_us, self.own = view, rows, at_us, own
        newest = max(event.received_at_us for event, _ in rows)
        self.answered_for = max(at_us, newest - _LATENESS_US)
        self.aggregates: dict[str, Measure | Peak | Extreme | Distinct | Recent] = {
            aggregate.name: aggregate
            for kind in (view.measures, view.peaks, view.extremes, view.distincts, view.recents)
            for aggregate in kind
        }

    def value(self, feature: Feature) -> float | None:
        match feature.expression:
            case History():
                return 1.0
            case Total(name, window):
                return self._total(name, window)
            case Ratio(numerator, denominator, window, (good, bad)):
                below = self._number(denominator, window) + (good + bad)
                return (self._number(numerator, window) + good) / below if below else None
            case Age(name):
                row = self._extreme_row(name)
                # Not divided by a day: that differs in the last bit.
                return None if row is None else max(self.at_us - row.received_at_us, 0) * (1.0 / _DAY_US)
            case Held(name):
                row, extreme = self._extreme_row(name), self.aggregates[name]
                assert isinstance(extreme, Extreme)
                return None if row is None else float(quantity(row, extreme.of))
            case Surge():
                return self._surge(feature.expression)
            case Unusual(profile, by, window):
                flags, mine = (_HOURS, hour_name) if by == "hour" else (_WEEKDAYS, weekday_name)
                bins = {flag: self._count(f"{profile}_{flag}", window) for flag in flags}
                n = sum(bins.values())
                return None if n == 0 else 1 - (bins[mine(self.at_us)] + 1) / (n + len(flags))
            case Decayed():
                return self._decayed(feature.expression)
            case Match(name, window):
                return self._match(name, window)
        raise AssertionError(feature)

    def _inside(self, window: Window) -> list[_Row]:
        return [row for row in self.rows if inside(row[0].received_at_us, window, self.answered_for)]

    def _messages(self, where: Sequence[str], rows: Sequence[_Row]) -> list[Event]:
        return [event for event, way in rows if event.kind == "message" and all_true(where, event, way)]

    def _total(self, name: str, window: Window) -> float | None:
        peak = self.aggregates[name]
        if not isinstance(peak, Peak):
            return float(self._number(name, window))
        found = [quantity(event, peak.of) for event in self._messages(peak.where, self._inside(window))]
        if not found:
            return None
        return float(min(found) if peak.kind == "min" else max(found))

    def _number(self, name: str, window: Window) -> int:
        distinct = self.aggregates[name]
        if not isinstance(distinct, Distinct):
            return self._count(name, window)
        found = self._messages(distinct.where, self._inside(window))
        return len({member for event in found for member in members(event, distinct.of)})

    def _count(self, name: str, window: Window) -> int:
        measure = self.aggregates[name]
        assert isinstance(measure, Measure)
        return sum(
            quantity(event, measure.of) if measure.of else 1
            for event, way in self._inside(window)
            if event.kind == measure.on and all_true(measure.where, event, way)
        )

    def _extreme_row(self, name: str) -> Event | None:
        extreme = self.aggregates[name]
        assert isinstance(extreme, Extreme)
        found = sorted(self._messages(extreme.where, self.rows), key=lambda event: (event.received_at_us, event.seq))
        if not found:
            return None
        return found[0] if extreme.kind == "first" else found[-1]

    def _surge(self, surge: Surge) -> float | None:
        began = self._extreme_row(surge.since)
        length = surge.window.length_us
        assert length is not None
        if began is None:
            return None
        life = max(self.at_us - began.received_at_us, 0)
        before = (life if surge.baseline.length_us is None else min(surge.baseline.length_us, life)) - length
        if before < length:
            return None
        n = self._count(surge.measure, surge.window)
        rest = max(self._count(surge.measure, surge.baseline) - n, 0)
        expected = rest * (length / before)
        return (n - expected) / math.sqrt(expected + 1)

    def _decayed(self, decayed: Decayed) -> float:
        value, inner, inner_length = 0.0, 0, 0
        for window in decayed.windows:
            assert window.length_us is not None
            middle = (inner_length + window.length_us) / 2
            n = self._count(decayed.measure, window)
            value += (n - inner) * 2.0 ** -(middle / decayed.half_life_us)
            inner, inner_length = n, window.length_us
        return value

    def _match(self, name: str, window: Window) -> float | None:
        recent = self.aggregates[name]
        assert isinstance(recent, Recent)
        last_used: dict[frozenset[int], tuple[int, int]] = {}
        for event in self._messages(recent.where, self.rows):
            used = stand_in(members(event, recent.of))
            if used:
                moment = (event.received_at_us, event.seq)
                last_used[used] = max(moment, last_used.get(used, moment))
        latest = sorted(last_used, key=lambda used: last_used[used], reverse=True)[: recent.keep]
        kept = [used for used in latest if inside(last_used[used][0], window, self.answered_for)]
        own = stand_in(self.own.get(recent.of, ()))
        if not own or not kept:
            return None
        return max(len(own & used) / len(own | used) for used in kept)


def inside(time_us: int, window: Window, at_us: int) -> bool:
    """Whether an event at a time stands in a window that is looked through at another; microseconds UTC."""

    def floor(moment: int) -> int:
        return moment - moment % window.hop_us

    if window.length_us is not None and time_us < floor(at_us - window.length_us):
        return False
    return not window.until_us or time_us < floor(at_us - window.until_us)


def none_in_window(view: ActivityView, newest_us: int, at_us: int) -> bool:
    """Whether a key with history has no event inside the longest bounded window of a view's features.

    newest_us: time of the key's newest event, of a label that of its message. at_us: time of the read.
    """
    windows = [window for feature in view.features for window in feature.windows]
    bounded = [(window.length_us, window.hop_us) for window in windows if window.length_us is not None]
    if not bounded:
        return False
    longest_us, hop_us = max(bounded)
    return newest_us < (at_us - longest_us) // hop_us * hop_us
