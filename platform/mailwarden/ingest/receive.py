"""A message as it comes, to what is kept of it: one way for bulk ingest, the scoring API and local scoring."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailwarden.domain.mail.directory import NO_DIRECTORY, Directory
from mailwarden.domain.mail.directory_answer import DirectoryAnswer
from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import event_of
from mailwarden.domain.mail.message import Envelope, Message
from mailwarden.domain.mail.reception import Reception, Resolver
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.ingest.mbox import split_mbox_from
from mailwarden.ingest.parse import parse_beside


@dataclass(frozen=True, slots=True)
class Site:
    """Whose mail is received. own_domains: as the tenant names them; trust: which Authentication-Results it believes;
    trusted_authserv_ids: more of its ids.

    stored: its mail comes from the store of raw mail, and not for the first time: what was said of it then stands.
    directory: of the tenant; None where it cannot be had.
    """

    tenant: str
    own_domains: frozenset[str]
    trusted_authserv_ids: frozenset[str] = frozenset()
    stored: bool = False
    trust: Trust = NO_TRUST
    directory: Directory | None = NO_DIRECTORY

    @property
    def trusts(self) -> Trust:
        """All that the tenant trusts."""
        return self.trust.and_ids(self.trusted_authserv_ids)

    def says(self, event: Event) -> DirectoryAnswer | None:
        """What is known here of who wrote a message and whom to; None where the directory cannot be had."""
        return None if self.directory is None else self.directory.says(event, self.own_domains)


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


def receive(raw: bytes, envelope: Envelope, site: Site, resolver: Resolver | None = None) -> Received:
    """Read a raw message as it came to a tenant; pure but for what the resolver says, and raises nothing.

    resolver: asked where no trusted result stands; what it says is in the envelope that is kept.

    An mbox `From ` line that the bytes begin with is no part of the message: see `unwrapped`.
    """
    if not site.stored:
        raw, envelope = unwrapped(raw, envelope)
    message, beside = parse_beside(raw, envelope, trust=site.trusts, resolver=resolver)
    known = envelope.reception or Reception()
    event = event_for(message, envelope, site)
    # Mail that was accepted before there were answers has none.
    said = known.directory if site.stored else site.says(event)
    reception = replace(
        known,
        trust=site.trusts,
        answers=beside.answers,
        auth_user=envelope.auth_user or "",
        queue_id=envelope.queue_id or "",
        flow=envelope.flow or "",
        directory=said,
    )
    kept = replace(envelope, reception=reception)
    return Received(raw, kept, replace(message, directory=said), event, beside.later)


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
        trust=site.trusts.fingerprint,
        flow="outbound" if envelope.submitted_by(site.own_domains) else envelope.flow,
        queue_id=envelope.queue_id or "",
    )


def unwrapped(raw: bytes, envelope: Envelope) -> tuple[bytes, Envelope]:
    """A message without its mbox `From ` line, and the envelope, to which the line adds what was not given."""
    line, rest = split_mbox_from(raw)
    if line is None:
        return raw, envelope
    mail_from = envelope.mail_from if envelope.mail_from is not None else line.mail_from or None
    if envelope.received_at_us is not None:
        return rest, replace(envelope, mail_from=mail_from)
    return rest, replace(envelope, received_at_us=line.received_at_us, mail_from=mail_from, time_source="mbox_from")
