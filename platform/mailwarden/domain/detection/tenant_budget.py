"""How much of a tenant's good mail may be held back, and how that is spent over categories of attack.

1. Good mail in the tail of log-odds would be called this or that by the detectors: a share `named[c]` of it category c.
   Within each category log-odds thin out as they do in all of it (`tail`).
2. So where a tenant lets the share b of its good mail be held back as category c, good mail of that category may pass
   its threshold as often as all good mail passes the one for a budget of b / named[c]: that one counts.
3. What categories do not name of the tenant's budget goes to all others, each as often as good mail is called it.

Invariants: over all categories the share held back is within the tenant's budget, and with b = budget * named[c] for
any of them nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mailwarden.domain.mail.events import CATEGORIES
from mailwarden.errors import DataError

TRAINED_WITH = 0.001
"""The false-positive budget that models are trained with unless somebody says otherwise, share of good mail."""

_EXACT = 1e-12
"""What is lost in dividing, relative: a budget that is that of the step next above it is meant to be that step."""


@dataclass(frozen=True, slots=True)
class GoodNamed:
    """What good mail in the tail would be called.

    shares: by category of `events.CATEGORIES`, all of them, above 0, adding up to 1. budget: share of good mail, 0..1,
    that may be held back where a tenant has no budget of its own.
    """

    shares: Mapping[str, float]
    budget: float


@dataclass(frozen=True, slots=True)
class TenantBudget:
    """What a tenant allows to be held back of its good mail.

    share: 0..1, None for what the models were trained with. by_category: pairs of a category and the share of all good
    mail, 0..1, that may be held back as that, in order of categories; together not above `share`.
    """

    share: float | None = None
    by_category: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, share: float | None, by_category: Mapping[str, float]) -> TenantBudget:
        """From a tenant's policy."""
        return cls(share, tuple(sorted(by_category.items())))

    @property
    def asked(self) -> float:
        """Share of good mail that all categories with a budget may use together."""
        return math.fsum(share for _, share in self.by_category)

    def of_category(self, category: str | None, named: GoodNamed | None) -> float | None:
        """The budget whose thresholds count for a message that would be called `category`, above 0; None for what the
        models were trained with, 0 where nothing may be held back.

        Without categories, or where nobody knows what the message or good mail is called, that is `share`. Categories
        that ask for more than the models were trained with get so much less, each by the same factor.
        """
        if not self.by_category or category is None or named is None:
            return self.share
        whole = named.budget if self.share is None else self.share
        own = dict(self.by_category)
        if category in own:
            found = own[category] * min(1.0, whole / self.asked if self.asked else 1.0) / named.shares[category]
        else:
            rest = sum(share for code, share in named.shares.items() if code not in own)
            found = max(0.0, whole - self.asked) / rest
        if math.isclose(found, whole, rel_tol=1e-9):
            return self.share
        return found * (1.0 + _EXACT)


def checked_by_category(by_category: object, whole: float | None) -> dict[str, float]:
    """Budgets by category as a tenant wrote them, in order of categories.

    whole: its false-positive budget, None for `TRAINED_WITH`. Raises DataError on what is no category or no share, and
    where they add up to more than the whole.
    """
    if not isinstance(by_category, Mapping):
        raise DataError(
            f"Tenant policy: category_budgets is {by_category!r}; write shares by category, {{'BE': 0.0004}}."
        )
    for code, share in by_category.items():
        if code not in CATEGORIES:
            raise DataError(f"Tenant policy: category_budgets has no category {code!r}; use {', '.join(CATEGORIES)}.")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise DataError(
                f"Tenant policy: the category budget of {code} is {share!r}; write a share of 1, as 0.0004, or 0 to "
                "hold nothing back as that."
            )
    asked, most = math.fsum(by_category.values()), TRAINED_WITH if whole is None else whole
    if asked > most * (1.0 + _EXACT):
        raise DataError(
            f"Tenant policy: category budgets add up to {asked:g}, which is more than the {most:g} of good mail that "
            "may be held back; lower them, or raise the false-positive budget."
        )
    return {code: float(by_category[code]) for code in CATEGORIES if code in by_category}


TRAINED = TenantBudget()
"""Of a tenant that says nothing."""
