"""Errors grouped into gaps: what they have in common, what they are like, and a rule that would tell them.

Errors are bad messages that are not held back, and good ones that are, at the deployed thresholds. A gap is those that
one short rule holds on (`covering`), so that every gap comes with what tells it; the rest is told by nothing that
detectors read. The rule is found on a sample of the earlier half of the time, and what it holds on is counted over all
mail of either half (`GapCounts`): the later half alone says what it is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.evaluation.coded import Coded
from mailwarden.evaluation.covering import LEAST, Telling, covering
from mailwarden.evaluation.figures import Share
from mailwarden.evaluation.neighbours import Nearest, nearest, space
from mailwarden.evaluation.proposals import Condition, Proposal, above, below, held, propose
from mailwarden.evaluation.resampling import SEED
from mailwarden.evaluation.samples import CAUGHT, DELIVERED, MISSED, OUTCOMES, WRONGLY_HELD, Sample

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MOST_GAPS = 8
"""Of missed, and of wrongly held, messages."""

TOLD_BY = 5
"""Features that are named of a gap."""

KINDS: Mapping[str, tuple[str, str]] = {MISSED: (DELIVERED, CAUGHT), WRONGLY_HELD: (CAUGHT, DELIVERED)}
"""By kind of error: what was judged rightly of the other class, which it was taken for, and of its own."""


@dataclass(frozen=True, slots=True)
class TellingFeature:
    """One feature that tells a gap's errors from what is near to them of the other class and was judged rightly.

    condition: in the words of rules. of_errors, of_neighbours: on how many it holds. lift: how many times the share of
    neighbours that of errors is, one neighbour more counted than there is.
    """

    feature: str
    condition: str
    of_errors: Share
    of_neighbours: Share
    lift: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Errors of one kind that one rule holds on. sampled: of those that were looked at. labels: of these.

    told_by: the most telling first. nearer: of these, whose nearest message of all that was judged rightly is of the
    other class. example: the one that is nearest to the others, by its place in the sample.
    """

    name: str
    kind: str
    sampled: int
    labels: Mapping[str, int]
    told_by: tuple[TellingFeature, ...]
    nearer: Share
    example: int
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a sample. place: (errors,) errors in it. gap: (errors,) place in `gaps`, -1 for none.

    other, own: nearest to each error of what was judged rightly, of the other class and of its own.
    """

    gaps: tuple[Gap, ...]
    place: NDArray[np.intp]
    gap: NDArray[np.intp]
    other: Nearest
    own: Nearest


def find_gaps(sample: Sample, *, seed: int = SEED) -> Found:
    """Gaps of missed messages, then of wrongly held ones, in the order in which they were found."""
    points = space(sample)
    gaps: list[Gap] = []
    places, numbers, others, owns = [], [], [], []
    for kind, (opposite, same) in KINDS.items():
        errors = np.flatnonzero(sample.outcome.has(kind))
        other = nearest(points, errors, np.flatnonzero(sample.outcome.has(opposite)))
        own = nearest(points, errors, np.flatnonzero(sample.outcome.has(same)))
        number = np.full(len(errors), -1)
        for conditions in _conditions(sample, kind, seed):
            proposal = _proposal(sample, kind, len(gaps), conditions)
            if proposal is None:
                continue
            new = held([proposal], sample.rows.take(errors))[:, 0] & (number < 0)
            if new.any():
                number[new] = len(gaps)
                gaps.append(_gap(sample, kind, proposal, errors[new], points, _of(other, new), _of(own, new)))
        places.append(errors)
        numbers.append(number)
        others.append(other)
        owns.append(own)
    return Found(tuple(gaps), np.concatenate(places), np.concatenate(numbers), _joined(others), _joined(owns))


def _conditions(sample: Sample, kind: str, seed: int) -> list[tuple[Condition, ...]]:
    error = sample.outcome.has(kind)
    there = sample.early & (error | sample.outcome.has(KINDS[kind][0]))
    values = sample.values[there]
    told = [at for at in range(values.shape[1]) if not _alike(values[:, at])]
    names = tuple(sample.names[at] for at in told)
    telling = Telling(names, values[:, told], error[there], sample.weight[there])
    return list(covering(telling, MOST_GAPS, seed=seed)) if told else []


def _proposal(sample: Sample, kind: str, number: int, conditions: Sequence[Condition]) -> Proposal | None:
    """None where a case is lacking: the rule holds on no error, or on all that was judged rightly."""
    told = Telling(sample.names, sample.values, sample.outcome.has(kind), sample.weight).holds(conditions)
    fires = np.flatnonzero(told & sample.outcome.has(kind))
    silent = np.flatnonzero(~told & sample.outcome.has(KINDS[kind][0]))
    if not len(fires) or not len(silent):
        return None
    missed = kind == MISSED
    labels = sample.label.take(fires).counts()
    most = sample.label.words[int(np.argmax(labels))]
    return propose(
        f"gap_{number + 1}_{kind.replace(' ', '_')}",
        conditions,
        sample.rows,
        fires=int(fires[0]),
        silent=int(silent[0]),
        words="Like mail that was missed" if missed else "Like good mail that was held back",
        action="banner" if missed else "deliver",
        category=most if missed and most in CATEGORIES else "",
    )


def _gap(
    sample: Sample, kind: str, proposal: Proposal, errors: NDArray[np.intp], points: NDArray[np.float32],
    other: Nearest, own: Nearest,
) -> Gap:  # fmt: skip
    counts = sample.label.take(errors).counts().tolist()
    nearer = _closest(other) < _closest(own)
    middle = points[errors].mean(axis=0)
    example = errors[int(np.argmin(((points[errors] - middle) ** 2).sum(axis=1)))]
    return Gap(
        name=proposal.rule.name,
        kind=kind,
        sampled=len(errors),
        labels={word: n for word, n in zip(sample.label.words, counts, strict=True) if n},
        told_by=telling_features(sample, errors, np.unique(other.place)),
        nearer=Share.of(int(nearer.sum()), len(errors)),
        example=int(example),
        proposal=proposal,
    )


def telling_features(
    sample: Sample, errors: NDArray[np.intp], neighbours: NDArray[np.intp], most: int = TOLD_BY
) -> tuple[TellingFeature, ...]:
    """The features of which one bound, or null, tells errors from neighbours best: by the difference of the shares on
    which it holds (Kolmogorov and Smirnov's statistic)."""
    found = []
    for at, name in enumerate(sample.names):
        own, others = sample.values[errors, at], sample.values[neighbours, at]
        condition = _bound(name, own, others)
        if condition is None:
            continue
        hits, near = int(condition.holds(own).sum()), int(condition.holds(others).sum())
        apart = hits / len(own) - near / len(others)
        lift = (hits / len(own)) / ((near + 1) / (len(others) + 1))
        told = TellingFeature(name, condition.words(), Share.of(hits, len(own)), Share.of(near, len(others)), lift)
        found.append((-apart, name, told))
    return tuple(told for _, _, told in sorted(found, key=lambda one: one[:2])[:most])


def _bound(name: str, own: Floats, others: Floats) -> Condition | None:
    """The condition on one column that holds on the most of own and the least of others; None where none tells."""
    if not len(own) or not len(others):
        return None
    candidates = [Condition(name, low=np.inf, high=-np.inf, null=True), Condition(name)]
    known = np.unique(np.concatenate([own, others]))
    known = known[~np.isnan(known)]
    if len(known) > 1:
        shares = [np.searchsorted(np.sort(one[~np.isnan(one)]), known, "right") / len(one) for one in (own, others)]
        for sign in (1.0, -1.0):
            there = [(one[~np.isnan(one)]).size / len(one) for one in (own, others)]
            # Up to each value, or beyond it.
            apart = shares[0] - shares[1] if sign > 0 else (there[0] - shares[0]) - (there[1] - shares[1])
            at = int(np.argmax(apart[:-1]))
            a, b = float(known[at]), float(known[at + 1])
            candidates.append(Condition(name, high=below(a, b)) if sign > 0 else Condition(name, low=above(a, b)))
    best = max(candidates, key=lambda one: float(one.holds(own).mean() - one.holds(others).mean()))
    return best if best.holds(own).mean() > best.holds(others).mean() else None


@dataclass(frozen=True, slots=True)
class RuleHits:
    """What a gap's rule holds on in one half of the time, over all mail, a message where it does for any recipient.

    bad, good: of how many messages. errors: on how many of the gap's kind; of_errors: that there are. precision: of its
    hits those that it is meant for: bad ones of a rule for missed mail, good ones of one for what was wrongly held.
    """

    bad_hits: int
    bad: int
    good_hits: int
    good: int
    errors: int
    of_errors: int
    precision: Share


class GapCounts:
    """Hits of gaps' rules over messages that are handed in a part at a time, in bounded memory."""

    def __init__(self, gaps: Sequence[Gap]) -> None:
        self._gaps = tuple(gaps)
        self._n = np.zeros((2, len(OUTCOMES)), dtype=np.int64)
        self._hits = np.zeros((2, len(OUTCOMES), len(gaps)), dtype=np.int64)
        self._own = np.zeros(len(gaps), dtype=np.int64)
        self._left = dict.fromkeys(KINDS, 0)

    def add(self, hit: Flags, outcome: Coded, early: Flags) -> NDArray[np.intp]:
        """hit: (n, gaps) where each rule holds on a message. outcome: of `OUTCOMES`. early: (n,) its half.

        Returns (n,) the gap of each message that is an error, the first whose rule holds, -1 for none.
        """
        gap = np.full(len(early), -1)
        for kind in KINDS:
            own = outcome.has(kind)
            of_kind = np.array([one.kind == kind for one in self._gaps], dtype=np.bool_)
            told = hit & of_kind
            first = np.where(told.any(axis=1), told.argmax(axis=1) if told.shape[1] else 0, -1)
            gap[own] = first[own]
            self._left[kind] += int((first[own] < 0).sum())
        self._own += np.bincount(gap[gap >= 0], minlength=len(self._gaps))
        for half, when in enumerate((early, ~early)):
            for code in range(len(OUTCOMES)):
                rows = when & (outcome.codes == code)
                self._n[half, code] += int(rows.sum())
                self._hits[half, code] += hit[rows].sum(axis=0)
        return gap

    def errors(self, at: int) -> int:
        """How many errors are of a gap."""
        return int(self._own[at])

    def left(self, kind: str) -> int:
        """How many errors of a kind are of no gap."""
        return self._left[kind]

    def hits(self, at: int, *, early: bool) -> RuleHits:
        """Of a gap's rule in one half."""
        half = 0 if early else 1
        missed, wrongly, caught, delivered = self._hits[half, :, at].tolist()
        n_missed, n_wrongly, n_caught, n_delivered = self._n[half].tolist()
        for_bad = self._gaps[at].kind == MISSED
        bad, good = missed + caught, wrongly + delivered
        return RuleHits(
            bad_hits=bad,
            bad=n_missed + n_caught,
            good_hits=good,
            good=n_wrongly + n_delivered,
            errors=missed if for_bad else wrongly,
            of_errors=n_missed if for_bad else n_wrongly,
            precision=Share.of(bad if for_bad else good, bad + good),
        )


def too_few(sample: Sample, kind: str) -> bool:
    """Whether the earlier half has fewer errors of a kind than make a gap."""
    return int((sample.outcome.has(kind) & sample.early).sum()) < LEAST


def _alike(column: Floats) -> bool:
    null = np.isnan(column)
    return bool(null.all() or (not null.any() and (column == column[0]).all()))


def _closest(found: Nearest) -> Floats:
    return found.distance[:, 0] if found.distance.shape[1] else np.full(len(found.distance), np.inf)


def _of(found: Nearest, kept: Flags) -> Nearest:
    return Nearest(found.place[kept], found.distance[kept])


def _joined(parts: Sequence[Nearest]) -> Nearest:
    k = max(part.place.shape[1] for part in parts)

    def wide(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.pad(values.astype(np.float64), ((0, 0), (0, k - values.shape[1])), constant_values=np.nan)

    place = np.concatenate([wide(part.place.astype(np.float64)) for part in parts])
    return Nearest(
        np.where(np.isnan(place), -1, place).astype(np.intp), np.concatenate([wide(part.distance) for part in parts])
    )
