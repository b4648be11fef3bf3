"""From a parsed message to the event that history is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from mailwarden.domain.mail.addresses import address_domain, normalise_host, registrable_domain
from mailwarden.domain.mail.campaigns import signature_of
from mailwarden.domain.mail.domain_lookalikes import skeleton_of
from mailwarden.domain.mail.events import (
    TOMBSTONE,
    Event,
    Flow,
    LabelSource,
    Signal,
    direction_of,
    label_change,
    message_identity,
)
from mailwarden.domain.mail.fingerprints import (
    attachment_of,
    folded_name,
    link_domain_of,
    path_of,
    structure_of,
    thread_of,
)
from mailwarden.domain.mail.message import Message
from mailwarden.domain.mail.person_names import person_of

FACTS_VERSION = 4
"""Of the facts that `event_of` takes from a message: raised where the same message would get others, by the parser's
doing or by what is here, in `addresses` or in `fingerprints`. Old facts are not overwritten: `mailwarden reparse`
derives a set of new ones beside them. 2: hosts by UTS 46 (`ß` and final sigma are letters of their own).
4: person and domain_skeleton are there."""

_OWN = {
    "label": (
        "kind", "seq", "known_at_us", "label", "labelled_bad", "labelled_attack", "labelled_good", "label_source",
        "stands_for",
    ),
    "signal": ("kind", "seq", "known_at_us", "signal", "qr_code_count", "qr_url_count", "link_domain", "pending"),
    "tombstone": ("kind", "seq", "known_at_us", "signal", "pending"),
}  # fmt: skip
"""By kind, the fields that an event about a message has of its own; the others are the message's."""


def event_of(
    message: Message,
    *,
    tenant: str,
    own_domains: frozenset[str],
    seq: int,
    received_at_us: int,
    mail_from: str | None,
    rcpt_to: tuple[str, ...],
    trust: str = "",
    flow: Flow | None = None,
    queue_id: str = "",
) -> Event:
    """The event of a message as its tenant received it: the same at ingest and at scoring.

    own_domains: the tenant's, as it names them; their registrable domains count. received_at_us: event time, settled.
    mail_from, rcpt_to: of the envelope, and part of the message's identity. trust: fingerprint of what was trusted.
    flow: which way the mail system says that it goes. queue_id: what that calls the message. A sender that trusted
    results deny is not taken for the tenant's own: forged mail must not count as the tenant writing to whom it names.
    Who is written to for the first time, and which campaign a message is of, are no facts of it alone: `new_recipients`
    and `campaign` are empty until it is numbered.
    """
    vouched = authenticated(message)
    domains = (registrable_domain(address_domain(address)) for address in message.recipients)
    recipient_domains = tuple(dict.fromkeys(domain for domain in domains if domain))
    # Handed over again later, under another clock, it is still the same message.
    borne_us = received_at_us if message.claimed_at_us is None else message.claimed_at_us
    return Event(
        tenant=tenant,
        seq=seq,
        kind="message",
        message_id=message_identity(tenant, message.content_sha256, borne_us, mail_from, rcpt_to),
        received_at_us=received_at_us,
        known_at_us=received_at_us,
        time_source=message.time_source,
        direction=direction_of(message.sender.domain, recipient_domains, _registrable(own_domains), vouched, flow),
        sender=message.sender.address,
        sender_domain=message.sender.domain,
        recipients=message.recipients,
        recipient_domains=recipient_domains,
        content_sha256=message.content_sha256,
        size_bytes=message.size,
        url_count=len(message.urls),
        attachment_count=len(message.attachments),
        has_link=bool(message.urls),
        has_attachment=bool(message.attachments),
        authenticated=vouched,
        reply_to_differs=reply_to_differs(message),
        display_name=folded_name(message.sender),
        thread=thread_of(message),
        signature=signature_of(message),
        link_domain=link_domain_of(message),
        attachment=attachment_of(message),
        structure=structure_of(message),
        path=path_of(message),
        person=person_of(message.sender.display_name) if message.sender.address else "",
        domain_skeleton=skeleton_of(message.sender.domain) if message.sender.domain else "",
        reply=bool(message.in_reply_to or message.references),
        qr_code_count=len(message.qr_codes),
        qr_url_count=sum(code.url is not None for code in message.qr_codes),
        pending=message.pending,
        facts_version=FACTS_VERSION,
        trust=trust,
        time_clamped=message.claimed_at_us is not None,
        content_key=message.content_key,
        queue_id=queue_id,
    )


@lru_cache(maxsize=4_096)
def _registrable(own_domains: frozenset[str]) -> frozenset[str]:
    return frozenset(registrable_domain(name) or normalise_host(name) for name in own_domains)


def label_event_of(
    message: Event,
    *,
    label: str,
    replaced: str | None,
    seq: int,
    known_at_us: int,
    source: LabelSource = "index",
    stands_for: int = 0,
) -> Event:
    """The event of a label given to a message, with the message's own facts.

    label: one of `events.LABELS`, or `events.WITHDRAWN`. replaced: the label that the message bore before, taken back
    in the same row. source, stands_for: see `Event`.
    """
    bad, attack, good = label_change(label, replaced)
    return replace(
        message,
        kind="label",
        seq=seq,
        known_at_us=known_at_us,
        label=label,
        labelled_bad=bad,
        labelled_attack=attack,
        labelled_good=good,
        label_source=source,
        stands_for=stands_for,
    )


@dataclass(frozen=True, slots=True)
class SignalFacts:
    """What was found out about a message after it was accepted.

    code_count, url_count: QR codes, and those that hold a link. link_domain: where these lead to, whatever the message
    itself links to.
    """

    signal: Signal
    code_count: int
    url_count: int
    link_domain: str


def signal_event_of(message: Event, found: SignalFacts, *, seq: int, known_at_us: int) -> Event:
    """The event of what was found out about a message after it was accepted, with the message's own facts."""
    return replace(
        message,
        kind="signal",
        seq=seq,
        known_at_us=known_at_us,
        signal=found.signal,
        qr_code_count=found.code_count,
        qr_url_count=found.url_count,
        link_domain=found.link_domain,
        pending=(),
    )


def tombstone_of(event: Event, *, seq: int, known_at_us: int) -> Event:
    """The event after which a message counts no more, under the keys of that message or of a signal of it.

    event: either of them.
    """
    return replace(event, kind=TOMBSTONE, seq=seq, known_at_us=known_at_us, qr_code_count=0, qr_url_count=0, pending=())


def anew(event: Event, message: Event) -> Event:
    """An event about a message, with the facts of that message as they were derived anew."""
    own = _OWN[event.kind]
    if event.kind == TOMBSTONE and event.signal:
        own = (*own, "link_domain")
    return replace(message, **{name: getattr(event, name) for name in own})


def authenticated(message: Message) -> bool | None:
    """Whether the From domain is vouched for; None where nothing that is believed speaks of SPF, DKIM or DMARC.

    See `Authentication.vouches_for`; else by a trusted sealer whose ARC chain passed.
    """
    found = message.authentication
    if found.sealer_vouches:
        return True
    return found.vouches_for(message.sender.domain)


def reply_to_differs(message: Message) -> bool | None:
    """Whether an answer would go to another registrable domain than the sender's; None without a readable Reply-To."""
    domains = {mailbox.domain for mailbox in message.reply_to if mailbox.domain}
    return any(domain != message.sender.domain for domain in domains) if domains else None
