"""Compound files (OLE): their streams by path. Source: [MS-CFB]."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

from mailwarden.ingest.budget import DOCUMENT_OBJECTS
from mailwarden.ingest.containers.contents import Contents

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_NO_STREAM = 0xFFFFFFFF
_MAX_SECTOR = 0xFFFFFFFA
MAX_ENTRIES = 5_000
"""Entries of a directory that are read."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream. path: names of storages and its own, joined by "/". size: bytes."""

    path: str
    start: int
    size: int


class Compound:
    """A compound file's directory. streams: in the directory's order; storages: paths.

    Raises ValueError or struct.error where its head or its directory cannot be read.
    """

    def __init__(self, data: bytes, contents: Contents) -> None:
        if not data.startswith(_MAGIC) or len(data) < 512:
            raise ValueError("no compound file")
        self._data = data
        self._shift = 9 if struct.unpack_from("<H", data, 30)[0] != 12 else 12
        self._sector = 1 << self._shift
        self._most = len(data) // self._sector + 1
        first_directory, self._cutoff, first_mini = (
            struct.unpack_from("<I", data, 48)[0], struct.unpack_from("<I", data, 56)[0],
            struct.unpack_from("<I", data, 60)[0],
        )  # fmt: skip
        self._fat = self._read_fat()
        self._mini_fat = array("I")
        self._mini_fat.frombytes(_whole(b"".join(self._chain(first_mini, self._most))))
        directory = b"".join(self._chain(first_directory, contents.take(MAX_ENTRIES * 128 // self._sector + 1)))
        self.streams, self.storages, root = _read_directory(directory, contents)
        self._mini = b"".join(self._chain(root[0], min(self._most, (root[1] >> self._shift) + 1)))

    def _read_fat(self) -> array[int]:
        sectors = list(struct.unpack_from("<109I", self._data, 76))
        at, count = struct.unpack_from("<II", self._data, 68)
        each = self._sector // 4 - 1
        for _ in range(min(count, self._most // max(each, 1) + 1)):
            block = self._at(at)
            if len(block) < self._sector:
                break
            sectors += struct.unpack_from(f"<{each}I", block)
            (at,) = struct.unpack_from("<I", block, each * 4)
        fat = array("I")
        for sector in sectors[: self._most]:
            if sector < _MAX_SECTOR:
                fat.frombytes(_whole(self._at(sector)))
        return fat

    def _at(self, sector: int) -> bytes:
        start = (sector + 1) << self._shift
        return self._data[start : start + self._sector] if sector < self._most else b""

    def _chain(self, sector: int, most: int) -> list[bytes]:
        found: list[bytes] = []
        # A chain that bites its tail ends by its count.
        for _ in range(min(most, self._most)):
            if sector >= len(self._fat):
                break
            found.append(self._at(sector))
            sector = self._fat[sector]
        return found

    def read(self, stream: Stream, contents: Contents, most: int) -> bytes:
        """The first bytes of a stream, within the budget of what comes out of files."""
        wanted = contents.take(min(stream.size, most, len(self._data)))
        if stream.size >= self._cutoff:
            return b"".join(self._chain(stream.start, (wanted >> self._shift) + 1))[:wanted]
        pieces, sector = [], stream.start
        for _ in range(min((wanted >> 6) + 1, len(self._mini_fat))):
            if sector >= len(self._mini_fat):
                break
            pieces.append(self._mini[sector << 6 : (sector << 6) + 64])
            sector = self._mini_fat[sector]
        return b"".join(pieces)[:wanted]


def _whole(raw: bytes) -> bytes:
    return raw[: len(raw) & ~3]


def _read_directory(raw: bytes, contents: Contents) -> tuple[list[Stream], list[str], tuple[int, int]]:
    """Streams, paths of storages, and the root's start and size."""
    count = contents.take(min(len(raw) // 128, MAX_ENTRIES), DOCUMENT_OBJECTS)
    entries = [_entry(raw, number * 128) for number in range(count)]
    if not entries:
        raise ValueError("no directory")
    streams: list[Stream] = []
    storages: list[str] = []
    seen = {0}
    left = [(entries[0][4], "")]
    while left:
        number, folder = left.pop()
        if number >= len(entries) or number in seen:
            continue
        seen.add(number)
        name, kind, before, after, child, start, size = entries[number]
        left += ((before, folder), (after, folder))
        path = f"{folder}{name}"
        if kind == 2:
            streams.append(Stream(path, start, size))
        elif kind in (1, 5):
            storages.append(path)
            if len(path) < 1_000:
                left.append((child, f"{path}/"))
    # What hangs on no tree is found by a reader that goes through the entries, as some do.
    for number, (name, kind, _, _, _, start, size) in enumerate(entries):
        if kind == 2 and number not in seen:
            streams.append(Stream(name, start, size))
    return streams, storages, (entries[0][5], entries[0][6])


def _entry(raw: bytes, at: int) -> tuple[str, int, int, int, int, int, int]:
    (length,) = struct.unpack_from("<H", raw, at + 64)
    name = raw[at : at + min(max(length - 2, 0), 62)].decode("utf-16-le", "replace")
    before, after, child = struct.unpack_from("<III", raw, at + 68)
    start, size = struct.unpack_from("<II", raw, at + 116)
    return name, raw[at + 66], before, after, child, start, size
