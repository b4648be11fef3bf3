"""Raw RFC 5322 bytes to a `Message`: pure, bounded, and never raising, whatever the bytes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace

from mailwarden.domain.mail.addresses import normalise_address
from mailwarden.domain.mail.events import Signal
from mailwarden.domain.mail.message import Authentication, Envelope, Hop, Mailbox, Message, TimeSource
from mailwarden.domain.status import Status, worst
from mailwarden.ingest.authentication import read_authentication
from mailwarden.ingest.bodies import Bodies, read_bodies
from mailwarden.ingest.charsets import clean
from mailwarden.ingest.dates import is_believable, read_date, read_mbox_date, read_zone
from mailwarden.ingest.defects import DefectLog
from mailwarden.ingest.headers import HeaderBlock, decode_words, one_line, read_headers
from mailwarden.ingest.mailboxes import NOBODY, mailbox, read_mailboxes
from mailwarden.ingest.mime import PartBudget, Tree, walk_parts
from mailwarden.ingest.qr import read_codes, sort_images
from mailwarden.ingest.received import read_hops
from mailwarden.ingest.urls import UrlList

MAX_NESTING = 3
MAX_REFERENCES = 500

_NO_ENVELOPE = Envelope()
_NOBODY_TRUSTED: frozenset[str] = frozenset()
_ID = re.compile(r"<\s*([^<>\s]{1,998})\s*>")
# "From : a@b.example" is a header, written as RFC 822 still allowed.
_MBOX_LINE = re.compile(rb">?From (?![ \t]*:)[^\n]*\n")


@dataclass(slots=True)
class _Images:
    """Image files that were met: those inside of nested messages, and of all those left to be read later."""

    nested: list[bytes] = field(default_factory=list)
    later: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class MboxFrom:
    """An mbox `From ` line. mail_from: its address, "" where it has none; received_at_us: None where unreadable."""

    mail_from: str
    received_at_us: int | None


def parse_message(
    raw: bytes,
    envelope: Envelope = _NO_ENVELOPE,
    *,
    trusted_authserv_ids: frozenset[str] = _NOBODY_TRUSTED,
) -> Message:
    """Read a raw message; what is malformed becomes a defect of it.

    Event time is the envelope's, else an mbox `From ` line's that the bytes begin with, the top Received's, the
    Date's: the first that lies in 1990..2099. Raises nothing. Source: RFC 5322, 2045-2047, 2231, 8601.

    trusted_authserv_ids: whose Authentication-Results are believed; none by default.
    """
    return parse_with_images(raw, envelope, trusted_authserv_ids=trusted_authserv_ids)[0]


def parse_with_images(
    raw: bytes,
    envelope: Envelope = _NO_ENVELOPE,
    *,
    trusted_authserv_ids: frozenset[str] = _NOBODY_TRUSTED,
) -> tuple[Message, tuple[bytes, ...]]:
    """As `parse_message`, with the image files that were left to be read later: see `qr.sort_images`."""
    images = _Images()
    message = _parse(raw, envelope, trusted_authserv_ids, PartBudget(), images, 0)
    return message, images.later


def split_mbox_from(raw: bytes) -> tuple[MboxFrom | None, bytes]:
    """The `From ` line that a message from an mbox begins with, and the message without it.

    Where several stand there, as in mail that was put away twice, the first speaks and all are taken off.
    The line's time has no zone and is the receiving host's own, so it is read in the top Received's zone.
    """
    line = _MBOX_LINE.match(raw, 0, 2_000)
    if line is None:
        return None, raw
    end = line.end()
    while (further := _MBOX_LINE.match(raw, end, end + 2_000)) is not None:
        end = further.end()
    rest = raw[end:]
    fields = read_headers(rest, 0, len(rest), DefectLog()).first("received")
    zone = read_zone(fields.rpartition(";")[2].strip()) if fields else 0
    text = line[0].decode("latin-1")
    words = text.split(None, 2)
    address = normalise_address(words[1]) if len(words) > 1 else ""
    return MboxFrom(address, read_mbox_date(text, zone)), rest


def _parse(
    raw: bytes, envelope: Envelope, trusted: frozenset[str], budget: PartBudget, images: _Images, depth: int
) -> Message:
    defects = DefectLog()
    try:
        return _read(raw, envelope, trusted, budget, images, depth, defects)
    except Exception as error:
        # The last resort: mail is handed over by strangers, and one message must never stop the mail behind it.
        # Tests hold that no known message comes here.
        defects.add("parser_failed", type(error).__name__)
        return _unread(raw, envelope, defects)


def _read(
    raw: bytes,
    envelope: Envelope,
    trusted: frozenset[str],
    budget: PartBudget,
    images: _Images,
    depth: int,
    defects: DefectLog,
) -> Message:
    data = raw
    if b"\r" in raw and b"\n" not in raw:
        defects.add("bare_cr")
        data = raw.replace(b"\r", b"\n")
    if data.startswith(b"\xef\xbb\xbf"):
        defects.add("byte_order_mark")
        data = data[3:]
    mbox: MboxFrom | None = None
    if data.startswith((b"From ", b">From ")):
        mbox, data = split_mbox_from(data)
    headers = read_headers(data, 0, len(data), defects)
    urls = UrlList(defects)

    def parse_nested(inner: bytes, part: int) -> Message | None:
        if depth >= MAX_NESTING:
            defects.add("nested_too_deep", f"more than {MAX_NESTING}", part)
            return None
        if budget.left <= 0:
            defects.add("too_many_parts", "in nested messages", part)
            return None
        # Whatever a message inside says of its authentication is the sender's word.
        return _parse(inner, _NO_ENVELOPE, _NOBODY_TRUSTED, budget, images, depth + 1)

    tree = walk_parts(data, headers, budget, defects)
    bodies = read_bodies(tree, parse_nested, urls, defects)
    message = _assemble(raw, envelope, trusted, mbox, headers, tree, bodies, urls, defects)
    if depth:
        images.nested += bodies.images
        return message
    return _with_codes(message, bodies.images, images) if bodies.images or images.nested else message


def _with_codes(message: Message, own: list[bytes], images: _Images) -> Message:
    shelves = sort_images(own, images.nested, len(message.new_text.strip()))
    images.later = shelves.later
    codes = read_codes(shelves.now)
    unread = dict(message.unread)
    status = worst((unread.get("inner", Status.PRESENT), shelves.status, codes.status))
    if status is not Status.PRESENT:
        unread["inner"] = status
    pending: tuple[Signal, ...] = ("qr",) if shelves.later else ()
    return replace(message, unread=tuple(unread.items()), qr_codes=codes.found, pending=pending)


def _assemble(
    raw: bytes,
    envelope: Envelope,
    trusted: frozenset[str],
    mbox: MboxFrom | None,
    headers: HeaderBlock,
    tree: Tree,
    bodies: Bodies,
    urls: UrlList,
    defects: DefectLog,
) -> Message:
    hops = read_hops(headers.all("received"), defects)
    sender = _sender(headers, envelope, defects)
    to = _mailboxes(headers, "to", defects)
    cc = _mailboxes(headers, "cc", defects)
    date_us = _date(headers, defects)
    # Apart from the others, and last: read again with the time that was found, a message has all others alike.
    untimely = DefectLog()
    received_at_us, time_source = _event_time(envelope, mbox, hops, date_us, untimely)
    authentication = Authentication()
    if trusted:
        authentication = read_authentication(headers.all("authentication-results"), trusted, sender.domain)
    return Message(
        headers=tuple((name, clean(decode_words(value, defects))) for name, value in headers.fields),
        sender=sender,
        to=to,
        cc=cc,
        reply_to=_mailboxes(headers, "reply-to", defects),
        return_path=_return_path(headers, envelope),
        recipients=_recipients(envelope, hops, to + cc),
        received_at_us=received_at_us,
        time_source=time_source,
        date_us=date_us,
        message_id_header=_message_id(headers),
        in_reply_to=_ids(headers, "in-reply-to"),
        references=_ids(headers, "references"),
        subject=one_line(clean(decode_words(headers.first("subject") or "", defects))),
        new_text=bodies.new_text,
        quoted_text=bodies.quoted_text,
        html=bodies.html,
        html_chars=bodies.html_chars,
        text_chars=bodies.text_chars,
        hidden_chars=bodies.hidden_chars,
        charsets=tuple(bodies.charsets),
        part_types=tuple(tree.types),
        urls=urls.read(),
        attachments=tuple(bodies.attachments),
        hops=hops,
        authentication=authentication,
        nested=tuple(bodies.nested),
        defects=defects.read() + untimely.read(),
        content_sha256=hashlib.sha256(raw).hexdigest(),
        size=len(raw),
    )


def _unread(raw: bytes, envelope: Envelope, defects: DefectLog) -> Message:
    """What can be said of bytes that could not be read: the envelope, and their fingerprint."""
    nothing = HeaderBlock([], 0)
    return _assemble(raw, envelope, _NOBODY_TRUSTED, None, nothing, Tree(), Bodies(), UrlList(defects), defects)


def _mailboxes(headers: HeaderBlock, name: str, defects: DefectLog) -> tuple[Mailbox, ...]:
    values = headers.all(name)
    if len(values) > 1:
        defects.add("header_repeated", name)
    return tuple(box for value in values for box in read_mailboxes(value, defects))


def _sender(headers: HeaderBlock, envelope: Envelope, defects: DefectLog) -> Mailbox:
    authors = _mailboxes(headers, "from", defects)
    if len(authors) > 1:
        defects.add("several_authors", f"{len(authors)}")
    if not authors:
        defects.add("no_author")
    boxes = (*authors, *_mailboxes(headers, "sender", defects))
    readable = next((box for box in boxes if box.address), None)
    if authors and authors[0].address:
        return authors[0]
    if readable is None and envelope.mail_from:
        readable = mailbox(clean(envelope.mail_from))
    if authors and authors[0].display_name:
        # What the reader sees stays the author's name, whichever address stands in for the one that is missing.
        return Mailbox(readable.address, authors[0].display_name, readable.domain) if readable else authors[0]
    return readable or NOBODY


def _return_path(headers: HeaderBlock, envelope: Envelope) -> str | None:
    value = envelope.mail_from if envelope.mail_from is not None else headers.first("return-path")
    return None if value is None else normalise_address(clean(value))


def _recipients(envelope: Envelope, hops: tuple[Hop, ...], named: tuple[Mailbox, ...]) -> tuple[str, ...]:
    addresses = [normalise_address(clean(address)) for address in envelope.rcpt_to]
    if not any(addresses):
        addresses = [hops[0].for_address] if hops else []
    if not any(addresses):
        addresses = [box.address for box in named]
    return tuple(dict.fromkeys(address for address in addresses if address))


def _date(headers: HeaderBlock, defects: DefectLog) -> int | None:
    value = headers.first("date")
    if value is None:
        defects.add("date_missing")
        return None
    date_us = read_date(value)
    if date_us is None:
        defects.add("date_unreadable")
    elif not is_believable(date_us):
        defects.add("date_absurd")
        return None
    return date_us


def _event_time(
    envelope: Envelope, mbox: MboxFrom | None, hops: tuple[Hop, ...], date_us: int | None, defects: DefectLog
) -> tuple[int | None, TimeSource]:
    if envelope.received_at_us is not None:
        if is_believable(envelope.received_at_us):
            return envelope.received_at_us, envelope.time_source
        defects.add("envelope_time_absurd")
    if mbox is not None:
        if mbox.received_at_us is not None and is_believable(mbox.received_at_us):
            return mbox.received_at_us, "mbox_from"
        defects.add("mbox_time_unreadable")
    if hops and hops[0].received_at_us is not None:
        return hops[0].received_at_us, "received"
    if date_us is not None:
        return date_us, "date"
    defects.add("no_time")
    return None, "none"


def _message_id(headers: HeaderBlock) -> str:
    value = headers.first("message-id") or ""
    found = _ID.search(value)
    return clean(found[1] if found else one_line(value)[:998])


def _ids(headers: HeaderBlock, name: str) -> tuple[str, ...]:
    value = headers.first(name)
    if not value:
        return ()
    return tuple(dict.fromkeys(clean(found) for found in _ID.findall(value)[:MAX_REFERENCES]))
