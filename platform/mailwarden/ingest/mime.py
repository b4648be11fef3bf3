"""The MIME tree of a message, walked to its leaves by offsets; malformed structure costs no more than sound one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailwarden.ingest.budget import BODY, NEAR_DELIMITERS, PARTS, SCANNED
from mailwarden.ingest.headers import HeaderBlock, decode_words, read_headers, read_parameters
from mailwarden.ingest.reading import Reading

MAX_BOUNDARY = 1_000
MAX_FILENAME = 1_000
MAX_DEPTH = 30
"""Multiparts inside each other; what is deeper stays one part."""

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
# Blanks are matched once, and few of them: a line of a thousand is no delimiter.
_REST_OF_LINE = re.compile(rb"(--)?[ \t\r]{0,998}+(?:\n|\Z)")


@dataclass(slots=True)
class Leaf:
    """A part without parts. index: its place in walking order, 0 the whole message; alternatives: the indexes of the
    multipart/alternative parts around it, outermost first."""

    index: int
    content_type: str
    parameters: dict[str, str]
    disposition: str
    filename: str
    transfer_encoding: str
    data: bytes
    alternatives: tuple[int, ...]


@dataclass(slots=True)
class Tree:
    """The parts of a message. types: content type of every part in walking order; leaves: those with content."""

    types: list[str] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)


def walk_parts(raw: bytes, headers: HeaderBlock, reading: Reading, tree: Tree) -> None:
    """Add every part of the message whose own headers are given to the tree (RFC 2046)."""
    _Walk(raw, reading, tree).part(headers, len(raw), "text/plain", (), 0)


@dataclass(slots=True)
class _Walk:
    raw: bytes
    reading: Reading
    tree: Tree

    def part(self, headers: HeaderBlock, end: int, default: str, alternatives: tuple[int, ...], depth: int) -> None:
        index = len(self.tree.types)
        self.reading.budget.take(PARTS)
        content_type, parameters = self._content_type(headers, default, index)
        self.tree.types.append(content_type)
        if content_type.startswith("multipart/"):
            boundary = parameters.get("boundary", "").rstrip()[:MAX_BOUNDARY]
            if depth >= MAX_DEPTH:
                self.reading.cut(BODY, "multipart_too_deep", f"more than {MAX_DEPTH}", index)
            elif not boundary:
                self.reading.defect("multipart_without_boundary", "", index)
            else:
                spans = self._split(headers.body, end, boundary.encode("utf-8", "replace"), index)
                if spans:
                    self._children(spans, content_type, index, alternatives, depth)
                    return
        self._leaf(headers, end, content_type, parameters, alternatives, index)

    def _children(
        self, spans: list[tuple[int, int]], parent: str, index: int, alternatives: tuple[int, ...], depth: int
    ) -> None:
        default = "message/rfc822" if parent == "multipart/digest" else "text/plain"
        if parent == "multipart/alternative":
            alternatives = (*alternatives, index)
        for start, stop in spans:
            if not self.reading.budget.left(PARTS):
                self.reading.over(PARTS)
                return
            headers = read_headers(self.raw, start, stop, self.reading, len(self.tree.types))
            self.part(headers, stop, default, alternatives, depth + 1)

    def _split(self, start: int, end: int, boundary: bytes, index: int) -> list[tuple[int, int]]:
        raw = self.raw
        delimiter = b"\n--" + boundary
        spans: list[tuple[int, int]] = []
        opened = -1
        closed = False
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
                if rest[1]:
                    closed = True
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
            self.reading.defect("boundary_not_closed" if spans else "boundary_not_found", "", index)
        return spans

    def _content_type(self, headers: HeaderBlock, default: str, index: int) -> tuple[str, dict[str, str]]:
        value = headers.first("content-type")
        if value is None or not value.strip():
            return default, {}
        content_type, parameters = read_parameters(value, self.reading, index)
        if _TYPE.fullmatch(content_type):
            return content_type, parameters
        self.reading.defect("content_type_unreadable", "", index)
        # "text" alone and the like are taken for plain text, as RFC 2045 section 5.2 has it.
        squeezed = "".join(content_type.split())
        return (squeezed if _TYPE.fullmatch(squeezed) else "text/plain"), parameters

    def _leaf(
        self,
        headers: HeaderBlock,
        end: int,
        content_type: str,
        parameters: dict[str, str],
        alternatives: tuple[int, ...],
        index: int,
    ) -> None:
        disposition, more = "", dict[str, str]()
        value = headers.first("content-disposition")
        if value:
            disposition, more = read_parameters(value, self.reading, index)
        filename = decode_words(more.get("filename") or parameters.get("name") or "", self.reading, index)
        encoding = (headers.first("content-transfer-encoding") or "").partition("(")[0].partition(";")[0]
        self.tree.leaves.append(
            Leaf(
                index=index,
                content_type=content_type,
                parameters=parameters,
                disposition=disposition[:100],
                filename=self._short(" ".join(filename.split()), index),
                transfer_encoding=encoding.strip().strip('"').lower(),
                data=self.raw[headers.body : end],
                alternatives=alternatives,
            )
        )

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
