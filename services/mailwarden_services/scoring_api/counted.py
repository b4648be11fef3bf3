"""Whether a message still counts: what was forgotten takes no label and no signal."""

from __future__ import annotations

from mailwarden.domain.mail.events import TOMBSTONE, Event
from mailwarden.errors import NotFound
from mailwarden.stores.lake.event_log import EventLog
from mailwarden_services.sequencer.sequencing import Lately


def check_counts(events: EventLog, target: Event, lately: Lately) -> None:
    """Raise NotFound where a message was taken out of the counts."""
    gone = lately.forgotten
    if not gone and lately.event_json is None:
        # A message that is among the newest has its tombstone there too.
        gone = is_forgotten(events, target.tenant, target.message_id, target.received_at_us)
    if gone:
        raise NotFound(f"message {target.message_id} was taken out of the counts, and takes no label any more")


def is_forgotten(events: EventLog, tenant: str, message_id: str, received_at_us: int) -> bool:
    """Whether the log holds a tombstone of a message. received_at_us: its event time, which finds the files."""
    return bool(events.view().about(tenant, message_id, received_at_us, TOMBSTONE))
