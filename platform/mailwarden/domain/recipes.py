"""Recipes: how each feature comes from window sums, event times and matches, as index arrays for `finalise`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.intp]

Kind = Literal["ratio", "peak", "surge", "hour", "weekday", "decayed", "age", "held", "match", "history"]

RINGS = 4
"""Windows that a decayed count may have."""

WIDTHS: Mapping[Kind, tuple[int, int, int]] = {
    "ratio": (2, 0, 2),
    "peak": (1, 0, 1),
    "surge": (2, 1, 2),
    "hour": (8, 0, 0),
    "weekday": (7, 0, 0),
    "decayed": (RINGS, 0, RINGS),
    "age": (0, 1, 0),
    "held": (0, 2, 0),
    "match": (0, 1, 0),
    "history": (0, 0, 0),
}
"""For each kind, how many slots, times (of a match: matches) and constants a feature takes."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What one feature is made of; lengths as `WIDTHS` says."""

    feature: int
    slots: tuple[int, ...] = ()
    times: tuple[int, ...] = ()
    constants: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """The features of one kind. features: (m,). slots, times: (m, k) indices. constants: (m, k) float64."""

    features: IndexArray
    slots: IndexArray
    times: IndexArray
    constants: NDArray[np.float64]

    @classmethod
    def of(cls, kind: Kind, found: Sequence[Ingredients]) -> Self:
        """From one kind's features."""
        slots, times, constants = WIDTHS[kind]
        return cls(
            np.array([f.feature for f in found], dtype=np.intp),
            np.array([f.slots for f in found], dtype=np.intp).reshape(len(found), slots),
            np.array([f.times for f in found], dtype=np.intp).reshape(len(found), times),
            np.array([f.constants for f in found], dtype=np.float64).reshape(len(found), constants),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One kind's features where `finalise` computes them, among the inputs of all kinds, gathered once.

    slots: for each of its slots which rows of the inputs they are, one a feature; of a profile one slice holds all
    bins of a feature, then those of the next, and of decayed counts all shortest windows, then the next ones. times:
    the same among gathered times, of matches among gathered matches. constants: (m, 1) float64 for each, of decayed
    counts all in one as the windows are.
    """

    kind: Kind
    size: int
    slots: tuple[slice, ...]
    times: tuple[slice, ...]
    constants: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, slots=True)
class Gathering:
    """What `finalise` gathers, and in which order it computes.

    slots, times, matches: indices of the inputs. parts: by kind, without history. order: for each feature its place
    among the computed ones, history's last. history: its features.
    """

    slots: IndexArray
    times: IndexArray
    matches: IndexArray
    parts: tuple[Part, ...]
    order: IndexArray
    history: IndexArray

    @classmethod
    def of(cls, groups: Mapping[Kind, Group]) -> Self:
        """From the recipes of each kind."""
        slots: list[IndexArray] = []
        times: list[IndexArray] = []
        matches: list[IndexArray] = []
        parts = []
        features = []
        for kind, group in groups.items():
            if kind == "history":
                continue
            size = len(group.features)
            features.append(group.features)
            columns, constants = list(group.slots.T), [column[:, None].copy() for column in group.constants.T]
            if kind in ("hour", "weekday"):
                columns = [group.slots.ravel()]
            elif kind == "decayed":
                columns, constants = [group.slots.T.ravel()], [np.concatenate(constants)]
            found = _laid(slots, columns)
            moments = _laid(matches if kind == "match" else times, list(group.times.T))
            parts.append(Part(kind, size, found, moments, tuple(constants)))
        history = groups["history"].features if "history" in groups else np.empty(0, dtype=np.intp)
        return cls(
            _joined(slots),
            _joined(times),
            _joined(matches),
            tuple(parts),
            np.argsort(_joined([*features, history])),
            history,
        )


def _laid(so_far: list[IndexArray], columns: Sequence[IndexArray]) -> tuple[slice, ...]:
    slices = []
    for column in columns:
        start = sum(map(len, so_far))
        so_far.append(column)
        slices.append(slice(start, start + len(column)))
    return tuple(slices)


def _joined(columns: Sequence[IndexArray]) -> IndexArray:
    return np.concatenate([np.empty(0, dtype=np.intp), *columns])


@dataclass(frozen=True, slots=True)
class Recipes:
    """Each feature's recipe. groups: by kind, those that have a feature.

    Slot n_slots is the constant 1, so that a plain total is a ratio over it.
    """

    n_slots: int
    n_times: int
    n_matches: int
    n_features: int
    groups: Mapping[Kind, Group]
    gathering: Gathering

    @classmethod
    def of(
        cls,
        found: Iterable[tuple[Kind, Ingredients]],
        *,
        n_slots: int,
        n_times: int,
        n_matches: int,
        n_features: int,
    ) -> Self:
        """From each feature's kind and ingredients."""
        by_kind: dict[Kind, list[Ingredients]] = {}
        for kind, ingredients in found:
            by_kind.setdefault(kind, []).append(ingredients)
        groups = {kind: Group.of(kind, items) for kind, items in by_kind.items()}
        return cls(n_slots, n_times, n_matches, n_features, groups, Gathering.of(groups))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Recipes over the slots, times, matches and features of several views laid side by side."""
        n_slots = sum(part.n_slots for part in parts)
        by_kind: dict[Kind, list[Group]] = {}
        slot = time = match = feature = 0
        for part in parts:
            for kind, group in part.groups.items():
                moved = np.where(group.slots == part.n_slots, n_slots, group.slots + slot)
                times = group.times + (match if kind == "match" else time)
                by_kind.setdefault(kind, []).append(Group(group.features + feature, moved, times, group.constants))
            slot, time = slot + part.n_slots, time + part.n_times
            match, feature = match + part.n_matches, feature + part.n_features
        groups = {
            kind: Group(
                np.concatenate([g.features for g in found]),
                np.concatenate([g.slots for g in found]),
                np.concatenate([g.times for g in found]),
                np.concatenate([g.constants for g in found]),
            )
            for kind, found in by_kind.items()
        }
        return cls(n_slots, time, match, feature, groups, Gathering.of(groups))
