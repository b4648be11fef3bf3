"""Leaves of a message sorted into body texts and attachments, each decoded once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from mailwarden.domain.mail.characters import shown
from mailwarden.domain.mail.long_texts import ends_of, kept_of
from mailwarden.domain.mail.message import Aspect, Attachment, Invitation, Message
from mailwarden.domain.status import Status
from mailwarden.ingest.attachments import (
    OCTETS,
    SNIFFED_BYTES,
    binary_type,
    detect_type,
    has_zip_behind,
    type_by_name,
)
from mailwarden.ingest.budget import BODY, LINKED_CHARS, QUOTED_CHARS, SNIFFED, TEXT_BYTES
from mailwarden.ingest.calendars import read_calendar
from mailwarden.ingest.charset_labels import codec_for
from mailwarden.ingest.charsets import decode
from mailwarden.ingest.containers.opening import File
from mailwarden.ingest.content_keys import ContentKey
from mailwarden.ingest.encrypted import SMIME_TYPES, has_encrypted_body, is_encrypted_text
from mailwarden.ingest.html_text import MAX_HIDDEN, read_html
from mailwarden.ingest.mime import Leaf, Tree
from mailwarden.ingest.quotes import MARK, Names, split_quotes
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.shown_parts import Form, form_of, is_file_too, is_shown, reads_as_text
from mailwarden.ingest.signed_parts import add_signed
from mailwarden.ingest.transfer import undo_transfer, uu_files
from mailwarden.ingest.urls import UrlList

MAX_TEXT = 100_000
"""Characters kept of the newest and of the quoted text."""
MAX_BESIDE = 20_000
"""Bytes read as text of a part that is a file beside the text too, and counts as one."""
MAX_SPARE = 20
"""Parts of text that no reader shows in the body, and that are read where nothing else is there to see."""

_NAMED_CHARSET = re.compile(
    rb"<(?:meta\b[^<>]{0,200}?charset|\?xml\b[^<>]{0,200}?encoding)\s{0,40}+=\s{0,40}+[\"']?+\s{0,40}+([A-Za-z0-9_:.-]{1,40})",
    re.IGNORECASE,
)
_ENRICHED_TAG = re.compile(r"<param>[^<]*+</param>|<(<)|<[^<>]{0,60}+>", re.IGNORECASE)
_RANK: dict[Form, int] = {"html": 2, "plain": 1}
"""How willingly readers take a form where there are several; those of other subtypes hardly any reader takes."""
_MESSAGES = frozenset(("message/rfc822", "message/global", "message/news"))
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
    hidden_text: str = ""
    preview: str = ""
    invisible_chars: int = 0
    split_words: int = 0
    body_parts: int = 0
    charsets: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    nested: list[Message] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    invitations: list[Invitation] = field(default_factory=list)
    files: list[File] = field(default_factory=list)


@dataclass(slots=True)
class _Text:
    """The text of one part. rank: how willingly readers take its form of several; branches: of each
    multipart/alternative around it, its index and the place in it."""

    new: str
    quoted: str
    rank: int
    branches: tuple[tuple[int, int], ...]

    @property
    def is_empty(self) -> bool:
        return not (self.new or self.quoted)


@dataclass(slots=True)
class _Found:
    """What is gathered before it is known which of it is shown. names: what the message's headers name of mail before
    it; calendar: texts of invitations, in order."""

    bodies: Bodies
    names: Names
    texts: list[_Text] = field(default_factory=list)
    calendar: list[str] = field(default_factory=list)
    spare: list[tuple[Leaf, bytes]] = field(default_factory=list)
    key: ContentKey | None = None
    hashed: tuple[bytes, str] | None = None

    def sha256(self, data: bytes) -> str:
        """Hex digest of a file, computed once where it is asked for again."""
        if self.hashed is None or self.hashed[0] is not data:
            self.hashed = data, hashlib.sha256(data).hexdigest()
        return self.hashed[1]


def read_bodies(
    tree: Tree,
    parse_nested: Callable[[bytes, int], Message | None],
    urls: UrlList,
    reading: Reading,
    names: Names = "nothing",
    key: ContentKey | None = None,
) -> Bodies:
    """Decode every leaf: what a reader sees as text becomes text, all else an attachment.

    parse_nested: reads the bytes of a message inside this one, None where it may go no deeper. names: what the
    message's headers name of mail before it, by which its quotes are told. key: takes in every part.
    """
    bodies = Bodies()
    found = _Found(bodies, names, key=key)
    for leaf in tree.leaves:
        reading.attempt(
            _aspect_of(leaf), partial(_read_leaf, leaf, tree, found, parse_nested, urls, reading), None, leaf.index
        )
    if found.spare and not any(_WORD.search(text.new) or _WORD.search(text.quoted) for text in found.texts):
        # A message whose only words no reader shows must not look like an empty one.
        for leaf, data in found.spare[:MAX_SPARE]:
            reading.defect("text_beside_body", leaf.content_type, leaf.index)
            reading.attempt("text", partial(_add_text, leaf, data, "plain", found, urls, reading), None, leaf.index)
    _choose(found.texts, bodies, reading)
    _add_calendar(found.calendar, bodies)
    if has_encrypted_body(tree) or is_encrypted_text(bodies.new_text):
        for aspect in BODY:
            reading.unread(aspect, Status.ENCRYPTED)
    if len(bodies.new_text) > MAX_TEXT or len(bodies.quoted_text) > MAX_TEXT:
        reading.cut(("text",), "text_too_long", f"more than {MAX_TEXT:,} characters")
        links = [url.text for url in urls.read() if url.text]
        bodies.new_text = kept_of(bodies.new_text, MAX_TEXT, links)
        bodies.quoted_text = kept_of(bodies.quoted_text, MAX_TEXT, links)
    return bodies


def _aspect_of(leaf: Leaf) -> Aspect:
    if leaf.content_type.startswith("message/"):
        return "inner"
    return "text" if leaf.content_type.startswith("text/") else "attachments"


def _read_leaf(
    leaf: Leaf,
    tree: Tree,
    found: _Found,
    parse_nested: Callable[[bytes, int], Message | None],
    urls: UrlList,
    reading: Reading,
) -> None:
    bodies = found.bodies
    form = form_of(leaf.content_type)
    data = undo_transfer(leaf.data, leaf.transfer_encoding, "text" if form else _aspect_of(leaf), reading, leaf.index)
    if found.key is not None:
        found.key.check(reading)
        found.key.add(leaf, data, found.sha256)
    if leaf.content_type in SMIME_TYPES and add_signed(leaf, data, tree, reading):
        return
    if leaf.content_type in _MESSAGES:
        inner = parse_nested(data, leaf.index)
        if inner is not None:
            bodies.nested.append(inner)
        bodies.attachments.append(_attachment(leaf, data, "message/rfc822", found, nested=True))
        return
    if leaf.content_type.startswith("message/"):
        _read_pointer(leaf, urls, reading)
    first = all(text.is_empty for text in found.texts)
    if form is not None and form != "calendar" and is_shown(leaf, first) and not _is_binary(leaf, data, form, reading):
        beside = is_file_too(leaf, first)
        if form == "plain" and b"begin " in data and not beside:
            data, within = uu_files(data, reading, leaf.index)
            for name, file in within:
                _add_file(replace(leaf, content_type=OCTETS, filename=name), file, None, found, urls, reading)
        _add_text(leaf, data[:MAX_BESIDE] if beside else data, form, found, urls, reading)
        if not beside:
            return
    elif form == "calendar":
        _read_calendar(leaf, data, found, urls, reading)
        if leaf.disposition != "attachment" and not leaf.filename and leaf.content_type.startswith("text/"):
            return
    if data or leaf.filename or not leaf.content_type.startswith("multipart/"):
        _add_file(leaf, data, form, found, urls, reading)


def _add_file(leaf: Leaf, data: bytes, form: Form | None, found: _Found, urls: UrlList, reading: Reading) -> None:
    bodies = found.bodies
    content_type = type_by_name(_type_of(data, leaf.index, reading), leaf.filename, data)
    bodies.attachments.append(_attachment(leaf, data, content_type, found))
    if content_type.startswith("image/") and content_type != "image/svg+xml" and not has_zip_behind(data):
        bodies.images.append(data)
        return
    # A calendar's words are the body's.
    if content_type != "text/calendar":
        bodies.files.append(File(leaf.filename, content_type, data, leaf.index))
    if form != "calendar" and content_type == "text/calendar":
        _read_calendar(leaf, data, found, urls, reading)
    elif form != "calendar" and leaf.disposition != "attachment" and _is_text(leaf, content_type):
        found.spare.append((leaf, data))


def _is_text(leaf: Leaf, content_type: str) -> bool:
    return leaf.content_type.startswith("text/") and content_type.startswith("text/")


def _read_pointer(leaf: Leaf, urls: UrlList, reading: Reading) -> None:
    """What stands in place of content that is elsewhere, or in other messages (RFC 2046 section 5.2.2, RFC 2017)."""
    if leaf.content_type == "message/partial":
        reading.defect("message_partial", "", leaf.index)
        reading.unread("inner", Status.DAMAGED)
    elif leaf.content_type == "message/external-body":
        reading.defect("message_elsewhere", leaf.parameters.get("access-type", "")[:40], leaf.index)
        if url := "".join(leaf.parameters.get("url", "").split()):
            urls.add_addresses((url,), leaf.index)


def _type_of(data: bytes, part: int, reading: Reading) -> str:
    wanted = min(len(data), SNIFFED_BYTES)
    return detect_type(data) if reading.take(SNIFFED, wanted, part) == wanted else OCTETS


def _is_binary(leaf: Leaf, data: bytes, form: Form, reading: Reading) -> bool:
    """Whether what is declared to be text is a file that no reader could show as text."""
    if binary_type(data) is None:
        return False
    if reads_as_text(data, form, bool(leaf.filename) and leaf.index > 0):
        reading.defect("text_begins_as_file", leaf.content_type, leaf.index)
        return False
    reading.defect("text_is_binary", leaf.content_type, leaf.index)
    return True


def _attachment(leaf: Leaf, data: bytes, content_type: str, found: _Found, nested: bool = False) -> Attachment:
    return Attachment(
        filename=leaf.filename,
        declared_type=leaf.content_type,
        content_type=content_type,
        size=len(data),
        sha256=found.sha256(data),
        nested=nested,
    )


def _decoded(leaf: Leaf, data: bytes, form: Form, bodies: Bodies, reading: Reading) -> str:
    """The text of a part, within the budget, by the charset that it names: in its header, else in its markup."""
    label = leaf.parameters.get("charset", "").strip().strip("'\"").lower()[:60]
    if form == "html" and (not label or codec_for(label) is None):
        named = _NAMED_CHARSET.search(data, 0, 2048)
        if named is not None:
            label = named[1].decode("ascii").lower()
            if label.startswith(("utf-16", "utf-32")):
                # Markup that could be read as single bytes is in none of those (WHATWG).
                label = "utf-8"
    if label and label not in bodies.charsets:
        bodies.charsets.append(label)
    kept = data[: reading.take(TEXT_BYTES, len(data), leaf.index)]
    return decode(kept, label, reading, leaf.index).removeprefix("\ufeff")


def _add_text(leaf: Leaf, data: bytes, form: Form, found: _Found, urls: UrlList, reading: Reading) -> None:
    bodies = found.bodies
    text = _decoded(leaf, data, form, bodies, reading)
    bodies.body_parts += bool(text.strip())
    if form == "html":
        bodies.html = True
        bodies.html_chars += len(text)
        seen = read_html(text, reading, leaf.index, found.names)
        bodies.hidden_chars += seen.hidden_chars
        bodies.hidden_text = f"{bodies.hidden_text}\n{seen.hidden}".strip()[:MAX_HIDDEN]
        bodies.preview = bodies.preview or seen.preview
        bodies.invisible_chars += seen.invisible
        bodies.split_words += seen.split_words
        urls.add_markup(seen.links, seen.base, leaf.index)
        new, quoted = seen.new, seen.quoted
    else:
        bodies.text_chars += len(text)
        if form == "enriched":
            text = _ENRICHED_TAG.sub(r"\1", text)
        urls.add_text(text[: reading.take(LINKED_CHARS, len(text), leaf.index)], leaf.index)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        most = reading.take(QUOTED_CHARS, len(text), leaf.index)
        if most < len(text):
            start, end = ends_of(len(text), most)
            text = f"{text[:start]}\n{text[end:]}"
        plain = shown(text.replace(MARK, ""))
        bodies.invisible_chars += plain.invisible
        bodies.split_words += plain.split_words
        new, quoted = split_quotes(plain.text, found.names)
    is_known = form == "html" or not leaf.content_type.startswith("text/") or leaf.content_type == "text/plain"
    found.texts.append(_Text(new, quoted, _RANK.get(form, 0) if is_known else 0, leaf.alternatives))


def _choose(texts: list[_Text], bodies: Bodies, reading: Reading) -> None:
    """Of several forms of one text the reader sees the last in HTML, else what is plain: that is the one to judge."""
    best: dict[int, tuple[int, int]] = {}
    several = False
    for text in texts:
        if not text.is_empty:
            for alternative, place in text.branches:
                rank, other = best.get(alternative, (-1, place))
                several = several or (rank == text.rank and other != place)
                best[alternative] = max((rank, other), (text.rank, place))
    if several:
        reading.defect("alternatives_repeated")
    shown = [text for text in texts if all(_is_best(text, place, best.get(one)) for one, place in text.branches)]
    bodies.new_text = "\n\n".join(text.new for text in shown if text.new)
    bodies.quoted_text = "\n\n".join(text.quoted for text in shown if text.quoted)
    if bodies.quoted_text and _WORD.search(bodies.new_text) is None:
        # With nothing newer beside it, as in a bare forward, the quoted text is what the sender sends.
        bodies.new_text, bodies.quoted_text = bodies.quoted_text, ""


def _is_best(text: _Text, place: int, best: tuple[int, int] | None) -> bool:
    if best is None:
        return True
    # Readers differ in which of several plain forms they take.
    return place == best[1] if best[0] == _RANK["html"] else text.rank == best[0]


def _read_calendar(leaf: Leaf, data: bytes, found: _Found, urls: UrlList, reading: Reading) -> None:
    kept = data[: reading.take(TEXT_BYTES, len(data), leaf.index)]
    label = leaf.parameters.get("charset", "").strip().strip("'\"").lower()[:60]
    read = read_calendar(decode(kept, label or "utf-8", reading, leaf.index), reading, leaf.index)
    found.bodies.invitations.append(read.invitation)
    for text in read.texts:
        urls.add_text(text[: reading.take(LINKED_CHARS, len(text), leaf.index)], leaf.index)
    urls.add_addresses(read.links, leaf.index)
    found.calendar += read.texts
    for name, packed in read.files:
        file = undo_transfer(packed.encode("ascii", "ignore"), "base64", "attachments", reading, leaf.index)
        _add_file(replace(leaf, content_type=OCTETS, filename=name), file, "calendar", found, urls, reading)
    for source in read.html:
        seen = read_html(source, reading, leaf.index)
        found.bodies.hidden_chars += seen.hidden_chars
        urls.add_markup(seen.links, seen.base, leaf.index)
        found.calendar += (seen.new, seen.quoted)


def _add_calendar(texts: list[str], bodies: Bodies) -> None:
    """What an invitation says beyond what the text beside it says already, which most repeat."""
    if not texts:
        return
    there = " ".join(f"{bodies.new_text} {bodies.quoted_text}"[: 2 * MAX_TEXT].split())
    for text in texts:
        squeezed = " ".join(text.split())
        if squeezed and squeezed not in there and len(there) <= 2 * MAX_TEXT:
            bodies.new_text = f"{bodies.new_text}\n\n{text}" if bodies.new_text else text
            there = f"{there} {squeezed}"
