"""Where each aggregate of a view stands in state, and each feature's recipe over window sums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Distinct,
    Extreme,
    Feature,
    Measure,
    Peak,
    Recent,
)
from mailwarden.domain.aggregates.expression import Need
from mailwarden.domain.aggregates.fact_specs import FLAGS, MEMBERS, QUANTITIES, flag_mask
from mailwarden.domain.aggregates.recent import MOST_KEPT
from mailwarden.domain.aggregates.recipes import IndexArray, Recipes
from mailwarden.domain.aggregates.windows import LATENESS_US, NOTHING, Window
from mailwarden.errors import ContractError

NO_EDGE = -1
"""Stands for the edge of a window that has none on that side."""


@dataclass(frozen=True, slots=True)
class Level:
    """Suffix rows of one hop. columns: measures, then peaks, then distincts. length_us: furthest look-back."""

    hop_us: int
    length_us: int
    measures: tuple[int, ...]
    peaks: tuple[int, ...]
    distincts: tuple[int, ...]

    @property
    def n_columns(self) -> int:
        """Words of a row."""
        return len(self.measures) + len(self.peaks) + len(self.distincts)

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


class Layout:
    """Where each aggregate of a view stands in state, and each feature's recipe over window sums.

    totals: measures, then peaks, then distincts. times: extremes, then the values of those that keep one (`held`).
    slots: window sums, in the order of `slots`. matches: (recent, window) pairs.
    """

    def __init__(self, view: ActivityView) -> None:
        self.view = view
        self.measure_names = tuple(measure.name for measure in view.measures)
        self.peak_names = tuple(peak.name for peak in view.peaks)
        self.distinct_names = tuple(distinct.name for distinct in view.distincts)
        self.extreme_names = tuple(extreme.name for extreme in view.extremes)
        self.recent_names = tuple(recent.name for recent in view.recents)
        self.n_measures, self.n_peaks = len(view.measures), len(view.peaks)
        self.first_distinct = self.n_measures + self.n_peaks
        self.n_totals = self.first_distinct + len(view.distincts)
        self.held = tuple(i for i, extreme in enumerate(view.extremes) if extreme.of)
        self.n_times = len(view.extremes) + len(self.held)
        for problem in _contradictions(view):
            raise ContractError(f"view {view.name}{problem}")
        self.measure_rules = tuple((i, m.on, m.of, flag_mask(m.where)) for i, m in enumerate(view.measures))
        """For each measure: index, kind of event, quantity, flags as bits."""
        self.peak_rules = tuple((i, p.of, flag_mask(p.where), p.kind == "min") for i, p in enumerate(view.peaks))
        """For each peak: index, quantity, flags, whether it is kept negated: all are kept as the largest value."""
        self.extreme_rules = tuple((i, flag_mask(e.where)) for i, e in enumerate(view.extremes))
        self.distinct_rules = tuple((i, d.of, flag_mask(d.where)) for i, d in enumerate(view.distincts))
        self.recent_rules = tuple((i, r.of, flag_mask(r.where)) for i, r in enumerate(view.recents))
        self.extreme_is_first = np.array([extreme.kind == "first" for extreme in view.extremes], dtype=bool)
        self._build_levels()
        self.level_measures: tuple[IndexArray, ...] = tuple(
            np.array(level.measures, dtype=np.intp) for level in self.levels
        )
        self.empty_totals: NDArray[np.int64] = np.zeros(self.n_totals, dtype=np.int64)
        self.empty_totals[self.n_measures : self.first_distinct] = NOTHING
        self.empty_rows = tuple(_empty_row(level) for level in self.levels)
        self._build_slots()
        self.matches: tuple[tuple[int, Window], ...] = ()
        """Each match: index of the recent set, and the window of its last use."""
        self._build_recipes()
        windows = [window for feature in view.features for window in feature.windows]
        bounded = [(window.length_us, window.hop_us) for window in windows if window.length_us is not None]
        self.reach = max(bounded, default=(-NOTHING, 1))
        """Length and hop of the longest bounded window; of two as long the one with the wider hop reaches further."""
        aggregates = view.measures, view.peaks, view.extremes, view.distincts, view.recents
        text = repr((view.name, view.version, view.emission, view.keys, aggregates, self.levels))
        digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
        self.fingerprint = int.from_bytes(digest, "little")
        """Names this layout inside each state, so that a state of another definition is never misread."""

    def _aggregate(self, name: str) -> int:
        known = (*self.measure_names, *self.peak_names, *self.distinct_names)
        if name not in known:
            raise ContractError(f"no aggregate {name!r}; it has {', '.join(known)}")
        return known.index(name)

    def _total(self, need: Need) -> int:
        index = self._aggregate(need.aggregate)
        if need.of == "measure" and index >= self.n_measures:
            raise ContractError(f"{need.aggregate!r} is no measure; use one of {', '.join(self.measure_names)}")
        if need.of == "count" and self.n_measures <= index < self.first_distinct:
            raise ContractError(
                f"{need.aggregate!r} is a peak, which no ratio can count; use a measure or a distinct count"
            )
        return index

    @contextmanager
    def _speaking_of(self, feature: Feature) -> Iterator[None]:
        try:
            yield
        except ContractError as exc:
            raise ContractError(f"view {self.view.name}, feature {feature.name}: {exc}") from exc

    def _needs(self) -> list[tuple[int, Window]]:
        needs: dict[tuple[int, Window], None] = {}
        for feature in self.view.features:
            with self._speaking_of(feature):
                needs |= {(self._total(need), need.window): None for need in feature.expression.needs}
        return list(needs)

    # -- where an expression finds what it asks for, see `expression.Places` ------------------------------------

    def slot(self, aggregate: str, window: Window) -> int:
        """The window sum of an aggregate, a place in `slots`."""
        return self._position[self._aggregate(aggregate), window]

    def extreme(self, name: str) -> int:
        """The time of an extreme, a place in times."""
        if name not in self.extreme_names:
            raise ContractError(f"no extreme {name!r}; it has {', '.join(self.extreme_names)}")
        return self.extreme_names.index(name)

    def held_value(self, name: str) -> int:
        """The quantity that an extreme keeps, a place in times."""
        at = self.extreme(name)
        if at not in self.held:
            raise ContractError(f"extreme {name!r} keeps no value; say of which quantity")
        return len(self.extreme_names) + self.held.index(at)

    def match(self, recent: str, window: Window) -> int:
        """The match of a recent set used in a window, a place in `matches`."""
        if recent not in self.recent_names:
            raise ContractError(f"no recent set {recent!r}; it has {', '.join(self.recent_names)}")
        wanted = self.recent_names.index(recent), window
        if wanted not in self.matches:
            self.matches = (*self.matches, wanted)
        return self.matches.index(wanted)

    def peak_sign(self, aggregate: str) -> float | None:
        """What a peak's sum is to be taken times, since all are kept as largest values; None where it is no peak."""
        if aggregate not in self.peak_names:
            return None
        return -1.0 if self.view.peaks[self.peak_names.index(aggregate)].kind == "min" else 1.0

    def _build_levels(self) -> None:
        columns: dict[int, set[int]] = {}
        lengths: dict[int, int] = {}
        for total, window in self._needs():
            if window.length_us is None and window.until_us == 0:
                continue
            if total >= self.n_measures and window.until_us:
                raise ContractError(
                    f"view {self.view.name}: peaks and distinct counts have no window with an upper edge "
                    f"({window.name})"
                )
            columns.setdefault(window.hop_us, set()).add(total)
            lengths[window.hop_us] = max(lengths.get(window.hop_us, 0), window.length_us or 0, window.until_us)
        self.levels = tuple(
            Level(
                hop,
                lengths[hop],
                tuple(total for total in sorted(columns[hop]) if total < self.n_measures),
                tuple(
                    total - self.n_measures
                    for total in sorted(columns[hop])
                    if self.n_measures <= total < self.first_distinct
                ),
                tuple(total - self.first_distinct for total in sorted(columns[hop]) if total >= self.first_distinct),
            )
            for hop in sorted(lengths)
        )

    def _column(self, total: int, hop_us: int) -> tuple[int, int]:
        index = next(i for i, level in enumerate(self.levels) if level.hop_us == hop_us)
        level = self.levels[index]
        if total < self.n_measures:
            return index, level.measures.index(total)
        if total < self.first_distinct:
            return index, len(level.measures) + level.peaks.index(total - self.n_measures)
        before = len(level.measures) + len(level.peaks)
        return index, before + level.distincts.index(total - self.first_distinct)

    def _build_slots(self) -> None:
        slots: list[Slot] = []
        self._position: dict[tuple[int, Window], int] = {}
        for total, window in self._needs():
            level: int | None = None
            column = upper_column = 0
            upper_level: int | None = None
            if window.length_us is not None:
                level, column = self._column(total, window.hop_us)
            if window.until_us:
                upper_level, upper_column = self._column(total, window.hop_us)
            self._position[total, window] = len(slots)
            slots.append(Slot(total, level, column, window, upper_level, upper_column))
        self.slots = tuple(slots)
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
        self.is_peak = tuple(self.n_measures <= slot.total < self.first_distinct for slot in self.slots)

    def _build_recipes(self) -> None:
        self.feature_names = tuple(feature.name for feature in self.view.features)
        found = []
        for feature in self.view.features:
            with self._speaking_of(feature):
                found.append(feature.expression.recipe(self))
        self.recipes = Recipes.of(found, n_slots=len(self.slots), n_times=self.n_times, n_matches=len(self.matches))


def _empty_row(level: Level) -> NDArray[np.int64]:
    row = np.zeros(level.n_columns, dtype=np.int64)
    row[len(level.measures) : len(level.measures) + len(level.peaks)] = NOTHING
    return row


def _contradictions(view: ActivityView) -> Iterator[str]:
    aggregates: list[Measure | Peak | Extreme | Distinct | Recent] = [*view.measures, *view.peaks, *view.extremes]
    named: list[Distinct | Recent] = [*view.distincts, *view.recents]
    aggregates += named
    names = [aggregate.name for aggregate in aggregates]
    if len(set(names)) != len(names):
        yield ": an aggregate's name is used twice; give each its own name"
    for aggregate in aggregates:
        for flag in aggregate.where:
            if flag not in FLAGS:
                yield f", aggregate {aggregate.name}: unknown flag {flag!r}; use one of {', '.join(FLAGS)}"
    quantities = [(measure.name, measure.of) for measure in view.measures if measure.of]
    quantities += [(extreme.name, extreme.of) for extreme in view.extremes if extreme.of]
    quantities += [(peak.name, peak.of) for peak in view.peaks]
    for name, of in quantities:
        if of not in QUANTITIES:
            yield (
                f", aggregate {name}: unknown quantity {of!r}; use one of {', '.join(QUANTITIES)}, "
                "or to count leave it empty"
            )
    for members in named:
        if members.of not in MEMBERS:
            yield f", aggregate {members.name}: unknown names {members.of!r}; use one of {', '.join(MEMBERS)}"
    for recent in view.recents:
        if not 0 < recent.keep <= MOST_KEPT:
            yield f", aggregate {recent.name}: it keeps {recent.keep} sets; keep 1 to {MOST_KEPT}"


@lru_cache(maxsize=256)
def layout_of(view: ActivityView) -> Layout:
    """The layout of a view, computed once a process; raises ContractError where the view contradicts itself."""
    return Layout(view)
