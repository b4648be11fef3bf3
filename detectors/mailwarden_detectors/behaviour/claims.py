"""What a message claims by naming a sender who is known, and may count only where it proves to be from that sender."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mailwarden.domain.detection.proof import NONE, breaks_habit, proof_of
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden_detectors.behaviour.columns import COLUMNS

_CLAIMED_VIEWS = (
    "sender_activity", "sender_domain_activity", "relationship", "display_name_activity", "sender_display_name",
    "thread_activity", "person_activity", "lookalike_domain_activity",
)  # fmt: skip
_TOLD = ("labelled_bad", "bad_rate", "authentica", "_match", "qr_")
"""What speaks of the message's proof, or against the sender, counts whoever it is from."""

CLAIMED = tuple(
    column.name
    for column in COLUMNS
    if column.name.partition(":")[0] in _CLAIMED_VIEWS and not any(part in column.name for part in _TOLD)
)
"""Features that the history of a claimed name speaks through, by full name."""

DERIVED = ("proof", "breaks_habit")
"""Columns behind the features': how a message proves its sender, and whether it does not though that sender's mail
always does."""

_AT = np.array([index for index, column in enumerate(COLUMNS) if column.name in CLAIMED], dtype=np.intp)
_KNOWN = tuple(f"{view}:history" for view in ("sender_activity", "sender_domain_activity"))


def with_proof(rows: FeatureTable, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2): the `DERIVED` columns; in matrix, (n, features), what is claimed and not proven becomes null.

    Of a sender that nobody has seen there is nothing to claim: its zeros stay.
    """
    proof = proof_of(rows)
    known = (rows.numeric(_KNOWN) > 0.0).any(axis=1)
    unproven = np.flatnonzero(known & (proof == NONE))
    if len(unproven):
        matrix[np.ix_(unproven, _AT)] = np.nan
    return np.column_stack([proof, breaks_habit(rows)])
