"""Events: what the platform keeps of a message, or of a label, for features to be computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

SCHEMA_VERSION = 7

Direction = Literal["inbound", "outbound", "internal"]
Flow = Literal["inbound", "outbound"]
"""Which way mail goes, as the mail system says it: to the tenant, or from it (within it, too)."""

Kind = Literal["message", "label", "signal", "tombstone"]
Emission = Literal["participants", "participant_domains", "recipients", "pairs", "facts"]

CATEGORIES = ("CP", "MW", "BE", "VF", "LA", "EA", "CB", "EX", "RC", "SC", "SP")
"""Attack categories, `SP` (spam, graymail) last: unwanted, not an attack."""

LABELS = ("ham", "spam", *CATEGORIES)

LabelSource = Literal["analyst", "audit", "index", "user"]
LABEL_SOURCES: tuple[LabelSource, ...] = get_args(LabelSource)
"""How a label came about. analyst: somebody looked at the message whose work that is. audit: an analyst, at a message
that was drawn by chance. index: a label index that does not say. user: whoever got the message reported it."""

WITHDRAWN = "withdrawn"
"""Stands in a label event where a label is: the message's label is taken back, and none is given for it."""

KINDS: tuple[Kind, ...] = ("message", "label", "signal")
"""Kinds that are counted."""

TOMBSTONE: Kind = "tombstone"
"""The kind that takes another one out of the counts."""

Signal = Literal["qr"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
"""What is found out about a message after it was accepted. qr: QR codes in images that took too long to read before."""


class Way(NamedTuple):
    """How an event reaches one key.

    forward: as its sender's, reverse otherwise. first_contact: the sender had never written to the recipient of the
    key, or where the key has none of its own, to some recipient.
    """

    forward: bool
    first_contact: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """An envelope plus parsed facts (kind "message"), a label given to an earlier message (kind "label"), what was
    found out about one after it was accepted (kind "signal"), or that one counts no more (kind "tombstone").

    A tombstone bears the facts of the message, or of a signal of it, and so its keys: for what has a greater seq
    nothing of that message_id is counted there, neither the message nor its labels and signals, and no event of the
    message comes after it.

    seq: monotone within a tenant, shared by all kinds.
    direction: see `direction_of`.
    received_at_us: event time, microseconds UTC; of the other kinds, the event time of their message.
    known_at_us: when the platform learnt it; of a message, its event time.
    sender, recipients: normalised addresses; sender_domain, recipient_domains: registrable domains, distinct.
    authenticated: DMARC or an aligned pass by a trusted authserv-id; None where nothing trusted speaks.
    reply_to_differs: registrable domain of Reply-To differs from the sender's; None without Reply-To.
    display_name: of the sender, folded for comparison. thread: digest of the Message-ID that its thread began with.
    campaign: name of the cluster of near copies that it is of, given with its seq. signature: what that is told by;
        "" where it is nobody's campaign (`domain.mail.campaigns`). link_domain: registrable domain that its links
        lead to first, the sender's own passed over where there is another; where there is no link the one of its QR
        codes, and of a signal always that. attachment: SHA-256 of the largest one.
    structure: digest of header order, mailer and the form of the Message-ID. path: network of the host that handed it
        over to the site, as the site says. person: the sender's display name as whoever looks like it passes for it
        (`domain.mail.person_names`). domain_skeleton: what the sender's domain and those that pass for it share
        (`domain.mail.domain_lookalikes`). Each "" where the message has none.
    reply: it names a message that it answers.
    new_recipients: those of `recipients` that the sender had written nothing to before, in this tenant.
    labelled_bad, labelled_attack, labelled_good: change that a label makes to these counts, -1, 0 or 1: a
        correction takes the earlier label back in the same row, and a withdrawal does nothing else. 0 for messages.
    label_source: which of `LABEL_SOURCES` a label is of, "" in labels from before it was kept.
    stands_for: of an audit's label how many messages the one that was drawn stands for, 0 where that is not said.
    signal: which of `SIGNALS` an event of that kind is, "" for others; a message has each at most once.
    qr_code_count, qr_url_count: QR codes read, and those of them that hold a link: of a message, before it was
        accepted; of a signal, what was found later.
    pending: those of `SIGNALS` that a message waits for; a signal follows only where something was found.
    facts_version: `facts.FACTS_VERSION` of the code that took the message's facts; 1 in rows from before it was kept.
    trust: fingerprint of what its tenant trusted when they were taken; "" where that was nothing, or was not kept.
    time_clamped: the message bore a time that lay ahead, and received_at_us is what it was set back to
        (`domain.mail.times`); its message_id is that of the time it bore.
    content_key: the message's own, whichever way it comes; "" where it has none, or it was not kept.
    queue_id: what the mail system that handed it over calls it; "" where it did not say.
    copy_of: message_id of the message that this one is a further copy of, "" of all others. A further copy is for
        recipients that the message was not for yet, and `recipients` and `recipient_domains` are these alone; its event
        time is the message's.
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
    display_name: str = ""
    thread: str = ""
    campaign: str = ""
    signature: str = ""
    link_domain: str = ""
    attachment: str = ""
    structure: str = ""
    reply: bool = False
    new_recipients: tuple[str, ...] = ()
    label: str = ""
    labelled_bad: int = 0
    labelled_attack: int = 0
    labelled_good: int = 0
    signal: str = ""
    qr_code_count: int = 0
    qr_url_count: int = 0
    pending: tuple[str, ...] = ()
    facts_version: int = 1
    trust: str = ""
    time_clamped: bool = False
    content_key: str = ""
    queue_id: str = ""
    copy_of: str = ""
    path: str = ""
    label_source: str = ""
    stands_for: int = 0
    person: str = ""
    domain_skeleton: str = ""
    schema_version: int = SCHEMA_VERSION


TUPLES = tuple(field.name for field in fields(Event) if str(field.type).startswith("tuple["))
"""Fields of an event that hold several values, which JSON and Arrow know as lists only."""


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
    sender_domain: str,
    recipient_domains: tuple[str, ...],
    own: frozenset[str],
    authenticated: bool | None = None,
    flow: Flow | None = None,
) -> Direction:
    """Inbound unless the sender's registrable domain is the tenant's own; then internal where all recipients are.

    authenticated: as in `Event`; False makes any message inbound, since who claims to be the tenant is not. flow: what
    the mail system says, None where it says nothing: of what it says to go out the tenant is the sender, whatever
    stands in From; of what it says to come in, only where that is proven.
    """
    if flow != "outbound" and (
        sender_domain not in own or authenticated is False or (flow == "inbound" and authenticated is None)
    ):
        return "inbound"
    return "internal" if all(domain in own for domain in recipient_domains) else "outbound"


def label_change(label: str, replaced: str | None) -> tuple[int, int, int]:
    """What a label, or `WITHDRAWN`, does to (bad, attack, good) counts, the replaced one taken back: each -1, 0, 1."""

    def counts(code: str | None) -> tuple[int, int, int]:
        if code is None or code == WITHDRAWN:
            return 0, 0, 0
        if code == "ham":
            return 0, 0, 1
        return 1, int(code not in ("spam", "SP")), 0

    now, before = counts(label), counts(replaced)
    return now[0] - before[0], now[1] - before[1], now[2] - before[2]


def keys_of(emission: Emission, event: Event, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Way]]:
    """The keys (without tenant) that an event folds into under an emission, each with the way it reaches them.

    participants: the sender forward; on outbound mail each recipient in reverse ("the tenant wrote to it").
    participant_domains: the same of registrable domains. recipients: each recipient, forward.
    pairs: (sender, recipient) forward and (recipient, sender) in reverse, for each recipient.
    facts: the facts named by `keys`, once and forward; the tenant as a whole where none is named.
    Empty names (no readable sender, no link) emit nothing. A further copy was counted where it was sent from and as
    what it is: it reaches the keys of its recipients alone.
    """
    new = event.new_recipients
    if emission == "facts":
        if event.copy_of:
            return
        values = tuple(getattr(event, name) for name in keys)
        if all(values):
            yield values, Way(True, bool(new))
    elif emission == "participants":
        if event.sender and not event.copy_of:
            yield (event.sender,), Way(True, bool(new))
        if event.direction == "outbound":
            for recipient in event.recipients:
                yield (recipient,), Way(False, bool(new))
    elif emission == "participant_domains":
        if event.sender_domain and not event.copy_of:
            yield (event.sender_domain,), Way(True, bool(new))
        if event.direction == "outbound":
            for domain in event.recipient_domains:
                yield (domain,), Way(False, bool(new))
    elif emission == "recipients":
        for recipient in event.recipients:
            yield (recipient,), Way(True, recipient in new)
    elif event.sender:
        for recipient in event.recipients:
            way = Way(True, recipient in new)
            yield (event.sender, recipient), way
            yield (recipient, event.sender), way._replace(forward=False)


def key_of(keys: tuple[str, ...], event: Event, recipient: str) -> tuple[str, ...] | None:
    """The key that a message reads, as one recipient's: its own facts; None where one of them is empty."""
    values = tuple(recipient if name == "recipient" else str(getattr(event, name)) for name in keys)
    return values if all(values) else None


def members_of(event: Event, fact: str) -> tuple[str, ...]:
    """The names that an event holds in a fact of one or of many names; those that are empty are nobody's."""
    value = getattr(event, fact)
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(name for name in value if name)
