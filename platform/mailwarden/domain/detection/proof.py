"""Whether a message proves that it is from whom it names, as far as what is known of that sender can tell.

Every header but those that a trusted host wrote is the sender's to choose, the From first of all. So the history of a
name helps only a message that proves the name:

1. `AUTHENTICATED`: DMARC passed, or an aligned signature or path, as believed results say.
2. `PATH`: it came by a network that handed over this sender's mail before, or, of an address that is new, its domain's.
   The network is the one that the site's own host saw. Many share one with the senders of a large provider, so of a
   sender who is authenticated as a rule it proves nothing where results are believed that say otherwise this time.
3. `STRUCTURE`: it is put together as one of the sender's latest kinds of message, and the sender never authenticates:
   the weakest proof, since it can be imitated by who has seen such a message. It proves no colleague: mail within a
   site is checked by nobody.
4. `NONE`: none of these.

Source: for the order of these, RFC 7489 (DMARC), and what public rule sets lean on (a trusted domain, unless
authentication fails).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mailwarden.compiled import compiled
from mailwarden.domain.detection.rows import FeatureTable

NONE, STRUCTURE, PATH, AUTHENTICATED = 0.0, 1.0, 2.0, 3.0

PROOFS = ("none", "structure", "path", "authenticated")
"""In words, the weakest first."""

_SENDER, _DOMAIN = "sender_activity:", "sender_domain_activity:"
FEATURES = (
    "content_authentication:authenticated",
    f"{_SENDER}history",
    f"{_SENDER}path_match_90d",
    f"{_SENDER}structure_match_90d",
    f"{_SENDER}authenticated_share_90d",
    f"{_DOMAIN}history",
    f"{_DOMAIN}path_match_90d",
    f"{_DOMAIN}authenticated_share_30d",
    "content_directory:own_domain_unproven",
)
"""What it is read from, by full name."""

HABIT = 0.8
"""Share of a sender's mail that is authenticated from which on it is so as a rule."""


def proof_of(rows: FeatureTable) -> NDArray[np.float64]:
    """(n,) `NONE` to `AUTHENTICATED`; NaN where history is unavailable and the message is not authenticated."""
    return proven(rows)[0]


def breaks_habit(rows: FeatureTable) -> NDArray[np.float64]:
    """(n,) 1 where the sender, or its domain, is authenticated as a rule and this message is not, else 0."""
    return proven(rows)[1]


def proven(rows: FeatureTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`proof_of` and `breaks_habit`; of few rows they are found once for all who ask."""
    return rows.once(_proven, _proven)


def _proven(rows: FeatureTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    read = np.ascontiguousarray(rows.numeric(FEATURES))
    return np.asarray(_proof(read)), np.asarray(_breaks_habit(read))


@compiled
def _proof(rows: Any) -> Any:
    out = np.empty(len(rows))
    for row in range(len(rows)):
        said, known, path, structure, share, domain_known, domain_path, domain_share, outside = rows[row]
        # Of an address that wrote before its own path counts, of a new one its domain's.
        by_path = (path if known > 0 else domain_path) == 1.0
        usual = share if known > 0 else domain_share
        if usual >= HABIT and said == 0.0:
            by_path = False
        # Mail of colleagues has no results, since nobody checks it: whoever has seen it can imitate it from outside.
        seldom = not usual > 0.0 and outside != 1.0
        if said == 1.0:
            out[row] = AUTHENTICATED
        elif by_path:
            out[row] = PATH
        elif known > 0 and structure == 1.0 and seldom:
            out[row] = STRUCTURE
        elif np.isnan(known) and np.isnan(domain_known):
            out[row] = np.nan
        else:
            out[row] = NONE
    return out


@compiled
def _breaks_habit(rows: Any) -> Any:
    out = np.empty(len(rows))
    for row in range(len(rows)):
        said, share, domain_share = rows[row, 0], rows[row, 4], rows[row, 7]
        habit = share >= HABIT or (np.isnan(share) and domain_share >= HABIT)
        out[row] = 1.0 if habit and said != 1.0 else 0.0
    return out
