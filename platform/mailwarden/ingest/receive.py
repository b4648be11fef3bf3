"""A message as it comes, to what is kept of it: one way for bulk ingest, the scoring API and local scoring."""

from __future__ import annotations

from dataclasses import dataclass

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import event_of
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.ingest.mbox import split_mbox_from
from mailwarden.ingest.parse import parse_with_images


@dataclass(frozen=True, slots=True)
class Site:
    """Whose mail is received. own_domains: as the tenant names them; trusted_authserv_ids: see `parse_message`.

    stored: its mail comes from the store of raw mail, and not for the first time.
    """

    tenant: str
    own_domains: frozenset[str]
    trusted_authserv_ids: frozenset[str] = frozenset()
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A message as received.

    raw, envelope: what is kept; with the event's time and `time_source`, `parse_message` gives this message again,
    but for defects of the time. event: with seq 0; received_at_us 0 where `time_source` is "none". later: its images
    that were not read yet, for `found_later.found_in`.
    """

    raw: bytes
    envelope: Envelope
    message: Message
    event: Event
    later: tuple[bytes, ...] = ()


def receive(raw: bytes, envelope: Envelope, site: Site) -> Received:
    """Read a raw message as it came to a tenant; pure, and raises nothing.

    An mbox `From ` line that the bytes begin with is no part of the message: see `unwrapped`.
    """
    if not site.stored:
        raw, envelope = unwrapped(raw, envelope)
    message, later = parse_with_images(raw, envelope, trusted_authserv_ids=site.trusted_authserv_ids)
    return Received(raw, envelope, message, event_for(message, envelope, site), later)


def event_for(message: Message, envelope: Envelope, site: Site) -> Event:
    """The event of a message as it came to a tenant, with seq 0; received_at_us 0 where nothing gives a time."""
    return event_of(
        message,
        tenant=site.tenant,
        own_domains=site.own_domains,
        seq=0,
        received_at_us=message.received_at_us or 0,
        mail_from=envelope.mail_from,
        rcpt_to=envelope.rcpt_to,
    )


def unwrapped(raw: bytes, envelope: Envelope) -> tuple[bytes, Envelope]:
    """A message without its mbox `From ` line, and the envelope, to which the line adds what was not given."""
    line, rest = split_mbox_from(raw)
    if line is None:
        return raw, envelope
    mail_from = envelope.mail_from if envelope.mail_from is not None else line.mail_from or None
    if envelope.received_at_us is not None:
        return rest, Envelope(envelope.received_at_us, mail_from, envelope.rcpt_to, envelope.time_source)
    return rest, Envelope(line.received_at_us, mail_from, envelope.rcpt_to, "mbox_from")
