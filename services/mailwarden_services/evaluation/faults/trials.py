"""What is held back while something is at fault, decided as serving decides, message by message.

1. The detectors' scores are as they were, but those of the one that is at fault: the highest that it ever gave, for
   every row (it fires on everything); the lowest (it holds down what others find); or nothing at all (it is away:
   broken, absent). Histories away are the scores that there are without them.
2. What counts then is what serving would have count (`Champion.pattern`), at each tenant's thresholds.
3. A detector out of its band for the tenant is set aside (`scoring.bands`), from the message on that showed it; the
   bands begin anew with each fault, as in a process that has just started.

Costly detectors are asked about nothing here: without them what the cheap ones say stands. Of a tenant's budget the
whole counts, and not how it is spent over categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Combination, sigmoid
from mailwarden.evaluation.figures import Share
from mailwarden.scoring.bands import Bands, sure_alone
from mailwarden.scoring.batch import BatchScores, DetectorScores
from mailwarden.scoring.champion import Champion
from mailwarden_services.evaluation.faults.mail import Said, TenantRows

NOTHING, AWAY, FIRES, HOLDS_DOWN = "nothing", "away", "fires on everything", "holds everything down"


@dataclass(frozen=True, slots=True)
class Fault:
    """kind: of `NOTHING`, `AWAY`, `FIRES`, `HOLDS_DOWN`. name: of the detector, or `HISTORY`; "" for nothing."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one tenant's mail under a fault: the share of good and of bad mail held back, after how many messages the
    detector at fault was set aside (None for never), and which others ever were."""

    fault: Fault
    good: Share
    bad: Share
    set_aside_after: int | None
    others_set_aside: tuple[str, ...]


def faults_of(champion: Champion) -> list[Fault]:
    """Nothing, then every fault of every cheap detector that is there, then no history."""
    names = [name for name in champion.detectors if name not in champion.costly]
    history = [Fault(AWAY, HISTORY)] if champion.history_views else []
    return [Fault(NOTHING), *(Fault(kind, name) for kind in (AWAY, FIRES, HOLDS_DOWN) for name in names), *history]


def outcome_of(champion: Champion, rows: TenantRows, fault: Fault, budget: float | None) -> Outcome:
    """What becomes of a tenant's mail; budget: its own of false positives, None for what was trained with."""
    trial = _Trial.of(champion, rows, fault, budget)
    held = trial.held(frozenset())
    without, sure = trial.held_without_each(), trial.sure_alone()
    bands = Bands()
    first: dict[str, int] = {}
    known = {frozenset[str](): held}
    decided = held.copy()
    names = list(without)
    others = np.array([without[name] for name in names]) if names else np.zeros((0, len(held)), dtype=np.bool_)
    # Where all say the same of a message, only its sums move; each must be seen.
    for at in range(len(held)):
        seen = dict(zip(names, others[:, at].tolist(), strict=True))
        out = bands.see(rows.tenant, str(rows.sender[at]), bool(held[at]), seen, sure[at])
        if not out:
            continue
        for name in out:
            first.setdefault(name, at + 1)
        if out not in known:
            known[out] = trial.held(out)
        decided[at] = known[out][at]
    return Outcome(
        fault,
        Share.of(int(decided[~rows.bad].sum()), int((~rows.bad).sum())),
        Share.of(int(decided[rows.bad].sum()), int(rows.bad.sum())),
        first.get(fault.name),
        tuple(sorted(first.keys() - {fault.name})),
    )


@dataclass(frozen=True)
class _Trial:
    champion: Champion
    tenant: str
    budget: float | None
    away: frozenset[str]
    starts: NDArray[np.intp]
    said: Said

    @classmethod
    def of(cls, champion: Champion, rows: TenantRows, fault: Fault, budget: float | None) -> _Trial:
        away = frozenset(champion.away)
        said = dict(rows.said)
        if fault.kind == AWAY:
            away |= {fault.name}
            if fault.name == HISTORY:
                said = dict(rows.blind)
        elif fault.kind != NOTHING:
            one = said[fault.name]
            spoken = one.raw if one.abstains is None else one.raw[~one.abstains]
            worst = np.max if fault.kind == FIRES else np.min
            stuck = float(worst(spoken)) if len(spoken) else 0.0
            said[fault.name] = DetectorScores(np.full(len(one.raw), stuck), None, 0.0)
        return cls(champion, rows.tenant, budget, away, rows.starts, said)

    def held(self, aside: frozenset[str]) -> NDArray[np.bool_]:
        """(messages,) whether each is held back with these detectors set aside."""
        batch = self._batch(self.away | aside)
        return self._over(batch.patterns[0].combination, batch.logit)

    def sure_alone(self) -> list[str | None]:
        """By message, of the row that decides: see `bands.sure_alone`."""
        batch = self._batch(self.away)
        pattern, worst = batch.patterns[0], batch.worst
        names = [name for name in batch.detectors if name not in pattern.silent]
        said = np.zeros((len(worst), len(names)))
        for at, name in enumerate(names):
            one = batch.detectors[name]
            odds = pattern.combination.fusion.calibrations[name].logit(one.raw[worst])
            said[:, at] = sigmoid(odds) if one.abstains is None else np.where(one.abstains[worst], 0.0, sigmoid(odds))
        return [sure_alone(dict(zip(names, of, strict=True))) for of in said.tolist()]

    def held_without_each(self) -> dict[str, NDArray[np.bool_]]:
        """By detector (messages,) whether each is held back without it."""
        found = self.champion.logits_without_each(self._batch(self.away))
        return {name: self._over(combination, logit) for name, (combination, logit) in found.items()}

    def _batch(self, away: frozenset[str]) -> BatchScores:
        own = self.tenant in self.champion.whole.known
        pattern = self.champion.pattern(away, own=own)
        n = int(self.starts[-1])
        nowhere = np.zeros(len(self.starts) - 1, dtype=np.intp)
        return BatchScores(self.starts, np.zeros(n), self.said, (pattern,), nowhere).under(pattern)

    def _over(self, combination: Combination, logit: NDArray[np.float64]) -> NDArray[np.bool_]:
        junk = combination.thresholds_of(self.tenant).within(self.budget).junk
        return np.asarray(np.maximum.reduceat(logit, self.starts[:-1]) >= junk)


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """The same fault over several tenants: shares of all, set aside after the latest of them, None where one never did
    it."""
    first = outcomes[0]
    after = [one.set_aside_after for one in outcomes]
    return replace(
        first,
        good=Share.of(sum(one.good.hits for one in outcomes), sum(one.good.n for one in outcomes)),
        bad=Share.of(sum(one.bad.hits for one in outcomes), sum(one.bad.n for one in outcomes)),
        set_aside_after=None if None in after else max(one for one in after if one is not None),
        others_set_aside=tuple(sorted({name for one in outcomes for name in one.others_set_aside})),
    )
