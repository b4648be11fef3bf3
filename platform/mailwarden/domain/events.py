"""Events: what the platform keeps of a message, or of a label, for features to be computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1

Direction = Literal["inbound", "outbound", "internal"]
Kind = Literal["message", "label"]
Emission = Literal["participants", "participant_domains", "recipients", "pairs"]

CATEGORIES = ("CP", "MW", "BE", "VF", "LA", "EA", "CB", "EX", "RC", "SC", "SP")
"""Attack categories, `SP` (spam, graymail) last: unwanted, not an attack."""

LABELS = ("ham", "spam", *CATEGORIES)


@dataclass(frozen=True, slots=True)
class Event:
    """An envelope plus parsed facts (kind "message"), or a label given to an earlier message (kind "label").

    seq: monotone within a tenant, shared by messages and labels.
    direction: see `direction_of`.
    received_at_us: event time, microseconds UTC; of a label, the event time of the labelled message.
    known_at_us: when the platform learnt it; of a message, its event time.
    sender, recipients: normalised addresses; sender_domain, recipient_domains: registrable domains, distinct.
    authenticated: DMARC or an aligned pass by a trusted authserv-id; None where nothing trusted speaks.
    reply_to_differs: registrable domain of Reply-To differs from the sender's; None without Reply-To.
    labelled_bad, labelled_attack, labelled_good: change that a label makes to these counts, -1, 0 or 1: a
        correction takes the earlier label back in the same row. 0 for messages.
    """

    tenant: str
    seq: int
    kind: Kind
    message_id: str
    received_at_us: int
    known_at_us: int
    time_source: str
    direction: Direction
    sender: str
    sender_domain: str
    recipients: tuple[str, ...]
    recipient_domains: tuple[str, ...]
    content_sha256: str = ""
    size_bytes: int = 0
    url_count: int = 0
    attachment_count: int = 0
    has_link: bool = False
    has_attachment: bool = False
    authenticated: bool | None = None
    reply_to_differs: bool | None = None
    label: str = ""
    labelled_bad: int = 0
    labelled_attack: int = 0
    labelled_good: int = 0
    schema_version: int = SCHEMA_VERSION


def message_identity(
    tenant: str, content_sha256: str, received_at_us: int, mail_from: str | None, rcpt_to: tuple[str, ...]
) -> str:
    """Our own id of a message: 32 hex digits over tenant, content and arrival, never the Message-ID header."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (tenant, content_sha256, str(received_at_us), mail_from or "", *sorted(rcpt_to)):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "little"))
        digest.update(data)
    return digest.hexdigest()


def direction_of(
    sender_domain: str, recipient_domains: tuple[str, ...], own: frozenset[str], authenticated: bool | None = None
) -> Direction:
    """Inbound unless the sender's registrable domain is the tenant's own; then internal where all recipients are.

    authenticated: as in `Event`; False makes any message inbound, since who claims to be the tenant is not.
    """
    if sender_domain not in own or authenticated is False:
        return "inbound"
    return "internal" if all(domain in own for domain in recipient_domains) else "outbound"


def label_change(label: str, replaced: str | None) -> tuple[int, int, int]:
    """What a label does to (bad, attack, good) counts, the replaced one taken back: each -1, 0 or 1."""

    def counts(code: str | None) -> tuple[int, int, int]:
        if code is None:
            return 0, 0, 0
        if code == "ham":
            return 0, 0, 1
        return 1, int(code not in ("spam", "SP")), 0

    now, before = counts(label), counts(replaced)
    return now[0] - before[0], now[1] - before[1], now[2] - before[2]


def keys_of(emission: Emission, event: Event) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The keys (without tenant) that an event folds into under an emission, each with whether it is forward.

    participants: the sender forward; on outbound mail each recipient in reverse ("the tenant wrote to it").
    participant_domains: the same of registrable domains. recipients: each recipient, forward.
    pairs: (sender, recipient) forward and (recipient, sender) in reverse, for each recipient.
    Empty names (no readable sender) emit nothing.
    """
    if emission == "participants":
        if event.sender:
            yield (event.sender,), True
        if event.direction == "outbound":
            for recipient in event.recipients:
                yield (recipient,), False
    elif emission == "participant_domains":
        if event.sender_domain:
            yield (event.sender_domain,), True
        if event.direction == "outbound":
            for domain in event.recipient_domains:
                yield (domain,), False
    elif emission == "recipients":
        for recipient in event.recipients:
            yield (recipient,), True
    elif event.sender:
        for recipient in event.recipients:
            yield (event.sender, recipient), True
            yield (recipient, event.sender), False
