"""TNEF (winmail.dat): attachments and bodies as Exchange wraps them. Source: [MS-OXTNEF] 2."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mailwarden.domain.status import Status
from mailwarden.ingest.budget import DOCUMENT_OBJECTS
from mailwarden.ingest.containers.compressed_rtf import html_or_text
from mailwarden.ingest.containers.contents import Contents, member_of
from mailwarden.ingest.containers.pages import read_page

MAX_PROPERTIES = 500
"""Properties of one attribute that are read."""

_SUBJECT, _BODY, _PROPERTIES = 0x8004, 0x800C, 0x9003
_RENDERING, _TITLE, _DATA, _ATTACHMENT = 0x9002, 0x8010, 0x800F, 0x9005
_MAPI_BODY, _MAPI_HTML, _MAPI_RTF, _MAPI_DATA, _MAPI_LONG_NAME = 0x1000, 0x1013, 0x1009, 0x3701, 0x3707
_FIXED = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 10: 4, 11: 4, 20: 8, 64: 8, 72: 16}
_COUNTED = frozenset((13, 30, 31, 258))


def open_tnef(data: bytes, contents: Contents) -> None:
    """What winmail.dat holds: files, and the body where it is there."""
    name, files = "", 0
    held: list[bytes] = []
    for attribute, value in _attributes(data, contents):
        if attribute == _RENDERING:
            _finish(name, held, contents)
            name, held, files = "", [], files + 1
        elif attribute == _TITLE:
            name = _text(value)
        elif attribute == _DATA:
            held.append(value)
        elif attribute == _ATTACHMENT:
            long_name, object_data = _attachment(value)
            name = long_name or name
            held += object_data
        elif attribute in (_SUBJECT, _BODY):
            contents.texts.append(_text(value))
        elif attribute == _PROPERTIES:
            _body(value, contents)
    _finish(name, held, contents)


def _finish(name: str, held: list[bytes], contents: Contents) -> None:
    if held:
        value = max(held, key=len)
        contents.members.append(member_of(name, value))
    elif name:
        contents.members.append(member_of(name, b""))


def _attributes(data: bytes, contents: Contents) -> Iterator[tuple[int, bytes]]:
    at = 6
    while at + 9 <= len(data):
        if not contents.take(1, DOCUMENT_OBJECTS):
            return
        attribute, _, size = struct.unpack_from("<HHI", data, at + 1)
        at += 9
        if at + size > len(data):
            contents.unread(Status.DAMAGED)
            size = len(data) - at
        yield attribute, data[at : at + size]
        at += size + 2


def _attachment(value: bytes) -> tuple[str, list[bytes]]:
    name, found = "", []
    for number, kind, raw in _properties(value):
        if number == _MAPI_LONG_NAME:
            name = _string(raw, kind)
        elif number == _MAPI_DATA and len(raw) > 16:
            # An object's class stands before it.
            found.append(raw[16:] if kind == 13 else raw)
    return name, found


def _body(value: bytes, contents: Contents) -> None:
    for number, kind, raw in _properties(value):
        if number == _MAPI_HTML:
            read_page(raw, contents)
        elif number == _MAPI_RTF:
            html_or_text(raw, contents)
        elif number == _MAPI_BODY:
            contents.texts.append(_string(raw, kind))


def _properties(value: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Properties by number and type; of several values the first."""
    if len(value) < 4:
        return
    (count,) = struct.unpack_from("<I", value)
    at = 4
    for _ in range(min(count, MAX_PROPERTIES)):
        if at + 4 > len(value):
            return
        kind, number = struct.unpack_from("<HH", value, at)
        at += 4
        if number & 0x8000:
            at = _past_name(value, at)
        several, kind = bool(kind & 0x1000), kind & 0xFFF
        values = 1
        if at + 4 > len(value):
            return
        if several or kind in _COUNTED:
            (values,) = struct.unpack_from("<I", value, at)
            at += 4
        first = b""
        for which in range(min(values, MAX_PROPERTIES)):
            if kind in _COUNTED:
                if at + 4 > len(value):
                    return
                (size,) = struct.unpack_from("<I", value, at)
                at += 4
            else:
                size = _FIXED.get(kind, 0)
            if which == 0:
                first = value[at : at + size]
            at += (size + 3) & ~3
        yield number, kind, first


def _past_name(value: bytes, at: int) -> int:
    if at + 24 > len(value):
        return len(value)
    kind, number = struct.unpack_from("<II", value, at + 16)
    return at + 24 + ((number + 3) & ~3 if kind == 1 else 0)


def _string(raw: bytes, kind: int) -> str:
    return raw.decode("utf-16-le" if kind == 31 else "cp1252", "replace").replace("\0", "")


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("cp1252", "replace")
