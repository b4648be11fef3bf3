"""Rich text: packed objects, templates from elsewhere, fields, and the words. Source: RTF 1.9.1."""

from __future__ import annotations

import binascii
import re
import struct

from mailwarden.domain.status import Status
from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.containers.office import open_object
from mailwarden.ingest.containers.plain import links_in_bytes
from mailwarden.ingest.containers.words_of_rtf import text_of_rtf

MAX_OBJECTS = 20
_MAX_WOVEN = 1 << 17
_OTHERS = bytes(set(range(256)) - set(b"0123456789abcdefABCDEF"))
MAX_RTF = 1 << 19
"""Bytes that are searched for words."""

_OBJECT = re.compile(rb"\\objdata(?![a-z])")
_TEMPLATE = re.compile(rb"\\\*\s{0,20}+\\template\s{0,20}+(?:https?:|ftp:|\\\\\\\\|file:)", re.IGNORECASE)
_DDE = re.compile(rb"[\s{]DDE(?:AUTO)?+\s")
_NO_HEX = re.compile(rb"\\bin\d{0,9}+|\\[a-z]{1,32}+-?\d{0,9}+ ?+|[^0-9a-fA-F]", re.IGNORECASE)


def open_rtf(data: bytes, contents: Contents) -> None:
    """A rich text file."""
    if _TEMPLATE.search(data) is not None:
        contents.traits.add("remote_template")
    if b"DDE" in data and b"\\fldinst" in data and _DDE.search(data) is not None:
        contents.traits.add("dde")
    for number, found in enumerate(_OBJECT.finditer(data)):
        if number >= MAX_OBJECTS:
            contents.unread(Status.OVER_BUDGET)
            break
        _object(data, found.end(), contents)
    contents.links += links_in_bytes(data[:MAX_RTF])
    contents.texts.append(text_of_rtf(data[:MAX_RTF]))


def _object(data: bytes, at: int, contents: Contents) -> None:
    end = data.find(b"}", at)
    chunk = data[at : at + contents.take(min((end if end >= 0 else len(data)) - at, 4 << 20))]
    if b"\\" in chunk:
        # Control words among the digits, which readers skip, are how such objects are hidden.
        if len(chunk) > _MAX_WOVEN:
            contents.unread(Status.OVER_BUDGET)
        chunk = _NO_HEX.sub(b"", chunk[:_MAX_WOVEN])
    digits = chunk.translate(None, _OTHERS)
    raw = binascii.unhexlify(digits[: len(digits) & ~1])
    contents.traits.add("embedded_file")
    # An OLE 1.0 object: version, format, and three counted strings before what the object's program made.
    at = 8
    for _ in range(3):
        if at + 4 > len(raw):
            return
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4 + length
    native = raw[at + 4 :]
    if native:
        open_object(native, contents)
