"""Kinds of hostile messages: images that are small to look at and endless to decode."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from random import Random

from PIL import Image

from mailwarden.testing.hostile.shapes import Kind, attached, run

_SIDE = 40
"""Pixels of a side: as few as are searched for codes at once."""

_LONG = zlib.compress(b"a" * 1_000_000, 9)
_FIRST_SIDES = range(_SIDE, _SIDE + 40)


def _chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(before: bytes = b"", after: bytes = b"", side: int = _SIDE) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff" * side) * side)
    return b"".join((
        b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", head), before, _chunk(b"IDAT", pixels), after, _chunk(b"IEND"),
    ))  # fmt: skip


def _saved(form: str, side: int = _SIDE) -> bytes:
    out = io.BytesIO()
    Image.new("L", (side, side), 255).save(out, form)
    return out.getvalue()


def _jpeg(extra: bytes) -> bytes:
    """Segments behind the one that gives the size."""
    whole = _saved("JPEG")
    at = whole.index(b"\xff\xc4")
    return whole[:at] + extra + whole[at:]


def _gif(extra: bytes) -> bytes:
    whole = _saved("GIF")
    at = 13 + (3 << (whole[10] & 7) + 1 if whole[10] & 0x80 else 0)
    return whole[:at] + extra + whole[at:]


def _bmp(side: int, body: bytes) -> bytes:
    """A run-length bitmap."""
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1_078 + len(body), 0, 0, 1_078) + head + palette + body


def _webp(extra: bytes) -> bytes:
    frames = [Image.new("L", (_SIDE, _SIDE), grey) for grey in (0, 255)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    body = out.getvalue()[8:] + extra
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _filled(make: Callable[[bytes], bytes], *units: bytes, before: bytes = b"", after: bytes = b"") -> Kind:
    """One image, a unit over and over in it."""
    return attached(
        lambda size, chance: make(before + run(chance.choice(units), size - len(before)) + after), 1, b"a.png"
    )


def _jpeg_fill_before(size: int, chance: Random) -> bytes:
    del chance
    whole = _saved("JPEG")
    return whole[:2] + b"\xff" * size + whole[2:]


def _texts_in_each(size: int, chance: Random) -> bytes:
    count = max(1, size // (len(_LONG) + 20))
    return _png(
        b"".join(_chunk(b"zTXt", b"%d\0\0" % n + _LONG) for n in range(count)), side=chance.choice(_FIRST_SIDES)
    )


def _images_in(size: int, chance: Random) -> bytes:
    return _png(run(_chunk(b"abCd"), size // 12 * 12), side=chance.choice(_FIRST_SIDES))


IMAGE_KINDS: dict[str, Kind] = {
    "png of packed texts": attached(_texts_in_each, 1, b"a.png"),
    "pngs of packed texts": attached(_texts_in_each, 40, b"a.png"),
    "png of chunks": _filled(_png, _chunk(b"abCd"), _chunk(b"IDAT"), _chunk(b"tEXt", b"a\0b"), _chunk(b"PLTE", b"abc")),
    "pngs of chunks": attached(_images_in, 40, b"a.png"),
    "png of chunks after": _filled(lambda extra: _png(after=extra), _chunk(b"abCd"), _chunk(b"fdAT", b"abcd")),
    "jpeg of segments": _filled(_jpeg, b"\xff\xfe\0\x03a", b"\xff\xe1\0\x09Exif\0\0a", b"\xff\xed\0\x02", b"\xff\x01"),
    "jpeg of exif": _filled(_jpeg, b"\xff\xe1\x04\x08Exif\0\0" + b"a" * 1_024),
    "jpeg of profiles": _filled(_jpeg, b"\xff\xe2\x04\x10ICC_PROFILE\0\1\1" + b"a" * 1_024),
    "jpeg of fill bytes": _filled(_jpeg, b"\xff"),
    "jpeg of fill bytes first": attached(_jpeg_fill_before, 1, b"a.jpg"),
    "gif of blocks": _filled(_gif, b"\x21\xfe\1a\0", b"\x21\xf9\4\0\0\0\0\0", b"\0", b"\x21\xff\0", b"\x3b"),
    "gif of one comment": _filled(_gif, b"\1a", b"\xff" + b"a" * 255, before=b"\x21\xfe", after=b"\0"),
    "bmp of runs": _filled(lambda runs: _bmp(1_000, runs), b"\1a", b"\0\0", b"\0\2\0\0", b"\0\3abc\0", after=b"\0\1"),
    "webp of chunks": _filled(_webp, b"abcd\0\0\0\0", b"EXIF\2\0\0\0ab"),
    "files that claim pixels": attached(
        lambda size, chance: b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", b"\x7f\xff\xff\xff" * 2 + bytes(5)) + bytes(size),
        60,
        b"a.png",
    ),
}
"""Name to kind."""
