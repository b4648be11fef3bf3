"""ZIP files: their directory, and each file in them by itself. Source: PKWARE's APPNOTE.TXT 6.3."""

from __future__ import annotations

import bz2
import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from mailwarden.domain.status import Status
from mailwarden.ingest.budget import INNER_FILES
from mailwarden.ingest.containers.contents import Contents, Member
from mailwarden.ingest.containers.inflating import drain, inflate, unpack

MAX_ENTRIES = 2_000
"""Entries of a directory that are looked through."""
MAX_JOINED = 4
"""Archives before another in one file that are looked for."""

_END = b"PK\5\6"
_ENTRY = b"PK\1\2"
_LOCAL = b"PK\3\4"
_NEWEST_END = 65_600
"""Bytes from the end in which a directory's end record lies, its comment included."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a ZIP. method: how it is packed; at: where its local header begins."""

    name: str
    method: int
    packed: int
    size: int
    at: int
    encrypted: bool


def entries_of(data: bytes, contents: Contents) -> list[Entry]:
    """The files that the directory names, or, where there is none, the local headers; folders left out."""
    most = min(MAX_ENTRIES, contents.reading.budget.left(INNER_FILES))
    found = list(_directory(data, most + 1)) or list(_local_headers(data, most + 1))
    begin = min((entry.at for entry in found), default=0)
    for _ in range(MAX_JOINED):
        # An archive before another: some that unpack go by the first, some by the last.
        if begin <= 0 or len(found) > most or data.find(_LOCAL, 0, begin) < 0:
            break
        before = data[:begin]
        more = list(_directory(before, most + 1 - len(found))) or list(_local_headers(before, most + 1 - len(found)))
        begin = min((entry.at for entry in more), default=0)
        found += more
    if len(found) > most:
        contents.reading.over(INNER_FILES, contents.part)
        contents.traits.add("over_budget")
        del found[most:]
    return [entry for entry in found if not entry.name.endswith(("/", "\\")) or entry.size]


def _directory(data: bytes, most: int) -> Iterator[Entry]:
    end = data.rfind(_END, max(0, len(data) - _NEWEST_END))
    if end < 0 or end + 20 > len(data):
        return
    size, offset = struct.unpack_from("<II", data, end + 12)
    # Bytes put before an archive shift all its offsets; the directory still ends where its end record begins.
    shift = end - size - offset if end >= size and data[end - size : end - size + 4] == _ENTRY else 0
    at = offset + shift
    for _ in range(most):
        if data[at : at + 4] != _ENTRY or at + 46 > len(data):
            return
        flags, method = struct.unpack_from("<HH", data, at + 8)
        packed, whole, name, extra, comment = struct.unpack_from("<IIHHH", data, at + 20)
        (local,) = struct.unpack_from("<I", data, at + 42)
        if data[local : local + 4] != _LOCAL or data[local + shift : local + shift + 4] == _LOCAL:
            # Where the end record alone lies about offsets, entries still tell the truth.
            local += shift
        # Either place may say that it is encrypted; some that unpack look at one, some at the other.
        locked = bool((flags | data[local + 6 : local + 7].rjust(1, b"\0")[0]) & 1) if local >= 0 else bool(flags & 1)
        yield Entry(_name(data[at + 46 : at + 46 + name], flags), method, packed, whole, local, locked)
        at += 46 + name + extra + comment


def _local_headers(data: bytes, most: int) -> Iterator[Entry]:
    at = data.find(_LOCAL)
    for _ in range(most):
        if at < 0 or at + 30 > len(data):
            return
        flags, method = struct.unpack_from("<HH", data, at + 6)
        packed, whole, name = struct.unpack_from("<IIH", data, at + 18)
        # Sizes that stand behind the file, or lie, are taken for "to the end".
        packed = packed if packed and not flags & 8 else len(data)
        yield Entry(_name(data[at + 30 : at + 30 + name], flags), method, packed, whole, at, bool(flags & 1))
        at = data.find(_LOCAL, at + 30 + (packed if packed < len(data) else 0))


def _name(raw: bytes, flags: int) -> str:
    raw = raw[-1_000:]
    if raw.isascii():
        return raw.decode("ascii")
    if flags & 0x800:
        return raw.decode("utf-8", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def read_entry(data: bytes, entry: Entry, contents: Contents, most: int) -> bytes:
    """The first bytes of a file in a ZIP; b"" where it is encrypted or packed in a way that nobody here knows."""
    if entry.encrypted or data[entry.at : entry.at + 4] != _LOCAL or entry.at + 30 > len(data):
        contents.unread(Status.ENCRYPTED if entry.encrypted else Status.DAMAGED)
        return b""
    name, extra = struct.unpack_from("<HH", data, entry.at + 26)
    start = entry.at + 30 + name + extra
    packed = memoryview(data)[start : start + entry.packed]
    most = min(most, entry.size or most)
    if entry.method == 0:
        if len(packed) < entry.packed != len(data):
            contents.unread(Status.DAMAGED)
        return bytes(packed[: contents.take(min(most, len(packed)))])
    if entry.method == 8:
        return inflate(packed, contents, most)
    if entry.method == 12:
        return drain(bz2.BZ2Decompressor(), packed, contents, most)
    if entry.method == 14:
        return drain(_lzma(bytes(packed[:9])), packed[9:], contents, most)
    if entry.method in (93, 20):
        return unpack(packed, "application/zstd", contents, most)
    if entry.method == 95:
        return unpack(packed, "application/x-xz", contents, most)
    contents.traits.add("unopened")
    contents.unread(Status.ENCRYPTED if entry.method == 99 else Status.DAMAGED)
    return b""


def _lzma(head: bytes) -> lzma.LZMADecompressor:
    properties, dictionary = head[4], int.from_bytes(head[5:9], "little")
    literal, rest = properties % 9, properties // 9
    if len(head) < 9:
        raise ValueError("no LZMA properties")
    chosen = {"id": lzma.FILTER_LZMA1, "lc": literal, "lp": rest % 5, "pb": rest // 5,
              "dict_size": min(dictionary, 1 << 26)}  # fmt: skip
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen])


def open_zip(data: bytes, contents: Contents) -> None:
    """A ZIP file's files."""
    contents.traits.add("archive")
    entries = entries_of(data, contents)
    for entry in entries:
        contents.members.append(
            Member(entry.name, entry.size, partial(read_entry, data, entry, contents), entry.encrypted)
        )
    if not entries and _END not in data[-_NEWEST_END:]:
        contents.unread(Status.DAMAGED)
