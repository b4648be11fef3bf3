"""Which message a forwarded one reports: by the Message-ID of what is attached, or quoted, or answered."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailwarden.domain.mail.message import Message
from mailwarden_services.reading.read import MESSAGE_ID_MOST

MOST = 20
"""Messages that one report may name."""

_QUOTED = re.compile(r"^[\s>]*Message-ID:\s*<([^<>\s]{1,998})>", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reported:
    """A message that is reported. message_id_header: its own; sender: its From address, "" where nobody says."""

    message_id_header: str
    sender: str


def reported_by(message: Message) -> tuple[Reported, ...]:
    """What a message reports: what is attached to it; else what its text quotes; else what it answers."""
    attached = [
        Reported(inner.message_id_header[:MESSAGE_ID_MOST], inner.sender.address)
        for inner in message.nested
        if inner.message_id_header
    ]
    quoted = [
        Reported(name[:MESSAGE_ID_MOST], "") for name in _QUOTED.findall(message.new_text + "\n" + message.quoted_text)
    ]
    answered = [Reported(name[:MESSAGE_ID_MOST], "") for name in message.in_reply_to]
    return tuple(dict.fromkeys(attached or quoted or answered))[:MOST]
