"""How much of each tenant's mail costly detectors are asked about: a share at most, the most doubtful first.

1. Every message of a tenant earns it `share` of a question, saved up to `SAVED`; a question takes one. So of n messages
   in a row at most share * n + SAVED are asked about, whatever an attacker sends.
2. A bound on doubt follows the tenant's mail, so that of much doubtful mail the most doubtful is asked about and not
   the first: it falls by (1 - share) of a step where a message lies within it, and rises by share of a step where one
   does not. It comes to rest at the quantile of doubt that a share of the mail lies within, and at 1 where less is
   doubtful at all.

Sources: token bucket, as in RFC 2697; the quantile by Robbins and Monro, A stochastic approximation method, 1951.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

SAVED = 10.0
_STEP = 0.02
_TENANTS_KEPT = 10_000


@dataclass(slots=True)
class _Own:
    """One tenant's. bound: doubt within which is asked, 0..1. saved: questions."""

    bound: float = 1.0
    saved: float = SAVED


@dataclass(slots=True)
class Quota:
    """The quota of every tenant as this process saw its mail; the tenants seen last are kept.

    share: of a tenant's mail that may be asked about, 0..1; 1 for all that is doubtful, 0 for none.
    """

    share: float
    _of: OrderedDict[str, _Own] = field(default_factory=OrderedDict)

    def grants(self, tenant: str, doubt: float) -> bool:
        """Whether to ask about a tenant's next message. doubt: see `domain.detection.doubt`."""
        if self.share <= 0.0 or self.share >= 1.0:
            return self.share >= 1.0 and doubt <= 1.0
        own = self._of.setdefault(tenant, _Own())
        self._of.move_to_end(tenant)
        while len(self._of) > _TENANTS_KEPT:
            self._of.popitem(last=False)
        own.saved = min(SAVED, own.saved + self.share)
        within = doubt <= own.bound
        own.bound = min(1.0, max(0.0, own.bound + _STEP * (self.share - within)))
        if not within or own.saved < 1.0:
            return False
        own.saved -= 1.0
        return True
