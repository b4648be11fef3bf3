"""What rules may name beside features: signals that are derived of several of them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection import proof
from mailwarden.domain.detection.rows import FeatureTable

DERIVED = {
    "proof": "how the message proves its sender: 0 not at all, 1 structure, 2 path, 3 authentication; null where "
    "history is unavailable and it is not authenticated",
    "stranger": "1 where the sender was never seen, or is unproven; null where history is unavailable",
    "unproven": "1 where the sender is known and the message does not prove to be from it; null where history is "
    "unavailable",
    "habit_broken": "1 where the sender, or its domain, is authenticated as a rule and this message is not",
}
"""By name, what each says; null where a comparison with it is unknown."""

_READ = {
    "proof": proof.FEATURES,
    "stranger": (*proof.FEATURES, "sender_activity:history"),
    "unproven": (*proof.FEATURES, "sender_activity:history"),
    "habit_broken": proof.FEATURES,
}

_SHOWN = {
    "proof": (
        "content_authentication:authenticated",
        "sender_activity:path_match_90d",
        "sender_activity:structure_match_90d",
    ),
    "stranger": ("sender_activity:history",),
    "unproven": (
        "content_authentication:authenticated",
        "sender_activity:history",
        "sender_activity:path_match_90d",
    ),
    "habit_broken": ("content_authentication:authenticated", "sender_activity:authenticated_share_90d"),
}


def rests_on(signal: str) -> tuple[str, ...]:
    """The features that tell a reader most of a signal; a feature's own name for itself."""
    return _SHOWN.get(signal, (signal,))


def read_by(signals: Collection[str]) -> frozenset[str]:
    """Features that these signals, derived ones or features, are made of."""
    return frozenset(name for signal in signals for name in _READ.get(signal, (signal,)))


def derived(features: FeatureTable) -> tuple[NDArray[np.float64], ...]:
    """(n,) each of `DERIVED`, in that order, NaN for null."""
    proven, broken = proof.proven(features)
    (known,) = features.numeric(("sender_activity:history",)).T
    unproven = np.where(np.isnan(known), np.nan, (proven == proof.NONE) & (known > 0.0))
    stranger = np.where(known == 0.0, 1.0, unproven)
    return proven, stranger, unproven, broken
