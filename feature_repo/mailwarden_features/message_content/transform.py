"""Every feature of one message alone: the one function, used by the API and in Spark."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.message import Message
from mailwarden_features.message_content.header_facts import authentication_facts, header_facts
from mailwarden_features.message_content.part_facts import part_facts
from mailwarden_features.message_content.text_facts import subject_facts, text_facts
from mailwarden_features.message_content.url_facts import url_facts


def compute(message: Message) -> dict[str, ContentValue]:
    """The values of one message, null where a part is absent; pure, bounded in time, never raising."""
    headers: dict[str, str] = {}
    for name, value in message.headers:
        headers.setdefault(name.lower(), value)
    return {
        **subject_facts(message, "subject" in headers),
        **text_facts(message),
        **header_facts(message, headers),
        **authentication_facts(message),
        **url_facts(message),
        **part_facts(message),
    }
