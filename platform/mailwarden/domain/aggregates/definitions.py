"""Behavioural views as data: keys, aggregates, windows and features; the facts that they name are `fact_specs`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from mailwarden.domain.aggregates.fact_specs import Period, profile_flags
from mailwarden.domain.aggregates.windows import W_ALL, Window
from mailwarden.domain.mail.events import Emission, Kind


@dataclass(frozen=True, slots=True)
class Measure:
    """An int64 sum over rows of one kind: of a quantity, or with `of` empty a count of rows.

    where: flags that must all be true. on: the kind of event that it sees.
    """

    name: str
    of: str = ""
    where: tuple[str, ...] = ()
    on: Kind = "message"


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
    """How many different names message rows held, by an HLL sketch: exact, after rounding, while few.

    of: one of `fact_specs.MEMBERS`. The standard error is 1.6% beyond some hundred names.
    """

    name: str
    of: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recent:
    """The latest different sets of names that message rows held: at most `keep` of them, by (time, seq) of last use.

    of: one of `fact_specs.MEMBERS`; a fact of one name is a set of one. Rows whose set is empty are passed over.
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
    by: Period
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


def profile_of(name: str, by: Period, where: tuple[str, ...] = ()) -> tuple[Measure, ...]:
    """The measures of a profile: how many message rows fell into each bin of the day or of the week."""
    return tuple(Measure(f"{name}_{flag}", where=(*where, flag)) for flag in profile_flags(by))


def aggregate_names(expression: Expression) -> tuple[str, ...]:
    """The names of the aggregates that an expression reads, profiles spelt out."""
    if isinstance(expression, Unusual):
        return tuple(f"{expression.profile}_{flag}" for flag in profile_flags(expression.by))
    return tuple(
        value
        for field in fields(expression)
        if isinstance(value := getattr(expression, field.name), str) and field.name != "by"
    )
