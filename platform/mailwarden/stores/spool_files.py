"""The files of a spool: framing, the committed mark, segments."""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path

from mailwarden.errors import DataError

FRAME = struct.Struct("<II")
MAX_PAYLOAD = (1 << 30) - 1

_MARK = struct.Struct("<QI")
_SEGMENT = re.compile(r"(\d{20})\.seg")


def framed(payload: bytes) -> bytes:
    """A record as it stands in a segment; raises DataError on a payload of 1 GiB or more."""
    check_size(payload)
    return FRAME.pack(len(payload), checksum(payload)) + payload


def check_size(payload: bytes) -> None:
    """Raise DataError on a payload of 1 GiB or more."""
    if len(payload) > MAX_PAYLOAD:
        raise DataError(f"Spool: a record of {len(payload)} bytes is too long; at most {MAX_PAYLOAD} are taken.")


def checksum(payload: bytes | memoryview) -> int:
    """CRC-32 over the length and the payload, so that a length that went wrong shows too."""
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(4, "little")))


def segment_path(directory: Path, base: int) -> Path:
    """The file of the segment that begins at that position."""
    return directory / f"{base:020d}.seg"


def segments_of(directory: Path) -> list[int]:
    """Where each segment begins, ascending."""
    names = os.listdir(directory) if directory.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := _SEGMENT.fullmatch(name)))


def read_committed(directory: Path) -> int:
    """How far the writer has acknowledged records; 0 where nothing says so yet."""
    return read_mark(directory / "committed")


def read_mark(path: Path) -> int:
    """A position that was stored with its checksum; 0 where there is none that can be trusted."""
    # A reader may look while the writer writes: what does not check out is looked at once more.
    for _ in range(3):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return 0
        if len(data) == _MARK.size and zlib.crc32(data[:8]) == _MARK.unpack(data)[1]:
            return int(_MARK.unpack(data)[0])
    return 0


def pack_mark(position: int) -> bytes:
    """A position with its checksum, as `read_mark` reads it."""
    body = position.to_bytes(8, "little")
    return body + zlib.crc32(body).to_bytes(4, "little")


def scan_segment(path: Path) -> int:
    """How many bytes from its beginning are whole records."""
    valid = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while True:
            head = file.read(FRAME.size)
            if len(head) < FRAME.size:
                return valid
            length, crc = FRAME.unpack(head)
            # A length beyond the file is never read: torn bytes must not make us take gigabytes.
            if length > MAX_PAYLOAD or valid + FRAME.size + length > size:
                return valid
            if checksum(file.read(length)) != crc:
                return valid
            valid += FRAME.size + length


def sync_folder(directory: Path) -> None:
    """Make the names in a folder safe."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
