"""What every kind of expression says of itself, and what it finds in the layout of its view; see `expressions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

from mailwarden.domain.aggregates.windows import Window

if TYPE_CHECKING:
    from mailwarden.domain.aggregates.definitions import ActivityView


class Widths(NamedTuple):
    """How many slots, times (of a match: matches) and constants a recipe takes."""

    slots: int
    times: int
    constants: int


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What one feature is made of; lengths as its kind's `Widths` say."""

    slots: tuple[int, ...] = ()
    times: tuple[int, ...] = ()
    constants: tuple[float, ...] = ()


class Need(NamedTuple):
    """A window sum that an expression reads. of: what the aggregate may be; a count is a measure or a distinct."""

    aggregate: str
    window: Window
    of: Literal["any", "count", "measure"] = "measure"


class Places(Protocol):
    """Where a layout has what an expression asks for; each raises ContractError where the view has no such thing."""

    def slot(self, aggregate: str, window: Window) -> int:
        """The window sum of a `Need`."""

    def extreme(self, name: str) -> int:
        """The time of an extreme."""

    def held_value(self, name: str) -> int:
        """The quantity that an extreme keeps."""

    def match(self, recent: str, window: Window) -> int:
        """The match of a recent set."""

    def peak_sign(self, aggregate: str) -> float | None:
        """What a peak's sum is to be taken times, since all are kept as largest values; None where it is no peak."""


class Expression:
    """How a feature is read from the state of its key.

    recipes: the kinds of recipe that it may come to, with their widths. dtype: type of the value: counts and kept
    quantities are integers, everything else is a float. upper_edges: whether its windows may end before the read.
    """

    __slots__ = ()
    recipes: ClassVar[Mapping[str, Widths]] = {}
    dtype: ClassVar[Literal["int64", "float64"]] = "float64"
    upper_edges: ClassVar[bool] = True

    @property
    def look_back(self) -> tuple[Window, ...]:
        """The windows that the value looks back over, the longest last; empty where it has none."""
        return ()

    @property
    def aggregates(self) -> tuple[str, ...]:
        """The names of the aggregates that it reads, profiles spelt out."""
        return tuple(dict.fromkeys(need.aggregate for need in self.needs))

    @property
    def needs(self) -> tuple[Need, ...]:
        """The window sums that it reads."""
        return ()

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        """The kind of its recipe, and what that is made of; raises ContractError where the view lacks something."""
        raise NotImplementedError

    def contradictions(self, view: ActivityView) -> Iterator[str]:
        """What is wrong with it in its view, in words that go after the feature's name."""
        yield from ()

    def null_when(self, view: ActivityView) -> str:
        """When the value is null though the key has history; "" for never."""
        return ""
