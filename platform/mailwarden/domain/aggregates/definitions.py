"""Behavioural views as data: keys, aggregates, windows and features; the facts that they name are `fact_specs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mailwarden.domain.aggregates.expression import Expression
from mailwarden.domain.aggregates.expressions import (
    Age,
    Decayed,
    Held,
    History,
    Match,
    Ratio,
    Surge,
    Total,
    Unusual,
)
from mailwarden.domain.aggregates.fact_specs import Period, profile_flags
from mailwarden.domain.aggregates.windows import Window
from mailwarden.domain.mail.events import Emission, Kind

# Views are written with what this module names, so that a team needs to know of one place.
__all__ = [
    "FORWARD_ONLY", "ActivityView", "Age", "Aggregate", "Decayed", "Distinct", "Expression", "Extreme", "Feature",
    "Held", "History", "Match", "Measure", "Peak", "Ratio", "Recent", "Surge", "Total", "Unusual", "profile_of",
]  # fmt: skip


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


Aggregate = Measure | Peak | Extreme | Distinct | Recent

FORWARD_ONLY: tuple[Emission, ...] = ("recipients", "facts")
"""Emissions that reach a key in one way alone."""


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
        return self.expression.dtype

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that the value looks back over, the longest last; empty where it has none."""
        return self.expression.look_back


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

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """All aggregates, kind by kind."""
        return (*self.measures, *self.peaks, *self.extremes, *self.distincts, *self.recents)

    def sees_all_rows(self, where: tuple[str, ...], window: Window | None = None) -> bool:
        """Whether a filter lets every row of a key pass, and the window, where there is one, holds all time."""
        if "link_domain" in self.keys:
            # A signal leads where its QR codes do, so that a key may have signals and no message.
            return False
        trivial = {"forward"} if self.emission in FORWARD_ONLY else set()
        unbounded = window is None or (window.length_us is None and not window.until_us)
        return unbounded and set(where) <= trivial


def profile_of(name: str, by: Period, where: tuple[str, ...] = ()) -> tuple[Measure, ...]:
    """The measures of a profile: how many message rows fell into each bin of the day or of the week."""
    return tuple(Measure(f"{name}_{flag}", where=(*where, flag)) for flag in profile_flags(by))
