"""The MIME tree of a message, walked to its leaves by offsets; malformed structure costs no more than sound one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mailwarden.domain.mail.file_names import EXECUTABLE_NAMES, extension_of
from mailwarden.ingest.budget import BODY, NEAR_DELIMITERS, PARTS, SCANNED
from mailwarden.ingest.headers import HeaderBlock, decode_words, read_headers
from mailwarden.ingest.parameters import Structured, read_parameters, without_comments
from mailwarden.ingest.reading import Reading
from mailwarden.ingest.transfer import encoding_named, undo_transfer

MAX_BOUNDARY = 1_000
MAX_FILENAME = 1_000
MAX_DEPTH = 30
"""Multiparts inside each other; what is deeper stays one part."""
MAX_REPEATED = 3
"""Content-Type fields of one part, and boundaries of one field, that are tried one after another."""

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
# As RFC 2045 section 5.2 has "text" alone, and as readers take other short forms.
_SHORT_TYPES = {
    "html": "text/html",
    "text/htm": "text/html",
    "multipart": "multipart/mixed",
    "plain/text": "text/plain",
}
# Blanks are matched once, and few of them: a line of a thousand is no delimiter.
_REST_OF_LINE = re.compile(rb"(--)?[ \t\r]{0,998}+(?:\n|\Z)")
_LIKE_DELIMITER = re.compile(rb"--([^\r\n]{1,200}+)\r?\n(?:content|CONTENT|Content)-[A-Za-z-]{1,40}+:")
_GUESSED_WITHIN = 1 << 20
"""Bytes of a body that are looked through for a delimiter that its boundary does not name."""
_BLANKS = b" \t\r\n"
_USUAL_PREAMBLE = 200
"""Letters of what mailers say before the first part to readers that know no MIME."""


@dataclass(slots=True)
class Leaf:
    """A part without parts. index: its place in walking order, 0 the whole message; alternatives: of each
    multipart/alternative around it, outermost first, its index and the place in it; parent: type of the multipart that
    it stands in, "" for the whole message; place: its place in that, 0 also for the one that a multipart/related names
    as its root; content_id: it has one."""

    index: int
    content_type: str
    parameters: dict[str, str]
    disposition: str
    filename: str
    transfer_encoding: str
    data: bytes
    alternatives: tuple[tuple[int, int], ...]
    parent: str = ""
    place: int = 0
    content_id: bool = False


@dataclass(slots=True)
class Tree:
    """The parts of a message. types: content type of every part in walking order; leaves: those with content;
    outside_chars, outside_links: letters, and links among them, before the first and behind the last part of
    multiparts, where no reader shows them."""

    types: list[str] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    outside_chars: int = 0
    outside_links: int = 0


_Content = Mapping[str, Sequence[str]]
"""The Content- fields of a part, as `HeaderBlock.of_content` has them."""


class _Within(NamedTuple):
    """Where a part stands. start: the Content-ID that a multipart/related names as its root, "" without."""

    parent: str = ""
    place: int = 0
    start: str = ""
    alternatives: tuple[tuple[int, int], ...] = ()
    depth: int = 0


class _Split(NamedTuple):
    """The parts that a boundary parts a body into. raw: what the offsets are of; before, behind: what is no part."""

    raw: bytes
    spans: list[tuple[int, int]]
    before: tuple[int, int] = (0, 0)
    behind: tuple[int, int] = (0, 0)


def walk_parts(raw: bytes, headers: HeaderBlock, reading: Reading, tree: Tree) -> None:
    """Add every part of the message whose own headers are given to the tree (RFC 2046)."""
    _Walk(raw, reading, tree).part(headers, len(raw), "text/plain", _Within())


@dataclass(slots=True)
class _Walk:
    raw: bytes
    reading: Reading
    tree: Tree

    def part(self, headers: HeaderBlock, end: int, default: str, within: _Within) -> None:
        index = len(self.tree.types)
        self.reading.budget.take(PARTS)
        content = headers.of_content()
        choices = self._content_types(content, default, index)
        self.tree.types.append(choices[0].token)
        for choice in choices:
            if not choice.token.startswith("multipart/"):
                continue
            if within.depth >= MAX_DEPTH:
                self.reading.cut(BODY, "multipart_too_deep", f"more than {MAX_DEPTH}", index)
                continue
            split = self._parted(headers.body, end, choice, content, index)
            if split.spans:
                self.tree.types[index] = choice.token
                inside = self if split.raw is self.raw else _Walk(split.raw, self.reading, self.tree)
                inside._children(split, choice, index, within)
                return
        self._leaf(headers.body, end, choices[0], content, within, index)

    def _children(self, split: _Split, parent: Structured, index: int, within: _Within) -> None:
        self._outside(*split.before, _USUAL_PREAMBLE)
        self._outside(*split.behind, 0)
        default = "message/rfc822" if parent.token == "multipart/digest" else "text/plain"
        start_id = parent.parameters.get("start", "").strip(" <>") if parent.token == "multipart/related" else ""
        leaves = len(self.tree.leaves)
        root = 0
        for place, (start, stop) in enumerate(split.spans):
            if not self.reading.budget.left(PARTS):
                self.reading.over(PARTS)
                return
            headers = read_headers(self.raw, start, stop, self.reading, len(self.tree.types))
            alternatives = within.alternatives
            if parent.token == "multipart/alternative":
                alternatives = (*alternatives, (index, place))
            if start_id and (headers.first("content-id") or "").strip(" <>") == start_id:
                root = place
            child = _Within(parent.token, place, start_id, alternatives, within.depth + 1)
            self.part(headers, stop, default, child)
        if root and leaves < len(self.tree.leaves) and self.tree.leaves[leaves].index == index + 1:
            # What stands first is the root only where none is named (RFC 2387 section 3.2).
            self.tree.leaves[leaves].place = len(split.spans)

    def _outside(self, start: int, stop: int, usual: int) -> None:
        if stop - start > 1:
            text = self.raw[start:stop].translate(None, _BLANKS)
            links = text.count(b"://")
            if links or len(text) > usual or (len(text) > 1 and b"MIME" not in text):
                self.tree.outside_chars += len(text)
                self.tree.outside_links += links

    def _parted(self, start: int, end: int, structured: Structured, content: _Content, index: int) -> _Split:
        """The parts by the first boundary that is found: as given, given again, behind an encoding, or by its look."""
        given = [structured.parameters.get("boundary", "")]
        given += [value for name, value in structured.repeated if name == "boundary"][: MAX_REPEATED - 1]
        boundaries = [boundary.rstrip()[:MAX_BOUNDARY].encode("utf-8", "replace") for boundary in given]
        if not boundaries[0]:
            self.reading.defect("multipart_without_boundary", "", index)
        for boundary in filter(None, boundaries):
            split = self._split(start, end, boundary, index)
            if split.spans:
                return split
        encoding = self._encoding(content, index)
        size = end - start
        if encoding in ("base64", "quoted-printable") and self.reading.take(SCANNED, size, index) == size:
            # A newline before it, as before every body, for a delimiter that begins it.
            decoded = b"\n" + undo_transfer(self.raw[start:end], encoding, "attachments", self.reading, index)
            for boundary in filter(None, boundaries):
                split = _Walk(decoded, self.reading, self.tree)._split(1, len(decoded), boundary, index)
                if split.spans:
                    self.reading.defect("multipart_encoded", encoding, index)
                    return split
        alike = self._delimiter_like(start, end, index)
        if alike:
            self.reading.defect("boundary_guessed", "", index)
            return self._split(start, end, alike, index)
        if boundaries[0]:
            self.reading.defect("boundary_not_found", "", index)
        return _Split(self.raw, [])

    def _delimiter_like(self, start: int, end: int, index: int) -> bytes:
        """The boundary of the first line that only a delimiter can be, as a field of a part follows; empty for none."""
        stop = start + self.reading.take(SCANNED, min(end - start, _GUESSED_WITHIN), index)
        at = start if self.raw.startswith(b"--", start, stop) else self.raw.find(b"\n--", start, stop) + 1
        while at > 0:
            if (alike := _LIKE_DELIMITER.match(self.raw, at, stop)) is not None:
                return alike[1].rstrip()[:MAX_BOUNDARY]
            if not self.reading.take(NEAR_DELIMITERS, 1, index):
                break
            at = self.raw.find(b"\n--", at, stop) + 1
        return b""

    def _split(self, start: int, end: int, boundary: bytes, index: int) -> _Split:
        raw = self.raw
        delimiter = b"\n--" + boundary
        spans: list[tuple[int, int]] = []
        opened = -1
        closed = False
        before = behind = (0, 0)
        most = self.reading.budget.left(PARTS)
        stop = start + self.reading.budget.left(SCANNED)
        # A delimiter begins a line: one that begins the body has no newline of the body's own before it.
        at = start - 1 if raw.startswith(delimiter[1:], start, end) else raw.find(delimiter, start, min(end, stop))
        while at >= 0:
            after = at + len(delimiter)
            rest = _REST_OF_LINE.match(raw, after, end)
            if rest is not None:
                if opened >= 0:
                    spans.append((opened, _before_newline(raw, opened, at + 1)))
                else:
                    before = (start, at)
                if rest[1]:
                    closed = True
                    behind = (rest.end(), end)
                    break
                opened = after = rest.end()
                if len(spans) >= most:
                    break
            elif not self.reading.take(NEAR_DELIMITERS, 1, index):
                break
            # The newline that ends this delimiter may begin the next.
            at = raw.find(delimiter, max(at + 1, after - 1), min(end, stop))
        self.reading.take(SCANNED, (end if at < 0 else min(at, end)) - start, index)
        if not closed:
            if opened >= 0:
                spans.append((opened, end))
            if spans:
                self.reading.defect("boundary_not_closed", "", index)
        return _Split(raw, spans, before, behind)

    def _content_types(self, content: _Content, default: str, index: int) -> list[Structured]:
        """The part's Content-Type; of several, each that may be meant: what a reader takes differs."""
        values = [value for value in content.get("content-type", ()) if value.strip()][:MAX_REPEATED]
        if not values:
            return [Structured(default, {})]
        if len(values) > 1:
            self.reading.defect("content_header_repeated", "content-type", index)
        return [self._content_type(value, index) for value in values]

    def _content_type(self, value: str, index: int) -> Structured:
        structured = read_parameters(value, self.reading, index)
        if _TYPE.fullmatch(structured.token) and structured.token not in _SHORT_TYPES:
            return structured
        self.reading.defect("content_type_unreadable", "", index)
        squeezed = "".join(structured.token.split()).rstrip("/.,:")
        known = _SHORT_TYPES.get(squeezed) or (squeezed if _TYPE.fullmatch(squeezed) else "text/plain")
        return structured._replace(token=known)

    def _encoding(self, content: _Content, index: int) -> str:
        values = content.get("content-transfer-encoding")
        if not values:
            return "7bit"
        if len(values) > 1:
            self.reading.defect("content_header_repeated", "content-transfer-encoding", index)
        return encoding_named(without_comments(values[0], self.reading, index))

    def _leaf(
        self, start: int, end: int, structured: Structured, content: _Content, within: _Within, index: int
    ) -> None:
        disposition, names = "", [""]
        if values := content.get("content-disposition"):
            disposition, more, repeated = read_parameters(values[0], self.reading, index)
            names = [more.get("filename", ""), *(value for name, value in repeated if name == "filename")]
        filename = self._filename([*names[:MAX_REPEATED], structured.parameters.get("name", "")], index)
        content_id = content.get("content-id", ("",))[0]
        is_root = bool(within.start) and content_id.strip(" <>") == within.start
        self.tree.leaves.append(
            Leaf(
                index=index,
                content_type=structured.token,
                parameters=structured.parameters,
                disposition=disposition[:100],
                filename=self._short(" ".join(filename.split()), index),
                transfer_encoding=self._encoding(content, index),
                data=self.raw[start:end],
                alternatives=within.alternatives,
                parent=within.parent,
                place=0 if is_root else within.place,
                content_id=bool(content_id),
            )
        )

    def _filename(self, written: list[str], index: int) -> str:
        """The first name; of several that differ one that runs: which one a reader's program takes nobody knows."""
        names = list(dict.fromkeys(decode_words(name, self.reading, index) for name in written if name))
        if len(names) > 1:
            return next((name for name in names if extension_of(name) in EXECUTABLE_NAMES), names[0])
        return names[0] if names else ""

    def _short(self, filename: str, index: int) -> str:
        """A name without its middle where it is too long: its end says what a click starts."""
        if len(filename) <= MAX_FILENAME:
            return filename
        self.reading.cut(("attachments",), "filename_too_long", f"{len(filename)}", index)
        return filename[: MAX_FILENAME // 2] + filename[-MAX_FILENAME // 2 :]


def _before_newline(raw: bytes, start: int, at: int) -> int:
    """The newline before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1)."""
    stop = at - 1 if at > start and raw[at - 1] == 10 else at
    return stop - 1 if stop > start and raw[stop - 1] == 13 else stop
