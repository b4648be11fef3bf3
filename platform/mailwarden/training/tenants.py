"""What is believed of tenants, by mail that a bundle's detectors did not learn from: thresholds that travel.

1. Of a tenant's mail that counts (labelled good, or good on other evidence), the fused log-odds of every combination.
2. Where at least `tail.LEAST` labelled messages count they speak alone, since they are of all good mail; else the
   middle of all that counts speaks, and how far all good mail's tail lies above that at other sites.
3. The bundle's combinations take what is believed of the tenant then (`Tail.belief`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Combination, Fusion
from mailwarden.domain.detection.tail import LEAST, Middle, Sample
from mailwarden.stores.bundle import Bundle


@dataclass(frozen=True, slots=True)
class TenantMail:
    """Messages of one tenant that no detector learned from.

    log_odds: (n,) fused, by `away_name`, "" with nothing away, NaN where a detector failed. evidence: (n,) how much
    each counts as good without its label, 0..1. good, bad: (n,) whether a label says so.
    """

    log_odds: Mapping[str, NDArray[np.float64]]
    evidence: NDArray[np.float64]
    good: NDArray[np.bool_]
    bad: NDArray[np.bool_]

    @property
    def labelled(self) -> bool:
        """Whether labels alone tell enough of its good mail."""
        return int(self.good.sum()) >= LEAST

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n,) how much each message counts."""
        if self.labelled:
            return self.good.astype(np.float64)
        return np.where(self.bad, 0.0, np.where(self.good, 1.0, self.evidence))


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was found of a tenant. n: messages looked at. counted: how many of them counted. shift: log-odds that its
    thresholds lie above those of the bundle's sites, with nothing away. reached: share of what counted that would be
    held back, 0..1. expected: of all its good mail, by what is believed of the tenant: the share that would be held
    back, and the ends of its 95% interval."""

    n: int
    counted: float
    labelled: bool
    shift: float
    reached: float
    expected: tuple[float, float, float]


def calibrate(bundle: Bundle, tenants: Mapping[str, TenantMail]) -> tuple[Bundle, dict[str, Calibrated]]:
    """The bundle with what these tenants' mail tells of them, and what that is; others stay as they are.

    So do tenants that the bundle learned from, whose later mail was held out for it then. A bundle that knows nothing
    of sites is returned as it is.
    """
    whole = _moved(bundle.whole, "", tenants)
    without = {name: _moved(combination, name, tenants) for name, combination in bundle.without.items()}
    found = {}
    for name, mail in tenants.items():
        own = whole.tenants.get(name)
        if own is None or name in whole.learned:
            continue
        weights = mail.weights
        junk = whole.thresholds_of(name).junk
        held = mail.log_odds[""] >= junk
        counted = float(weights.sum())
        reached = float((weights * held).sum() / counted) if counted else 0.0
        assert whole.tail is not None
        expected = whole.tail.passing(junk, own)
        found[name] = Calibrated(len(weights), counted, mail.labelled, own.shift, reached, expected)
    return replace(bundle, whole=whole, without=without), found


def _moved(combination: Combination, away: str, tenants: Mapping[str, TenantMail]) -> Combination:
    if combination.tail is None:
        return combination
    beliefs = dict(combination.tenants)
    for name, mail in tenants.items():
        if name in combination.learned:
            continue
        # What no detector could score says nothing, and never counts as good.
        odds = mail.log_odds[away]
        told = np.isfinite(odds)
        of = Sample.of if mail.labelled else Middle.of
        beliefs[name] = combination.tail.belief(of(odds[told], mail.weights[told]))
    consult = combination.consult
    if consult is not None and not _on_one_scale(combination.fusion, consult.combination.fusion):
        # Of a release before: what moves the cheap ones' thresholds would hold back good mail by the costly ones'.
        consult = None
    if consult is not None and consult.combination.tail is not None:
        # Log-odds are of one scale, whoever was asked: what shifts a tenant's shifts both.
        consult = replace(consult, combination=replace(consult.combination, tenants=beliefs))
    return replace(combination, tenants=beliefs, consult=consult)


def _on_one_scale(cheap: Fusion, both: Fusion) -> bool:
    """Whether costly detectors were stacked on the cheap ones' own weights, as `calibrate.stack` does."""
    return all(both.weights.get(name) == weight for name, weight in cheap.weights.items())
