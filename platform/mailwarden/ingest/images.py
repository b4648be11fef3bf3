"""Images by their first bytes: what they are, and how large, before anything is unpacked."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

ImageFormat = Literal["PNG", "JPEG", "GIF", "BMP", "WEBP"]

MAX_SEGMENTS = 1_000
"""Segments of a JPEG file that are walked through in search of its size."""

_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers of JPEG that no length follows."""
_FILL = re.compile(rb"\xff*+")
_SCAN = b"\xff\xda"
_RUN_LENGTH_PASSES = 100
"""A run-length bitmap is decoded by an interpreter, run by run, and runs of nothing have no end."""


@dataclass(frozen=True, slots=True)
class ImageHead:
    """What an image says of itself. width, height: pixels, 0 where it does not say, as in one that is cut off.

    passes: how often a decoder goes over all pixels: the scans of a JPEG file, which a sender may repeat at will; more
    than are allowed where its work has no bound in pixels.
    """

    format: ImageFormat
    width: int
    height: int
    passes: int = 1

    @property
    def pixels(self) -> int:
        """Pixels of the whole image."""
        return self.width * self.height


def image_head(data: bytes) -> ImageHead | None:
    """The head of a PNG, JPEG, GIF, BMP or WebP image; None where the bytes bear none of their marks. Raises nothing.

    Source: PNG (ISO 15948) 11.2.2, JPEG (ITU-T T.81) B.2, GIF89a 18, BITMAPINFOHEADER, RFC 9649.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return ImageHead("PNG", *struct.unpack_from(">II", data, 16))
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return ImageHead("GIF", *struct.unpack_from("<HH", data, 6))
        if data.startswith(b"BM") and data[15:18] == b"\0\0\0":
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except struct.error:
        return None
    return None


def _jpeg(data: bytes) -> ImageHead:
    at = 2
    for _ in range(MAX_SEGMENTS):
        # Any number of fill bytes may stand before a marker.
        at = max(at, _FILL.match(data, at).end() - 1)  # type: ignore[union-attr]
        if data[at : at + 1] != b"\xff" or at + 1 >= len(data):
            break
        marker = data[at + 1]
        if marker in ALONE:
            at += 2
            continue
        if marker in _STARTS_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return ImageHead("JPEG", width, height, max(1, data.count(_SCAN, at)))
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return ImageHead("JPEG", 0, 0)


def _bmp(data: bytes) -> ImageHead:
    if data[14] == 12:
        return ImageHead("BMP", *struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    # Of a picture that stands the right way up the height is negative.
    packed = data[30:34] in (b"\1\0\0\0", b"\2\0\0\0")
    return ImageHead("BMP", max(width, 0), abs(height), _RUN_LENGTH_PASSES if packed else 1)


def _webp(data: bytes) -> ImageHead:
    kind = data[12:16]
    if kind == b"VP8X":
        return ImageHead("WEBP", *(1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27)))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ImageHead("WEBP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return ImageHead("WEBP", width & 0x3FFF, height & 0x3FFF)
    return ImageHead("WEBP", 0, 0)
