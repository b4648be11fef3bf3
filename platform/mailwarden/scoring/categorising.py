"""What a bundle's detectors call a message together: see `domain.detection.naming`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Thresholds, Verdict, log_odds
from mailwarden.domain.detection.naming import UNNAMED, Word
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tenant_budget import TenantBudget
from mailwarden.domain.status import Status
from mailwarden.scoring.batch import BatchScores, Scores
from mailwarden.scoring.champion import Champion

Said = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""What a detector says of n rows: (n,) calibrated log-odds, and (n,) where it says nothing."""


class Caller:
    """What one message would be called by whichever scores of it, delivered or not; a detector is asked once a row.

    features: as given to `Champion.score`.
    """

    def __init__(self, champion: Champion, features: FeatureTable) -> None:
        self._champion, self._features = champion, features
        self._codes: dict[tuple[int, bool, str], list[str] | None] = {}

    def category(self, scores: Scores) -> str:
        """The likeliest category of the worst row; SP where no detector names one."""
        champion = self._champion
        row = champion.deciding(self._features, scores)
        if champion.naming is None:
            return categories(champion, row, {})[0]
        found = {}
        for name, (odds, silent) in said_alone(scores).items():
            key = scores.worst, HISTORY in scores.away, name
            if key not in self._codes:
                self._codes[key] = _named(champion, name, row)
            codes = self._codes[key]
            if codes is not None:
                found[name] = Word(codes, odds, silent)
        return champion.naming.named(found, 1)[0]


@dataclass(frozen=True, slots=True)
class Bar:
    """What one message's log-odds are held against: its tenant's thresholds, of what it would be called where the
    tenant's budget is spent by category."""

    tenant: str
    budget: TenantBudget
    caller: Caller

    def called(self, scores: Scores) -> str | None:
        """What the message would be called by these scores, None where its thresholds do not depend on that."""
        return self.caller.category(scores) if scores.combination.asks_category(self.budget) else None

    def thresholds(self, scores: Scores) -> Thresholds:
        """By what counts for these scores of the message."""
        return scores.combination.thresholds_within(self.tenant, self.budget, self.called(scores))

    def verdict(self, scores: Scores) -> Verdict:
        """The strongest that the log-odds reach."""
        return self.thresholds(scores).verdict(scores.logit)

    def held_without_each(self, champion: Champion, batch: BatchScores) -> dict[str, Verdict]:
        """The verdict on the message without each detector; see `Champion.held_without_each`."""
        if not champion.whole.asks_category(self.budget):
            return champion.held_without_each(batch, self.tenant, self.budget)
        found = champion.without_each(batch)
        return {name: self.verdict(scores) for name, scores in found.items() if name not in champion.costly}


def called(champion: Champion, rows: FeatureTable, batch: BatchScores, which: NDArray[np.intp]) -> list[str]:
    """What each of these messages would be called by its worst row, delivered or not.

    rows, batch: as given to `Champion.score`, and what came of it. which: positions of messages.
    """
    return categories(champion, *deciding_rows(champion, rows, batch, which))


def deciding_rows(
    champion: Champion, rows: FeatureTable, batch: BatchScores, which: NDArray[np.intp]
) -> tuple[FeatureTable, dict[str, Said]]:
    """The worst row of each of these messages, as the detectors saw it, and what they said of it; see `called`."""
    worst, pattern_of = batch.worst[which], batch.pattern_of[which]
    seen = rows.take(worst).lacking(champion.withheld, Status.UNAVAILABLE)
    blind = np.array([HISTORY in pattern.away for pattern in batch.patterns])[pattern_of]
    if blind.any():
        seen = seen.lacking(champion.history_views, Status.UNAVAILABLE, blind)
    return seen, {name: _said(batch, name, worst, pattern_of) for name in batch.detectors}


def asking_category(
    champion: Champion, tenants: Sequence[str], budgets: Mapping[str, TenantBudget]
) -> NDArray[np.intp]:
    """Positions of the messages whose tenants spend their budgets by category. tenants: of each message."""
    names = {name for name, budget in budgets.items() if champion.whole.asks_category(budget)}
    return np.flatnonzero([name in names for name in tenants]) if names else np.empty(0, dtype=np.intp)


def called_where_asked(
    champion: Champion,
    rows: FeatureTable,
    batch: BatchScores,
    tenants: Sequence[str],
    budgets: Mapping[str, TenantBudget],
) -> list[str | None]:
    """What each message would be called where its tenant spends its budget by category, None elsewhere."""
    found: list[str | None] = [None] * len(tenants)
    which = asking_category(champion, tenants, budgets)
    if len(which):
        for at, code in zip(which.tolist(), called(champion, rows, batch, which), strict=True):
            found[at] = code
    return found


def _said(batch: BatchScores, name: str, worst: NDArray[np.intp], pattern_of: NDArray[np.intp]) -> Said:
    one = batch.detectors[name]
    odds, silent = np.full(len(worst), np.nan), np.ones(len(worst), dtype=np.bool_)
    for number, pattern in enumerate(batch.patterns):
        if name not in pattern.silent:
            here = pattern_of == number
            odds[here] = pattern.combination.fusion.calibrations[name].logit(one.raw[worst[here]])
            silent[here] = False if one.abstains is None else one.abstains[worst[here]]
    return odds, silent


def categories(champion: Champion, rows: FeatureTable, said: Mapping[str, Said]) -> list[str]:
    """n likeliest categories of rows as the detectors saw them, each of a message of its own; SP where no detector
    names one. said: by detector that is not away."""
    if champion.naming is not None:
        return champion.naming.named(words(champion, rows, said), rows.n)
    named = _named(champion, champion.categoriser, rows) if champion.categoriser in champion.detectors else None
    return named or [UNNAMED] * rows.n


def words(champion: Champion, rows: FeatureTable, said: Mapping[str, Said]) -> dict[str, Word]:
    """By name of each detector that names categories, what it calls rows as it saw them; see `categories`."""
    found = {}
    for name, (odds, silent) in said.items():
        if silent.all():
            continue
        named = _named(champion, name, rows)
        if named is not None:
            found[name] = Word(named, odds, silent)
    return found


def said_alone(scores: Scores) -> dict[str, Said]:
    """What each detector that spoke said of one message's worst row."""
    spoke = np.zeros(1, dtype=np.bool_)
    return {name: (log_odds(np.array([chance])), spoke) for name, chance in scores.detectors.items()}


def _named(champion: Champion, name: str, rows: FeatureTable) -> list[str] | None:
    try:
        return champion.detectors[name].categorise(rows)
    except Exception as exc:
        champion.failed(name, "categorise", exc)
        return None
