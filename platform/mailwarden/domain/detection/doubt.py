"""How doubtful a message is after the cheap detectors: whether the costly ones are asked about it, and which first.

1. Doubt is measured from the tenant's threshold of junk, where a verdict turns: 0 at the threshold, 1 at the ends of
   the band that training chose (`decision.Consult`), infinite beyond, where a costly one would hardly change a verdict.
2. A first contact that brings neither link nor attachment is doubtful whatever the cheap ones make of it, as long as
   they would let it pass: what it asks for stands in its words alone. It comes behind all others, with a doubt of 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.decision import Consult, Thresholds
from mailwarden.domain.detection.rows import FeatureTable

FEATURES = ("sender_activity:history", "content_links:url_count", "content_attachments:attachment_count")
"""By which a first contact without payload is known, by full name; where one is not read there is none."""

SURE = math.inf
"""The doubt of a message that no costly detector is asked about."""


def turning_point(thresholds: Thresholds) -> float:
    """The log-odds from which doubt is measured: of junk, of a banner where junk is never given; infinite for none."""
    return thresholds.junk if math.isfinite(thresholds.junk) else thresholds.banner


def doubt_of(
    logit: NDArray[np.float64], turning: NDArray[np.float64], consult: Consult, bare: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """(n,) the doubt of messages, 0..1, `SURE` for none.

    logit: (n,) fused log-odds of the cheap ones. turning: (n,) see `turning_point`. bare: (n,) first contacts that
    bring no payload, None for nowhere.
    """
    known = np.isfinite(turning)
    over = np.where(known, logit - np.where(known, turning, 0.0), SURE)
    found = np.where(over < 0.0, -over / consult.below, over / consult.above)
    if bare is not None:
        found = np.where(bare & (over < 0.0), np.minimum(found, 1.0), found)
    return np.where(known & (found <= 1.0), found, SURE)


def bare_first_contact(rows: FeatureTable) -> NDArray[np.bool_] | None:
    """(n,) whether a row is a first contact without link and attachment; None where the features are not there."""
    if not all(name in rows.columns for name in FEATURES):
        return None
    return np.asarray((rows.numeric(FEATURES) == 0.0).all(axis=1))
