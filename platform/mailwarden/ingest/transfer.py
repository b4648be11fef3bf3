"""Content-Transfer-Encoding undone (RFC 2045) as it asks of receivers, garbage included."""

from __future__ import annotations

import binascii
import io
import re
from itertools import islice

from mailwarden.domain.mail.message import Aspect
from mailwarden.domain.status import Status
from mailwarden.ingest.budget import BASE64_PIECES, SOFT_BREAKS, UU_LINES
from mailwarden.ingest.reading import Reading

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
# A line of words: with blanks between them, or with what is no base 64 in its first half. Base 64 with a little junk
# strewn in is none. Short lines below words are words too.
_WORDS = re.compile(
    rb"^(?:[^\s]*+[ \t]++[^\s]|[A-Za-z0-9+/=]{0,39}+[^A-Za-z0-9+/=\s])[^\n]*+"
    rb"(?>(?:\n[A-Za-z0-9+/]{0,15}+\r?+(?=\n|\Z)){0,99999})",
    re.MULTILINE,
)
_PIECE = re.compile(rb"[^=\s][^=]*+")
_SOFT_BREAK_WITH_BLANKS = re.compile(rb"=[ \t]++(?=[\r\n]|\Z)")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\n]*\n", re.MULTILINE)
_UU_FILE = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,300}+)\r?\n(?=[!-M][!-`])", re.MULTILINE)
_UU_LINE = re.compile(rb"([!-M`])([ -`]{0,90}+)(?:\r?\n|\Z)")
_UU_END = re.compile(rb"end[ \t]{0,9}+(?:\r?\n|\Z)")
MAX_UU_FILES = 20
"""Uuencoded files in one text that are taken out of it."""
_WORDS_OF_NAME = re.compile(r"[\s_-]+")
_IDENTITY = frozenset(("", "7bit", "8bit", "binary", "none", "7bits", "8bits", "plain", "identity"))
_UU = frozenset(("xuuencode", "uuencode", "xuue", "uue", "xuu"))
_NAMES = {name: "7bit" for name in _IDENTITY} | {name: "x-uuencode" for name in _UU}
_NAMES |= {
    "quotedprintable": "quoted-printable",
    "quotedprintible": "quoted-printable",
    "qp": "quoted-printable",
    "base64": "base64",
    "xbase64": "base64",
    "b64": "base64",
}
_HIGH = bytes(range(128, 256))
_SEEN = bytes(range(32, 127)) + b"\t\r\n" + _HIGH
_LEAST_UNDECLARED = 80
"""Characters of base 64 from which on a text that is nothing else is that, whatever it was declared."""
_LOOKED_AT = 3_000


def encoding_named(value: str) -> str:
    """The encoding that a Content-Transfer-Encoding without comments names, however it spells that.

    "7bit" stands for all that change nothing; an unknown one stays as it is, in lower case.
    """
    written = value.partition(";")[0].strip(" \t\"'.,").lower()
    return _NAMES.get(_WORDS_OF_NAME.sub("", written), written)


def undo_transfer(data: bytes, encoding: str, aspect: Aspect, reading: Reading, part: int) -> bytes:
    """The bytes of a part as they were before their transfer encoding; as they stand where it is unknown.

    encoding: as `encoding_named` has it. aspect: what of the message is damaged where they cannot be read to their end.
    """
    if encoding == "7bit":
        if aspect == "text" and _is_base64_text(data):
            reading.defect("encoding_mismatch", "base64", part)
            return _undo_base64(data, aspect, reading, part)
        return data
    if encoding == "quoted-printable":
        return _undo_quoted(data, reading, part)
    if encoding == "base64":
        if aspect == "text" and _is_no_base64(data):
            reading.defect("encoding_mismatch", "7bit", part)
            return data
        return _undo_base64(data, aspect, reading, part)
    if encoding == "x-uuencode":
        return _undo_uu(data, reading, part)
    reading.defect("transfer_encoding_unknown", encoding[:40], part)
    return data


def _is_base64_text(data: bytes) -> bool:
    """Whether a text declared to be as it stands is nothing but base 64 that holds text."""
    head = data[:_LOOKED_AT].strip()
    if len(head) < _LEAST_UNDECLARED or b" " in head or head.translate(None, _BASE64 + b"=\r\n"):
        return False
    if data.translate(None, _BASE64 + b"=\r\n \t"):
        return False
    lines = head.split()
    if max(map(len, lines)) < 20:
        return False
    kept = head.translate(None, b"=\r\n")
    decoded = binascii.a2b_base64(kept[: len(kept) // 4 * 4])
    return not decoded.translate(None, _SEEN) and _is_text(decoded)


def _is_text(decoded: bytes) -> bool:
    try:
        decoded[:-4].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(decoded) - 8 or len(decoded.translate(None, _HIGH)) * 5 > len(decoded) * 4
    return True


def _is_no_base64(data: bytes) -> bool:
    """Whether a text declared to be base 64 is words as they stand: blanks and punctuation throughout."""
    head = b"\n".join(line.strip() for line in data[:_LOOKED_AT].split(b"\n")).strip()
    odd = head.translate(None, _BASE64 + b"=\r\n")
    if len(odd) * 12 < len(head) or not head:
        return False
    # A line of base 64 with junk strewn in has no words: those are short.
    words = head.split()
    return len(words) > 3 and len(head) < 16 * len(words)


def _undo_quoted(data: bytes, reading: Reading, part: int) -> bytes:
    """RFC 2045 section 6.7: blanks before the end of a line are not the sender's, behind a soft break either."""
    if b"= " in data or b"=\t" in data:
        data, count = _SOFT_BREAK_WITH_BLANKS.subn(b"=", data, reading.budget.left(SOFT_BREAKS) + 1)
        reading.take(SOFT_BREAKS, count, part)
    if b"=\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        # The decoder takes the rest of the line away behind one.
        reading.defect("quoted_printable_broken", "", part)
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return binascii.a2b_qp(data)


def _undo_base64(data: bytes, aspect: Aspect, reading: Reading, part: int) -> bytes:
    """What goes on behind its padding is read as readers' clients show it, where a decoder ends."""
    if aspect == "text" and (b" " in data or b":" in data or b"_" in data):
        data = _without_words(data, 0, aspect, reading)
    padding = data.find(b"=")
    rest = data[padding:].translate(None, b"= \t\r\n") if padding >= 0 else b""
    if not rest:
        return _undo_base64_piece(data, reading, part)
    reading.defect("base64_goes_on", "", part)
    if rest.translate(None, _BASE64):
        data = _without_words(data, padding, aspect, reading)
    pieces = [piece[0] for piece in islice(_PIECE.finditer(data), BASE64_PIECES.most + 1)]
    kept = pieces[: reading.take(BASE64_PIECES, len(pieces), part)]
    return b"".join(_undo_base64_piece(piece + b"==", reading, part) for piece in kept)


def _without_words(data: bytes, start: int, aspect: Aspect, reading: Reading) -> bytes:
    """Lines of words are left out, as mailing lists put them there, or what is made to look so."""
    rest, count = _WORDS.subn(b"", data[start:])
    if not count or not (start or rest.strip()):
        return data
    if aspect == "text":
        # A file is whole without them.
        reading.unread(aspect, Status.DAMAGED)
    return data[:start] + rest


def _undo_base64_piece(data: bytes, reading: Reading, part: int) -> bytes:
    try:
        decoded = binascii.a2b_base64(data)
    except binascii.Error:
        reading.defect("base64_broken", "", part)
        kept = data.translate(None, _NOT_BASE64)
        if len(kept) % 4 == 1:
            kept = kept[:-1]
        return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
    if not decoded and data.strip(b"= \t\r\n"):
        reading.defect("base64_broken", "", part)
    return decoded


def uu_files(data: bytes, reading: Reading, part: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A plain text without the uuencoded files that stand in it, and these by name, as older readers take them out.

    A file is lines as long as they say that they are: words about one, and those behind it, stay where they are.
    """
    kept: list[bytes] = []
    files: list[tuple[str, bytes]] = []
    end = 0
    for begin in _UU_FILE.finditer(data):
        if begin.start() < end or (stop := _end_of_uu(data, begin.end())) == begin.end():
            continue
        if len(files) == MAX_UU_FILES:
            reading.cut(("attachments",), "too_many_uuencoded_files", f"more than {MAX_UU_FILES}", part)
            break
        kept.append(data[end : begin.start()])
        files.append((begin[1].strip().decode("utf-8", "replace"), _undo_uu(data[begin.start() : stop], reading, part)))
        end = stop
    return b"".join((*kept, data[end:])), files


def _end_of_uu(data: bytes, at: int) -> int:
    """Where the lines from here on are no longer those of a uuencoded file."""
    while (line := _UU_LINE.match(data, at)) is not None:
        groups = (((line[1][0] - 32) & 63) + 2) // 3 * 4
        # Some write three bytes fewer at the end, some a check character more; blanks at the end get lost.
        if line[1] != b"`" and not groups - 2 <= len(line[2].rstrip(b" ")) <= groups + 2:
            break
        at = line.end()
    last = _UU_END.match(data, at)
    return at if last is None else last.end()


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
