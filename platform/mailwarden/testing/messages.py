"""Messages to compute content views on: one that has nothing, and ones that have just what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mailwarden.domain.mail.message import Authentication, Mailbox, Message


def empty_message() -> Message:
    """A message with no header, no body, no time and no address: the least that a parser can make of any bytes."""
    return Message(
        headers=(),
        sender=Mailbox("", "", ""),
        to=(),
        cc=(),
        reply_to=(),
        return_path=None,
        recipients=(),
        received_at_us=None,
        time_source="none",
        date_us=None,
        message_id_header="",
        in_reply_to=(),
        references=(),
        subject="",
        new_text="",
        quoted_text="",
        html=False,
        html_chars=0,
        text_chars=0,
        hidden_chars=0,
        charsets=(),
        part_types=(),
        urls=(),
        attachments=(),
        hops=(),
        authentication=Authentication(),
        nested=(),
        defects=(),
        content_sha256="",
        size=0,
    )


def message_of(**changes: Any) -> Message:
    """A message that has nothing but what is given, fields of `Message` by name; text_chars follow `new_text`."""
    return replace(empty_message(), **({"text_chars": len(changes.get("new_text", ""))} | changes))
