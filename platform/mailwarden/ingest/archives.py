"""Archives of mail, read as streams: never unpacked to disk, never whole in memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from mailwarden.errors import DataError

MAX_MEMBER_BYTES = 256 << 20
"""A member beyond this is no message; it is passed over, not read."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PACKED_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
# Archives packed with a long window say so in their header; the default refuses them.
_ZSTD_WINDOW = 2**31


def is_archive(path: Path) -> bool:
    """Whether a file is a tar, plain or packed, by its first bytes (a packed one also by its name)."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). Check the file and its permissions.") from error
    if head.startswith((_ZSTD_MAGIC, *_PACKED_MAGIC)):
        return True
    return head[257:262] == b"ustar" or path.suffix.lower() == ".tar"


def members_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Normalised name and bytes of each file in an archive, in its order.

    Raises DataError, naming the last member that was reached, where the archive breaks off or is none.
    """
    reached = "its beginning"
    try:
        with path.open("rb") as file, _unpacked(file) as stream:
            seen = _Tail(stream)
            # "|": forward only. tarfile asks of the file no more than to be read.
            with tarfile.open(fileobj=seen, mode="r|") as archive:  # type: ignore[call-overload]
                for name, raw in _files(archive):
                    reached = name
                    yield name, raw
            # tarfile takes an archive that breaks off between two members for one that ends there.
            if any(seen.tail):
                raise EOFError("it has no end mark")
    except (tarfile.TarError, zstandard.ZstdError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(
            f"Archive {path} is broken after {reached} ({type(error).__name__}: {error}). Copy or download it again."
        ) from error


def read_member(path: Path, member: str) -> bytes:
    """The bytes of one file in an archive; raises DataError where it holds none of that name."""
    wanted = normal_name(member)
    for name, raw in members_of(path):
        if name == wanted:
            return raw
    raise DataError(f"Archive {path} holds no file {member!r}. List it with `tar -tf` and give a name from there.")


def normal_name(name: str) -> str:
    """A member's name without "./" and double slashes."""
    return posixpath.normpath(name).lstrip("/")


class _Tail:
    """A stream that remembers its last 512 bytes, a tar's block."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.tail = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.tail = (self.tail + data)[-512:]
        return data


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(_ZSTD_MAGIC):
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        return cast("IO[bytes]", unpacker.stream_reader(file, read_across_frames=True, closefd=False))
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(file)
    return file


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    while (member := archive.next()) is not None:
        # The list of members that tarfile keeps serves nobody in a stream, and grows.
        archive.members.clear()  # type: ignore[attr-defined]
        if not member.isfile() or member.size > MAX_MEMBER_BYTES:
            continue
        file = archive.extractfile(member)
        raw = b"" if file is None else file.read()
        if len(raw) < member.size:
            raise EOFError(f"{member.name} breaks off after {len(raw)} of {member.size} bytes")
        yield normal_name(member.name), raw
