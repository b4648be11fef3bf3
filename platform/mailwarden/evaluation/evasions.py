"""What becomes of attacks that are caught when their sender evades: verdicts by evasion, kind and category."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import VERDICTS
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.figures import Share, wilson_of

BANNER, JUNK, QUARANTINE = (VERDICTS.index(word) for word in ("banner", "junk", "quarantine"))


@dataclass(frozen=True, slots=True)
class Trials:
    """Attacks as they were shown, a row each.

    tenant, message_id: (n,) of the attack. attack: (n,) its number. campaign: (n,) the number of its campaign, one of
    its own where it is of none. category: of `events.LABELS`. new: (n,) whether the bundle cannot have learned from the
    attack. guise: name of what was done to it; kind: of which kinds that is. single: (n,) whether it was one evasion
    alone. before, after: of `decision.VERDICTS`, of the attack as it came and as it was shown. log_odds_before,
    log_odds: (n,) fused. proof: of `proof.PROOFS`, how far the message as shown proves its name, none where that is not
    known. reasons: (n,) names of what was said of it, the strongest first.
    """

    tenant: Coded
    message_id: pa.Array
    attack: NDArray[np.int64]
    campaign: NDArray[np.int64]
    category: Coded
    new: NDArray[np.bool_]
    guise: Coded
    kind: Coded
    single: NDArray[np.bool_]
    before: Coded
    after: Coded
    log_odds_before: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    proof: Coded
    reasons: pa.Array

    def __len__(self) -> int:
        return len(self.attack)

    def to_arrow(self) -> pa.Table:
        """A row a trial, for Parquet."""
        columns = {
            "tenant": self.tenant.to_arrow(),
            "message_id": self.message_id,
            "attack": pa.array(self.attack),
            "campaign": pa.array(self.campaign),
            "category": self.category.to_arrow(),
            "new_to_the_bundle": pa.array(self.new),
            "evasion": self.guise.to_arrow(),
            "kind": self.kind.to_arrow(),
            "single": pa.array(self.single),
            "verdict_before": self.before.to_arrow(),
            "verdict": self.after.to_arrow(),
            "log_odds_before": pa.array(self.log_odds_before),
            "log_odds": pa.array(self.log_odds),
            "proof": self.proof.to_arrow(),
            "reasons": self.reasons,
        }
        return pa.table(columns)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some trials.

    name: of the guise, kind or category. guises: different ones among them; trials, attacks: how many. quarantine,
    junk, banner, delivered: what was decided. held: junk or above. lowered: a weaker verdict than the attack had as it
    came. moved: mean change of the fused log-odds; below 0 the evasion helped.
    """

    name: str
    guises: int
    trials: int
    attacks: int
    quarantine: int
    junk: int
    banner: int
    delivered: Share
    held: Share
    lowered: Share
    moved: float


def outcome(trials: Trials, chosen: NDArray[np.bool_], name: str) -> Outcome:
    """Of the chosen trials."""
    verdict, campaign = trials.after.codes[chosen], trials.campaign[chosen]
    counts = np.bincount(verdict, minlength=len(VERDICTS))
    moved = trials.log_odds[chosen] - trials.log_odds_before[chosen]
    return Outcome(
        name=name,
        guises=len(np.unique(trials.guise.codes[chosen])),
        trials=int(chosen.sum()),
        attacks=len(np.unique(trials.attack[chosen])),
        quarantine=int(counts[QUARANTINE]),
        junk=int(counts[JUNK]),
        banner=int(counts[BANNER]),
        delivered=share_of_groups(verdict < BANNER, campaign),
        held=share_of_groups(verdict >= JUNK, campaign),
        lowered=share_of_groups(verdict < trials.before.codes[chosen], campaign),
        moved=float(moved.mean()) if len(moved) else math.nan,
    )


def outcomes(trials: Trials, by: Coded, chosen: NDArray[np.bool_], order: Sequence[str] = ()) -> list[Outcome]:
    """Of the chosen trials by the words of a column; order: of the words, by default that of the column."""
    words = [word for word in (order or by.words) if (by.has(word) & chosen).any()]
    return [outcome(trials, by.has(word) & chosen, word) for word in words]


def share_of_groups(hits: NDArray[np.bool_], group: NDArray[np.int64]) -> Share:
    """A share of trials with a 95% interval that takes trials of one group (campaign) for the copies that they are.

    Wilson's interval with as many trials as the same variance would take were each alone: n over the design effect.
    Where all trials agree there is no variance to go by, and each group counts once. Source: Kish, Survey Sampling,
    1965, chapter 5; Korn and Graubard, Survey Methodology 24, 1998.

    >>> share_of_groups(np.array([True, True, False, False]), np.array([1, 1, 2, 2])).n
    4
    """
    n, k = len(hits), int(hits.sum())
    if n == 0:
        return Share.of(0, 0)
    _, number = np.unique(group, return_inverse=True)
    sizes = np.bincount(number).astype(np.float64)
    groups = len(sizes)
    rate = k / n
    if k in (0, n) or groups < 2:
        alone = float(groups)
    else:
        residual = np.bincount(number, weights=hits) - rate * sizes
        variance = groups / (groups - 1) * float((residual**2).sum()) / n**2
        alone = min(float(n), rate * (1 - rate) / variance) if variance > 0 else float(n)
    low, high = wilson_of(rate, alone)
    return Share(k, n, rate, min(low, rate), max(high, rate))
