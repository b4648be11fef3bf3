"""The compressed rich text of Outlook's messages, and the HTML that it wraps. Source: [MS-OXRTFCP], [MS-OXRTFEX]."""

from __future__ import annotations

import re
import struct

from mailwarden.ingest.budget import MACRO_BYTES
from mailwarden.ingest.containers.contents import Contents
from mailwarden.ingest.containers.pages import read_page
from mailwarden.ingest.containers.plain import links_in_bytes
from mailwarden.ingest.containers.words_of_rtf import text_of_rtf

_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_PACKED = b"LZFu"
_PLAIN = b"MELA"
# Of wrapped HTML, tags stand in groups of their own.
_TAG = re.compile(rb"\{\\\*\\htmltag-?\d{0,9}+ ?+([^{}]{0,20000}+)\}")


def html_or_text(data: bytes, contents: Contents) -> None:
    """Add what compressed rich text says: as a page where it wraps HTML, else as words."""
    rich = unpack_rtf(data, contents)
    if b"\\fromhtml" in rich[:1_000]:
        page = _TAG.sub(rb"\1", rich)
        read_page(text_of_rtf(page).encode("utf-8", "replace"), contents)
        return
    contents.links += links_in_bytes(rich)
    contents.texts.append(text_of_rtf(rich))


def unpack_rtf(data: bytes, contents: Contents) -> bytes:
    """Rich text as it was before it was compressed, within the budget of what is unpacked by an interpreter."""
    if len(data) < 16:
        return b""
    size, kind = struct.unpack_from("<I4s", data, 4)
    if kind == _PLAIN:
        return data[16 : 16 + size]
    if kind != _PACKED:
        raise ValueError("no compressed rich text")
    most = contents.take(min(size, len(data) * 20), MACRO_BYTES)
    window = bytearray(_DICTIONARY.ljust(4_096, b"\0"))
    write, out, at = len(_DICTIONARY), bytearray(), 16
    while at < len(data) and len(out) < most:
        flags = data[at]
        at += 1
        for bit in range(8):
            if flags >> bit & 1:
                if at + 2 > len(data):
                    return bytes(out)
                offset, length = data[at] << 4 | data[at + 1] >> 4, (data[at + 1] & 15) + 2
                at += 2
                if offset == write:
                    return bytes(out)
                for _ in range(length):
                    byte = window[offset]
                    out.append(byte)
                    window[write] = byte
                    offset, write = (offset + 1) & 4_095, (write + 1) & 4_095
            elif at < len(data):
                out.append(data[at])
                window[write] = data[at]
                at, write = at + 1, (write + 1) & 4_095
    return bytes(out)
