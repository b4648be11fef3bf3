"""Behavioural views as data: keys, aggregates, windows and features."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Literal

from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, W_ALL, Window
from mailwarden.domain.mail.events import Emission, Event, Way

HOURS_A_BIN = 3
HOUR_FLAGS = tuple(f"hour_{hour:02}" for hour in range(0, 24, HOURS_A_BIN))
WEEKDAY_FLAGS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

FLAGS = (
    "forward", "reverse", "inbound", "outbound", "internal",
    "has_link", "has_attachment", "authenticated", "unauthenticated", "reply_to_differs",
    "reply", "first_contact", *HOUR_FLAGS, *WEEKDAY_FLAGS,
)  # fmt: skip
"""Boolean facts that an aggregate may filter on; a fact that is null for an event counts as false.

hour_NN: received from that hour (UTC) on and less than three hours later. monday to sunday: received on it (UTC).
"""

QUANTITIES = (
    "size_bytes", "url_count", "attachment_count", "recipient_count", "new_recipient_count", "authentication",
    "labelled_bad", "labelled_attack", "labelled_good",
)  # fmt: skip
"""Integer facts that an aggregate may sum, compare or keep. authentication: 1 passed, -1 failed, 0 unknown."""

MEMBERS = (
    "sender", "sender_domain", "recipients", "recipient_domains", "display_name", "thread", "campaign", "link_domain",
    "attachment", "structure",
)  # fmt: skip
"""Facts whose names can be counted or kept as sets; a name that is empty is nobody's and not counted."""


@dataclass(frozen=True, slots=True)
class Measure:
    """An int64 sum over rows of one kind: of a quantity, or with `of` empty a count of rows.

    where: flags that must all be true. on: the kind of event that it sees.
    """

    name: str
    of: str = ""
    where: tuple[str, ...] = ()
    on: Literal["message", "label"] = "message"


@dataclass(frozen=True, slots=True)
class Peak:
    """The smallest or the largest value of a quantity over message rows with all flags of `where`."""

    name: str
    kind: Literal["min", "max"]
    of: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Extreme:
    """The first or the last event time over message rows with all flags of `where`; microseconds UTC.

    of: a quantity whose value in that row is kept as well, "" for none. Of rows with the same time the smallest seq
    is the first and the largest the last.
    """

    name: str
    kind: Literal["first", "last"]
    where: tuple[str, ...] = ()
    of: str = ""


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many different names of `MEMBERS` message rows held, by an HLL sketch: exact, after rounding, while few.

    The standard error is 1.6% beyond some hundred names.
    """

    name: str
    of: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recent:
    """The latest different sets of names that message rows held: at most `keep` of them, by (time, seq) of last use.

    of: one of `MEMBERS`; a fact of one name is a set of one. Rows whose set is empty are passed over.
    """

    name: str
    of: str
    keep: int
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Total:
    """A measure, a distinct count or a peak over a window.

    0 where seen before but nothing in the window; of a peak null.
    """

    aggregate: str
    window: Window


@dataclass(frozen=True, slots=True)
class Ratio:
    """(numerator + prior[0]) / (denominator + prior[0] + prior[1]) over a window; null where that divides by 0.

    A share where both count, a mean where the numerator sums a quantity over the rows that the denominator counts.
    """

    numerator: str
    denominator: str
    window: Window
    prior: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Surge:
    """A measure's rate in a window against the key's own before it: (n - expected) / sqrt(expected + 1).

    expected: what a window of that length would hold at the rate of the rest of the baseline, or of the key's life
    where that is shorter. since: a first extreme that says when it began. Null while less than one window of life
    lies before the window.
    """

    measure: str
    window: Window
    baseline: Window
    since: str


@dataclass(frozen=True, slots=True)
class Unusual:
    """Distance of the read's hour or weekday (UTC) from the key's profile: 1 - (n_bin + 1) / (n + bins).

    profile: name that `profile_of` was given. Near 0 where the key always writes then, near 1 where it never does;
    null where the window holds nothing.
    """

    profile: str
    by: Literal["hour", "weekday"]
    window: Window


@dataclass(frozen=True, slots=True)
class Decayed:
    """A measure with older rows counting less: rings between windows, each weighing 2 ** -(its middle / half life).

    windows: ascending in length, none without a lower edge. 0 where they hold nothing.
    """

    measure: str
    half_life_us: int
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Age:
    """Days from an extreme to the time of the read, never negative; null where there was no such event."""

    extreme: str


@dataclass(frozen=True, slots=True)
class Held:
    """The quantity that the row of an extreme had; null where there was no such event."""

    extreme: str


@dataclass(frozen=True, slots=True)
class Match:
    """Best overlap (Jaccard) of the message's own set with the recent ones that were last used within a window.

    Null where the message has no such set, or no set is recent enough. 1 says that just this set was used.
    """

    recent: str
    window: Window = W_ALL


@dataclass(frozen=True, slots=True)
class History:
    """1.0 where the key was seen before, 0.0 where never: tells null-for-never from null-for-nothing-counted."""


Expression = Total | Ratio | Surge | Unusual | Decayed | Age | Held | Match | History


@dataclass(frozen=True, slots=True)
class Feature:
    """A finalised value with what its readers need to know.

    null: what a null means where the key has history; where it has none every feature but `History` is null.
    """

    name: str
    expression: Expression
    description: str
    unit: str
    null: str = "never: always a value once the key was seen"

    @property
    def dtype(self) -> Literal["int64", "float64"]:
        """Type of the value: counts and kept quantities are integers, everything else is a float."""
        return "int64" if isinstance(self.expression, (Total, Held, History)) else "float64"

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that the value looks back over, the longest last; empty where it has none."""
        match self.expression:
            case Total(_, window) | Ratio(_, _, window, _) | Unusual(_, _, window) | Match(_, window):
                return (window,)
            case Surge(_, window, baseline, _):
                return window, baseline
            case Decayed(_, _, windows):
                return windows
            case _:
                return ()


@dataclass(frozen=True)
class ActivityView:
    """A behavioural feature view: what is folded for each key, and the features read from it.

    keys: entity names without the tenant, which every view is keyed by first.
    version: raised when the meaning of any aggregate changes; each version has a state of its own.
    """

    name: str
    version: int
    owner: str
    description: str
    keys: tuple[str, ...]
    emission: Emission
    measures: tuple[Measure, ...]
    extremes: tuple[Extreme, ...]
    distincts: tuple[Distinct, ...]
    features: tuple[Feature, ...]
    peaks: tuple[Peak, ...] = ()
    recents: tuple[Recent, ...] = ()


def profile_of(name: str, by: Literal["hour", "weekday"], where: tuple[str, ...] = ()) -> tuple[Measure, ...]:
    """The measures of a profile: how many message rows fell into each bin of the day or of the week."""
    return tuple(Measure(f"{name}_{flag}", where=(*where, flag)) for flag in profile_flags(by))


def profile_flags(by: Literal["hour", "weekday"]) -> tuple[str, ...]:
    """The flags of a profile's bins, in the order of time."""
    return HOUR_FLAGS if by == "hour" else WEEKDAY_FLAGS


def hour_bin(time_us: int) -> int:
    """The bin of an hour profile that a time (microseconds UTC) falls into, a place in `HOUR_FLAGS`."""
    return time_us % DAY_US // (HOURS_A_BIN * HOUR_US)


def weekday_bin(time_us: int) -> int:
    """The day of the week of a time (microseconds UTC), 0 for Monday, a place in `WEEKDAY_FLAGS`."""
    # The first day of the epoch was a Thursday.
    return (time_us // DAY_US + 3) % 7


def quantity_of(event: Event, name: str) -> int:
    """An integer fact of an event; see `QUANTITIES`."""
    match name:
        case "recipient_count":
            return len(event.recipients)
        case "new_recipient_count":
            return len(event.new_recipients)
        case "authentication":
            return 0 if event.authenticated is None else 1 if event.authenticated else -1
        case _:
            return int(getattr(event, name))


def flags_of(event: Event, way: Way) -> dict[str, bool]:
    """The boolean facts of an event as one key sees them; every name of `FLAGS`."""
    moment = datetime.fromtimestamp(event.received_at_us // 1_000_000, UTC)
    return {
        "forward": way.forward,
        "reverse": not way.forward,
        "inbound": event.direction == "inbound",
        "outbound": event.direction == "outbound",
        "internal": event.direction == "internal",
        "has_link": event.has_link,
        "has_attachment": event.has_attachment,
        "authenticated": event.authenticated is True,
        "unauthenticated": event.authenticated is False,
        "reply_to_differs": event.reply_to_differs is True,
        "reply": event.reply,
        "first_contact": way.first_contact,
        **{flag: moment.hour // HOURS_A_BIN == i for i, flag in enumerate(HOUR_FLAGS)},
        **{flag: moment.weekday() == i for i, flag in enumerate(WEEKDAY_FLAGS)},
    }


_HOUR_BIT = FLAGS.index(HOUR_FLAGS[0])
_WEEKDAY_BIT = FLAGS.index(WEEKDAY_FLAGS[0])


def event_bits(event: Event) -> int:
    """The bits of an event's flags that are the same for every key; the rest comes by `way_bits`."""
    direction, time_us = event.direction, event.received_at_us
    return (
        (4 if direction == "inbound" else 8 if direction == "outbound" else 16)
        | (32 if event.has_link else 0)
        | (64 if event.has_attachment else 0)
        | (128 if event.authenticated is True else 256 if event.authenticated is False else 0)
        | (512 if event.reply_to_differs is True else 0)
        | (1024 if event.reply else 0)
        | 1 << (_HOUR_BIT + hour_bin(time_us))
        | 1 << (_WEEKDAY_BIT + weekday_bin(time_us))
    )


def way_bits(way: Way) -> int:
    """The bits of the flags that depend on the key."""
    return (1 if way.forward else 2) | (2048 if way.first_contact else 0)


def flag_mask(where: tuple[str, ...]) -> int:
    """The bits that must all be set for flags to be true: bit i for name i of `FLAGS`."""
    return sum(1 << FLAGS.index(flag) for flag in set(where))


def aggregate_names(expression: Expression) -> tuple[str, ...]:
    """The names of the aggregates that an expression reads, profiles spelt out."""
    if isinstance(expression, Unusual):
        return tuple(f"{expression.profile}_{flag}" for flag in profile_flags(expression.by))
    return tuple(
        value
        for field in fields(expression)
        if isinstance(value := getattr(expression, field.name), str) and field.name != "by"
    )
