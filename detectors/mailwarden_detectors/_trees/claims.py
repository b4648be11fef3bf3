"""What a message claims by naming a sender who is known, and may count only where it proves to be from that sender."""

from __future__ import annotations

from mailwarden_detectors._trees.columns import COLUMNS

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

KNOWN = tuple(f"{view}:history" for view in ("sender_activity", "sender_domain_activity"))
"""Features that say whether there is a name to claim."""
