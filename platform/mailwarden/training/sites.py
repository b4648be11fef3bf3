"""How good mail of sites scores that detectors never saw: the ground of thresholds for tenants not learned from.

1. Tenants with mail enough are sites; they are dealt into at most `FOLDS` parts, each of which is left out once.
2. Detectors learn from the other parts and score the part that is left out. So every row is scored by detectors that
   saw none of its site, as a new tenant's mail is.
3. Of each site and each way to be away, the tail of its good mail's fused log-odds is kept (`tail.Sample`).

Invariant: no row of a site is scored by detectors that learned from that site.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Combination, Fusion
from mailwarden.domain.detection.tail import SPREAD, Belief, Middle, Sample, Tail
from mailwarden.evaluation.figures import worst_by_message
from mailwarden.training.dataset import LabelledRows
from mailwarden.training.said import Said
from mailwarden.training.thresholds import Budgets

FOLDS = 3
LEAST_MESSAGES = 200
"""Labelled messages from which on a tenant counts as a site."""


def site_names(rows: LabelledRows) -> list[str]:
    """Tenants with labels enough to be a site."""
    return sorted(_sizes(rows))


def _sizes(rows: LabelledRows) -> dict[str, int]:
    names, counts = np.unique(rows.tenant[rows.of_messages()].astype(str), return_counts=True)
    return {str(name): int(n) for name, n in zip(names, counts, strict=True) if n >= LEAST_MESSAGES}


def parts_left_out(rows: LabelledRows) -> list[NDArray[np.bool_]]:
    """(n,) whether a row is left out, for each part; none where there are fewer than two sites, or the others of a part
    hold but one class.

    Sites are dealt the largest first, each to the part that is smallest so far.
    """
    sizes = _sizes(rows)
    if len(sizes) < 2:
        return []
    parts: list[list[str]] = [[] for _ in range(min(FOLDS, len(sizes)))]
    for site in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(parts, key=lambda part: sum(sizes[name] for name in part)).append(site)
    tenant = rows.tenant.astype(str)
    left_out = [np.isin(tenant, part) for part in parts]
    return [] if any(len(np.unique(rows.bad[~out])) < 2 for out in left_out) else left_out


def with_sites(
    combination: Combination,
    rows: LabelledRows,
    unseen: Said | None,
    unseen_at: NDArray[np.intp],
    held_out: Said,
    held_out_at: NDArray[np.intp],
    budgets: Budgets,
    evidence: NDArray[np.float64] | None,
) -> Combination:
    """A combination with the tail of good mail at sites, and what is believed of those that it learned from.

    unseen: what was said of rows at `unseen_at` by detectors that saw nothing of their site, None where there was but
    one site. held_out: of the later rows, at `held_out_at`, by detectors that saw the earlier mail of their site. With
    one site the thresholds that were found there stay its own. evidence: (n,) how much a row counts as good without its
    label, None where nobody can tell.
    """
    shares = (budgets.banner, budgets.junk, budgets.quarantine)
    own = samples(rows, combination.fusion, held_out, held_out_at)
    learned = _names(rows.tenant.astype(str))
    if unseen is None:
        found = Tail.of(list(own.values()), SPREAD, shares)
        if found is None:
            return combination
        known = middles(rows, combination.fusion, held_out, held_out_at, evidence)
        return _with(combination, _with_middles(found, own, known), learned, {})
    others = samples(rows, combination.fusion, unseen, unseen_at)
    tail = Tail.of(list(others.values()), SPREAD, shares)
    if tail is None:
        return combination
    tail = _with_middles(tail, others, middles(rows, combination.fusion, unseen, unseen_at, evidence))
    # Of a site whose mail is all older than what was held out, its mail by detectors that never saw it tells.
    beliefs = {name: tail.belief(own.get(name) or others.get(name) or Sample(0.0)) for name in learned}
    return _with(combination, tail, learned, beliefs)


def with_own_sites(
    combination: Combination,
    known: Collection[str],
    rows: LabelledRows,
    held_out: Said,
    held_out_at: NDArray[np.intp],
    budgets: Budgets,
) -> Combination:
    """A combination for these tenants alone, with what is believed of each by its own held-out good mail, at
    `held_out_at`; of a single one the thresholds stay that were found on that."""
    learned = frozenset(known)
    tail = None
    if len(learned) > 1:
        own = samples(rows, combination.fusion, held_out, held_out_at)
        own = {name: sample for name, sample in own.items() if name in learned}
        tail = Tail.of(list(own.values()), SPREAD, (budgets.banner, budgets.junk, budgets.quarantine))
    if tail is None:
        return replace(combination, learned=learned)
    return _with(combination, tail, learned, {name: tail.belief(own.get(name) or Sample(0.0)) for name in learned})


def _with_middles(tail: Tail, every: Mapping[str, Sample], middles: Mapping[str, Middle]) -> Tail:
    below = [every[name].at - middle.at for name, middle in middles.items() if name in every]
    if not below:
        return tail
    spread = float(np.std(below, ddof=1)) if len(below) > 1 else 0.0
    return replace(tail, middle_below=float(np.mean(below)), middle_spread=max(spread, SPREAD / 2.0))


def samples(rows: LabelledRows, fusion: Fusion, said: Said, index: NDArray[np.intp]) -> dict[str, Sample]:
    """The tail of good mail among the rows at `index`, by tenant; of those that have enough."""
    found = {name: Sample.of(logit) for name, logit, _ in _good_of_each(rows, fusion, said, index, None)}
    return {name: sample for name, sample in found.items() if sample.n}


def middles(
    rows: LabelledRows,
    fusion: Fusion,
    said: Said,
    index: NDArray[np.intp],
    evidence: NDArray[np.float64] | None,
) -> dict[str, Middle]:
    """The middle of good mail among the rows at `index` that is good on other evidence than its label too, by tenant;
    of those that have enough. evidence: (n,) by which each row counts; None where nobody can tell."""
    if evidence is None:
        return {}
    found = {name: Middle.of(logit, w) for name, logit, w in _good_of_each(rows, fusion, said, index, evidence)}
    return {name: middle for name, middle in found.items() if middle.n}


def _good_of_each(
    rows: LabelledRows,
    fusion: Fusion,
    said: Said,
    index: NDArray[np.intp],
    evidence: NDArray[np.float64] | None,
) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Each tenant with the log-odds of its good messages, and how much each counts."""
    part = said.at(index)
    logit = fusion.logit(part.raw, part.silent)
    tenant, good = rows.tenant[index].astype(str), ~rows.bad[index]
    for name in _names(tenant[good]):
        own = np.flatnonzero(good & (tenant == name))
        _, number = np.unique(rows.message[index[own]], return_inverse=True)
        n = int(number.max()) + 1
        weights = np.ones(n) if evidence is None else worst_by_message(number, evidence[index[own]], n)
        yield name, worst_by_message(number, logit[own], n), weights


def _names(tenant: NDArray[np.str_]) -> Sequence[str]:
    return sorted({str(name) for name in tenant})


def _with(combination: Combination, tail: Tail, learned: Iterable[str], tenants: Mapping[str, Belief]) -> Combination:
    return Combination(combination.fusion, combination.thresholds, tail, frozenset(learned), tenants)
