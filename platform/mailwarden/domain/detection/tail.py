"""Where good mail's log-odds thin out, how far sites lie apart in that, and the thresholds that follow for a site.

Scores shift by site: what ranks mail everywhere is cut rightly by no one threshold. So thresholds are a tenant's.

1. Of a site's good mail the share `LEVEL` lies above `at`; above it log-odds thin out exponentially, by `scale`.
2. `at` differs by site, normally distributed with standard deviation `spread`; `scale` does not.
3. A site's own sample of n good messages gives its `at` with variance scale^2 (1 - LEVEL) / (n LEVEL). So what is
   believed of it is the mean of both, weighted by how sure each is: pulled to the other sites' where n is small.
4. Of mail that is good on other evidence than a label the *middle* is taken, which few wrong ones among them move
   little: with 30% attacks counted, no further than to where 29% of the rest lie above. It lies below `at`, by
   `middle_below`; sites differ in that too, which adds to what is unsure.
5. A threshold for a budget b lies at  at + shift + scale ln(LEVEL / b) + variance / (2 scale): the share of good mail
   above it, averaged over all that the site may be like, is b. Who knows less of a site holds back less of its mail.
   The last part is at most `BOUND`: else nothing would be held back where sites are known to differ much.

6. The mean of both is kept within `PULL` errors of the sample: a site that is far from all others is not taken for one
   of them.

Invariants: a sample of none gives the thresholds of a site never seen. Whatever the sample, a shift upwards, by which
attacks pass, is at most `BOUND`, and one downwards `DEEPEST` times the spread of sites.

Source: excesses over a high threshold, Pickands 1975; normal shrinkage, Efron and Morris 1973, and its limited
translation, the same, Limiting the Risk of Bayes and Empirical Bayes Estimators, 1971; the median among wrong
observations, Huber 1964.
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
"""Most log-odds that a sample moves a tenant's thresholds up by, and that what is unsure adds."""

DEEPEST = 3.0
"""Most standard deviations among sites that a sample moves a tenant's thresholds down by."""

PULL = 0.5
"""Most of a sample's errors that it is pulled towards the other sites by; a choice, not a measurement."""

SPREAD = 2.0
"""How far sites lie apart in log-odds where too few are known to tell; a choice, not a measurement."""

LEAST = 20
"""Fewest good messages that say anything of a tail."""

_SCALE_LEAST = 0.05
_Z = 1.96
_QUARTILES = 1.349
"""Standard deviations between a normal distribution's quartiles."""


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
class Middle:
    """The middle of n messages of one site that are good on other evidence. error: its variance, log-odds squared."""

    n: float
    at: float = math.nan
    error: float = math.nan

    @classmethod
    def of(cls, logits: NDArray[np.float64], weights: NDArray[np.float64]) -> Middle:
        """Of (n,) log-odds; weights: (n,) 0..1, how much each counts."""
        n = float(weights.sum())
        if n < LEAST:
            return cls(0.0)
        low, at, high = np.quantile(logits, (0.25, 0.5, 0.75), weights=weights, method="inverted_cdf").tolist()
        deviation = max((high - low) / _QUARTILES, _SCALE_LEAST)
        return cls(n, at, math.pi / 2.0 * deviation**2 / n)


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of a tenant: how far its good mail lies above other sites', in log-odds, and the variance."""

    shift: float
    variance: float


@dataclass(frozen=True, slots=True)
class Tail:
    """What is known of good mail at all sites.

    at, scale: log-odds, see above. spread: standard deviation of `at` among sites, log-odds. budgets: share of good
    mail, 0..1, that banner, junk and quarantine may meet. middle_below: how far below `at` the middle of mail lies that
    is good on other evidence (`evidence`). middle_spread: its standard deviation among sites.
    """

    at: float
    scale: float
    spread: float
    budgets: tuple[float, float, float]
    middle_below: float = SPREAD
    middle_spread: float = SPREAD

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

    def belief(self, sample: Sample | Middle) -> Belief:
        """What is believed of the tenant that a sample is of: of all its good mail, or of what is good on other
        evidence."""
        prior = self.spread**2
        if not sample.n or prior == 0.0:
            return Belief(0.0, prior)
        if isinstance(sample, Middle):
            found = sample.at + self.middle_below - self.at
            error = sample.error + self.middle_spread**2
        else:
            found = sample.at - self.at
            error = max(sample.scale, self.scale) ** 2 * (1.0 - LEVEL) / (sample.n * LEVEL)
        sure = prior / (prior + error)
        most = PULL * math.sqrt(error)
        shift = min(found + most, max(found - most, sure * found))
        return Belief(min(BOUND, max(-DEEPEST * self.spread, shift)), prior * (1.0 - sure))

    def passing(self, threshold: float, belief: Belief) -> tuple[float, float, float]:
        """The share of a tenant's good mail at or above a threshold, 0..1, by what is believed of it: most likely, and
        the ends of its 95% interval. A share above `LEVEL` is given as `LEVEL`."""
        error = _Z * math.sqrt(belief.variance)
        above = threshold - self.at - belief.shift
        middle, low, high = (LEVEL * math.exp(-max(0.0, above + apart) / self.scale) for apart in (0.0, error, -error))
        return middle, low, high

    def threshold(self, budget: float, belief: Belief) -> float:
        """Log-odds that a tenant's good mail passes as often as the budget says, 0..1."""
        unsure = min(BOUND, belief.variance / (2.0 * self.scale))
        return self.at + belief.shift + self.scale * math.log(LEVEL / budget) + unsure
