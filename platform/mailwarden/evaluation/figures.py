"""Figures of a filter: ranking, recall at a false-positive budget, misclassification, each over messages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.errors import DataError

BUDGETS = (0.001, 0.01)
"""False-positive rates at which recall is reported."""

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Share:
    """hits of n as a share. rate, low, high: 0..1, the latter two a 95% Wilson interval; of none of none 0, 0 and 1."""

    hits: int
    n: int
    rate: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, n: int) -> Share:
        """The share with its interval.

        >>> Share.of(9, 10).rate
        0.9
        """
        low, high = wilson(hits, n)
        return cls(hits, n, hits / n if n else 0.0, low, high)


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of bad messages above the threshold that a share `budget` of good messages passes at most.

    rate, low, high: 0..1, the latter two a 95% Wilson interval; caught of bad; good: how many messages set the
    threshold, which lies above all but `false_positives` of them.
    """

    budget: float
    rate: float
    low: float
    high: float
    caught: int
    bad: int
    good: int
    false_positives: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well one score tells bad messages from good ones.

    roca: 1-ROCA%, 100 * (1 - area under the ROC curve), lower is better. lam: LAM% at the decision threshold, None
    where there is none. recall: at each budget. by_category: the same recalls of each category alone, against all
    good messages. shared: the messages are those that weighed the detectors and calibrated them, which flatters the
    score.
    """

    bad: int
    good: int
    roca: float | None
    lam: float | None
    recall: tuple[Recall, ...]
    by_category: Mapping[str, tuple[Recall, ...]]
    shared: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% score interval of a share, (0, 1) for none of none.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.

    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]
    """
    return wilson_of(hits / n, n, z) if n else (0.0, 1.0)


def wilson_of(share: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """The same of a share and as many trials as it is worth, which need be no whole number; n above 0."""
    square = z * z
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    # The share itself lies within, whatever is lost in the last bits.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def one_minus_roca(score: NDArray[np.float64], bad: NDArray[np.bool_]) -> float:
    """1-ROCA%: the percentage of (bad, good) pairs ranked wrongly, ties counting half; lower is better.

    Raises DataError where one class is absent. Source: Cormack and Lynam, TREC 2005 Spam Track Overview.

    >>> one_minus_roca(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    25.0
    """
    n_bad, n_good = int(bad.sum()), int((~bad).sum())
    if n_bad == 0 or n_good == 0:
        raise DataError(f"An ROC area needs both classes: there are {n_bad} bad and {n_good} good messages.")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank = (last - (counts - 1) / 2.0)[inverse]
    pairs_right = float(rank[bad].sum()) - n_bad * (n_bad + 1) / 2.0
    return 100.0 * (1.0 - pairs_right / (n_bad * n_good))


def threshold_at(good_scores: NDArray[np.float64], budget: float) -> float:
    """The highest score that is still delivered: at most `budget` of the good scores lie strictly above it.

    >>> threshold_at(np.arange(1000.0), 0.001)
    998.0
    """
    if len(good_scores) == 0:
        return math.inf
    allowed = int(budget * len(good_scores) + 1e-9)
    return float(np.sort(good_scores)[len(good_scores) - 1 - min(allowed, len(good_scores) - 1)])


def recall_at(bad_scores: NDArray[np.float64], good_scores: NDArray[np.float64], budget: float) -> Recall:
    """Recall at a false-positive budget, the threshold taken from these same good scores."""
    threshold = threshold_at(good_scores, budget)
    caught, n = int((bad_scores > threshold).sum()), len(bad_scores)
    low, high = wilson(caught, n)
    rate = caught / n if n else 0.0
    passed = int((good_scores > threshold).sum())
    return Recall(budget, rate, low, high, caught, n, len(good_scores), passed)


def lam_percent(score: NDArray[np.float64], bad: NDArray[np.bool_], threshold: float) -> float:
    """Logistic average of the two misclassification rates at `score >= threshold` is bad; percent, lower is better.

    A class without a miss counts half a miss, so that the figure stays defined. Raises DataError where a class is
    absent. Source: Cormack and Lynam, TREC 2005 Spam Track Overview.

    >>> round(lam_percent(np.array([0.2, 0.6, 0.3, 0.9]), np.array([False, False, True, True]), 0.5), 1)
    50.0
    """
    n_bad, n_good = int(bad.sum()), int((~bad).sum())
    if n_bad == 0 or n_good == 0:
        raise DataError(f"LAM% needs both classes: there are {n_bad} bad and {n_good} good messages.")
    flagged = score >= threshold
    mean = (
        _logit_of_misses(int((flagged & ~bad).sum()), n_good) + _logit_of_misses(int((~flagged & bad).sum()), n_bad)
    ) / 2
    return 100.0 / (1.0 + math.exp(-mean))


def _logit_of_misses(misses: int, n: int) -> float:
    bounded = min(max(float(misses), 0.5), n - 0.5)
    return math.log(bounded / (n - bounded))


def evaluate(
    score: NDArray[np.float64],
    bad: NDArray[np.bool_],
    labels: Sequence[str],
    *,
    threshold: float | None = None,
    budgets: Sequence[float] = BUDGETS,
) -> Evaluation:
    """Every figure of one score over messages.

    score: (n,) any range, higher is worse. bad: (n,). labels: n codes of `events.LABELS`. threshold: from which a
    message counts as flagged, for LAM%.
    """
    n_bad, n_good = int(bad.sum()), int((~bad).sum())
    both = n_bad > 0 and n_good > 0
    good_scores = score[~bad]
    codes = np.asarray(labels, dtype=object)
    return Evaluation(
        bad=n_bad,
        good=n_good,
        roca=one_minus_roca(score, bad) if both else None,
        lam=lam_percent(score, bad, threshold) if both and threshold is not None else None,
        recall=tuple(recall_at(score[bad], good_scores, budget) for budget in budgets),
        by_category={
            code: tuple(recall_at(score[bad & (codes == code)], good_scores, budget) for budget in budgets)
            for code in sorted({str(code) for code in codes[bad]})
        },
    )


def worst_by_message(message: NDArray[np.int64], score: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The highest score of each message's rows: (rows,) message numbers 0..n-1 and scores to (n,).

    >>> worst_by_message(np.array([0, 0, 1]), np.array([0.1, 0.9, 0.4]), 2).tolist()
    [0.9, 0.4]
    """
    worst = np.full(n, -np.inf)
    np.maximum.at(worst, message, score)
    return worst


def ranked(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores with NaN below all others: a message that a detector said nothing of is one that it did not catch."""
    return np.where(np.isnan(values), -np.inf, values)


def roc_steps(score: NDArray[np.float64], bad: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False-positive rate and recall at every threshold, from (0, 0) to (1, 1), ties in one step.

    score, bad: (n,), both classes present. Returns two arrays of (distinct scores + 1,), 0..1.
    """
    order = np.argsort(-score, kind="stable")
    in_order, hits = score[order], bad[order]
    last_of_tie = np.flatnonzero(np.append(in_order[1:] != in_order[:-1], True))
    caught = np.cumsum(hits)[last_of_tie]
    passed = np.cumsum(~hits)[last_of_tie]
    zero = np.zeros(1)
    return np.concatenate([zero, passed / passed[-1]]), np.concatenate([zero, caught / caught[-1]])


def latency_figures(milliseconds: NDArray[np.float64]) -> dict[str, Any]:
    """n, p50, p95, p99, mean and greatest of times in milliseconds; NaN is not counted.

    >>> latency_figures(np.array([1.0, 3.0]))["p50_ms"]
    2.0
    """
    measured = milliseconds[~np.isnan(milliseconds)]
    if not len(measured):
        return {"n": 0}
    percentiles = {f"p{p}_ms": round(float(np.percentile(measured, p)), 3) for p in PERCENTILES}
    return {
        "n": len(measured),
        **percentiles,
        "mean_ms": round(float(measured.mean()), 3),
        "max_ms": round(float(measured.max()), 3),
    }
