"""Where good mail's log-odds thin out, how far sites lie apart in that, and the thresholds that follow for a site.

Scores shift by site: what ranks mail everywhere is cut rightly by no one threshold. So thresholds are a tenant's.

1. Of a site's good mail the share `LEVEL` lies above `at`; above it log-odds thin out exponentially, by `scale`.
2. `at` differs by site, normally distributed with standard deviation `spread`; `scale` does not.
3. A site's own sample of n good messages gives its `at` with variance scale^2 (1 - LEVEL) / (n LEVEL). So what is
   believed of it is the mean of both, weighted by how sure each is: pulled to the other sites' where n is small.
4. Mail that is good on other evidence than a label lies elsewhere than all good mail, by `evident`; sites differ in
   that too, which adds to what is unsure.
5. A threshold for a budget b lies at  at + shift + scale ln(LEVEL / b) + variance / (2 scale): the share of good mail
   above it, averaged over all that the site may be like, is b. Who knows less of a site holds back less of its mail.
   The last part is at most `BOUND`: else nothing would be held back where sites are known to differ much.

Invariants: a sample of none gives the thresholds of a site never seen; a shift is at most `BOUND` whatever the sample.

Source: excesses over a high threshold, Pickands 1975; normal shrinkage, Efron and Morris 1973.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.1
"""Share of good mail that makes a tail."""

BOUND = 3.0
"""Most log-odds that a sample moves a tenant's thresholds by."""

LEAST = 20
"""Fewest good messages that say anything of a tail."""

_SCALE_LEAST = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """The tail of n good messages of one site: see above. n: as many as count, 0 for nothing known."""

    n: float
    at: float = math.nan
    scale: float = math.nan

    @classmethod
    def of(cls, logits: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> Sample:
        """Of (n,) log-odds; weights: (n,) 0..1, how much each counts."""
        weights = np.ones(len(logits)) if weights is None else weights
        n = float(weights.sum())
        if n < LEAST:
            return cls(0.0)
        order = np.argsort(-logits, kind="stable")
        falling, counted = logits[order], np.cumsum(weights[order])
        size = int(np.searchsorted(counted, LEVEL * n)) + 1
        at = float(falling[min(size, len(falling) - 1)])
        top = slice(0, size)
        excess = float(np.average(falling[top] - at, weights=np.maximum(weights[order][top], 1e-12)))
        return cls(n, at, max(excess, _SCALE_LEAST))


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of a tenant: how far its good mail lies above other sites', in log-odds, and the variance."""

    shift: float
    variance: float


@dataclass(frozen=True, slots=True)
class Tail:
    """What is known of good mail at all sites.

    at, scale: log-odds, see above. spread: standard deviation of `at` among sites, log-odds. budgets: share of good
    mail, 0..1, that banner, junk and quarantine may meet. evident: how far above `at` the tail of mail begins that is
    good on other evidence (`evidence`): below it, since whoever is known scores lower. evident_spread: its standard
    deviation among sites.
    """

    at: float
    scale: float
    spread: float
    budgets: tuple[float, float, float]
    evident: float = 0.0
    evident_spread: float = 0.0

    @classmethod
    def of(cls, sites: Sequence[Sample], spread: float, budgets: tuple[float, float, float]) -> Tail | None:
        """Of the samples of sites; spread: where there are too few of them to tell. None where no sample says a thing.

        The spread is what the samples differ by beyond their own errors (method of moments), and half of `spread` at
        least: a few sites that are alike say little of the next.
        """
        told = [sample for sample in sites if sample.n]
        if not told:
            return None
        scale = float(np.median([sample.scale for sample in told]))
        at = float(np.mean([sample.at for sample in told]))
        if len(told) < 3:
            return cls(at, scale, spread, budgets)
        errors = [scale**2 * (1.0 - LEVEL) / (sample.n * LEVEL) for sample in told]
        between = float(np.var([sample.at for sample in told], ddof=1)) - float(np.mean(errors))
        return cls(at, scale, math.sqrt(max(between, (spread / 2.0) ** 2)), budgets)

    @property
    def unseen(self) -> Belief:
        """What is believed of a site of which nothing is known."""
        return Belief(0.0, self.spread**2)

    def belief(self, sample: Sample, *, evident: bool = False) -> Belief:
        """What is believed of the tenant that a sample is of. evident: of mail that is good on other evidence, not of
        all good mail."""
        prior = self.spread**2
        if not sample.n or prior == 0.0:
            return Belief(0.0, prior)
        error = max(sample.scale, self.scale) ** 2 * (1.0 - LEVEL) / (sample.n * LEVEL)
        error += self.evident_spread**2 if evident else 0.0
        sure = prior / (prior + error)
        shift = sure * (sample.at - self.at - (self.evident if evident else 0.0))
        return Belief(min(BOUND, max(-BOUND, shift)), prior * (1.0 - sure))

    def threshold(self, budget: float, belief: Belief) -> float:
        """Log-odds that a tenant's good mail passes as often as the budget says, 0..1."""
        unsure = min(BOUND, belief.variance / (2.0 * self.scale))
        return self.at + belief.shift + self.scale * math.log(LEVEL / budget) + unsure
