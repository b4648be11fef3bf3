"""The bootstrap over groups of messages: campaigns, whose copies stand and fall together, or messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.evaluation.figures import one_minus_roca, threshold_at

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

RESAMPLES = 1_000
AREA_RESAMPLES = 200
SEED = 7


@dataclass(frozen=True, slots=True)
class Groups:
    """(n,) number of each message's group, counted from 0; n: how many groups. by: what they are."""

    number: NDArray[np.int64]
    n: int
    by: str

    def draws(self, resamples: int, seed: int) -> Iterator[Counts]:
        """(n,) how often each group is drawn when as many groups as there are get drawn with replacement, again and
        again."""
        random = np.random.default_rng(seed)
        for _ in range(resamples if self.n else 0):
            yield np.bincount(random.integers(0, self.n, self.n), minlength=self.n)

    def sums(self, chosen: Flags) -> Counts:
        """(n,) how many of the chosen messages each group has."""
        return np.bincount(self.number[chosen], minlength=self.n)


def interval(values: list[float]) -> tuple[float, float]:
    """The 2.5% and 97.5% percentiles; NaN, of draws that were without one class, are left out; of none NaN."""
    known = np.array([value for value in values if value == value])
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


class RecallDrawn:
    """Recall at budgets of one score when groups are drawn: the threshold is that of the good mail that was drawn.

    parts: by name, (n,) bad mail that recall is of. What is made once: bad and good mail in falling order of score, of
    the good only the tail that thresholds lie in.
    """

    _TAIL = 4.0
    _LEAST = 1_000

    def __init__(
        self, score: Floats, good: Flags, parts: Mapping[str, Flags], groups: Groups, budgets: tuple[float, ...]
    ) -> None:
        self._budgets = budgets
        self._good, self._good_group = _falling(score[good], groups.number[good])
        self._good_sums = groups.sums(good)
        self._parts = {name: _Falling(score, chosen, groups) for name, chosen in parts.items()}
        self._tail = min(len(self._good), int(self._TAIL * max(budgets) * len(self._good)) + self._LEAST)
        limits = [threshold_at(score[good], budget) for budget in budgets]
        self.once = {name: tuple(part.share(limit) for limit in limits) for name, part in self._parts.items()}

    def of(self, drawn: Counts) -> dict[str, tuple[float, ...]]:
        """By part recall at each budget, NaN where none of it, or no good mail, was drawn."""
        n_good = int(drawn @ self._good_sums)
        limits = [self._threshold(drawn, n_good, budget) if n_good else None for budget in self._budgets]
        return {name: part.drawn(drawn, limits) for name, part in self._parts.items()}

    def _threshold(self, drawn: Counts, n_good: int, budget: float) -> float:
        allowed = min(int(budget * n_good + 1e-9), n_good - 1)
        for stop in (self._tail, len(self._good)):
            passed = np.cumsum(drawn[self._good_group[:stop]])
            at = int(np.searchsorted(passed, allowed, side="right"))
            if at < stop:
                return float(self._good[at])
        raise AssertionError("the drawn weights of all good messages are more than what is allowed of them")


class _Falling:
    """Some messages in falling order of score."""

    def __init__(self, score: Floats, chosen: Flags, groups: Groups) -> None:
        falling, self._group = _falling(score[chosen], groups.number[chosen])
        self._rising = -falling
        self._sums = groups.sums(chosen)

    def share(self, limit: float) -> float:
        """Share of them above a score, NaN of none."""
        return self._above(limit) / len(self._rising) if len(self._rising) else float("nan")

    def drawn(self, times: Counts, limits: Sequence[float | None]) -> tuple[float, ...]:
        """The same at each limit as groups were drawn; NaN where the limit is not known."""
        n = int(times @ self._sums)
        return tuple(
            float(times[self._group[: self._above(limit)]].sum()) / n if n and limit is not None else float("nan")
            for limit in limits
        )

    def _above(self, limit: float) -> int:
        return int(np.searchsorted(self._rising, -limit, side="left"))


class AreaDrawn:
    """1-ROCA% of one score when groups are drawn; ties count half."""

    def __init__(self, score: Floats, bad: Flags, good: Flags, groups: Groups) -> None:
        rows = np.flatnonzero(bad | good)
        rows = rows[np.argsort(score[rows], kind="stable")]
        rising = score[rows]
        self._group, self._bad = groups.number[rows], bad[rows]
        ties = np.flatnonzero(np.append(True, rising[1:] != rising[:-1])) if len(rows) else rows
        self._ties = None if len(ties) == len(rows) else ties

    def of(self, drawn: Counts) -> float:
        """NaN where no bad or no good message was drawn."""
        weight = drawn[self._group]
        if not len(weight):
            return float("nan")
        bad = np.where(self._bad, weight, 0)
        good = weight - bad
        if self._ties is not None:
            bad, good = np.add.reduceat(bad, self._ties), np.add.reduceat(good, self._ties)
        pairs = float(bad.sum()) * float(good.sum())
        below = np.cumsum(good) - good
        right = float((bad * (below + good / 2.0)).sum())
        return 100.0 * (1.0 - right / pairs) if pairs else float("nan")


@dataclass(frozen=True, slots=True)
class Area:
    """1-ROCA%, lower is better. low, high: 95% interval, bootstrap over campaigns; both 0 where no pair is ranked
    wrongly."""

    roca: float
    low: float
    high: float


def areas(
    scores: Mapping[str, Floats],
    bad: Flags,
    good: Flags,
    groups: Groups,
    *,
    resamples: int = AREA_RESAMPLES,
    seed: int = SEED,
) -> dict[str, Area]:
    """The area of each score (n,), all on the same draws; none where a class is absent."""
    if not bad.any() or not good.any():
        return {}
    known = bad | good
    prepared = {name: AreaDrawn(score, bad, good, groups) for name, score in scores.items()}
    found: dict[str, list[float]] = {name: [] for name in scores}
    for drawn in groups.draws(resamples, seed):
        for name, one in prepared.items():
            found[name].append(one.of(drawn))
    return {
        name: Area(one_minus_roca(score[known], bad[known]), *interval(found[name])) for name, score in scores.items()
    }


def _falling(score: Floats, group: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    order = np.argsort(-score, kind="stable")
    return score[order], group[order]
