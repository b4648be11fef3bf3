"""Costly detectors of a training: fitted, stacked on every way to decide that has one, and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Combination
from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.evaluation.figures import Evaluation, evaluate
from mailwarden.training.consulting import Asked, Consulting, HeldOut, band
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.said import Said
from mailwarden.training.sites import parts_left_out
from mailwarden.training.split import TimeSplit
from mailwarden.training.thresholds import Budgets

_RIDGE = 1.0
"""Pull towards what the cheap ones say alone, in messages: doubtful mail is some hundreds."""

Fit = Callable[[type[Detector], NDArray[np.intp]], Detector]
"""A detector of a class that has learned from the rows at these positions."""

Told = tuple[Said, Said | None]
"""What cheap detectors said of later mail, and of mail of sites left out, None where there is but one."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a training has. early, late, fusing: positions of rows; fusing: of late ones that may be fitted to."""

    rows: LabelledRows
    tables: Mapping[str, FeatureTable]
    split: TimeSplit
    early: NDArray[np.intp]
    late: NDArray[np.intp]
    fusing: NDArray[np.intp]
    budgets: Budgets
    evidence: NDArray[np.float64] | None

    @property
    def judging(self) -> NDArray[np.intp]:
        """Positions of rows that nothing is fitted to."""
        return np.flatnonzero(self.split.judge[self.rows.message])


@dataclass(frozen=True, slots=True)
class Stacked:
    """What came of it, on messages that nothing was fitted to.

    evaluations: of "fused" with costly detectors asked about what is doubtful, and of each of these on that mail.
    below, above: the band, 0 where none is asked. asked, messages: how many. alone: of the cheap ones by themselves.
    """

    evaluations: Mapping[str, Evaluation]
    below: float = 0.0
    above: float = 0.0
    asked: int = 0
    messages: int = 0
    alone: Evaluation | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        alone = None if self.alone is None else self.alone.as_json()
        return {
            "below": self.below, "above": self.above, "asked": self.asked, "messages": self.messages, "cheap": alone,
        }  # fmt: skip


def consult_all(
    ground: Ground,
    kinds: Mapping[str, type[Detector]],
    fit: Fit,
    whole: Combination,
    without: Mapping[str, Combination],
    said: Told,
    blind: Told,
) -> tuple[Combination, dict[str, Combination], dict[str, Detector], Stacked]:
    """The combinations with when and how costly detectors count, these fitted to the earlier mail, and what they do.

    said, blind: of all cheap detectors, with histories and without. Of ways to be away those have costly detectors in
    which one thing alone is.
    """
    rows, tables = ground.rows, ground.tables
    fitted = {name: fit(kind, ground.early) for name, kind in kinds.items()}
    late = HeldOut.of(rows, tables, ground.late, unseen=False)
    parts = parts_left_out(rows) if said[1] is not None else []
    apart = HeldOut.of(rows, tables, np.flatnonzero(np.logical_or.reduce(parts)), unseen=True) if parts else None
    judging = HeldOut.of(rows, tables, ground.judging, unseen=False)
    chosen_on, told = (late, said[0]) if apart is None or said[1] is None else (apart, said[1])
    consult = band(chosen_on, whole, _logit(whole, told))
    if consult is None:
        return whole, dict(without), fitted, _not_asked(kinds)
    ways = [(whole, said), *([(without[HISTORY], blind)] if HISTORY in without else [])]
    ways_late = [*ways, *((way.own, one) for way, one in ways if way.own is not None)]

    def doubtful(held: HeldOut, place: int) -> NDArray[np.intp]:
        there = [(way, one[place]) for way, one in (ways if place else ways_late)]
        found = [held.doubtful(way, consult, _logit(way, one)) for way, one in there if one is not None]
        return np.unique(np.concatenate(found))

    def others(out: NDArray[np.bool_]) -> Mapping[str, Detector]:
        return {name: fit(kind, np.flatnonzero(~out)) for name, kind in kinds.items()}

    everything = np.ones(rows.n, dtype=np.bool_)
    consulting = Consulting(
        consult,
        Asked.of(late, doubtful(late, 0), tables, [(everything, fitted)]),
        None if apart is None else Asked.of(apart, doubtful(apart, 1), tables, [(out, others(out)) for out in parts]),
        ground.fusing,
        judging,
        ground.budgets,
        ground.evidence,
        _RIDGE,
    )
    found, mixed = consulting.with_own(whole, *said)
    combined = dict(without)
    for name, combination in without.items():
        away = name.split("+")
        if len(away) == 1:
            one = blind if name == HISTORY else said
            there = one[0].without(away), None if one[1] is None else one[1].without(away)
            combined[name], _ = consulting.with_own(combination, *there)
    known = found.serving(own=True)
    return found, combined, fitted, _judged(consulting, known, _logit(known, said[0]), mixed)


def _logit(combination: Combination, said: Said) -> NDArray[np.float64]:
    return np.asarray(combination.fusion.logit(said.raw, said.silent), dtype=np.float64)


def _not_asked(kinds: Mapping[str, type[Detector]]) -> Stacked:
    nothing, nobody = np.empty(0), np.empty(0, dtype=np.bool_)
    return Stacked({name: evaluate(nothing, nobody, []) for name in kinds})


def _judged(
    consulting: Consulting, whole: Combination, cheap: NDArray[np.float64], mixed: NDArray[np.float64]
) -> Stacked:
    judging, consult = consulting.judging, whole.consult
    names = consulting.late.said.raw
    if consult is None:
        return _not_asked(dict.fromkeys(names))  # type: ignore[arg-type]
    rows = judging.rows
    bad, labels = rows.bad[judging.first], [rows.labels[at] for at in judging.first.tolist()]
    asked = np.zeros(rows.n, dtype=np.bool_)
    asked[consulting.late.where(whole, consult, cheap)] = True
    of_message = asked[judging.first]
    # Held against one threshold, what was asked about and what was not.
    here, there = whole.thresholds.junk, consult.combination.thresholds.junk
    shift = here - there if np.isfinite(here) and np.isfinite(there) else 0.0
    fused = judging.worst(mixed) + np.where(of_message, shift, 0.0)
    alone = judging.worst(cheap)
    found = {"fused": evaluate(fused, bad, labels, threshold=here)}
    for name in names:
        raw = np.where(consulting.late.said.silent[name] | ~asked, -np.inf, consulting.late.said.raw[name])
        own = judging.worst(raw)[of_message]
        found[name] = evaluate(
            own, bad[of_message], [label for label, at in zip(labels, of_message, strict=True) if at]
        )
    return Stacked(
        found,
        consult.below,
        consult.above,
        int(of_message.sum()),
        len(bad),
        evaluate(alone, bad, labels, threshold=here),
    )
