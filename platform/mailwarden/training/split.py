"""Splits labelled time: the earlier mail fits detectors, later mail fuses them, the latest sets thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.errors import DataError

_SHARES = (0.75, 0.65, 0.5)
_ENOUGH = 20

NO_LABELS_NEEDED = "`mailwarden starter` builds models that need no labels"
"""What whoever lacks labels is told."""


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Which messages fit detectors, fuse them, and judge the whole: (n_messages,) bool each.

    shared: the judging part had too few of one class, so that fusing and judging share all held-out messages; else no
    message is in two.
    """

    fit: NDArray[np.bool_]
    fuse: NDArray[np.bool_]
    judge: NDArray[np.bool_]
    shared: bool

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """(n_messages,) what no detector was fitted to."""
        return ~self.fit

    def as_json(self) -> dict[str, int | bool]:
        """How many messages each part has."""
        return {
            "fit": int(self.fit.sum()),
            "fuse": int(self.fuse.sum()),
            "judge": int(self.judge.sum()),
            "shared": self.shared,
        }


def split_by_time(bad: NDArray[np.bool_], tenant: NDArray[Any] | None = None) -> TimeSplit:
    """Where to cut messages in order of arrival, each tenant's at its own time.

    bad: (n_messages,). tenant: (n_messages,) whose each is, None for one tenant's. Tenants' mail may be of different
    years: one cut through all would learn from some of them and judge by the others. So each tenant's first 75% fit,
    unless the rest would hold fewer than 20 of a class: then less, and where that leaves a class on one side alone, as
    much as has most of the rarer class on either side; of a tenant with one class always 75%. Where that leaves a class
    on one side of all tenants' mail, one cut goes through all. Raises DataError, saying what is there and what it
    takes, where no cut leaves both classes on both sides.
    """
    if tenant is not None and len(set(tenant.tolist())) > 1:
        part = _each_by_itself(bad, tenant)
        if _fewest(bad[part == _FIT]) and _fewest(bad[part != _FIT]):
            return _of_parts(part, bad)
    cut = _cut(bad)
    return _of_parts(_parts(len(bad), cut), bad)


_FIT, _FUSE, _JUDGE = range(3)


def _of_parts(part: NDArray[np.int8], bad: NDArray[np.bool_]) -> TimeSplit:
    fit, fuse, judge = part == _FIT, part == _FUSE, part == _JUDGE
    shared = min(_fewest(bad[fuse]), _fewest(bad[judge])) < _ENOUGH // 2
    return TimeSplit(fit, ~fit if shared else fuse, ~fit if shared else judge, shared)


def _parts(n: int, cut: int) -> NDArray[np.int8]:
    part = np.full(n, _FIT, dtype=np.int8)
    middle = cut + (n - cut) // 2
    part[cut:middle], part[middle:] = _FUSE, _JUDGE
    return part


def _each_by_itself(bad: NDArray[np.bool_], tenant: NDArray[Any]) -> NDArray[np.int8]:
    part = np.full(len(bad), _FIT, dtype=np.int8)
    of = tenant.astype(str)
    for name in np.unique(of):
        own = np.flatnonzero(of == name)
        try:
            cut = _cut(bad[own])
        except DataError:
            cut = int(_SHARES[0] * len(own))
        part[own] = _parts(len(own), cut)
    return part


def _cut(bad: NDArray[np.bool_]) -> int:
    n = len(bad)
    usable = []
    for share in _SHARES:
        cut = int(share * n)
        least_held_out, least_fitted = _fewest(bad[cut:]), _fewest(bad[:cut])
        if least_held_out and least_fitted:
            usable.append((min(least_held_out, _ENOUGH), share, cut))
    return max(usable)[2] if usable else _any_cut(bad)


def _any_cut(bad: NDArray[np.bool_]) -> int:
    """The cut that leaves most of the rarer class on either side."""
    n, caught = len(bad), int(bad.sum())
    before = np.concatenate([[0], np.cumsum(bad)])
    at = np.arange(n + 1)
    least = np.minimum.reduce([before, at - before, caught - before, n - caught - (at - before)])
    if not least.max():
        raise DataError(_lacking(bad))
    return int(np.argmax(least))


def _lacking(bad: NDArray[np.bool_]) -> str:
    """Why messages in order of arrival cannot be split, with what is there, what it takes and the mend."""
    n, caught = len(bad), int(bad.sum())
    there = f"{n - caught:,} good and {caught:,} bad messages have a label"
    needed = "training needs good and bad mail in its earlier and in its later part"
    if n == 0:
        return f"No message has a label; {needed}. Label mail; {NO_LABELS_NEEDED}."
    if _fewest(bad) < 2:
        rarer = "bad" if caught < n - caught else "good"
        return f"{there}; {needed}, two of each at least. Label {rarer} mail; {NO_LABELS_NEEDED}."
    first = "bad" if bad[0] else "good"
    mend = f"Label both kinds over the same time; {NO_LABELS_NEEDED}."
    return f"{there}, all {first} ones before all others; {needed}. {mend}"


def _fewest(bad: NDArray[np.bool_]) -> int:
    caught = int(bad.sum())
    return min(caught, len(bad) - caught)
