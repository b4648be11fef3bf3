"""Scores of a batch of messages: what each detector said of each row, and what came of it for each message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import HISTORY, Combination, Verdict, sigmoid
from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.stores.accepted import LoggedScores, Missing

MISSING: tuple[Missing, ...] = get_args(Missing)

_ABSTAINED, _UNASKED, FAILED, _AWAY = (1 + MISSING.index(why) for why in ("abstained", "not asked", "failed", "away"))


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """What one detector said of n rows.

    raw: (n,), not finite where it failed. abstains: (n,), None for nowhere. seconds: for all rows together.
    """

    raw: NDArray[np.float64]
    abstains: NDArray[np.bool_] | None
    seconds: float

    def among(self, at: NDArray[np.intp], n: int) -> DetectorScores:
        """The same as of rows at these positions of n, not finite elsewhere."""
        if len(at) == n:
            return self
        raw = np.full(n, np.nan)
        raw[at] = self.raw
        if self.abstains is None:
            return DetectorScores(raw, None, self.seconds)
        silent = np.zeros(n, dtype=np.bool_)
        silent[at] = self.abstains
        return DetectorScores(raw, silent, self.seconds)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is away for some messages, and what counts for them then.

    away: names of detectors, and `decision.HISTORY`. broken: those of them that failed on these messages. combination:
    what the log-odds come of, and the thresholds that they are held against. enough: more than a banner may be given.
    unasked: costly detectors that are there and were not asked. asked: they were, and may have failed. own: they are of
    tenants for which `Combination.own` counts.
    """

    away: frozenset[str]
    broken: tuple[str, ...]
    combination: Combination
    enough: bool
    unasked: frozenset[str] = frozenset()
    asked: bool = False
    own: bool = False

    @property
    def silent(self) -> frozenset[str]:
        """Detectors that have no part in it."""
        return self.away | self.unasked


def fused(
    pattern: Pattern,
    detectors: Mapping[str, DetectorScores],
    amounts: Mapping[str, NDArray[np.float64]],
    at: slice | NDArray[np.intp],
) -> NDArray[np.float64]:
    """Log-odds of the rows at these positions by what counts in `pattern`; amounts: see `BatchScores`."""
    fusion = pattern.combination.fusion
    there = {name: one for name, one in detectors.items() if name not in pattern.silent}
    logit = fusion.logit(
        {name: one.raw[at] for name, one in there.items()},
        {name: None if one.abstains is None else one.abstains[at] for name, one in there.items()},
    )
    for name in amounts.keys() & there.keys():
        logit = logit - fusion.share(name) * amounts[name][at]
    return logit


@dataclass(frozen=True, slots=True)
class Scores:
    """One message's scores: its worst row, fused log-odds and probability there, and calibrated ones by detector.

    worst: position of the row among the message's own. detectors: of those that spoke. away, broken, combination,
    enough, unasked: of its `Pattern`.
    """

    worst: int
    logit: float
    probability: float
    detectors: Mapping[str, float]
    away: frozenset[str]
    broken: tuple[str, ...]
    combination: Combination
    enough: bool
    unasked: frozenset[str] = frozenset()

    def verdict(self, tenant: str, budget: TenantBudget = TRAINED, category: str | None = None) -> Verdict:
        """The strongest verdict that the log-odds reach at the tenant's thresholds within its budget. category: what
        the message would be called, None where nobody asks."""
        return self.combination.thresholds_within(tenant, budget, category).verdict(self.logit)


@dataclass(frozen=True, slots=True)
class RowScores:
    """What the score log keeps of n rows and one detector.

    raw, calibrated: (n,), of no meaning where there is none. milliseconds: (n,) its message's share of the call.
    missing: (n,) int8, 0 where there is a score, else 1 + the place in `MISSING`.
    """

    detector: str
    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    milliseconds: NDArray[np.float64]
    missing: NDArray[np.int8]


@dataclass(frozen=True)
class BatchScores:
    """Scores of n rows of some messages.

    starts: (messages + 1,) where each message's rows begin. logit: (n,) fused. detectors: by name. pattern_of:
    (messages,) position of each message's in `patterns`. amounts: by detector (n,), what rules that are silenced add to
    its score.
    """

    starts: NDArray[np.intp]
    logit: NDArray[np.float64]
    detectors: Mapping[str, DetectorScores]
    patterns: Sequence[Pattern]
    pattern_of: NDArray[np.intp]
    amounts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @cached_property
    def matrix(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(n, detectors) raw scores in order of `detectors`, and where they abstain."""
        silent = np.zeros((len(self.logit), len(self.detectors)), dtype=np.bool_)
        for at, one in enumerate(self.detectors.values()):
            if one.abstains is not None:
                silent[:, at] = one.abstains
        raw = np.array([one.raw for one in self.detectors.values()]).T if self.detectors else np.empty(silent.shape)
        return np.ascontiguousarray(raw), silent

    def under(self, pattern: Pattern) -> BatchScores:
        """What would have come of it, had for every message been away what `pattern` says."""
        logit = np.empty_like(self.logit)
        logit[:] = fused(pattern, self.detectors, self.amounts, slice(None))
        return self.with_logit(pattern, logit)

    def with_logit(self, pattern: Pattern, logit: NDArray[np.float64]) -> BatchScores:
        """The same with these log-odds (n,), of what `pattern` says, for every message."""
        nothing = np.zeros(len(self.starts) - 1, dtype=np.intp)
        return BatchScores(self.starts, logit, self.detectors, (pattern,), nothing, self.amounts)

    @property
    def _never_asked(self) -> frozenset[str]:
        """Costly detectors that were asked about none of the messages."""
        return frozenset(name for pattern in self.patterns for name in pattern.unasked if name not in self.detectors)

    @cached_property
    def worst(self) -> NDArray[np.intp]:
        """(messages,) position of each message's row of the highest log-odds, the first of several."""
        lengths = np.diff(self.starts)
        if len(lengths) == 0:
            return np.empty(0, dtype=np.intp)
        if len(lengths) == 1:
            return np.array([int(np.argmax(self.logit))], dtype=np.intp)
        highest = np.repeat(np.maximum.reduceat(self.logit, self.starts[:-1]), lengths)
        at = np.flatnonzero(self.logit == highest)
        _, first = np.unique(np.repeat(np.arange(len(lengths)), lengths)[at], return_index=True)
        return np.asarray(at[first], dtype=np.intp)

    def of(self, message: int = 0) -> Scores:
        """One message's."""
        worst = int(self.worst[message])
        pattern = self.patterns[int(self.pattern_of[message])]
        calibrations = pattern.combination.fusion.calibrations
        spoke = [
            name
            for name, one in self.detectors.items()
            if name not in pattern.silent and (one.abstains is None or not one.abstains[worst])
        ]
        # Floats of Python are the same as NumPy's, and a tenth of the time where there is one.
        odds = [calibrations[name].slope * float(self.detectors[name].raw[worst]) for name in spoke]
        odds = [own + calibrations[name].intercept for name, own in zip(spoke, odds, strict=True)]
        logit = float(self.logit[worst])
        *own, probability = sigmoid(np.array([*odds, logit])).tolist()
        return Scores(
            worst - int(self.starts[message]),
            logit,
            probability,
            dict(zip(spoke, own, strict=True)),
            pattern.away,
            pattern.broken,
            pattern.combination,
            pattern.enough,
            pattern.unasked,
        )

    def logged(self, models: Mapping[str, int], message: int = 0) -> tuple[LoggedScores, ...]:
        """What the score log keeps of one message. models: versions in the registry by detector name."""
        pattern = self.patterns[int(self.pattern_of[message])]
        calibrations = pattern.combination.fusion.calibrations
        start, stop = int(self.starts[message]), int(self.starts[message + 1])
        nothing: list[float | None] = [None] * (stop - start)
        share = 1_000.0 * (stop - start) / max(1, len(self.logit))
        found = []
        for name, one in self.detectors.items():
            took = round(one.seconds * share, 4)
            if name in pattern.unasked:
                continue
            if name in pattern.away:
                found.append(LoggedScores(name, models[name], took, nothing, nothing, ["failed"] * (stop - start)))
                continue
            own, values = calibrations[name], one.raw[start:stop].tolist()
            # Floats of Python are the same as NumPy's, see `of`.
            calibrated: list[float | None] = [own.slope * value + own.intercept for value in values]
            missing: list[Missing | None] = [None] * (stop - start)
            if one.abstains is not None:
                for at, silent in enumerate(one.abstains[start:stop].tolist()):
                    if silent:
                        values[at], calibrated[at], missing[at] = None, None, "abstained"
            found.append(LoggedScores(name, models[name], took, values, calibrated, missing))
        unloaded = sorted(pattern.away - set(self.detectors) - {HISTORY})
        unasked = sorted(pattern.unasked)
        return (
            *found,
            *(
                LoggedScores(name, models[name], 0.0, nothing, nothing, ["not asked"] * (stop - start))
                for name in unasked
            ),
            *(LoggedScores(name, None, 0.0, nothing, nothing, ["away"] * (stop - start)) for name in unloaded),
        )

    def by_row(self) -> list[RowScores]:
        """What the score log keeps of all messages: as `logged` says it of each, without a loop over them."""
        lengths = np.diff(self.starts)
        n = len(self.logit)
        of_row = np.repeat(self.pattern_of, lengths)
        share = 1_000.0 * np.repeat(lengths, lengths) / max(1, n)
        found = []
        nobody = {name: DetectorScores(np.full(n, np.nan), None, 0.0) for name in sorted(self._never_asked)}
        for name, one in {**self.detectors, **nobody}.items():
            calibrated = np.full(n, np.nan)
            missing = np.zeros(n, dtype=np.int8)
            if one.abstains is not None:
                missing[one.abstains] = _ABSTAINED
            for number, pattern in enumerate(self.patterns):
                at = np.flatnonzero(of_row == number)
                if name in pattern.silent:
                    missing[at] = FAILED if name in pattern.away else _UNASKED
                else:
                    calibrated[at] = pattern.combination.fusion.calibrations[name].logit(one.raw[at])
            found.append(RowScores(name, one.raw, calibrated, np.round(one.seconds * share, 4), missing))
        unloaded = {name for pattern in self.patterns for name in pattern.away} - set(self.detectors) - {HISTORY}
        nothing, away = np.full(n, np.nan), np.full(n, _AWAY, dtype=np.int8)
        return [*found, *(RowScores(name, nothing, nothing, np.zeros(n), away) for name in sorted(unloaded))]
