"""A message's files opened, one after another and level by level, within the budget of the whole message.

1. A file's type is told by its bytes, and where they tell nothing by its name; each kind has an opener.
2. What an opener finds is gathered in `Contents`. Files inside come next, until depth, number or bytes are used up.
3. Messages go back to the parser; what a reader of a file sees, its links and its traits become an `InnerFile`.

What is not opened, for whatever reason, is a trait of the file and the status of the aspect `inner`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from mailwarden.domain.mail.file_kinds import (
    EXECUTABLE_TYPES,
    SCRIPT_NAMES,
    SCRIPT_TYPES,
    SHORTCUT_NAMES,
    SHORTCUT_TYPES,
)
from mailwarden.domain.mail.file_names import EXECUTABLE_NAMES, extension_of, is_disguised, is_double
from mailwarden.domain.mail.inner import InnerFile, Trait
from mailwarden.domain.mail.message import Message, Url
from mailwarden.domain.status import Status
from mailwarden.ingest.attachments import OCTETS, detect_type, type_by_name
from mailwarden.ingest.budget import INNER_FILES, INNER_LINKS, INNER_TEXT
from mailwarden.ingest.charsets import clean
from mailwarden.ingest.containers.contents import MAX_WHOLE, Contents, Member
from mailwarden.ingest.containers.openers import HEAD_IS_ENOUGH, opener_for
from mailwarden.ingest.images import image_head
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.text_links import plain_urls
from mailwarden.ingest.urls import read_url

MAX_DEPTH = 5
"""Files inside of each other; an attachment has depth 0."""
MAX_NAME = 300
_HEAD = 8_192
_LONG_HEAD = 34_000
"""Of what begins with nothing, as disk images do: their mark stands behind that."""
_MAX_IMAGE = 1 << 20
_MAX_IMAGES = 10
_MAX_WRITTEN_LINKS = 50
"""Links that stand in a file's words, where most readers make them ones to follow."""


class File(NamedTuple):
    """An attachment as `bodies` has it. part: its place in walking order."""

    name: str
    content_type: str
    data: bytes
    part: int


@dataclass(slots=True)
class Opened:
    """What the files of a message hold. images: image files that were found inside."""

    inner: list[InnerFile] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)


def open_files(files: list[File], parse_nested: Callable[[bytes, int], Message | None], reading: Reading) -> Opened:
    """Look into a message's attachments; those that hold nothing to look into are not listed. Raises nothing."""
    opened = Opened()
    # What is cut of a file is cut of `inner`, whatever the limit is of elsewhere.
    apart = Reading(reading.budget)
    for file in files:
        opener = opener_for(file.content_type, file.name, file.data)
        if opener is not None or file.content_type == "message/rfc822":
            _Opening(opened, apart, file.part, parse_nested).run(file)
    reading.merge_as(apart, "inner")
    return opened


@dataclass(slots=True)
class _Level:
    """A file that waits to be looked into. around: what it lies in, which notes what cannot be read of it."""

    member: Member
    depth: int
    around: Contents


@dataclass(slots=True)
class _Opening:
    opened: Opened
    reading: Reading
    part: int
    parse_nested: Callable[[bytes, int], Message | None]
    left: deque[_Level] = field(default_factory=deque)

    def run(self, file: File) -> None:
        self._file(file.name, file.content_type, len(file.data), file.data, 0)
        while self.left:
            level = self.left.popleft()
            if not self.reading.take(INNER_FILES, 1, self.part):
                return
            self._member(level.member, level.depth, level.around)

    def _member(self, member: Member, depth: int, around: Contents) -> None:
        around.traits.clear()
        if member.encrypted:
            self.reading.unread("inner", Status.ENCRYPTED)
            self._add(Contents(self.reading, self.part, member.name, {"encrypted"}), member, OCTETS, "", depth)
            return
        head = self._read(member, _HEAD)
        if len(head) == _HEAD and not any(head[:512]):
            head = self._read(member, _LONG_HEAD)
        content_type = type_by_name(detect_type(head), member.name, head) if head else OCTETS
        data = head
        opener = opener_for(content_type, member.name, head)
        wanted = content_type == "message/rfc822" or (opener is not None and opener not in HEAD_IS_ENOUGH)
        is_image = content_type.startswith("image/") and member.size <= _MAX_IMAGE
        if len(head) in (_HEAD, _LONG_HEAD) and (wanted or (is_image and len(self.opened.images) < _MAX_IMAGES)):
            data = self._read(member, MAX_WHOLE)
            content_type = type_by_name(detect_type(data), member.name, data) if wanted else content_type
        if is_image:
            self._images([data])
        self._file(member.name, content_type, member.size, data, depth, around.traits)

    def _images(self, images: list[bytes]) -> None:
        """Keep those that may be read for codes; of a picture in a document nobody asks why it is none."""
        readable = (image for image in images if (head := image_head(image)) is not None and head.pixels)
        self.opened.images += islice(readable, max(0, _MAX_IMAGES - len(self.opened.images)))

    def _read(self, member: Member, most: int) -> bytes:
        return self.reading.attempt("inner", partial(member.read, most), b"", self.part)

    def _file(
        self, name: str, content_type: str, size: int, data: bytes, depth: int, traits: Iterable[Trait] = ()
    ) -> None:
        contents = Contents(self.reading, self.part, name, set(traits))
        opener = opener_for(content_type, name, data)
        if len(data) < size and data and opener is not None and opener not in HEAD_IS_ENOUGH:
            contents.unread(Status.OVER_BUDGET)
        if content_type == "message/rfc822":
            contents.messages.append(data)
        elif opener is not None and depth > MAX_DEPTH:
            contents.unread(Status.OVER_BUDGET)
            self.reading.defect("files_too_deep", f"more than {MAX_DEPTH}", self.part)
        elif opener is not None:
            try:
                opener(data, contents)
            except Exception as error:
                # Files are strangers' bytes, and each format has its own ways to be broken.
                self.reading.defect("file_unreadable", type(error).__name__, self.part)
                contents.unread(Status.DAMAGED)
        sha256 = hashlib.sha256(data).hexdigest() if len(data) >= size and data else ""
        self._add(contents, Member(name, size, lambda most: b""), content_type, sha256, depth)
        self.left.extend(_Level(member, depth + 1, contents) for member in contents.members)
        for message in contents.messages:
            found = self.parse_nested(message, self.part)
            if found is not None:
                self.opened.messages.append(found)
        self._images(contents.images)

    def _add(self, contents: Contents, member: Member, content_type: str, sha256: str, depth: int) -> None:
        texts = "\n".join(text for text in contents.texts if text)
        kept = texts[: self.reading.take(INNER_TEXT, len(texts), self.part)] if texts else ""
        written = [(url, "") for url in plain_urls(kept, self.reading, self.part)[:_MAX_WRITTEN_LINKS]]
        self.opened.inner.append(
            InnerFile(
                depth=depth,
                name=clean(member.name)[-MAX_NAME:],
                content_type=content_type,
                size=member.size,
                sha256=sha256,
                traits=tuple(sorted(contents.traits | _outside(member.name, content_type))),
                text=clean(kept),
                urls=self._links(contents.links + written),
            )
        )

    def _links(self, links: list[tuple[str, str]]) -> tuple[Url, ...]:
        found: dict[tuple[str, str], Url] = {}
        for where, text in dict.fromkeys(links):
            if not self.reading.take(INNER_LINKS, 1, self.part):
                break
            url = self.reading.attempt(
                "inner",
                partial(read_url, where, text, "html" if text else "text", self.reading, self.part),
                None,
                self.part,
            )
            if url is not None and url.host:
                found.setdefault((url.url, url.text), url)
        return tuple(found.values())


def _outside(name: str, content_type: str) -> set[Trait]:
    """What name and type say of a file."""
    traits: set[Trait] = set()
    extension = extension_of(name)
    if content_type in EXECUTABLE_TYPES or extension in EXECUTABLE_NAMES:
        traits.add("executable")
    if content_type in SCRIPT_TYPES or extension in SCRIPT_NAMES:
        traits.add("script")
    if content_type in SHORTCUT_TYPES or extension in SHORTCUT_NAMES:
        traits.add("shortcut")
    if is_double(name):
        traits.add("double_extension")
    if is_disguised(name):
        traits.add("disguised_name")
    return traits
