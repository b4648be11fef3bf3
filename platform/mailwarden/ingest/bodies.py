"""Leaves of a message sorted into body texts and attachments, each decoded once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from mailwarden.domain.mail.message import Aspect, Attachment, Message
from mailwarden.domain.status import Status
from mailwarden.ingest.attachments import OCTETS, SNIFFED_BYTES, binary_type, detect_type
from mailwarden.ingest.budget import BODY, LINKED_CHARS, QUOTED_CHARS, SNIFFED, TEXT_BYTES
from mailwarden.ingest.charsets import decode
from mailwarden.ingest.encrypted import has_encrypted_body, is_encrypted_file, is_encrypted_text
from mailwarden.ingest.html_text import read_html
from mailwarden.ingest.mime import Leaf, Tree
from mailwarden.ingest.quotes import split_quotes
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.transfer import undo_transfer
from mailwarden.ingest.urls import UrlList

MAX_TEXT = 100_000
"""Characters kept of the newest and of the quoted text."""

_META_CHARSET = re.compile(
    rb"<meta\b[^<>]{0,200}?charset\s{0,40}+=\s{0,40}+[\"']?+\s{0,40}+([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE
)
_WORD = re.compile(r"\w")


@dataclass(slots=True)
class Bodies:
    """What the leaves of a message hold, as `Message` names it."""

    new_text: str = ""
    quoted_text: str = ""
    html: bool = False
    html_chars: int = 0
    text_chars: int = 0
    hidden_chars: int = 0
    charsets: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    nested: list[Message] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Text:
    new: str
    quoted: str
    html: bool
    alternatives: tuple[int, ...]


def read_bodies(
    tree: Tree, parse_nested: Callable[[bytes, int], Message | None], urls: UrlList, reading: Reading
) -> Bodies:
    """Decode every leaf: what a reader sees as text becomes text, all else an attachment.

    parse_nested: reads the bytes of a message inside this one, None where it may go no deeper.
    """
    bodies = Bodies()
    texts: list[_Text] = []
    for leaf in tree.leaves:
        reading.attempt(
            _aspect_of(leaf), partial(_read_leaf, leaf, bodies, texts, parse_nested, urls, reading), None, leaf.index
        )
    _choose(texts, bodies)
    if has_encrypted_body(tree) or is_encrypted_text(bodies.new_text):
        for aspect in BODY:
            reading.unread(aspect, Status.ENCRYPTED)
    if len(bodies.new_text) > MAX_TEXT or len(bodies.quoted_text) > MAX_TEXT:
        reading.cut(("text",), "text_too_long", f"more than {MAX_TEXT:,} characters")
        bodies.new_text = bodies.new_text[:MAX_TEXT]
        bodies.quoted_text = bodies.quoted_text[:MAX_TEXT]
    return bodies


def _aspect_of(leaf: Leaf) -> Aspect:
    if leaf.content_type.startswith("message/"):
        return "inner"
    return "text" if leaf.content_type.startswith("text/") else "attachments"


def _read_leaf(
    leaf: Leaf,
    bodies: Bodies,
    texts: list[_Text],
    parse_nested: Callable[[bytes, int], Message | None],
    urls: UrlList,
    reading: Reading,
) -> None:
    data = undo_transfer(leaf.data, leaf.transfer_encoding, _aspect_of(leaf), reading, leaf.index)
    if leaf.content_type in ("message/rfc822", "message/global"):
        inner = parse_nested(data, leaf.index)
        if inner is not None:
            bodies.nested.append(inner)
        bodies.attachments.append(_attachment(leaf, data, "message/rfc822", nested=True))
    elif _is_body(leaf, texts, data, reading):
        texts.append(_read_text(leaf, data, bodies, urls, reading))
    elif data or leaf.filename or not leaf.content_type.startswith("multipart/"):
        bodies.attachments.append(_attachment(leaf, data, _type_of(data, leaf.index, reading)))
        content_type = bodies.attachments[-1].content_type
        if content_type.startswith("image/"):
            bodies.images.append(data)
        elif is_encrypted_file(data, content_type):
            reading.unread("inner", Status.ENCRYPTED)


def _type_of(data: bytes, part: int, reading: Reading) -> str:
    wanted = min(len(data), SNIFFED_BYTES)
    return detect_type(data) if reading.take(SNIFFED, wanted, part) == wanted else OCTETS


def _is_body(leaf: Leaf, texts: list[_Text], data: bytes, reading: Reading) -> bool:
    broken_multipart = leaf.content_type.startswith("multipart/")
    if leaf.content_type not in ("text/plain", "text/html") and not broken_multipart:
        return False
    if leaf.disposition == "attachment" and leaf.index != 0:
        return False
    if leaf.filename and leaf.index != 0:
        # Some mailers name the body itself; it is the first text, or the other form of it.
        first = not texts or (leaf.alternatives and leaf.alternatives == texts[0].alternatives)
        if not first or leaf.disposition == "inline":
            return False
    if binary_type(data) is not None:
        reading.defect("text_is_binary", leaf.content_type, leaf.index)
        return False
    return True


def _attachment(leaf: Leaf, data: bytes, content_type: str, nested: bool = False) -> Attachment:
    return Attachment(
        filename=leaf.filename,
        declared_type=leaf.content_type,
        content_type=content_type,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        nested=nested,
    )


def _read_text(leaf: Leaf, data: bytes, bodies: Bodies, urls: UrlList, reading: Reading) -> _Text:
    label = leaf.parameters.get("charset", "").strip().strip("'\"").lower()[:60]
    is_html = leaf.content_type == "text/html"
    if is_html and not label:
        named = _META_CHARSET.search(data, 0, 2048)
        label = named[1].decode("ascii").lower() if named else ""
    if label and label not in bodies.charsets:
        bodies.charsets.append(label)
    kept = data[: reading.take(TEXT_BYTES, len(data), leaf.index)]
    text = decode(kept, label, reading, leaf.index).removeprefix("\ufeff")
    if is_html:
        bodies.html = True
        bodies.html_chars += len(text)
        seen = read_html(text, reading, leaf.index)
        bodies.hidden_chars += seen.hidden_chars
        urls.add_markup(seen.links, seen.base, leaf.index)
        new, quoted = split_quotes(seen.new[: reading.take(QUOTED_CHARS, len(seen.new), leaf.index)])
        return _Text(new, "\n".join(t for t in (quoted, seen.quoted) if t), True, leaf.alternatives)
    bodies.text_chars += len(text)
    urls.add_text(text[: reading.take(LINKED_CHARS, len(text), leaf.index)], leaf.index)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    new, quoted = split_quotes(text[: reading.take(QUOTED_CHARS, len(text), leaf.index)])
    return _Text(new, quoted, False, leaf.alternatives)


def _choose(texts: list[_Text], bodies: Bodies) -> None:
    """Of two forms of one text the reader sees the HTML, so that is the one to judge."""
    in_html = {group for text in texts if text.html and (text.new or text.quoted) for group in text.alternatives}
    shown = [text for text in texts if text.html or not in_html.intersection(text.alternatives)]
    bodies.new_text = "\n\n".join(text.new for text in shown if text.new)
    bodies.quoted_text = "\n\n".join(text.quoted for text in shown if text.quoted)
    if bodies.quoted_text and _WORD.search(bodies.new_text) is None:
        # With nothing newer beside it, as in a bare forward, the quoted text is what the sender sends.
        bodies.new_text, bodies.quoted_text = bodies.quoted_text, ""
