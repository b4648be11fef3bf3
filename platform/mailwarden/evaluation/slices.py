"""Figures of parts of what was judged: a category, a site, a language, first contacts.

Thresholds are those of the whole: of all good mail for recall at a budget, and those that are deployed for what is held
back. A part's own good mail is mostly too little to set one, and what is deployed does not know of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.evaluation.figures import BUDGETS, Share, threshold_at
from mailwarden.evaluation.scored import Scored

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AtBudget:
    """At the threshold that a share `budget` of all good mail passes at most.

    threshold: log-odds that are still delivered. caught: of the part's bad mail above it. passed: of its good mail.
    """

    budget: float
    threshold: float
    caught: Share
    passed: Share


@dataclass(frozen=True, slots=True)
class Deployed:
    """At the thresholds that are deployed: what is held back (junk or quarantine), and marked (a banner or stronger),
    of bad and of good mail."""

    bad_held_back: Share
    bad_marked: Share
    good_held_back: Share
    good_marked: Share


@dataclass(frozen=True, slots=True)
class Part:
    """Figures of some messages. n: labelled or not."""

    name: str
    n: int
    bad: int
    good: int
    at_budget: tuple[AtBudget, ...]
    deployed: Deployed


def whole(scored: Scored, budgets: Sequence[float] = BUDGETS) -> Part:
    """Figures of all messages."""
    return _part(scored, "all", np.ones(len(scored), dtype=np.bool_), _thresholds(scored, budgets))


def by_category(scored: Scored, budgets: Sequence[float] = BUDGETS) -> tuple[Part, ...]:
    """Figures of the bad mail of each label that occurs, against all good mail."""
    thresholds = _thresholds(scored, budgets)
    counts = scored.label.counts(scored.bad)
    return tuple(
        _part(scored, word, scored.label.has(word) | scored.good, thresholds)
        for word, n in zip(scored.label.words, counts.tolist(), strict=True)
        if n
    )


def by_slice(scored: Scored, name: str, budgets: Sequence[float] = BUDGETS) -> tuple[Part, ...]:
    """Figures of each word of a slice that occurs, and of messages that have none ("unknown") where there are some.

    name: of `Scored.slices`, or tenant.
    """
    column = scored.tenant if name == "tenant" else scored.slices[name]
    thresholds = _thresholds(scored, budgets)
    parts = [
        _part(scored, word, column.codes == code, thresholds)
        for code, (word, n) in enumerate(zip(column.words, column.counts().tolist(), strict=True))
        if n
    ]
    unknown = column.codes < 0
    if unknown.any():
        parts.append(_part(scored, "unknown", unknown, thresholds))
    return tuple(parts)


def _thresholds(scored: Scored, budgets: Sequence[float]) -> list[tuple[float, float]]:
    good = scored.log_odds[scored.good]
    return [(budget, threshold_at(good, budget)) for budget in budgets]


def _part(scored: Scored, name: str, chosen: Flags, thresholds: Sequence[tuple[float, float]]) -> Part:
    bad, good = scored.bad & chosen, scored.good & chosen
    n_bad, n_good = int(bad.sum()), int(good.sum())

    def shares(reached: Flags) -> tuple[Share, Share]:
        return Share.of(int((reached & bad).sum()), n_bad), Share.of(int((reached & good).sum()), n_good)

    bad_held, good_held = shares(scored.held_back)
    bad_marked, good_marked = shares(scored.marked)
    return Part(
        name=name,
        n=int(chosen.sum()),
        bad=n_bad,
        good=n_good,
        at_budget=tuple(
            AtBudget(budget, threshold, *shares(scored.log_odds > threshold)) for budget, threshold in thresholds
        ),
        deployed=Deployed(bad_held, bad_marked, good_held, good_marked),
    )


def named_rightly(scored: Scored) -> tuple[Share, dict[str, dict[str, int]]]:
    """Of bad mail of a known category that was marked, the share whose category was named rightly; and by label how
    often each category was named. Mail labelled spam is of category SP."""
    found: dict[str, dict[str, int]] = {}
    right = total = 0
    marked = scored.bad & scored.marked
    for word, n in zip(scored.label.words, scored.label.counts(marked).tolist(), strict=True):
        if n:
            counts = scored.category.counts(marked & scored.label.has(word)).tolist()
            found[word] = {named: times for named, times in zip(scored.category.words, counts, strict=True) if times}
            right += found[word].get("SP" if word == "spam" else word, 0)
            total += n
    return Share.of(right, total), found
