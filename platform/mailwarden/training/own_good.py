"""Thresholds that a home's own good mail raises: what a starter learned elsewhere scores that mail higher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Combination, Fusion, Thresholds, thresholds_at
from mailwarden.domain.detection.detector import Detector, RawScores
from mailwarden.evaluation.figures import worst_by_message
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.prepare import TrainingInput
from mailwarden.training.thresholds import Budgets, choose_thresholds
from mailwarden.training.train import Trained

LEAST = 20
"""Good messages below which nothing is said of a home."""


def raised_by(trained: Trained, classes: Mapping[str, type[Detector]], own: TrainingInput, budgets: Budgets) -> Trained:
    """The same models with no threshold below what a home's good mail asks for; none of it is learned from.

    own: the home's labelled mail, of which the good counts. Fewer than `LEAST` good messages change nothing. The
    fusions of detectors that are away keep a banner alone, since no good mail of the home was scored that way.
    """
    rows = own.rows
    first = rows.of_messages()
    good = ~rows.bad[first]
    if int(good.sum()) < LEAST:
        return trained
    detectors = trained.bundle.load(classes, trained.fetch)
    cheap = trained.bundle.fusion.weights
    said = {name: detectors[name].score(own.features[name]) for name in cheap}
    asked = choose_thresholds(_worst(rows, trained.bundle.fusion, said)[good], budgets)
    tail = trained.bundle.whole.tail
    before = trained.bundle.thresholds
    if tail is not None:
        # The home is no site that was learned from.
        before = _higher(before, thresholds_at(tail, tail.unseen))
    words = (*trained.threshold_words, *(f"by the home's own good mail, {word}" for word in asked.words))
    bundle = replace(
        trained.bundle,
        # Whoever is of this home has the thresholds that its mail asked for, and not those of a site never seen.
        whole=_raised(trained.bundle.whole, _higher(before, asked.thresholds)),
        without={away: found.banner_at_most() for away, found in trained.bundle.without.items()},
        record={**trained.bundle.record, "thresholds": list(words), "own_good": int(good.sum())},
    )
    return replace(trained, bundle=bundle, threshold_words=words)


def _raised(whole: Combination, thresholds: Thresholds) -> Combination:
    """The combination with these thresholds for anybody, and none of where costly detectors were asked below them."""
    consult = whole.consult
    if consult is not None:
        raised = _higher(thresholds, consult.combination.thresholds)
        consult = replace(consult, combination=replace(consult.combination, thresholds=raised, tail=None))
    return replace(whole, thresholds=thresholds, tail=None, consult=consult)


def _worst(rows: LabelledRows, fusion: Fusion, said: Mapping[str, RawScores]) -> NDArray[np.float64]:
    logit = fusion.logit(
        {name: one.raw for name, one in said.items()}, {name: one.abstains for name, one in said.items()}
    )
    return worst_by_message(rows.message, logit, rows.n_messages)


def _higher(one: Thresholds, other: Thresholds) -> Thresholds:
    held_back = dict(other.held_back)
    return Thresholds(
        max(one.banner, other.banner),
        max(one.junk, other.junk),
        max(one.quarantine, other.quarantine),
        tuple((budget, max(logit, held_back.get(budget, logit))) for budget, logit in one.held_back),
    )
