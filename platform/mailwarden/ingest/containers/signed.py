"""CMS envelopes (S/MIME, .p7m): what was signed, taken out without looking at the signature. Source: RFC 5652."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from mailwarden.domain.status import Status
from mailwarden.ingest.containers.contents import Contents, member_of
from mailwarden.ingest.containers.inflating import inflate

MAX_PIECES = 100_000
"""Pieces of an octet string that are put together."""

_SIGNED = bytes.fromhex("2a864886f70d010702")
_DATA = bytes.fromhex("2a864886f70d010701")
_ENVELOPED = (
    bytes.fromhex("2a864886f70d010703"), bytes.fromhex("2a864886f70d010910 0117".replace(" ", "")),
    bytes.fromhex("2a864886f70d010706"),
)  # fmt: skip
_COMPRESSED = bytes.fromhex("2a864886f70d0109100109")
_ENTITY = re.compile(
    rb"\s{0,20}+(?:content-[a-z-]{2,30}+|mime-version|from|subject|received|to|date)[ \t]{0,9}+:", re.IGNORECASE
)
_MARK = re.compile(r"\.p7[msz]\Z", re.IGNORECASE)
_PEM = re.compile(rb"\A\s*-----BEGIN (?:PKCS7|CMS|PKCS #7 SIGNED DATA)-----\s([A-Za-z0-9+/=\s]*+)-----END")


class Envelope(NamedTuple):
    """kind: what the outermost layer is; detached signed data is of another file's. content: what was signed, or, of
    compressed data, zlib's bytes; b"" where there is none to have."""

    kind: str
    content: bytes


def read_envelope(data: bytes) -> Envelope | None:
    """The outermost layer of a CMS file, None where it is none; in BER, DER or PEM. Raises nothing.

    kind: "signed", "detached", "enveloped" or "compressed".
    """
    if data[:1] != b"0":
        found = _PEM.match(data) if b"-----BEGIN" in data[:100] else None
        if found is None:
            return None
        data = binascii.a2b_base64(found[1])
    outer = _tag(data, 0, len(data))
    if outer is None or outer[0] != 0x30:
        return None
    kind = _tag(data, outer[1], outer[2])
    if kind is None or kind[0] != 0x06:
        return None
    name = data[kind[1] : kind[2]]
    if name in _ENVELOPED:
        return Envelope("enveloped", b"")
    if name not in (_SIGNED, _COMPRESSED):
        return None
    content = _signed_content(data, kind[2], len(data))
    if name == _COMPRESSED:
        return Envelope("compressed", content or b"")
    return Envelope("detached", b"") if content is None else Envelope("signed", content)


def _signed_content(data: bytes, at: int, end: int) -> bytes | None:
    """Down to encapContentInfo: [0], a sequence, its version and algorithms, then a sequence with a type's name."""
    for wanted in (0xA0, 0x30):
        found = _tag(data, at, end)
        if found is None or found[0] != wanted:
            return None
        at, end = found[1], found[2]
    for _ in range(4):
        found = _tag(data, at, end)
        if found is None:
            return None
        if found[0] == 0x30 and (name := _tag(data, found[1], found[2])) is not None and name[0] == 0x06:
            inside = _tag(data, name[2], found[2])
            if inside is not None and inside[0] == 0xA0:
                return _octets(data, inside[1], inside[2])
            if data[name[1] : name[2]].startswith(_DATA[:8]) and inside is None:
                return None
        at = found[2]
    return None


def _octets(data: bytes, at: int, end: int) -> bytes:
    """An octet string, in one piece or in many."""
    found = _tag(data, at, end)
    if found is None:
        return b""
    if found[0] == 0x04:
        return data[found[1] : found[2]]
    pieces: list[bytes] = []
    at, end = found[1], found[2]
    for _ in range(MAX_PIECES):
        piece = _tag(data, at, end)
        if piece is None or piece[0] not in (0x04, 0x24):
            break
        if piece[0] == 0x24:
            # Pieces of pieces: go in, and come out at their end mark.
            at = piece[1]
            continue
        pieces.append(data[piece[1] : piece[2]])
        at = piece[2]
        while data[at : at + 2] == b"\0\0" and data[at + 2 : at + 3] in (b"\x04", b"\x24"):
            at += 2
    return b"".join(pieces)


def _tag(data: bytes, at: int, end: int) -> tuple[int, int, int] | None:
    """Identifier, and where its content begins and ends; of an indefinite length that is all that is left."""
    if at + 2 > min(end, len(data)):
        return None
    identifier, length = data[at], data[at + 1]
    at += 2
    if length == 0x80:
        return identifier, at, min(end, len(data))
    if length & 0x80:
        count = length & 0x7F
        if count > 4:
            return None
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    return identifier, at, min(at + length, end, len(data))


def open_envelope(data: bytes, contents: Contents) -> None:
    """An attached envelope: the file or the message in it."""
    found = read_envelope(data)
    if found is None or found.kind == "detached":
        return
    if found.kind == "enveloped":
        contents.unread(Status.ENCRYPTED)
        return
    inside = unwrapped(found, contents)
    if is_entity(inside):
        contents.messages.append(inside)
    else:
        contents.members.append(member_of(_MARK.sub("", contents.name), inside))


def unwrapped(found: Envelope, contents: Contents) -> bytes:
    """The content, unpacked where it is compressed."""
    return inflate(found.content, contents, window=15) if found.kind == "compressed" else found.content


def is_entity(content: bytes) -> bool:
    """Whether it begins as a MIME entity does, with header fields."""
    return _ENTITY.match(content) is not None
