"""Tar archives: their headers, one after another. Source: POSIX.1-2001 pax(1), and GNU's long names."""

from __future__ import annotations

import re

from mailwarden.domain.status import Status
from mailwarden.ingest.containers.contents import Contents, Member

MAX_HEADERS = 2_000
_BLOCK = 512
_PAX_PATH = re.compile(rb"\d{1,20} path=([^\n]{1,4000})\n")


def open_tar(data: bytes, contents: Contents) -> None:
    """The files of a tar archive."""
    contents.traits.add("archive")
    at, long_name = 0, ""
    for _ in range(MAX_HEADERS):
        header = data[at : at + _BLOCK]
        if len(header) < _BLOCK or not any(header[:100]):
            return
        size, kind = _number(header[124:136]), header[156:157]
        if size < 0:
            contents.unread(Status.DAMAGED)
            return
        body = at + _BLOCK
        if kind == b"L":
            long_name = _text(data[body : body + min(size, 4_000)])
        elif kind == b"x":
            path = _PAX_PATH.search(data, body, body + min(size, 64_000))
            long_name = _text(path[1]) if path else long_name
        elif kind in (b"0", b"\0", b"7"):
            contents.members.append(_member(data, body, size, long_name or _name(header), contents))
            long_name = ""
        at = body + (size + _BLOCK - 1) // _BLOCK * _BLOCK
    contents.traits.add("over_budget")
    contents.unread(Status.OVER_BUDGET)


def _member(data: bytes, body: int, size: int, name: str, contents: Contents) -> Member:
    def read(most: int) -> bytes:
        most = min(most, size)
        return data[body : body + contents.take(min(most, max(0, len(data) - body)))]

    return Member(name, size, read)


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _number(field: bytes) -> int:
    """Octal digits, or, with the first bit set, base 256; -1 where it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]{1,12}", digits) else (0 if not digits else -1)
