"""Content-Transfer-Encoding undone (RFC 2045), garbage included."""

from __future__ import annotations

import binascii
import io
import re
from itertools import islice

from mailwarden.domain.mail.message import Aspect
from mailwarden.domain.status import Status
from mailwarden.ingest.budget import BASE64_PIECES, UU_LINES
from mailwarden.ingest.reading import Reading

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
_PIECE = re.compile(rb"[^=\s][^=]*+")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\n]*\n", re.MULTILINE)
_IDENTITY = frozenset({"", "7bit", "8bit", "binary", "7-bit", "8-bit", "none", "7bits", "8bits"})


def undo_transfer(data: bytes, encoding: str, aspect: Aspect, reading: Reading, part: int) -> bytes:
    """The bytes of a part as they were before their transfer encoding; as they stand where it is unknown.

    aspect: what of the message is damaged where they cannot be read to their end.
    """
    if encoding in _IDENTITY:
        return data
    if encoding == "quoted-printable":
        # The soft break's own blank is what keeps "= \n" from being read as text.
        return binascii.a2b_qp(data)
    if encoding == "base64":
        return _undo_base64(data, aspect, reading, part)
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        return _undo_uu(data, reading, part)
    reading.defect("transfer_encoding_unknown", encoding[:40], part)
    return data


def _undo_base64(data: bytes, aspect: Aspect, reading: Reading, part: int) -> bytes:
    """What goes on behind its padding is read as readers' clients show it, where a decoder ends."""
    padding = data.find(b"=")
    rest = data[padding:].translate(None, b"= \t\r\n") if padding >= 0 else b""
    if not rest:
        return _undo_base64_piece(data, reading, part)
    reading.defect("base64_goes_on", "", part)
    first = _undo_base64_piece(data[:padding] + b"==", reading, part)
    if rest.translate(None, _BASE64):
        # Words behind it, as mailing lists put them there, or what a sender has made to look so; a file is whole.
        if aspect == "text":
            reading.unread(aspect, Status.DAMAGED)
        return first
    pieces = [piece[0] for piece in islice(_PIECE.finditer(data, padding), BASE64_PIECES.most + 1)]
    kept = pieces[: reading.take(BASE64_PIECES, len(pieces), part)]
    return first + b"".join(_undo_base64_piece(piece + b"==", reading, part) for piece in kept)


def _undo_base64_piece(data: bytes, reading: Reading, part: int) -> bytes:
    try:
        decoded = binascii.a2b_base64(data)
    except binascii.Error:
        reading.defect("base64_broken", "", part)
        kept = data.translate(None, _NOT_BASE64)
        if len(kept) % 4 == 1:
            kept = kept[:-1]
        return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
    if not decoded and data.strip():
        reading.defect("base64_broken", "", part)
    return decoded


def _undo_uu(data: bytes, reading: Reading, part: int) -> bytes:
    begin = _UU_BEGIN.search(data)
    if begin is None:
        reading.defect("uuencode_broken", "", part)
        return data
    out: list[bytes] = []
    lines = io.BytesIO(data)
    lines.seek(begin.end())
    left = reading.budget.left(UU_LINES)
    for number, line in enumerate(lines):
        if number >= left:
            reading.over(UU_LINES, part)
            break
        line = line.rstrip(b"\r\n")
        if line == b"end" or not line:
            break
        try:
            out.append(binascii.a2b_uu(line))
        except binascii.Error:
            reading.defect("uuencode_broken", "", part)
            # A line padded wrongly still holds the bytes that its first character counts.
            wanted = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                out.append(binascii.a2b_uu(line[:wanted]))
            except binascii.Error:
                break
    reading.budget.take(UU_LINES, len(out))
    return b"".join(out)
