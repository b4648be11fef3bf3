"""What each detector is worth: alone, by its unique catches beside the others, and by what is lost without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.evaluation.figures import (
    BUDGETS,
    Recall,
    Share,
    latency_figures,
    ranked,
    recall_at,
    threshold_at,
)
from mailwarden.evaluation.resampling import Area, Groups, areas
from mailwarden.evaluation.rows import ABSTAINED, AWAY, FAILED, NOT_ASKED, SPOKE
from mailwarden.evaluation.scored import Scored

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Without:
    """What becomes of messages without one detector, by the fusion and thresholds that were found for that.

    Over messages where nothing was away: bad and good, how many. recall, recall_without: at each budget, thresholds of
    these messages' good mail. lost: of the bad mail that is held back with it, what is not without it; gained: of the
    bad mail that is not held back with it, what is without it. good_held_back, good_held_back_without: at the deployed
    thresholds.
    """

    bad: int
    good: int
    recall: tuple[Recall, ...]
    recall_without: tuple[Recall, ...]
    lost: Share
    gained: Share
    good_held_back: Share
    good_held_back_without: Share


@dataclass(frozen=True, slots=True)
class DetectorFigures:
    """One detector.

    spoke, abstained, not_asked, failed, away: messages. area: alone, None where a class is absent.
    recall: alone, at each budget. unique: of the bad mail that some detector catches alone at the first budget, what
    only this one does. without: None where the bundle knows no way without it. milliseconds: as `latency_figures`, a
    message.
    """

    name: str
    spoke: int
    abstained: int
    not_asked: int
    failed: int
    away: int
    area: Area | None
    recall: tuple[Recall, ...]
    unique: Share
    without: Without | None
    milliseconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Bad mail that detectors catch alone at a budget. caught: [i][j] what both i and j catch; [i][i] what i does.

    any: what some detector catches. bad: all there is.
    """

    budget: float
    names: tuple[str, ...]
    caught: tuple[tuple[int, ...], ...]
    any: int
    bad: int


def detector_figures(scored: Scored, budgets: Sequence[float] = BUDGETS) -> tuple[tuple[DetectorFigures, ...], Overlap]:
    """Each detector of the bundle by name, and how far they catch the same. The first budget says what is caught."""
    names = tuple(sorted(scored.detectors))
    bad, good = scored.bad, scored.good
    scores = {name: ranked(scored.detectors[name].calibrated) for name in names}
    caught = {name: _caught(scores[name], bad, good, budgets[0]) for name in names}
    catching = np.sum([caught[name] for name in names], axis=0)
    number, n_groups = scored.groups()
    alone = areas(scores, bad, good, Groups(number, n_groups, "campaign"))
    n_any = int((catching > 0).sum())
    found = []
    for name in names:
        said = scored.detectors[name]
        found.append(
            DetectorFigures(
                name=name,
                spoke=int((said.missing == SPOKE).sum()),
                abstained=int((said.missing == ABSTAINED).sum()),
                not_asked=int((said.missing == NOT_ASKED).sum()),
                failed=int((said.missing == FAILED).sum()),
                away=int((said.missing == AWAY).sum()),
                area=alone.get(name),
                recall=tuple(recall_at(scores[name][bad], scores[name][good], budget) for budget in budgets),
                unique=Share.of(int((caught[name] & (catching == 1)).sum()), n_any),
                without=_without(scored, name, budgets) if name in scored.without else None,
                milliseconds=latency_figures(said.milliseconds),
            )
        )
    both = tuple(tuple(int((caught[one] & caught[two]).sum()) for two in names) for one in names)
    return tuple(found), Overlap(budgets[0], names, both, n_any, int(bad.sum()))


def _caught(score: NDArray[np.float64], bad: Flags, good: Flags, budget: float) -> Flags:
    return np.asarray(bad & (score > threshold_at(score[good], budget)))


def _without(scored: Scored, name: str, budgets: Sequence[float]) -> Without:
    score = scored.without[name]
    there = ~np.isnan(score)
    bad, good = scored.bad & there, scored.good & there
    before, after = scored.held_back, scored.held_back_without(name)
    n_bad, n_good, held = int(bad.sum()), int(good.sum()), int((bad & before).sum())
    return Without(
        bad=n_bad,
        good=n_good,
        recall=tuple(recall_at(scored.log_odds[bad], scored.log_odds[good], budget) for budget in budgets),
        recall_without=tuple(recall_at(score[bad], score[good], budget) for budget in budgets),
        lost=Share.of(int((bad & before & ~after).sum()), held),
        gained=Share.of(int((bad & ~before & after).sum()), n_bad - held),
        good_held_back=Share.of(int((good & before).sum()), n_good),
        good_held_back_without=Share.of(int((good & after).sum()), n_good),
    )
