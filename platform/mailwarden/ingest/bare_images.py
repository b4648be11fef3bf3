"""Image files without all that no pixel needs, so that a decoder meets nothing which a sender may fill it with.

Comments, profiles, EXIF and unknown chunks are skipped here by their lengths; decoders unpack them, put them together
and walk over them one after another, which costs a hundred times more and has no bound of its own.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

from mailwarden.ingest.images import ALONE, ImageFormat

MAX_PIECES = 10_000
"""Chunks, segments or blocks of an image that are walked through in search of its pixels."""

_PNG_NEEDED = (b"IHDR", b"PLTE", b"tRNS")
_MARKER = re.compile(rb"\xff++[^\xff]", re.DOTALL)
_SCAN = 0xDA
# JFIF's and Adobe's segments say how colours are to be read.
_JPEG_SKIPPED = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))


class TooManyPieces(Exception):
    """An image has more pieces than are walked through."""


def bare_image(data: bytes, form: ImageFormat) -> bytes:
    """The same picture with its pixels alone, of an animation the first; a broken file stays broken.

    Raises TooManyPieces, and struct.error where it is cut off. Source: see `images.image_head`.
    """
    bare = _BARE.get(form)
    return data if bare is None else bare(data)


def _png(data: bytes) -> bytes:
    needed: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    at = 8
    for _ in range(MAX_PIECES):
        if at + 8 > len(data):
            break
        size, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            pixels.append(data[at + 8 : at + 8 + size])
        elif pixels:
            break
        elif name in _PNG_NEEDED:
            needed.setdefault(name, data[at : at + 12 + size])
        at += 12 + size
    else:
        raise TooManyPieces
    whole = b"IDAT" + b"".join(pixels)
    # One chunk, since a decoder reads each with a call of its own.
    sealed = struct.pack(">I", len(whole) - 4) + whole + struct.pack(">I", zlib.crc32(whole))
    return data[:8] + b"".join(needed.values()) + sealed + b"\0\0\0\0IEND\xaeB`\x82"


def _jpeg(data: bytes) -> bytes:
    kept = [data[:2]]
    at = 2
    for _ in range(MAX_PIECES):
        marker = _MARKER.match(data, at)
        if marker is None or data[marker.end() - 1] == _SCAN:
            return b"".join(kept) + (data[at:] if marker is None else data[marker.end() - 2 :])
        code, at = data[marker.end() - 1], marker.end()
        if code in ALONE:
            continue
        end = at + int(struct.unpack_from(">H", data, at)[0])
        if code not in _JPEG_SKIPPED:
            kept.append(data[at - 2 : end])
        at = end
    raise TooManyPieces


def _gif(data: bytes) -> bytes:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    screen, transparency = data[:at], b""
    left = MAX_PIECES
    while left > 0 and at < len(data):
        left -= 1
        if data[at] == 0x2C:
            return screen + transparency + data[at:]
        if data[at] != 0x21:
            at += 1
            continue
        begin, label, at = at, data[at + 1 : at + 2], at + 2
        while left > 0 and at < len(data) and data[at]:
            at += 1 + data[at]
            left -= 1
        at += 1
        if label == b"\xf9":
            transparency = data[begin:at]
    if left <= 0:
        raise TooManyPieces
    return screen


_BARE: dict[str, Callable[[bytes], bytes]] = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif}
