"""Packed bytes unpacked as far as the budget goes, never further.

What goes in counts as well as what comes out: a packed file may be long and hold nothing.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

import zstandard

from mailwarden.domain.status import Status
from mailwarden.ingest.budget import UNPACKED, UNPACKED_SLOWLY, Limit
from mailwarden.ingest.containers.contents import MAX_WHOLE, Contents

_XZ_MEMORY = 64 << 20
_ZSTD_WINDOW = 1 << 26
_STEP = 1 << 16

MAX_JOINED = 200
"""Packed files one behind the other that are unpacked as one."""

Packed = bytes | memoryview


class Unpacker(Protocol):
    """As `bz2` and `lzma` have them."""

    @property
    def eof(self) -> bool: ...  # noqa: D102
    @property
    def needs_input(self) -> bool: ...  # noqa: D102
    @property
    def unused_data(self) -> bytes: ...  # noqa: D102
    def decompress(self, data: Packed, max_length: int = ...) -> bytes: ...  # noqa: D102


class _Inflater:
    """zlib's decompressor as an `Unpacker`."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: Packed, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail or data, max(max_length, 0))


def inflate(data: Packed, contents: Contents, most: int = MAX_WHOLE, *, window: int = -15) -> bytes:
    """Deflated bytes to at most `most`. window: see `zlib.decompressobj`; -15 without a header, 31 gzip, 15 zlib.

    What is broken further on gives what was read before, and the file is damaged.
    """
    return drain(_Inflater(window), data, contents, most, UNPACKED)


def unpack(data: Packed, kind: str, contents: Contents, most: int = MAX_WHOLE) -> bytes:
    """The bytes of a .gz, .bz2, .xz, .lzma or .zst file, by its content type, to at most `most`."""
    if kind == "application/gzip":
        return drain(_Inflater(31), data, contents, most, UNPACKED, partial(_Inflater, 31))
    if kind == "application/zstd":
        return _unpack_zstd(data, contents, most)
    if kind == "application/x-bzip2":
        return drain(bz2.BZ2Decompressor(), data, contents, most, anew=bz2.BZ2Decompressor)
    xz = partial(lzma.LZMADecompressor, memlimit=_XZ_MEMORY)
    return drain(xz(), data, contents, most, anew=xz)


def name_in_gzip(data: Packed) -> str:
    """The name that a gzip file gives to what it holds, "" without (RFC 1952 section 2.3.1)."""
    head = bytes(data[:2_000])
    if len(head) < 12 or not head[3] & 8:
        return ""
    start = 12 + int.from_bytes(head[10:12], "little") if head[3] & 4 else 10
    return head[start : start + 1_000].partition(b"\0")[0].decode("latin-1")


def _unpack_zstd(data: Packed, contents: Contents, most: int) -> bytes:
    allowed = min(most, contents.reading.budget.left(UNPACKED))
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(bytes(data[:allowed]))
    try:
        out = reader.read(allowed) if allowed else b""
    except zstandard.ZstdError:
        contents.unread(Status.DAMAGED)
        out = b""
    contents.take(max(len(out), min(len(data), allowed)) + (len(out) == allowed < most))
    return out


def drain(
    unpacker: Unpacker,
    data: Packed,
    contents: Contents,
    most: int = MAX_WHOLE,
    limit: Limit = UNPACKED_SLOWLY,
    anew: Callable[[], Unpacker] | None = None,
) -> bytes:
    """What a decompressor makes of it to at most `most` bytes, within the budget for such. anew: makes another one,
    where packed files may stand one behind the other and are one to who unpacks them.

    What is broken further on, or ends too soon, gives what was read before, and the file is damaged.
    """
    left = contents.reading.budget.left(limit)
    allowed = min(most, left)
    packed, out, at, joined = memoryview(data), bytearray(), 0, 0
    try:
        while len(out) < allowed and at < left:
            if unpacker.eof:
                at -= len(unpacker.unused_data)
                if anew is None or packed[at : at + 2] != packed[:2]:
                    break
                joined += 1
                if joined > MAX_JOINED:
                    contents.unread(Status.OVER_BUDGET)
                    break
                unpacker = anew()
            chunk: Packed = b""
            if unpacker.needs_input:
                chunk = packed[at : at + _STEP]
                at += len(chunk)
                if not chunk:
                    contents.unread(Status.DAMAGED)
                    break
            out += unpacker.decompress(chunk, allowed - len(out))
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        contents.unread(Status.DAMAGED)
    cut = not unpacker.eof and allowed < most and (len(out) >= allowed or at >= left)
    contents.take(left + 1 if cut else max(len(out), min(at, left)), limit)
    return bytes(out)
