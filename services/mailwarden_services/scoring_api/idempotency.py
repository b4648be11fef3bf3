"""Whether what comes under an idempotency key is the message that was decided on under it."""

from __future__ import annotations

from mailwarden.errors import DataError
from mailwarden.stores.lake.event_log import EventLog
from mailwarden.stores.sql.decisions import DecisionRecord
from mailwarden_services.scoring_worker.work import Found


def is_handed_again(events: EventLog, stored: DecisionRecord, found: Found) -> bool:
    """Whether a message is the one that was decided on, for nobody else: its carriers may have added to it. Blocks."""
    if stored.message_id == found.message_id:
        return True
    content = found.content
    if content is None:
        return False
    view = events.view()
    event = view.find(stored.tenant, stored.message_id, stored.received_at_us)
    if event is None or event.content_key != content.key:
        return False
    names = set(content.recipients) - set(event.recipients)
    if names and event.copy_of:
        # It was decided on for those too who had the message before.
        first = view.find(stored.tenant, event.copy_of, stored.received_at_us)
        for one in (*(() if first is None else (first,)), *view.copies(stored.tenant, event.copy_of)):
            if one.seq < event.seq:
                names -= set(one.recipients)
    return not names


def check_same_message(other: bool, key: str | None) -> None:
    """Raise DataError where a key was used for another message."""
    if other:
        raise DataError(f"idempotency key {key!r} was used for another message; use a key of its own for each message")
