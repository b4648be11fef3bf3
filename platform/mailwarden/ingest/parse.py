"""Raw RFC 5322 bytes to a `Message`: pure, bounded, and never raising, whatever the bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import get_args

from mailwarden.domain.mail.events import Signal
from mailwarden.domain.mail.inner import InnerFile
from mailwarden.domain.mail.message import Aspect, Authentication, Envelope, Message, QrCode, TimeSource
from mailwarden.domain.mail.reception import Answer, Resolver
from mailwarden.domain.mail.times import LIVE_AHEAD_US, settled
from mailwarden.domain.mail.trust import NO_TRUST, Trust
from mailwarden.domain.status import Status, worst
from mailwarden.ingest.authentication import read_authentication
from mailwarden.ingest.bodies import Bodies, read_bodies
from mailwarden.ingest.budget import MESSAGES, PARTS, Budget
from mailwarden.ingest.containers.opening import open_files
from mailwarden.ingest.content_keys import ContentKey
from mailwarden.ingest.dates import is_believable
from mailwarden.ingest.head import Head, read_head
from mailwarden.ingest.headers import HeaderBlock, read_headers
from mailwarden.ingest.mbox import MboxFrom, split_mbox_from
from mailwarden.ingest.mime import Tree, walk_parts
from mailwarden.ingest.qr import read_codes, sort_images
from mailwarden.ingest.quotes import Names
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.urls import UrlList

MAX_NESTING = 3
"""Messages inside each other; what is deeper stays a file."""

_NO_ENVELOPE = Envelope()
_NOBODY_TRUSTED: frozenset[str] = frozenset()
_NO_CODES: tuple[tuple[QrCode, ...], tuple[Signal, ...]] = ((), ())


def parse_message(
    raw: bytes,
    envelope: Envelope = _NO_ENVELOPE,
    *,
    trusted_authserv_ids: frozenset[str] = _NOBODY_TRUSTED,
    trust: Trust = NO_TRUST,
) -> Message:
    """Read a raw message; what is malformed becomes a defect of it, and what is not read in full stands in `unread`.

    Event time is the envelope's, else an mbox `From ` line's that the bytes begin with, the top Received's, the
    Date's: the first that lies in 1990..2099. Raises nothing. Source: RFC 5322, 2045-2047, 2231, 8601.

    trust: which Authentication-Results are believed; none by default. trusted_authserv_ids: more of its ids.
    """
    return parse_beside(raw, envelope, trust=trust.and_ids(trusted_authserv_ids))[0]


def parse_with_images(
    raw: bytes, envelope: Envelope = _NO_ENVELOPE, *, trust: Trust = NO_TRUST
) -> tuple[Message, tuple[bytes, ...]]:
    """As `parse_message`, with the image files that were left to be read later: see `qr.sort_images`."""
    message, beside = parse_beside(raw, envelope, trust=trust)
    return message, beside.later


@dataclass(frozen=True, slots=True)
class Beside:
    """What reading a message gives beside it. later: image files that were left to be read later, see
    `qr.sort_images`. answers: what the DNS said; None where it was not asked."""

    later: tuple[bytes, ...]
    answers: tuple[Answer, ...] | None


def parse_beside(
    raw: bytes,
    envelope: Envelope = _NO_ENVELOPE,
    *,
    trust: Trust = NO_TRUST,
    resolver: Resolver | None = None,
) -> tuple[Message, Beside]:
    """As `parse_message`, with all that comes of reading it beside the message.

    resolver: asked where no trusted result stands and nothing is kept of what the DNS said before.
    """
    images = _Images(resolver)
    message = _parse(raw, envelope, trust, Budget(), images, 0)
    return message, Beside(images.later, images.answers)


@dataclass(slots=True)
class _Images:
    """Image files that were met: those inside of nested messages, and of all those left to be read later; and the DNS,
    with what it said."""

    resolver: Resolver | None
    nested: list[bytes] = field(default_factory=list)
    later: tuple[bytes, ...] = ()
    answers: tuple[Answer, ...] | None = None


def _parse(raw: bytes, envelope: Envelope, trust: Trust, budget: Budget, images: _Images, depth: int) -> Message:
    reading = Reading(budget)
    try:
        return _read(raw, envelope, trust, reading, images, depth)
    except Exception as error:
        # The last resort behind those of each part and header: mail is handed over by strangers, and one message must
        # never stop the mail behind it. Tests hold that no known message comes here.
        reading.defect("parser_failed", type(error).__name__)
        for aspect in get_args(Aspect):
            reading.unread(aspect, Status.DAMAGED)
        nothing = read_head(HeaderBlock([], 0), envelope, trust, reading)
        sha256 = hashlib.sha256(raw).hexdigest()
        urls = UrlList(reading)
        return _assemble(raw, envelope, None, nothing, Authentication(), Tree(), Bodies(), urls, reading, sha256, "")


def _read(raw: bytes, envelope: Envelope, trust: Trust, reading: Reading, images: _Images, depth: int) -> Message:
    data = raw
    if b"\r" in raw and b"\n" not in raw:
        reading.defect("bare_cr")
        data = raw.replace(b"\r", b"\n")
    if data.startswith(b"\xef\xbb\xbf"):
        reading.defect("byte_order_mark")
        data = data[3:]
    mbox: MboxFrom | None = None
    if data.startswith((b"From ", b">From ")):
        mbox, data = split_mbox_from(data)
    block = read_headers(data, 0, len(data), reading)
    # The message's own headers are read first: nothing behind them may use up what they need. Their defects, which
    # are those of values, stand behind those of structure.
    of_values = Reading(reading.budget)
    head = read_head(block, envelope, trust, of_values)
    authentication = Authentication()
    if trust.believes:
        authentication = of_values.attempt(
            "headers",
            lambda: read_authentication(block.fields, trust, head.sender.domain, of_values),
            authentication,
        )
    reception = envelope.reception
    known = None if reception is None else reception.answers
    if not depth and not authentication.speaks and (known is not None or images.resolver is not None):
        authentication = of_values.attempt(
            "authentication",
            lambda: _verified(data, block, head, envelope, mbox, trust, authentication, images, of_values),
            authentication,
        )
    tree = Tree()
    urls = UrlList(reading)
    reading.attempt("attachments", lambda: walk_parts(data, block, reading, tree), None)
    names: Names = "thread" if head.references else "answered" if head.in_reply_to else "nothing"
    key = None if depth else ContentKey()
    if key is not None:
        key.check(reading)
    bodies = read_bodies(
        tree, lambda inner, part: _nested(inner, part, reading, images, depth), urls, reading, names, key
    )
    urls.add_subject(head.subject)
    reading.merge(of_values)
    inner: list[InnerFile] = []
    if bodies.files:
        opened = open_files(bodies.files, lambda inner, part: _nested(inner, part, reading, images, depth), reading)
        inner = opened.inner
        bodies.nested += opened.messages
        images.nested += opened.images
    codes, pending = reading.attempt("inner", lambda: _codes(bodies, reading, images, depth), _NO_CODES)
    content_sha256 = hashlib.sha256(raw).hexdigest()
    content_key = "" if key is None else key.of(block, tree.types, len(tree.leaves), content_sha256)
    message = _assemble(
        raw, envelope, mbox, head, authentication, tree, bodies, urls, reading, content_sha256, content_key
    )
    if codes or pending or inner:
        message = replace(message, qr_codes=codes, pending=pending, inner=tuple(inner))
    return message


def _verified(
    data: bytes,
    block: HeaderBlock,
    head: Head,
    envelope: Envelope,
    mbox: MboxFrom | None,
    trust: Trust,
    trusted: Authentication,
    images: _Images,
    reading: Reading,
) -> Authentication:
    """What is verified here, by what the DNS said when the message came, or says now where it was never asked."""
    # Imported where a message first needs it.
    from mailwarden.ingest.verification.questions import Questions
    from mailwarden.ingest.verification.signed import Signed
    from mailwarden.ingest.verification.verify import verify

    known = None if envelope.reception is None else envelope.reception.answers
    questions = Questions(images.resolver if known is None else None, known or (), reading)
    at_us, _ = event_time(envelope, mbox, head, Reading(reading.budget))
    found = verify(
        Signed(data, block.body), block.fields, head.authors, head.sender, envelope, at_us, trust, questions, reading
    )
    images.answers = questions.answers
    return replace(found, forged=trusted.forged)


def _codes(
    bodies: Bodies, reading: Reading, images: _Images, depth: int
) -> tuple[tuple[QrCode, ...], tuple[Signal, ...]]:
    """The QR codes that are read at once, and the signals that the message waits for."""
    if depth:
        images.nested += bodies.images
        return (), ()
    if not bodies.images and not images.nested:
        return (), ()
    shelves = sort_images(bodies.images, images.nested, len(bodies.new_text.strip()))
    images.later = shelves.later
    codes = read_codes(shelves.now)
    status = worst((shelves.status, codes.status))
    if status is not Status.PRESENT:
        reading.unread("inner", status)
    return codes.found, ("qr",) if shelves.later else ()


def _nested(raw: bytes, part: int, reading: Reading, images: _Images, depth: int) -> Message | None:
    """A message inside, None where it may go no deeper or there are too many."""
    if depth >= MAX_NESTING:
        reading.cut(("inner",), "nested_too_deep", f"more than {MAX_NESTING}", part)
        return None
    if not reading.budget.left(PARTS):
        reading.over(PARTS, part)
        return None
    if not reading.take(MESSAGES, 1, part):
        return None
    # Whatever a message inside says of its authentication is the sender's word.
    inner = _parse(raw, _NO_ENVELOPE, NO_TRUST, reading.budget, images, depth + 1)
    if inner.unread:
        reading.unread("inner", worst(status for _, status in inner.unread))
    return inner


def _assemble(
    raw: bytes,
    envelope: Envelope,
    mbox: MboxFrom | None,
    head: Head,
    authentication: Authentication,
    tree: Tree,
    bodies: Bodies,
    urls: UrlList,
    reading: Reading,
    content_sha256: str,
    content_key: str,
) -> Message:
    # Apart from the others, and last: read again with the time that was found, a message has all others alike.
    untimely = Reading(reading.budget)
    borne_us, time_source = event_time(envelope, mbox, head, untimely)
    received_at_us = borne_us
    if borne_us is not None and envelope.clock_us is not None:
        received_at_us = settled(borne_us, envelope.clock_us, LIVE_AHEAD_US)
        if received_at_us != borne_us:
            untimely.defect("time_clamped")
    return Message(
        headers=head.headers,
        sender=head.sender,
        to=head.to,
        cc=head.cc,
        reply_to=head.reply_to,
        return_path=head.return_path,
        recipients=head.recipients,
        received_at_us=received_at_us,
        time_source=time_source,
        date_us=head.date_us,
        message_id_header=head.message_id_header,
        in_reply_to=head.in_reply_to,
        references=head.references,
        subject=head.subject,
        new_text=bodies.new_text,
        quoted_text=bodies.quoted_text,
        html=bodies.html,
        html_chars=bodies.html_chars,
        text_chars=bodies.text_chars,
        hidden_chars=bodies.hidden_chars,
        hidden_text=bodies.hidden_text,
        preview=bodies.preview,
        invisible_chars=bodies.invisible_chars,
        split_words=bodies.split_words,
        charsets=tuple(bodies.charsets),
        part_types=tuple(tree.types),
        urls=urls.read(),
        attachments=tuple(bodies.attachments),
        hops=head.hops,
        authentication=authentication,
        nested=tuple(bodies.nested),
        defects=reading.defects() + untimely.defects(),
        content_sha256=content_sha256,
        size=len(raw),
        unread=reading.not_read(),
        other_links=urls.others(),
        body_parts=bodies.body_parts,
        invitations=tuple(bodies.invitations),
        outside_chars=tree.outside_chars,
        outside_links=tree.outside_links,
        authors=head.authors,
        author_marks=head.author_marks,
        claimed_at_us=None if received_at_us == borne_us else borne_us,
        content_key=content_key,
        client_ip=head.client_ip,
        directory=None if envelope.reception is None else envelope.reception.directory,
    )


def event_time(
    envelope: Envelope, mbox: MboxFrom | None, head: Head, reading: Reading
) -> tuple[int | None, TimeSource]:
    """When a message was received, microseconds UTC, by the best that says so, and what that is; None where nothing."""
    if envelope.received_at_us is not None:
        if is_believable(envelope.received_at_us):
            return envelope.received_at_us, envelope.time_source
        reading.defect("envelope_time_absurd")
    if mbox is not None:
        if mbox.received_at_us is not None and is_believable(mbox.received_at_us):
            return mbox.received_at_us, "mbox_from"
        reading.defect("mbox_time_unreadable")
    if head.hops and head.hops[0].received_at_us is not None:
        return head.hops[0].received_at_us, "received"
    if head.date_us is not None:
        return head.date_us, "date"
    reading.defect("no_time")
    return None, "none"
