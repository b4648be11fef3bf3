"""When a message came and whom it was for, from its head alone: the same as a whole reading says."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden.domain.mail.message import TimeSource
from mailwarden.domain.mail.trust import NO_TRUST
from mailwarden.ingest.budget import Budget
from mailwarden.ingest.head import read_head
from mailwarden.ingest.headers import read_headers
from mailwarden.ingest.parse import event_time
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.sources import RawMessage


@dataclass(frozen=True, slots=True)
class Glance:
    """received_at_us: microseconds UTC, None where nothing gives a time; time_source: what does; recipients."""

    received_at_us: int | None
    time_source: TimeSource
    recipients: tuple[str, ...]


def glance(message: RawMessage) -> Glance:
    """Read a message's head; raises nothing."""
    reading = Reading(Budget())
    data = message.raw.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    head = read_head(read_headers(data, 0, len(data), reading), message.envelope, NO_TRUST, reading)
    received_at_us, source = event_time(message.envelope, None, head, reading)
    return Glance(received_at_us, source, head.recipients)
