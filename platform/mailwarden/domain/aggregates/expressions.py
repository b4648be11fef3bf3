"""What is read from states: one class a kind of expression, which says all that it asks of the rest.

An expression names aggregates and windows, and says which window sums it needs, what its recipe is made of, when it is
null and how it may contradict its view. From that alone follow the layout's slots and levels, the tables of recipes,
the fields that Feast knows and the checks of a view. To add one: its class here, in `EXPRESSIONS`; its branch in
`finalise`, which stays one compiled loop; and, written by hand on purpose, its value in `testing.naive_recount`.
"""

# ruff: noqa: D102 - what the methods of each kind say is said once, in `Expression`.
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from mailwarden.domain.aggregates.expression import Expression, Ingredients, Need, Places, Widths
from mailwarden.domain.aggregates.fact_specs import HOUR_FLAGS, WEEKDAY_FLAGS, Period, profile_flags
from mailwarden.domain.aggregates.windows import W_ALL, Window
from mailwarden.errors import ContractError

if TYPE_CHECKING:
    from mailwarden.domain.aggregates.definitions import ActivityView

RINGS = 4
"""Windows that a decayed count may have."""

ONE = -1
"""The slot that always holds 1, so that a plain total is a ratio over it."""


@dataclass(frozen=True, slots=True)
class History(Expression):
    """1.0 where the key was seen before, 0.0 where never: tells null-for-never from null-for-nothing-counted."""

    recipes: ClassVar[Mapping[str, Widths]] = {"history": Widths(0, 0, 0)}
    dtype: ClassVar[Literal["int64", "float64"]] = "int64"

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        return "history", Ingredients()


@dataclass(frozen=True, slots=True)
class Total(Expression):
    """A measure, a distinct count or a peak over a window.

    0 where seen before but nothing in the window; of a peak null.
    """

    aggregate: str
    window: Window

    recipes: ClassVar[Mapping[str, Widths]] = {"ratio": Widths(2, 0, 2), "peak": Widths(1, 0, 1)}
    dtype: ClassVar[Literal["int64", "float64"]] = "int64"

    @property
    def look_back(self) -> tuple[Window, ...]:
        return (self.window,)

    @property
    def needs(self) -> tuple[Need, ...]:
        return (Need(self.aggregate, self.window, "any"),)

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        at, sign = places.slot(self.aggregate, self.window), places.peak_sign(self.aggregate)
        if sign is not None:
            return "peak", Ingredients((at,), (), (sign,))
        return "ratio", Ingredients((at, ONE), (), (0.0, 0.0))

    def null_when(self, view: ActivityView) -> str:
        peak = next((peak for peak in view.peaks if peak.name == self.aggregate), None)
        if peak is None or view.sees_all_rows(peak.where, self.window):
            return ""
        return "where the window holds no such message"


@dataclass(frozen=True, slots=True)
class Ratio(Expression):
    """(numerator + prior[0]) / (denominator + prior[0] + prior[1]) over a window; null where that divides by 0.

    A share where both count, a mean where the numerator sums a quantity over the rows that the denominator counts.
    """

    numerator: str
    denominator: str
    window: Window
    prior: tuple[float, float] = (0.0, 0.0)

    recipes: ClassVar[Mapping[str, Widths]] = {"ratio": Widths(2, 0, 2)}

    @property
    def look_back(self) -> tuple[Window, ...]:
        return (self.window,)

    @property
    def needs(self) -> tuple[Need, ...]:
        return Need(self.numerator, self.window, "count"), Need(self.denominator, self.window, "count")

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        slots = places.slot(self.numerator, self.window), places.slot(self.denominator, self.window)
        return "ratio", Ingredients(slots, (), (self.prior[0], sum(self.prior)))

    def contradictions(self, view: ActivityView) -> Iterator[str]:
        if min(self.prior) < 0:
            yield "its prior is negative; a prior is a count of made-up messages"

    def null_when(self, view: ActivityView) -> str:
        name = self.denominator
        counts = {measure.name: measure for measure in view.measures if not measure.of and measure.on == "message"}
        if sum(self.prior) or (name in counts and view.sees_all_rows(counts[name].where, self.window)):
            return ""
        return f"where {name!r} is 0 in the window"


@dataclass(frozen=True, slots=True)
class Surge(Expression):
    """A measure's rate in a window against the key's own before it: (n - expected) / sqrt(expected + 1).

    expected: what a window of that length would hold at the rate of the rest of the baseline, or of the key's life
    where that is shorter. since: a first extreme that says when it began. Null while less than one window of life
    lies before the window.
    """

    measure: str
    window: Window
    baseline: Window
    since: str

    recipes: ClassVar[Mapping[str, Widths]] = {"surge": Widths(2, 1, 2)}
    upper_edges: ClassVar[bool] = False

    @property
    def look_back(self) -> tuple[Window, ...]:
        return self.window, self.baseline

    @property
    def aggregates(self) -> tuple[str, ...]:
        return self.measure, self.since

    @property
    def needs(self) -> tuple[Need, ...]:
        return Need(self.measure, self.window), Need(self.measure, self.baseline)

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        window, baseline = self.window.length_us, self.baseline.length_us
        if window is None or baseline is None or window >= baseline:
            raise ContractError("a surge needs a window and a longer baseline")
        slots = places.slot(self.measure, self.window), places.slot(self.measure, self.baseline)
        return "surge", Ingredients(slots, (places.extreme(self.since),), (float(window), float(baseline)))

    def contradictions(self, view: ActivityView) -> Iterator[str]:
        window, baseline = self.window, self.baseline
        if window.length_us is None or baseline.length_us is None or baseline.length_us <= window.length_us:
            yield f"its baseline {baseline.name} is no longer than its window {window.name}; take a longer one"
        if any(extreme.name == self.since and extreme.kind != "first" for extreme in view.extremes):
            words = f"its `since` {self.since!r} is no first extreme, so that it cannot say when the key's life began"
            yield f"{words}; name one of kind 'first'"

    def null_when(self, view: ActivityView) -> str:
        return "while the key lives for less than a window before the window"


@dataclass(frozen=True, slots=True)
class Unusual(Expression):
    """Distance of the read's hour or weekday (UTC) from the key's profile: 1 - (n_bin + 1) / (n + bins).

    profile: name that `profile_of` was given. Near 0 where the key always writes then, near 1 where it never does;
    null where the window holds nothing.
    """

    profile: str
    by: Period
    window: Window

    recipes: ClassVar[Mapping[str, Widths]] = {
        "hour": Widths(len(HOUR_FLAGS), 0, 0),
        "weekday": Widths(len(WEEKDAY_FLAGS), 0, 0),
    }

    @property
    def look_back(self) -> tuple[Window, ...]:
        return (self.window,)

    @property
    def needs(self) -> tuple[Need, ...]:
        return tuple(Need(f"{self.profile}_{flag}", self.window) for flag in profile_flags(self.by))

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        return self.by, Ingredients(tuple(places.slot(need.aggregate, need.window) for need in self.needs))

    def contradictions(self, view: ActivityView) -> Iterator[str]:
        known = {measure.name for measure in view.measures}
        missing = [name for name in self.aggregates if name not in known]
        if missing:
            words = f"profile {self.profile!r} lacks {', '.join(missing)}"
            yield f"{words}; add profile_of({self.profile!r}, {self.by!r}) to the measures"

    def null_when(self, view: ActivityView) -> str:
        bins = [measure for measure in view.measures if measure.name.startswith(f"{self.profile}_")]
        other = tuple(flag for flag in bins[0].where if flag not in (*HOUR_FLAGS, *WEEKDAY_FLAGS)) if bins else ()
        sure = view.sees_all_rows(other, self.window)
        return "" if sure else f"where the window holds nothing of profile {self.profile!r}"


@dataclass(frozen=True, slots=True)
class Decayed(Expression):
    """A measure with older rows counting less: rings between windows, each weighing 2 ** -(its middle / half life).

    windows: ascending in length, none without a lower edge. 0 where they hold nothing.
    """

    measure: str
    half_life_us: int
    windows: tuple[Window, ...]

    recipes: ClassVar[Mapping[str, Widths]] = {"decayed": Widths(RINGS, 0, RINGS)}
    upper_edges: ClassVar[bool] = False

    @property
    def look_back(self) -> tuple[Window, ...]:
        return self.windows

    @property
    def needs(self) -> tuple[Need, ...]:
        return tuple(Need(self.measure, window) for window in self.windows)

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        lengths = [window.length_us or 0 for window in self.windows]
        if not 0 < len(self.windows) <= RINGS or self.half_life_us <= 0 or lengths != sorted({*lengths} - {0}):
            raise ContractError(
                f"a decayed count needs a half life and 1 to {RINGS} windows, from the shortest to the longest"
            )
        slots = [places.slot(self.measure, window) for window in self.windows]
        middles = [(a + b) / 2 for a, b in zip([0, *lengths], lengths, strict=False)]
        weights = [2.0 ** -(middle / self.half_life_us) for middle in middles]
        missing = RINGS - len(slots)
        return "decayed", Ingredients((*slots, *[slots[-1]] * missing), (), (*weights, *[0.0] * missing))

    def contradictions(self, view: ActivityView) -> Iterator[str]:
        lengths = [window.length_us for window in self.windows]
        known = [length for length in lengths if length is not None]
        if not self.windows or len(known) < len(lengths) or known != sorted(set(known)):
            yield "a decayed count needs windows with a lower edge, from the shortest to the longest"
        if self.half_life_us <= 0:
            yield f"its half life is {self.half_life_us}; give microseconds above 0"


@dataclass(frozen=True, slots=True)
class Age(Expression):
    """Days from an extreme to the time of the read, never negative; null where there was no such event."""

    extreme: str

    recipes: ClassVar[Mapping[str, Widths]] = {"age": Widths(0, 1, 0)}

    @property
    def aggregates(self) -> tuple[str, ...]:
        return (self.extreme,)

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        return "age", Ingredients((), (places.extreme(self.extreme),))

    def null_when(self, view: ActivityView) -> str:
        return _no_extreme(view, self.extreme)


@dataclass(frozen=True, slots=True)
class Held(Expression):
    """The quantity that the row of an extreme had; null where there was no such event."""

    extreme: str

    recipes: ClassVar[Mapping[str, Widths]] = {"held": Widths(0, 2, 0)}
    dtype: ClassVar[Literal["int64", "float64"]] = "int64"

    @property
    def aggregates(self) -> tuple[str, ...]:
        return (self.extreme,)

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        return "held", Ingredients((), (places.extreme(self.extreme), places.held_value(self.extreme)))

    def null_when(self, view: ActivityView) -> str:
        return _no_extreme(view, self.extreme)


def _no_extreme(view: ActivityView, name: str) -> str:
    where = next(extreme.where for extreme in view.extremes if extreme.name == name)
    return "" if view.sees_all_rows(where) else f"where there was no {name!r}"


@dataclass(frozen=True, slots=True)
class Match(Expression):
    """Best overlap (Jaccard) of the message's own set with the recent ones that were last used within a window.

    Null where the message has no such set, or no set is recent enough. 1 says that just this set was used.
    """

    recent: str
    window: Window = W_ALL

    recipes: ClassVar[Mapping[str, Widths]] = {"match": Widths(0, 1, 0)}
    upper_edges: ClassVar[bool] = False

    @property
    def look_back(self) -> tuple[Window, ...]:
        return (self.window,)

    @property
    def aggregates(self) -> tuple[str, ...]:
        return (self.recent,)

    def recipe(self, places: Places) -> tuple[str, Ingredients]:
        return "match", Ingredients((), (places.match(self.recent, self.window),))

    def null_when(self, view: ActivityView) -> str:
        return "where the message has no such set, or none was used in the window"


EXPRESSIONS: tuple[type[Expression], ...] = (
    Total,
    Ratio,
    Surge,
    Unusual,
    Decayed,
    Age,
    Held,
    Match,
    History,
)

WIDTHS: Mapping[str, Widths] = {
    kind: widths for expression in EXPRESSIONS for kind, widths in expression.recipes.items()
}
"""The widths of each kind of recipe."""

KINDS = tuple(WIDTHS)
"""A kind's place here is its number in `Recipes.kinds`."""
