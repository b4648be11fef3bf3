"""Facts of the messages inside of a message; null where there is none."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message

MAX_NESTED = 50
"""Nested messages that are read, nearest first; one with more says no more with the rest."""


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """What nested messages hold, at whatever depth the parser went to; pure, bounded, never raising."""
    if not message.nested:
        return {"nested_count": 0, "nested_url_count": None, "nested_attachment_count": None, "nested_text_len": None}
    inside = list(message.nested)
    for found in inside:
        if len(inside) >= MAX_NESTED:
            break
        inside += found.nested
    del inside[MAX_NESTED:]
    return {
        "nested_count": len(message.nested),
        "nested_url_count": sum(len(found.urls) for found in inside),
        "nested_attachment_count": sum(len(found.attachments) for found in inside),
        "nested_text_len": sum(len(found.new_text) + len(found.quoted_text) for found in inside),
    }
