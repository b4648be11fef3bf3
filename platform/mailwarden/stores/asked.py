"""How a request for values names what it says of a message, for Spark's read and Feast's alike."""

from __future__ import annotations

MESSAGE_KEYS = ("tenant", "message_id")
"""What names one message."""

OWN = "own__"
"""How the name of each `own_column` begins."""


def own_column(fact: str) -> str:
    """Name of the column (lists of strings) with the message's own names in a fact of `definitions.MEMBERS`."""
    return f"{OWN}{fact}"
