"""What the header fields of a message say: whom it is from and for, when, and which messages it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from mailwarden.domain.mail.message import AuthorMark, Envelope, Hop, Mailbox
from mailwarden.domain.mail.trust import Trust
from mailwarden.ingest.believed import hand_over
from mailwarden.ingest.charsets import clean
from mailwarden.ingest.dates import is_believable, read_date
from mailwarden.ingest.headers import HeaderBlock, decode_words, one_line
from mailwarden.ingest.hosts import read_address
from mailwarden.ingest.mailboxes import NOBODY, Marks, mailbox, read_mailboxes
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.received import read_hops

MAX_REFERENCES = 500

_ID = re.compile(r"<\s*+([^<>\s]{1,998})\s*+>")


@dataclass(slots=True)
class Head:
    """Header fields read, each as `Message` names it."""

    headers: tuple[tuple[str, str], ...]
    sender: Mailbox
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    reply_to: tuple[Mailbox, ...]
    return_path: str | None
    recipients: tuple[str, ...]
    date_us: int | None
    message_id_header: str
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    subject: str
    hops: tuple[Hop, ...]
    client_ip: str
    authors: tuple[Mailbox, ...]
    author_marks: tuple[AuthorMark, ...]


def read_head(block: HeaderBlock, envelope: Envelope, trust: Trust, reading: Reading) -> Head:
    """Read the fields of a message's own headers; one that cannot be read is empty, and damages no other."""
    hops = read_hops(block.all("received"), reading)
    marks: Marks = set()
    authors = _mailboxes(block, "from", reading, marks)
    sender = reading.attempt("headers", lambda: _sender(authors, block, envelope, reading), NOBODY)
    to, cc = _mailboxes(block, "to", reading), _mailboxes(block, "cc", reading)
    date_us = reading.attempt("headers", lambda: _date(block, reading), None)
    headers = tuple((name, _decoded(value, reading)) for name, value in block.fields)
    return Head(
        headers=headers,
        sender=sender,
        to=to,
        cc=cc,
        reply_to=_mailboxes(block, "reply-to", reading),
        return_path=reading.attempt("headers", lambda: _return_path(block, envelope, reading), None),
        recipients=_recipients(envelope, hops, to + cc, reading),
        date_us=date_us,
        message_id_header=_message_id(block),
        in_reply_to=_ids(block, "in-reply-to", reading),
        references=_ids(block, "references", reading),
        subject=one_line(_decoded(block.first("subject") or "", reading)),
        hops=hops,
        client_ip=_client_ip(block, envelope, trust, hops),
        authors=authors,
        author_marks=tuple(sorted(marks)),
    )


def _client_ip(block: HeaderBlock, envelope: Envelope, trust: Trust, hops: tuple[Hop, ...]) -> str:
    if envelope.reception is not None and envelope.reception.client_ip:
        return envelope.reception.client_ip
    at = hand_over(block.fields, trust)
    return hops[at].from_ip if 0 <= at < len(hops) else ""


def _decoded(value: str, reading: Reading) -> str:
    if "=?" not in value:
        return clean(value)
    return reading.attempt("headers", lambda: decode_words(value, reading), value)


def _mailboxes(block: HeaderBlock, name: str, reading: Reading, marks: Marks | None = None) -> tuple[Mailbox, ...]:
    values = block.all(name)
    if len(values) > 1:
        reading.defect("header_repeated", name)
    return tuple(
        box
        for value in values
        for box in reading.attempt("headers", partial(read_mailboxes, value, reading, marks), tuple[Mailbox, ...]())
    )


def _sender(authors: tuple[Mailbox, ...], block: HeaderBlock, envelope: Envelope, reading: Reading) -> Mailbox:
    if len(authors) > 1:
        reading.defect("several_authors", f"{len(authors)}")
    if not authors:
        reading.defect("no_author")
    boxes = (*authors, *_mailboxes(block, "sender", reading))
    readable = next((box for box in boxes if box.address), None)
    if authors and authors[0].address:
        return authors[0]
    if readable is None and envelope.mail_from:
        readable = mailbox(clean(envelope.mail_from), "", reading)
    if authors and authors[0].display_name:
        # What the reader sees stays the author's name, whichever address stands in for the one that is missing.
        return Mailbox(readable.address, authors[0].display_name, readable.domain) if readable else authors[0]
    return readable or NOBODY


def _return_path(block: HeaderBlock, envelope: Envelope, reading: Reading) -> str | None:
    value = envelope.mail_from if envelope.mail_from is not None else block.first("return-path")
    return None if value is None else read_address(clean(value), reading)


def _recipients(
    envelope: Envelope, hops: tuple[Hop, ...], named: tuple[Mailbox, ...], reading: Reading
) -> tuple[str, ...]:
    addresses = [
        reading.attempt("headers", partial(read_address, clean(address), reading), "") for address in envelope.rcpt_to
    ]
    if not any(addresses):
        addresses = [hops[0].for_address] if hops else []
    if not any(addresses):
        addresses = [box.address for box in named]
    return tuple(dict.fromkeys(address for address in addresses if address))


def _date(block: HeaderBlock, reading: Reading) -> int | None:
    value = block.first("date")
    if value is None:
        reading.defect("date_missing")
        return None
    date_us = read_date(value)
    if date_us is None:
        reading.defect("date_unreadable")
    elif not is_believable(date_us):
        reading.defect("date_absurd")
        return None
    return date_us


def _message_id(block: HeaderBlock) -> str:
    value = block.first("message-id") or ""
    found = _ID.search(value)
    return clean(found[1] if found else one_line(value)[:998])


def _ids(block: HeaderBlock, name: str, reading: Reading) -> tuple[str, ...]:
    value = block.first(name)
    if not value:
        return ()
    found = _ID.findall(value)
    if len(found) > MAX_REFERENCES:
        reading.cut(("headers",), "too_many_references", f"{len(found)}")
    return tuple(dict.fromkeys(clean(one) for one in found[:MAX_REFERENCES]))
