"""What is lost without a group of features: the same bundle on the same mail with the group's views hidden.

Nothing is trained anew. A group that is hidden alone is null with status *unavailable*; what the other views hold and
the detectors make of it stays, and so do the fusion and the thresholds of the whole. So a figure says how much this
bundle leans on the group; one that was trained without it would make do with the rest, and lose less as a rule. All
history together is hidden as an outage hides it: by the fusion and the thresholds that the bundle has for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.evaluation.compare import Difference, SharesDrawn, difference_of
from mailwarden.evaluation.figures import BUDGETS, Recall, Share, recall_at
from mailwarden.evaluation.resampling import RESAMPLES, SEED, Groups, RecallDrawn
from mailwarden.evaluation.scored import BANNER, JUNK, Flags, Hidden, Scored


@dataclass(frozen=True, slots=True)
class WithoutGroup:
    """What becomes of messages without one group of features; every difference is without it less with it.

    outage: see `Hidden`. recall: by budget, each time at the threshold that is found anew on the same good mail;
    recall_without: the same with its own interval. by_category: by label, recall at the first budget. bad_held_back,
    good_held_back, good_marked: at the deployed thresholds; bad_without, good_without: held back without it.
    """

    name: str
    outage: bool
    recall: Mapping[float, Difference]
    recall_without: tuple[Recall, ...]
    by_category: Mapping[str, Difference]
    bad_held_back: Difference
    good_held_back: Difference
    good_marked: Difference
    bad_without: Share
    good_without: Share


def without_groups(
    scored: Scored,
    budgets: Sequence[float] = BUDGETS,
    *,
    by: str = "campaign",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[WithoutGroup, ...]:
    """Each group that was hidden, in the order in which they stand; differences are paired, all on the same draws.

    by: what is drawn again, campaigns or messages.
    """
    if not scored.hidden:
        return ()
    number, n = scored.groups(by)
    groups = Groups(number, n, by)
    shown = tuple(budgets)
    bad, good = scored.bad, scored.good
    codes = np.flatnonzero(scored.label.counts(bad)).tolist()
    parts = {"": bad, **{scored.label.words[code]: bad & (scored.label.codes == code) for code in codes}}
    whole = RecallDrawn(scored.log_odds, good, parts, groups, shown)
    hidden = {name: _Drawn(scored, one, parts, groups, shown) for name, one in scored.hidden.items()}
    for drawn in groups.draws(resamples, seed):
        before = whole.of(drawn)
        for each in hidden.values():
            each.add(drawn, before)
    return tuple(each.figures(name, scored, whole, shown) for name, each in hidden.items())


class _Drawn:
    """One group's differences, draw by draw."""

    def __init__(
        self, scored: Scored, hidden: Hidden, parts: Mapping[str, Flags], groups: Groups, budgets: tuple[float, ...]
    ) -> None:
        self._hidden, self._parts = hidden, parts
        self._recall = RecallDrawn(hidden.log_odds, scored.good, parts, groups, budgets)
        self._held = np.asarray(hidden.verdict.codes >= JUNK)
        held = scored.held_back, self._held
        self._shares = {
            "bad_held_back": SharesDrawn(scored.bad, held, groups),
            "good_held_back": SharesDrawn(scored.good, held, groups),
            "good_marked": SharesDrawn(scored.good, (scored.marked, hidden.verdict.codes >= BANNER), groups),
        }
        self._drawn_recalls: dict[str, list[tuple[float, ...]]] = {word: [] for word in parts}
        self._drawn_shares: dict[str, list[float]] = {name: [] for name in self._shares}

    def add(self, drawn: NDArray[np.int64], before: Mapping[str, tuple[float, ...]]) -> None:
        """One draw. before: recalls with everything there."""
        for word, after in self._recall.of(drawn).items():
            self._drawn_recalls[word].append(tuple(b - a for a, b in zip(before[word], after, strict=True)))
        for name, share in self._shares.items():
            self._drawn_shares[name].append(share.of(drawn))

    def figures(self, name: str, scored: Scored, whole: RecallDrawn, budgets: Sequence[float]) -> WithoutGroup:
        """Of all draws."""

        def recall(word: str, at: int) -> Difference:
            found = [each[at] for each in self._drawn_recalls[word]]
            n = int(self._parts[word].sum())
            return difference_of(whole.once[word][at], self._recall.once[word][at], found, n)

        shares = {name: share.difference(self._drawn_shares[name]) for name, share in self._shares.items()}
        bad, good, score = scored.bad, scored.good, self._hidden.log_odds
        return WithoutGroup(
            name=name,
            outage=self._hidden.outage,
            recall={budget: recall("", at) for at, budget in enumerate(budgets)},
            recall_without=tuple(recall_at(score[bad], score[good], budget) for budget in budgets),
            by_category={word: recall(word, 0) for word in self._parts if word},
            bad_held_back=shares["bad_held_back"],
            good_held_back=shares["good_held_back"],
            good_marked=shares["good_marked"],
            bad_without=Share.of(int((bad & self._held).sum()), int(bad.sum())),
            good_without=Share.of(int((good & self._held).sum()), int(good.sum())),
        )
