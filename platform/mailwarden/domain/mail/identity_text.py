"""Ids of messages as people hand them over: a decision's id is its message's, with a letter before it."""

from __future__ import annotations

_DIGITS = 32


def message_id_of(text: str) -> str:
    """The id of a message, given that or the id of its decision.

    >>> message_id_of("d" + "0" * 32) == "0" * 32, message_id_of("d" + "0" * 31) == "d" + "0" * 31
    (True, True)
    """
    return text[1:] if len(text) == _DIGITS + 1 and text.startswith("d") else text
