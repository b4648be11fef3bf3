"""From detector scores to one decision: calibration, fusion, thresholds and the tenant's policy."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.detection.tail import Belief, Tail
from mailwarden.domain.detection.tenant_budget import TRAINED, GoodNamed, TenantBudget
from mailwarden.domain.mail.addresses import entries_for
from mailwarden.domain.status import Status, worst

Verdict = Literal["deliver", "banner", "junk", "quarantine"]
VERDICTS: tuple[Verdict, ...] = ("deliver", "banner", "junk", "quarantine")
"""What the platform would do with a message, the mildest first; what it asks for is an `action.Action`."""

TENANT_BUDGETS = tuple(float(f"{digits}e{power}") for power in range(-5, -1) for digits in (1, 1.5, 2, 3, 5, 7))
"""The false-positive budgets that a tenant can have as its own, rising: the next below the one it asks for counts."""

HELD_BACK: frozenset[Verdict] = frozenset({"junk", "quarantine"})
"""Verdicts that keep a message from its recipient's inbox."""

_EPSILON = 1e-9


def log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural log-odds of probabilities, finite also at 0 and 1."""
    clipped = np.clip(probability, _EPSILON, 1.0 - _EPSILON)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-value)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * value)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt's sigmoid over a raw score: probability = sigmoid(slope * score + intercept).

    Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999.
    """

    slope: float
    intercept: float

    def logit(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) raw scores to (n,) calibrated log-odds."""
        return np.asarray(self.slope * score + self.intercept)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Fused log-odds from which each verdict is given, infinite for one never given; banner <= junk <= quarantine.

    Log-odds, since a probability near 1 has no room for a threshold above it. held_back: by false-positive budget
    (share of good mail, 0..1), rising, the log-odds from which a message may be held back within it.
    """

    banner: float
    junk: float
    quarantine: float
    held_back: tuple[tuple[float, float], ...] = ()

    def verdict(self, logit: float) -> Verdict:
        """The strongest verdict whose threshold the log-odds reach."""
        if logit >= self.quarantine:
            return "quarantine"
        if logit >= self.junk:
            return "junk"
        return "banner" if logit >= self.banner else "deliver"

    def banner_at_most(self) -> Thresholds:
        """The same with nothing stronger than a banner, whatever a tenant's budget."""
        return Thresholds(self.banner, math.inf, math.inf)

    def within(self, budget: float | None) -> Thresholds:
        """The same with junk at a tenant's own false-positive budget, 0..1; None for the budget trained with.

        The greatest budget in `held_back` that is not above it counts, and one below them all holds nothing back.
        Quarantine rises, and banner falls, to where junk is.
        """
        if budget is None:
            return self
        junk = next((logit for known, logit in reversed(self.held_back) if known <= budget), math.inf)
        return replace(self, banner=min(self.banner, junk), junk=junk, quarantine=max(self.quarantine, junk))


@dataclass(frozen=True, slots=True)
class Fusion:
    """Logistic combination of detectors' calibrated log-odds.

    weights: by detector name. offsets: what is added where a detector speaks, of those that abstain from some rows. The
    fused score is sigmoid(intercept + sum, over detectors that do not abstain, of weight * log-odds + offset): 0..1,
    higher is worse.
    """

    weights: Mapping[str, float]
    intercept: float
    calibrations: Mapping[str, Calibration]
    offsets: Mapping[str, float] = field(default_factory=dict)

    def logit(
        self,
        scores: Mapping[str, NDArray[np.float64]],
        abstains: Mapping[str, NDArray[np.bool_] | None] = MappingProxyType({}),
    ) -> NDArray[np.float64]:
        """Raw scores (n,) by detector to fused log-odds (n,); float64, so that ranks survive near certainty.

        abstains: (n,) by detector, where its score counts for nothing; absent or None for nowhere.
        """
        total: NDArray[np.float64] = np.float64(self.intercept)  # type: ignore[assignment]
        for name, weight in self.weights.items():
            own = weight * self.calibrations[name].logit(scores[name]) + self.offsets.get(name, 0.0)
            silent = abstains.get(name)
            total = total + (own if silent is None else np.where(silent, 0.0, own))
        return np.asarray(total)

    def share(self, name: str) -> float:
        """What a raw score's unit adds to the fused log-odds; 0 for a detector that has no weight."""
        return self.weights.get(name, 0.0) * self.calibrations[name].slope

    def leaving_out(self, names: Collection[str]) -> Fusion:
        """The same sum without some detectors, each as if it abstained: not fitted to what is left."""
        return replace(self, weights={name: weight for name, weight in self.weights.items() if name not in names})


HISTORY = "@history"
"""What is away where histories could not be read: stands among the names of detectors, none of which has an @."""


def away_name(detectors: Iterable[str]) -> str:
    """The name under which a bundle keeps what counts where these detectors, or `HISTORY`, are away.

    >>> away_name(["message_text", "behaviour"])
    'behaviour+message_text'
    """
    return "+".join(sorted(detectors))


@dataclass(frozen=True, slots=True)
class Combination:
    """How detectors' scores become a verdict: the fusion fitted to them, and the thresholds found for that.

    thresholds: of the tenant whose held-out mail they were found on, where it is one. tail: of good mail at any site,
    None where nobody knows it. learned: tenants whose mail detectors learned from. tenants: what is believed of
    tenants, by name. capped: nothing stronger than a banner is given. consult: when costly detectors are asked beside
    these, None where they are not. own: what counts in place of this for tenants in its `learned`, whose own held-out
    mail has shown what each detector is worth there; None where this counts for everybody. named: what good mail would
    be called, None in bundles of before.
    """

    fusion: Fusion
    thresholds: Thresholds
    tail: Tail | None = None
    learned: frozenset[str] = frozenset()
    tenants: Mapping[str, Belief] = field(default_factory=dict)
    capped: bool = False
    consult: Consult | None = None
    own: Combination | None = None
    named: GoodNamed | None = None

    @property
    def known(self) -> frozenset[str]:
        """Tenants for which `own` counts."""
        return frozenset() if self.own is None else self.own.learned

    def serving(self, *, own: bool) -> Combination:
        """What counts for tenants in `known`, or for all others."""
        return self.own if own and self.own is not None else self

    def thresholds_of(self, tenant: str) -> Thresholds:
        """A tenant's: by what is believed of it, else those that were found where it was learned from, else those of a
        site never seen."""
        if self.own is not None and tenant in self.own.learned:
            return self.own.thresholds_of(tenant)
        own = self.tenants.get(tenant)
        if self.tail is None or (own is None and tenant in self.learned):
            found = self.thresholds
        else:
            found = thresholds_at(self.tail, own or self.tail.unseen)
        return found.banner_at_most() if self.capped else found

    def thresholds_within(self, tenant: str, budget: TenantBudget = TRAINED, category: str | None = None) -> Thresholds:
        """A tenant's within its budget, for a message that would be called `category`, None where nobody knows."""
        if self.own is not None and tenant in self.own.learned:
            return self.own.thresholds_within(tenant, budget, category)
        return self.thresholds_of(tenant).within(budget.of_category(category, self.named))

    def asks_category(self, budget: TenantBudget) -> bool:
        """Whether the thresholds within a budget depend on what a message would be called."""
        if not budget.by_category:
            return False
        return self.named is not None or (self.own is not None and self.own.named is not None)

    def banner_at_most(self) -> Combination:
        """The same with nothing stronger than a banner for anybody."""
        consult = self.consult and replace(self.consult, combination=self.consult.combination.banner_at_most())
        return replace(self, capped=True, consult=consult, own=self.own and self.own.banner_at_most())


@dataclass(frozen=True, slots=True)
class Consult:
    """When costly detectors are asked about a message, and what counts where they were.

    below, above: how far the cheap ones' fused log-odds may lie under and over the tenant's threshold of junk for a
    message to be doubtful, both above 0. combination: of the cheap ones and the costly ones, fitted to doubtful mail;
    its thresholds were found on all mail, what was not asked about by the cheap ones' log-odds.
    """

    below: float
    above: float
    combination: Combination


@lru_cache(maxsize=16_384)
def thresholds_at(tail: Tail, belief: Belief) -> Thresholds:
    """The thresholds of a tenant of which this is believed, by the budgets of `tail`."""
    banner, junk, quarantine = (tail.threshold(budget, belief) for budget in tail.budgets)
    held_back = tuple((budget, tail.threshold(budget, belief)) for budget in TENANT_BUDGETS)
    return Thresholds(banner, junk, quarantine, held_back)


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What a tenant sets over the models.

    allow_senders, block_senders: addresses, and domains that stand for what lies below them too, as
    `addresses.checked_sender` writes them. An allowed sender is trusted only where the message is authenticated;
    forging it must not open the door. budget: of good mail that may be held back (junk or quarantine). unread: the
    least that is done with a message that was not read in full; "deliver" for nothing.
    """

    allow_senders: frozenset[str] = frozenset()
    block_senders: frozenset[str] = frozenset()
    budget: TenantBudget = TRAINED
    unread: Verdict = "banner"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the platform answers for a message.

    score: 0..1, higher is worse: fused probability. logit: the same as log-odds. category: of `events.CATEGORIES`, None
    where delivered. signals: what drove it, strongest first. detectors: calibrated probability by name, of those that
    did not abstain. models: version in the registry by detector name, and "bundle". degraded: features or a store were
    missing. flags: words for it. not_asked: costly detectors that were not asked.
    """

    score: float
    logit: float
    decision: Verdict
    category: str | None
    signals: Sequence[Signal]
    detectors: Mapping[str, float]
    models: Mapping[str, int]
    degraded: bool = False
    flags: Sequence[str] = ()
    not_asked: Sequence[str] = ()


UNREAD = frozenset({Status.DAMAGED, Status.OVER_BUDGET, Status.DEADLINE})
"""What a content view's status says where a message was not read in full."""


def at_least(verdict: Verdict, least: Verdict) -> Verdict:
    """The stronger of two verdicts."""
    return max(verdict, least, key=VERDICTS.index)


def not_read_in_full(statuses: Iterable[Status], policy: TenantPolicy) -> tuple[Verdict, Signal | None]:
    """The least to do with a message whose content views have these statuses, with why; deliver where all was read."""
    lacks = [status for status in statuses if status in UNREAD]
    if not lacks:
        return "deliver", None
    why = {
        Status.DAMAGED: "a part of it is damaged",
        Status.OVER_BUDGET: "it is larger, or more involved, than what is read",
        Status.DEADLINE: "reading it took too long",
    }[worst(lacks)]
    return policy.unread, Signal("not_read_in_full", f"The message could not be read in full: {why}.", 0.0)


def apply_policy(
    verdict: Verdict, policy: TenantPolicy, *, sender: str, sender_domain: str, authenticated: bool
) -> tuple[Verdict, Signal | None]:
    """The tenant's block list, then its allow list (authenticated senders only), over the models' verdict.

    An entry that is an address stands for that address; a domain for all addresses at it and below it: example.com for
    mail.example.com too, mail.example.com not for example.com; one with a leading dot for those below it alone. Who is
    on both lists is blocked.
    """
    names = [name for name in (sender, *entries_for(sender), sender_domain) if name]
    for name in names:
        if name in policy.block_senders:
            return "quarantine", Signal("blocked_sender", f"{name} is on your block list", 0.0)
    for name in names:
        if authenticated and name in policy.allow_senders:
            return "deliver", Signal("allowed_sender", f"{name} is on your allow list and is authenticated", 0.0)
    return verdict, None
