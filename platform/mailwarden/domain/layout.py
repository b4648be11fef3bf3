"""Where each aggregate of a view stands in state, and each feature's recipe over window sums."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.views import FLAGS, QUANTITIES, ActivityView, Age, Ratio, Total, flag_mask
from mailwarden.domain.windows import LATENESS_US, Window
from mailwarden.errors import ContractError

IndexArray = NDArray[np.intp]

NO_EDGE = -1
"""Stands for the edge of a window that has none on that side."""


@dataclass(frozen=True, slots=True)
class Level:
    """Suffix rows of one hop. columns: measure columns, then distinct columns. length_us: furthest look-back."""

    hop_us: int
    length_us: int
    measures: tuple[int, ...]
    distincts: tuple[int, ...]

    def oldest_bucket(self, newest_us: int) -> int:
        """The first bucket that any read can still reach once `newest_us` was folded."""
        return (newest_us - LATENESS_US - self.length_us) // self.hop_us


@dataclass(frozen=True, slots=True)
class Slot:
    """One window sum: suffix at the lower edge (the total where level is None) less the suffix at the upper edge."""

    total: int
    level: int | None
    column: int
    window: Window
    upper_level: int | None
    upper_column: int


@dataclass(frozen=True, slots=True)
class Recipes:
    """Each feature's recipe over window sums and event times, as index arrays for `finalise`.

    Slot n_slots is the constant 1, so that a plain total is a ratio over it.
    """

    n_slots: int
    n_features: int
    ratio_features: IndexArray
    ratio_numerators: IndexArray
    ratio_numerator_prior: NDArray[np.float64]
    ratio_denominators: IndexArray
    ratio_denominator_prior: NDArray[np.float64]
    age_features: IndexArray
    age_extremes: IndexArray
    history_features: IndexArray

    @classmethod
    def joined(cls, layouts: Sequence[Layout]) -> Self:
        """Recipes over the slots, times and features of several views laid side by side."""
        n_slots = sum(layout.recipes.n_slots for layout in layouts)
        slot = time = feature = 0
        numerators: list[IndexArray] = []
        denominators: list[IndexArray] = []
        features: dict[str, list[IndexArray]] = {"ratio": [], "age": [], "history": []}
        extremes: list[IndexArray] = []
        for layout in layouts:
            own = layout.recipes
            for chosen, into in ((own.ratio_numerators, numerators), (own.ratio_denominators, denominators)):
                into.append(np.where(chosen == own.n_slots, n_slots, chosen + slot))
            features["ratio"].append(own.ratio_features + feature)
            features["age"].append(own.age_features + feature)
            features["history"].append(own.history_features + feature)
            extremes.append(own.age_extremes + time)
            slot, time = slot + own.n_slots, time + len(layout.extreme_names)
            feature += own.n_features
        none = np.empty(0, dtype=np.intp)
        return cls(
            n_slots,
            feature,
            np.concatenate([none, *features["ratio"]]),
            np.concatenate([none, *numerators]),
            np.concatenate([none.astype(np.float64), *(x.recipes.ratio_numerator_prior for x in layouts)]),
            np.concatenate([none, *denominators]),
            np.concatenate([none.astype(np.float64), *(x.recipes.ratio_denominator_prior for x in layouts)]),
            np.concatenate([none, *features["age"]]),
            np.concatenate([none, *extremes]),
            np.concatenate([none, *features["history"]]),
        )


class Layout:
    """Where each aggregate of a view stands in state, and each feature's recipe over window sums.

    totals: measures first, then distincts. slots: window sums, in the order of `slots`.
    """

    def __init__(self, view: ActivityView) -> None:
        self.view = view
        self.measure_names = tuple(measure.name for measure in view.measures)
        self.distinct_names = tuple(distinct.name for distinct in view.distincts)
        self.extreme_names = tuple(extreme.name for extreme in view.extremes)
        self.n_measures = len(view.measures)
        self.n_totals = self.n_measures + len(view.distincts)
        names = [*self.measure_names, *self.distinct_names, *self.extreme_names]
        if len(set(names)) != len(names):
            raise ContractError(f"view {view.name}: an aggregate's name is used twice; give each its own name")
        filters = [(a.name, a.where) for a in view.measures]
        filters += [(a.name, a.where) for a in view.extremes] + [(a.name, a.where) for a in view.distincts]
        for name, where in filters:
            for flag in where:
                if flag not in FLAGS:
                    raise ContractError(
                        f"view {view.name}, aggregate {name}: unknown flag {flag!r}; use one of {', '.join(FLAGS)}"
                    )
        for measure in view.measures:
            if measure.of and measure.of not in QUANTITIES:
                raise ContractError(
                    f"view {view.name}, measure {measure.name}: unknown quantity {measure.of!r}; "
                    f"use one of {', '.join(QUANTITIES)}, or leave it empty to count"
                )
        self.measure_rules = tuple((i, m.on, m.of, flag_mask(m.where)) for i, m in enumerate(view.measures))
        """For each measure: index, kind of event, quantity, flags as bits."""
        self.extreme_rules = tuple((i, flag_mask(e.where)) for i, e in enumerate(view.extremes))
        self.distinct_rules = tuple((i, d.of, flag_mask(d.where)) for i, d in enumerate(view.distincts))
        self.extreme_is_first = np.array([extreme.kind == "first" for extreme in view.extremes], dtype=bool)
        self._build_levels()
        self.level_measures: tuple[IndexArray, ...] = tuple(
            np.array(level.measures, dtype=np.intp) for level in self.levels
        )
        self._build_recipes()
        text = repr((view.name, view.version, view.emission, view.measures, view.extremes, view.distincts, self.levels))
        digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
        self.fingerprint = int.from_bytes(digest, "little")
        """Names this layout inside each state, so that a state of another definition is never misread."""

    def _aggregate(self, name: str) -> int:
        for names, offset in ((self.measure_names, 0), (self.distinct_names, self.n_measures)):
            if name in names:
                return names.index(name) + offset
        raise ContractError(
            f"view {self.view.name}: no aggregate {name!r}; "
            f"it has {', '.join((*self.measure_names, *self.distinct_names))}"
        )

    def _needs(self) -> list[tuple[int, Window]]:
        needs: dict[tuple[int, Window], None] = {}
        for feature in self.view.features:
            expression = feature.expression
            if isinstance(expression, Total):
                needs[self._aggregate(expression.aggregate), expression.window] = None
            elif isinstance(expression, Ratio):
                needs[self._aggregate(expression.numerator), expression.window] = None
                needs[self._aggregate(expression.denominator), expression.window] = None
        return list(needs)

    def _build_levels(self) -> None:
        measures: dict[int, set[int]] = {}
        distincts: dict[int, set[int]] = {}
        lengths: dict[int, int] = {}
        for total, window in self._needs():
            if window.length_us is None and window.until_us == 0:
                continue
            is_distinct = total >= self.n_measures
            if is_distinct and window.until_us:
                raise ContractError(
                    f"view {self.view.name}: a distinct count has no window with an upper edge ({window.name})"
                )
            table = distincts if is_distinct else measures
            table.setdefault(window.hop_us, set()).add(total - self.n_measures if is_distinct else total)
            lengths[window.hop_us] = max(lengths.get(window.hop_us, 0), window.length_us or 0, window.until_us)
        self.levels = tuple(
            Level(
                hop,
                lengths[hop],
                tuple(sorted(measures.get(hop, ()))),
                tuple(sorted(distincts.get(hop, ()))),
            )
            for hop in sorted(lengths)
        )

    def _column(self, total: int, hop_us: int) -> tuple[int, int]:
        index = next(i for i, level in enumerate(self.levels) if level.hop_us == hop_us)
        level = self.levels[index]
        if total < self.n_measures:
            return index, level.measures.index(total)
        return index, len(level.measures) + level.distincts.index(total - self.n_measures)

    def _build_recipes(self) -> None:
        slots: list[Slot] = []
        position: dict[tuple[int, Window], int] = {}
        for total, window in self._needs():
            level: int | None = None
            column = upper_column = 0
            upper_level: int | None = None
            if window.length_us is not None:
                level, column = self._column(total, window.hop_us)
            if window.until_us:
                upper_level, upper_column = self._column(total, window.hop_us)
            position[total, window] = len(slots)
            slots.append(Slot(total, level, column, window, upper_level, upper_column))
        self.slots = tuple(slots)
        self.feature_names = tuple(feature.name for feature in self.view.features)
        ratios: list[tuple[int, int, float, int, float]] = []
        ages: list[tuple[int, int]] = []
        histories: list[int] = []
        # Slot n_slots is the constant 1, so that a plain total is a ratio over it.
        one = len(slots)
        for index, feature in enumerate(self.view.features):
            expression = feature.expression
            if isinstance(expression, Total):
                slot = position[self._aggregate(expression.aggregate), expression.window]
                ratios.append((index, slot, 0.0, one, 0.0))
            elif isinstance(expression, Ratio):
                good, bad = expression.prior
                ratios.append(
                    (
                        index,
                        position[self._aggregate(expression.numerator), expression.window],
                        good,
                        position[self._aggregate(expression.denominator), expression.window],
                        good + bad,
                    )
                )
            elif isinstance(expression, Age):
                if expression.extreme not in self.extreme_names:
                    raise ContractError(
                        f"view {self.view.name}, feature {feature.name}: no extreme {expression.extreme!r}; "
                        f"it has {', '.join(self.extreme_names)}"
                    )
                ages.append((index, self.extreme_names.index(expression.extreme)))
            else:
                histories.append(index)
        self.recipes = Recipes(
            n_slots=len(slots),
            n_features=len(self.feature_names),
            ratio_features=np.array([ratio[0] for ratio in ratios], dtype=np.intp),
            ratio_numerators=np.array([ratio[1] for ratio in ratios], dtype=np.intp),
            ratio_numerator_prior=np.array([ratio[2] for ratio in ratios], dtype=np.float64),
            ratio_denominators=np.array([ratio[3] for ratio in ratios], dtype=np.intp),
            ratio_denominator_prior=np.array([ratio[4] for ratio in ratios], dtype=np.float64),
            age_features=np.array([age[0] for age in ages], dtype=np.intp),
            age_extremes=np.array([age[1] for age in ages], dtype=np.intp),
            history_features=np.array(histories, dtype=np.intp),
        )
        self._build_edges()

    def _build_edges(self) -> None:
        edges: dict[tuple[int, int, int], int] = {}
        sums: list[tuple[int, int, int, int, int]] = []
        for slot in self.slots:
            lower = upper = NO_EDGE
            if slot.level is not None and slot.window.length_us is not None:
                lower = edges.setdefault((slot.level, slot.window.hop_us, slot.window.length_us), len(edges))
            if slot.upper_level is not None:
                upper = edges.setdefault((slot.upper_level, slot.window.hop_us, slot.window.until_us), len(edges))
            sums.append((slot.total, lower, slot.column, upper, slot.upper_column))
        self.edges = tuple(edges)
        """Distinct edges of windows: level, hop and age; many slots share one."""
        self.sums = tuple(sums)
        """For each slot: total, lower edge, column, upper edge, upper column; `NO_EDGE` for none."""


@lru_cache(maxsize=256)
def layout_of(view: ActivityView) -> Layout:
    """The layout of a view, computed once a process; raises ContractError where the view contradicts itself."""
    return Layout(view)
