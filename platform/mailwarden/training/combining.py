"""How detectors' scores become a decision: a fusion for tenants that were learned from, one for all others.

1. On held-out mail of the sites that taught them, detectors that learned most of a site look best, and what they are
   worth elsewhere is another matter: the fusion for tenants that nobody knows is pulled towards equal shares of the
   generalists and towards no word of specialists (`TrainingOptions.ridge`).
2. Of a tenant that was learned from, that mail is what is coming: what a specialist showed there counts (`OWN_HELD`).
   It is a tenant with labels enough to be a site (`sites.LEAST_MESSAGES`).
3. Both have thresholds of their own, by tenant; and both are fitted anew for every way to be away that is provided for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Combination, Fusion, away_name
from mailwarden.domain.detection.detector import Detector
from mailwarden.evaluation.figures import Evaluation, evaluate
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.said import Judged, Said
from mailwarden.training.sites import site_names, with_own_sites, with_sites
from mailwarden.training.split import TimeSplit
from mailwarden.training.thresholds import Budgets, ChosenThresholds, choose_thresholds

OWN_HELD = 0.3
"""How many times as hard as generalists specialists are pulled for tenants that were learned from: `calibrate.fuse`.
Chosen on two simulated companies that no figure is told of; generalists pulled less were worth no more there."""

_FEW = 4
"""Up to so many detectors a fusion is fitted for every choice of them that may be left."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """What detectors that saw nothing of a row's site say of it, with history and without, and which rows these are.

    parts: positions of rows, and the detectors that said it of them.
    """

    said: Said
    blind: Said
    index: NDArray[np.intp]
    parts: Sequence[tuple[NDArray[np.intp], Mapping[str, Detector]]] = ()


@dataclass(frozen=True, slots=True)
class Combined:
    """A combination, and how it did on mail that nothing was fitted to, by what counts for tenants learned from.

    fusion, chosen: that counts for them, and how its thresholds were found.
    """

    combination: Combination
    fusion: Fusion
    chosen: ChosenThresholds
    judged: Judged
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Combining:
    """Fuses what detectors say of held-out mail.

    fusing: positions of held-out rows that fusions are fitted to. unseen: None where there is but one site. evidence:
    (n,) how much each row counts as good without its label, None where nobody can tell. ridge, specialists: of the
    fusion for tenants that nobody knows, see `calibrate.fuse`.
    """

    rows: LabelledRows
    split: TimeSplit
    unseen: Unseen | None
    budgets: Budgets
    evidence: NDArray[np.float64] | None
    ridge: float
    specialists: Collection[str]
    own: bool

    @property
    def fusing(self) -> NDArray[np.intp]:
        """Positions of rows that fusions are fitted to."""
        return np.flatnonzero(self.split.fuse[self.rows.message])

    @property
    def judging(self) -> NDArray[np.intp]:
        """Positions of rows that nothing is fitted to."""
        return np.flatnonzero(self.split.judge[self.rows.message])

    def __call__(self, said: Said, *, lost: bool = False, away: Collection[str] = ()) -> Combined:
        """What comes of what held-out mail was said to be. lost: history is away; away: detectors are."""
        fusion = said.fused(self.rows, self.fusing, self.ridge, self.specialists)
        judged, chosen = self._judged(said, fusion)
        unseen, index = None, self.judging[:0]
        if self.unseen is not None:
            unseen, index = (self.unseen.blind if lost else self.unseen.said).without(away), self.unseen.index
        combination = with_sites(
            Combination(fusion, chosen.thresholds),
            self.rows,
            unseen,
            index,
            said,
            self.judging,
            self.budgets,
            self.evidence,
        )
        known = site_names(self.rows) if self.own else []
        if known:
            fusion = said.fused(self.rows, self.fusing, self.ridge, self.specialists, OWN_HELD)
            judged, chosen = self._judged(said, fusion)
            own = Combination(fusion, chosen.thresholds)
            own = with_own_sites(own, known, self.rows, said, self.judging, self.budgets)
            combination = replace(combination, own=own)
        evaluation = evaluate(judged.fused, judged.bad, judged.labels, threshold=chosen.thresholds.junk)
        evaluation = replace(evaluation, shared=self.split.shared)
        return Combined(combination, fusion, chosen, judged, evaluation)

    def without_each(self, said: Said, blind: Said | None) -> dict[str, Combined]:
        """What counts where detectors or histories are away, by `away_name`.

        For each detector alone, and for several at once where there are few; likewise with no history. blind: what is
        said then, None where no detector reads any.
        """
        most = min(len(said.raw) - 1 if len(said.raw) <= _FEW else 1, len(said.raw) - 1)
        found: dict[str, Combined] = {}
        for whole, lost in ((said, ()), *([(blind, (HISTORY,))] if blind is not None else [])):
            for away in chain.from_iterable(combinations(sorted(said.raw), n) for n in range(most + 1)):
                if away or lost:
                    found[away_name((*away, *lost))] = self(whole.without(away), lost=bool(lost), away=away)
        return found

    def _judged(self, said: Said, fusion: Fusion) -> tuple[Judged, ChosenThresholds]:
        judged = Judged.of(self.rows, self.split, said, fusion)
        return judged, choose_thresholds(judged.fused[~judged.bad], self.budgets)


def combinations_of(found: Mapping[str, Combined]) -> dict[str, Combination]:
    """The combinations alone."""
    return {name: one.combination for name, one in found.items()}
