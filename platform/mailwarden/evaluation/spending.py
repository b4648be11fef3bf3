"""Good mail held back, of tenants that spend their false-positive budget by category, beside what they allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mailwarden.evaluation.figures import Share
from mailwarden.evaluation.scored import Scored


@dataclass(frozen=True, slots=True)
class Spent:
    """budget: share of the tenant's good mail, 0..1, that may be held back as the category, "" for all others together.
    held_back: what is, of all its good mail."""

    tenant: str
    category: str
    budget: float
    held_back: Share


def spending(scored: Scored) -> tuple[Spent, ...]:
    """A row a category that has a budget, and one for the others, by tenant; none where budgets are not spent so."""
    found: list[Spent] = []
    whole = scored.bundle.whole
    for tenant, budget in sorted(scored.budgets.items()):
        named = whole.serving(own=tenant in whole.known).named
        good = scored.good & scored.tenant.has(tenant)
        if named is None or not budget.by_category or not good.any():
            continue
        n, held, others = int(good.sum()), good & scored.held_back, np.ones(len(scored), dtype=np.bool_)
        for code, share in budget.by_category:
            own = scored.category.has(code)
            others &= ~own
            found.append(Spent(tenant, code, share, Share.of(int((held & own).sum()), n)))
        rest = max(0.0, (named.budget if budget.share is None else budget.share) - budget.asked)
        found.append(Spent(tenant, "", rest, Share.of(int((held & others).sum()), n)))
    return tuple(found)
