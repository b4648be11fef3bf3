"""When costly detectors are asked, and how what they say is stacked on what the cheap ones said.

1. The band of doubt is chosen on held-out mail: as wide as has `SHARE` of a site's good mail in it, the mean of sites.
2. Costly detectors learn from all that cheap ones do, and score doubtful held-out mail alone.
3. On that mail, of sites that nothing of it had seen where there are several, of later times else, a logistic
   regression weighs them beside how far the cheap ones' fused log-odds lie over the site's own threshold, pulled
   towards these alone (`calibrate.stack`): what a costly one is worth must be shown. A site that was left out has the
   threshold that its own good mail would give it, as a tenant has that calibrates.
4. Thresholds are found on all held-out mail: by the new log-odds where it is doubtful, by the cheap ones' elsewhere.

Invariants: nothing of this changes what is decided where no costly detector is asked. A tenant all of whose log-odds
lie higher by something, and its thresholds too, has the same verdicts, with costly detectors as without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Calibration, Combination, Consult, Fusion, Thresholds, thresholds_at
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.doubt import FEATURES, SURE, bare_first_contact, doubt_of, turning_point
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.tail import Belief, Sample, Tail
from mailwarden.evaluation.figures import worst_by_message
from mailwarden.training.calibrate import stack
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.said import Said
from mailwarden.training.sites import with_own_sites, with_sites
from mailwarden.training.thresholds import Budgets, choose_thresholds

SHARE = 0.1
"""Of good mail, as much as may be doubtful."""

LEAST = 10
"""Doubtful messages of each class below which nothing is weighed on them, and no costly detector is asked."""

_NARROWEST, _WIDEST = 0.5, 30.0
_SITE_MOST = 2_000.0
"""Messages as which a site counts at most where costly detectors are weighed: a large one is not all there is."""

_SCALE_SHARE = 0.5
"""Of the cheap ones' scale, the least that a tail has where costly ones were asked."""

_MIXED = "mixed"
_AS_IT_IS = Fusion({_MIXED: 1.0}, 0.0, {_MIXED: Calibration(1.0, 0.0)})
_Rows = NDArray[np.intp]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows that detectors did not learn from, and messages among them.

    index: positions in all rows. unseen: they are of sites that nothing was learned from. number: (len(index),) each
    one's message; first: (messages,) position in all rows of each message's first. bare: (messages,) first contacts
    without payload, None where nobody can tell.
    """

    rows: LabelledRows
    index: _Rows
    unseen: bool
    number: NDArray[np.intp]
    first: _Rows
    bare: NDArray[np.bool_] | None

    @classmethod
    def of(cls, rows: LabelledRows, tables: Mapping[str, FeatureTable], index: _Rows, *, unseen: bool) -> HeldOut:
        """tables: of each detector, in which first contacts are looked for."""
        _, first, number = np.unique(rows.message[index], return_index=True, return_inverse=True)
        columns = {name: table.columns[name] for table in tables.values() for name in FEATURES if name in table.columns}
        bare = bare_first_contact(FeatureTable(columns, rows.n).take(index[first]))
        return cls(rows, index, unseen, number.astype(np.intp), index[first], bare)

    def worst(self, logit: _Floats) -> _Floats:
        """(messages,) of (n,) log-odds of all rows."""
        return worst_by_message(self.number.astype(np.int64), logit[self.index], len(self.first))

    def turning(self, combination: Combination, logit: _Floats) -> _Floats:
        """(messages,) log-odds where each message's verdict turns. logit: (n,) of the cheap detectors."""
        tail = combination.tail
        tenants = self.rows.tenant[self.first].astype(str)
        names, which = np.unique(tenants, return_inverse=True)
        good, worst = ~self.rows.bad[self.first], self.worst(logit)

        def steps(name: str) -> Thresholds:
            if not self.unseen or tail is None:
                return combination.thresholds_of(name)
            own = Sample.of(worst[good & (tenants == name)])
            # What a source of bad mail alone sends comes to sites as they are in the middle.
            return thresholds_at(tail, tail.belief(own) if own.n else Belief(0.0, 0.0))

        return np.array([turning_point(steps(name)) for name in names.tolist()])[which]

    def over(self, combination: Combination, logit: _Floats) -> _Floats:
        """(n,) how far log-odds lie over where the message's verdict turns; 0 of other rows."""
        found = np.zeros(self.rows.n)
        found[self.index] = logit[self.index] - self.turning(combination, logit)[self.number]
        return found

    def doubtful(self, combination: Combination, consult: Consult, logit: _Floats) -> _Rows:
        """Positions in all rows of those of doubtful messages. logit: (n,) of the cheap detectors."""
        doubt = doubt_of(self.worst(logit), self.turning(combination, logit), consult, self.bare)
        return self.index[(doubt < SURE)[self.number]]


def band(held: HeldOut, combination: Combination, logit: _Floats) -> Consult | None:
    """When costly detectors are asked, with no fusion yet; None where no verdict turns. logit: (n,) of cheap ones."""
    turning = held.turning(combination, logit)
    good = ~held.rows.bad[held.first] & np.isfinite(turning)
    if int(good.sum()) < LEAST:
        return None
    over = (held.worst(logit) - turning)[good]
    _, site, counts = np.unique(held.rows.tenant[held.first[good]].astype(str), return_inverse=True, return_counts=True)
    weight = 1.0 / counts[site]
    falling = np.argsort(-over, kind="stable")
    within = int((np.cumsum(weight[falling]) <= SHARE * weight.sum()).sum())
    below = float(np.clip(-over[falling[max(0, within - 1)]], _NARROWEST, _WIDEST))
    steps = combination.thresholds
    apart = steps.quarantine - steps.junk if np.isfinite(steps.quarantine) else below
    return Consult(below, float(np.clip(apart, _NARROWEST, below)), combination)


Learn = Callable[[NDArray[np.bool_]], Mapping[str, Detector]]
"""The costly detectors fitted to the rows that are marked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Held-out rows with what costly detectors say of those that are doubtful. scored: (n,) which these are."""

    held: HeldOut
    said: Said
    scored: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        held: HeldOut,
        doubtful: _Rows,
        tables: Mapping[str, FeatureTable],
        parts: Sequence[tuple[NDArray[np.bool_], Mapping[str, Detector]]],
    ) -> Asked:
        """tables: of the costly detectors. parts: (n,) rows, and fitted detectors that did not learn from them."""
        n = held.rows.n
        scored = np.zeros(n, dtype=np.bool_)
        scored[doubtful] = True
        indices = [np.flatnonzero(part & scored) for part, _ in parts]
        said = [
            Said.of(fitted, {name: tables[name].take(index) for name in fitted}, index, n)
            for index, (_, fitted) in zip(indices, parts, strict=True)
        ]
        return cls(held, Said.joined(said, indices), scored)

    def where(self, combination: Combination, consult: Consult, logit: _Floats) -> _Rows:
        """Positions of scored rows of messages that are doubtful by these log-odds."""
        found = self.held.doubtful(combination, consult, logit)
        return found[self.scored[found]]

    def tells(self, index: _Rows) -> bool:
        """Whether rows are enough to weigh detectors on."""
        bad = self.held.rows.bad[index]
        return min(int(bad.sum()), int((~bad).sum())) >= LEAST

    def fusion(self, cheap: Combination, logit: _Floats, index: _Rows, ridge: float) -> Fusion:
        """Fitted to rows; logit: (n,) of the cheap detectors, fused by `cheap`."""
        rows, own = self.held.rows, self.said.at(index)
        over, weight = self.held.over(cheap, logit)[index], _balanced(rows, index)
        return stack(cheap.fusion, over, own.raw, rows.bad[index], weight, own.silent, ridge=ridge)

    def mixed(self, fusion: Fusion, cheap: Said, logit: _Floats, index: _Rows) -> _Floats:
        """(n,) log-odds by `fusion` at these rows, by the cheap ones elsewhere."""
        out = np.array(logit, dtype=np.float64)
        both = cheap.with_others(self.said).at(index)
        out[index] = fusion.logit(both.raw, both.silent)
        return out

    def tail(self, cheap: Combination, fusion: Fusion, said: Said, logit: _Floats, index: _Rows) -> Tail | None:
        """The tail of good mail where costly ones were asked: the cheap ones', moved as that of doubtful mail is.

        Thresholds lie where good mail is rare, of which all that is not doubtful tells nothing. index: doubtful rows.
        """
        if cheap.tail is None:
            return None
        rows = self.held.rows
        good = index[~rows.bad[index]]
        over, weight = self.held.over(cheap, logit), _balanced(rows, good)
        added = (self.mixed(fusion, said, logit, good) - logit)[good]
        before, after = Sample.of(over[good], weight), Sample.of(over[good] + added, weight)
        if not before.n or not after.n:
            return cheap.tail
        wider = after.scale - before.scale
        scale = max(cheap.tail.scale + wider, _SCALE_SHARE * cheap.tail.scale)
        wider = scale - cheap.tail.scale
        moved = after.at - before.at + wider * math.log(SHARE)
        return replace(cheap.tail, at=cheap.tail.at + moved, scale=scale)


@dataclass(frozen=True, slots=True)
class Consulting:
    """What costly detectors say of later mail and of mail of sites left out, and how that is made to count.

    judging: positions of later rows that nothing is fitted to. fusing: of later rows that may be. evidence: see
    `sites.with_sites`.
    """

    consult: Consult
    late: Asked
    apart: Asked | None
    fusing: _Rows
    judging: HeldOut
    budgets: Budgets
    evidence: _Floats | None
    ridge: float

    def stacked(self, combination: Combination, late: Said, apart: Said | None) -> tuple[Combination, _Floats]:
        """A combination with what counts where costly detectors were asked beside it, and (n,) log-odds of later mail.

        late, apart: what the cheap ones said of later mail, and of mail of sites left out. Where too little doubtful
        mail tells what costly ones are worth, the combination stays as it is and none is asked.
        """
        logit = _logit(combination, late)
        asked = self.late.where(combination, self.consult, logit)
        own = asked[np.isin(asked, self.fusing)]
        fusion, mixed_apart, tail = None, None, None
        if self.apart is not None and apart is not None:
            other = _logit(combination, apart)
            there = self.apart.where(combination, self.consult, other)
            if self.apart.tells(there):
                fusion = self.apart.fusion(combination, other, there, self.ridge)
                mixed_apart = self.apart.mixed(fusion, apart, other, there)
                tail = self.apart.tail(combination, fusion, apart, other, there)
        if fusion is None and self.late.tells(own):
            fusion = self.late.fusion(combination, logit, own, self.ridge)
        if fusion is None:
            return combination, logit
        mixed = self.late.mixed(fusion, late, logit, asked)
        judging = self.judging
        found = with_sites(
            self._steps(mixed),
            judging.rows,
            None if mixed_apart is None else _as_said(mixed_apart),
            judging.index[:0] if self.apart is None else self.apart.held.index,
            _as_said(mixed),
            judging.index,
            self.budgets,
            self.evidence,
        )
        found = replace(found, tail=tail or found.tail)
        return replace(combination, consult=replace(self.consult, combination=replace(found, fusion=fusion))), mixed

    def with_own(self, combination: Combination, late: Said, apart: Said | None) -> tuple[Combination, _Floats]:
        """As `stacked`, and what counts for tenants that were learned from likewise, by their later mail where it is
        enough; the log-odds are by that where it is there."""
        found, mixed = self.stacked(combination, late, apart)
        own = combination.own
        if own is None:
            return found, mixed
        logit = _logit(own, late)
        asked = self.late.where(own, self.consult, logit)
        weighed, index, odds = self.late, asked[np.isin(asked, self.fusing)], logit
        if not weighed.tells(index) and self.apart is not None and apart is not None:
            weighed, odds = self.apart, _logit(own, apart)
            index = weighed.where(own, self.consult, odds)
        if not weighed.tells(index):
            return found, logit
        fusion = weighed.fusion(own, odds, index, self.ridge)
        mixed = self.late.mixed(fusion, late, logit, asked)
        judging = self.judging
        steps = with_own_sites(
            self._steps(mixed), own.learned, judging.rows, _as_said(mixed), judging.index, self.budgets
        )
        consult = replace(self.consult, combination=replace(steps, fusion=fusion))
        return replace(found, own=replace(own, consult=consult)), mixed

    def _steps(self, mixed: _Floats) -> Combination:
        """The thresholds of all later mail that nothing was fitted to; mixed: (n,) log-odds."""
        good = self.judging.worst(mixed)[~self.judging.rows.bad[self.judging.first]]
        return Combination(_AS_IT_IS, choose_thresholds(good, self.budgets).thresholds)


def _logit(combination: Combination, said: Said) -> _Floats:
    return np.asarray(combination.fusion.logit(said.raw, said.silent), dtype=np.float64)


def _as_said(mixed: _Floats) -> Said:
    return Said({_MIXED: mixed}, {_MIXED: np.zeros(len(mixed), dtype=np.bool_)})


def _balanced(rows: LabelledRows, index: _Rows) -> _Floats:
    """(len(index),) weights, by which no site counts as more than so many messages."""
    weight = rows.weight[index].astype(np.float64)
    _, site = np.unique(rows.tenant[index].astype(str), return_inverse=True)
    total = np.bincount(site, weight)
    return np.asarray(weight * np.minimum(1.0, _SITE_MOST / total)[site])
