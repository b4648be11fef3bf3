"""Fingerprints of a message: short names of what stays the same while senders vary the rest.

All of it is chosen by whoever writes the message, so that every input is cut to a bounded length first.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from mailwarden.domain.mail.addresses import registrable_domain
from mailwarden.domain.mail.message import Mailbox, Message, Url
from mailwarden.domain.mail.networks import network_of

MAX_DISPLAY_NAME = 128
"""Characters of a display name that are kept."""

_MAX_HEADERS = 64
_MAX_ID = 256
_MAX_FORM = 40

_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs"})
_WORD = re.compile(r"[^\W\d_]+")
_COMMENT_OR_VERSION = re.compile(r"\([^()]{0,256}\)?|\d[\w.-]*")
_ID_PIECE = re.compile(r"[\w+=/-]+")
_ASCII = re.compile(r"[\x00-\x7f]")
_NORMALISED = 512
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")

_IN_TRANSIT = frozenset((
    "received", "return-path", "delivered-to", "envelope-to", "delivery-date", "authentication-results",
    "apparently-to", "auto-submitted", "bcc", "cc", "content-class", "content-disposition", "content-language",
    "content-length", "content-transfer-encoding", "content-type", "dkim-signature", "domainkey-signature",
    "errors-to", "importance",
    "in-reply-to", "lines", "precedence", "priority", "received-spf", "references", "resent-date", "resent-from",
    "resent-message-id", "resent-to", "sender", "status", "thread-index", "thread-topic", "x-been-there", "x-beenthere",
    "x-delivered-to", "x-envelope-from", "x-envelope-to", "x-keywords", "x-original-to", "x-originating-ip",
    "x-priority", "x-received", "x-status", "x-uid", "x-uidl", "x-mailman-version", "x-loop", "x-sender", "x-bogosity",
))  # fmt: skip
"""Headers that relays add, or that come and go with what a message is about: they tell no mailer from another."""

_IN_TRANSIT_STEMS = (
    "arc-", "list-", "x-amavis", "x-antiabuse", "x-authentication-", "x-barracuda", "x-forefront-", "x-gm-",
    "x-google-", "x-greylist", "x-list-", "x-mailman-", "x-microsoft-antispam", "x-ms-exchange-", "x-ms-has-",
    "x-ms-tnef-", "x-mozilla-", "x-proofpoint-", "x-scan", "x-spam", "x-virus",
)  # fmt: skip


def folded_name(mailbox: Mailbox) -> str:
    """A display name folded for comparison (NFKC, case, white space), at most 128 characters.

    Characters that nobody sees are dropped; those that only look alike are kept apart. "" where there is none, or
    where it only repeats the address. Source: Unicode Standard Annex 15.
    """
    if not mailbox.display_name:
        return ""
    text = unicodedata.normalize("NFKC", mailbox.display_name[: 4 * MAX_DISPLAY_NAME]).casefold()
    if not text.isascii() or not text.isprintable():
        text = "".join(" " if char.isspace() else char for char in text if _is_seen(char))
    text = " ".join(text.split()).strip("\"'<> ")[:MAX_DISPLAY_NAME].strip()
    return "" if text == mailbox.address else text


def thread_of(message: Message) -> str:
    """32 hex digits of the Message-ID that a message's thread began with; "" where it names none.

    The first of References, else of In-Reply-To, else its own. Source: RFC 5322 section 3.6.4.
    """
    for roots in (message.references, message.in_reply_to):
        if roots and roots[0]:
            return _digest(roots[0], 16)
    return _digest(message.message_id_header, 16) if message.message_id_header else ""


def link_domain_of(message: Message) -> str:
    """The first registrable domain that links lead to, the sender's own only where there is no other; else "".

    Where there is no link the domain of the QR codes that were read with it.
    """
    return leads_to(message.urls, message) or leads_to([code.url for code in message.qr_codes if code.url], message)


def leads_to(urls: Iterable[Url], message: Message) -> str:
    """The first registrable domain of some links, that of the message's sender only where there is no other; or ""."""
    first = ""
    for url in urls:
        if url.domain and url.domain != message.sender.domain:
            return url.domain
        first = first or url.domain
    return first


def attachment_of(message: Message) -> str:
    """SHA-256 of the largest attachment, the first of several as large; "" without one."""
    return max(message.attachments, key=lambda part: part.size).sha256 if message.attachments else ""


def structure_of(message: Message) -> str:
    """16 hex digits of how a message was put together; "" without headers.

    The order of headers that the sender's own mailer writes, the mailer's name without version, and the form of the
    Message-ID.
    """
    if not message.headers:
        return ""
    names: list[str] = []
    mailer = ""
    for written, value in message.headers:
        name = written[:64].lower()
        if name in ("user-agent", "x-mailer") and not mailer:
            mailer = _mailer(value)
        if name in _IN_TRANSIT or name.startswith(_IN_TRANSIT_STEMS) or name in names:
            continue
        names.append(name)
        if len(names) == _MAX_HEADERS:
            break
    form = _id_form(message.message_id_header, message.sender.domain)
    return _digest("\n".join((",".join(names), mailer, form)), 8)


def path_of(message: Message) -> str:
    """The network of the host that handed a message over to the site; "" where the site names none."""
    return network_of(message.client_ip)


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def compatible(text: str) -> str:
    """NFKC of a text, by runs that end before an ASCII character, which composes with nothing before it.

    Normalising orders the marks on one letter by exchanging neighbours: 16,000 of them would be 100 million steps.
    """
    pieces: list[str] = []
    start = 0
    while start < len(text):
        edge = _ASCII.search(text, start + _NORMALISED, start + 2 * _NORMALISED)
        end = edge.start() if edge else start + 2 * _NORMALISED
        pieces.append(unicodedata.normalize("NFKC", text[start:end]))
        start = end
    return "".join(pieces)


def _is_seen(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) not in _UNSEEN


def _mailer(value: str) -> str:
    words = _WORD.findall(_COMMENT_OR_VERSION.sub(" ", value[:_MAX_ID]).lower())
    return " ".join(words[:3])


def _id_form(message_id: str, sender_domain: str) -> str:
    local, at, host = message_id[:_MAX_ID].partition("@")
    if not at:
        return "none" if not message_id else "no domain"
    form = _ID_PIECE.sub(_id_piece, local)[:_MAX_FORM]
    if "." not in host:
        return form + "@local"
    return form + ("@own" if sender_domain and registrable_domain(host) == sender_domain else "@other")


def _id_piece(match: re.Match[str]) -> str:
    piece = match[0]
    if piece.isdecimal() and len(piece) >= 10:
        return "d"
    # A short run of digits is as well hexadecimal by chance.
    return "x" if _HEX.fullmatch(piece) else "w"
