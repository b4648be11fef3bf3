"""Behavioural views as data: keys, aggregates, windows and features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mailwarden.domain.events import Emission, Event
from mailwarden.domain.windows import Window

FLAGS = (
    "forward", "reverse", "inbound", "outbound", "internal",
    "has_link", "has_attachment", "authenticated", "unauthenticated", "reply_to_differs",
)  # fmt: skip
"""Boolean facts that an aggregate may filter on; a fact that is null for an event counts as false."""

QUANTITIES = ("size_bytes", "url_count", "attachment_count", "labelled_bad", "labelled_attack", "labelled_good")
"""Integer facts that an aggregate may sum."""


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
class Extreme:
    """The first or the last event time over message rows with all flags of `where`; microseconds UTC."""

    name: str
    kind: Literal["first", "last"]
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many different names in `of` ("sender" or "recipients") message rows held, by an HLL sketch.

    An empty name is nobody's and not counted.
    """

    name: str
    of: Literal["sender", "recipients"]
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Total:
    """A measure, or a distinct count, over a window. 0 where seen before but nothing in the window."""

    aggregate: str
    window: Window


@dataclass(frozen=True, slots=True)
class Ratio:
    """(numerator + prior[0]) / (denominator + prior[0] + prior[1]) over a window; null where that divides by 0."""

    numerator: str
    denominator: str
    window: Window
    prior: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Age:
    """Days from an extreme to the time of the read, never negative; null where there was no such event."""

    extreme: str


@dataclass(frozen=True, slots=True)
class History:
    """1.0 where the key was seen before, 0.0 where never: tells null-for-never from null-for-nothing-counted."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A finalised value with what its readers need to know.

    null: what a null means where the key has history; where it has none every feature but `History` is null.
    """

    name: str
    expression: Total | Ratio | Age | History
    description: str
    unit: str
    null: str = "never: always a value once the key was seen"

    @property
    def dtype(self) -> Literal["int64", "float64"]:
        """Type of the value: counts are integers, everything else is a float."""
        return "int64" if isinstance(self.expression, (Total, History)) else "float64"

    @property
    def window(self) -> Window | None:
        """The window that the value looks back over, None where it has none."""
        return getattr(self.expression, "window", None)


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


def flags_of(event: Event, forward: bool) -> dict[str, bool]:
    """The boolean facts of an event as one key sees them; every name of `FLAGS`."""
    return {
        "forward": forward,
        "reverse": not forward,
        "inbound": event.direction == "inbound",
        "outbound": event.direction == "outbound",
        "internal": event.direction == "internal",
        "has_link": event.has_link,
        "has_attachment": event.has_attachment,
        "authenticated": event.authenticated is True,
        "unauthenticated": event.authenticated is False,
        "reply_to_differs": event.reply_to_differs is True,
    }


def flag_bits(event: Event, forward: bool) -> int:
    """`flags_of` as bits, in the order of `FLAGS`, for folding one event after another."""
    direction = event.direction
    return (
        (1 if forward else 2)
        | (4 if direction == "inbound" else 8 if direction == "outbound" else 16)
        | (32 if event.has_link else 0)
        | (64 if event.has_attachment else 0)
        | (128 if event.authenticated is True else 256 if event.authenticated is False else 0)
        | (512 if event.reply_to_differs is True else 0)
    )


def flag_mask(where: tuple[str, ...]) -> int:
    """The bits of `flag_bits` that must all be set for flags to be true."""
    return sum(1 << FLAGS.index(flag) for flag in set(where))
