"""Mail that is good on other evidence than a score: what a tenant's thresholds may be moved by.

A score must not vouch for itself. Evidence of a message is what its sender cannot choose:

1. it proves its sender (`proof`), who is not new: an attacker's first mail never counts; and
2. somebody at the tenant wrote to that sender before, or the sender has been known for `MATURED_DAYS` and more, and
   nobody labelled its mail bad.

Source: the order of what a forger can buy, see `proof`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.proof import FEATURES as _PROOF
from mailwarden.domain.detection.proof import STRUCTURE, proof_of
from mailwarden.domain.detection.rows import FeatureTable

_SENDER = "sender_activity:"
FEATURES = (
    *_PROOF,
    f"{_SENDER}written_to_all",
    f"{_SENDER}days_known",
    f"{_SENDER}messages_1d",
    f"{_SENDER}labelled_bad_all",
)
"""What it is read from, by full name."""

MATURED_DAYS = 7.0


def evidence_of(rows: FeatureTable) -> NDArray[np.float64]:
    """(n,) how much a message counts as good, 0..1.

    A sender counts once a day whatever it sends: 1 / (1 + its messages of the day before), so that no wave of one
    sender makes a tail.
    """
    proven = proof_of(rows) >= STRUCTURE
    written, days, lately, bad = rows.numeric(FEATURES[-4:]).T
    seen = (rows.numeric((f"{_SENDER}history",))[:, 0] > 0.0) & ~(bad > 0.0)
    good = proven & seen & ((written > 0.0) | (days >= MATURED_DAYS))
    return np.where(good, 1.0 / (1.0 + np.nan_to_num(lately)), 0.0)
