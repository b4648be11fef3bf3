"""The words of rich text. Source: RTF 1.9.1."""

from __future__ import annotations

import re

from mailwarden.ingest.containers.plain import MAX_TEXT

_GROUP = re.compile(
    rb"\{\s?+\\(?:\*|(?:fonttbl|colortbl|stylesheet|info|pict|objdata|themedata|datastore|listtable|generator)\b)"
    rb"|\\[{}\\]|[{}]"
)
_PARAGRAPH = re.compile(rb"\\(?:par|line|tab|cell|row)\b ?+")
_ESCAPED = re.compile(rb"\\'([0-9a-fA-F]{2})|\\u(-?\d{1,5}+) ?+(?:\?|\\'[0-9a-fA-F]{2})?+")
_NUMBERED = re.compile("\x01([0-9a-f]{4})\x02")
_WORD = re.compile(rb"\\[a-z]{1,32}+-?\d{0,9}+ ?+|[{}\r\n]|\\[^a-z]", re.IGNORECASE)


def text_of_rtf(data: bytes, charset: str = "cp1252") -> str:
    """The words of it, without tables, pictures and whatever a reader may ignore. charset: of its 8-bit characters."""
    plain = _ESCAPED.sub(_character, _PARAGRAPH.sub(b"\0", _shown(data)))
    text = _WORD.sub(b"", plain).replace(b"\0", b"\n").decode(charset, "replace")
    return _NUMBERED.sub(lambda found: chr(int(found[1], 16)), text)[:MAX_TEXT]


def _character(found: re.Match[bytes]) -> bytes:
    """One of 8 bits as it stands; one of more as a number between marks, since the rest has 8."""
    if found[1] is not None:
        byte = bytes.fromhex(found[1].decode())
        return b" " if byte in b"{}\\\x01\x02" else byte
    return b"\x01%04x\x02" % (int(found[2]) & 0xFFFF)


def _shown(data: bytes) -> bytes:
    kept: list[bytes] = []
    depth, skipped_at, end = 0, 0, 0
    for found in _GROUP.finditer(data):
        mark = found[0]
        if mark[0] == 92:
            continue
        if mark != b"}":
            depth += 1
            if len(mark) > 1 and not skipped_at:
                # The brace ends the word before it.
                kept.append(data[end : found.start() + 1])
                skipped_at = depth
        else:
            if skipped_at == depth and skipped_at:
                skipped_at, end = 0, found.end()
            depth = max(0, depth - 1)
    if not skipped_at:
        kept.append(data[end:])
    return b"".join(kept)
